"""The views of sql/lake/ give in DuckDB and in Spark what the views of the warehouse give, to the
last unit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from elsa.measures import MEASURES
from elsa.progress import no_progress
from elsa.report.lake import partitions
from elsa.report.lake.target import Target
from elsa.report.query import warehouse
from elsa.report.query.times import Window
from tests.support import lake
from tests.support.lake import Rows
from tests.support.month import END_NS, HOUR, Month, write

DAY = 24 * HOUR
KEYS = {
    "user_usage": ("host", "uid"),
    "command_usage": ("command", "forked_only"),
    "job_usage": ("job_id",),
}
QUERIES = [f"select * from {view}" for view in KEYS]
# What adds up over all that is in the warehouse, from any side.
BY_DAY = [
    f"select cast(day as string) as day, cast(sum(cpu_ns) as decimal(38, 0)) as cpu_ns,"
    f" cast(sum(processes) as bigint) as processes from {view} group by day"
    for view in ("user_day_usage", "command_day_usage")
]
# Of the warehouse only: a text that the lake has as an integer, and a local id.
OF_WAREHOUSE = {"started_at", "ended_at", "host_id"}
Engine = Callable[[str, list[str]], list[Rows]]


@pytest.fixture(scope="module")
def month(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A small month with everything that a busy host has, living processes included."""
    path = tmp_path_factory.mktemp("lake") / "elsa.db"
    path.write_bytes(template.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(3000))
    with warehouse.reading(path) as connection:
        yield connection


@pytest.fixture(scope="module")
def place(month: sqlite3.Connection, tmp_path_factory: pytest.TempPathFactory) -> str:
    """All of it in a lake."""
    folder = str(tmp_path_factory.mktemp("files") / "it's 100%")
    partitions.export(month, Target(folder), Window(), END_NS + DAY, no_progress, unfinished=True)
    return folder


@pytest.mark.parametrize("engine", [lake.in_duckdb, lake.in_spark])
def test_sums_by_user_command_and_job_are_those_of_the_warehouse(
    month: sqlite3.Connection, place: str, engine: Engine
) -> None:
    *views, by_user, by_command = engine(place, QUERIES + BY_DAY)
    for (view, keys), rows in zip(KEYS.items(), views, strict=True):
        cursor = month.execute(f"select * from {view}")
        names = [column[0] for column in cursor.description]
        expected = {
            _key(row, keys): row for row in (dict(zip(names, r, strict=True)) for r in cursor)
        }
        found = {_key(row, keys): row for row in rows}
        assert len(found) == len(rows)
        assert found.keys() == expected.keys()
        compared = expected[next(iter(expected))].keys() - OF_WAREHOUSE
        assert compared >= MEASURES.keys() - {"unjoined"}
        for key, row in expected.items():
            assert {name: _plain(found[key][name]) for name in compared} == {
                name: row[name] for name in compared
            }, (view, key)
    assert len(by_user) > 28
    assert sorted(by_user, key=str) == sorted(by_command, key=str)
    (running,) = [row["processes"] for row in by_user if row["day"] is None]
    assert (
        running
        == month.execute("select count(*) from process where elapsed_ns is null").fetchone()[0]
    )


def _key(row: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[key] for key in keys)


def _plain(value: Any) -> Any:
    """A decimal number as SQLite has it: an integer that fits 64 bits, or the nearest double."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value < 2**63 else float(value)
