"""What the warehouse of a jobd knows of one job, for who asks that jobd: read directly, so that
jobd has nothing to do for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from elsa.control import protocol
from elsa.control.client import Client
from elsa.errors import ElsaError, RetryError, UnavailableError, UsageError
from elsa.kernel import clocks
from elsa.run.usage_sums import Member, Tally, Used
from elsa.state.codes import How
from elsa.store import database
from elsa.store.measures import LONGEST_TICK_NS, MEASURES, Aggregate

# Answers of jobd take under a millisecond; the pauses between questions grow, since whoever waits
# for hours is in no hurry.
PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
# A jobd that is being restarted has this long to answer again.
ABSENCE_S = 10.0

_USED = ", ".join(f"u.{name}" for name in Used._fields)
_MEMBERS = f"""
    select p.id, n.name, p.start_ns + p.elapsed_ns, {_USED}
    from process p
    left join comm n on n.id = p.comm_id
    left join usage u on u.process_id = p.id
    where p.id in (select process_id from membership where job_id = ?)
"""
_COMMAND = f"""
    select p.id, p.start_ns + p.elapsed_ns
    from membership m
    join process p on p.id = m.process_id
    where m.job_id = ? and m.how = {How.LAUNCHED:d}
"""
_LOST = """
    select coalesce(sum(coalesce(g.lost, 1)), 0)
    from gap g
    where g.boot_id = (select boot_id from job where id = ?) and g.from_ns <= ? and g.to_ns >= ?
"""
_PART_LIFE = (
    "select m.process_id from membership m where m.job_id = :job and (m.since_ns <> 0 or m.until_ns"
    " is not null)"
)
_FIGURES = ("read_chars", "write_chars", "read_bytes", "write_bytes")
_SUMS = ", ".join(Aggregate("sum", f"u.{name}").sql for name in _FIGURES)
_A_TICK = f"coalesce(b.tick_ns, {LONGEST_TICK_NS})"
# The rule for CPU time is that of sql/process/incarnation_usage.sql; the slower view itself is
# needed for those who were members for a part.
_FINISHED = f"""
    select count(*), count(u.process_id), total(
        case when u.run_ns >= {_A_TICK} then u.run_ns
        else coalesce(max(u.run_ns, (u.utime_us + u.stime_us) * 1000), (u.utime_us + u.stime_us) * 1000) end
    ) / 1e9, max(u.rss_kib),
    count(case when u.process_id is not null and coalesce(u.run_ns, 0) < {_A_TICK} then 1 end),
    coalesce(sum(case when u.run_ns >= {_A_TICK} then u.threads end), 0), {_SUMS}
    from process p
    join boot b on b.id = p.boot_id
    left join usage u on u.process_id = p.id
    where p.id in (select process_id from membership where job_id = :job) and p.elapsed_ns is not null and p.id not in ({_PART_LIFE})
    union all
    select count(*), count(u.cpu_s), total(u.cpu_s), max(u.rss_kib),
    {MEASURES["sampled"].sql()}, coalesce(sum(case when u.run_ns >= u.tick_ns then coalesce(u.threads, 1) end), 0), {_SUMS}
    from job_process_usage u
    where u.job_id = :job and u.process_id in ({_PART_LIFE}) and (u.state = 'ended' or u.until_ns is not null)
"""
# What members had used when they came in, less what they used in earlier stays: to be taken off
# what they have now.
_BEFORE = """
    select b.process_id, {}
    from counter_snapshot b
    where b.job_id = :job
    group by b.process_id
    having count(*) = (
        select sum((m.since_ns <> 0) + (m.until_ns is not null)) from membership m where m.job_id = :job and m.process_id = b.process_id
    )
"""
_ENDED_SINCE = """
    select p.id
    from process p
    where p.id in (select process_id from membership where job_id = :job) and p.start_ns + p.elapsed_ns >= :since
"""


@contextmanager
def _reading(db: Path) -> Iterator[sqlite3.Connection]:
    with database.translated(db), closing(database.open_for_reading(db)) as connection:
        connection.execute("begin")  # one state of the warehouse for all questions
        yield connection


def tally(db: Path, job_id: int, ours_ns: int = 0) -> Tally:
    """All members of a job, added up; `ours_ns` of the CPU time of the command was not its own."""
    with _reading(db) as connection:
        total = Tally(_tick(connection, job_id))
        command, ended_ns = connection.execute(_COMMAND, (job_id,)).fetchone() or (None, None)
        for process_id, name, end_ns, *figures in connection.execute(_MEMBERS, (job_id,)):
            used = Used._make(figures) if figures[0] is not None else None
            if used is not None and process_id == command:
                used = used.without(ours_ns)
            total.add(Member(name, end_ns, used), ended_ns)
    return total


def _tick(connection: sqlite3.Connection, job_id: int) -> int | None:
    """The tick of the kernel on which a job runs."""
    found = connection.execute(
        "select b.tick_ns from job j join boot b on b.id = j.boot_id where j.id = ?", (job_id,)
    ).fetchone()
    return found[0] if found else None


class Fineness(NamedTuple):
    """How finely the CPU time of those that ended is known."""

    sampled: int
    """Processes shorter than a tick."""
    threads: int
    """Of the others: each may lack up to a tick."""
    tick_ns: int | None
    """The kernel's; None where it is not known."""


