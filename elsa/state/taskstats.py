"""Messages about threads to sums about processes: one `ProcessStats` per process that ended, in the
order in which they did.

Pure. The kernel tells of every thread; the message of a process's last one has the flag AGROUP, and
where there were others before it, also the group's part. That part counts every thread since the
process began, heard or not, but knows no I/O and no memory: those are summed here, and the part
tells whether the sum is whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from operator import add, itemgetter
from typing import Any, NamedTuple

from elsa.decode.acct import AFORK, AXSIG
from elsa.decode.taskstats import AGROUP, Message, Taskstats
from elsa.state.ending import MOST_KEPT, Ends, ThreadEnd

# Processes of which a thread has ended and others live on, about 2 KB each when full. More of them
# than a busy host has; what fills it in time are those whose last message was lost.
MOST_PENDING = 16384

# What is added up over the threads of a process. The rest is said by one thread for all, or is a
# peak.
_SUMMED = (
    *(
        "cpu_count",
        "cpu_delay_ns",
        "blkio_count",
        "blkio_delay_ns",
        "swapin_count",
        "swapin_delay_ns",
    ),
    *(
        "cpu_run_real_ns",
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
        "read_syscalls",
        "write_syscalls",
        "read_bytes",
        "write_bytes",
        "cancelled_write_bytes",
    ),
    *(
        "nvcsw",
        "nivcsw",
        "freepages_count",
        "freepages_delay_ns",
        "thrashing_count",
        "thrashing_delay_ns",
    ),
    *(
        "compact_count",
        "compact_delay_ns",
        "wpcopy_count",
        "wpcopy_delay_ns",
        "irq_count",
        "irq_delay_ns",
    ),
)
_INDICES = tuple(map(Taskstats._fields.index, _SUMMED))


def fields_of(*names: str) -> itemgetter[Any]:
    """What takes several fields out of a Taskstats at once: ten times as fast as one after the
    other.
    """
    return itemgetter(*map(Taskstats._fields.index, names))


_summed = fields_of(*_SUMMED)
_CPU_COUNT = _SUMMED.index("cpu_count")
_RSS, _VM, _FLAG, _EXITCODE, _ETIME, _TGETIME = map(
    Taskstats._fields.index,
    ("hiwater_rss_kib", "hiwater_vm_kib", "flag", "exitcode", "etime_us", "tgetime_us"),
)


class ProcessStats(NamedTuple):
    """What a process used, from its first thread to its last."""

    tgid: int
    threads: int
    """How many messages of threads are in the sums."""
    complete: bool
    """Every thread is in. If not, run times, utime, stime, context switches and delays are whole all the same (the group's part has them);
    faults, memory integrals, characters, system calls and bytes are those of some threads only: at least so much."""
    total: Taskstats
    """Sums over the threads; hiwater_rss_kib and hiwater_vm_kib are the largest; exitcode, tgetime_us and etime_us (here the same) are
    those at the last thread's end; flags are everybody's, but AFORK, names and ids are the leader's where it was heard."""
    several: Ends | None = None
    """How its threads ended; None where one thread alone was heard to."""

    @property
    def ends(self) -> Ends:
        """How its threads ended."""
        return (
            self.several
            if self.several is not None
            else Ends((_end_of(self.total),), (self.total.pid,), self.complete)
        )


def _end_of(thread: Taskstats) -> ThreadEnd:
    since_us = thread.tgetime_us if thread.tgetime_us is not None else thread.etime_us
    return ThreadEnd(thread.pid, thread.exitcode, since_us, bool(thread.flag & AXSIG))


class _Group:
    """The threads of one process that have ended so far."""

    __slots__ = (
        "doubtful",
        "ends",
        "flags",
        "leader",
        "peak_rss",
        "peak_vm",
        "sums",
        "threads",
        "tids",
    )

    def __init__(self, thread: Taskstats) -> None:
        self.threads = 1
        self.leader = thread
        self.flags = thread.flag & ~AFORK
        self.sums = _numbers(thread)
        self.peak_rss, self.peak_vm = thread.hiwater_rss_kib, thread.hiwater_vm_kib
        self.doubtful = False
        self.ends: dict[tuple[int, bool], ThreadEnd] = {}
        self.tids: deque[int] = deque(maxlen=MOST_KEPT)
        self._note_end(thread)

    def _note_end(self, thread: Taskstats) -> None:
        end = _end_of(thread)
        self.tids.append(end.tid)
        key = end.code, end.zapped
        self.ends.pop(key, None)
        self.ends[key] = end
        if len(self.ends) > MOST_KEPT:
            del self.ends[next(iter(self.ends))]

    def told(self, *, complete: bool) -> Ends:
        """How its threads ended."""
        return Ends(tuple(self.ends.values()), frozenset(self.tids), complete)

    def add(self, thread: Taskstats) -> None:
        self.threads += 1
        self.flags |= thread.flag & ~AFORK
        self.sums = tuple(map(add, self.sums, _numbers(thread)))
        self.peak_rss = max(self.peak_rss, thread.hiwater_rss_kib)
        self.peak_vm = max(self.peak_vm, thread.hiwater_vm_kib)
        self._note_end(thread)
        # A thread other than the leader that executes a program takes the leader's id: then the
        # later one is what the process became.
        if thread.pid == thread.tgid or self.leader.pid != self.leader.tgid:
            self.leader = thread

    def total(self, last: Taskstats, whole: Taskstats) -> Taskstats:
        """The sums, or where it is more the group's own part, under the names of the leader."""
        values: list[Any] = list(self.leader)
        for index, mine, theirs, known in zip(
            _INDICES, self.sums, _numbers(whole), _summed(last), strict=True
        ):
            values[index] = None if known is None else max(mine, theirs)
        values[_RSS], values[_VM] = self.peak_rss, self.peak_vm
        values[_FLAG] = self.flags | self.leader.flag
        values[_EXITCODE] = last.exitcode
        values[_ETIME] = values[_TGETIME] = last.tgetime_us
        return Taskstats._make(values)


def _numbers(thread: Taskstats) -> tuple[int, ...]:
    """The fields to be summed, with 0 for those that the version lacks."""
    fields = _summed(thread)
    return tuple([field or 0 for field in fields]) if None in fields else fields


class ProcessSums:
    """Feed it every message in queue order.

    `unfinished` counts processes that were given up because their last message will not come, `nameless` messages that do not say which
    process they belong to (taskstats before version 12): these are not summed.
    """

    def __init__(self, most_pending: int = MOST_PENDING) -> None:
        self._most_pending = most_pending
        self._pending: dict[int, _Group] = {}
        self.unfinished = 0
        self.nameless = 0

    def __len__(self) -> int:
        """How many processes have lost a thread and live on, as far as is known."""
        return len(self._pending)

    def ended_threads(self, tgid: int) -> Mapping[str, int]:
        """What the threads of a living process that have ended used, by the names of the fields of
        Taskstats.
        """
        group = self._pending.get(tgid)
        return dict(zip(_SUMMED, group.sums, strict=True)) if group is not None else {}

    def note_loss(self) -> None:
        """Messages were lost: the last one of any process pending may be among them, and its id may
        come back as another process's.
        """
        for group in self._pending.values():
            group.doubtful = True

    def feed(self, messages: Iterable[Message]) -> list[ProcessStats]:
        """The processes that ended with these messages."""
        ended: list[ProcessStats] = []
        pending = self._pending
        for thread, whole in messages:
            if thread is None:
                continue
            tgid = thread.tgid
            if tgid is None:
                self.nameless += 1
            elif not thread.flag & AGROUP:
                self._keep(tgid, thread)
            elif whole is not None:
                ended.append(self._finish(tgid, thread, whole))
            else:
                # The first thread to end was the last one too.
                if tgid in pending:
                    self._give_up(tgid)
                ended.append(ProcessStats(tgid, 1, True, thread))
        return ended

    def _keep(self, tgid: int, thread: Taskstats) -> None:
        group = self._pending.get(tgid)
        if group is not None:
            group.add(thread)
            return
        if len(self._pending) >= self._most_pending:
            self._give_up(next(iter(self._pending)))
        self._pending[tgid] = _Group(thread)

    def _give_up(self, tgid: int) -> None:
        del self._pending[tgid]
        self.unfinished += 1

    def _finish(self, tgid: int, last: Taskstats, whole: Taskstats) -> ProcessStats:
        """Compare how often its threads were put on a CPU with what the group's part says: any
        thread was, at least once.

        A thread may be put on a CPU once more between the two counts of the kernel, hence the tolerance; where a loss makes it possible
        that the first of these threads belong to an earlier process of the same id, there is none. If so, they are left out.
        """
        group = self._pending.pop(tgid, None)
        if group is None:
            group = _Group(last)
        else:
            group.add(last)
        excess = group.sums[_CPU_COUNT] - whole.cpu_count
        if excess > (0 if group.doubtful else group.threads):
            self.unfinished += 1
            return ProcessStats(tgid, 1, False, _Group(last).total(last, whole))
        complete = excess >= 0
        return ProcessStats(
            tgid, group.threads, complete, group.total(last, whole), group.told(complete=complete)
        )
