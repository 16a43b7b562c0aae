"""Windows of time, and the times that users write: days, months, times of day, and how long ago.

A process belongs to the window in which it ended, [since, until), so windows that follow each other
add up to the whole.
"""

from __future__ import annotations

import re
import time as time_
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from elsa import durations
from elsa.errors import UsageError
from elsa.text import quoted
from elsa.units import HOUR_NS, SECOND_NS

_CLOCK = re.compile(r"noon|(\d{1,2})(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*([ap]m)?|\s*([ap]m))")
_ZONED = re.compile(r"(\d.*?)\s*(z|[+-]\d\d(?::?\d\d)?)")
# As `date -d` and systemd read it: seconds since 1970.
_SINCE_1970 = re.compile(r"@(\d{1,11})(?:\.(\d{1,9}))?")
_AT = re.compile(r"(.+?)[ t](\d.*|noon)")
# As sacct reads them: MMDD, MMDDYY, MM/DD and MM/DD/YY, each with a time of day after a hyphen or a
# "t".
_SACCT = re.compile(r"(\d\d)/?(\d\d)(?:/?(\d\d))?(?:[-t](\d{1,2}:\d\d(?::\d\d)?))?")
_YEAR = re.compile(r"(?:19|20)\d\d")  # never MMDD
_MONTH = re.compile(r"(\d{4})-(\d\d)")
_ISO_WEEK = re.compile(r"\d{4}-?w\d\d")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
# The end of a day, which Python's datetime does not take.
_END_OF_DAY = re.compile(r"(?<![\d:])24:00(?::00)?(?![\d:])")
# How far from 1970 a time may be. A column holds 292 years, of which reports need a few to reckon.
_FARTHEST_NS = 280 * 365 * 24 * HOUR_NS
# Zones that moved to the other side of the date line skipped a day.
_LONGEST_SKIP_S = 25 * 3600
_EXAMPLES = (
    "2026-11-02, 2026-11-02T09:30, 2026-11-02T09:30+01:00, 2026-11, 1102, 09:30, today, yesterday,"
    " 09:30:28.5, 09:30Z, 'yesterday 18:00', monday, 'last week', november, now, 7d, '2 hours ago'"
    " or @1796021488"
)
DAY, WEEK, MONTH, YEAR = _LENGTHS = ("day", "week", "month", "year")
_EXAMPLES_OF = {
    DAY: "2026-11-02, yesterday or monday",
    WEEK: "last, this, 2026-W48 or a day in it",
    MONTH: "2026-11, last, this or november",
}
PERIODS = tuple(_EXAMPLES_OF)
"""Windows with an option of their own: --day, --week and --month."""


# The real time of a column that the views show as text, to the second.
_REAL_NS = {
    "started_at": "started_ns",
    "ended_at": "ended_ns",
    **{f"{key}_at": f"{key}_at_ns" for key in ("created", "closed", "since", "until")},
}


def iso(at_ns: str) -> str:
    """SQL for a real time as reports give it: ISO 8601 in UTC, to the millisecond."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {at_ns} / 1e9, 'unixepoch')"


def reported(key: str, of: str = "u.") -> str:
    """SQL for a column of a view as reports give it."""
    return iso(of + _REAL_NS[key]) if key in _REAL_NS else of + key


class Window(NamedTuple):
    """A half-open span of real time in ns since 1970; None is no bound."""

    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any bound at all."""
        return self.since is not None or self.until is not None

    @property
    def is_moment(self) -> bool:
        """Whether it is a single moment."""
        return self.since is not None and self.until == self.since + 1

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


def window(
    since: str | None,
    until: str | None,
    now: datetime,
    options: tuple[str, str] = ("--since", "--until"),
) -> Window:
    """The window between two written times. A time of day is the latest such time; as the end, the
    first after the start if the latest is before it. Raises UsageError.
    """
    from_, to = options
    start = None if since is None else moment(since, now, from_)
    end = None if until is None else moment(until, now, to)
    if until is not None and start is not None and end is not None and start >= end:
        end = _next_day(until, now, end)
    if start is not None and end is not None and start >= end:
        raise UsageError(
            f"{from_} {since} is not before {to} {until}; give an earlier {from_} or a later {to}"
        )
    return Window(start, end)


