"""Windows of time, and the times that users write: days, months, times of day, and how long ago.

A process belongs to the window in which it ended, [since, until), so windows that follow each other
add up to the whole.
"""

from __future__ import annotations

import re
import time as time_
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from elsa.errors import UsageError
from elsa.units import HOUR_NS

_NOW = re.compile(r"now(?:([+-])(\d+)\s*(s|sec|m|min|h|d|w|(?:second|minute|hour|day|week)s?))?")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?\s*([ap]m)?")
# As sacct reads them: MMDD, MMDDYY, MM/DD and MM/DD/YY, each with a time of day after a hyphen or a
# "t".
_SACCT = re.compile(r"(\d\d)/?(\d\d)(?:/?(\d\d))?(?:[-t](\d{1,2}:\d\d(?::\d\d)?))?")
_MONTH = re.compile(r"(\d{4})-(\d\d)")
# Zones that moved to the other side of the date line skipped a day.
_LONGEST_SKIP_S = 25 * 3600
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_EXAMPLES = (
    "2026-11-02, 2026-11-02T09:30, 2026-11-02T09:30+01:00, 2026-11, 1102, 09:30, today, yesterday,"
    " midnight, now-2hours, now-1day"
)


class Window(NamedTuple):
    """A half-open span of real time in ns since 1970; None is no bound."""

    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any bound at all."""
        return self.since is not None or self.until is not None

    def where(self, column: str) -> list[str]:
        """SQL conditions that a time is in the window; integers of ours need no binding."""
        conditions = []
        if self.since is not None:
            conditions.append(f"{column} >= {self.since}")
        if self.until is not None:
            conditions.append(f"{column} < {self.until}")
        return conditions

    def cut_hours(self) -> list[int]:
        """The hours since 1970 of which only a part is in the window."""
        return sorted({time // HOUR_NS for time in self if time is not None and time % HOUR_NS})

    def hours(self, column: str) -> list[str]:
        """Wider SQL conditions, on the hour since 1970 of a time, so that an index on the hour is
        used before the exact conditions.
        """
        conditions = []
        if self.since is not None:
            conditions.append(f"{column} >= {self.since // HOUR_NS}")
        if self.until is not None:
            conditions.append(f"{column} <= {self.until // HOUR_NS}")
        return conditions


def window(since: str | None, until: str | None, now: datetime) -> Window:
    """The window between two written times. Raises UsageError."""
    start = None if since is None else moment(since, now, "--since")
    end = None if until is None else moment(until, now, "--until")
    if start is not None and end is not None and start >= end:
        raise UsageError(
            f"--since {since} is not before --until {until}; give an earlier --since or a later"
            " --until"
        )
    return Window(start, end)


def moment(text: str, now: datetime, option: str = "time") -> int:
    """A written time in ns since 1970. A time without a zone is this host's; a time of day is
    today's. Raises UsageError.
    """
    word = text.strip().lower()
    try:
        return nanoseconds(_datetime(word, now))
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option}: cannot read the time {text!r}; write for example {_EXAMPLES}"
        ) from None


def nanoseconds(when: datetime) -> int:
    """A time in ns since 1970. A naive time is this host's, so that midnight is right also on days
    of 23 and 25 hours.

    A time that the clock shows twice is the first of the two. A time that the clock skipped is the
    moment of the skip: all later times of the clock are later.
    """
    if when.tzinfo is not None:
        # Rounded, since a float of seconds since 1970 cannot hold every microsecond.
        return round(when.timestamp() * 1_000_000) * 1000
    written = when.replace(microsecond=0, fold=0)
    second = round(written.timestamp())
    if datetime.fromtimestamp(second) != written:
        return change(second - _LONGEST_SKIP_S, second) * 10**9
    return second * 10**9 + when.microsecond * 1000


def offset(second: int) -> int:
    """How many seconds this host's clock is ahead of UTC at a moment."""
    return time_.localtime(second).tm_gmtoff


def change(before: int, after: int) -> int:
    """The second in which the offset of this host's clock from UTC changed, between two moments
    with different offsets.
    """
    old = offset(before)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if offset(middle) == old else (before, middle)
    return after


def _datetime(word: str, now: datetime) -> datetime:
    relative = _NOW.fullmatch(word)
    if relative:
        sign, count, unit = relative.groups()
        seconds = int(count) * _UNITS[unit[0]] if count else 0
        return now + timedelta(seconds=-seconds if sign == "-" else seconds)
    today = now.astimezone().date()
    if word in _DAYS:
        return _DAYS[word](datetime.combine(today, time()))
    if word == "noon":
        return datetime.combine(today, time(12))
    if _CLOCK.fullmatch(word):
        return datetime.combine(today, _time_of_day(word))
    return _date(word, today)


def _day_before(midnight: datetime) -> datetime:
    """The day that ends at a midnight. Some zones have skipped a day."""
    return datetime.combine(
        datetime.fromtimestamp(nanoseconds(midnight) // 10**9 - 1).date(), time()
    )


_DAYS: dict[str, Callable[[datetime], datetime]] = {
    "today": lambda midnight: midnight,
    "midnight": lambda midnight: midnight,
    "yesterday": _day_before,
    "tomorrow": lambda midnight: midnight + timedelta(days=1),
}


def _date(word: str, today: date) -> datetime:
    if match := _SACCT.fullmatch(word):
        month, day, year, clock = match.groups()
        return datetime.combine(
            date(2000 + int(year) if year else today.year, int(month), int(day)),
            _time_of_day(clock or "00:00"),
        )
    if match := _MONTH.fullmatch(word):
        return datetime(int(match[1]), int(match[2]), 1)
    return datetime.fromisoformat(word.upper())


def _time_of_day(word: str) -> time:
    match = _CLOCK.fullmatch(word)
    if not match:
        raise ValueError(word)
    hour, minute, second, half = match.groups()
    if half:
        if not 1 <= int(hour) <= 12:
            raise ValueError(word)
        hour = int(hour) % 12 + (12 if half == "pm" else 0)
    return time(int(hour), int(minute), int(second or 0))
