"""Bytes of the warehouse per process, table by table and index by index: `make bench`, or alone
with --json and a number of processes.

Three warehouses of the same made-up month (tests/support/month.py), rolled up: with events and
taskstats, with the events pruned, without taskstats. Hourly sums weigh the more the fewer processes
an hour has, so few processes show them far too large.

1,000,000 processes, SQLite 3.40, 2026-11-30: 410, 304 and 203 bytes per process, of which sums 67,
67 and 47.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from elsa.store import retention, rollups
from elsa.store.upgrade import upgrade
from elsa.units import HOUR_NS
from tests.support.month import BEGIN_NS, END_NS, HOURS, Month, write

PROCESSES = 20_000


def sizes(connection: sqlite3.Connection, processes: int) -> dict[str, float]:
    """Bytes per process of each table and index."""
    rows = connection.execute(
        "select name, sum(pgsize) from dbstat group by name order by 2 desc"
    ).fetchall()
    return {name: round(size / processes, 1) for name, size in rows}


def measured(processes: int) -> dict[str, dict[str, float]]:
    """The sizes of the three."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for taskstats in (True, False):
            path = Path(folder) / f"{taskstats}.db"
            upgrade(path)
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                write(connection, Month(processes, events=taskstats, taskstats=taskstats))
                # each hour when it is over, as on a host
                for hour in range(HOURS):
                    rollups.refresh(connection, path, BEGIN_NS + hour * HOUR_NS)
                rollups.refresh(connection, path, END_NS)
                if not taskstats:
                    found["without events and taskstats"] = sizes(connection, processes)
                    continue
                found["with events and taskstats"] = sizes(connection, processes)
                retention.prune(
                    connection,
                    path,
                    retention.Cutoffs(END_NS, None, None),
                    lambda _done, _total: None,
                )
                found["events pruned"] = sizes(connection, processes)
    return found


def main() -> None:
    """Measure and print."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    found = measured(numbers[0] if numbers else PROCESSES)
    if "--json" in sys.argv:
        print(json.dumps(found, indent=2))
        return
    for kind, tables in found.items():
        print(f"{kind}: {sum(tables.values()):.0f} bytes per process")
        print("".join(f"    {size:7.1f}  {name}\n" for name, size in tables.items() if size >= 0.5))


if __name__ == "__main__":
    main()
