"""Reads process events for the collector, notices lost events, and reads /proc where events alone
do not say enough.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from elsa.decode import events as ev
from elsa.decode.events import Event
from elsa.host import proc_scan
from elsa.jobd.command_lines import CommandLines
from elsa.jobd.taskstats_reader import Recorder, TaskstatsReader
from elsa.kernel import clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.state.incarnation import Incarnation, ProcSnapshot, same_start, still_runs
from elsa.state.loss_counter import Losses
from elsa.state.loss_counter import Sequence as Numbering
from elsa.state.process_table import NEVER, SKEW_NS, Processes
from elsa.units import MS_NS, SECOND_NS

if TYPE_CHECKING:
    from elsa.jobd.cgroup_reader import CgroupReader

log = logging.getLogger(__name__)

DRAIN_CHUNK = 2_500
# How many events are read in one call, so that a storm delays neither the writer nor requests.
DRAIN_MOST = 5_000
# An event may stand this many places after one that happened later.
OUT_OF_ORDER = 64
# The exit of a process that /proc no longer shows may be in the queue for this long.
GRACE_NS = 500 * MS_NS
RESCAN_NS = SECOND_NS
# How often in one call /proc is read for unconfirmed exits, if threads of these processes end
# meanwhile; the rest waits for the next call.
CONFIRM_TURNS = 3
RETRY_NS = 20 * MS_NS
# How long in one call /proc is read for programs or for a scan; the rest waits for the next call.
LOOK_NS = 20 * MS_NS


class Loss(NamedTuple):
    """A loss, as it is recorded."""

    kind: str
    since_ns: int
    lost: int


class Missing(NamedTuple):
    """Processes that a scan did not show."""

    at_ns: int
    """When they are taken to have ended, if their exits have not come."""
    scanned_ns: int
    lives: Sequence[Incarnation]


class EventReader:
    """Applies events, scans of /proc and taskstats messages to the processes."""

    def __init__(
        self,
        connector: Connector,
        taskstats: TaskstatsSocket | None,
        procfs: Procfs,
        processes: Processes,
        recorder: Recorder,
        next_clock_id: int,
        cmdlines: CommandLines | None,
        cgroups: CgroupReader | None = None,
    ) -> None:
        """`cmdlines` removes secrets from command lines; None: programs are not read at all.
        `cgroups` puts processes into automatic jobs; None: there are none.
        """
        self._connector = connector
        self._stats: TaskstatsReader | None = None
        if taskstats is not None:
            self._stats = TaskstatsReader(taskstats, procfs, processes, recorder)
        self._procfs = procfs
        self._processes = processes
        self._recorder = recorder
        self._cmdlines = cmdlines
        self._cgroups = cgroups
        self._hierarchy = cgroups.hierarchy if cgroups is not None else None
        self._cgroups_read_ns = 0
        self._clocks = processes.clocks
        self._next_clock_id = next_clock_id
        self._numbering = Numbering()
        self._held: list[bytes] = []
        self._missing: list[Missing] = []
        self._losses = Losses()
        self._drops = 0
        self._complete_ns = connector.since_ns
        """Monotonic: all losses before this have been recorded."""
        self._loss_since_ns: int | None = None
        self._scanned_ns = 0
        self._scan: Iterator[ProcSnapshot] | None = None
        self._scanned: list[ProcSnapshot] = []
        self._loss: Loss | None = None
        """The loss for which the scan is made."""
        self.newest_ns = 0
        """Monotonic: all events before this have been read, unless they were lost."""

    @property
    def settled(self) -> bool:
        """Whether all that was lost or is missing has been inferred."""
        return self._loss_since_ns is None and self._loss is None and not self._missing

    @property
    def taskstats_ns(self) -> int:
        """Monotonic: all taskstats messages that were sent before have been read; now if taskstats
        is not used.
        """
        return self._stats.heard_ns if self._stats is not None else clocks.monotonic_ns()

    @property
    def _has_to_read_proc(self) -> bool:
        """Whether /proc is to be read for exits or programs."""
        processes = self._processes
        return bool(processes.unconfirmed_exits or processes.execed or processes.unread_programs)

    def due_ns(self) -> int | None:
        """When `tick` is to be called next."""
        due = [self._missing[0].at_ns] if self._missing else []
        if self._stats is not None and self._stats.waiting:
            due.append(clocks.monotonic_ns() + GRACE_NS)
        if self._has_to_read_proc:
            due.append(clocks.monotonic_ns() + RETRY_NS)
        if self._scan is not None or self._held:
            due.append(0)
        elif self._loss_since_ns is not None:
            due.append(self._scanned_ns + RESCAN_NS)
        return min(due, default=None)

    def tick(self, now_ns: int, *, wait: bool = False) -> None:
        """Infer what was lost and what has been waited for long enough. With `wait`, exits and
        programs are not read from /proc, as long as the events wait too.
        """
        if self._scan is not None:
            self._continue_repair()
            return
        if self._held:
            self.drain()
        if self._loss_since_ns is not None and now_ns - self._scanned_ns >= RESCAN_NS:
            self._start_repair()
            return
        if self._missing and now_ns >= self._missing[0].at_ns:
            self._settle_missing()
        if (self._has_to_read_proc or self._cgroups_due(now_ns)) and not wait:
            self.drain()

    def _cgroups_due(self, now_ns: int) -> bool:
        """Whether moves between control groups may wait though no process event came with them."""
        return self._cgroups is not None and now_ns - self._cgroups_read_ns >= SECOND_NS

    def ended_threads(self, tgid: int) -> Mapping[str, int]:
        """What the ended threads of a living process used, as far as messages came."""
        return self._stats.ended_threads(tgid) if self._stats is not None else {}

    def drop_overdue(self, now_ns: int) -> None:
        """Stop waiting for exits and messages that have not come."""
        self._processes.drop_overdue(now_ns)
        if self._cgroups is not None:
            self._cgroups.check(now_ns)
        if self._stats is not None:
            self._stats.drop_overdue()

    # --- events

    def drain(self) -> bool:
        """Read the events that the kernel has queued (or very many of them); returns whether these
        were all.
        """
        started_ns = clocks.monotonic_ns()
        if self._scan is not None:
            self._hold()
            return False
        if self._held:
            self._apply(self._held[:DRAIN_MOST])
            del self._held[:DRAIN_MOST]
            return False
        for _ in range(DRAIN_MOST // DRAIN_CHUNK):
            # Messages before events, so that the fork of a message's process is known when the
            # message is matched.
            no_more_messages = self._stats is None or self._stats.gather()
            datagrams = self._connector.drain(DRAIN_CHUNK)
            if datagrams:
                self._apply(datagrams)
            if len(datagrams) < DRAIN_CHUNK and no_more_messages:
                self._note_empty(started_ns)
                empty = True
                break
        else:
            empty = False
        self._read_programs()
        if empty:
            self._confirm_exits()
        all_matched = self._stats is None or self._stats.match(up_to_date=empty)
        return empty and all_matched

    def _apply(self, datagrams: list[bytes]) -> None:
        events = ev.decode(datagrams)
        skipped = self._numbering.missing(events)
        if skipped:
            self._note_loss()
            self._losses.skipped += skipped
        self._recorder.events += len(events)
        if events:
            self._apply_in_order(events)
            self.newest_ns = events[-1].time_ns - SKEW_NS

    def _apply_in_order(self, events: Sequence[Event]) -> None:
        """Apply events in queue order, and between them the records of control groups by their
        time.
        """
        cgroups, processes = self._cgroups, self._processes
        if cgroups is None:
            processes.apply(events)
            return
        # The newest is not always the last: CPUs queue their events a little out of order.
        newest_ns = max(event.time_ns for event in events[-OUT_OF_ORDER:])
        records, apply_record = iter(cgroups.records(newest_ns)), cgroups.apply
        record = next(records, None)

        def apply_until(time_ns: int) -> int:
            """Apply the records of an earlier time; returns the time of the next record."""
            nonlocal record
            while record is not None and record.time_ns < time_ns:
                apply_record(record)
                record = next(records, None)
            return NEVER if record is None else record.time_ns

        processes.apply(events, apply_until(0), apply_until)
        apply_until(NEVER)
        cgroups.retry(newest_ns)

    def _note_empty(self, started_ns: int) -> None:
        """The queue is empty: all events before `started_ns` have been read, unless lost."""
        if self._cgroups is not None:
            for record in self._cgroups.records(started_ns):
                self._cgroups.apply(record)
            self._cgroups.settle(started_ns)
            self._cgroups_read_ns = started_ns
        drops = self._connector.drops()
        if drops != self._drops:
            self._note_loss()
            self._losses.counted += (drops - self._drops) % 2**32
            self._drops = drops
        if self._loss_since_ns is None:
            self._complete_ns = started_ns
        if self.settled:
            self._recorder.heard_ns = started_ns

    # --- losses

    def _note_loss(self) -> None:
        """Events were lost since the queue was last empty."""
        if self._loss_since_ns is None:
            self._loss_since_ns = self._complete_ns
            self._processes.events_lost = True

    def _start_repair(self) -> None:
        """After a loss: start to compare with /proc."""
        self.drain()
        since_ns = self._loss_since_ns
        assert since_ns is not None  # noqa: S101
        self._loss_since_ns = None
        kind, lost = self._losses.take_new()
        self._loss = Loss(kind, since_ns, lost)
        self._start_scan()

    def _continue_repair(self) -> None:
        """Scan for some milliseconds; at the end infer what was missed, and record the gap."""
        loss = self._loss
        assert loss is not None  # noqa: S101
        if not self._continue_scan(infer=True):
            return
        self._loss = None
        if self._cgroups is not None:
            self._cgroups.rescan()
        self._processes.events_lost = False
        if loss.lost:
            # Up to the end of the scan: a process that started in the gap may have ended before the
            # scan came to it.
            self._recorder.gap(loss.kind, loss.since_ns, clocks.monotonic_ns(), loss.lost)

    # --- /proc

    def scan_all(self, *, infer: bool) -> None:
        """Compare all of /proc with what is known, in one go."""
        self._start_scan()
        while not self._continue_scan(infer=infer):
            pass

    def _start_scan(self) -> None:
        self._scanned_ns = clocks.monotonic_ns()
        self._scanned = []
        self._scan = proc_scan.find_all(self._procfs, self._clocks.from_boottime_ns, self._hold)

    def _continue_scan(self, *, infer: bool) -> bool:
        """Read some more of /proc; at the end compare it with what is known. Returns whether that
        was the end.
        """
        assert self._scan is not None  # noqa: S101
        until_ns = clocks.monotonic_ns() + LOOK_NS
        for process in self._scan:
            self._scanned.append(process)
            if clocks.monotonic_ns() >= until_ns:
                return False
        self._scan = None
        missing = self._processes.reconcile(self._scanned, infer=infer)
        self._scanned = []
        if missing:
            self._missing.append(
                Missing(clocks.monotonic_ns() + GRACE_NS, self._scanned_ns, missing)
            )
        return True

    def _hold(self) -> None:
        """Empty the sockets while /proc is read; the events are applied after the scan."""
        if self._stats is not None:
            self._stats.gather()
        self._held += self._connector.drain(DRAIN_CHUNK)
        if self._cgroups is not None:
            self._cgroups.hold()

    def _settle_missing(self) -> None:
        """End the processes that a scan did not show and whose exit has not come since."""
        if not self.drain() and self.newest_ns < self._missing[0].at_ns:
            return
        missing = self._missing.pop(0)
        self._processes.end_vanished(
            [life for life in missing.lives if not self.runs(life)], missing.scanned_ns
        )

    def runs(self, life: Incarnation) -> bool:
        """Whether /proc shows that a process has not ended."""
        return still_runs(life, self._find(life.pid))

    def _read_programs(self) -> None:
        """After an exec only /proc has the new name and program. A process that has ended already
        gets its name from its accounting record.
        """
        until_ns = clocks.monotonic_ns() + LOOK_NS
        processes = self._processes
        if self._cmdlines is None:
            processes.unread_programs.clear()  # the names are known from the scan
        for pid in {**dict.fromkeys(processes.execed), **processes.unread_programs}:
            looked_ns = clocks.monotonic_ns()
            if looked_ns > until_ns:
                break
            life = processes.living[pid]
            program, shown = None, self._find(pid)
            if shown is not None and same_start(life, shown.start_ns):
                processes.set_comm(life, shown.comm)
                if self._cmdlines is not None:
                    program = proc_scan.program(
                        self._procfs, life, self._clocks.from_boottime_ns, self._hierarchy
                    )
            row, arguments = program or (None, b"")
            if shown is not None and self._cgroups is not None:
                self._cgroups.look(life, row[2] if row is not None else None)
            processes.note_program(life, row, looked_ns)
            if row is not None and arguments and self._cmdlines is not None:
                note = functools.partial(processes.note_cmdline, life, row, looked_ns)
                self._cmdlines.submit(life.uid, arguments, note)

    def _confirm_exits(self) -> None:
        """Read /proc first, then the queue: a process that /proc does not show has sent its last
        event by then.

        A process that /proc shows may end before the queue is read. So if another exit of it comes,
        the reading of /proc is not used.
        """
        for _ in range(CONFIRM_TURNS):
            readings = [
                (event, pid, self._find(pid))
                for pid, event in self._processes.unconfirmed_exits.items()
            ]
            if not readings:
                return
            datagrams = self._connector.drain(DRAIN_CHUNK)
            self._apply(datagrams)
            if len(datagrams) == DRAIN_CHUNK:
                return  # more events are in the queue
            for event, pid, shown in readings:
                if self._processes.unconfirmed_exits.get(pid) is event:
                    self._processes.resolve_exit(pid, shown)

    def _find(self, pid: int) -> ProcSnapshot | None:
        return proc_scan.find(self._procfs, pid, self._clocks.from_boottime_ns, with_uid=False)

    # --- the clock

    def check_clock(self) -> None:
        """Record a new clock if the offset between real and monotonic time has changed."""
        offsets = clocks.offsets()
        clock = self._clocks.observe(
            self._next_clock_id, clocks.monotonic_ns(), offsets.realtime_ns, offsets.boottime_ns
        )
        if clock is not None:
            self._next_clock_id += 2
            self._recorder.clock(clock)
            if len(self._clocks.known) > 1:
                step_ns = clock.offset_ns - self._clocks.known[-2].offset_ns
                log.warning(
                    "the clock was set, or the machine was suspended: it moved by %+.3f s",
                    step_ns / SECOND_NS,
                )
