"""What it costs to read the counters of 100, 1,000 and 10,000 living processes, as root: `make
bench`, or alone with --most N. The reference is to read /proc/PID/stat of each once.

The figures are CPU time for one reading of all, when none has run since the reading before, and
when each has run a little; and of the memory of all, as resident and as proportional set sizes. And
what the rows take in the warehouse.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.measure import Sample, Table
from elsa.decode.procfs import parse_pss, parse_stat
from elsa.host import proc_scan
from elsa.jobd.counter_reader import CounterReader
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import Origin
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import Reading, Used, reading
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from elsa.store import intervals
from elsa.store.upgrade import upgrade

COUNTS = (100, 1000, 10_000)


@contextmanager
def living(program: Path, count: int) -> Iterator[list[int]]:
    """So many processes that wait; each runs a little when it gets SIGUSR1. They are of a C
    program, since 10,000 children of Python would copy gigabytes.
    """
    with subprocess.Popen(
        [program, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pids = [int(line) for line in iter(parent.stdout.readline, b"\n")]
        assert len(pids) == count, f"{len(pids)} of {count} processes could be started"
        yield pids
        parent.communicate()


class Readings:
    """Reads all processes as jobd does."""

    def __init__(self, pids: list[int]) -> None:
        offsets = clocks.offsets()
        clock = Clock(1, 0, offsets.realtime_ns, offsets.boottime_ns)
        self.processes = Processes(Jobs(), 2, Clocks([clock]))
        self.procfs = Procfs()
        self.reader = CounterReader(self.procfs, lambda _pid: {}, delays=False)
        self.lives = [life for pid in pids if (life := self._life(pid)) is not None]

    def _life(self, pid: int) -> Incarnation | None:
        monotonic = self.processes.clocks.from_boottime_ns
        shown = proc_scan.find(self.procfs, pid, monotonic, with_uid=False)
        if shown is None:
            return None
        return self.processes.adopt(pid, shown.start_ns, Origin.SNAPSHOT)

    def read(self) -> Reading:
        """What all have used since the reading before."""
        rows = []
        for life in self.lives:
            before = life.used
            fingerprint = b"" if before is None else before.fingerprint
            monotonic = self.processes.clocks.from_boottime_ns
            shown = self.reader.read(life, monotonic, fingerprint)
            if shown is not None:
                life.used = before or Used()
                life.used.uid = life.uid
                used = life.used.advance(shown)
                rows.append((life.id, shown.gid, shown.forked_only, shown.rss_kib, *used))
        now_ns = clocks.monotonic_ns()
        return reading(self.processes.clocks.current, 0, now_ns, rows)

    def stat(self) -> None:
        """The reference."""
        for life in self.lives:
            self.procfs.read_stat(life.pid)

    def rss(self) -> int:
        """Resident memory of all, in pages."""
        stats = (self.procfs.read_stat(life.pid) for life in self.lives)
        return sum(parse_stat(data).rss_pages for data in stats if data is not None)

    def pss(self) -> int:
        """Proportional set sizes of all, in KiB."""
        rollups = (self.procfs.read_smaps_rollup(life.pid) for life in self.lives)
        return sum(parse_pss(data or b"") or 0 for data in rollups)


def timed(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> Sample:
    """How long some work takes, after other work that does not count."""
    before()
    began, began_cpu = time.perf_counter(), time.thread_time()
    work()
    return Sample(time.perf_counter() - began, time.thread_time() - began_cpu, 0)


def measured(program: Path, count: int, rounds: int) -> tuple[list[Table], float]:
    """The tables for so many processes, and bytes of a row."""
    with living(program, count) as pids:
        readings = Readings(pids)
        time.sleep(1)

        def wake() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGUSR1)
            time.sleep(0.2 + count / 20_000)

        candidates: dict[str, Callable[[], Sample]] = {
            "stat of each": lambda: timed(readings.stat),
            "all ran": lambda: timed(readings.read, wake),
            "none ran": lambda: timed(readings.read),
            "memory, rss": lambda: timed(readings.rss),
            "memory, pss": lambda: timed(readings.pss),
        }
        samples = measure.in_turns(candidates, rounds)
        wake()
        size = row_size([*(_after(readings, wake) for _ in range(20))])
        readings.reader.close()
    return measure.tables(f"{count} processes", "stat of each", samples, "cpu_s"), size


def _after(readings: Readings, wake: Callable[[], object]) -> Reading:
    wake()
    return readings.read()


def row_size(made: list[Reading]) -> float:
    """Bytes in the warehouse for each process and interval."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "elsa.db"
        upgrade(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("insert into host values (1, 'm', 'here')")
            connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
            connection.execute("insert into clock values (1, 1, 0, 0, 0)")
            for each in made:
                connection.execute("begin")
                intervals.write(connection, [each])
                connection.execute("commit")
            connection.execute("vacuum")
            (used,) = connection.execute(
                "select sum(pgsize) from dbstat where name in ('usage_interval', 'usage_reading')"
            ).fetchone()
            (rows,) = connection.execute("select count(*) from usage_interval").fetchone()
    return float(used) / max(int(rows), 1)


def all_measured(options: argparse.Namespace) -> list[Table]:
    """Every table."""
    tables, sizes = [], {}
    with tempfile.TemporaryDirectory() as folder:
        program = measure.compiled("sleepers", Path(folder))
        for count in COUNTS:
            if count <= options.most:
                made, sizes[f"{count} processes"] = measured(program, count, options.rounds)
                tables += made
    return [
        *tables,
        Table(
            "a row",
            "bytes",
            "a row at most",
            {"a row at most": [30.0]} | {name: [size] for name, size in sizes.items()},
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=COUNTS[-1], metavar="N")
    measure.main(all_measured, parser)
