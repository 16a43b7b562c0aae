"""Hours, days and months of this host's clock, so that usage can be summed by them: exact on days
of 23 and 25 hours too.

The calendar is not SQL's business: its periods are laid out in a temporary table, and each row of
usage is looked up there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

from elsa.report.query import sums
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, rows, select
from elsa.report.query.times import change, nanoseconds, offset
from elsa.units import HOUR_NS

HOUR, DAY, MONTH = "hour", "day", "month"
_HOUR_S = 3600
_LENGTH_NS = {HOUR: HOUR_NS, DAY: 24 * HOUR_NS, MONTH: 28 * 24 * HOUR_NS}
MOST = 20_000
"""Periods that are laid out without a look at whether there is anything in them: hours of two
years, days of 54.
"""
# Whole hours, rounded down before 1970 too.
_HOUR_OF = f"({{}} + {2**20 * HOUR_NS}) / {HOUR_NS} - {2**20}"
_TABLE = (
    "create temp table if not exists period (since_ns integer primary key, until_ns integer not"
    " null, label text not null)"
)
SHARE = sums.overlap("min(u.out_ns, p.until_ns)", "max(u.in_ns, p.since_ns)")
"""Which part of a row's life lies in a period."""


class Period(NamedTuple):
    """A half-open span of real time in ns since 1970, and what people call it."""

    since_ns: int
    until_ns: int
    label: str


class Laid(NamedTuple):
    """The periods of a report, and what must be said of them."""

    periods: list[Period]
    words: list[str]


