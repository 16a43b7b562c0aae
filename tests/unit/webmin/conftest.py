"""The module over a warehouse with hostile names, and over one of a made-up month."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.store import database
from tests.support import given, month, pages
from tests.support.webmin import Site

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(scope="session")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a day of services, cron jobs and a build, and with hostile names."""
    path = tmp_path_factory.mktemp("webmin") / "elsa.db"
    shutil.copy(template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        pages.fill(given.Warehouse(connection))
    database.open_for_writing(path).close()
    return path


@pytest.fixture(scope="session")
def busy(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a made-up month."""
    path = tmp_path_factory.mktemp("webmin") / "month.db"
    shutil.copy(template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        month.write(connection, month.Month(2000, jobs=40))
    return path


@pytest.fixture
def site() -> Iterator[Site]:
    """An installed module that runs the real programs, in a folder that any user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="elsa-webmin-"))
    try:
        folder.chmod(0o755)
        made = Site(folder)
        made.configure(
            report_program=made.program("elsa-report", _real("elsa-report")),
            job_program=made.program("elsa-job", _real("elsa-job")),
            socket=folder / "no.sock",
        )
        yield made
    finally:
        shutil.rmtree(folder)


def _real(program: str) -> str:
    name = program.replace("-", "_")
    code = f"from elsa.cli.entry import {name}; {name}()"
    return f"cd '{Path(__file__).parents[3]}' && exec '{sys.executable}' -c '{code}' \"$@\""
