"""How many processes lived in a window or in each period of it, beside what was used there: the
column `active` of window reports.

A process counts once where it ended, so sums by hour hold it once. In how many hours, or for which
keys, it lived is read from the processes themselves, and only if the column is asked for. Of pruned
processes only sums are left, so before the last of them ended the number is not known.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from elsa.report.query import periods
from elsa.report.query.periods import Period
from elsa.report.query.process_rows import columns_of, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query
from elsa.units import HOUR_NS

LIVED = "lived"
"""The column of how many processes lived."""
# What a row that only counts processes has in these columns, where NULL would count.
_INSTEAD = {"provenance": "'none'"}
# A period has it in itself, so that it is joined with its period alone.
_TIMES = {
    "out_ns": "p.since_ns",
    "in_ns": "p.since_ns",
    "rest_ns": "p.since_ns",
    "ended_hour": f"p.since_ns / {HOUR_NS}",
}


def known_from(connection: sqlite3.Connection, selection: Selection) -> int | None:
    """The real time from which on no process that may have lived was pruned; None: always."""
    table = "rollup_user" if selection.jobs is None else "rollup_job"
    (hour,) = connection.execute(f"select max(hour) from {table} where pruned = 1").fetchone()
    return None if hour is None else (hour + 1) * HOUR_NS


def expression(selection: Selection, known_from_ns: int | None, *, by_period: bool) -> str:
    """The column over rows of `with_active`."""
    if known_from_ns is None:
        return "coalesce(sum(u.lived), 0)"
    if by_period:
        return f"case when min(p.since_ns) >= {known_from_ns} then sum(u.lived) end"
    since = selection.window.since
    return "sum(u.lived)" if since is not None and since >= known_from_ns else "null"


def with_active(
    source: Query, columns: list[str], keys: str, selection: Selection, laid: list[Period] | None
) -> Query:
    """The from clause of a report with these columns and with further rows, which say how
    many processes of a key lived, in the window or in a period.
    """
    of_key = columns_of([keys])
    lived = rows(replace(selection, alive=True, clip=False), [*_lifetime(), keys])
    joined, times, group = "", {}, [f"u.{name}" for name in sorted(of_key)]
    if laid is not None:
        joined, times = f"\n{periods.join_lived(laid)}", _TIMES
        group.append("p.since_ns")
    instead = _INSTEAD | times | {name: f"u.{name}" for name in of_key}
    names = [column.removeprefix("u.") for column in columns]
    chosen = ", ".join(f"{instead.get(name, 'null')} as {name}" for name in names)
    return Query(
        f"from (\nselect {', '.join(columns)}, null as {LIVED}\n{source.sql}\nunion all\n"
        f"select {chosen}, count(u.process_id) as {LIVED}\n{lived.sql}{joined}\n"
        f"group by {', '.join(group)}\n) as u",
        source.values + lived.values,
    )


def _lifetime() -> tuple[str, ...]:
    return "u.process_id", "u.entered_ns", "u.out_ns"
