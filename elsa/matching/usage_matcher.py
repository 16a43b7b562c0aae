"""Which incarnation a taskstats message about a process belongs to. Pure.

The kernel sends it when the last thread ends, before the pid can be used again, so the k-th message
for a pid belongs to its k-th incarnation. If messages were lost, duration and exit status show
which incarnations have none.
"""

from __future__ import annotations

from collections.abc import Iterable

from elsa.decode.taskstats import Taskstats
from elsa.measures import COUNTERS, DELAYS, PEAKS
from elsa.state.incarnation import EXITED, STRANGER, Incarnation
from elsa.state.process_sums import ProcessStats, fields_of
from elsa.state.process_table import Processes
from elsa.units import SECOND_NS

# How long the message of a process that has ended is waited for; then it was lost.
PATIENCE_NS = 5 * SECOND_NS
# The message is made a little before the exit event, which may lag on a busy host. Its start is
# that of the task; the fork event gets its time later, by as long as the parent does not run in
# between.
EXIT_SLACK_NS = 50_000_000
EVENT_LAG_NS = 2 * SECOND_NS
LARGEST_INTEGER = 2**63 - 1
"""The largest number that SQLite holds."""


class UsageMatcher:
    """Matches every message with its incarnation."""

    def __init__(self, processes: Processes, since_ns: int = 0, *, delays: bool) -> None:
        """`since_ns`: messages sent before it were not received."""
        self._processes = processes
        self._since_ns = since_ns
        self._processes.ended = []
        self._waiting: dict[int, list[Incarnation]] = {}
        """By pid: processes that have ended and whose message has not come, oldest first."""
        self._early: set[int] = set()
        """Ids of processes whose message came before their exit."""
        self.delays = delays
        """The kernel counts delays now (kernel.task_delayacct); else their zeros mean nothing."""
        self.unmatched = 0
        """How many messages belong to no known process."""

    def add(self, messages: Iterable[ProcessStats], now_ns: int, sent_after_ns: int = 0) -> None:
        """Take in messages, in queue order, that were sent after `sent_after_ns`; every fork that
        happened before them must have been applied.
        """
        self._add_ended()
        for stats in messages:
            life = self._process_of(stats, now_ns, sent_after_ns)
            if life is None:
                self.unmatched += 1
                continue
            if life.comm is None:
                self._processes.set_final_comm(life, stats.total.comm)
            if life.exits is not None or life.end_source != EXITED:
                self._processes.note_thread_ends(life, stats.ends)
            self._processes.changes.usage.append(usage_row(life.id, stats, delays=self.delays))

    def drop_overdue(self, heard_ns: int) -> None:
        """Stop waiting for messages that are overdue; all that were sent before `heard_ns` were
        taken in.
        """
        self._add_ended()
        for pid, lives in list(self._waiting.items()):
            while lives and heard_ns - lives[0].end_ns > PATIENCE_NS:
                del lives[0]
            if not lives:
                del self._waiting[pid]

    @property
    def waiting(self) -> bool:
        """Whether processes that have ended still wait for their message."""
        return bool(self._waiting)

    def _add_ended(self) -> None:
        ended, self._processes.ended = self._processes.ended or [], []
        for life in ended:
            if life.end_ns < self._since_ns:
                continue  # its message was sent before any was received
            if life.id in self._early:
                self._early.remove(life.id)
            else:
                waiting = self._waiting.get(life.pid)
                if waiting is None:
                    self._waiting[life.pid] = [life]
                else:
                    waiting.append(life)

    def _process_of(
        self, stats: ProcessStats, now_ns: int, sent_after_ns: int
    ) -> Incarnation | None:
        """The pid's first incarnation that the message fits and that started as late as the
        message's process; the messages of those before it were lost. Only where there is none, as
        the message may have been delayed, one that started earlier will do, if its end was
        received: else others may have had the pid since.

        A message that fits none belongs to a process that is not known, perhaps an earlier one, so
        it changes nothing.
        """
        lives = self._waiting.get(stats.tgid, [])
        alive = self._processes.living.get(stats.tgid)
        if alive is not None and (alive.id in self._early or not _fits(alive, stats, now_ns)):
            alive = None
        for any_age in (False, True):
            for place, life in enumerate(lives):
                if _fits(life, stats, now_ns) and (
                    (any_age and life.end_source == EXITED)
                    or _is_as_young(life, stats, sent_after_ns)
                ):
                    self._take(stats.tgid, lives, place)
                    return life if life.id != STRANGER else None
            if alive is not None:
                may_be_over = alive.may_be_over or self._processes.events_lost
                if (any_age and not may_be_over) or _is_as_young(alive, stats, sent_after_ns):
                    self._early.add(alive.id)
                    return alive
        return None

    def _take(self, pid: int, lives: list[Incarnation], place: int) -> None:
        """The message of one of these has come: no message of those before it will."""
        later = lives[place + 1 :]
        if later and later[0].id == STRANGER and later[0].start_ns == lives[place].end_ns:
            del later[0]  # the same exit
        if later:
            self._waiting[pid] = later
        else:
            del self._waiting[pid]


