"""The units that a bill charges, summed in SQL by quarter of an hour, or by whole hours or days in
which neither tariff nor factor changes.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report.query import rollup_source
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, select, values_of
from elsa.report.query.times import Window
from elsa.state.tariff import QUARTER_NS, Tariffs, Units
from elsa.store.aggregates import Aggregate
from elsa.store.daily_rollups import HOURS_OF_DAY
from elsa.units import HOUR_NS

BY = ("user", "group", "job", "tag")

# A job is charged for a process when the process left it or ended (out_ns).
_ENDED = Condition("u.out_ns is not null")
_IN_NONE = Condition("u.in_job = 0")
# With several hosts, a key has the id of the host too, as json: a uid may be another user on each.
_APART = {"user": "json_array(u.uid, u.host_id)", "group": "json_array(u.gid, u.host_id)"}
_KEYS = {
    "user": "u.uid",
    "group": "u.gid",
    "job": "u.job_id",
    "tag": "u.job_id",
    "all": "1",
    "none": "1",
}


def _summed(units: dict[str, str]) -> dict[str, str]:
    """Sums of integers in halves, so that they are exact whatever their size."""
    halves = {name: Aggregate("sum", operand).halves for name, operand in units.items()}
    return {
        f"{name}_{which}": text
        for name, pair in halves.items()
        for which, text in zip(("high", "low"), pair, strict=True)
    }


# Rows that stand for what a process used in an interval are not counted.
_COUNTED = "count(coalesce(u.process_id, u.acct_id))"
_SUMS = {
    "quarter": f"u.out_ns / {QUARTER_NS}",
    "processes": "count(u.process_id)",
    "memory_mb_us": "sum(u.coremem_mb_us * 1.0)",
    "unmeasured": "count(*) - count(u.provenance)",
    "without_io": f"{_COUNTED} - count(case when u.provenance = 'taskstats' then 1 end)",
    "ended": _COUNTED,
    **_summed(
        {
            "cpu_ns": "u.user_ns + u.system_ns",
            "read_bytes": "u.read_bytes",
            "written_bytes": "u.write_bytes",
        }
    ),
}
_HOURLY = {
    "quarter": "u.ended_hour * 4",
    "processes": "sum(u.processes)",
    "memory_mb_us": "sum(u.coremem_mb_us)",
    "unmeasured": "sum(u.without_usage)",
    "without_io": "sum(u.processes + u.unjoined - u.with_usage)",
    "ended": "sum(u.processes + u.unjoined)",
    **_summed(
        {"cpu_ns": "u.cpu_ns", "read_bytes": "u.read_bytes", "written_bytes": "u.write_bytes"}
    ),
}
"""The same from the hourly sums."""


class UnitRow(NamedTuple):
    """A row of `query`: the units of a key in a quarter of an hour."""

    key: Any
    quarter: int
    processes: int
    memory_mb_us: float | None
    unmeasured: int
    without_io: int
    ended: int
    cpu_ns_high: int | None
    cpu_ns_low: int | None
    read_bytes_high: int | None
    read_bytes_low: int | None
    written_bytes_high: int | None
    written_bytes_low: int | None

    @property
    def units(self) -> Units:
        """The units that are charged."""
        return Units(
            self.processes,
            _whole(self.cpu_ns_high, self.cpu_ns_low),
            int(self.memory_mb_us or 0),
            _whole(self.read_bytes_high, self.read_bytes_low),
            _whole(self.written_bytes_high, self.written_bytes_low),
        )


def _whole(high: int | None, low: int | None) -> int:
    return ((high or 0) << 32) + (low or 0)


def query(by: str, selection: Selection, hours: int = HOURS_OF_DAY) -> Query:
    """The query for UnitRow rows: of each uid, gid or job, or of `all`, or of what is in `none` of
    the jobs.

    By 1 or 24 whole hours if the hourly sums have the figures: that takes less time and includes
    pruned processes.
    """
    key = _key(by if by in _KEYS else kind_and_tag(by)[0], selection)
    table = rollup_of(by, selection)
    if hours and table is not None:
        columns = {"line": key} | _HOURLY
        conditions = _conditions(by, selection)
        source = rollup_source.source(
            table, selection.window, columns.values(), *conditions, days=hours == HOURS_OF_DAY
        )
        where = "\nwhere u.ended_hour is not null"
    else:
        columns = {"line": key} | _SUMS
        more = [_ENDED, *([_IN_NONE] if by == "none" else [])]
        source = rows(selection, columns.values(), *more, members=key == "u.job_id", used=True)
        where = ""
    return Query(f"{select(columns)}\n{source.sql}{where}\ngroup by 1, 2", source.values)


def rollup_of(by: str, selection: Selection) -> str | None:
    """The hourly sums that have the figures of the lines, if any."""
    of_jobs = by.partition(":")[0] in ("job", "tag")
    if of_jobs:
        selection = replace(selection, jobs=None)  # rollup_job has a key for the job
    table = "rollup_job" if of_jobs else "rollup_user"
    return table if rollup_source.suits(table, selection) else None


def kind_and_tag(by: str) -> tuple[str, str]:
    """The two parts of --by; the second is the KEY of tag:KEY."""
    kind, colon, tag = by.partition(":")
    if kind not in BY or (colon and (kind != "tag" or not tag)):
        raise UsageError(f"--by: {by!r} is none of user, group, job, tag and tag:KEY")
    return kind, tag


def read_units(
    connection: sqlite3.Connection, by: str, selection: Selection, tariff_set: Tariffs
) -> list[tuple[Any, ...]]:
    """UnitRow rows by quarter of an hour; by day or hour if no price changes within them."""
    window = selection.window
    for hours in (HOURS_OF_DAY, 1) if rollup_of(by, selection) is not None else ():
        units = query(by, selection, hours).run(connection).fetchall()
        firsts = {quarter // 4 // hours * hours for _, quarter, *_ in units}
        if all(len(prices_in(tariff_set, first, hours)) == 1 for first in firsts):
            if window.until is None:
                return units
            # The whole hours do not include the hour that the end of the window cuts.
            cut = Window(window.until // HOUR_NS * HOUR_NS, window.until)
            return units + _pruned(connection, by, selection, cut)
    units = query(by, selection, hours=0).run(connection).fetchall()
    return units + _pruned(connection, by, selection, window)


def _pruned(
    connection: sqlite3.Connection, by: str, selection: Selection, window: Window
) -> list[tuple[Any, ...]]:
    """UnitRow rows from the hourly sums of pruned processes, for hours that start in a window. They
    are charged at the price of the start of the hour.
    """
    key, rollup = _key(by, selection), rollup_of(by, selection)
    if rollup is None:
        return []
    hours = " and ".join(["u.pruned = 1", *window.where(f"u.hour * {HOUR_NS}")])
    columns = {"line": key} | _HOURLY | {"quarter": "u.hour * 4"}
    choices = _conditions(by, selection)
    conditions = "".join(f" and {choice.sql}" for choice in choices)
    values = values_of(choices)
    return connection.execute(
        f"{select(columns)} from {rollup_source.by_hour(rollup)} as u where {hours}{conditions}"
        " group by 1, 2",
        values,
    ).fetchall()


def _conditions(by: str, selection: Selection) -> list[Condition]:
    """The conditions on sums. Each chosen job is charged in full, while other reports count a
    process of several jobs once.
    """
    conditions = list(selection.choices)
    if selection.jobs is not None:
        conditions.append(Condition(f"u.job_id in ({THESE})", (json.dumps(selection.jobs),)))
    if by == "none":
        conditions.append(_IN_NONE)
    return conditions


def price_at(tariff_set: Tariffs, at_ns: int) -> tuple[int, Decimal] | None:
    """The tariff and factor that are valid at a time, if any."""
    tariff = tariff_set.at(at_ns)
    return None if tariff is None else (tariff.id, tariff.factor(at_ns))


def prices_in(tariff_set: Tariffs, first: int, hours: int = 1) -> set[tuple[int, Decimal] | None]:
    """The prices in each quarter of some hours."""
    quarters = range(first * 4, (first + hours) * 4)
    return {price_at(tariff_set, quarter * QUARTER_NS) for quarter in quarters}


def _key(by: str, selection: Selection) -> str:
    """The SQL expression of the key of lines."""
    return _APART.get(by, _KEYS[by]) if selection.apart else _KEYS[by]
