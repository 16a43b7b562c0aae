"""A migrated warehouse, made once and copied for every test."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.store import database
from elsa.store.upgrade import upgrade


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse at head with nothing in it."""
    path: Path = tmp_path_factory.mktemp("template") / "elsa.db"
    upgrade(path)
    return path


@pytest.fixture
def db(template: Path, tmp_path: Path) -> Path:
    """The path of a warehouse of one's own."""
    return Path(shutil.copy(template, tmp_path / "elsa.db"))


@pytest.fixture
def connection(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection to it that may write."""
    with closing(database.open_for_writing(db)) as opened:
        yield opened
