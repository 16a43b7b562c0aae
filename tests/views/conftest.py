"""A warehouse in memory for every test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import given


@pytest.fixture
def warehouse(template: Path) -> Iterator[given.Warehouse]:
    """An in-memory copy of the template, with a host, a boot, a clock and an accounting file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        yield given.Warehouse(connection)
