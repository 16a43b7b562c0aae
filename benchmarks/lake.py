"""What a lake costs: `elsa db export --partition` of a made-up month, how large its files are, and
sums by job, user and day in DuckDB over them, beside the views of the warehouse in SQLite.

    benchmarks/lake.py [--processes N] [--folder FOLDER] [--rounds N] [--json]

The month is that of tests/support/month.py, rolled up. A warehouse in --folder is taken from there
the next time. `again` is a run that has nothing to write; `last week` has --since, as cron runs it.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import duckdb

from benchmarks import measure
from benchmarks.measure import Sample, Table
from benchmarks.reports import made
from elsa.report.lake import views

QUESTIONS = {
    "jobs": "select job_id, processes, cpu_s from job_usage",
    "jobs, all columns": "select * from job_usage",
    "users": "select uid, processes, cpu_s from user_usage",
    "users, all columns": "select * from user_usage",
}
OF_A_DAY = "select uid, processes, cpu_ns from user_day_usage where day = date '2026-10-10'"


def bench(options: argparse.Namespace) -> list[Table]:
    with tempfile.TemporaryDirectory(prefix="elsa-lake-") as temporary:
        db = (options.folder or Path(temporary)) / f"month-{options.processes}.db"
        made(db, options.processes)
        lake = Path(temporary) / "lake"
        return [
            *exporting(db, lake, options.rounds),
            size(db, lake, options.processes),
            *asking(db, lake, options.rounds),
        ]


def exporting(db: Path, lake: Path, rounds: int) -> list[Table]:
    command = measure.elsa("db", "export", "--partition", str(lake), "--db", str(db))

    def first() -> Sample:
        shutil.rmtree(lake, ignore_errors=True)
        return measure.run(command)

    candidates: dict[str, Callable[[], Sample]] = {
        "first": first,
        "again": partial(measure.run, command),
        "last week": partial(measure.run, [*command, "--since", "2026-10-24"]),
    }
    samples = measure.in_turns(candidates, rounds)
    return measure.tables("export", "first", samples, "wall_s", "cpu_s", "peak_mib")


def size(db: Path, lake: Path, processes: int) -> Table:
    files = {"SQLite": [db]} | {
        folder.name: [path for path in folder.rglob("*") if path.is_file()]
        for folder in sorted(lake.iterdir())
    }
    each = {
        name: [sum(path.stat().st_size for path in paths) / processes]
        for name, paths in files.items()
    }
    return Table("size", "bytes per process", "SQLite", each)


def asking(db: Path, lake: Path, rounds: int) -> list[Table]:
    in_duckdb = duckdb.connect()
    for statement in views.statements("duckdb", str(lake)):
        in_duckdb.execute(statement)
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as in_sqlite:
        candidates: dict[str, Callable[[], Sample]] = {
            f"{name}, {engine}": partial(timed, connection, question)
            for name, question in QUESTIONS.items()
            for engine, connection in (("SQLite", in_sqlite), ("DuckDB", in_duckdb))
        }
        candidates["users of a day, DuckDB"] = partial(timed, in_duckdb, OF_A_DAY)
        samples = measure.in_turns(candidates, rounds)
    return measure.tables("query", "jobs, SQLite", samples, "wall_s", "cpu_s")


def timed(connection: duckdb.DuckDBPyConnection | sqlite3.Connection, question: str) -> Sample:
    """One query, with all its rows."""
    wall, cpu = time.perf_counter(), time.process_time()
    connection.execute(question).fetchall()
    return Sample(time.perf_counter() - wall, time.process_time() - cpu, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=100_000, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to make the month, or where it is")
    measure.main(bench, parser)
