"""`elsa run` with the help of a jobd: it makes a job of the command, and reads what it used from
jobd's warehouse.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from elsa.control import protocol
from elsa.control.client import Client
from elsa.errors import ElsaError, RetryError, UnavailableError, UsageError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.report.query import warehouse
from elsa.run import jobd_usage, live_usage
from elsa.run.usage_sums import JobTotals, Usage

# Answers of jobd take under a millisecond; the pauses between questions grow, since a job that runs
# for hours need not be noticed at once.
PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
# A jobd that is being restarted has this long to answer again.
ABSENCE_S = 10.0

_LOST = """
    select coalesce(sum(coalesce(g.lost, 1)), 0)
    from gap g
    where g.boot_id = (select boot_id from job where id = ?) and g.from_ns <= ? and g.to_ns >= ?
"""


class WithJobd:
    """Accounts one command with the help of a jobd."""

    def __init__(self, client: Client, db: Path, name: str, tags: Mapping[str, str]) -> None:
        self._client = client
        self._db = db
        self._new = {"name": name, "tags": tags, "closes_itself": True}
        self._started_ns = self._started_at_ns = 0
        self._lost = 0
        self.ours_ns = 0
        """CPU time of the command's process that was our own: before it became the command."""
        self.notes: list[str] = []
        """What a reader of the figures must know."""
        self.job: tuple[int, str] | None = None

    def register(self, pid: int) -> None:
        """Have a job made with the command's process, which waits, as its first member."""
        self._started_at_ns = clocks.realtime_ns()
        job = self._client.request("create", **self._new, pids=[pid], launched=pid)["job"]
        self.job = int(job["id"]), str(job["name"])
        self._started_ns = clocks.monotonic_ns()

    def ended(self, status: int) -> None:
        """Report the command's wait status."""
        with contextlib.suppress(ElsaError):  # mostly jobd has it from the kernel already
            self._client.request("ended", job=self._id, status=status)

    @property
    def _id(self) -> int:
        assert self.job is not None  # noqa: S101
        return self.job[0]

    def wait(self, enough: Callable[[], bool]) -> None:
        """Wait until the last member has ended, or `enough`."""
        pause_s, answered = PAUSE_S, time.monotonic()
        while not enough():
            try:
                if not self._count_living():
                    return
                answered = time.monotonic()
            except (UnavailableError, RetryError):
                if time.monotonic() - answered > ABSENCE_S:
                    self.notes.append("jobd does not answer: more of the processes may still run")
                    return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)

    def _count_living(self) -> int:
        try:
            return int(self._client.request("show", job=self._id, limit=0)["living"])
        except UsageError:  # it has closed itself already
            return 0

    def totals(self) -> JobTotals:
        """All members, those that still run too; where jobd does not answer, what it has stored."""
        try:
            self._client.request("sync")
        except (UnavailableError, RetryError) as error:
            self.notes.append(f"the latest events may be missing: {error}")
        with warehouse.reading_allowed(self._db, self._started_at_ns) as connection:
            totals = jobd_usage.job_totals(connection, self._id, self.ours_ns)
            self._lost = connection.execute(
                _LOST, (self._id, clocks.monotonic_ns(), self._started_ns)
            ).fetchone()[0]
        return totals

    def living(self) -> Sequence[Mapping[str, Any]]:
        """The members that still run, as `elsa.run.live_usage.running` takes them; none where jobd
        does not answer.
        """
        try:
            return self.members()
        except ElsaError:
            return ()

    def members(self) -> Sequence[Mapping[str, Any]]:
        """The same; raises the error of a jobd that does not answer."""
        try:
            reply = self._client.request("show", job=self._id, limit=protocol.MAX_MEMBERS)
        except UsageError:  # the job has closed itself already
            return ()
        members: list[Mapping[str, Any]] = reply["members"]
        return members

    def used_now(self) -> Usage:
        """What the members have used so far, or more: what is not known of some is left out."""
        now = live_usage.read_job(self._client, Procfs(), self._id, protocol.MAX_MEMBERS)
        return now.together or now.running

    def lost(self) -> int:
        """How many events and statistics were lost meanwhile, or more."""
        return self._lost

    def close(self) -> None:
        """Nothing is held."""
