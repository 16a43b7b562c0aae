"""What the warehouse of a jobd knows of one job, for who asks that jobd: read directly, so that jobd has nothing to do for it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from elsa.control.client import Client
from elsa.errors import RetryError, UnavailableError, UsageError
from elsa.kernel import clocks
from elsa.pipeline.tally import Member, Tally, Used
from elsa.state.codes import How
from elsa.store import database

# Answers of jobd take under a millisecond; the pauses between questions grow, since whoever waits for hours is in no hurry.
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
_FINISHED = """
    select
        count(*) - count(u.process_id) as unknown, count(*) as processes,
        coalesce(sum(u.threads), 0) as threads, coalesce(sum(u.run_ns), 0) as run_ns,
        coalesce(sum(u.utime_us), 0) as utime_us, coalesce(sum(u.stime_us), 0) as stime_us,
        coalesce(sum(u.read_chars), 0) as read_chars, coalesce(sum(u.write_chars), 0) as write_chars,
        coalesce(sum(u.read_bytes), 0) as read_bytes, coalesce(sum(u.write_bytes), 0) as write_bytes,
        coalesce(max(u.rss_kib), 0) as rss_kib
    from process p
    left join usage u on u.process_id = p.id
    where p.id in (select process_id from membership where job_id = ?) and p.elapsed_ns is not null
"""
_ENDED_SINCE = """
    select p.pid
    from process p
    where p.id in (select process_id from membership where job_id = ?) and p.start_ns + p.elapsed_ns >= ?
"""


@contextmanager
def _reading(db: Path) -> Iterator[sqlite3.Connection]:
    with database.translated(db), closing(database.open_for_reading(db)) as connection:
        connection.execute("begin")  # one state of the warehouse for all questions
        yield connection


def tally(db: Path, job_id: int, ours_ns: int = 0) -> Tally:
    """All members of a job, added up; `ours_ns` of the CPU time of the command was not its own."""
    total = Tally()
    with _reading(db) as connection:
        command, ended_ns = connection.execute(_COMMAND, (job_id,)).fetchone() or (None, None)
        for process_id, name, end_ns, *figures in connection.execute(_MEMBERS, (job_id,)):
            used = Used._make(figures) if figures[0] is not None else None
            if used is not None and process_id == command:
                used = used.without(ours_ns)
            total.add(Member(name, end_ns, used), ended_ns)
    return total


def finished(db: Path, job_id: int, since_ns: int) -> tuple[dict[str, int], set[int]]:
    """What the members used that have ended, and the pids of those that ended since a monotonic time."""
    with _reading(db) as connection:
        cursor = connection.execute(_FINISHED, (job_id,))
        sums = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
        return sums, {pid for (pid,) in connection.execute(_ENDED_SINCE, (job_id, since_ns))}


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
        """Called with the pid of the command, which waits to be let go: have a job made with it inside."""
        job = self._client.request("create", **self._new, pids=[pid], launched=pid)["job"]
        self.job = int(job["id"]), str(job["name"])
        self._began_ns = clocks.monotonic_ns()

    @property
    def _id(self) -> int:
        assert self.job is not None  # noqa: S101
        return self.job[0]

    def wait(self, enough: Callable[[], bool]) -> None:
        """Until the last member has ended, or it is enough."""
        pause_s, answered = PAUSE_S, time.monotonic()
        while not enough():
            try:
                if not self._living():
                    return
                answered = time.monotonic()
            except (UnavailableError, RetryError):
                if time.monotonic() - answered > ABSENCE_S:
                    self.notes.append("nobody tells whether more of its processes run")
                    return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)

    def _living(self) -> int:
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
            self._lost = connection.execute(_LOST, (self._id, clocks.monotonic_ns(), self._began_ns)).fetchone()[0]
        return total

    def lost(self) -> int:
        """How many events and statistics were lost meanwhile, or more."""
        return self._lost

    def close(self) -> None:
        """Nothing is held."""