def _next_day(text: str, now: datetime, end_ns: int) -> int:
    """The same time of day on the day after; another time unchanged."""
    word = " ".join(text.lower().split())
    clock, _ = _zoned(word)
    if not (_CLOCK.fullmatch(clock) or _END_OF_DAY.fullmatch(clock)):
        return end_ns
    return nanoseconds(_datetime(word, now) + timedelta(days=1))


def at(text: str, now: datetime, option: str = "--at") -> Window:
    """The moment of a written time, as a window. Raises UsageError."""
    moment_ns = moment(text, now, option)
    if moment_ns > nanoseconds(now.astimezone()):
        raise UsageError(f"{option} {text} is in the future; write a time of the past")
    return Window(moment_ns, moment_ns + 1)


class Days(NamedTuple):
    """The days of a window, by the calendar."""

    first: date
    after: date
    """The first day that is not in it."""

    def window(self) -> Window:
        """The same on this host's clock."""
        return Window(*(nanoseconds(datetime.combine(day, time())) for day in self))


def days(kind: str, text: str, now: datetime) -> Days:
    """The day, week or month with a written time in it, or `this` or `last`. A longer span is no
    such time: it would be cut to its start. Raises UsageError.
    """
    word = " ".join(text.lower().split())
    if word in ("this", "last"):
        word = f"{word} {kind}"
    longer = _span(word)
    if _LENGTHS.index(longer) > _LENGTHS.index(kind):
        other = f"--{longer} {quoted(text)}" if longer in PERIODS else "--since and --until"
        raise UsageError(
            f"--{kind}: {text} is a {longer}; write for example {_EXAMPLES_OF[kind]}, or use"
            f" {other}"
        )
    first_day = _FIRST_DAY[kind]
    try:
        second = nanoseconds(_datetime(word, now)) // SECOND_NS
        first = first_day(datetime.fromtimestamp(second).date())
        found = Days(first, first_day(first + timedelta(days=_LONGEST_DAYS[kind])))
        for edge in found.window():
            _near(edge or 0)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"--{kind}: cannot read {text!r}; write for example {_EXAMPLES_OF[kind]}"
        ) from None
    return found


def moment(text: str, now: datetime, option: str = "time") -> int:
    """A written time in ns since 1970. A time without a zone is this host's; a time of day is the
    latest such time. Raises UsageError.
    """
    word = " ".join(text.lower().split())
    when = None
    try:
        when = _datetime(word, now)
        return _near(nanoseconds(when))
    except (ValueError, OverflowError, OSError) as error:
        # What was read, or was too large to be counted, is outside the calendar of the clock.
        far = when is not None or isinstance(error, OverflowError)
        fault = f"the time {text!r} is too far away" if far else f"cannot read the time {text!r}"
        raise UsageError(f"{option}: {fault}; write for example {_EXAMPLES}") from None


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


def _near(ns: int) -> int:
    """The same time. Raises OverflowError if it is too far away for columns of the warehouse."""
    if abs(ns) > _FARTHEST_NS:
        raise OverflowError(ns)
    return ns


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
    now = now.astimezone()
    if (exact := _exact(word, now)) is not None:
        return exact
    midnight = datetime.combine(now.date(), time())
    if _END_OF_DAY.search(word):
        start = _datetime(_END_OF_DAY.sub("00:00", word), now)
        return start if _END_OF_DAY.fullmatch(word) else start + timedelta(days=1)
    if _CLOCK.fullmatch(word):
        return _latest(datetime.combine(midnight, _time_of_day(word)), 1, now)
    at = _AT.fullmatch(word)
    if (named := _named_day(at[1] if at else word, midnight)) is None:
        return _date(word, midnight.date())
    if at is None:
        return named
    when = datetime.combine(named, _time_of_day(at[2]))
    return _latest(when, 7, now) if _place(at[1], _WEEKDAYS) is not None else when