def lay(kind: str, first_ns: int, last_ns: int) -> list[Period]:
    """The hours, days or months from that of one moment to that of another."""
    found = []
    for (start, label), (end, _) in pairwise(_STARTS[kind](first_ns // 10**9)):
        if end > max(start, first_ns):  # no day that the clock skipped
            found.append(Period(start, end, label))
        if end > last_ns:
            break
    return found


def _hours(first_s: int) -> Iterator[tuple[int, str]]:
    """Each full hour of the clock, and each moment at which the clock was changed by something
    else.
    """
    at = _next_hour(first_s - 3 * _HOUR_S)
    while True:
        local = datetime.fromtimestamp(at).astimezone()
        yield at * 10**9, local.isoformat(timespec="seconds" if local.second else "minutes")
        at = _next_hour(at)


def _next_hour(second: int) -> int:
    now = offset(second)
    full = second + _HOUR_S - (second + now) % _HOUR_S
    return full if offset(full - 1) == now else change(second, full - 1)


def _days(first_s: int) -> Iterator[tuple[int, str]]:
    day = datetime.fromtimestamp(first_s).date()
    while True:
        # A naive midnight is this host's, however long the day before it was.
        yield nanoseconds(datetime.combine(day, time())), day.isoformat()
        day += timedelta(days=1)


def _months(first_s: int) -> Iterator[tuple[int, str]]:
    month = datetime.fromtimestamp(first_s).date().replace(day=1)
    while True:
        yield nanoseconds(datetime.combine(month, time())), f"{month:%Y-%m}"
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)


_STARTS: dict[str, Callable[[int], Iterator[tuple[int, str]]]] = {
    HOUR: _hours,
    DAY: _days,
    MONTH: _months,
}


def of(
    connection: sqlite3.Connection, kind: str, selection: Selection, source: Query | None
) -> Laid:
    """The periods that a selection touches, from the rows of a rollup if there are; cut to its
    window where figures are cut to it.

    Where there would be very many, only those in which there is something.
    """
    first, last = _first_and_last(connection, selection, source)
    if first is None or last is None or last < first:
        return Laid([], [])
    words: list[str] = []
    if last - first <= MOST * _LENGTH_NS[kind]:
        found = lay(kind, first, last)
    else:
        spans, words = _newest(_spans(connection, selection, source, first, last), kind)
        found = _lay_spans(kind, spans)
    if selection.clip:
        since, until = selection.window
        cut = [
            Period(
                p.since_ns if since is None else max(p.since_ns, since),
                p.until_ns if until is None else min(p.until_ns, until),
                p.label,
            )
            for p in found
        ]
        found = [period for period in cut if period.since_ns < period.until_ns]
    return Laid(found, words)


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
        source = rows(selection, columns.values())
    first, last = Query(f"{select(columns)} {source.sql}", source.values).run(connection).fetchone()
    since, until = selection.window
    if first is not None and since is not None:
        first = max(first, since)
    if last is not None and until is not None:
        last = min(last, until - 1)
    return first, last


def _spans(
    connection: sqlite3.Connection,
    selection: Selection,
    source: Query | None,
    first: int,
    last: int,
) -> list[tuple[int, int]]:
    """The stretches of hours since 1970, first and last, in which there is something."""
    if source is not None:
        columns = {"first": "u.ended_hour", "last": "u.ended_hour"}
    else:
        begin = "coalesce(u.in_ns, u.out_ns)" if selection.clip else "u.out_ns"
        columns = {"first": _HOUR_OF.format(begin), "last": f"max({_HOUR_OF.format('u.out_ns')})"}
        source = rows(selection, columns.values(), Condition("u.out_ns is not null"))
    text = f"{select(columns)} {source.sql} group by 1 order by 1"
    spans: list[tuple[int, int]] = []
    for begin, end in Query(text, source.values).run(connection):
        if begin is None:  # of a rollup: what still runs
            continue
        began, ended = max(begin, first // HOUR_NS), min(end, last // HOUR_NS)
        if spans and began <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(ended, spans[-1][1]))
        elif began <= ended:
            spans.append((began, ended))
    return spans


def _newest(spans: list[tuple[int, int]], kind: str) -> tuple[list[tuple[int, int]], list[str]]:
    """The newest of them, as many as may be laid out; and what to say of the others."""
    room = MOST * _LENGTH_NS[kind] // HOUR_NS
    kept: list[tuple[int, int]] = []
    for first, last in reversed(spans):
        kept.append((max(first, last - room + 1), last))
        room -= last - first + 1
        if room <= 0:
            break
    if kept and kept[-1][0] > spans[0][0]:
        since = (
            datetime.fromtimestamp(kept[-1][0] * _HOUR_S).astimezone().isoformat(timespec="minutes")
        )
        return kept[::-1], [
            f"older {kind}s than {since} are left out, since there are more than {MOST}; --until"
            " shows them"
        ]
    return kept[::-1], []


def _lay_spans(kind: str, spans: list[tuple[int, int]]) -> list[Period]:
    found: list[Period] = []
    for first, last in spans:
        laid = lay(kind, first * HOUR_NS, (last + 1) * HOUR_NS - 1)
        found += [period for period in laid if not found or period.since_ns > found[-1].since_ns]
    return found


def are_whole_hours(periods: list[Period]) -> bool:
    """Whether they begin where the hours of rollups do, which they do not where clocks differ from
    UTC by half hours.
    """
    return all(period.since_ns % HOUR_NS == 0 for period in periods)


def prepare(periods: list[Period]) -> list[Query]:
    """The statements that lay them out."""
    made = [Query(_TABLE), Query("delete from period")]
    for start in range(0, len(periods), 1000):
        part = periods[start : start + 1000]
        values = tuple(value for period in part for value in period)
        made.append(
            Query("insert into period values " + ", ".join(["(?, ?, ?)"] * len(part)), values)
        )
    return made


def join(periods: list[Period], *, clip: bool, rolled: bool = False) -> str:
    """The clause that finds the period of each row, or the periods that its life touches. The key
    of the table bounds the search.
    """
    longest = max((period.until_ns - period.since_ns for period in periods), default=0)
    if not clip:
        out = f"u.ended_hour * {HOUR_NS}" if rolled else "u.out_ns"
        return (
            f"cross join period as p on p.since_ns <= {out} and p.since_ns > {out} - {longest} and"
            f" p.until_ns > {out}"
        )
    return (
        f"cross join period as p on p.since_ns <= u.out_ns and p.since_ns > u.in_ns - {longest} and"
        " p.until_ns > u.in_ns and (p.since_ns < u.out_ns or u.in_ns = u.out_ns)"
    )
