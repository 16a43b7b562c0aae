"""Which incarnation a message of taskstats tells of. Pure.

The kernel sends it when the last thread ends, before the pid can be given out again, so of one pid
the k-th message is the k-th life. Where messages were lost, duration and exit status tell which
lives they leave out.
"""

from __future__ import annotations

from collections.abc import Iterable

from elsa.state.codes import End
from elsa.state.incarnation import Incarnation
from elsa.state.process_table import Processes
from elsa.state.taskstats import ProcessStats, fields_of

SECOND = 1_000_000_000
# A life that has ended waits this long for its message; then it was lost.
PATIENCE_NS = 5 * SECOND
# The message is made a little before the exit event, which may lag on a busy host; the start is
# that of the task, and the event of the fork is stamped later, by as long as a busy host keeps the
# parent from going on in between.
SLACK_NS = 50_000_000
LAG_NS = 2 * SECOND
MOST = 2**63 - 1
"""The largest number that SQLite holds."""


class UsageMatcher:
    """Gives every message to its life."""

    def __init__(self, processes: Processes, *, delays: bool) -> None:
        self._processes = processes
        self._processes.ended = []
        self._untold: dict[int, list[Incarnation]] = {}
        self._early: set[int] = set()
        """Ids of lives of which taskstats told before their exit was heard."""
        self.delays = delays
        """The kernel counts delays now (kernel.task_delayacct); else their zeros mean nothing."""
        self.unmatched = 0
        """Messages that belong to no life that is known."""

    def hear(self, messages: Iterable[ProcessStats], now_ns: int) -> None:
        """Take in messages, in queue order; every fork that happened before them must have been
        applied.
        """
        self._gather_ended()
        for stats in messages:
            life = self._whose(stats, now_ns)
            if life is None:
                self.unmatched += 1
                continue
            self._processes.set_final_comm(life, stats.total.comm)
            if life.exits is not None or life.end_source != End.EXIT:
                self._processes.note_thread_ends(life, stats.ends)
            self._processes.changes.usage.append(usage_row(life.id, stats, delays=self.delays))

    def forget(self, heard_ns: int) -> None:
        """Give up on messages that have not come, where all that were sent before `heard_ns` were
        taken in.
        """
        self._gather_ended()
        for pid, lives in list(self._untold.items()):
            while lives and heard_ns - _end_ns(lives[0]) > PATIENCE_NS:
                del lives[0]
            if not lives:
                del self._untold[pid]

    @property
    def waiting(self) -> bool:
        """Whether lives that have ended still wait for their message."""
        return bool(self._untold)

    def _gather_ended(self) -> None:
        ended, self._processes.ended = self._processes.ended or [], []
        for life in ended:
            if life.id in self._early:
                self._early.remove(life.id)
            else:
                waiting = self._untold.get(life.pid)
                if waiting is None:
                    self._untold[life.pid] = [life]
                else:
                    waiting.append(life)

    def _whose(self, stats: ProcessStats, now_ns: int) -> Incarnation | None:
        """The first life of the pid that it fits: the messages of those before it were lost.

        One that fits none is of a life that was not heard of, maybe of an earlier one: so it takes
        no other's place.
        """
        lives = self._untold.get(stats.tgid, [])
        for place, life in enumerate(lives):
            if _fits(life, stats, now_ns):
                if place + 1 < len(lives):
                    self._untold[stats.tgid] = lives[place + 1 :]
                else:
                    del self._untold[stats.tgid]
                return life
        alive = self._processes.living.get(stats.tgid)
        if alive is None or alive.id in self._early or not _fits(alive, stats, now_ns):
            return None
        self._early.add(alive.id)
        return alive


def _end_ns(life: Incarnation) -> int:
    return life.start_ns + (life.elapsed_ns or 0)


def _fits(life: Incarnation, stats: ProcessStats, now_ns: int) -> bool:
    """Whether a life lasted as long as the message says and ended in the way it says."""
    elapsed_us = (
        stats.total.tgetime_us if stats.total.tgetime_us is not None else stats.total.etime_us
    )
    least_ns = elapsed_us * 1000 - SLACK_NS
    if life.elapsed_ns is None:
        return now_ns - life.start_ns >= least_ns
    if life.end_source != End.EXIT:
        return life.elapsed_ns >= least_ns
    # Of several threads the last one to be heard need not be the one that ended it all.
    status_differs = (
        life.exit_status is not None
        and stats.threads == 1
        and stats.total.exitcode != life.exit_status
    )
    return not status_differs and least_ns <= life.elapsed_ns <= elapsed_us * 1000 + LAG_NS


# The columns of table usage, in order; delays beyond that of the CPU are counted only where the
# kernel was asked to.
_COUNTED = fields_of(
    *(
        "cpu_run_virtual_ns",
        "utime_us",
        "stime_us",
        "minflt",
        "majflt",
        "coremem_mb_us",
        "virtmem_mb_us",
    ),
    *(
        "read_chars",
        "write_chars",
        "read_bytes",
        "write_bytes",
        "cancelled_write_bytes",
        "read_syscalls",
        "write_syscalls",
    ),
    *("nvcsw", "nivcsw", "cpu_delay_ns"),
)
_DELAYS = fields_of(
    "blkio_delay_ns",
    "swapin_delay_ns",
    "freepages_delay_ns",
    "thrashing_delay_ns",
    "compact_delay_ns",
)
_NOT_COUNTED = (None,) * 5
_REST = fields_of("hiwater_rss_kib", "hiwater_vm_kib", "exe_dev", "exe_inode")


def usage_row(process_id: int, stats: ProcessStats, *, delays: bool) -> tuple[int | None, ...]:
    """A row of table usage."""
    total = stats.total
    counted = (process_id, stats.threads, int(stats.complete), *_COUNTED(total))
    return held((*counted, *(_DELAYS(total) if delays else _NOT_COUNTED), *_REST(total)))


def held(row: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Counters as SQLite holds them: what is larger is a counter of the kernel that ran over, and
    so unknown.
    """
    if max(filter(None, row), default=0) <= MOST:
        return row
    return tuple(None if value is not None and value > MOST else value for value in row)
