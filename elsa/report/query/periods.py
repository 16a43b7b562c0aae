"""Hours, days and months of this host's clock, by which usage is summed. Days of 23 and 25 hours
are exact too.

SQL does not know the calendar, so the periods are written into a temporary table, with which the
rows of usage are joined.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

from elsa.report.query import row_sums
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
from elsa.report.query.times import Window, change, nanoseconds, offset
from elsa.units import HOUR_NS, SECOND_NS

HOUR, DAY, MONTH = "hour", "day", "month"
_HOUR_S = 3600
_LENGTH_NS = {HOUR: HOUR_NS, DAY: 24 * HOUR_NS, MONTH: 28 * 24 * HOUR_NS}
MOST = 20_000
"""The largest number of periods in a report: the hours of two years, or the days of 54 years. If
there would be more, periods without processes are left out first, then the oldest.
"""
# Whole hours, rounded down before 1970 too.
_HOUR_OF = f"({{}} + {2**20 * HOUR_NS}) / {HOUR_NS} - {2**20}"
_TABLE = (
    "create temp table if not exists period (since_ns integer primary key, until_ns integer not"
    " null, label text not null)"
)
LAST_NS = 2**63 - 1
"""No time is later."""
SHARE = row_sums.overlap("p.since_ns", "p.until_ns")
"""Which part of the usage of a row is in a period."""


class Period(NamedTuple):
    """A half-open span of real time in ns since 1970, and its name."""

    since_ns: int
    until_ns: int
    label: str


class Laid(NamedTuple):
    """The periods of a report, and notes on them."""

    periods: list[Period]
    words: list[str]


class _Start(NamedTuple):
    """When a period starts, and its name."""

    ns: int
    label: str


class _HourRange(NamedTuple):
    """Consecutive hours since 1970, both ends included."""

    first: int
    last: int


def lay(kind: str, first_ns: int, last_ns: int) -> list[Period]:
    """The hours, days or months from one moment to another, both included."""
    laid = []
    for start, following in pairwise(_STARTS[kind](first_ns // SECOND_NS)):
        if following.ns > max(start.ns, first_ns):  # not a day that the clock skipped
            laid.append(Period(start.ns, following.ns, start.label))
        if following.ns > last_ns:
            break
    return laid


def _hours(first_s: int) -> Iterator[_Start]:
    """Each full hour of the clock, and each moment at which its offset from UTC changes."""
    at = _next_hour(first_s - 3 * _HOUR_S)
    while True:
        local = datetime.fromtimestamp(at).astimezone()
        label = local.isoformat(timespec="seconds" if local.second else "minutes")
        yield _Start(at * SECOND_NS, label)
        at = _next_hour(at)


def _next_hour(second: int) -> int:
    now = offset(second)
    full = second + _HOUR_S - (second + now) % _HOUR_S
    return full if offset(full - 1) == now else change(second, full - 1)


def _days(first_s: int) -> Iterator[_Start]:
    day = datetime.fromtimestamp(first_s).date()
    while True:
        # A naive midnight is this host's, also after a day of 23 or 25 hours.
        yield _Start(nanoseconds(datetime.combine(day, time())), day.isoformat())
        day += timedelta(days=1)


def _months(first_s: int) -> Iterator[_Start]:
    month = datetime.fromtimestamp(first_s).date().replace(day=1)
    while True:
        yield _Start(nanoseconds(datetime.combine(month, time())), f"{month:%Y-%m}")
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)


_STARTS: dict[str, Callable[[int], Iterator[_Start]]] = {
    HOUR: _hours,
    DAY: _days,
    MONTH: _months,
}


def of(
    connection: sqlite3.Connection, kind: str, selection: Selection, source: Query | None
) -> Laid:
    """The periods that a selection touches, by the rows of a rollup, `source`, if there is one. If
    figures are cut to the window, the periods are too.

    If there are more than MOST, only the newest periods in which processes ended or ran.
    """
    first_ns, last_ns = _first_and_last(connection, selection, source)
    if first_ns is None or last_ns is None or last_ns < first_ns:
        return Laid([], [])
    words: list[str] = []
    if last_ns - first_ns <= MOST * _LENGTH_NS[kind]:
        laid = lay(kind, first_ns, last_ns)
    else:
        used = _used_hours(connection, selection, source, first_ns, last_ns)
        ranges, words = _newest(used, kind)
        laid = _lay_ranges(kind, ranges)
    if selection.clip:
        laid = cut(laid, selection.window)
    return Laid(laid, words)


def cut(periods: list[Period], window: Window) -> list[Period]:
    """The periods within a window."""
    within = []
    for since_ns, until_ns, label in periods:
        start_ns = since_ns if window.since is None else max(since_ns, window.since)
        end_ns = until_ns if window.until is None else min(until_ns, window.until)
        if start_ns < end_ns:
            within.append(Period(start_ns, end_ns, label))
    return within


def _first_and_last(
    connection: sqlite3.Connection, selection: Selection, source: Query | None
) -> tuple[int | None, int | None]:
    if source is not None:
        columns = {
            "first": f"min(u.ended_hour) * {HOUR_NS}",
            "last": f"max(u.ended_hour + 1) * {HOUR_NS} - 1",
        }
    else:
        columns = {
            "first": f"min({'u.in_ns' if selection.clip else 'u.out_ns'})",
            "last": "max(u.out_ns)",
        }
        source = rows(selection, columns.values(), used=True)
    first, last = Query(f"{select(columns)} {source.sql}", source.values).run(connection).fetchone()
    since, until = selection.window
    if first is not None and since is not None:
        first = max(first, since)
    if last is not None and until is not None:
        last = min(last, until - 1)
    return first, last


def _used_hours(
    connection: sqlite3.Connection,
    selection: Selection,
    source: Query | None,
    first_ns: int,
    last_ns: int,
) -> list[_HourRange]:
    """The hours in which processes ended, or with --clip ran."""
    if source is not None:
        columns = {"first": "u.ended_hour", "last": "u.ended_hour"}
    else:
        start = "coalesce(u.in_ns, u.out_ns)" if selection.clip else "u.out_ns"
        columns = {"first": _HOUR_OF.format(start), "last": f"max({_HOUR_OF.format('u.out_ns')})"}
        source = rows(selection, columns.values(), Condition("u.out_ns is not null"), used=True)
    text = f"{select(columns)} {source.sql} group by 1 order by 1"
    ranges: list[_HourRange] = []
    for start_hour, end_hour in Query(text, source.values).run(connection):
        if start_hour is None:  # of a rollup: what still runs
            continue
        first, last = max(start_hour, first_ns // HOUR_NS), min(end_hour, last_ns // HOUR_NS)
        if ranges and first <= ranges[-1].last + 1:
            ranges[-1] = ranges[-1]._replace(last=max(last, ranges[-1].last))
        elif first <= last:
            ranges.append(_HourRange(first, last))
    return ranges


def _newest(ranges: list[_HourRange], kind: str) -> tuple[list[_HourRange], list[str]]:
    """The newest hours, at most MOST periods of them, and a note on hours that are left out."""
    room = MOST * _LENGTH_NS[kind] // HOUR_NS
    kept: list[_HourRange] = []
    for first, last in reversed(ranges):
        kept.append(_HourRange(max(first, last - room + 1), last))
        room -= last - first + 1
        if room <= 0:
            break
    kept.reverse()
    if not kept or kept[0].first == ranges[0].first:
        return kept, []
    oldest = datetime.fromtimestamp(kept[0].first * _HOUR_S).astimezone()
    return kept, [
        f"{kind}s before {oldest.isoformat(timespec='minutes')} are left out, since there are more"
        f" than {MOST}; --until shows them"
    ]


def _lay_ranges(kind: str, ranges: list[_HourRange]) -> list[Period]:
    laid: list[Period] = []
    for first, last in ranges:
        for period in lay(kind, first * HOUR_NS, (last + 1) * HOUR_NS - 1):
            if not laid or period.since_ns > laid[-1].since_ns:
                laid.append(period)
    return laid


def are_whole_hours(periods: list[Period]) -> bool:
    """Whether all start with an hour of the rollups. They do not if the clock differs from UTC by
    half an hour.
    """
    return all(period.since_ns % HOUR_NS == 0 for period in periods)


def prepare(periods: list[Period]) -> list[Query]:
    """The statements that write the periods into the temporary table."""
    statements = [Query(_TABLE), Query("delete from period")]
    for start in range(0, len(periods), 1000):
        part = periods[start : start + 1000]
        places = ", ".join(["(?, ?, ?)"] * len(part))
        values = tuple(value for period in part for value in period)
        statements.append(Query(f"insert into period values {places}", values))
    return statements


def prepared(connection: sqlite3.Connection) -> list[Period]:
    """The periods that are in the temporary table."""
    sql = "select since_ns, until_ns, label from period order by since_ns"
    return [Period(*row) for row in connection.execute(sql)]


def join_lived(periods: list[Period]) -> str:
    """The clause that joins each row with all periods in which the process lived."""
    return (
        f"cross join period as p on p.since_ns > u.entered_ns - {_longest(periods)}"
        f" and p.since_ns <= coalesce(u.out_ns, {LAST_NS}) and p.until_ns > u.entered_ns"
    )


def _longest(periods: list[Period]) -> int:
    return max((period.until_ns - period.since_ns for period in periods), default=0)


def join(periods: list[Period], *, clip: bool, rolled: bool = False) -> str:
    """The clause that joins each row with its period, or with all periods of its lifetime. Periods
    are found by the key of the table.
    """
    longest = _longest(periods)
    if not clip:
        out = f"u.ended_hour * {HOUR_NS}" if rolled else "u.out_ns"
        return (
            f"cross join period as p on p.since_ns <= {out} and p.since_ns > {out} - {longest} and"
            f" p.until_ns > {out}"
        )
    return (
        f"cross join period as p on p.since_ns <= u.out_ns and p.since_ns > u.in_ns - {longest} and"
        " p.until_ns > u.in_ns and (p.since_ns < u.out_ns or u.rest_ns = u.out_ns)"
    )
