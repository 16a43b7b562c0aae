"""The gaps of a boot: whether one may have hidden a process, its start or its end. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

NEVER_NS = 2**62
"""The end of what has not ended."""


class Gap(NamedTuple):
    """Monotonic times between which processes may have gone unnoticed."""

    from_ns: int
    heard_ns: int
    """Since then all events were received again. What had started before and ended by `to_ns`, when
    /proc had been read, is not known.
    """
    to_ns: int


class Gaps:
    """The gaps of a boot, which may overlap.

    They are in the order of `from_ns`; beside each is the latest `heard_ns` of it and those before
    it. Both ascend, so bisection finds the gaps that began by some time, and the first of them that
    was not over at another. Only gaps between these two are looked at.
    """

    def __init__(self, gaps: Iterable[Gap] = ()) -> None:
        self._gaps = sorted(gaps)
        self._from_ns = [gap.from_ns for gap in self._gaps]
        self._heard_ns = list(accumulate((gap.heard_ns for gap in self._gaps), max))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._gaps)

    def touch(self, first_ns: int, last_ns: int) -> bool:
        """Whether events were lost at some time from the first to the last, both included."""
        begun = bisect_right(self._from_ns, last_ns)
        return begun > 0 and self._heard_ns[begun - 1] >= first_ns

    def may_hide(self, first_ns: int, last_ns: int, ended_ns: int) -> bool:
        """Whether a process that started from `first_ns` to `last_ns`, and ended at `ended_ns` or
        later, may have started and ended within one gap.
        """
        begun = bisect_right(self._from_ns, last_ns)
        over = bisect_left(self._heard_ns, first_ns, 0, begun)
        return over < begun and any(
            first_ns <= gap.heard_ns and ended_ns <= gap.to_ns for gap in self._gaps[over:begun]
        )

    def earliest(self, first_ns: int, before_ns: int) -> int | None:
        """The earliest time from the first to before another at which events were lost."""
        over = bisect_right(self._heard_ns, first_ns)
        if over < len(self._gaps) and self._from_ns[over] < before_ns:
            return max(self._from_ns[over], first_ns)
        return None