def _elapsed_ns(stats: ProcessStats) -> int:
    """From the start of a process to the end of its last thread."""
    total = stats.total
    elapsed_us = total.tgetime_us if total.tgetime_us is not None else total.etime_us
    return elapsed_us * 1000


def _is_as_young(life: Incarnation, stats: ProcessStats, sent_after_ns: int) -> bool:
    """Whether a process started no earlier than that of a message that was sent after a moment."""
    return life.start_ns >= sent_after_ns - _elapsed_ns(stats) - EXIT_SLACK_NS


def _fits(life: Incarnation, stats: ProcessStats, now_ns: int) -> bool:
    """Whether a process lasted as long as the message says and ended as it says."""
    total = stats.total
    elapsed_ns = _elapsed_ns(stats)
    least_ns = elapsed_ns - EXIT_SLACK_NS
    if life.id == STRANGER:
        return stats.threads > 1 or total.exitcode == life.status
    if life.elapsed_ns is None:
        return now_ns - life.start_ns >= least_ns
    if life.end_source != EXITED:
        return life.elapsed_ns >= least_ns
    # Of several threads the last whose message came need not be the one that ended the process.
    status_differs = (
        life.exit_status is not None and stats.threads == 1 and total.exitcode != life.exit_status
    )
    return not status_differs and least_ns <= life.elapsed_ns <= elapsed_ns + EVENT_LAG_NS


_BEFORE = ("process_id", "threads", "complete")
USAGE_COLUMNS = (
    *_BEFORE,
    *(measure.column for measure in (*COUNTERS, *PEAKS)),
    *("exe_dev", "exe_inode"),
)
"""The columns of table usage, in order, for programs that start without SQLAlchemy."""
# Those behind `complete`. The kernel counts delays other than that of the CPU only if
# kernel.task_delayacct is set.
_MEASURED = fields_of(*(measure.field for measure in (*COUNTERS, *PEAKS)), "exe_dev", "exe_inode")
_DELAYS = slice(len(_BEFORE) + len(COUNTERS) - len(DELAYS), len(_BEFORE) + len(COUNTERS))
_NOT_COUNTED = (None,) * len(DELAYS)
_IRQ_DELAY = _DELAYS.start + DELAYS.index("irq_delay_ns")


def usage_row(process_id: int, stats: ProcessStats, *, delays: bool) -> tuple[int | None, ...]:
    """A row of table usage."""
    total = stats.total
    row = [process_id, stats.threads, int(stats.complete), *held(_MEASURED(total))]
    if not delays:
        row[_DELAYS] = _NOT_COUNTED
    elif irq_delay_is_unknown(total):
        row[_IRQ_DELAY] = None
    return tuple(row)


def irq_delay_is_unknown(stats: Taskstats) -> bool:
    """Whether the kernel never counted a delay by interrupts: it does not without
    CONFIG_IRQ_TIME_ACCOUNTING. With it, it counts a delay, often of 0, at each update of the CPU's
    clock.
    """
    return stats.irq_count == 0


def held(row: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Counters as SQLite can hold them: a larger number is a kernel counter that ran over, and so
    unknown.
    """
    try:
        all_fit = max(row) <= LARGEST_INTEGER  # type: ignore[type-var, operator]
    except TypeError:  # one of them is None
        all_fit = False
    if all_fit:
        return row
    return tuple([None if value is None or value > LARGEST_INTEGER else value for value in row])
