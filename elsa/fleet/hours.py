"""The hours of a report on the fleet, and which of them count together. Sums of many hours stand in
one hour of the copy: the hour in which the report counts them (`Part`).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from elsa.errors import UsageError
from elsa.fleet.copy import Copy, Part
from elsa.formats import local_time, utc_time
from elsa.report.billing import units
from elsa.report.query import periods
from elsa.report.query.times import Window
from elsa.store import tariffs
from elsa.units import HOUR_NS

if TYPE_CHECKING:
    from elsa.report.query.selection import Selection

DAY = 24
FIRST, LAST = -(2**31), 2**31 - 1
"""The hours of a window that is not bounded."""


def by_whole_hours(selection: Selection) -> tuple[Selection, list[str]]:
    """The selection with a window of whole hours, and a note if it was another."""
    since, until = (
        None if time is None else time // HOUR_NS * HOUR_NS for time in selection.window
    )
    window = Window(since, until)
    if window == selection.window:
        return selection, []
    ends = [
        f"{word} {local_time(utc_time(time // HOUR_NS * HOUR_NS))}"
        for word, time in (("from", since), ("until", until))
        if time is not None
    ]
    return replace(selection, window=window), [
        f"a fleet database has sums by the hour: the window is {' '.join(ends)}"
    ]


def bounds(window: Window) -> tuple[int, int]:
    """The first hour of a window, and the hour after its last."""
    first = FIRST if window.since is None else window.since // HOUR_NS
    return first, max(first, LAST if window.until is None else window.until // HOUR_NS)


def whole(window: Window) -> Part:
    """The hours of a window, which count together."""
    first, until = bounds(window)
    if not window:
        return Part(first, until, 0)
    return Part(first, until, until - 1 if first == FIRST else first)


def of_periods(copy: Copy, period: str, window: Window) -> list[Part]:
    """The hours of a window, of which those of each period count together."""
    spanned = _span(copy, window)
    if spanned is None:
        return []
    first, until = spanned
    laid = periods.lay(
        periods.MONTH if period == periods.MONTH else periods.DAY,
        first * HOUR_NS,
        until * HOUR_NS - 1,
    )
    if not periods.are_whole_hours(laid):
        raise UsageError(
            "the hours of this host's clock are not those of UTC, by which a fleet database has"
            " sums; set TZ=UTC"
        )
    if period == periods.HOUR:
        return [Part(first, until)]
    within = [
        (max(each.since_ns // HOUR_NS, first), min(each.until_ns // HOUR_NS, until))
        for each in laid
    ]
    return [Part(start, end, start) for start, end in within if start < end]


def _span(copy: Copy, window: Window) -> tuple[int, int] | None:
    """The hours of a window, within those that have sums; None if there are none."""
    of_hosts, hosts = copy.of_hosts()
    ((least, most),) = copy.rows(
        f"select min(t.day), max(t.day) from elsa.rollup_day_user as t where {of_hosts}", hosts
    )
    if least is None:
        return None
    first, until = bounds(window)
    first, until = max(first, least * DAY), min(until, (most + 1) * DAY)
    return (first, until) if first < until else None


def of_prices(copy: Copy, window: Window) -> list[Part]:
    """The hours of a window, of which those of one price count together. Raises UsageError if a
    price changes within an hour.
    """
    spanned = _span(copy, window)
    if spanned is None:
        return []
    tariff_set = tariffs.load(copy, copy.wanted.as_of_ns)
    hours = range(*spanned)
    prices = []
    for hour in hours:
        of_hour = units.prices_in(tariff_set, hour)
        if len(of_hour) > 1:
            raise UsageError(
                f"a price changes within the hour of {local_time(utc_time(hour * HOUR_NS))}, and a"
                " fleet database has sums by the hour of UTC; bill on the hosts themselves"
            )
        prices.append(next(iter(of_hour)))
    parts: list[Part] = []
    firsts: dict[object, int] = {}
    start = spanned[0]
    for price, group in itertools.groupby(prices):
        end = start + len([*group])
        parts.append(Part(start, end, firsts.setdefault(price, start)))
        start = end
    return parts
