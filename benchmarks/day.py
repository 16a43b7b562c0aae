"""How many bytes a day of a host with 300 living processes takes in the warehouse: what each of
them uses by the minute, as jobd writes it. `make bench`, or alone, as root.

First the processes of this host are read for some minutes: how many of them run in a minute, and
what they use then. Of these rows the minutes of a made-up day are drawn. In the worst case all 300
run in every minute. The figures are the growth of the file over the day, before and after it is
thinned to hours.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.intervals import Readings
from benchmarks.measure import Table
from elsa.kernel.procfs import Procfs
from elsa.progress import no_progress
from elsa.state.clock import Clock
from elsa.state.intervals import IntervalRow, reading
from elsa.store import intervals, retention
from elsa.store.retention import Cutoffs
from elsa.store.upgrade import upgrade
from elsa.units import HOUR_NS, SECOND_NS

PROCESSES = 300
MINUTE_NS = 60 * SECOND_NS
MINUTES = 24 * 60
# The day begins with an hour of the clock.
DAY_NS = 500_000 * HOUR_NS


def observed(minutes: int) -> tuple[float, list[IntervalRow]]:
    """Which share of the processes of this host runs in a minute, and the rows of those."""
    readings = Readings([pid for pid in Procfs().pids() if _has_memory(pid)])
    readings.read()
    rows: list[IntervalRow] = []
    for _ in range(minutes):
        time.sleep(60)
        rows += [row for row in readings.read().rows if any(row[4:])]
    readings.reader.close()
    return len(rows) / minutes / len(readings.lives), rows


def _has_memory(pid: int) -> bool:
    """Whether it is no kernel thread: most of these do not run in a minute."""
    return bool(Procfs().read_cmdline(pid, 1))


def day(rows: list[IntervalRow], share: float, seed: int = 1) -> tuple[float, float]:
    """MB by which a warehouse grows in a day in which this share of the processes runs in each
    minute; and what is left of that when the day is thinned.
    """
    chance = random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "elsa.db"
        upgrade(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("insert into host values (1, 'm', 'here')")
            connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
            connection.execute("insert into clock values (1, 1, 0, ?, 0)", (DAY_NS,))
            connection.executemany(
                "insert into process (id, boot_id, pid, origin, start_ns, clock_id)"
                " values (?, 1, ?, 1, 1, 1)",
                [(2 * pid, pid) for pid in range(1, PROCESSES + 1)],
            )
            before = _size(connection)
            clock = Clock(1, 0, DAY_NS, 0)
            for minute in range(MINUTES):
                ran = chance.sample(range(1, PROCESSES + 1), round(share * PROCESSES))
                drawn: list[IntervalRow] = [
                    (2 * pid, *chance.choice(rows)[1:]) for pid in sorted(ran)
                ]
                made = reading(clock, minute * MINUTE_NS, (minute + 1) * MINUTE_NS, drawn)
                connection.execute("begin immediate")
                intervals.write(connection, [made])
                connection.execute("commit")
            whole = _size(connection) - before
            cutoffs = Cutoffs(None, None, None, DAY_NS + 24 * HOUR_NS)
            retention.prune(connection, path, cutoffs, no_progress)
            return whole / 1e6, (_size(connection) - before) / 1e6


def _size(connection: sqlite3.Connection) -> int:
    connection.execute("pragma wal_checkpoint(truncate)")
    (pages,) = connection.execute("pragma page_count").fetchone()
    (size,) = connection.execute("pragma page_size").fetchone()
    return int(pages) * int(size)


def measured(options: argparse.Namespace) -> list[Table]:
    """The growth in a day, as observed and at worst."""
    share, rows = observed(options.minutes)
    figures: dict[str, list[float]] = {"the goal": [20.0]}
    for name, active in (("as here", share), ("all in every minute", 1.0)):
        sizes = [day(rows, active, seed) for seed in range(options.rounds)]
        figures[f"{name}, {active:.0%}"] = [whole for whole, _ in sizes]
        figures[f"{name}, thinned"] = [thinned for _, thinned in sizes]
    return [Table(f"a day of {PROCESSES} processes", "MB", "the goal", figures)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=3, help="for how long this host is read")
    measure.main(measured, parser)
