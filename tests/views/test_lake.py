"""The views of sql/lake/ give in DuckDB and in Spark what the views of the warehouse give, to the
last unit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
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
from tests.support import given, lake
from tests.support.lake import Rows
from tests.support.month import END_NS, HOUR, Month, write

DAY = 24 * HOUR
ODD = "a/b=c%20 d:'"
KEYS = {
    "user_usage": ("host", "uid"),
    "command_usage": ("host", "command", "forked_only"),
    "job_usage": ("host", "job_id"),
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
def hosts(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, sqlite3.Connection]]:
    """Two warehouses: a small month with everything that a busy host has, and a few processes with
    the same ids on a host with an odd name.
    """
    folder = tmp_path_factory.mktemp("lake")
    fill = {"busy": lambda connection: write(connection, Month(3000)), ODD: fill_odd}
    with ExitStack() as stack:
        connections = {}
        for number, (name, write_rows) in enumerate(fill.items()):
            path = folder / f"{number}.db"
            path.write_bytes(template.read_bytes())
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                write_rows(connection)
            connections[name] = stack.enter_context(warehouse.reading(path))
        yield connections


def fill_odd(connection: sqlite3.Connection) -> None:
    """Sums beyond 64 bits; a service whose member was measured in intervals, left its job and came
    back; and a process that inherited the service and still runs.
    """
    rows = given.Warehouse(connection)
    connection.execute("update host set name = ?, machine_id = 'odd'", (ODD,))
    for number in (1, 2, 3):
        rows.process(number)
        rows.usage(number, read_bytes=2**63 - 1)
    rows.job(1, members=(1, 2, 3))
    rows.job(2, "nginx", kind="service")
    rows.process(4, start=10, seconds=100_000, inherited_job_id=2)
    rows.process(5, start=10, seconds=None, inherited_job_id=2)
    rows.stay(1, 4, since=1000, until=5000)
    rows.stay(1, 4, since=9000, until=50_000)
    for second in (1000, 4000, 5000, 9000, 20_000, 50_000, 90_000):
        used = {"utime_us": second * 1000, "stime_us": 0, "run_ns": second * 10**6, "nvcsw": second}
        if second in (1000, 5000, 9000, 50_000):
            rows.read(4, at=second, **used)
        else:
            rows.reading(second, {4: used, 5: used})
    rows.usage(4, utime_us=10**8, stime_us=5, run_ns=10**11, nvcsw=10**6, rss_kib=77)


@pytest.fixture(scope="module")
def place(hosts: dict[str, sqlite3.Connection], tmp_path_factory: pytest.TempPathFactory) -> str:
    """All of it in one lake."""
    folder = str(tmp_path_factory.mktemp("files") / "it's 100%")
    for connection in hosts.values():
        partitions.export(
            connection, Target(folder), Window(), END_NS + DAY, no_progress, unfinished=True
        )
    return folder


@pytest.mark.parametrize("engine", [lake.in_duckdb, lake.in_spark])
def test_sums_by_user_command_and_job_are_those_of_the_warehouses(
    hosts: dict[str, sqlite3.Connection], place: str, engine: Engine
) -> None:
    *views, by_user, by_command = engine(place, QUERIES + BY_DAY)
    for (view, keys), rows in zip(KEYS.items(), views, strict=True):
        expected = {}
        for name, connection in hosts.items():
            cursor = connection.execute(f"select * from {view}")
            names = [column[0] for column in cursor.description]
            for values in cursor:
                row = {"host": name} | dict(zip(names, values, strict=True))
                expected[_key(row, keys)] = row
        found = {_key(row, keys): row for row in rows}
        assert len(found) == len(rows)
        assert found.keys() == expected.keys()
        compared = {*names, "host"} - OF_WAREHOUSE
        assert compared >= MEASURES.keys() - {"unjoined"}
        for key, row in expected.items():
            assert {name: _plain(found[key][name]) for name in compared} == {
                name: row[name] for name in compared
            }, (view, key)
    assert len(by_user) > 28
    assert sorted(by_user, key=str) == sorted(by_command, key=str)
    (unfinished,) = [row["processes"] for row in by_user if row["day"] is None]
    assert unfinished == sum(
        connection.execute("select count(*) from process where elapsed_ns is null").fetchone()[0]
        for connection in hosts.values()
    )


def test_the_rows_that_are_compared_hold_what_is_hard(
    hosts: dict[str, sqlite3.Connection],
) -> None:
    jobs = dict(hosts[ODD].execute("select job_id, read_bytes from job_usage"))
    assert jobs[1] > 2**64
    intervals = "select count(*), sum(user_ns) from job_interval_usage where job_id = ?"
    (others, used), (_, of_service) = (
        hosts[ODD].execute(intervals, (job,)).fetchone() for job in (1, 2)
    )
    assert others >= 4
    assert 0 < used < of_service


def _key(row: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[key] for key in keys)


def _plain(value: Any) -> Any:
    """A decimal number as SQLite has it: an integer that fits 64 bits, or the nearest double."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value < 2**63 else float(value)
