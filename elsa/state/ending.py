"""The wait status of a process whose threads ended with different codes: which code counts, or None
if that cannot be known. Pure.

The kernel takes the code of exit_group(2) or of the fatal signal or, if every thread ended by
itself, the code of the thread that started to exit last. A thread that another thread or a signal
ended (flag AXSIG of taskstats) has that code itself. If no thread was, the order of the taskstats
messages decides: a thread's message is sent before a thread that waits for it goes on. But two CPUs
may send their messages in another order than their threads started to exit, some microseconds
apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

CORE = 0x80
# Messages of two CPUs are in order if they are this far apart. The largest distance at which
# messages were seen in the wrong order was 38 us.
APART_NS = 10_000_000
# The same where a code other than 0 follows zeros: every library ends a single thread with 0 and
# the process with a code. The largest distance seen in the wrong order was 23 us; a thread that
# waits for another one and then exits takes longer.
PLAIN_APART_NS = 30_000
# An exit event comes after the thread's message, and by up to this much after the exit event of a
# thread that waited for it.
OVERTAKEN_NS = 100_000_000
# A fork event has a time up to this much later than the thread's start, on a busy host.
FORK_LAG_NS = 50_000_000
# How many codes and threads of a process are kept: more than programs use at once, and bounded for
# programs that use more.
MOST_KEPT = 64


class ThreadEnd(NamedTuple):
    """The last thread that ended with some code, as taskstats reports it."""

    tid: int
    code: int
    at_us: int
    """Since the process started."""
    killed: bool
    """Another thread or a signal ended the whole process."""


class ThreadEnds(NamedTuple):
    """How the threads of a process ended, as taskstats reports it."""

    threads: Sequence[ThreadEnd] = ()
    """The last thread of each code, in the order of the messages."""
    tids: Collection[int] = ()
    """The threads that ended last."""
    complete: bool = False
    """There was a message of every thread."""


class ThreadExits:
    """How the threads of a process ended, as the exit events report it."""

    __slots__ = ("by_code", "cpus")

    def __init__(self) -> None:
        self.by_code: dict[int, tuple[int, int]] = {}
        """When the last thread with a code ended, and its id."""
        self.cpus: dict[int, int] = {}
        """On which CPU each of the threads that ended last did so."""

    def note(self, tid: int, code: int, cpu: int, time_ns: int) -> None:
        """Add a thread that has ended."""
        for latest, key, value in ((self.by_code, code, (time_ns, tid)), (self.cpus, tid, cpu)):
            latest.pop(key, None)
            latest[key] = value  # type: ignore[assignment]
            if len(latest) > MOST_KEPT:
                del latest[next(iter(latest))]


def wait_status(
    reported: ThreadEnds, exits: ThreadExits, start_ns: int, exec_ns: int | None
) -> int | None:
    """The wait status of a process that started at `start_ns`; None if it cannot be known.

    `exec_ns` is when a thread called exec, which ended all other threads; those ends do not count.
    """
    ends = reported.threads
    if exec_ns is not None:
        times = [start_ns + end.at_us * 1000 - exec_ns for end in ends]
        if any(abs(since_ns) < FORK_LAG_NS for since_ns in times):
            return of_events(exits)
        ends = [end for end, since_ns in zip(ends, times, strict=True) if since_ns > 0]
    codes = {end.code for end in ends}
    # Messages of threads that ended long ago may be missing.
    complete = reported.complete or all(tid in reported.tids for _, tid in exits.by_code.values())
    event_codes = set(exits.by_code)
    if event_codes and not (codes == event_codes if complete else codes <= event_codes):
        return of_events(exits)
    killed = {end.code for end in ends if end.killed}
    if killed:
        return _only_code(killed)
    return of_messages(ends, exits) if ends and complete else of_events(exits)


def of_messages(ends: Sequence[ThreadEnd], exits: ThreadExits) -> int | None:
    """The code of the last message, unless a message with another code came so shortly before that
    their order is not certain.
    """
    *others, last = ends
    cpus = exits.cpus
    for other in others:
        apart_ns = PLAIN_APART_NS if last.code and not other.code else APART_NS
        ordered = other.tid in cpus and cpus[other.tid] == cpus.get(last.tid)
        if other.code != last.code and not ordered and (last.at_us - other.at_us) * 1000 < apart_ns:
            return None
    return last.code


def of_events(exits: ThreadExits) -> int | None:
    """The code of the last exit event, unless there was another code shortly before."""
    last_ns = max((time_ns for time_ns, _ in exits.by_code.values()), default=0)
    return _only_code(
        code for code, (time_ns, _) in exits.by_code.items() if last_ns - time_ns <= OVERTAKEN_NS
    )


def _only_code(codes: Iterable[int]) -> int | None:
    """The code that all of these are; None if they differ. Only the thread that received the fatal
    signal has the core dump bit, so that bit makes no difference.
    """
    distinct = set(codes)
    return max(distinct) if len({code & ~CORE for code in distinct}) == 1 else None
