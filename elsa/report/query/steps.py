"""The steps of a timeline: spans of equal length on this host's clock, from seconds to months."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from itertools import groupby, pairwise

from elsa import durations
from elsa.errors import UsageError
from elsa.report.query import periods
from elsa.report.query.periods import DAY, HOUR, MONTH, Period
from elsa.report.query.times import Window, nanoseconds
from elsa.text import printable
from elsa.units import HOUR_NS, SECOND_NS

MINUTE_S, HOUR_S, DAY_S, WEEK_S, MONTH_S = 60, 3600, 86_400, 604_800, 30 * 86_400
LENGTHS_S = (
    *(1, 2, 5, 10, 15, 20, 30),
    *(MINUTE_S * minutes for minutes in (1, 2, 5, 10, 15, 20, 30)),
    *(HOUR_S * hours for hours in (1, 2, 3, 4, 6, 12)),
    *(DAY_S, WEEK_S, MONTH_S),
)
"""The lengths to choose from, so that steps start at round times. A month stands for those of the
calendar."""


def read(text: str) -> int:
    """A written length of a step in seconds. Raises UsageError."""
    word = " ".join(text.lower().split())
    length_s = int(durations.seconds(word) or durations.seconds(f"1 {word}") or 0)
    if length_s not in LENGTHS_S:
        raise UsageError(
            f"--step: no steps of {printable(text)}; write one of {', '.join(map(name, LENGTHS_S))}"
        )
    return length_s


def name(length_s: int) -> str:
    """The length of a step as --step takes it."""
    units = {MONTH_S: " month", WEEK_S: "w", DAY_S: "d", HOUR_S: "h", MINUTE_S: "m", 1: "s"}
    unit_s = next(unit_s for unit_s in units if length_s >= unit_s)
    return f"{length_s // unit_s}{units[unit_s]}"


def fitting(window: Window, most: int) -> int:
    """The shortest length of which at most so many steps make up a window; else a month."""
    since, until = bounds(window)
    return next(
        (length_s for length_s in LENGTHS_S if _count(since, until, length_s) <= most), MONTH_S
    )


def bounds(window: Window) -> tuple[int, int]:
    """Both ends of a window that has both."""
    since, until = window
    assert since is not None and until is not None  # noqa: S101
    return since, until


def _count(since: int, until: int, length_s: int) -> int:
    """How many steps a window has, at most: it may cut the first and the last."""
    return (until - since) // (length_s * SECOND_NS) + 2


def floor(at_ns: int, length_s: int) -> int:
    """The start of the step with a moment in it."""
    return lay(Window(at_ns, at_ns + 1), length_s, cut=False)[0].since_ns


def lay(window: Window, length_s: int, *, cut: bool = True) -> list[Period]:
    """The steps of a window, which cuts the first and the last. Raises UsageError if there are too
    many.
    """
    since, until = bounds(window)
    if (until - since) // (length_s * SECOND_NS) > periods.MOST:
        raise UsageError(
            f"--step {name(length_s)} divides this window into more than {periods.MOST} steps;"
            f" write at least --step {name(fitting(window, periods.MOST))}"
        )
    laid = []
    for start, end in pairwise(_starts(since, until, length_s)):
        if end > max(start, since):  # not a time that the clock skipped
            laid.append(Period(start, end, ""))
        if end >= until:
            break
    return periods.cut(laid, window) if cut else laid


def _starts(since: int, until: int, length_s: int) -> Iterator[int]:
    """Where steps start, from the step with the first moment on, and one start after the last."""
    if length_s == MONTH_S:
        yield from _all_starts(periods.lay(MONTH, since, until))
    elif length_s == DAY_S:
        yield from _all_starts(periods.lay(DAY, since, until))
    elif length_s == WEEK_S:
        day = datetime.fromtimestamp(since // SECOND_NS).date()
        day -= timedelta(days=day.weekday())
        while True:
            yield nanoseconds(datetime.combine(day, time()))
            day += timedelta(days=7)
    elif length_s <= HOUR_S:
        for hour in periods.lay(HOUR, since, until + HOUR_NS):
            yield from range(hour.since_ns, hour.until_ns, length_s * SECOND_NS)
    else:
        day = datetime.fromtimestamp(since // SECOND_NS).date()
        while True:
            for hour_of_day in range(0, 24, length_s // HOUR_S):
                yield nanoseconds(datetime.combine(day, time(hour_of_day)))
            day += timedelta(days=1)


def _all_starts(laid: list[Period]) -> Iterator[int]:
    for period in laid:
        yield period.since_ns
    yield laid[-1].until_ns


def start_of(laid: list[Period], at: str) -> str:
    """SQL for the start of the step with a moment in it. It is computed, as to look up each moment
    takes much longer: in each run of equal steps from its start.
    """
    alike = groupby(laid, key=lambda step: step.until_ns - step.since_ns)
    first, *others = [(next(steps).since_ns, length_ns) for length_ns, steps in alike]
    cases = [
        f"when {at} >= {since_ns} then {_multiple(at, since_ns, length_ns)}"
        for since_ns, length_ns in reversed(others)
    ]
    text = _multiple(at, *first)
    return f"case {' '.join(cases)} else {text} end" if cases else text


def _multiple(at: str, since_ns: int, length_ns: int) -> str:
    return f"{since_ns} + ({at} - {since_ns}) / {length_ns} * {length_ns}"
