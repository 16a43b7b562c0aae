"""How long the web pages and the metrics take on a made-up month of a busy host.

    benchmarks/pages.py [--processes N] [--db FILE]

The month is that of benchmarks/reports.py, rolled up; with --db it is taken from a file. A page is
asked for within one process, as `elsa web` makes it, three times after a first one; the least CPU
time and the size are printed. Windows are the last day.

The last run (cpu s):

    2 cores, Linux 6.18.44, Python 3.11.7, SQLite 3.40.1, 1,000,000 processes, 2026-11-30
                                       cpu s     KiB
    a day by kind                       0.15      32
    a day by user                       0.21      94
    latest runs                         0.53      24
    newest jobs                         0.20      23
    jobs of a day                       0.22      24
    a job                               0.14     125
    a job over time                     0.32      24
    tree of a job                       0.19      35
    last 100 processes of a user        0.08      55
    failed processes of a day           0.09      61
    trust of a day                      0.17      11
    metrics                             0.11      83
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from elsa.store import database, rollups
from elsa.store.upgrade import upgrade
from elsa.units import HOUR_NS, SECOND_NS
from elsa.web.app import create_app
from elsa.web.identity import Reader
from elsa.web.settings import Settings
from tests.support.month import END_NS, Month, write

PROCESSES = 1_000_000
TIMES = 3
DAY_NS = 24 * HOUR_NS


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%MZ")


WINDOW = f"since={_day(END_NS - DAY_NS)}&until={_day(END_NS)}"
PAGES = {
    "a day by kind": f"/?{WINDOW}",
    "a day by user": f"/?{WINDOW}&by=user",
    "latest runs": "/runs?kind=manual",
    "newest jobs": "/jobs",
    "jobs of a day": f"/jobs?{WINDOW}",
    "a job": "/job/100",
    "a job over time": "/job/100/time",
    "tree of a job": "/job/100/tree",
    "last 100 processes of a user": f"/processes?user=1005&since={_day(END_NS - 30 * DAY_NS)}",
    "failed processes of a day": f"/processes?{WINDOW}&exit=nonzero",
    "trust of a day": f"/trust?{WINDOW}",
    "metrics": "/metrics",
}


def made(path: Path, processes: int) -> None:
    """A month, rolled up."""
    upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(processes))
    with closing(database.open_for_writing(path)) as connection:
        rollups.refresh(connection, path, END_NS + DAY_NS)


def measured(path: Path) -> None:
    """Print a line for each page."""
    settings = Settings(
        path, frozenset({"localhost"}), lambda _: Reader("root", 0, manages=True), 60.0, "forever"
    )
    client = create_app(settings).test_client()
    print(f"{'':<32}{'cpu s':>8}{'KiB':>8}")
    for name, address in PAGES.items():
        client.get(address, buffered=True)
        times = []
        for _ in range(TIMES):
            start = time.process_time()
            answer = client.get(address, buffered=True)
            times.append(time.process_time() - start)
        assert answer.status_code == 200, answer.text
        print(f"{name:<32}{min(times):>8.2f}{len(answer.data) / 1024:>8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--db", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.db or Path(folder) / "month.db"
        if arguments.db is None:
            made(path, arguments.processes)
        measured(path)


if __name__ == "__main__":
    main()
