"""How long reports take on a made-up month of a busy host: the whole command, and its SQL alone;
against sa, lastcomm and DuckDB.

    benchmarks/reports.py [--processes N ...] [--folder FOLDER] [--parquet] [--beside-writers]
                          [--json]

The month (tests/support/month.py) has 1,000 jobs, 200 users and 300 commands, and of enough
processes a job of 100,000; its hours and days are rolled up, as `elsa ingest` keeps them. Several
sizes show how each report grows. A warehouse made in --folder is taken from there the next time.

* wall s: the command, Python's start included, with the file in the cache of the operating system
  as the runs before left it. sa and lastcomm read the same records from an accounting file.
* query s: what `--explain` prints, in a new connection. With --parquet and DuckDB installed (it is
  no dependency) the same question in DuckDB over what `elsa db export` wrote, in a new connection
  too.
* --beside-writers: all of it while one process writes as jobd does and another as the ingester
  does, into the same warehouse.

The last run, medians of five (of 10,000,000: sa and lastcomm once); DuckDB before that, on a busier
machine:

    2 cores, Linux 6.18.44, Python 3.11.7, SQLite 3.40.1, DuckDB 2.0.0, 2026-11-23
                                processes    100,000       1,000,000               10,000,000
                                           wall  query    wall  query  DuckDB    wall  query  DuckDB
    summary of a job (401, 4,251, 19,981)  0.14  0.018    0.19  0.037   0.10     0.35  0.129   0.42
    commands of the month                  0.15  0.030    0.20  0.043   0.13     0.24  0.069   0.95
    users of the month                     0.16  0.015    0.17  0.022   0.11     0.20  0.042   0.65
    days of the month                      0.14  0.009    0.16  0.013   0.18     0.19  0.031   1.07
    commands of a day                      0.14  0.012    0.17  0.024   0.03     0.23  0.061   0.08
    the newest 20 jobs                     0.14  0.015    0.39  0.049   0.03     0.62  0.115   0.09
    last 100 of a user                     0.13           0.15          0.12     0.17          0.84
    bill of the month                      0.19  0.021    0.20  0.026   0.09     0.22  0.032   0.54
    tree of a job (401, 100,000, 100,000)  0.15  0.008    1.92  0.304            1.78  0.331
    audit                                  0.23  0.088    0.75  0.454            3.88  3.36
    sa                                     0.35           2.33                  22.6
    GNU sa -i                              0.021          0.12                   1.18
    GNU lastcomm                           0.26           2.33                  23.8

    CPU s at 1,000,000 of a later version, in turns with sa -i (0.115), 2026-11-30: the newest 20
    jobs 0.38, tree of 100,000 1.05, all its lines 2.0, audit 0.80, sa 1.01, commands, users, days
    and bill 0.21 to 0.22

    1,000,000, beside writers at 200 processes/s (11,000 to 25,000 of them not rolled up), wall and
    query: summary of a job 0.28 0.093, commands 0.29 0.099, users 0.35 0.071, days 0.20 0.066,
    commands of a day 0.18 0.026, the newest 20 jobs 0.34 0.061, last 100 of a user 0.19, bill 0.28
    0.032, tree 3.1 0.65, audit 5.5 5.3; GNU sa -i 0.16
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.measure import Sample, Table
from tests.support.peers import program

PROCESSES = 1_000_000
SA = "sa -i"
USERS = "users of the month"
LARGE = 100_000
# Beside writers: so many processes begin and end each second, some fifty times what ten million a
# month are.
RATE = 200
STEP_S = 0.1
# Questions that take minutes are asked less often.
SLOW_S = 10.0

_SUMS = (
    "count(process_id), sum(elapsed_s), sum(user_s), sum(system_s), sum(cpu_s) as cpu,"
    " max(rss_kib), sum(read_bytes), sum(write_bytes)"
)
_MEMBERS = "select process_id from '{at}/memberships/*/*.parquet' where job_id = {job}"


class Question(NamedTuple):
    """One report: the words of the command, and the same for DuckDB where it can be asked."""

    words: list[str]
    duckdb: str = ""


def questions(path: Path) -> dict[str, Question]:
    """What is asked, in words, and how."""
    job = value(
        path, "select job_id from job_usage where processes < 20000 order by processes desc limit 1"
    )
    large = value(path, "select job_id from job_usage order by processes desc limit 1")
    uid = value(
        path, "select uid from rollup_user group by uid order by sum(processes) desc limit 1"
    )
    day = value(path, "select date(min(hour) * 3600 + 10 * 86400, 'unixepoch') from rollup_hour")
    at = "from '{at}/processes/*/*.parquet'"
    keys = f"command, forked_only, {_SUMS}"
    members = value(path, f"select count(*) from all_memberships where job_id = {large}")
    top = "group by all order by cpu desc nulls last limit 20"
    return {
        "summary of a job": Question(
            ["job", job],
            f"select {keys} {at} where process_id in ({_MEMBERS}) {top}".replace("{job}", job),
        ),
        "commands of the month": Question(
            ["commands", "--limit", "20"], f"select {keys} {at} {top}"
        ),
        USERS: Question(["users", "--limit", "20"], f"select uid, {_SUMS} {at} {top}"),
        "days of the month": Question(
            ["days"], f"select ended_at::date as day, {_SUMS} {at} group by all order by day"
        ),
        "timeline of a day": Question(
            ["timeline", "--since", f"{day}T00:00Z", "--until", f"{day}T23:59:59Z"]
        ),
        "commands of a day": Question(
            ["commands", "--since", f"{day}T00:00Z", "--until", f"{day}T23:59:59Z"],
            f"select {keys} {at} where day = '{day}' {top}",
        ),
        "the newest 20 jobs": Question(
            ["jobs", "--limit", "20"],
            "select * exclude (created_at, closed_at, started_at, ended_at) from"
            " '{at}/jobs.parquet' order by job_id desc limit 20",
        ),
        "last 100 of a user": Question(
            ["last", "--user", uid, "--limit", "100"],
            f"select command, uid, tty, pid, cpu_s, elapsed_s, epoch_ms(ended_at) {at} where uid ="
            f" {uid} order by ended_at desc limit 100",
        ),
        f"tree of {members} processes": Question(["tree", large]),
        "bill of the month": Question(
            ["bill", "--month", day[:7]],
            f"select uid, sum(cpu_s), sum(coremem_mb_s), sum(read_bytes), sum(write_bytes) {at}"
            " group by all",
        ),
        "audit": Question(["audit"]),
        "sa": Question(["sa"]),
    }


def value(path: Path, sql: str) -> str:
    """The only value of a query."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return str(connection.execute(sql).fetchone()[0])


