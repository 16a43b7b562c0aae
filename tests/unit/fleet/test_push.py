"""Pushing a host's sums: what the fleet has is what the host has, to the last unit, whatever
happened on the way.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from elsa.fleet.push import Pushed
from elsa.store import rollups
from tests.support.fleets import LATER_NS, assert_equal, month, pushed
from tests.support.postgres import Server


@pytest.fixture(scope="module")
def a_month(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """A made-up month, rolled up; tests copy it."""
    return month(tmp_path_factory.mktemp("month") / "elsa.db", template)


@pytest.fixture
def db(a_month: Path, tmp_path: Path) -> Path:
    """A warehouse of the test's own with a made-up month."""
    return Path(shutil.copy(a_month, tmp_path / "elsa.db"))


@contextmanager
def changing(path: Path, now_ns: int = LATER_NS) -> Iterator[sqlite3.Connection]:
    """A connection for changes to a warehouse, which is rolled up afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
        rollups.refresh(connection, path, now_ns)


def test_a_push_makes_the_fleet_equal_to_the_host_and_a_second_sends_nothing(
    postgres: Server, fleet: str, db: Path
) -> None:
    url = postgres.url(fleet)
    first = pushed(db, url)
    assert first.hours >= 700
    assert first.jobs >= 10
    assert first.until_hour == rollups.first_unsettled(LATER_NS)
    assert_equal(postgres, fleet, db)
    assert pushed(db, url) == Pushed(until_hour=first.until_hour, ahead=first.ahead)
    assert_equal(postgres, fleet, db)
