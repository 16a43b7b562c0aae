"""A warehouse of its own for every test."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.store import database


@pytest.fixture
def db(template: Path, tmp_path: Path) -> Path:
    """The path of an empty warehouse at the newest revision."""
    return Path(shutil.copy(template, tmp_path / "elsa.db"))


@pytest.fixture
def connection(db: Path) -> Iterator[sqlite3.Connection]:
    """A connection to it that may write."""
    with closing(database.open_for_writing(db)) as opened:
        yield opened
