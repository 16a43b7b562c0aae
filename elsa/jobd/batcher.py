"""Collects what is to be stored into batches, hands these to the writer, and answers clients when a
batch is committed.

If the warehouse cannot be written for too long, rows for which there is no memory are dropped, and
a gap is recorded.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from elsa.config import Config
from elsa.control.server import Reply
from elsa.errors import RetryError
from elsa.kernel import clocks
from elsa.state.clock import Clock
from elsa.state.jobs import Job
from elsa.state.process_table import Processes
from elsa.store.batch import Batch, Gap, GroupCounterRow
from elsa.store.collector_runs import JOB_IDS, CollectorRun
from elsa.store.writer import Writer
from elsa.units import MS_NS, SECOND_NS

log = logging.getLogger(__name__)

COMMIT_ROWS = 20_000
# How often heard_ns is stored if there is nothing else to store.
IDLE_COMMIT_NS = 10 * SECOND_NS
# How long an answer waits for its commit; then it says that the change is not committed yet.
PATIENCE_NS = 3 * SECOND_NS


class _Waiting(NamedTuple):
    """A client that waits for a commit."""

    until_ns: int
    """Monotonic: it is answered then, even if nothing is committed yet."""
    reply: Reply
    if_late: dict[str, Any] | None
    """The answer then; None is an error."""


class Batcher:
    """The batch that is being filled, and the answers that wait for a commit."""

    def __init__(self, config: Config, beginning: CollectorRun, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self._batch = Batch()
        self._waiting: list[_Waiting] = []
        self._shed_since_ns: int | None = None
        self._shed = self._shed_until_ns = 0
        self._commit_at_ns = self._idle_since_ns = 0
        self.writer = Writer(config.db, beginning.boot_id, beginning.collector_id)
        self._since_ns = beginning.since_ns
        self.heard_ns = beginning.since_ns if beginning.heard_ns is None else beginning.heard_ns
        """Monotonic: all that happened before was received, or inferred."""
        self._handed_ns = self.heard_ns
        """Monotonic: all that happened before has been handed to the writer."""
        self.events = self.lost = self.gaps = 0
        self._last_gap: tuple[str, int] | None = None
        self.job_ids_until = beginning.next_job_id + JOB_IDS
        """New jobs may have ids below this: the warehouse records that they were used."""

    @property
    def backlog(self) -> int:
        """Rows that are not in the warehouse yet."""
        return self.writer.backlog + len(self._processes.changes)

    @property
    def stored_ns(self) -> int:
        """Monotonic: all that happened before is in the warehouse, if it was received."""
        return self.writer.stored_ns or self._since_ns

    # --- what is to be stored

    def gap(
        self, kind: str, from_ns: int, to_ns: int, lost: int | None, note: str | None = None
    ) -> None:
        """Record a loss. If the last one has the same kind and beginning, it goes on."""
        self.lost += lost or 0
        goes_on = self._last_gap == (kind, from_ns)
        self._batch.gaps.append(Gap(kind, from_ns, to_ns, lost, note, goes_on))
        if goes_on:
            return
        self._last_gap = kind, from_ns
        self.gaps += 1
        log.warning(
            "gap (%s) of %.3f s: %s events lost",
            kind,
            (to_ns - from_ns) / SECOND_NS,
            "unknown" if lost is None else lost,
        )

    def clock(self, clock: Clock) -> None:
        """Store a new clock."""
        self._batch.clocks.append(clock)

    def job(self, job: Job) -> None:
        """Store a new job."""
        # A copy: the writer's thread reads it, and an automatic job may change later.
        self._batch.jobs.append(dataclasses.replace(job, tags=dict(job.tags)))

    def group_counters(self, row: GroupCounterRow) -> None:
        """Store the newest counters of a job's control group."""
        self._batch.group_counters[row.job_id] = row

    def close(self, job: Job) -> None:
        """Store the end of a job."""
        self._batch.closed.append((job.closed_at_ns, job.close_reason, job.id))

    # --- when

    def due_ns(self) -> int | None:
        """When `tick` is to be called next."""
        due = [waiting.until_ns for waiting in self._waiting]
        if len(self._processes.changes):
            due.append(self._commit_at_ns)
        return min(due, default=None)

    @property
    def commit_requested(self) -> bool:
        """Whether an answer waits for a commit, which starts with the next tick."""
        return self._commit_at_ns == 0

    def tick(self, now_ns: int) -> None:
        """Commit if it is time, and answer clients that have waited too long."""
        if now_ns >= self._commit_at_ns or len(self._processes.changes) >= COMMIT_ROWS:
            self.flush(now_ns)
        self._answer_late(now_ns)

    def flush(self, now_ns: int, *, stopped_ns: int | None = None) -> None:
        """Hand all changes to the writer, or drop what memory has no room for if the writer has too
        much already.
        """
        self._commit_at_ns = now_ns + self._config.commit_ms * MS_NS
        self._close_emptied()
        # While the warehouse can be written, a burst may exceed the limit for a moment.
        waiting = self.backlog if self.writer.trouble else self.writer.backlog
        if waiting > self._config.backlog_events and stopped_ns is None:
            self._shed_changes()
            return
        if self._shed_since_ns is not None:
            note = "the warehouse could not be written"
            self.gap("backlog", self._shed_since_ns, self._shed_until_ns, self._shed, note)
            self._shed_since_ns, self._shed = None, 0
        batch = self._batch
        batch.take(self._processes.take_changes())
        self._handed_ns = self.heard_ns
        if not (
            batch.has_content
            or stopped_ns is not None
            or now_ns - self._idle_since_ns >= IDLE_COMMIT_NS
        ):
            return
        self._idle_since_ns = now_ns
        if batch.jobs:
            batch.job_ids_until = self._processes.jobs.next_id + JOB_IDS
            batch.then.append(partial(setattr, self, "job_ids_until", batch.job_ids_until))
        batch.heard_ns, batch.stopped_ns = self.heard_ns, stopped_ns
        batch.events_total, batch.lost_total = self.events, self.lost
        self.writer.submit(batch)
        self._batch = Batch()

    def _shed_changes(self) -> None:
        shed = self._processes.changes.shed()
        if not shed:
            return
        if self._shed_since_ns is None:
            self._shed_since_ns = self._handed_ns
            log.error(
                "the warehouse has not been written for too long; events are dropped from now on"
            )
        self._shed += shed
        self._shed_until_ns = clocks.monotonic_ns()

    def _close_emptied(self) -> None:
        jobs, clock_at = self._processes.jobs, self._processes.clocks.at
        for job_id, time_ns in jobs.emptied.items():
            job = jobs.open.get(job_id)
            if job is not None and job.closes_itself and not job.living:
                end_ns = time_ns or self.heard_ns
                jobs.close(job, end_ns + clock_at(end_ns).offset_ns, "ended")
                self.close(job)
        jobs.emptied.clear()

    def finish(self) -> None:
        """Store what is left. Raises RetryError if that takes more than half a minute; what is left
        then is lost.
        """
        now_ns = clocks.monotonic_ns()
        self.flush(now_ns, stopped_ns=now_ns)
        stored = self.writer.stop(patience_s=0 if self.writer.replaced else 30)
        self._answer_late(now_ns=2**63)
        if not stored and not self.writer.replaced:
            left, why = self.writer.backlog, self.writer.trouble
            raise RetryError(
                f"{self._config.db}: stopped with {left} rows that could not be stored and are lost"
                f" ({why})"
            )

    # --- answers that wait for a commit

    def commit(self, reply: Reply, answer: dict[str, Any]) -> None:
        """Store all changes soon; answer when they are committed, or after a while that they are
        not.
        """
        self._commit(reply, answer, answer)

    def commit_all(self, replies: Iterable[Reply]) -> None:
        """Store all changes soon; answer up to when the warehouse is complete, or after a while
        with an error.
        """
        for reply in replies:
            self._commit(reply, {"heard_ns": self.heard_ns}, None)

    def _commit(self, reply: Reply, answer: dict[str, Any], if_late: dict[str, Any] | None) -> None:
        now_ns = clocks.monotonic_ns()
        waiting = _Waiting(now_ns + PATIENCE_NS, reply, if_late)
        self._waiting.append(waiting)

        def committed() -> None:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            reply(answer)

        self._batch.then.append(committed)
        self._commit_at_ns = 0  # at the next tick, together with all requests until then

    def _answer_late(self, now_ns: int) -> None:
        """Answer clients that have waited too long for a commit, with the reason."""
        late = [waiting for waiting in self._waiting if now_ns >= waiting.until_ns]
        if not late:
            return
        self._waiting = [waiting for waiting in self._waiting if now_ns < waiting.until_ns]
        why = self.writer.trouble or "the warehouse is busy"
        for waiting in late:
            if waiting.if_late is None:
                waiting.reply(RetryError(f"not committed yet: {why}"))
            else:
                waiting.reply({**waiting.if_late, "committed": False, "why": why})
