"""A migrated warehouse, made once and copied for every test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.store.upgrade import upgrade
from tests.support import given


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse at head with nothing in it."""
    path: Path = tmp_path_factory.mktemp("template") / "elsa.db"
    upgrade(path)
    return path


@pytest.fixture
def warehouse(template: Path) -> Iterator[Any]:
    """An in-memory copy of the template, with a host, a boot, a clock and an accounting file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        yield given.Warehouse(connection)