class Known(NamedTuple):
    """What the warehouse knows of a job whose members still run."""

    processes: int
    """How many have ended, or were taken out."""
    told: int
    """Of so many of them the figures are."""
    cpu_s: float
    rss_kib: int | None
    io: tuple[int | None, ...]
    """Sums in the order of `_FIGURES`; None where nobody told of any."""
    ended: set[int]
    """The process ids of those that ended since the time that was asked for."""
    before: dict[int, tuple[int | None, ...]]
    """By the process ids of those that came in later: CPU time in ns, then I/O, to be taken off
    what they have used by now.
    """
    fineness: Fineness


def known(db: Path, job_id: int, since_ns: int) -> Known:
    """What the members used that have ended or left, and what else is needed to tell it from what
    the others use.
    """
    named = {"job": job_id, "since": since_ns}
    cpu = "coalesce(b.run_ns, (b.utime_us + b.stime_us) * 1000)"
    columns = ", ".join(
        f"case when count({one}) = count(*) then sum((1 - 2 * b.edge) * {one}) end"
        for one in (cpu, *(f"b.{n}" for n in _FIGURES))
    )
    with _reading(db) as connection:
        whole, part = connection.execute(_FINISHED, named).fetchall()
        told = [row for row in (whole, part) if row[1]]
        rss_kib = max((row[3] for row in told if row[3] is not None), default=None)
        fineness = Fineness(whole[4] + part[4], whole[5] + part[5], _tick(connection, job_id))
        io = tuple(_sum([row[place] for row in told]) for place in range(6, 6 + len(_FIGURES)))
        ended = {process_id for (process_id,) in connection.execute(_ENDED_SINCE, named)}
        before = {
            process_id: tuple(figures)
            for process_id, *figures in connection.execute(_BEFORE.format(columns), named)
        }
    return Known(
        whole[0] + part[0],
        whole[1] + part[1],
        whole[2] + part[2],
        rss_kib,
        io,
        ended,
        before,
        fineness,
    )


def _sum(values: list[int | None]) -> int | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None


class WithJobd:
    """Accounts one command with the help of a jobd."""

    def __init__(self, client: Client, db: Path, name: str, tags: Mapping[str, str]) -> None:
        self._client = client
        self._db = db
        self._new = {"name": name, "tags": tags, "closes_itself": True}
        self._began_ns = 0
        self._lost = 0
        self.ours_ns = 0
        """CPU time of the command that was ours: before it was let go."""
        self.notes: list[str] = []
        """What must be said of the figures."""
        self.job: tuple[int, str] | None = None

    def register(self, pid: int) -> None:
        """Called with the pid of the command, which waits to be let go: have a job made with it
        inside.
        """
        job = self._client.request("create", **self._new, pids=[pid], launched=pid)["job"]
        self.job = int(job["id"]), str(job["name"])
        self._began_ns = clocks.monotonic_ns()

    def ended(self, status: int) -> None:
        """The command has ended so."""
        with contextlib.suppress(ElsaError):  # it is told again what the kernel told it, mostly
            self._client.request("ended", job=self._id, status=status)

    @property
    def _id(self) -> int:
        assert self.job is not None  # noqa: S101
        return self.job[0]

    def wait(self, enough: Callable[[], bool]) -> None:
        """Until the last member has ended, or it is enough."""
        pause_s, answered = PAUSE_S, time.monotonic()
        while not enough():
            try:
                if not self._count_living():
                    return
                answered = time.monotonic()
            except (UnavailableError, RetryError):
                if time.monotonic() - answered > ABSENCE_S:
                    self.notes.append("nobody tells whether more of its processes run")
                    return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)

    def _count_living(self) -> int:
        try:
            return int(self._client.request("show", job=self._id, limit=0)["living"])
        except UsageError:  # it has closed itself already
            return 0

    def tally(self) -> Tally:
        """All members, those that still run too; where jobd does not answer, as far as it got."""
        try:
            self._client.request("sync")
        except (UnavailableError, RetryError) as error:
            self.notes.append(f"what happened last may be missing: {error}")
        total = tally(self._db, self._id, self.ours_ns)
        with _reading(self._db) as connection:
            self._lost = connection.execute(
                _LOST, (self._id, clocks.monotonic_ns(), self._began_ns)
            ).fetchone()[0]
        return total

    def living(self) -> Sequence[Mapping[str, Any]]:
        """The members that still run, as `elsa.run.live_usage.running` wants them; none where
        nobody tells.
        """
        try:
            members: list[Mapping[str, Any]] = self._client.request(
                "show", job=self._id, limit=protocol.MAX_MEMBERS
            )["members"]
        except ElsaError:
            return ()
        return members

    def lost(self) -> int:
        """How many events and statistics were lost meanwhile, or more."""
        return self._lost

    def close(self) -> None:
        """Nothing is held."""
