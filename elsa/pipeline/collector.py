"""jobd: hears the kernel's process events, keeps who is in which job, writes both to the warehouse, and answers the control socket.

One thread reads and thinks, another (store/writer.py) writes. Events gather for some milliseconds before they are read, because waking
for each of them would slow down every fork of the host; requests are answered at once.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
from collections.abc import Iterator
from typing import Any

from elsa import __version__
from elsa.config import Config
from elsa.control.protocol import Request
from elsa.control.server import ControlServer, Peer, Reply
from elsa.decode import events as ev
from elsa.errors import ElsaError, RetryError
from elsa.kernel import clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.pipeline import notify, scan
from elsa.pipeline.service import Service
from elsa.state.jobs import Job
from elsa.state.processes import Incarnation, same_start
from elsa.state.sequence import Sequence
from elsa.store import boots, database, locks, runs
from elsa.store.writer import Batch, Gap, Writer

log = logging.getLogger(__name__)

MS = 1_000_000
SECOND = 1_000_000_000
DRAIN_CHUNK = 5_000
# In one turn of the loop: so that a storm does not keep requests from being answered.
DRAIN_MOST = 100_000
COMMIT_ROWS = 20_000
# With nothing to store, how often it is noted that nothing happened.
IDLE_COMMIT_NS = 10 * SECOND
# How long an answer waits for its commit before it says that it is not committed yet.
PATIENCE_NS = 3 * SECOND
# A process that /proc does not show any more may have its exit on its way for this long.
GRACE_NS = 500 * MS
RESCAN_NS = SECOND
HOUSEKEEPING_NS = 5 * SECOND


class Collector:
    """The daemon. `run` returns when `stop` was called, normally by a signal."""

    def __init__(self, config: Config, procfs: Procfs) -> None:
        self._config = config
        self._procfs = procfs
        self._selector = selectors.DefaultSelector()
        # The socket first: whether another jobd runs should be known before anything is touched.
        self._server = ControlServer(self._selector, config.socket, config.group, self._handle)
        try:
            self._begin()
        except BaseException:
            self._server.close()
            raise

    def _begin(self) -> None:
        config = self._config
        self._connector = Connector(config.receive_buffer_mib << 20)
        self._since_ns = self._heard_ns = clocks.monotonic_ns()
        connection = database.open_for_writing(config.db)
        try:
            with database.translated(config.db):
                self._beginning = runs.begin(connection, scan.machine(self._procfs), os.getpid(), self._since_ns)
                self.processes = runs.restore(connection, self._beginning.boot_id)
                self._next_clock_id = boots.next_own_id(connection, "clock", boots.COLLECTOR_IDS)
        finally:
            connection.close()
        self._jobs, self._clocks = self.processes.jobs, self.processes.clocks
        self._alarm = clocks.SetAlarm()
        self._batch = Batch()
        self._sequence = Sequence()
        self._service = Service(self)
        self._hearing = True  # whether the connector is in the selector; while events gather it is not
        self._held: list[bytes] = []
        self._missing: list[tuple[int, list[Incarnation]]] = []
        self._waiting: list[tuple[int, Reply, dict[str, Any] | None]] = []
        self._events = self._drops = self._lost = self._gaps = 0
        self._loss_since_ns: int | None = None
        self._shed_since_ns: int | None = None
        self._shed = 0
        self._drain_at_ns: int | None = self._since_ns
        self._commit_at_ns = self._since_ns
        self._scanned_ns = self._kept_house_ns = self._idle_since_ns = 0
        self._stopping = False
        self._writer = Writer(config.db, self._beginning.boot_id, self._beginning.collector_id)
        self._look_at_clock()
        self._first_look()

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Hear, think and answer until stopped (True), with everything heard stored, or until the warehouse was replaced (False)."""
        with self._signals():
            self._selector.register(self._writer.fileno(), selectors.EVENT_READ, lambda _mask: self._writer.collect())
            self._selector.register(self._connector.fileno(), selectors.EVENT_READ, self._events_wait)
            self._selector.register(self._alarm.fileno(), selectors.EVENT_READ, self._clock_was_set)
            watchdog_s = notify.watchdog_seconds()
            pulse_ns = int(watchdog_s * SECOND) if watchdog_s else None
            pulse_at_ns = 0
            # What is here now stays; the collector of cycles need not look at it again.
            gc.collect()
            gc.freeze()
            notify.notify(notify.READY, notify.status("hearing process events"))
            log.info("hearing process events; %d processes alive, %d open jobs", len(self.processes.living), len(self._jobs.open))
            while not self._stopping and not self._writer.replaced:
                for key, mask in self._selector.select(self._timeout_s()):
                    key.data(mask)
                now_ns = clocks.monotonic_ns()
                self._tick(now_ns)
                if pulse_ns and now_ns >= pulse_at_ns:
                    notify.notify(notify.WATCHDOG)
                    pulse_at_ns = now_ns + pulse_ns
        self._finish()
        return self._stopping

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """TERM and INT stop the daemon; a pipe wakes the selector for them."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(reader, selectors.EVENT_READ, lambda _mask: os.read(reader, 512))
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.unregister(reader)
            os.close(reader)
            os.close(writer)

    def _events_wait(self, _mask: int) -> None:
        """The first event of a new batch is there: let others gather."""
        self._selector.unregister(self._connector.fileno())
        self._hearing = False
        self._drain_at_ns = clocks.monotonic_ns() + self._config.drain_ms * MS

    def _timeout_s(self) -> float:
        now_ns = clocks.monotonic_ns()
        due = [now_ns + SECOND]
        if self._drain_at_ns is not None:
            due.append(self._drain_at_ns)
        if len(self.processes.changes) or self._loss_since_ns is not None:
            due.append(self._commit_at_ns)
        due.extend(at_ns for at_ns, _ in self._missing)
        due.extend(at_ns for at_ns, _, _ in self._waiting)
        return max(min(due) - now_ns, 0) / SECOND

    def _tick(self, now_ns: int) -> None:
        if self._drain_at_ns is not None and now_ns >= self._drain_at_ns:
            self.drain()
        if self._loss_since_ns is not None and now_ns - self._scanned_ns >= RESCAN_NS:
            self._repair()
        self._settle_missing(now_ns)
        if now_ns >= self._commit_at_ns or len(self.processes.changes) >= COMMIT_ROWS:
            self._flush(now_ns)
        self._answer_late(now_ns)
        if now_ns - self._kept_house_ns >= HOUSEKEEPING_NS:
            self._kept_house_ns = now_ns
            self.processes.forget_late(now_ns)
        self._server.expire(now_ns / SECOND)

    def _finish(self) -> None:
        notify.notify(notify.STOPPING)
        self.drain()
        self._batch.stopped_ns = clocks.monotonic_ns()
        self._flush(self._batch.stopped_ns, last=True)
        stored = self._writer.stop(patience_s=0 if self._writer.replaced else 30) or self._writer.replaced
        self._answer_late(now_ns=2**63)
        self._server.close()
        self._connector.close()
        self._alarm.close()
        self._selector.close()
        gc.unfreeze()
        if not stored:
            left, why = self._writer.backlog, self._writer.trouble
            raise RetryError(f"{self._config.db}: stopped with {left} rows that could not be stored and are lost ({why})")
        log.info("stopped; %d events heard, %d lost", self._events, self._lost)

    # --- hearing ----------------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take in every event that the kernel has queued (or very many of them)."""
        began_ns = clocks.monotonic_ns()
        held, self._held = self._held, []
        if held:
            self._hear(held)
        for _ in range(DRAIN_MOST // DRAIN_CHUNK):
            datagrams = self._connector.drain(DRAIN_CHUNK)
            if datagrams:
                self._hear(datagrams)
            if len(datagrams) < DRAIN_CHUNK:
                self._all_heard(began_ns)
                break
        else:
            self._drain_at_ns = began_ns
        self._look_up_names()
        self._settle_doubts()

    def _hear(self, datagrams: list[bytes]) -> None:
        events = ev.decode(datagrams)
        missing = self._sequence.missing(events)
        if missing:
            self._note_loss(missing)
        self._events += len(events)
        self.processes.apply(events)

    def _all_heard(self, began_ns: int) -> None:
        """The queue is empty: whatever happened before `began_ns` is known, unless it was lost."""
        drops = self._connector.drops()
        if drops != self._drops:
            self._note_loss((drops - self._drops) % 2**32, counted=True)
            self._drops = drops
        if self._loss_since_ns is None:
            self._heard_ns = began_ns
        self._drain_at_ns = None
        if not self._hearing:
            self._selector.register(self._connector.fileno(), selectors.EVENT_READ, self._events_wait)
            self._hearing = True

    def _note_loss(self, lost: int, *, counted: bool = False) -> None:
        """Numbers that were skipped tell early and by place, the kernel's counter tells exactly how many."""
        if self._loss_since_ns is None:
            self._loss_since_ns = self._heard_ns
            self._lost_counted = self._lost_skipped = 0
        if counted:
            self._lost_counted += lost
        else:
            self._lost_skipped += lost

    def _repair(self) -> None:
        """After a loss: compare with /proc, conclude what was missed, and put the gap on record."""
        since_ns = self._loss_since_ns
        assert since_ns is not None  # noqa: S101
        self.drain()
        self._look_around(infer=True)
        self._loss_since_ns = None
        self.drain()
        lost = max(self._lost_counted, self._lost_skipped)
        self._lost += lost
        self._gap("overrun" if self._lost_counted else "sequence", since_ns, self._scanned_ns, lost)

    def _gap(self, kind: str, from_ns: int, to_ns: int, lost: int | None, note: str | None = None) -> None:
        self._gaps += 1
        self._batch.gaps.append(Gap(kind, from_ns, to_ns, lost, note))
        log.warning("gap (%s) of %.3f s: %s events lost", kind, (to_ns - from_ns) / SECOND, "unknown" if lost is None else lost)

    def _first_look(self) -> None:
        """Begin without a hole: the socket listens already, so whatever happens during the scan waits in the queue."""
        heard_ns = self._beginning.heard_ns
        self._look_around(infer=heard_ns is not None)
        if heard_ns is not None:
            self._gap("down", heard_ns, self._since_ns, None, "the collector did not run")

    def _look_around(self, *, infer: bool) -> None:
        def breathe() -> None:
            self._held += self._connector.drain(DRAIN_CHUNK)

        self._scanned_ns = clocks.monotonic_ns()
        found = list(scan.find_all(self._procfs, self._clocks.current.boottime_offset_ns, breathe))
        missing = self.processes.reconcile(found, infer=infer)
        if missing:
            self._missing.append((clocks.monotonic_ns() + GRACE_NS, missing))

    def _settle_missing(self, now_ns: int) -> None:
        """What a scan did not show, and whose exit has not come since, is over."""
        if self._missing and now_ns >= self._missing[0][0]:
            self.drain()
            _, lives = self._missing.pop(0)
            self.processes.vanished([life for life in lives if not self._is_alive(life)], self._scanned_ns)

    def _is_alive(self, life: Incarnation) -> bool:
        found = scan.find(self._procfs, life.pid, self._clocks.current.boottime_offset_ns, with_uid=False)
        return found is not None and not found.over and same_start(life, found.start_ns)

    def _look_up_names(self) -> None:
        """After an exec only /proc knows the new name; who is gone already is named by its accounting record."""
        execed, self.processes.execed = self.processes.execed, set()
        for pid in execed:
            life = self.processes.living[pid]
            found = scan.find(self._procfs, pid, self._clocks.current.boottime_offset_ns, with_uid=False)
            if found is not None and same_start(life, found.start_ns):
                self.processes.name(life, found.comm)

    def _settle_doubts(self) -> None:
        for pid in list(self.processes.doubts):
            self.processes.resolve_doubt(pid, scan.find(self._procfs, pid, self._clocks.current.boottime_offset_ns, with_uid=False))

    def _clock_was_set(self, _mask: int) -> None:
        self._alarm.acknowledge()
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        """Have a new offset between the clocks stored, if there is one; events find their clock by their time."""
        offsets = clocks.offsets()
        clock = self._clocks.observe(self._next_clock_id, clocks.monotonic_ns(), offsets.realtime_ns, offsets.boottime_ns)
        if clock is not None:
            self._next_clock_id += 2
            self._batch.clocks.append(clock)
            if len(self._clocks.known) > 1:
                log.warning("the clock was set, or the machine slept")

    # --- storing ----------------------------------------------------------------------------------------------------------------

    def _flush(self, now_ns: int, *, last: bool = False) -> None:
        """Hand everything new to the writer. Too much waiting there already: keep only what memory is sure to hold, and own up to it."""
        self._commit_at_ns = now_ns + self._config.commit_ms * MS
        self._close_emptied()
        if self._writer.backlog > self._config.backlog_events and not last:
            if self._shed_since_ns is None:
                self._shed_since_ns = self._heard_ns
                log.error("the warehouse has not been written for too long; forgetting events from now on")
            self._shed += self.processes.changes.shed()
            return
        if self._shed_since_ns is not None:
            self._gap("backlog", self._shed_since_ns, self._heard_ns, self._shed, "the warehouse could not be written")
            self._lost += self._shed
            self._shed_since_ns, self._shed = None, 0
        batch = self._batch
        batch.take(self.processes.take_changes())
        urgent = last or len(batch) or batch.jobs or batch.closed or batch.clocks or batch.gaps or batch.then
        if not urgent and now_ns - self._idle_since_ns < IDLE_COMMIT_NS:
            return
        self._idle_since_ns = now_ns
        batch.heard_ns, batch.events_total, batch.lost_total = self._heard_ns, self._events, self._lost
        self._writer.submit(batch)
        self._batch = Batch()

    def _close_emptied(self) -> None:
        for job_id, time_ns in self._jobs.emptied.items():
            job = self._jobs.open.get(job_id)
            if job is not None and job.closes_itself and not job.living:
                at_ns = (time_ns or self._heard_ns) + self._clocks.at(time_ns or self._heard_ns).offset_ns
                self._jobs.close(job, at_ns, "ended")
                self.store_close(job)
        self._jobs.emptied.clear()

    def _answer_late(self, now_ns: int) -> None:
        """Whoever waits too long for a commit is told why."""
        late = [one for one in self._waiting if now_ns >= one[0]]
        if not late:
            return
        self._waiting = [one for one in self._waiting if now_ns < one[0]]
        why = self._writer.trouble or "the warehouse is busy"
        for _, reply, answer in late:
            reply(RetryError(f"not committed yet: {why}") if answer is None else {**answer, "committed": False, "why": why})

    # --- what requests need (service.Collector) ---------------------------------------------------------------------------------

    def _handle(self, request: Request, peer: Peer, reply: Reply) -> None:
        self._service.handle(request, peer, reply)

    def now_ns(self) -> int:
        """Monotonic time."""
        return clocks.monotonic_ns()

    def now_at_ns(self) -> int:
        """Real time."""
        return clocks.realtime_ns()

    def store_job(self, job: Job) -> None:
        """Have a new job stored with the next batch."""
        self._batch.jobs.append(job)

    def store_close(self, job: Job) -> None:
        """Have the end of a job stored with the next batch."""
        self._batch.closed.append((job.closed_at_ns, job.close_how, job.id))

    def commit(self, reply: Reply, answer: dict[str, Any]) -> None:
        """Store everything now; answer when that is done, or after a while that it is not."""
        self._commit(reply, answer, answer)

    def commit_all(self, reply: Reply) -> None:
        """Store everything now; answer how far the warehouse reaches, but only when it truly does."""
        self._commit(reply, {"heard_ns": self._heard_ns}, None)

    def _commit(self, reply: Reply, answer: dict[str, Any], if_late: dict[str, Any] | None) -> None:
        now_ns = clocks.monotonic_ns()
        waiting = (now_ns + PATIENCE_NS, reply, if_late)
        self._waiting.append(waiting)

        def committed() -> None:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            reply(answer)

        self._batch.then.append(committed)
        self._flush(now_ns)

    def status(self) -> dict[str, Any]:
        """How the daemon is."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since_at_ns": self._since_ns + self._clocks.current.offset_ns,
            "heard_at_ns": self._heard_ns + self._clocks.current.offset_ns,
            "events": self._events,
            "lost": self._lost,
            "gaps": self._gaps,
            "backlog": self._writer.backlog + len(self.processes.changes),
            "processes": len(self.processes.living),
            "jobs": len(self._jobs.open),
            "db": str(self._config.db),
            "writer": self._writer.trouble or "ok",
        }

    def ended_jobs(self, uid: int | None) -> list[dict[str, Any]]:
        """The newest jobs that are over, of one user or of all."""
        try:
            connection = database.open_for_reading(self._config.db)
            try:
                return runs.ended_jobs(connection, uid)
            finally:
                connection.close()
        except ElsaError as error:
            log.warning("%s", error)
            return []


def collect(config: Config) -> None:
    """Run the daemon until it is told to stop. Raises an ElsaError if it cannot begin."""
    # The warehouse is opened once before the lock is taken, for its clear errors: no folder, no warehouse, wrong version.
    database.open_for_writing(config.db).close()
    with locks.only(locks.COLLECTOR, config.db):
        while not Collector(config, Procfs()).run():
            log.warning("%s: another warehouse has taken the place of ours; beginning anew", config.db)
