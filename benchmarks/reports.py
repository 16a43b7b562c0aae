"""How long reports take, cold, on a made-up month of a busy host, against sa and lastcomm reading the same records.

    benchmarks/reports.py [--processes N] [--warehouse FILE] [--json]

Every figure is that of a whole command, Python's start included. The month (tests/month.py) has 1,000 jobs, 200 users and 300 commands;
its hours are rolled up, as `elsa ingest` keeps them. With --warehouse the month is made there, or taken from there if it was made before.

The last run:

    2 cores, Linux 6.18.44, Python 3.11.7, 2026-11-22
    1,000,000 processes of 30 days [wall s]
                                 median        min        max   ratio
      summary of a job            0.358      0.344      0.399    0.93
      commands of the month       0.600      0.589      0.627    1.56
      users of the month          0.386      0.361      0.404    1.00
      days of the month           0.417      0.365      0.462    1.08
      commands of a day           0.169      0.154      0.178    0.44
      the newest 20 jobs          0.405      0.402      0.430    1.05
      last 100 of a user          0.166      0.148      0.188    0.43
      tree of a job               0.301      0.294      0.340    0.78
      bill of the month           0.878      0.875      0.983    2.28
      audit                       4.999      4.926      5.162   12.97
      sa                          2.307      2.244      2.418    5.98
    1,000,000 processes of 30 days [CPU s]
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.measure import Sample, Table
from tests.peers import program

PROCESSES = 1_000_000
SA = "sa -i"


def made(path: Path, processes: int) -> None:
    """A month in a warehouse, rolled up."""
    if not path.exists():
        subprocess.run([sys.executable, "-m", "tests.month", str(processes), str(path)], check=True)
    subprocess.run(measure.elsa("db", "rollup", "--db", str(path)), check=True, stdout=subprocess.DEVNULL)


def value(path: Path, sql: str) -> str:
    """The only value of a query."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return str(connection.execute(sql).fetchone()[0])


def reports(path: Path) -> dict[str, list[str]]:
    """What is asked, in words, and how."""
    job = value(path, "select job_id from membership group by job_id order by count(*) desc limit 1")
    uid = value(path, "select uid from rollup_user group by uid order by sum(processes) desc limit 1")
    day = value(path, "select date(min(hour) * 3600 + 10 * 86400, 'unixepoch') from rollup_hour")
    month = day[:7]
    return {
        "summary of a job": ["job", job],
        "commands of the month": ["commands", "--limit", "20"],
        "users of the month": ["users", "--limit", "20"],
        "days of the month": ["days"],
        "commands of a day": ["commands", "--since", f"{day}T00:00Z", "--until", f"{day}T23:59:59Z"],
        "the newest 20 jobs": ["jobs", "--limit", "20"],
        "last 100 of a user": ["last", "--user", uid, "--limit", "100"],
        "tree of a job": ["tree", job],
        "bill of the month": ["bill", "--month", month],
        "audit": ["audit"],
        "sa": ["sa"],
    }


def bench(options: argparse.Namespace) -> list[Table]:
    """Every report, and the peers on the records of the same warehouse, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        path = options.warehouse or Path(folder) / "elsa.db"
        made(path, options.processes)
        if value(path, "select count(*) from tariff") == "0":
            price = ["db", "tariff", "add", "--from", "2020-01-01", "--currency", "EUR", "--cpu-hour", "0.05", "--db", str(path)]
            subprocess.run(measure.elsa(*price), check=True, stdout=subprocess.DEVNULL)
        pacct = Path(folder) / "pacct"
        with pacct.open("wb") as file:
            subprocess.run(measure.elsa("report", "dump-acct", "--raw", "--db", str(path)), check=True, stdout=file)

        def report(words: list[str]) -> Sample:
            return measure.run(measure.elsa("report", *words, "--db", str(path)), stderr=subprocess.DEVNULL)

        candidates = {name: lambda words=words: report(words) for name, words in reports(path).items()}  # type: ignore[misc]
        for name, words in {SA: ["sa", "-i", pacct], "lastcomm": ["lastcomm", "-f", pacct]}.items():
            tool = program(words[0])
            if tool:
                candidates[name] = lambda tool=tool, words=words: measure.run([tool, *words[1:]])  # type: ignore[misc]
        count = int(value(path, "select count(*) from process"))
        samples = measure.in_turns(candidates, options.rounds)
        reference = SA if SA in samples else "users of the month"
        return measure.tables(f"{count:,} processes of 30 days", reference, samples, "wall_s", "cpu_s", "peak_mib")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help=f"how many processes ({PROCESSES:,})")
    parser.add_argument("--warehouse", type=Path, metavar="FILE", help="where to make the month, or where it is")
    measure.main(bench, parser)
