"""jobd: receives the kernel's process events, keeps which process is in which job, writes both to
the warehouse, and answers requests on the control socket.

One thread reads events and answers requests, another (store/writer.py) writes. Events are left in
the queue for some milliseconds before they are read, because waking for each event would slow down
every fork of the host; requests are answered at once.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

from elsa import __version__
from elsa.config import Config
from elsa.control.operations import Request, Status
from elsa.control.server import ControlServer, Peer, Reply, carry_out
from elsa.errors import ElsaError, RetryError
from elsa.host import canaries
from elsa.jobd import sd_notify
from elsa.jobd.batcher import Batcher
from elsa.jobd.cgroup_reader import CgroupReader, CgroupSource
from elsa.jobd.command_lines import CommandLines
from elsa.jobd.counter_reader import CounterReader
from elsa.jobd.event_reader import EventReader
from elsa.jobd.helper_programs import HelperPrograms
from elsa.jobd.interval_reader import IntervalReader
from elsa.jobd.job_memory_reader import JobMemoryReader
from elsa.jobd.requests import RequestHandler
from elsa.jobd.run_start import RunStart, gap_before, start_run, until_writable
from elsa.jobd.spawner import Spawner
from elsa.kernel import accounts, clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.state.automatic_jobs import close_all
from elsa.state.default_job_rules import rules
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import Shown
from elsa.state.process_table import Processes
from elsa.state.warehouse_switch import carry_over
from elsa.store import collector_runs, database
from elsa.units import MS_NS, SECOND_NS

log = logging.getLogger(__name__)

HOUSEKEEPING_NS = 5 * SECOND_NS
# How long events are read, or requests carried out, before other work gets its turn: a storm of
# events may fill the queue as fast as it is read.
TURN_NS = 50 * MS_NS
# So that processes that keep every CPU busy do not keep jobd from receiving events and answering.
NICE = -10
# How many such turns events are read when jobd stops.
LAST_TURNS = 50
# While the writer is behind, events wait in the kernel's receive buffers, where they take less
# memory, as long as these are less full than this.
FULL = 0.5
HOLD_NS = 50 * MS_NS
# How long a client waits for command lines to be searched for secrets.
CMDLINES_S = 1.0
# After how many new objects garbage is collected.
GARBAGE = 20_000


class PendingRequest(NamedTuple):
    """A request that waits until all events before it have been read."""

    at_ns: int
    request: Request
    peer: Peer
    reply: Reply


class Collector:
    """The daemon. `run` returns after a call of `stop`, normally by a signal."""

    def __init__(
        self,
        config: Config,
        procfs: Procfs,
        spawner: Spawner,
        cgroups: CgroupSource | None,
        before: Collector | None = None,
        *,
        upgrades: bool = False,
    ) -> None:
        """`before` is the collector of a warehouse that was replaced: what it knows is carried over
        to the new warehouse. `cgroups` is the caller's to close; without it there are no automatic
        jobs. `upgrades`: the warehouse is created or upgraded first.
        """
        self._config = config
        self._spawner = spawner
        self._selector = selectors.DefaultSelector()
        # Events wait to be read; meanwhile the connector is not in the selector.
        self._gathering = False
        self._housekeeping_ns = 0
        self._pending: list[PendingRequest] = []
        self._syncs: list[tuple[int, Reply]] = []
        self._socket_trouble = ""
        self._stopping = False
        # The socket first: if another jobd runs, nothing must be changed.
        self._server = ControlServer(self._selector, config.socket, config.group, self._handle)
        with contextlib.ExitStack() as opened:
            opened.callback(self._server.close)
            self._start(procfs, cgroups, before, opened, upgrades=upgrades)
            opened.pop_all()  # it stays open until `_finish`

    def _start(
        self,
        procfs: Procfs,
        cgroups: CgroupSource | None,
        before: Collector | None,
        opened: contextlib.ExitStack,
        *,
        upgrades: bool,
    ) -> None:
        """Start without a gap: the socket listens first, so events that come while the rest is set
        up wait in its queue.
        """
        self._open_sources(opened, None if before is None else cgroups)
        state = None if before is None else before.processes
        start = partial(start_run, self._config, procfs, self._since_ns, state, upgrades=upgrades)
        started = until_writable(start) if before is None else start()
        self.processes: Processes = started.processes
        self.batcher = Batcher(self._config, started.run, self.processes)
        gap, next_clock_id = gap_before(started.run), started.next_clock_id
        if before is not None:
            gap, next_clock_id = self._carry_over(before, started)
        self._make_readers(procfs, cgroups, next_clock_id, started.run.heard_ns)
        self.helpers = HelperPrograms(self._selector, self._spawner)
        self._requests = RequestHandler(self, self._config)
        self._alarm = clocks.SetAlarm()
        self._reader.check_clock()
        self._reader.scan_all(infer=gap is not None)
        if self.groups is not None:
            self.groups.start()
        else:
            self._close_automatic_jobs()
        if gap is not None:
            kind, from_ns, note = gap
            # Up to the end of the scan: a process that started meanwhile may have ended before the
            # scan came to it.
            self.batcher.gap(kind, from_ns, clocks.monotonic_ns(), None, note)

    def _open_sources(self, opened: contextlib.ExitStack, used: CgroupSource | None) -> None:
        """Open what the kernel's events and statistics are received from. `used` was open for
        another collector: what it has from before is skipped.
        """
        self._connector = Connector(self._config.receive_buffer_mib << 20)
        opened.callback(self._connector.close)
        self._since_ns = self._connector.since_ns
        self._drain_at_ns: int | None = self._since_ns
        if used is not None:
            used.skip()
        self._taskstats = _taskstats_or_none() if self._config.taskstats else None
        if self._taskstats is not None:
            opened.callback(self._taskstats.close)

    def _make_readers(
        self,
        procfs: Procfs,
        cgroups: CgroupSource | None,
        next_clock_id: int,
        heard_ns: int | None,
    ) -> None:
        """Make what reads events, control groups, and the counters and memory of living
        processes.
        """
        config = self._config
        self._cmdlines = (
            CommandLines(self._selector, self._spawner, config) if config.cmdlines else None
        )
        self.groups = groups = (
            CgroupReader(
                cgroups,
                procfs,
                self.processes,
                rules(config.job_rule, defaults=config.job_rule_defaults, user_name=accounts.user),
                self.batcher,
                self.batcher.job,
                self.batcher.group_counters,
                self._read_at_edge,
            )
            if cgroups is not None
            else None
        )
        self._reader = EventReader(
            self._connector,
            self._taskstats,
            procfs,
            self.processes,
            self.batcher,
            next_clock_id,
            self._cmdlines,
            groups,
        )
        self.counter_reader = CounterReader(
            procfs,
            self._reader.ended_threads,
            delays=procfs.sysctl("kernel.task_delayacct") == "1",
        )
        self.intervals = IntervalReader(
            self.processes,
            self._read_counters,
            config.interval_s,
            self._since_ns,
            heard_ns or None,
        )
        self.job_memory = JobMemoryReader(
            self.processes,
            procfs,
            groups.counts_memory if groups is not None else lambda _job: False,
            config.interval_s * SECOND_NS,
            self._since_ns,
        )

    def _carry_over(self, before: Collector, started: RunStart) -> tuple[tuple[str, int, str], int]:
        """Carry over what the collector of a replaced warehouse knows. Returns the gap (kind, since
        when, note) and the next clock id.
        """
        moved = carry_over(
            before.processes,
            self.processes,
            started.used_job_ids,
            started.next_clock_id,
            self._since_ns,
        )
        for clock in moved.clocks:
            self.batcher.clock(clock)
        for job in moved.jobs.values():
            self.batcher.job(job)
        from_ns = min(before.batcher.stored_ns, moved.since_ns)
        if started.run.heard_ns is not None:
            from_ns = min(from_ns, started.run.heard_ns)
        renamed = [
            f"job {old_id} goes on as {job.id}"
            for old_id, job in moved.jobs.items()
            if job.id != old_id
        ]
        note = "; ".join(["data of the warehouse before this one is not in it", *renamed])
        log.error(
            "%s: another warehouse has taken the place of ours; %d open jobs go on in it; %s",
            self._config.db,
            len(moved.jobs),
            note,
        )
        return ("replaced", from_ns, note), started.next_clock_id + 2 * len(moved.clocks)

    def _close_automatic_jobs(self) -> None:
        now_ns = clocks.monotonic_ns()
        closed, left = close_all(self.processes, self._reader.runs, now_ns)
        for life in left:
            self.intervals.edge(life, now_ns)
        for job in closed:
            self.batcher.close(job)

    def _read_at_edge(self, life: Incarnation, edge_ns: int) -> None:
        self.intervals.edge(life, edge_ns)

    def _read_counters(self, life: Incarnation, fingerprint: bytes) -> Shown | None:
        return self.counter_reader.read(life, self.processes.clocks.from_boottime_ns, fingerprint)

    # --- the loop

    def run(self) -> bool:
        """Receive events and answer requests until stopped, when all that was received has been
        stored (True), or until the warehouse was replaced (False).
        """
        with contextlib.suppress(PermissionError):
            priority = min(NICE, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, 0, priority)  # of this thread
        with self._signals():
            self._selector.register(
                self.batcher.writer.fileno(),
                selectors.EVENT_READ,
                lambda _mask: self.batcher.writer.collect(),
            )
            self._selector.register(
                self._connector.fileno(), selectors.EVENT_READ, self._events_wait
            )
            self._selector.register(self._alarm.fileno(), selectors.EVENT_READ, self._clock_was_set)
            moves = self.groups.fileno() if self.groups is not None else None
            if moves is not None:
                self._selector.register(moves, selectors.EVENT_READ, self._moves_wait)
            watchdog_s = sd_notify.watchdog_seconds()
            pulse_ns = int(watchdog_s * SECOND_NS) if watchdog_s else None
            pulse_at_ns = 0
            # Objects that exist now will stay; garbage collection need not look at them again. What
            # waits to be stored is no garbage either, and would be looked at every 700 objects.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GARBAGE)
            sd_notify.notify(sd_notify.READY, sd_notify.status("receiving process events"))
            log.info(
                "receiving process events; %d processes alive, %d open jobs",
                len(self.processes.living),
                len(self.processes.jobs.open),
            )
            while not self._stopping and not self.batcher.writer.replaced:
                for key, mask in self._selector.select(self._timeout_s()):
                    key.data(mask)
                now_ns = clocks.monotonic_ns()
                self._tick(now_ns)
                if pulse_ns and now_ns >= pulse_at_ns:
                    sd_notify.notify(sd_notify.WATCHDOG)
                    pulse_at_ns = now_ns + pulse_ns
        self._finish()
        return self._stopping

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """TERM and INT stop the daemon; a pipe wakes the selector for them."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(reader, selectors.EVENT_READ, lambda _mask: os.read(reader, 512))
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        handlers = {
            number: signal.signal(number, lambda *_: self.stop())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
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
        """The first event of a new batch has come: wait for more before they are read."""
        self._selector.unregister(self._connector.fileno())
        self._gathering = True
        self._drain_at_ns = clocks.monotonic_ns() + self._config.drain_ms * MS_NS

    def _moves_wait(self, _mask: int) -> None:
        """A control group was emptied, which may be removed at any moment; or a process was moved:
        more moves may follow, as with events.
        """
        if self.groups is not None:
            self.groups.hold()
        if self._drain_at_ns is None:
            self._drain_at_ns = clocks.monotonic_ns() + self._config.drain_ms * MS_NS

    def _clock_was_set(self, _mask: int) -> None:
        self._alarm.acknowledge()
        self._reader.check_clock()

    def _timeout_s(self) -> float:
        now_ns = clocks.monotonic_ns()
        due = (
            now_ns if self._pending else now_ns + SECOND_NS,
            self._drain_at_ns,
            self._reader.due_ns(),
            self.batcher.due_ns(),
            self.intervals.due_ns(now_ns),
            self.job_memory.due_ns(now_ns),
        )
        return max(min(at_ns for at_ns in due if at_ns is not None) - now_ns, 0) / SECOND_NS

    def _tick(self, now_ns: int) -> None:
        if self._drain_at_ns is not None and now_ns >= self._drain_at_ns:
            self.drain(patient=True)
        self._reader.tick(now_ns, wait=self._may_wait())
        if self._cmdlines is not None:
            self._cmdlines.tick(now_ns)
        if self._pending or self._syncs:
            self.drain()
            self._answer()
            if self.batcher.commit_requested:
                # Then everything up to the change is stored with it. If jobd dies now, processes
                # that are not stored started after the change.
                self.drain()
            self._answer_syncs()
        self._tick_intervals(now_ns)
        self.helpers.tick(now_ns)
        self.batcher.tick(now_ns)
        if now_ns - self._housekeeping_ns >= HOUSEKEEPING_NS:
            self._housekeeping_ns = now_ns
            self._reader.drop_overdue(now_ns)
            self._keep_socket()
            self._end_for_new_cpus()
        self._server.expire(now_ns / SECOND_NS)

    def _tick_intervals(self, now_ns: int) -> None:
        """Read the counters of some living processes and the memory of some jobs, if it is
        time.
        """
        if self.intervals.is_due(now_ns) or self.job_memory.is_due(now_ns):
            self.drain(patient=True)
        wait = self.batcher.writer.trouble is not None
        self.intervals.tick(clocks.monotonic_ns(), self.batcher.heard_ns, wait=wait)
        self.job_memory.tick(clocks.monotonic_ns(), wait=wait)
        self.intervals.charge(self.job_memory.take_cost_ns())

    def _keep_socket(self) -> None:
        try:
            if self._server.stay():
                log.warning("%s was removed; it was made again", self._config.socket)
            self._socket_trouble = ""
        except ElsaError as error:
            if str(error) != self._socket_trouble:
                log.error("jobd cannot be reached any more: %s; trying again", error)
            self._socket_trouble = str(error)

    def _end_for_new_cpus(self) -> None:
        """Events of CPUs that came online, as after a suspend, are opened by root alone, before or
        at jobd's start: a service manager starts it again. Without one it goes on without them.
        """
        if self.groups is not None and self.groups.unseen_cpus and sd_notify.supervised():
            log.warning("ending, so that the service manager starts jobd again with all CPUs")
            self.stop()

    def _finish(self) -> None:
        sd_notify.notify(sd_notify.STOPPING)
        for _ in range(LAST_TURNS):
            self.drain()
            if self._drain_at_ns is None:
                break
        if self._cmdlines is not None:
            self._cmdlines.finish(CMDLINES_S)
        if self.groups is not None:
            self.groups.finish()
        try:
            self.batcher.finish()
        finally:
            self.helpers.close()
            self._server.close()
            self._connector.close()
            if self._taskstats is not None:
                self._taskstats.close()
            self.counter_reader.close()
            self._alarm.close()
            self._selector.close()
            gc.unfreeze()
        log.info("stopped; %d events received, %d lost", self.batcher.events, self.batcher.lost)

    # --- requests (see requests.Collector)

    def _handle(self, request: Request, peer: Peer, reply: Reply) -> None:
        if isinstance(request, Status):  # answered at once, even if events wait
            self._requests.handle(request, peer, reply)
        else:
            self._pending.append(PendingRequest(clocks.monotonic_ns(), request, peer, reply))

    def _answer(self) -> None:
        """Carry out the requests before which all events have been read. Users who had least of
        jobd's time come first.
        """
        until_ns = clocks.monotonic_ns() + TURN_NS
        heard_ns = until_ns if self._drain_at_ns is None else self._reader.newest_ns
        pending, self._pending = self._pending, []
        pending.sort(key=lambda asked: (self._server.charge_of(asked.peer.uid), asked.at_ns))
        for asked in pending:
            if asked.at_ns > heard_ns or clocks.monotonic_ns() >= until_ns:
                self._pending.append(asked)
                continue
            request, peer, reply = asked.request, asked.peer, asked.reply
            with self._server.charged(peer.uid):
                carry_out(partial(self._requests.handle, request, peer, reply), peer, reply)

    def drain(self, *, patient: bool = False) -> None:
        """Read the events that the kernel has queued, all of them if there is time; with `patient`
        only while the writer keeps up.
        """
        until_ns = clocks.monotonic_ns() + TURN_NS
        while not (patient and self._may_wait()):
            is_all = self._reader.drain()
            self._requests.follow()
            if is_all:
                break
            now_ns = clocks.monotonic_ns()
            self.batcher.tick(now_ns)
            if now_ns >= until_ns:
                self._drain_at_ns = now_ns
                return
        else:
            self._drain_at_ns = clocks.monotonic_ns() + HOLD_NS
            return
        self._drain_at_ns = None
        if self._gathering:
            self._selector.register(
                self._connector.fileno(), selectors.EVENT_READ, self._events_wait
            )
            self._gathering = False

    def _may_wait(self) -> bool:
        """Whether events may wait in the kernel's buffers: the writer is behind, and the buffers
        have room.
        """
        behind = self.batcher.writer.backlog > self._config.backlog_events // 2 and not self._syncs
        return (
            behind
            and self._connector.fill() < FULL
            and (self._taskstats is None or self._taskstats.fill() < FULL)
        )

    def sync(self, reply: Reply) -> None:
        """Answer when all that happened so far is in the warehouse, and all that was missed has
        been inferred.
        """
        self._syncs.append((clocks.monotonic_ns(), reply))
        self._answer_syncs()

    def _answer_syncs(self) -> None:
        if not (self._syncs and self._reader.settled and self._drain_at_ns is None):
            return
        until_ns = clocks.monotonic_ns()
        # Command lines are waited for, but not so long that a flood of them delays all clients.
        if self._cmdlines is not None and self._cmdlines.busy:
            until_ns -= int(CMDLINES_S * SECOND_NS)
        ready = [reply for asked_ns, reply in self._syncs if asked_ns <= until_ns]
        self._syncs = [sync for sync in self._syncs if sync[0] > until_ns]
        if ready:
            self.batcher.commit_all(ready)

    def status(self) -> dict[str, Any]:
        """The state of the daemon."""
        offset_ns = self.processes.clocks.current.offset_ns
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since_at_ns": self._since_ns + offset_ns,
            "heard_at_ns": self.batcher.heard_ns + offset_ns,
            "events": self.batcher.events,
            "lost": self.batcher.lost,
            "gaps": self.batcher.gaps,
            "backlog": self.batcher.backlog,
            "processes": len(self.processes.living),
            "jobs": len(self.processes.jobs.open),
            "interval_s": self.intervals.period_ns // SECOND_NS,
            "db": str(self._config.db),
            "withheld": self._cmdlines.withheld if self._cmdlines is not None else 0,
            "writer": self.batcher.writer.trouble or "ok",
        }

    def ended_jobs(self, uid: int | None, kinds: Collection[str]) -> list[dict[str, Any]]:
        """The newest jobs that have ended, of a user or of all, and of some kinds."""
        try:
            with contextlib.closing(database.open_for_reading(self._config.db)) as connection:
                return collector_runs.ended_jobs(connection, uid, kinds)
        except ElsaError as error:
            log.warning("%s", error)
            return []


def _taskstats_or_none() -> TaskstatsSocket | None:
    """The taskstats socket; without one a warning says what that means."""
    try:
        return canaries.proven_taskstats()
    except RetryError:
        raise  # another start will have one
    except ElsaError as error:
        log.warning("no taskstats, so no I/O, memory or exact CPU time: %s", error)
        return None
