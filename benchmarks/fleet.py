"""How fast hosts push and how fast a fleet answers: made-up hosts that push a day through `elsa
push`'s own code, in parallel, each as a role of its own, into a PostgreSQL of its own.

    benchmarks/fleet.py [--hosts N] [--clients N] [--days N] [--processes N]

A few warehouses have a day of different made-up processes of ten users (tests/support/month.py;
half of --processes to all of them), which elsa's own code rolled up. Each host is one of them with
a machine id of its own and its sums changed by its number, so that no two hosts agree in any sum.
It pushes the first 23 hours of the day; every tenth host then pushes the last hour, as a host does
every hour, and nothing. In the end the fleet's totals of every host, by table and measure, have to
equal those of its warehouse, to the last unit.

For reports on a month (--days) the sums of that day are copied to the days after on the server.
Reports run as programs of their own; medians of three are printed, beside the time of `elsa
config`, which says how busy the machine is.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from subprocess import DEVNULL
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import run
from elsa.fleet import hosts
from elsa.fleet.migrate import upgrade as upgrade_fleet
from elsa.fleet.push import push
from elsa.fleet.tables import Fleet
from elsa.fleet.warehouse import HOURLY
from elsa.fleet_url import FleetUrl
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB
from elsa.store.aggregates import Aggregate, of_parts
from elsa.store.upgrade import upgrade
from elsa.units import HOUR_NS
from tests.support.fleets import first_days, names
from tests.support.month import BEGIN_NS, Month
from tests.support.postgres import Server, required

DAY = 24
LAST_HOUR = BEGIN_NS // HOUR_NS + DAY - 1
NOW_NS = BEGIN_NS + (DAY + 1) * HOUR_NS
TEMPLATES = 8
USERS, COMMANDS = 10, 40
EVERY = 10
"""Of so many hosts one also pushes a single hour, and nothing."""
ROUNDS = 3
ELSA = Path(sys.executable).with_name("elsa")
MONTH = "2026-10"
REPORTS = (
    *("users", "commands", "days", "users --host host0"),
    *("bill --by user", "jobs", "kinds"),
)
SUMS: dict[str, dict[str, Aggregate]] = {
    table: of_parts(measures)
    for table, measures in (
        ("rollup_user", ROLLED),
        ("rollup_command", ROLLED),
        ("rollup_job", ROLLED_OF_JOB),
        ("rollup_audit", OF_AUDIT),
    )
}
assert SUMS.keys() == {*HOURLY}
Totals = dict[str, tuple[Any, ...]]


class Push(NamedTuple):
    """What a push took: elapsed time and the CPU time of the client."""

    wall_s: float
    cpu_s: float


class Done(NamedTuple):
    """What a host did."""

    day: Push
    hour: Push | None
    nothing: Push | None
    totals: Totals
    """The sums of all hours in its warehouse, with the number of rows."""


def templates(folder: Path, processes: int) -> list[Path]:
    """Warehouses with a day, rolled up, all different."""
    empty = folder / "empty.db"
    upgrade(empty)
    return [
        first_days(
            folder / f"{seed}.db",
            empty,
            1,
            Month(
                processes * 30 * (seed + TEMPLATES) // (2 * TEMPLATES),
                seed=seed,
                users=USERS,
                commands=COMMANDS,
            ),
            NOW_NS,
        )
        for seed in range(1, TEMPLATES + 1)
    ]


def _vary(connection: sqlite3.Connection, number: int) -> None:
    """Make a copy of a warehouse that of another host."""
    connection.execute("update host set machine_id = ?, name = ?", (f"m{number}", _name(number)))
    connection.execute("update boot set uuid = ? || '-' || id", (f"boot{number}",))
    for table, sums in SUMS.items():
        changed = ", ".join(
            f"{name} = {name} + {number}" for name, sum_ in sums.items() if sum_.fold == "sum"
        )
        if changed:
            connection.execute(f"update {table} set {changed}")


def _name(number: int) -> str:
    return f"host{number}"


def _totals_sql(sums: dict[str, Aggregate]) -> str:
    folds = {"max": "max(t.{})", "min": "min(t.{})"}
    listed = [
        folds.get(sum_.fold, "sum(t.{})").format(name)
        for name, sum_ in sums.items()
        if sum_.fold != "union"
    ]
    return ", ".join(["count(*)", *listed])


def _totals_of_host(connection: sqlite3.Connection) -> Totals:
    ready = "t.hour in (select hour from rollup_hour where ready = 1)"
    return {
        table: connection.execute(
            f"select {_totals_sql(sums)} from {table} as t where {ready}"
        ).fetchone()
        for table, sums in SUMS.items()
    }


def _push(task: tuple[int, Path, str]) -> Done:
    """Make a host and let it push."""
    number, path, url = task

    def timed() -> Push:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        push(own, FleetUrl(url), NOW_NS, names=names)
        return Push(time.perf_counter() - wall_s, time.process_time() - cpu_s)

    with tempfile.TemporaryDirectory(prefix="elsa-fleet-") as folder:
        own = Path(folder) / "elsa.db"
        shutil.copy(path, own)
        hour = nothing = None
        with closing(sqlite3.connect(own, isolation_level=None)) as connection:
            connection.execute("begin")
            _vary(connection, number)
            _set_ready(connection, 0)
            connection.execute("commit")
            day = timed()
            if number % EVERY == 0:
                _set_ready(connection, 1)
                hour, nothing = timed(), timed()
            return Done(day, hour, nothing, _totals_of_host(connection))


def _set_ready(connection: sqlite3.Connection, ready: int) -> None:
    """Whether the last hour is rolled up."""
    connection.execute("update rollup_hour set ready = ? where hour = ?", (ready, LAST_HOUR))


def _push_all(server: Server, database: str, asked: argparse.Namespace) -> list[Done]:
    """Let all hosts push, and print what it took."""
    admin = FleetUrl(server.url(database))
    for number in range(asked.hosts):
        hosts.add(admin, _name(number), password=False)
    empty, cpu_s = _size(server, database), _server_cpu_s(server)
    with tempfile.TemporaryDirectory(prefix="elsa-fleet-") as folder:
        paths = templates(Path(folder), asked.processes)
        tasks = [
            (number, paths[number % TEMPLATES], server.url(database, _name(number)))
            for number in range(asked.hosts)
        ]
        started, most = time.perf_counter(), 0
        with multiprocessing.Pool(asked.clients) as pool:
            result = pool.map_async(_push, tasks, chunksize=4)
            with server.connect(database) as connection:
                while not result.ready():
                    result.wait(0.2)
                    most = max(most, _connections(connection))
            done = result.get()
        wall_s = time.perf_counter() - started
    cpu_s = _server_cpu_s(server) - cpu_s
    rows = sum(of_table[0] for host in done for of_table in host.totals.values())
    size = _size(server, database) - empty
    print(f"{asked.hosts} hosts x 1 day by {asked.clients} clients: {wall_s:.0f} s")
    print(f"  {rows:,} rows of hours, {rows / wall_s:,.0f} a second; at most {most} connections")
    print(f"  {size / asked.hosts / 1024:.0f} KiB a host and day")
    print(f"  CPU of the server for all: {cpu_s:.0f} s")
    _print_pushes("23 hours", [host.day for host in done])
    _print_pushes("1 hour", [host.hour for host in done if host.hour])
    _print_pushes("nothing", [host.nothing for host in done if host.nothing])
    return done


def _connections(connection: Fleet) -> int:
    """How many hosts are connected now."""
    row = connection.execute(
        "select count(*) from pg_stat_activity where usename like 'host%'"
    ).fetchone()
    return int(row[0])


def _print_pushes(what: str, pushes: Sequence[Push]) -> None:
    walls = [each.wall_s for each in pushes]
    if walls:
        print(
            f"  a push of {what}: median {median(walls):.2f} s ({min(walls):.2f} to"
            f" {max(walls):.2f}); CPU of the client {median(each.cpu_s for each in pushes):.3f} s"
        )


def _require_equal(server: Server, database: str, done: Sequence[Done]) -> None:
    """Raise RuntimeError unless the fleet has the totals of every host. Of every tenth host it has
    the last hour; the warehouse of the others did not have it either.
    """
    with server.connect(database) as connection:
        ids = dict(connection.execute("select id, name from elsa.host").fetchall())
        by_name: dict[str, Totals] = {name: {} for name in ids.values()}
        for table, sums in SUMS.items():
            for host_id, *of_host in connection.execute(
                f"select t.host_id, {_totals_sql(sums)} from elsa.{table} as t"
                " where t.hour is not null group by t.host_id"
            ):
                by_name[ids[host_id]][table] = tuple(of_host)
            _require_same_days(connection, table, sums)
    if len(by_name) != len(done):
        raise RuntimeError(f"{len(by_name)} hosts of {len(done)} are there")
    for number, host in enumerate(done):
        for table, totals in host.totals.items():
            there = by_name[_name(number)].get(table, ())
            if len(there) != len(totals) or not all(map(_same, there, totals)):
                raise RuntimeError(f"{_name(number)}: {table} has {there}, not {totals}")
    print(f"  the totals of all {len(done)} hosts are those of their warehouses")


def _require_same_days(connection: Fleet, table: str, sums: dict[str, Aggregate]) -> None:
    """Raise RuntimeError unless the sums of days are those of the hours."""
    if table == "rollup_audit":
        return
    listed = _totals_sql(sums).partition(", ")[2]
    of_days, of_hours = (
        connection.execute(
            f"select t.host_id, {listed} from elsa.{name} as t where {when} is not null"
            " group by t.host_id order by t.host_id"
        ).fetchall()
        for name, when in ((table.replace("_", "_day_", 1), "t.day"), (table, "t.hour"))
    )
    for days, hours in zip(of_days, of_hours, strict=True):
        if not all(map(_same, days, hours)):
            raise RuntimeError(f"{table}: days have {days}, hours {hours}")


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Whether two sums are equal; those of floats depend on the order."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _size(server: Server, database: str) -> int:
    with server.connect(database) as connection:
        row = connection.execute(f"select pg_database_size('{database}')").fetchone()
    return int(row[0]) if row else 0


def _names(connection: Fleet, table: str) -> list[str]:
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = 'elsa'"
        f" and table_name = '{table}'"
    )
    return [name for (name,) in rows]


def _copy_days(server: Server, database: str, days: int) -> None:
    """Give every host the sums of the same day on the days after."""
    with server.connect(database) as connection:
        for table in ("rollup_day_user", "rollup_day_command"):
            columns = _names(connection, table)
            listed = ", ".join(f't."{name}"' if name != "day" else "t.day + n" for name in columns)
            into = ", ".join(f'"{name}"' for name in columns)
            connection.execute(
                f"insert into elsa.{table} ({into}) select {listed} from elsa.{table} as t,"
                f" generate_series(1, {days - 1}) as n"
            )
        connection.execute("vacuum analyze")


def _server_cpu_s(server: Server) -> float:
    """CPU time of the server and of its processes that have ended."""
    stat = Path(f"/proc/{server.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")


def _timed(server: Server, *command: object) -> str:
    """The medians of the elapsed time and of the CPU time of a program, and that of the server."""
    before = _server_cpu_s(server)
    samples = [run([*map(str, command)], stderr=DEVNULL) for _ in range(ROUNDS)]
    of_server = (_server_cpu_s(server) - before) / ROUNDS
    wall_s, cpu_s = (median(times) for times in zip(*(s[:2] for s in samples), strict=True))
    return f"{wall_s:.2f} s; CPU {cpu_s:.2f} s, of the server {of_server:.2f} s"


def main() -> None:
    """Push, compare, then report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--processes", type=int, default=500)
    asked = parser.parse_args()
    server = Server(required())
    try:
        database = server.database()
        url = server.url(database)
        upgrade_fleet(FleetUrl(url))
        done = _push_all(server, database, asked)
        _require_equal(server, database, done)
        size = _size(server, database)
        _copy_days(server, database, asked.days)
        more = (_size(server, database) - size) / 2**20
        print(f"{asked.hosts} hosts x {asked.days} days: {more:.0f} MiB of days more")
        print(f"  elsa config: {_timed(server, ELSA, 'config')}")
        with server.connect(database) as connection:
            connection.execute(
                "insert into elsa.tariff values (1, 0, 0, null, 'EUR', 'UTC', 2, null,"
                " '0', '1', '0', '0', '0')"
            )
        for words in REPORTS:
            asked_of = (ELSA, "report", *words.split(), "--month", MONTH, "--db", url)
            print(f"  elsa report {words}: {_timed(server, *asked_of)}")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