# --- the warehouse


def made(path: Path, processes: int) -> None:
    """A month in a warehouse, rolled up, with a tariff, and a large job if there are enough
    processes.
    """
    if path.exists():
        return
    new = path.with_suffix(".new")
    subprocess.run(
        [sys.executable, "-m", "tests.support.month", str(processes), str(new)], check=True
    )
    quietly = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL)
    quietly(
        measure.elsa(
            "db",
            "tariff",
            "add",
            "--from",
            "2020-01-01",
            "--currency",
            "EUR",
            "--cpu-hour",
            "0.05",
            "--db",
            str(new),
        )
    )
    if processes >= 10 * LARGE:
        # The trees of some jobs of one boot together.
        members = (
            "select distinct process_id from all_memberships"
            " where job_id in (select id from job where boot_id = 2)"
        )
        where = f"process_id in ({members} limit {LARGE})"
        quietly(measure.elsa("job", "define", "large", "--where", where, "--db", str(new)))
    quietly(measure.elsa("db", "rollup", "--db", str(new)))
    new.rename(path)


# --- one measurement


def explained(path: Path, words: list[str]) -> list[str]:
    """The statements of a report; none where it has no --explain."""
    done = subprocess.run(
        measure.elsa("report", *words, "--explain", "--db", str(path)),
        capture_output=True,
        text=True,
        check=False,
    )
    found, text = [], ""
    for line in done.stdout.splitlines(keepends=True) if not done.returncode else ():
        text += line
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return found


def timed(ask: Callable[[], object]) -> Sample:
    """What asking costs in this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    ask()
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    return Sample(wall_s, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, 0.0)


def in_sqlite(path: Path, statements: list[str]) -> None:
    """Ask SQLite in a new connection."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def in_duckdb(sql: str) -> None:
    """Ask DuckDB in a new connection, which never opens the warehouse."""
    connection = importlib.import_module("duckdb").connect()
    connection.execute(sql).fetchall()
    connection.close()


