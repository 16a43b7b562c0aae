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
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from elsa import __version__
from elsa.config import Config
from elsa.control.protocol import Request, Status
from elsa.control.server import ControlServer, Peer, Reply, carry_out
from elsa.errors import ElsaError, RetryError
from elsa.kernel import clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.pipeline import check, defining, notify, redaction, scan
from elsa.pipeline.cmdlines import Cmdlines
from elsa.pipeline.counting import Counting
from elsa.pipeline.hearing import Hearing
from elsa.pipeline.helpers import Helpers
from elsa.pipeline.service import Service, Work
from elsa.pipeline.spawner import Spawner
from elsa.pipeline.storing import MS, SECOND, Storing
from elsa.state.carrying import carry_over
from elsa.state.processes import Processes
from elsa.store import boots, database, locks, runs
from elsa.store.runs import Beginning

log = logging.getLogger(__name__)
Began = TypeVar("Began")

HOUSEKEEPING_NS = 5 * SECOND
# How long events are taken in, and requests carried out, before something else gets its turn: a storm may fill
# the queue as fast.
TURN_NS = 50 * MS
# So that whoever fills every CPU with processes does not keep jobd from hearing of them, nor from answering.
NICE = -10
# How often at the end, when nothing else matters any more.
LAST_TURNS = 50
# While the writer is behind, what is not urgent waits in the kernel's receive buffers, where it takes less memory, as long as these are
# less full than this.
FULL = 0.5
HOLD_NS = 50 * MS
# How long command lines may take to be searched for secrets, where somebody waits for them.
CMDLINES_S = 1.0
# While it waits for the warehouse a service manager is asked for so much more time again and again.
START_S = 60
# What is started as programs of their own.
PROGRAMS = (defining.__name__, redaction.__name__)


class Asked(NamedTuple):
    """A request that waits until all that happened before it has been taken in."""

    at_ns: int
    request: Request
    peer: Peer
    reply: Reply
    rest: Work | None = None
    """What is left of it, where it was begun."""


