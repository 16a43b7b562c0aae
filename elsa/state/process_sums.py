"""From taskstats messages about threads to sums about processes: a `ProcessStats` for each process
that ended, in the order of their ends.

Pure. The kernel sends a message for every thread. The message of a process's last thread has the
flag AGROUP and, if the process had other threads, also the group's totals. These count all threads
since the process started, also those whose messages were lost, but not I/O and memory: I/O and
memory are summed here, and the totals show whether the sum is complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from operator import add, itemgetter
from typing import Any, NamedTuple

from elsa.decode.acct import AFORK, AXSIG
from elsa.decode.taskstats import AGROUP, Message, Taskstats
from elsa.state.ending import MOST_KEPT, ThreadEnd, ThreadEnds

# How many processes are kept of which a thread has ended and others still run, about 2 KB each at
# most. No busy host has as many; processes whose last message was lost fill it in time.
MOST_PENDING = 16384

# What one thread says for all, and the peaks. All else is added up over the threads of a process.
_OF_ONE_THREAD = {
    *("version", "exitcode", "flag", "comm", "uid", "gid", "pid", "ppid", "tgid"),
    *("btime", "btime64", "etime_us", "tgetime_us", "exe_dev", "exe_inode"),
    *("hiwater_rss_kib", "hiwater_vm_kib"),
}
_SUMMED = tuple(name for name in Taskstats._fields if name not in _OF_ONE_THREAD)
_INDICES = tuple(map(Taskstats._fields.index, _SUMMED))


def fields_of(*names: str) -> itemgetter[Any]:
    """A function that takes several fields of a Taskstats at once, which is ten times as fast as
    taking one after the other.
    """
    return itemgetter(*map(Taskstats._fields.index, names))


_summed = fields_of(*_SUMMED)
_new = tuple.__new__  # half the time of ProcessStats(...)
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
    """The messages of all threads are in the sums. If not, run times, utime, stime, context
    switches and delays are whole all the same, since the group's totals have them; faults, memory
    integrals, characters, system calls and bytes are lower bounds.
    """
    total: Taskstats
    """Sums over the threads. hiwater_rss_kib and hiwater_vm_kib are the largest; exitcode,
    tgetime_us and etime_us (here the same) are those at the last thread's end; flags are of all
    threads, except AFORK; AFORK, names and ids are the leader's if its message was received.
    """
    several: ThreadEnds | None = None
    """How its threads ended; None if there was the message of one thread only."""

    @property
    def ends(self) -> ThreadEnds:
        """How its threads ended."""
        if self.several is not None:
            return self.several
        return ThreadEnds((_end_of(self.total),), (self.total.pid,), self.complete)


def _end_of(thread: Taskstats) -> ThreadEnd:
    since_us = thread.tgetime_us if thread.tgetime_us is not None else thread.etime_us
    return ThreadEnd(thread.pid, thread.exitcode, since_us, bool(thread.flag & AXSIG))


class _Group:
    """The threads of one process that have ended so far."""

    __slots__ = (
        "after_loss",
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
        self.after_loss = False
        self.ends: dict[tuple[int, bool], ThreadEnd] = {}
        self.tids: deque[int] = deque(maxlen=MOST_KEPT)
        self._note_end(thread)

    def _note_end(self, thread: Taskstats) -> None:
        end = _end_of(thread)
        self.tids.append(end.tid)
        key = end.code, end.killed
        self.ends.pop(key, None)
        self.ends[key] = end
        if len(self.ends) > MOST_KEPT:
            del self.ends[next(iter(self.ends))]

    def thread_ends(self, *, complete: bool) -> ThreadEnds:
        """How its threads ended."""
        return ThreadEnds(tuple(self.ends.values()), frozenset(self.tids), complete)

    def add(self, thread: Taskstats) -> None:
        self.threads += 1
        self.flags |= thread.flag & ~AFORK
        self.sums = tuple(map(add, self.sums, _numbers(thread)))
        self.peak_rss = max(self.peak_rss, thread.hiwater_rss_kib)
        self.peak_vm = max(self.peak_vm, thread.hiwater_vm_kib)
        self._note_end(thread)
        # A thread that calls exec takes the leader's id. So of two threads with that id the later
        # one ran the process's last program.
        if thread.pid == thread.tgid or self.leader.pid != self.leader.tgid:
            self.leader = thread

    def total(self, last: Taskstats, whole: Taskstats) -> Taskstats:
        """The sums, or the group's totals if larger, with the leader's name and ids."""
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
    """The fields to be summed, with 0 for fields that the kernel's version lacks."""
    fields = _summed(thread)
    return tuple([field or 0 for field in fields]) if None in fields else fields


class ProcessSums:
    """Adds up the messages of threads, which must be fed in queue order."""

    def __init__(self, most_pending: int = MOST_PENDING) -> None:
        self._most_pending = most_pending
        self._pending: dict[int, _Group] = {}
        self.unfinished = 0
        """How many processes were dropped because their last message was lost."""
        self.without_tgid = 0
        """How many messages did not say to which process they belong (taskstats before version 12);
        they are not summed.
        """

    def __len__(self) -> int:
        """Of how many processes a thread has ended and others seem to run."""
        return len(self._pending)

    def ended_threads(self, tgid: int) -> Mapping[str, int]:
        """What the ended threads of a living process used, by the field names of Taskstats."""
        group = self._pending.get(tgid)
        return dict(zip(_SUMMED, group.sums, strict=True)) if group is not None else {}

    def note_loss(self) -> None:
        """Messages were lost: the last message of any pending process may be among them, and its
        pid may then be used again.
        """
        for group in self._pending.values():
            group.after_loss = True

    def feed(self, messages: Iterable[Message]) -> list[ProcessStats]:
        """The processes that ended with these messages."""
        ended: list[ProcessStats] = []
        pending = self._pending
        for thread, whole in messages:
            if thread is None:
                continue
            tgid = thread.tgid
            if tgid is None:
                self.without_tgid += 1
            elif not thread.flag & AGROUP:
                self._add(tgid, thread)
            elif whole is not None:
                ended.append(self._finish(tgid, thread, whole))
            else:
                # The process had only this thread.
                if tgid in pending:
                    self._drop(tgid)
                ended.append(_new(ProcessStats, (tgid, 1, True, thread, None)))
        return ended

    def _add(self, tgid: int, thread: Taskstats) -> None:
        group = self._pending.get(tgid)
        if group is not None:
            group.add(thread)
            return
        if len(self._pending) >= self._most_pending:
            self._drop(next(iter(self._pending)))
        self._pending[tgid] = _Group(thread)

    def _drop(self, tgid: int) -> None:
        del self._pending[tgid]
        self.unfinished += 1

    def _finish(self, tgid: int, last: Taskstats, whole: Taskstats) -> ProcessStats:
        """Compare how often the threads were put on a CPU, at least once each, with the group's
        total: if they add up to less, messages are missing; if to more, some are of an earlier
        process with the same pid, and only the last message is used.

        A thread may be put on a CPU once more between the two counts of the kernel, so that much is
        tolerated, but not after a loss, when messages of an earlier process are possible.
        """
        group = self._pending.pop(tgid, None)
        if group is None:
            group = _Group(last)
        else:
            group.add(last)
        excess = group.sums[_CPU_COUNT] - whole.cpu_count
        if excess > (0 if group.after_loss else group.threads):
            self.unfinished += 1
            return ProcessStats(tgid, 1, False, _Group(last).total(last, whole))
        complete = excess >= 0
        ends = group.thread_ends(complete=complete)
        return ProcessStats(tgid, group.threads, complete, group.total(last, whole), ends)
