"""A machine with few pids, simulated: what both witnesses tell of its processes, with either torn,
and the truth beside it.

Forks, exits and records follow each other as the kernel's do; a collector hears them but in the
times it does not, and finds afterwards what still lives, as jobd does. Every process has a number
of its own, which joining does not see.
"""

from __future__ import annotations

import random
import sqlite3
import struct
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from elsa.matching.gaps import NEVER_NS, Gap, Gaps
from elsa.matching.host_boots import Boot
from elsa.matching.joiner import Joiner
from elsa.matching.pairing import ACCT_TICK_NS
from elsa.matching.recorded_ends import close_from_records
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, Join, Origin
from elsa.units import SECOND_NS

MS = 1_000_000
REAL = 1_700_000_000 * SECOND_NS
Spans = list[tuple[int, int]]


class Lived(NamedTuple):
    """One process as it truly was; times are monotonic."""

    number: int
    pid: int
    ppid: int
    start_ns: int
    """As the kernel records it; the fork event follows a little later."""
    fork_ns: int
    write_ns: int
    """When its record was written."""
    exit_ns: int
    """When its exit event arrived."""
    code: int


@dataclass
class Machine:
    """How busy it is, and for how long."""

    pids: int = 700
    processes: int = 2000
    at_once: int = 8
    pause_ns: int = 300_000
    """Between two forks, on average."""
    life_ns: int = 2 * MS
    """On average; every twentieth process lives a hundred times as long."""


def run(machine: Machine, chance: random.Random) -> list[Lived]:
    """Processes in the order of their forks. Pids go round; a pid is given out again once its
    record is written.
    """
    free_at = dict.fromkeys(range(300, 300 + machine.pids), 0)
    now_ns, pid, history = 10 * SECOND_NS + chance.randrange(SECOND_NS), 299, []
    parents = [3 + n for n in range(4)]
    for number in range(machine.processes):
        now_ns += int(chance.expovariate(1 / machine.pause_ns)) + 20_000
        for _ in range(machine.pids):
            pid = 300 + (pid - 299) % machine.pids
            if free_at[pid] <= now_ns:
                break
        else:
            now_ns = min(free_at.values())
            pid = min(free_at, key=free_at.__getitem__)
        scale = 100 if chance.random() < 0.05 else 1
        fork_ns = now_ns + chance.randrange(3_000, 60_000)
        write_ns = fork_ns + 30_000 + int(chance.expovariate(1 / (machine.life_ns * scale)))
        exit_ns = write_ns + chance.choice([20_000, 20_000, 20_000, chance.randrange(38 * MS)])
        code = chance.choice([0, 0, 0, 256, 9])
        history.append(
            Lived(number, pid, chance.choice(parents), now_ns, fork_ns, write_ns, exit_ns, code)
        )
        free_at[pid] = write_ns + 2_000
        now_ns = fork_ns
    return history


def within(spans: Spans, time_ns: int) -> tuple[int, int] | None:
    """The span that a time is in."""
    return next((span for span in spans if span[0] <= time_ns <= span[1]), None)