class Collector:
    """The daemon. `run` returns when `stop` was called, normally by a signal."""

    def __init__(self, config: Config, procfs: Procfs, spawner: Spawner, before: Collector | None = None) -> None:
        """`before` is the collector of a warehouse that was replaced: what it knows goes on in the new one."""
        self._config = config
        self._spawner = spawner
        self._selector = selectors.DefaultSelector()
        # The socket first: whether another jobd runs should be known before anything is touched.
        self._server = ControlServer(self._selector, config.socket, config.group, self._handle)
        try:
            self._begin(procfs, before)
        except BaseException:
            self._server.close()
            raise

    def _begin(self, procfs: Procfs, before: Collector | None) -> None:
        """Begin without a hole: the socket listens first, so whatever happens while the rest is set up waits in its queue."""
        config = self._config
        self._connector = Connector(config.receive_buffer_mib << 20)
        self._since_ns = clocks.monotonic_ns()
        self._taskstats = _proven_taskstats() if config.taskstats else None
        begin = partial(self._begin_run, procfs, before)
        beginning, next_clock_id, taken = _patiently(begin) if before is None else begin()
        self.storing = Storing(config, beginning, self.processes)
        gap = _unheard(beginning)
        if before is not None:
            gap, next_clock_id = self._carry_over(before, beginning, taken, next_clock_id)
        self._cmdlines = Cmdlines(self._selector, self._spawner, config) if config.cmdlines else None
        self._hearing = Hearing(self._connector, self._taskstats, procfs, self.processes, self.storing, next_clock_id, self._cmdlines)
        self.counting = Counting(procfs, self._hearing.ended_threads, delays=procfs.sysctl("kernel.task_delayacct") == "1")
        self.helpers = Helpers(self._selector, self._spawner)
        self._service = Service(self, config)
        self._alarm = clocks.SetAlarm()
        self._gathering = False  # events wait to be read; meanwhile the connector is not in the selector
        self._drain_at_ns: int | None = self._since_ns
        self._kept_house_ns = 0
        self._asked: list[Asked] = []
        self._syncs: list[tuple[int, Reply]] = []
        self._socket_trouble = ""
        self._stopping = False
        self._hearing.look_at_clock()
        self._hearing.look_around(infer=gap is not None)
        if gap is not None:
            kind, from_ns, note = gap
            # To the end of the look around: what was born meanwhile may have ended before it was its turn.
            self.storing.gap(kind, from_ns, clocks.monotonic_ns(), None, note)

    def _begin_run(self, procfs: Procfs, before: Collector | None) -> tuple[Beginning, int, set[int]]:
        """Put this run into the warehouse; where it begins, the next id of a clock, and which ids of open jobs are taken there."""
        path = self._config.db
        with database.translated(path), contextlib.closing(database.open_for_writing(path)) as connection:
            least_job_id = before.processes.jobs.next_id if before is not None else 1
            beginning = runs.begin(connection, scan.machine(procfs), os.getpid(), self._since_ns, least_job_id)
            self.processes: Processes = runs.restore(connection, beginning.boot_id, beginning.next_job_id)
            next_clock_id = boots.next_own_id(connection, "clock", boots.COLLECTOR_IDS)
            taken = runs.taken_job_ids(connection, before.processes.jobs.open) if before is not None else set()
        return beginning, next_clock_id, taken

    def _carry_over(self, before: Collector, beginning: Beginning, taken: set[int], next_clock_id: int) -> tuple[tuple[str, int, str], int]:
        """What the collector of a replaced warehouse knew goes on here; the gap (kind, since when, note) and the next clock id."""
        moved = carry_over(before.processes, self.processes, taken, next_clock_id, self._since_ns)
        for clock in moved.clocks:
            self.storing.clock(clock)
        for job in moved.jobs.values():
            self.storing.job(job)
        from_ns = min(before.storing.stored_ns, moved.since_ns, *([] if beginning.heard_ns is None else [beginning.heard_ns]))
        renamed = [f"job {old_id} goes on as {job.id}" for old_id, job in moved.jobs.items() if job.id != old_id]
        note = "; ".join(["what the warehouse before this one held is not in it", *renamed])
        log.error("%s: another warehouse has taken the place of ours; %d open jobs go on in it; %s", self._config.db, len(moved.jobs), note)
        return ("replaced", from_ns, note), next_clock_id + 2 * len(moved.clocks)

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Hear, think and answer until stopped (True), with everything heard stored, or until the warehouse was replaced (False)."""
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, min(NICE, os.getpriority(os.PRIO_PROCESS, 0)))  # of this thread
        with self._signals():
            self._selector.register(self.storing.writer.fileno(), selectors.EVENT_READ, lambda _mask: self.storing.writer.collect())
            self._selector.register(self._connector.fileno(), selectors.EVENT_READ, self._events_wait)
            self._selector.register(self._alarm.fileno(), selectors.EVENT_READ, self._clock_was_set)
            watchdog_s = notify.watchdog_seconds()
            pulse_ns = int(watchdog_s * SECOND) if watchdog_s else None
            pulse_at_ns = 0
            # What is here now stays; the collector of cycles need not look at it again.
            gc.collect()
            gc.freeze()
            notify.notify(notify.READY, notify.status("hearing process events"))
            log.info("hearing process events; %d processes alive, %d open jobs", len(self.processes.living), len(self.processes.jobs.open))
            while not self._stopping and not self.storing.writer.replaced:
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
        self._gathering = True
        self._drain_at_ns = clocks.monotonic_ns() + self._config.drain_ms * MS

    def _clock_was_set(self, _mask: int) -> None:
        self._alarm.acknowledge()
        self._hearing.look_at_clock()

    def _timeout_s(self) -> float:
        now_ns = clocks.monotonic_ns()
        due = (now_ns if self._asked else now_ns + SECOND, self._drain_at_ns, self._hearing.due_ns(), self.storing.due_ns())
        return max(min(at_ns for at_ns in due if at_ns is not None) - now_ns, 0) / SECOND

    def _tick(self, now_ns: int) -> None:
        if self._drain_at_ns is not None and now_ns >= self._drain_at_ns:
            self.drain(patient=True)
        self._hearing.tick(now_ns, wait=self._may_wait())
        if self._cmdlines is not None:
            self._cmdlines.tick(now_ns)
        if self._asked or self._syncs:
            self.drain()
            self._answer()
            if self.storing.is_asked:
                # What is stored of a change then reaches up to it: should we die now, who begins meanwhile began after it.
                self.drain()
            self._answer_syncs()
        self.helpers.tick(now_ns)
        self.storing.tick(now_ns)
        if now_ns - self._kept_house_ns >= HOUSEKEEPING_NS:
            self._kept_house_ns = now_ns
            self._hearing.keep_house(now_ns)
            self._keep_socket()
        self._server.expire(now_ns / SECOND)

    def _keep_socket(self) -> None:
        try:
            if self._server.stay():
                log.warning("%s was removed; it is there again", self._config.socket)
            self._socket_trouble = ""
        except ElsaError as error:
            if str(error) != self._socket_trouble:
                log.error("nobody can ask jobd any more: %s; trying again", error)
            self._socket_trouble = str(error)

    def _finish(self) -> None:
        notify.notify(notify.STOPPING)
        for _ in range(LAST_TURNS):
            self.drain()
            if self._drain_at_ns is None:
                break
        if self._cmdlines is not None:
            self._cmdlines.finish(CMDLINES_S)
        try:
            self.storing.finish()
        finally:
            self.helpers.close()
            self._server.close()
            self._connector.close()
            if self._taskstats is not None:
                self._taskstats.close()
            self.counting.close()
            self._alarm.close()
            self._selector.close()
            gc.unfreeze()
        log.info("stopped; %d events heard, %d lost", self.storing.events, self.storing.lost)

    # --- what requests need (service.Collector) ---------------------------------------------------------------------------------

    def _handle(self, request: Request, peer: Peer, reply: Reply) -> None:
        if isinstance(request, Status):  # answered whatever else there is to do
            self._service.handle(request, peer, reply)
        else:
            self._asked.append(Asked(clocks.monotonic_ns(), request, peer, reply))

    def _answer(self) -> None:
        """Carry out what was asked for, once all that happened before has been taken in.

        Who had least of jobd's time comes first.
        """
        until_ns = clocks.monotonic_ns() + TURN_NS
        heard_ns = until_ns if self._drain_at_ns is None else self._hearing.newest_ns
        waiting, self._asked = self._asked, []
        for one in sorted(waiting, key=lambda one: (self._server.charge_of(one.peer.uid), one.at_ns)):
            if one.at_ns > heard_ns or clocks.monotonic_ns() >= until_ns:
                self._asked.append(one)
                continue
            with self._server.charged(one.peer.uid):
                carry_out(partial(self._carry_on, one, until_ns), one.peer, one.reply)

    def _carry_on(self, one: Asked, until_ns: int) -> None:
        rest = one.rest if one.rest is not None else self._service.handle(one.request, one.peer, one.reply)
        while rest is not None:
            if clocks.monotonic_ns() >= until_ns:
                self._asked.append(one._replace(rest=rest))
                return
            if next(rest, rest) is rest:
                return

    def drain(self, *, patient: bool = False) -> None:
        """Take in the events that the kernel has queued, all of them if there is time.

        Where one is `patient`, only until the writer is behind.
        """
        until_ns = clocks.monotonic_ns() + TURN_NS
        while not (patient and self._may_wait()):
            if self._hearing.drain():
                break
            now_ns = clocks.monotonic_ns()
            self.storing.tick(now_ns)
            if now_ns >= until_ns:
                self._drain_at_ns = now_ns
                return
        else:
            self._drain_at_ns = clocks.monotonic_ns() + HOLD_NS
            return
        self._drain_at_ns = None
        if self._gathering:
            self._selector.register(self._connector.fileno(), selectors.EVENT_READ, self._events_wait)
            self._gathering = False

    def _may_wait(self) -> bool:
        """Whether to leave events to the kernel for a while: the writer has enough to do, and there is room."""
        behind = self.storing.writer.backlog > self._config.backlog_events // 2 and not self._syncs
        return behind and self._connector.fill() < FULL and (self._taskstats is None or self._taskstats.fill() < FULL)

    def sync(self, reply: Reply) -> None:
        """Answer when all that happened so far is in the warehouse, and all that was missed is concluded."""
        self._syncs.append((clocks.monotonic_ns(), reply))
        self._answer_syncs()

    def _answer_syncs(self) -> None:
        if not (self._syncs and self._hearing.settled and self._drain_at_ns is None):
            return
        # Command lines are waited for only as long as no flood of them keeps everybody waiting.
        until_ns = clocks.monotonic_ns() - (int(CMDLINES_S * SECOND) if self._cmdlines is not None and self._cmdlines.busy else 0)
        ready = [reply for asked_ns, reply in self._syncs if asked_ns <= until_ns]
        self._syncs = [sync for sync in self._syncs if sync[0] > until_ns]
        if ready:
            self.storing.commit_all(ready)

    def status(self) -> dict[str, Any]:
        """How the daemon is."""
        offset_ns = self.processes.clocks.current.offset_ns
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since_at_ns": self._since_ns + offset_ns,
            "heard_at_ns": self.storing.heard_ns + offset_ns,
            "events": self.storing.events,
            "lost": self.storing.lost,
            "gaps": self.storing.gaps,
            "backlog": self.storing.backlog,
            "processes": len(self.processes.living),
            "jobs": len(self.processes.jobs.open),
            "db": str(self._config.db),
            "withheld": self._cmdlines.withheld if self._cmdlines is not None else 0,
            "writer": self.storing.writer.trouble or "ok",
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


def _patiently(begin: Callable[[], Began]) -> Began:
    """Begin as soon as the warehouse can be written (a full disk, a long lock): until then the kernel keeps what it has to tell."""
    told = ""
    while True:
        try:
            return begin()
        except RetryError as error:
            if str(error) != told:
                log.error("%s; listening, and trying again", error)
            told = str(error)
            notify.notify(notify.extend_start(START_S), notify.status(f"waiting for the warehouse: {told}"))
            time.sleep(1)


def _unheard(beginning: Beginning) -> tuple[str, int, str] | None:
    """The gap (kind, since when, note) that a collector finds when it begins; the time before the first on a host is none."""
    if beginning.heard_ns is None:
        return None
    if not beginning.heard_ns:
        return "boot", 0, "the collector was not started yet"
    return "down", beginning.heard_ns, "the collector did not run"


def _proven_taskstats() -> TaskstatsSocket | None:
    """The socket of taskstats, if the statistics of a canary really arrive on it; else None, and a warning that says why.

    Without privilege, or in a namespace of its own, the kernel would be silent without an error.
    """
    try:
        taskstats = TaskstatsSocket()
    except ElsaError as error:
        log.warning("no taskstats, so no I/O, memory or exact CPU time: %s", error)
        return None
    if check.canary_arrives(taskstats):
        return taskstats
    taskstats.close()
    log.warning(
        "no taskstats, so no I/O, memory or exact CPU time: a canary's did not arrive; run jobd as root in the host's own namespaces"
    )
    return None


def collect(config: Config) -> None:
    """Run the daemon until it is told to stop. Raises an ElsaError if it cannot begin."""
    # The warehouse is opened once before the lock is taken, for its clear errors: no folder, no warehouse, wrong version.
    with contextlib.suppress(RetryError):
        database.open_for_writing(config.db).close()
    with locks.only(locks.COLLECTOR, config.db), contextlib.closing(Spawner(PROGRAMS)) as spawner:
        collector = Collector(config, Procfs(), spawner)
        with contextlib.suppress(OSError):  # it may take long on a busy host; who needs it then asks again
            spawner.wait(START_S)
        while not collector.run():
            collector = _anew(config, spawner, collector)


def _anew(config: Config, spawner: Spawner, before: Collector) -> Collector:
    """A collector for the warehouse that was put in the place of another, as soon as it can be had."""
    told = ""
    while True:
        try:
            return Collector(config, Procfs(), spawner, before)
        except ElsaError as error:
            if str(error) != told:
                log.error("%s; trying again", error)
            told = str(error)
            time.sleep(1)
