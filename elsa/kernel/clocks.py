"""The clocks, and how far they lie apart: process events speak CLOCK_MONOTONIC, accounting the wall clock, /proc the time since boot."""

from __future__ import annotations

import time
from typing import NamedTuple

monotonic_ns = time.monotonic_ns
realtime_ns = time.time_ns


class Offsets(NamedTuple):
    """What to add to a CLOCK_MONOTONIC reading, in ns."""

    realtime_ns: int
    """For the wall clock; jumps when somebody sets it."""
    boottime_ns: int
    """For CLOCK_BOOTTIME: the time that the machine was suspended."""


def offsets(attempts: int = 5) -> Offsets:
    """Both offsets, as of now.

    Each clock is read between two readings of the monotonic one; of several attempts the tightest counts, as a preemption
    between the readings would shift the result by its length.
    """
    return Offsets(_offset(time.CLOCK_REALTIME, attempts), _offset(time.CLOCK_BOOTTIME, attempts))


def _offset(clock: int, attempts: int) -> int:
    best_width, best = None, 0
    for _ in range(attempts):
        before = time.monotonic_ns()
        there = time.clock_gettime_ns(clock)
        width = time.monotonic_ns() - before
        if best_width is None or width < best_width:
            best_width, best = width, there - before - width // 2
    return best