def _exact(word: str, now: datetime) -> datetime | None:
    """How long ago, seconds since 1970, or a time of day in a zone; None if it is no such word."""
    if (ago_s := _ago(word)) is not None:
        return now - timedelta(seconds=ago_s)
    if match := _SINCE_1970.fullmatch(word):
        return datetime.fromtimestamp(int(match[1]), UTC) + _fraction(match[2])
    clock, zone = _zoned(word)
    if zone is None:
        return None
    today = now.astimezone(zone).date()
    return _latest(datetime.combine(today, _time_of_day(clock), zone), 1, now)


def _zoned(word: str) -> tuple[str, tzinfo | None]:
    """A word without the zone at its end, and the zone."""
    match = _ZONED.fullmatch(word)
    if match is None or not _CLOCK.fullmatch(match[1]):
        return word, None
    return match[1], datetime.fromisoformat(f"2000-01-01T00:00{match[2].upper()}").tzinfo


def _fraction(digits: str | None) -> timedelta:
    """The part of a second that stands after its point, to the microsecond."""
    return timedelta(microseconds=int(f"{digits or 0:<06}"[:6]))


def _latest(when: datetime, days: int, now: datetime) -> datetime:
    """A time that comes again after so many days, as it was last."""
    return when if nanoseconds(when) <= nanoseconds(now) else when - timedelta(days=days)


def _ago(word: str) -> float | None:
    """How many seconds before now; None if it is no such word."""
    if word == "now":
        return 0
    if word.startswith("now+"):
        ahead_s = durations.seconds(word.removeprefix("now+"))
        return None if ahead_s is None else -ahead_s
    return durations.age(word)


def _named_day(word: str, midnight: datetime) -> datetime | None:
    """The start of a day, week, month or year that has a name; None if the word is no such name.
    Names of weekdays and months are of the latest, today included.
    """
    if word in _DAYS:
        return _DAYS[word](midnight)
    which, _, noun = word.rpartition(" ")
    if which not in ("", "this", "last"):
        return None
    last = which == "last"
    if (weekday := _place(noun, _WEEKDAYS)) is not None:
        back = (midnight.weekday() - weekday) % 7
        return midnight - timedelta(days=back or (7 if last else 0))
    if (month := _place(noun, _MONTHS)) is not None:
        first = midnight.replace(day=1, month=month + 1)
        before = month + 1 > midnight.month or (last and month + 1 == midnight.month)
        return first.replace(year=first.year - 1) if before else first
    if noun not in _FIRST_DAY or not which:
        return None
    first_day = _FIRST_DAY[noun](midnight.date())
    if last:
        first_day = _FIRST_DAY[noun](_day_before(datetime.combine(first_day, time())).date())
    return datetime.combine(first_day, time())


def _span(word: str) -> str:
    """How long what is written is: a day, also of a moment, or a week, month or year."""
    which, _, noun = word.rpartition(" ")
    if which in ("this", "last") and noun in _LENGTHS:
        return noun
    if _YEAR.fullmatch(word):
        return YEAR
    if _MONTH.fullmatch(word) or (
        which in ("", "this", "last") and _place(noun, _MONTHS) is not None
    ):
        return MONTH
    return WEEK if _ISO_WEEK.fullmatch(word) else DAY


def _place(word: str, names: tuple[str, ...]) -> int | None:
    """The place of a name, which may be cut to three letters."""
    return next((at for at, name in enumerate(names) if word in (name, name[:3])), None)


_FIRST_DAY: dict[str, Callable[[date], date]] = {
    DAY: lambda day: day,
    WEEK: lambda day: day - timedelta(days=day.weekday()),
    MONTH: lambda day: day.replace(day=1),
    YEAR: lambda day: day.replace(month=1, day=1),
}
_LONGEST_DAYS = {DAY: 1, WEEK: 7, MONTH: 31}


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
    if _YEAR.fullmatch(word):
        return datetime(int(word), 1, 1)
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
    if word == "noon":
        return time(12)
    hour, minute, second, fraction, half, whole_half = match.groups()
    if half := half or whole_half:
        if not 1 <= int(hour) <= 12:
            raise ValueError(word)
        hour = int(hour) % 12 + (12 if half == "pm" else 0)
    part = _fraction(fraction).microseconds
    return time(int(hour), int(minute or 0), int(second or 0), part)
