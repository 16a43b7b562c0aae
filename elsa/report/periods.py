"""Hours, days and months of this host's clock, so that usage can be summed by them: exact on days of 23 and 25 hours too.

The calendar is not SQL's business: its periods are laid out in a temporary table, and each row of usage is looked up there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

from elsa.report import measures
from elsa.report.query import Query, rows, select
from elsa.report.selection import Selection
from elsa.report.times import nanoseconds
from elsa.state.clock import HOUR_NS

HOUR, DAY, MONTH = "hour", "day", "month"
_TABLE = "create temp table if not exists period (since_ns integer primary key, until_ns integer not null, label text not null)"
SHARE = measures.overlap("min(u.out_ns, p.until_ns)", "max(u.in_ns, p.since_ns)")
"""Which part of a row's life lies in a period."""


class Period(NamedTuple):
    """A half-open span of real time in ns since 1970, and what people call it."""

    since_ns: int
    until_ns: int
    label: str


def lay(kind: str, first_ns: int, last_ns: int) -> list[Period]:
    """The hours, days or months from that of one moment to that of another."""
    found = []
    for (start, label), (end, _) in pairwise(_STARTS[kind](datetime.fromtimestamp(first_ns // 10**9))):
        found.append(Period(start, end, label))
        if end > last_ns:
            break
    return found


def _hours(first: datetime) -> Iterator[tuple[int, str]]:
    at = int(first.replace(minute=0, second=0, microsecond=0).timestamp())
    while True:
        local = datetime.fromtimestamp(at).astimezone()
        yield at * 10**9, local.isoformat(timespec="minutes")
        # To the next full hour: less than an hour where the clock changed by half of one.
        at += (60 - local.minute) * 60


def _days(first: datetime) -> Iterator[tuple[int, str]]:
    day = first.date()
    while True:
        # A naive midnight is this host's, however long the day before it was.
        yield nanoseconds(datetime.combine(day, time())), day.isoformat()
        day += timedelta(days=1)


def _months(first: datetime) -> Iterator[tuple[int, str]]:
    month = first.date().replace(day=1)
    while True:
        yield nanoseconds(datetime.combine(month, time())), f"{month:%Y-%m}"
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)


_STARTS: dict[str, Callable[[datetime], Iterator[tuple[int, str]]]] = {HOUR: _hours, DAY: _days, MONTH: _months}


def of(connection: sqlite3.Connection, kind: str, selection: Selection, source: Query | None) -> list[Period]:
    """The periods that a selection touches, from the rows of a rollup if there are; cut to its window where figures are cut to it."""
    if source is not None:
        columns = {"first": f"min(u.ended_hour) * {HOUR_NS}", "last": f"max(u.ended_hour + 1) * {HOUR_NS} - 1"}
    else:
        columns = {"first": f"min({'u.in_ns' if selection.clip else 'u.out_ns'})", "last": "max(u.out_ns)"}
        source = rows(selection, columns.values())
    first, last = Query(f"{select(columns)} {source.sql}", source.values).run(connection).fetchone()
    if first is None:
        return []
    since, until = selection.window
    first = first if since is None else max(first, since)
    last = last if until is None else min(last, until - 1)
    found = lay(kind, first, last)
    if not selection.clip:
        return found
    cut = (Period(max(p.since_ns, since or p.since_ns), min(p.until_ns, until or p.until_ns), p.label) for p in found)
    return [period for period in cut if period.since_ns < period.until_ns]


def are_whole_hours(periods: list[Period]) -> bool:
    """Whether they begin where the hours of rollups do, which they do not where clocks differ from UTC by half hours."""
    return all(period.since_ns % HOUR_NS == 0 for period in periods)


def prepare(periods: list[Period]) -> list[Query]:
    """The statements that lay them out."""
    made = [Query(_TABLE), Query("delete from period")]
    for start in range(0, len(periods), 1000):
        part = periods[start : start + 1000]
        values = tuple(value for period in part for value in period)
        made.append(Query("insert into period values " + ", ".join(["(?, ?, ?)"] * len(part)), values))
    return made


def join(periods: list[Period], *, clip: bool, rolled: bool = False) -> str:
    """The clause that finds the period of each row, or the periods that its life touches. The key of the table bounds the search."""
    longest = max((period.until_ns - period.since_ns for period in periods), default=0)
    if not clip:
        out = f"u.ended_hour * {HOUR_NS}" if rolled else "u.out_ns"
        return f"cross join period as p on p.since_ns <= {out} and p.since_ns > {out} - {longest} and p.until_ns > {out}"
    return (
        f"cross join period as p on p.since_ns <= u.out_ns and p.since_ns > u.in_ns - {longest} and p.until_ns > u.in_ns "
        "and (p.since_ns < u.out_ns or u.in_ns = u.out_ns)"
    )
