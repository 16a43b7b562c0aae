"""The wait status of a process whose threads ended with different codes: which of them counts, or
that nothing tells. Pure.

The kernel takes the code of exit_group(2) or of the fatal signal, or, where every thread ended by
itself, of the last to begin to. Whoever was ended by another thread (taskstats' flag AXSIG) has
that code itself. Where nobody was, the order of the messages of taskstats tells, which are sent
before anybody who waits for a thread goes on; but two CPUs may send in another order than they
began to end, some microseconds apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

CORE = 0x80
# Messages of two CPUs that are so far apart are in order; seen in another one were some that were
# 38 us apart.
APART_NS = 10_000_000
# The same for a code other than 0 after zeros: every library ends a single thread with 0 and the
# process with a code. Seen in another order were some 23 us apart; who waits for a thread and ends
# then takes longer.
PLAIN_APART_NS = 30_000
# Exit events are told later, in another order where a thread waits for another: up to this much.
OVERTAKEN_NS = 100_000_000
# A fork is told this much after the thread began, on a busy host.
FORK_LAG_NS = 50_000_000
# So many codes and threads of one process are remembered: more than programs have at once, bounded
# for those that ask for it.
MOST_KEPT = 64


class ThreadEnd(NamedTuple):
    """The last thread that ended with some code, as taskstats tells it."""

    tid: int
    code: int
    at_us: int
    """Since the process began."""
    zapped: bool
    """Another thread ended the whole process, or a signal did."""


class Ends(NamedTuple):
    """How the threads of a process ended, as taskstats tells it."""

    threads: Sequence[ThreadEnd] = ()
    """The last one of each code, in the order of the messages."""
    tids: Collection[int] = ()
    """The last ones."""
    complete: bool = False
    """There was a message of every thread."""


class Exits:
    """How the threads of a process ended, as the exit events tell it."""

    __slots__ = ("by_code", "cpus")

    def __init__(self) -> None:
        self.by_code: dict[int, tuple[int, int]] = {}
        """When the last thread with a code ended, and its id."""
        self.cpus: dict[int, int] = {}
        """On which CPU each of the last threads ended."""

    def note(self, tid: int, code: int, cpu: int, time_ns: int) -> None:
        """One more thread has ended."""
        for latest, key, value in ((self.by_code, code, (time_ns, tid)), (self.cpus, tid, cpu)):
            latest.pop(key, None)
            latest[key] = value  # type: ignore[assignment]
            if len(latest) > MOST_KEPT:
                del latest[next(iter(latest))]


def wait_status(told: Ends, exits: Exits, start_ns: int, exec_ns: int | None) -> int | None:
    """The wait status of a process that began at `start_ns`; None if nothing decides.

    `exec_ns` is when a thread executed a program and so ended all others, which does not count
    here.
    """
    ends = told.threads
    if exec_ns is not None:
        times = [start_ns + end.at_us * 1000 - exec_ns for end in ends]
        if any(abs(since_ns) < FORK_LAG_NS for since_ns in times):
            return of_events(exits)
        ends = [end for end, since_ns in zip(ends, times, strict=True) if since_ns > 0]
    codes = {end.code for end in ends}
    # Messages of threads that ended long ago may be missing.
    complete = told.complete or all(tid in told.tids for _, tid in exits.by_code.values())
    heard = set(exits.by_code)
    if heard and not (codes == heard if complete else codes <= heard):
        return of_events(exits)
    zapped = {end.code for end in ends if end.zapped}
    if zapped:
        return _one(zapped)
    return of_messages(ends, exits) if ends and complete else of_events(exits)


def of_messages(ends: Sequence[ThreadEnd], exits: Exits) -> int | None:
    """The code of the last message, unless another one came so near that they may have overtaken
    each other.
    """
    *others, last = ends
    cpus = exits.cpus
    for other in others:
        apart_ns = PLAIN_APART_NS if last.code and not other.code else APART_NS
        ordered = other.tid in cpus and cpus[other.tid] == cpus.get(last.tid)
        if other.code != last.code and not ordered and (last.at_us - other.at_us) * 1000 < apart_ns:
            return None
    return last.code


def of_events(exits: Exits) -> int | None:
    """The code of the last exit that was heard, unless there was another one shortly before."""
    last_ns = max((time_ns for time_ns, _ in exits.by_code.values()), default=0)
    return _one(
        code for code, (time_ns, _) in exits.by_code.items() if last_ns - time_ns <= OVERTAKEN_NS
    )


def _one(codes: Iterable[int]) -> int | None:
    """The only code among these: only the thread that died of a signal has the bit that tells of
    its core.
    """
    found = set(codes)
    return max(found) if len({code & ~CORE for code in found}) == 1 else None
