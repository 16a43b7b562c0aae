"""The clocks and their offsets: process events use CLOCK_MONOTONIC, accounting records the wall
clock, /proc the time since boot.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
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

    Each clock is read between two readings of the monotonic clock. Of several attempts the shortest
    is used, as a preemption between the readings would shift the result by its length.
    """
    return Offsets(_offset(time.CLOCK_REALTIME, attempts), _offset(time.CLOCK_BOOTTIME, attempts))


# linux/time.h: its resolution is a tick (clock_getres(2)); Python has no name for it.
_CLOCK_MONOTONIC_COARSE = 6
# CONFIG_HZ is between 24 and 1024.
_TICKS_NS = range(900_000, 42_000_000)


def tick_ns() -> int | None:
    """The kernel's tick, 1/CONFIG_HZ; None if it is not known (in a sandbox that emulates the
    kernel).
    """
    try:
        tick = round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)
    except OSError:
        return None
    return tick if tick in _TICKS_NS else None


def _offset(clock: int, attempts: int) -> int:
    best_width, best = None, 0
    for _ in range(attempts):
        before = time.monotonic_ns()
        there = time.clock_gettime_ns(clock)
        width = time.monotonic_ns() - before
        if best_width is None or width < best_width:
            best_width, best = width, there - before - width // 2
    return best


# sys/timerfd.h
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2
# struct itimerspec: interval and expiry, each seconds and nanoseconds; this expiry is never
# reached.
_NEVER = struct.pack("=4q", 0, 0, 2**40, 0)


class SetAlarm:
    """Becomes readable when the wall clock is set, or jumps because the machine slept
    (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(
            time.CLOCK_REALTIME, _TFD_NONBLOCK | _TFD_CLOEXEC
        )
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._arm()

    def _arm(self) -> None:
        if (
            self._libc.timerfd_settime(
                self._descriptor, _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET, _NEVER, None
            )
            < 0
        ):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def fileno(self) -> int:
        """For select and poll."""
        return int(self._descriptor)

    def acknowledge(self) -> None:
        """Read the event, and wait for the next."""
        with contextlib.suppress(OSError):  # ECANCELED: the clock was set; EAGAIN: it was not
            os.read(self._descriptor, 8)
        self._arm()

    def close(self) -> None:
        """Close the timer."""
        os.close(self._descriptor)
