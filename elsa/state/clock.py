"""The clocks of a boot: when the offset between real and monotonic time changed, because somebody
set the clock or the machine was suspended.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from elsa.units import HOUR_NS, SECOND_NS

# A slew moves both clocks alike. A smaller difference comes from the time between reading the first
# clock and reading the second.
STEP_NS = 2_000_000


class Clock(NamedTuple):
    """From `since_ns` (monotonic) on: real time = monotonic + offset_ns, boot time = monotonic +
    boottime_offset_ns.
    """

    id: int
    since_ns: int
    offset_ns: int
    boottime_offset_ns: int

    def second(self, time_ns: int) -> int:
        """The second since 1970, in real time, of a monotonic time."""
        return (time_ns + self.offset_ns) // SECOND_NS

    def hour(self, time_ns: int) -> int:
        """The hour since 1970, in real time, of a monotonic time."""
        return (time_ns + self.offset_ns) // HOUR_NS


class Clocks:
    """Every clock of one boot, oldest first."""

    def __init__(self, known: list[Clock] | None = None) -> None:
        self.known = sorted(known or [], key=lambda clock: clock.since_ns)

    @property
    def current(self) -> Clock:
        """The newest clock."""
        return self.known[-1]

    def observe(
        self, next_id: int, now_ns: int, offset_ns: int, boottime_offset_ns: int
    ) -> Clock | None:
        """Compare a reading with the newest clock. Returns a new clock if an offset changed, else
        None.
        """
        if self.known:
            last = self.known[-1]
            if (
                abs(offset_ns - last.offset_ns) < STEP_NS
                and abs(boottime_offset_ns - last.boottime_offset_ns) < STEP_NS
            ):
                return None
        clock = Clock(next_id, now_ns, offset_ns, boottime_offset_ns)
        self.known.append(clock)
        return clock

    def at(self, time_ns: int) -> Clock:
        """The clock that was valid at a monotonic time (the first, for times before it)."""
        if time_ns >= self.known[-1].since_ns:
            return self.known[-1]
        index = bisect_right(self.known, time_ns, key=lambda clock: clock.since_ns)
        return self.known[max(index - 1, 0)]

    def monotonic_ns(self, at_ns: int) -> int:
        """The monotonic time of a real time; the later one, if the clock was set back and this real
        time came twice.
        """
        for clock in reversed(self.known):
            if at_ns - clock.offset_ns >= clock.since_ns:
                return at_ns - clock.offset_ns
        return at_ns - self.known[0].offset_ns

    def from_boottime_ns(self, time_ns: int) -> int:
        """The monotonic time of a CLOCK_BOOTTIME time, which includes suspends, by the offset that
        was valid then.

        The end of a suspend is noticed a little later. So if a clock's offset gives a time at which
        the following clock was valid already, the following clock's offset is used.
        """
        following = None
        for clock in reversed(self.known):
            monotonic_ns = time_ns - clock.boottime_offset_ns
            if monotonic_ns >= clock.since_ns:
                if following is not None and monotonic_ns >= following.since_ns:
                    return time_ns - following.boottime_offset_ns
                return monotonic_ns
            following = clock
        return time_ns - self.known[0].boottime_offset_ns

    def around(self, time_ns: int, margin_ns: int) -> list[Clock]:
        """Every clock that was valid at some moment within `margin_ns` of a monotonic time."""
        first = bisect_right(self.known, time_ns - margin_ns, key=lambda clock: clock.since_ns)
        last = bisect_right(self.known, time_ns + margin_ns, key=lambda clock: clock.since_ns)
        return self.known[max(first - 1, 0) : max(last, 1)]