class Warehouse:
    """What collector and ingester made of it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        history: list[Lived],
        gaps: Spans,
        lost: set[int],
        heard_ns: int | None = None,
        *,
        collector_running: bool = True,
        scan_ns: int = 0,
        first_ns: int | None = None,
        read_ns: int = NEVER_NS,
    ) -> None:
        """In `gaps` no event is received, and so much later /proc has been read; the records of the
        processes `lost` are missing.

        Where `heard_ns` is given, what happened later has not been heard: not yet, or as jobd is
        not at work any more. Nor has what happened before `first_ns`, when jobd first ran.
        The files were read up to where they ended at `read_ns`.
        """
        self.connection = connection
        self.history = history
        connection.execute("insert into host values (1, 'm', 'h')")
        connection.execute("insert into boot values (1, 1, 'b', ?, null, 4000000)", (REAL,))
        connection.execute("insert into clock values (2, 1, 0, ?, 0)", (REAL,))
        connection.execute("insert into comm values (1, 'x')")
        for pid in range(3, 7):
            self._process(2 * pid, pid, None, Origin.SNAPSHOT, SECOND_NS, None)
        self.of: dict[int, int] = {}
        """Truth: number by incarnation."""
        now_ns = self.end_ns + 5 * SECOND_NS
        heard_ns = now_ns if heard_ns is None else heard_ns
        self._hear(gaps if first_ns is None else [(0, first_ns), *gaps], heard_ns, scan_ns)
        self._write(lost)
        clocks = Clocks([Clock(2, 0, REAL, 0)])
        self._boot = Boot(
            1,
            clocks,
            heard_ns,
            complete=True,
            gaps=Gaps(Gap(from_ns, to_ns, to_ns + scan_ns) for from_ns, to_ns in gaps),
            first_ns=first_ns,
            read_ns=read_ns,
            collector_running=collector_running,
            now_at_ns=REAL + now_ns,
        )
        for _ in range(2):
            self._join(self._boot)

    @property
    def end_ns(self) -> int:
        """When the last exit event arrived."""
        return max((one.exit_ns for one in self.history), default=0)

    def join_later(self, *, collector_running: bool) -> None:
        """Two minutes later, with jobd still at work or not since the end."""
        if collector_running:
            self._join(self._boot._replace(heard_ns=self.end_ns + 120 * SECOND_NS))
        else:
            self._join(
                self._boot._replace(
                    collector_running=False, now_at_ns=REAL + self.end_ns + 120 * SECOND_NS
                )
            )

    def close_from_records(self) -> None:
        """What the ingester does when all is joined."""
        close_from_records(self.connection, [self._boot], collector_running=False)

    def _join(self, boot: Boot) -> None:
        joiner = Joiner(self.connection, 1, [boot])
        verdicts = joiner.join_pending()
        joiner.write_made({})
        self.connection.executemany(
            "update acct set process_id = ?, join_outcome = ? where id = ?",
            zip(verdicts.process_ids, verdicts.outcomes, verdicts.record_ids, strict=True),
        )

    def _process(
        self,
        id_: int,
        pid: int,
        parent: int | None,
        origin: Origin,
        start_ns: int,
        end: tuple[int, End, int | None] | None,
    ) -> None:
        elapsed_ns, how, status = (end[0] - start_ns, *end[1:]) if end else (None, None, None)
        self.connection.execute(
            """insert into process (id, boot_id, pid, parent_id, origin, start_ns, clock_id,
               elapsed_ns, end_source, exit_status)
               values (?, 1, ?, ?, ?, ?, 2, ?, ?, ?)""",
            (id_, pid, parent, origin, start_ns, elapsed_ns, how, status),
        )

    def _hear(self, gaps: Spans, heard_ns: int, scan_ns: int) -> None:
        seen = []
        next_of: dict[int, int] = {}
        reused: dict[int, int] = {}
        for one in reversed(self.history):
            reused[one.number] = next_of.get(one.pid, 2**62)
            next_of[one.pid] = one.fork_ns
        unknown = [(from_ns, to_ns + scan_ns) for from_ns, to_ns in gaps]
        for one in self.history:
            missed, vanished = within(gaps, one.fork_ns), within(unknown, one.exit_ns)
            if missed and one.write_ns < missed[1] + scan_ns + MS:
                continue  # it was gone before anybody looked
            if vanished and vanished[0] <= one.fork_ns:
                vanished = None  # all its events were received
            known_ns = missed[1] + scan_ns if missed else one.fork_ns
            if known_ns > heard_ns:
                continue
            seen.append((known_ns, one, missed, vanished))
        for id_, (_, one, missed, vanished) in enumerate(sorted(seen, key=lambda row: row[0]), 100):
            how = End.EXIT
            end_ns = min(one.exit_ns, reused[one.number])
            if vanished:
                end_ns, how = min(vanished[1], reused[one.number]), End.VANISHED
            elif one.exit_ns > heard_ns >= end_ns:
                how = End.REUSED
            start_ns, origin = (
                (one.start_ns // ACCT_TICK_NS * ACCT_TICK_NS, Origin.SNAPSHOT)
                if missed
                else (one.fork_ns, Origin.FORK)
            )
            end = (
                (end_ns, how, one.code if how is End.EXIT else None) if end_ns <= heard_ns else None
            )
            self._process(2 * id_, one.pid, None if missed else 2 * one.ppid, origin, start_ns, end)
            self.of[2 * id_] = one.number

    def _write(self, lost: set[int]) -> None:
        self.connection.execute(
            "insert into acct_file values (1, 1, '/pacct', 0, 0, 0, 0, x'', x'', 0, 0, 0, 0)"
        )
        rows: list[tuple[int | float, ...]] = []
        for one in sorted(self.history, key=lambda one: one.write_ns):
            if one.number in lost:
                continue
            elapsed_ns = one.write_ns - one.start_ns
            btime = (one.write_ns + REAL) // SECOND_NS - elapsed_ns // SECOND_NS
            etime = struct.unpack("f", struct.pack("f", elapsed_ns // ACCT_TICK_NS))[0]
            # The number stands where joining does not look.
            rows.append((len(rows) + 1, one.number, one.code, one.pid, one.ppid, btime, etime))
        self.connection.executemany(
            """insert into acct (id, position, exitcode, pid, ppid, btime, etime, acct_file_id,
               join_outcome, version, flag, tty, uid, gid,
                                 utime, stime, mem, io, rw, minflt, majflt, swaps, comm_id)
               values (?, ?, ?, ?, ?, ?, ?, 1, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1)""",
            rows,
        )

    def count(self) -> Counter[str]:
        """What became of the records: by join, and how many are wrong, marked or not."""
        counts: Counter[str] = Counter()
        for number, process_id, how in self.connection.execute(
            "select position, process_id, join_outcome from acct"
        ):
            word = Join(how).name.lower()
            counts[word] += 1
            if how in (Join.EXACT, Join.UNCERTAIN) and self.of[process_id] != number:
                counts[f"wrong {word}"] += 1
            if how == Join.OWN and number in self.of.values():
                counts["known, but own"] += 1
        return counts
