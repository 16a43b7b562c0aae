"""The collector's ear: takes in process events, notices what was lost, and looks into /proc where
events alone do not tell enough.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from elsa.decode import events as ev
from elsa.host import proc_scan
from elsa.jobd.batcher import MS, SECOND
from elsa.jobd.command_lines import Cmdlines
from elsa.jobd.taskstats_reader import Notes, Statistics
from elsa.kernel import clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.state.incarnation import Incarnation, ProcSnapshot, same_start
from elsa.state.loss_counter import Losses
from elsa.state.loss_counter import Sequence as Numbering
from elsa.state.process_table import SKEW_NS, Processes

log = logging.getLogger(__name__)

DRAIN_CHUNK = 2_500
# In one call: so that a storm does not keep the writer from its work, nor requests from being
# answered.
DRAIN_MOST = 5_000
# A process that /proc does not show any more may have its exit on its way for this long.
GRACE_NS = 500 * MS
RESCAN_NS = SECOND
# How often to look, in one go, at processes whose threads go on ending meanwhile; what is left is
# looked at soon.
DOUBT_TURNS = 3
DOUBT_NS = 20 * MS
# How long, in one go, to look at what was executed: what is left is looked at soon, if it still
# runs.
LOOK_NS = 20 * MS


class Loss(NamedTuple):
    """What was lost, as it goes on record."""

    kind: str
    since_ns: int
    lost: int


class Missing(NamedTuple):
    """Lives that a scan did not show."""

    at_ns: int
    """When to conclude that they are over."""
    scanned_ns: int
    lives: Sequence[Incarnation]


class Hearing:
    """Everything that is heard and seen of processes."""

    def __init__(
        self,
        connector: Connector,
        taskstats: TaskstatsSocket | None,
        procfs: Procfs,
        processes: Processes,
        notes: Notes,
        next_clock_id: int,
        cmdlines: Cmdlines | None,
    ) -> None:
        """`cmdlines` takes the secrets out of command lines; None: look at no program at all."""
        self._connector = connector
        self._stats = (
            Statistics(taskstats, procfs, processes, notes) if taskstats is not None else None
        )
        self._procfs = procfs
        self._processes = processes
        self._notes = notes
        self._cmdlines = cmdlines
        self._clocks = processes.clocks
        self._next_clock_id = next_clock_id
        self._numbering = Numbering()
        self._held: list[bytes] = []
        self._missing: list[Missing] = []
        self._losses = Losses()
        self._drops = 0
        self._complete_ns = (
            clocks.monotonic_ns()
        )  # up to here no event was lost that has not been put on record
        self._loss_since_ns: int | None = None
        self._scanned_ns = 0
        self._scan: Iterator[ProcSnapshot] | None = None
        self._found: list[ProcSnapshot] = []
        self._loss: Loss | None = None
        """For which the scan is made."""
        self.newest_ns = 0
        """Whatever happened before has been taken in, unless it was lost."""

    @property
    def settled(self) -> bool:
        """Nothing that was lost or looked for in vain is still to be concluded."""
        return self._loss_since_ns is None and self._loss is None and not self._missing

    @property
    def statistics_ns(self) -> int:
        """All statistics that were sent before have been taken in; now where there are none."""
        return self._stats.heard_ns if self._stats is not None else clocks.monotonic_ns()

    def due_ns(self) -> int | None:
        """When `tick` wants to be called next."""
        due = [self._missing[0].at_ns] if self._missing else []
        if self._stats is not None and self._stats.waiting:
            due.append(clocks.monotonic_ns() + GRACE_NS)
        if (
            self._processes.unconfirmed_exits
            or self._processes.execed
            or self._processes.unread_programs
        ):
            due.append(clocks.monotonic_ns() + DOUBT_NS)
        if self._scan is not None or self._held:
            due.append(0)
        elif self._loss_since_ns is not None:
            due.append(self._scanned_ns + RESCAN_NS)
        return min(due, default=None)

    def tick(self, now_ns: int, *, wait: bool = False) -> None:
        """Mend what was lost, and conclude what has been waited for; with `wait` not what may wait
        as long as the events do.
        """
        if self._scan is not None:
            self._go_on_repairing()
            return
        if self._held:
            self.drain()
        if self._loss_since_ns is not None and now_ns - self._scanned_ns >= RESCAN_NS:
            self._repair()
            return
        if self._missing and now_ns >= self._missing[0].at_ns:
            self._settle_missing()
        if (
            self._processes.unconfirmed_exits
            or self._processes.execed
            or self._processes.unread_programs
        ) and not wait:
            self.drain()

    def ended_threads(self, tgid: int) -> Mapping[str, int]:
        """What the threads of a living process that have ended used, as far as it was heard."""
        return self._stats.ended_threads(tgid) if self._stats is not None else {}

    def keep_house(self, now_ns: int) -> None:
        """Give up on what has not come."""
        self._processes.drop_overdue(now_ns)
        if self._stats is not None:
            self._stats.keep_house()

    # --- events
    # -----------------------------------------------------------------------------------------------------------------

    def drain(self) -> bool:
        """Take in every event that the kernel has queued (or very many); returns whether that was
        all.
        """
        began_ns = clocks.monotonic_ns()
        if self._scan is not None:
            self._hold()
            return False
        if self._held:
            self._hear(self._held[:DRAIN_MOST])
            del self._held[:DRAIN_MOST]
            return False
        for _ in range(DRAIN_MOST // DRAIN_CHUNK):
            # Before the events, so that the forks of those that the statistics tell of are known
            # when they are looked at.
            told = self._stats is None or self._stats.gather()
            datagrams = self._connector.drain(DRAIN_CHUNK)
            if datagrams:
                self._hear(datagrams)
            if len(datagrams) < DRAIN_CHUNK and told:
                self._all_heard(began_ns)
                empty = True
                break
        else:
            empty = False
        self._look_at_programs()
        if empty:
            self._settle_doubts()
        heard = self._stats is None or self._stats.hear(up_to_date=empty)
        return empty and heard

    def _hear(self, datagrams: list[bytes]) -> None:
        events = ev.decode(datagrams)
        skipped = self._numbering.missing(events)
        if skipped:
            self._note_loss()
            self._losses.skipped += skipped
        self._notes.events += len(events)
        self._processes.apply(events)
        if events:
            self.newest_ns = events[-1].time_ns - SKEW_NS

    def _all_heard(self, began_ns: int) -> None:
        """The queue is empty: whatever happened before `began_ns` is known, unless it was lost."""
        drops = self._connector.drops()
        if drops != self._drops:
            self._note_loss()
            self._losses.counted += (drops - self._drops) % 2**32
            self._drops = drops
        if self._loss_since_ns is None:
            self._complete_ns = began_ns
        if self.settled:
            self._notes.heard_ns = began_ns

    # --- losses
    # -----------------------------------------------------------------------------------------------------------------

    def _note_loss(self) -> None:
        """Numbers that were skipped tell early, the kernel's own counter tells exactly how many."""
        if self._loss_since_ns is None:
            self._loss_since_ns = self._complete_ns
            self._processes.events_lost = True

    def _repair(self) -> None:
        """After a loss: begin to compare with /proc."""
        self.drain()
        since_ns = self._loss_since_ns
        assert since_ns is not None  # noqa: S101
        self._loss_since_ns = None
        kind, lost = self._losses.take_new()
        self._loss = Loss(kind, since_ns, lost)
        self._begin_to_look()

    def _go_on_repairing(self) -> None:
        """Compare for some milliseconds; at the end conclude what was missed, and put the gap on
        record.
        """
        loss = self._loss
        assert loss is not None  # noqa: S101
        if not self._look_on(infer=True):
            return
        self._loss = None
        self._processes.events_lost = False
        if loss.lost:
            # To the end of the scan: what was born in the gap may have ended before it was its turn
            # to be looked at.
            self._notes.gap(loss.kind, loss.since_ns, clocks.monotonic_ns(), loss.lost)

    # --- /proc
    # ------------------------------------------------------------------------------------------------------------------

    def look_around(self, *, infer: bool) -> None:
        """Compare all of /proc with what is known, in one go."""
        self._begin_to_look()
        while not self._look_on(infer=infer):
            pass

    def _begin_to_look(self) -> None:
        self._scanned_ns = clocks.monotonic_ns()
        self._found = []
        self._scan = proc_scan.find_all(self._procfs, self._clocks.from_boottime_ns, self._hold)

    def _look_on(self, *, infer: bool) -> bool:
        """Read some more of /proc; returns whether that was all, which is compared with what is
        known then.
        """
        assert self._scan is not None  # noqa: S101
        until_ns = clocks.monotonic_ns() + LOOK_NS
        for found in self._scan:
            self._found.append(found)
            if clocks.monotonic_ns() >= until_ns:
                return False
        self._scan = None
        missing = self._processes.reconcile(self._found, infer=infer)
        self._found = []
        if missing:
            self._missing.append(
                Missing(clocks.monotonic_ns() + GRACE_NS, self._scanned_ns, missing)
            )
        return True

    def _hold(self) -> None:
        """The sockets listen on while /proc is read: what happens meanwhile is taken in afterwards."""
        if self._stats is not None:
            self._stats.gather()
        self._held += self._connector.drain(DRAIN_CHUNK)

    def _settle_missing(self) -> None:
        """What a scan did not show, and whose exit has not come since, is over."""
        if not self.drain() and self.newest_ns < self._missing[0].at_ns:
            return
        missing = self._missing.pop(0)
        self._processes.end_vanished(
            [life for life in missing.lives if not self._is_alive(life)], missing.scanned_ns
        )

    def _is_alive(self, life: Incarnation) -> bool:
        found = self._find(life.pid)
        return found is not None and not found.over and same_start(life, found.start_ns)

    def _look_at_programs(self) -> None:
        """After an exec only /proc knows the new name and program; who is gone already is named by
        its accounting record.
        """
        until_ns = clocks.monotonic_ns() + LOOK_NS
        processes = self._processes
        if self._cmdlines is None:
            processes.unread_programs.clear()  # the name is known of whoever was found
        for pid in {**dict.fromkeys(processes.execed), **processes.unread_programs}:
            looked_ns = clocks.monotonic_ns()
            if looked_ns > until_ns:
                break
            life = processes.living[pid]
            seen, found = None, self._find(pid)
            if found is not None and same_start(life, found.start_ns):
                processes.set_comm(life, found.comm)
                if self._cmdlines is not None:
                    seen = proc_scan.program(self._procfs, life, self._clocks.from_boottime_ns)
            row, arguments = seen or (None, b"")
            processes.note_program(life, row, looked_ns)
            if row is not None and arguments and self._cmdlines is not None:
                self._cmdlines.submit(
                    life.uid,
                    arguments,
                    functools.partial(processes.note_cmdline, life, row, looked_ns),
                )

    def _settle_doubts(self) -> None:
        """Look first, then listen: whoever is gone has sent its last event by then.

        Who was still there may have gone between the look and the listening: of whom an exit is
        heard there, the look says nothing.
        """
        for _ in range(DOUBT_TURNS):
            looked = [
                (event, pid, self._find(pid))
                for pid, event in self._processes.unconfirmed_exits.items()
            ]
            if not looked:
                return
            datagrams = self._connector.drain(DRAIN_CHUNK)
            self._hear(datagrams)
            if len(datagrams) == DRAIN_CHUNK:
                return  # its last event may stand behind these
            for event, pid, found in looked:
                if self._processes.unconfirmed_exits.get(pid) is event:
                    self._processes.resolve_exit(pid, found)

    def _find(self, pid: int) -> ProcSnapshot | None:
        return proc_scan.find(self._procfs, pid, self._clocks.from_boottime_ns, with_uid=False)

    # --- the clock
    # --------------------------------------------------------------------------------------------------------------

    def look_at_clock(self) -> None:
        """Have a new offset between the clocks stored, if there is one; events find their clock by
        their time.
        """
        offsets = clocks.offsets()
        clock = self._clocks.observe(
            self._next_clock_id, clocks.monotonic_ns(), offsets.realtime_ns, offsets.boottime_ns
        )
        if clock is not None:
            self._next_clock_id += 2
            self._notes.clock(clock)
            if len(self._clocks.known) > 1:
                step_ns = clock.offset_ns - self._clocks.known[-2].offset_ns
                log.warning(
                    "the clock was set, or the machine slept: it went %+.3f s", step_ns / SECOND
                )
