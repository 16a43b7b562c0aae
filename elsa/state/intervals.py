"""What living processes used in each interval between two readings of their counters, as rows to be
stored. Pure.

A row holds what is new since the reading of the process before. So the rows of a process add up to
its newest counters whatever happens: if a reading is left out, the next interval of the process is
longer. Counters that seem to fall (a thread has ended whose message has not come yet, or never
comes) count as unchanged until they have risen above what was stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from elsa.measures import COUNTERS
from elsa.state.clock import Clock
from elsa.state.codes import BEFORE_FIRST_RUN

CounterRow = tuple[int | None, ...]
"""In the order of COUNTERS."""
NO_USAGE: CounterRow = (0,) * len(COUNTERS)
"""The counters of a process that has used nothing."""
IntervalRow = tuple[int | None, ...]
"""process_id, gid, forked_only, rss_kib, user_us, system_us, and COUNTERS: what was used since the
reading before.
"""
_RUN, _UTIME, _STIME = (
    next(place for place, measure in enumerate(COUNTERS) if measure.column == column)
    for column in ("run_ns", "utime_us", "stime_us")
)


class Shown(NamedTuple):
    """What is known of a living process at a reading."""

    counters: CounterRow
    rss_kib: int | None
    gid: int | None
    forked_only: int | None
    fingerprint: bytes
    """It changes whenever the process runs; empty if that is not known."""


@dataclass(slots=True)
class Used:
    """What the rows of a process add up to."""

    user_us: int = 0
    system_us: int = 0
    counters: CounterRow = NO_USAGE
    until_ns: int = 0
    """Monotonic: the end of its newest interval."""
    gid: int | None = None
    uid: int | None = None
    """The real uid for which `gid` was read."""
    fingerprint: bytes = b""

    def advance(self, shown: Shown) -> tuple[int | None, ...]:
        """Take in a reading; returns user_us, system_us and the counters since the one before."""
        counters = tuple(map(_larger, self.counters, shown.counters))
        more = tuple(map(_since, self.counters, shown.counters))
        user_us, system_us = self._divided(counters, measured=shown.counters[_RUN] is not None)
        row = user_us - self.user_us, system_us - self.system_us, *more
        self.user_us, self.system_us, self.counters = user_us, system_us, counters
        self.gid, self.fingerprint = shown.gid, shown.fingerprint
        return row

    def _divided(self, counters: CounterRow, *, measured: bool) -> tuple[int, int]:
        """Time on a CPU as user and system time, neither of which ever falls: as the kernel does
        for getrusage.
        """
        user_us, system_us = counters[_UTIME] or 0, counters[_STIME] or 0
        sampled_us = user_us + system_us
        cpu_us = (counters[_RUN] or 0) // 1000 if measured else sampled_us
        cpu_us = max(cpu_us, self.user_us + self.system_us)
        share_us = cpu_us * user_us // sampled_us if sampled_us else cpu_us
        user_us = min(max(share_us, self.user_us), cpu_us - self.system_us)
        return user_us, cpu_us - user_us


def _larger(before: int | None, now: int | None) -> int | None:
    if before is None or now is None:
        return before if now is None else now
    return max(before, now)


def _since(before: int | None, now: int | None) -> int | None:
    return None if now is None else max(now - (before or 0), 0)


class Reading(NamedTuple):
    """A reading of counters: a row of table usage_reading, and what was used before."""

    clock_id: int
    since_ns: int
    until_ns: int
    hour: int
    of_all: int
    """EDGE, OF_ALL or BEFORE_FIRST_RUN."""
    rows: list[IntervalRow]


def reading(
    clock: Clock, since_ns: int, until_ns: int, rows: list[IntervalRow], *, of_all: bool = True
) -> Reading:
    """A reading that ends an interval at `until_ns`."""
    return Reading(clock.id, since_ns, until_ns, clock.hour(until_ns - 1), int(of_all), rows)


def before_first_run(clock: Clock, until_ns: int, hour: int, rows: list[IntervalRow]) -> Reading:
    """What processes that started in an hour had used at their first reading, before jobd first ran
    in the boot. When they used it is not known, so it counts where they started.
    """
    return Reading(clock.id, 0, until_ns, hour, BEFORE_FIRST_RUN, rows)
