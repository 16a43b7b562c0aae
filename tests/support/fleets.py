"""Pushing warehouses in tests, and comparing what a fleet database has with the host's own sums, to
the last unit.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from elsa.fleet import warehouse
from elsa.fleet.push import Pushed, push
from elsa.fleet_url import FleetUrl
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB, Measure
from elsa.store import rollups
from elsa.store.aggregates import of_parts
from elsa.units import HOUR_NS
from tests.support.month import BEGIN_NS, END_NS, Month, write
from tests.support.postgres import Server

LATER_NS = END_NS + 3 * 86_400 * 10**9
"""Three days after the made-up month."""
Sums = dict[tuple[Any, ...], tuple[Any, ...]]
_KEYS = {
    "rollup_user": ("t.uid", "t.gid", "t.in_job"),
    "rollup_command": ("{command}", "t.forked_only"),
    "rollup_job": ("t.job_id",),
    "rollup_audit": ("t.boot_id", "t.class", "t.before_first_start"),
}
_MEASURES: dict[str, dict[str, Measure]] = {
    "rollup_user": ROLLED,
    "rollup_command": ROLLED,
    "rollup_job": ROLLED_OF_JOB,
    "rollup_audit": OF_AUDIT,
}


def month(path: Path, template: Path, processes: int = 1000, machine_id: str = "m" * 32) -> Path:
    """A warehouse with a made-up month, rolled up."""
    with _made(path, template, Month(processes), machine_id) as connection:
        rollups.refresh(connection, path, LATER_NS)
    return path


def week(path: Path, template: Path, *, rolled_up_ns: int = LATER_NS) -> Path:
    """The first four days of one, and what still runs, rolled up until some time."""
    return first_days(path, template, 4, Month(3000), rolled_up_ns)


def first_days(path: Path, template: Path, days: int, month: Month, rolled_up_ns: int) -> Path:
    """The first days of a month, and what still runs, rolled up until some time."""
    until = (BEGIN_NS + days * 86_400 * 10**9) // HOUR_NS
    with _made(path, template, month, "m" * 32) as connection:
        connection.execute("delete from acct where ended_hour >= ?", (until,))
        connection.execute("delete from process where ended_hour >= ?", (until,))
        connection.execute(
            "delete from usage_interval where reading_id in"
            " (select id from usage_reading where hour >= ?)",
            (until,),
        )
        connection.execute("delete from usage_reading where hour >= ?", (until,))
        for table in ("membership", "usage", "usage_so_far"):
            connection.execute(
                f"delete from {table} where process_id not in (select id from process)"
            )
        rollups.refresh(connection, path, rolled_up_ns)
    return path


@contextmanager
def _made(
    path: Path, template: Path, month: Month, machine_id: str
) -> Iterator[sqlite3.Connection]:
    path.write_bytes(template.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, month)
        connection.execute("update host set machine_id = ?", (machine_id,))
        connection.execute("update boot set uuid = ? || '-' || id", (machine_id[:8],))
        yield connection


def names(kind: str, number: int) -> str | None:
    """Made-up names of users and groups."""
    return f"{kind}{number}"


def pushed(path: Path, url: str, now_ns: int = LATER_NS, **more: Any) -> Pushed:
    """Push a warehouse."""
    return push(path, FleetUrl(url), now_ns, names=names, **more)


def _fold(rows: list[tuple[Any, ...]], keys: int, measures: dict[str, Measure]) -> Sums:
    """Rows of sums added up by key, in Python, where no sum is too large."""
    totals: dict[tuple[Any, ...], list[Any]] = {}
    folds: dict[str, Callable[[Any, Any], Any]] = {"max": max, "min": min, "union": operator.or_}
    aggregates = list(of_parts(measures).values())
    for row in rows:
        key, figures = row[:keys], row[keys:]
        total = totals.setdefault(key, [None] * len(figures))
        for place, (figure, aggregate) in enumerate(zip(figures, aggregates, strict=True)):
            if figure is None:
                continue
            so_far = total[place]
            how = folds.get(aggregate.fold, operator.add)
            total[place] = figure if so_far is None else how(so_far, figure)
    return {key: tuple(total) for key, total in totals.items()}


def of_host(path: Path, table: str, *, whole_jobs: bool = False) -> Sums:
    """The sums that a warehouse has by hour and key; of jobs also what is in no hour."""
    measures, keys = _MEASURES[table], _KEYS[table]
    command = "(select c.name from comm as c where c.id = t.comm_id)"
    listed = ", ".join((*keys, *of_parts(measures))).format(command=command)
    with closing(sqlite3.connect(path)) as connection:
        if whole_jobs:
            rows = connection.execute(f"select {listed} from job_usage_part as t").fetchall()
            return _fold(rows, len(keys), measures)
        rows = connection.execute(
            f"select t.hour, {listed} from {table} as t"
            " where t.hour in (select hour from rollup_hour where ready = 1)"
        ).fetchall()
        return _fold(rows, len(keys) + 1, measures)


def of_fleet(
    server: Server, database: str, table: str, host_id: int, *, whole_jobs: bool = False
) -> Sums:
    """The same from the fleet database."""
    measures = _MEASURES[table]
    listed = ", ".join((*_KEYS[table], *of_parts(measures))).format(command="t.command")
    where = "" if whole_jobs else " and t.hour is not null"
    hour = "" if whole_jobs else "t.hour, "
    with server.connect(database) as connection:
        rows = connection.execute(
            f"select {hour}{listed} from elsa.{table} as t where t.host_id = %s{where}", [host_id]
        ).fetchall()
    return _fold(rows, len(_KEYS[table]) + (not whole_jobs), measures)


def days_of_fleet(server: Server, database: str, table: str, host_id: int) -> tuple[Sums, Sums]:
    """The sums by day of a table, and what its hours add up to."""
    measures, keys = _MEASURES[table], _KEYS[table]
    listed = ", ".join((*keys, *of_parts(measures))).format(command="t.command")
    by_day = table.replace("rollup_", "rollup_day_")
    with server.connect(database) as connection:
        days = connection.execute(
            f"select t.day, {listed} from elsa.{by_day} as t where host_id = %s", [host_id]
        ).fetchall()
        hours = connection.execute(
            f"select t.hour / 24, {listed} from elsa.{table} as t"
            " where host_id = %s and hour is not null",
            [host_id],
        ).fetchall()
    count = len(keys) + 1
    return _fold(days, count, measures), _fold(hours, count, measures)


def id_of(server: Server, database: str, path: Path) -> int:
    """The id in the fleet of the host of a warehouse."""
    with closing(sqlite3.connect(path)) as mine, server.connect(database) as theirs:
        query = "select id from elsa.host where machine_id = %s"
        row = theirs.execute(query, mine.execute("select machine_id from host").fetchone())
        ((number,),) = row.fetchall()
        return int(number)


def assert_equal(server: Server, database: str, path: Path) -> None:
    """The fleet has of a host what its warehouse has: hours, days, jobs and losses."""
    host_id = id_of(server, database, path)
    for table in warehouse.HOURLY:
        assert of_fleet(server, database, table, host_id) == of_host(path, table), table
        if table != "rollup_audit":
            days, hours = days_of_fleet(server, database, table, host_id)
            assert days == hours, table
    assert of_fleet(server, database, "rollup_job", host_id, whole_jobs=True) == of_host(
        path, "rollup_job", whole_jobs=True
    )
    with closing(sqlite3.connect(path)) as mine, server.connect(database) as theirs:
        for table in (*warehouse.SMALL, "job", "job_tag", "job_cgroup"):
            columns = ", ".join(f'"{name}"' for name in warehouse.columns(table))
            there = theirs.execute(
                f"select {columns} from elsa.{table} where host_id = %s", [host_id]
            ).fetchall()
            assert sorted(map(repr, there)) == sorted(
                map(repr, mine.execute(warehouse.SELECT[table], {"host": 1}))
            ), table


def add_up(server: Server, database: str, column: str = "cpu_ns") -> int:
    """A sum over all hosts."""
    with server.connect(database) as connection:
        row = connection.execute(f"select sum({column}) from elsa.rollup_user").fetchone()
    assert row is not None
    return int(row[0] or 0)


def host_total(path: Path, column: str = "cpu_ns") -> int:
    """The same sum in a warehouse, in which every hour is rolled up."""
    with closing(sqlite3.connect(path)) as connection:
        return int(
            connection.execute(f"select coalesce(sum({column}), 0) from rollup_user").fetchone()[0]
        )
