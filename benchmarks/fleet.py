"""How fast hosts push and how fast a fleet answers: made-up hosts with a day or a month of sums,
pushed by parallel clients through `elsa push`'s own code into a PostgreSQL of its own.

    benchmarks/fleet.py [--hosts N] [--pushed N] [--clients N] [--days N] [--users N]

Each of --pushed warehouses has one day with 24 hours of sums, of --users users, 20 commands and 20
jobs, and is pushed by one of --clients processes. Sums of days of further hosts, and of the days
before, are copied from these on the server, so that reports read a month (--days) of --hosts hosts.
Reports run as programs of their own. Medians of three are printed, beside the time of `elsa
config`, which says how busy the machine is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from subprocess import DEVNULL

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import run
from elsa.fleet.migrate import upgrade as upgrade_fleet
from elsa.fleet.push import push
from elsa.fleet.tables import Fleet
from elsa.fleet_url import FleetUrl
from elsa.measures import ROLLED, ROLLED_OF_JOB
from elsa.store.aggregates import columns
from elsa.store.upgrade import upgrade
from elsa.units import HOUR_NS
from tests.support.postgres import Server, required

HOURS = 24
FIRST_DAY = 20_756
"""2026-10-30 (UTC): the day that is pushed."""
COMMANDS, JOBS = 20, 20
ROUNDS = 3
ELSA = Path(sys.executable).with_name("elsa")
MONTH = "2026-10"


def template(path: Path, users: int) -> None:
    """A warehouse with a day of sums."""
    upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin")
        connection.execute("insert into host values (1, 'template', 'template')")
        begin_ns = FIRST_DAY * HOURS * HOUR_NS
        connection.execute(f"insert into boot values (1, 1, 'boot', {begin_ns}, null, 4000000)")
        connection.execute(f"insert into clock values (1, 1, 0, {begin_ns}, 0)")
        for id_ in range(1, COMMANDS + 1):
            connection.execute("insert into comm values (?, ?)", (id_, f"command{id_}"))
        for id_ in range(2, 2 * JOBS + 2, 2):
            connection.execute(
                "insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself, kind)"
                f" values ({id_}, 1, 'service{id_}', 0, {begin_ns}, 0, 'service')"
            )
        for hour in range(FIRST_DAY * HOURS, (FIRST_DAY + 1) * HOURS):
            _hour(connection, hour, users)
        connection.execute("commit")


def _hour(connection: sqlite3.Connection, hour: int, users: int) -> None:
    keys: dict[str, list[tuple[int, ...]]] = {
        "rollup_user": [(1000 + n, 100, n % 2, 1) for n in range(users)],
        "rollup_command": [(n, 0, 1) for n in range(1, COMMANDS + 1)],
        "rollup_job": [(n,) for n in range(2, 2 * JOBS + 2, 2)],
    }
    names = {
        "rollup_user": "uid, gid, in_job, host_id",
        "rollup_command": "comm_id, forked_only, host_id",
        "rollup_job": "job_id",
    }
    connection.execute(
        "insert into rollup_hour (hour, ready, made_at_ns) values (?, 1, ?)", (hour, hour)
    )
    for table, rows in keys.items():
        sums = [*columns(ROLLED_OF_JOB if table == "rollup_job" else ROLLED)]
        figures = ", ".join(str(1_234_567 * (place + 1) + hour) for place in range(len(sums)))
        places = ", ".join("?" * len(rows[0]))
        connection.executemany(
            f"insert into {table} (hour, pruned, {names[table]}, {', '.join(sums)})"
            f" values ({hour}, 1, {places}, {figures})",
            rows,
        )


def _push(task: tuple[int, Path, str]) -> tuple[float, int]:
    number, path, url = task
    with tempfile.TemporaryDirectory(prefix="elsa-fleet-") as folder:
        own = Path(folder) / "elsa.db"
        shutil.copy(path, own)
        with closing(sqlite3.connect(own)) as connection, connection:
            connection.execute(
                "update host set machine_id = ?, name = ?", (f"m{number}", f"host{number}")
            )
            connection.execute("update boot set uuid = ?", (f"boot{number}",))
        started = time.perf_counter()
        done = push(own, FleetUrl(url), (FIRST_DAY + 2) * HOURS * HOUR_NS)
        return time.perf_counter() - started, done.hours


def _size(server: Server, database: str) -> int:
    with server.connect(database) as connection:
        row = connection.execute(f"select pg_database_size('{database}')").fetchone()
    return int(row[0]) if row else 0


def _copy_hosts(server: Server, database: str, hosts: int) -> None:
    """Copy the hosts that were pushed until there are so many."""
    with server.connect(database) as connection:
        row = connection.execute("select count(*), min(id) from elsa.host").fetchone()
        pushed, first = row or (0, 0)
        for start in range(pushed, hosts, pushed):
            # Ids are counted up in the order of the rows.
            connection.execute(
                "insert into elsa.host (machine_id, name, version, since_hour, until_hour)"
                f" select 'm' || id + {start}, 'host' || id - {first} + {start}, version,"
                f" since_hour, until_hour from elsa.host where id < {first + pushed} order by id"
                f" limit {hosts - start}"
            )
        for table in ("rollup_day_user", "rollup_day_command", "account", "boot", "clock"):
            names = _names(connection, table)
            listed = ", ".join(f't."{name}"' for name in names if name != "host_id")
            into = ", ".join(f'"{name}"' for name in names if name != "host_id")
            connection.execute(
                f"insert into elsa.{table} (host_id, {into})"
                f" select h.id, {listed} from elsa.host as h join elsa.{table} as t"
                f" on t.host_id = (h.id - {first}) % {pushed} + {first}"
                f" where h.id >= {first + pushed}"
            )


def _names(connection: Fleet, table: str) -> list[str]:
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = 'elsa'"
        f" and table_name = '{table}'"
    )
    return [name for (name,) in rows]


def _copy_days(server: Server, database: str, days: int) -> None:
    """Give every host the sums of the same day on the days before."""
    with server.connect(database) as connection:
        for table in ("rollup_day_user", "rollup_day_command"):
            names = _names(connection, table)
            listed = ", ".join(f't."{name}"' if name != "day" else "t.day - n" for name in names)
            into = ", ".join(f'"{name}"' for name in names)
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
    """Push, then report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--pushed", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--users", type=int, default=10)
    asked = parser.parse_args()
    server = Server(required())
    try:
        database = server.database()
        url = server.url(database)
        upgrade_fleet(FleetUrl(url))
        empty = _size(server, database)
        with tempfile.TemporaryDirectory(prefix="elsa-fleet-") as folder:
            path = Path(folder) / "elsa.db"
            template(path, asked.users)
            tasks = [(number, path, url) for number in range(asked.pushed)]
            started = time.perf_counter()
            with multiprocessing.Pool(asked.clients) as pool:
                pushed = pool.map(_push, tasks, chunksize=4)
            wall_s = time.perf_counter() - started
        rows = asked.pushed * HOURS * (asked.users + COMMANDS + JOBS)
        size = _size(server, database) - empty
        print(f"{asked.pushed} hosts x 1 day by {asked.clients} clients: {wall_s:.1f} s")
        print(f"  {rows / wall_s:,.0f} rows of hours a second")
        print(f"  {size / asked.pushed / 1024:.0f} KiB a host and day")
        print(f"  a push: median {median(time_s for time_s, _ in pushed):.2f} s")
        _copy_hosts(server, database, asked.hosts)
        _copy_days(server, database, asked.days)
        print(f"{asked.hosts} hosts x {asked.days} days: {_size(server, database) / 2**20:.0f} MiB")
        print(f"  elsa config: {_timed(server, ELSA, 'config')}")
        with server.connect(database) as connection:
            connection.execute(
                "insert into elsa.tariff values (1, 0, 0, null, 'EUR', 'UTC', 2, null,"
                " '0', '1', '0', '0', '0')"
            )
        for words in ("users", "commands", "days", "users --host host7", "bill --by user"):
            asked_of = (ELSA, "report", *words.split(), "--month", MONTH, "--db", url)
            print(f"  elsa report {words}: {_timed(server, *asked_of)}")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