def exported(path: Path, to: Path) -> bool:
    """Whether there is DuckDB, and something for it to read."""
    try:
        importlib.import_module("duckdb")
    except ImportError:
        print("DuckDB is not installed, so nothing is compared with it", file=sys.stderr)
        return False
    if not to.exists():
        new = to.with_suffix(".new")
        subprocess.run(
            measure.elsa("db", "export", str(new), "--db", str(path)),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        new.rename(to)
    return True


# --- beside writers

_PROCESS = """insert into process
    (id, boot_id, pid, origin, start_ns, clock_id, elapsed_ns, end_clock_id, end_source,
    exit_status, uid, comm_id)
    values (?, 9, ?, 1, ?, 90, 30000000, 90, 1, 0, 1000, 1)"""
_USAGE = """insert into usage (process_id, threads, complete, run_ns, utime_us, stime_us, rss_kib)
    values (?, 1, 1, 9000000, 5000, 4000, 2000)"""
_RECORD = (
    "insert into acct values (null, 1, ?, ?, 1, 0, 3, 0, 0, 1000, 100, ?, 1, ?, 3.0, 0, 0, 6000, 0,"
    " 0, 100, 0, 0, 1, null)"
)
_FIRST = 10**9


def writing(path: Path, part: str) -> None:
    """Write without end, as jobd or the ingester does: what happened since the last time, in one
    transaction.
    """
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("pragma synchronous = normal")
        last = (
            connection.execute(
                "select coalesce(max(id), 0) from process where id >= ?", (_FIRST,)
            ).fetchone()[0]
            or _FIRST
        )
        while True:
            connection.execute("begin immediate")
            if part == "jobd":
                now_ns = time.time_ns()
                ids = range(last + 2, last + 2 + 2 * int(RATE * STEP_S), 2)
                connection.executemany(
                    _PROCESS, [(id_, id_ % 30000, now_ns - id_ % 10**9) for id_ in ids]
                )
                connection.executemany(_USAGE, [(id_,) for id_ in ids])
                last = ids[-1]
            else:
                told = connection.execute(
                    "select id, pid, start_ns from process where id > ?", (last,)
                ).fetchall()
                connection.executemany(
                    _RECORD,
                    [(id_ * 64, id_, pid, start_ns // 10**9) for id_, pid, start_ns in told],
                )
                last = max((id_ for id_, _, _ in told), default=last)
            connection.execute("commit")
            time.sleep(STEP_S if part == "jobd" else 1.0)


@contextmanager
def writers(path: Path) -> Iterator[None]:
    """Both of them, for a while. What they write belongs to a boot of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("insert or ignore into boot values (9, 1, 'now', 0, null, 4000000)")
        connection.execute("insert or ignore into clock values (90, 9, 0, 0, 0)")
    running = [
        subprocess.Popen([sys.executable, __file__, "--write", part, str(path)])
        for part in ("jobd", "ingester")
    ]
    try:
        yield
        if any(process.poll() is not None for process in running):
            raise RuntimeError("a writer has ended")
    finally:
        for process in running:
            process.kill()
            process.wait()


# --- tables


def bench(options: argparse.Namespace) -> list[Table]:
    """Every report of every size."""
    tables = []
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            path = folder / f"month-{processes}.db"
            made(path, processes)
            if options.beside_writers:
                with writers(path):
                    tables += of(path, folder, options)
            else:
                tables += of(path, folder, options)
    return tables


def of(path: Path, folder: Path, options: argparse.Namespace) -> list[Table]:
    """Every report on one warehouse, and the peers on its records, in turns."""
    asked = questions(path)
    with tempfile.TemporaryDirectory() as temporary:
        pacct = Path(temporary) / "pacct"
        with pacct.open("wb") as file:
            subprocess.run(
                measure.elsa("report", "dump-acct", "--raw", "--db", str(path)),
                check=True,
                stdout=file,
            )
        commands: dict[str, Callable[[], Sample]] = {
            name: partial(
                measure.run,
                measure.elsa("report", *question.words, "--db", str(path)),
                stderr=subprocess.DEVNULL,
            )
            for name, question in asked.items()
        }
        for name, words in {SA: ["-i", str(pacct)], "lastcomm": ["-f", str(pacct)]}.items():
            tool = program(name.split()[0])
            if tool:
                commands[name] = partial(measure.run, [tool, *words])
        walls = measured(commands, options.rounds)
    queries: dict[str, Callable[[], Sample]] = {}
    parquet = folder / f"{path.stem}.parquet"
    both = options.parquet and exported(path, parquet)
    for name, question in asked.items():
        # `last` looks from the last hour back, until it has enough; --explain shows the statement
        # that would look at all.
        statements = [] if question.words[0] == "last" else explained(path, question.words)
        if statements:
            queries[name] = partial(timed, partial(in_sqlite, path, statements))
        if both and question.duckdb:
            queries[f"{name}, DuckDB"] = partial(
                timed, partial(in_duckdb, question.duckdb.replace("{at}", str(parquet)))
            )
    alone = measured(queries, options.rounds)
    count = int(value(path, "select count(*) from process"))
    title = f"{count:,} processes{' and more, being written' if options.beside_writers else ''}"
    reference = SA if SA in walls else USERS
    if SA in walls:
        alone[SA] = walls[SA]
    return [
        *measure.tables(title, reference, walls, "wall_s"),
        *measure.tables(f"{title}, query alone", reference, alone, "wall_s"),
    ]


def measured(candidates: dict[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Each in turns; those that take very long once."""
    first = {name: candidate() for name, candidate in candidates.items()}
    quick = {
        name: candidate for name, candidate in candidates.items() if first[name].wall_s < SLOW_S
    }
    found = measure.in_turns(quick, rounds)
    return {name: found.get(name, [first[name]]) for name in candidates}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        writing(Path(sys.argv[3]), sys.argv[2])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[PROCESSES],
        metavar="N",
        help=f"how many processes ({PROCESSES:,})",
    )
    parser.add_argument("--folder", type=Path, help="where to make the months, or where they are")
    parser.add_argument("--parquet", action="store_true", help="compare with DuckDB over Parquet")
    parser.add_argument(
        "--beside-writers",
        action="store_true",
        help="measure while others write; they change the warehouse",
    )
    measure.main(bench, parser)
