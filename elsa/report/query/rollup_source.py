"""Sums over long windows from the rollups: whole days and hours that are rolled up come from there,
everything else from the processes themselves.

The result is the same as over the processes, only sooner (elsa/store/rollups.py says why). Where
processes were pruned, the rollups are all that is left of them. The views
command_usage_part, user_usage_part and job_usage_part are what `source` gives without a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from elsa.measures import ROLLED, ROLLED_OF_JOB
from elsa.report.query.process_rows import OUT, columns_of, members
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, values_of
from elsa.report.query.times import Window
from elsa.store import aggregates, sql_files
from elsa.store.daily_rollups import HOURS_OF_DAY
from elsa.store.rollups import (
    CLASS,
    CLASSES,
    END_IN_JOBS,
    PARTS,
    ROLLUPS,
    USED,
    Rollup,
    chosen,
)
from elsa.units import HOUR_NS

# The tables of daily sums.
_DAYS = {
    "rollup_command": (
        "(select n.name as command, r.* from rollup_day_command as r left join comm as n on n.id ="
        " r.comm_id)"
    ),
    "rollup_user": "rollup_day_user",
    "rollup_job": "rollup_day_job",
}
_RUNS = "u.ended_hour is null"
# Of the views that have processes which still run, the conditions for these.
_RUNNING = {
    "incarnation_usage": _RUNS,
    "end_usage": _RUNS,
    END_IN_JOBS: f"u.until_ns is null and {_RUNS}",
}
ALL = "rollup_hour"
"""The sums over everything that ended, without a key."""
_ROLLUPS = ROLLUPS | {ALL: Rollup(USED, "ended_hour", (), (), ROLLED), CLASS: CLASSES}


def suits(table: str, selection: Selection) -> bool:
    """Whether a rollup has everything that a selection asks for."""
    plain = selection.jobs is None and not (selection.clip or selection.alive)
    return plain and knows(table, selection.choices)


def knows(table: str, choices: Iterable[Condition]) -> bool:
    """Whether all choices are conditions on the keys of a rollup."""
    return has(table, (choice.sql for choice in choices))


def has(table: str, expressions: Iterable[str]) -> bool:
    """Whether a rollup has the keys that expressions use."""
    return columns_of(expressions) <= set(_ROLLUPS[table].keys)


def by_hour(table: str) -> str:
    """The view or table with a rollup's rows of every hour."""
    return {ALL: "rollup_user_ready", CLASS: CLASS}.get(table) or f"{table}_ready"


@cache
def sums(table: str) -> Mapping[str, str]:
    """The aggregate of each measure over the rows of `source`."""
    return {key: aggregates.of_sums(measure) for key, measure in _ROLLUPS[table].measures.items()}


def source(
    table: str,
    window: Window,
    expressions: Iterable[str],
    *conditions: Condition,
    days: bool = False,
    jobs: str | None = None,
) -> Query:
    """The from clause, with the alias `u`, for sums by the keys of a rollup and by `ended_hour`
    over all that is in a window: the union of `parts`.
    """
    union = parts(table, window, expressions, *conditions, days=days, jobs=jobs)
    return Query(f"from (\n{union.sql}\n) as u", union.values)


def parts(
    table: str,
    window: Window,
    expressions: Iterable[str],
    *conditions: Condition,
    days: bool = False,
    jobs: str | None = None,
) -> Query:
    """Rows that add up to the usage in a window.

    They have only the sums that the expressions name, since a union computes every column that it
    has. Conditions are on the keys. Several rows may have the same key and hour. With `days` a
    whole day may count as its first hour. Processes that still run are included if there is no
    window. `jobs` is SQL that lists jobs: only their rows are read.
    """
    rollup = _ROLLUPS[table]
    keys = [f"u.{key}" for key in rollup.keys]
    wanted = columns_of(expressions)
    stored = {
        name: text for name, text in aggregates.parts(rollup.measures).items() if name in wanted
    }
    hours = whole_hours(window)
    theirs = conditions if jobs is None else (Condition(f"u.job_id in ({jobs})"), *conditions)
    union = [
        _part(
            [*keys, f"{hour} as ended_hour", *(f"u.{name}" for name in stored)], name, rows, theirs
        )
        for name, hour, rows in _rolled(table, hours, days=days)
    ]
    # Not summed here: below a sum SQLite would look up every table of these views, used or not.
    each = [text if text == f"u.{name}" else f"{text} as {name}" for name, text in stored.items()]
    if jobs is not None:
        union.append(
            _rest_of_jobs(
                jobs, _select([*keys, "u.out_hour as ended_hour", *each]), window, conditions
            )
        )
    listed = [
        *keys,
        "u.ended_hour" if rollup.hour == "ended_hour" else f"u.{rollup.hour} as ended_hour",
        *each,
    ]
    union += [
        _part(listed, view, [rows], conditions)
        for view in (PARTS[rollup.source] if jobs is None else ())
        for rows in _rest(view, window, hours)
    ]
    return Query(
        "\nunion all\n".join(part.sql for part in union),
        values_of(union),
    )


class Hours(NamedTuple):
    """The hours that are whole in a window: the first, and the hour after the last; None is no
    bound.
    """

    first: int | None
    last: int | None

    def where(self, column: str, length: int = 1) -> list[str]:
        """The conditions that the number of an hour, or of a period of `length` hours, is in."""
        least = [] if self.first is None else [f"{column} >= {-(-self.first // length)}"]
        return least + ([] if self.last is None else [f"{column} < {self.last // length}"])

    def cut(self, length: int) -> list[int]:
        """The hours at either end that are in no whole period of `length` hours."""
        cut: set[int] = set()
        if self.first is not None:
            cut |= {*range(self.first, -(-self.first // length) * length)}
        if self.last is not None:
            cut |= {*range(self.last // length * length, self.last)}
        return sorted(
            hour
            for hour in cut
            if (self.first or 0) <= hour and (self.last is None or hour < self.last)
        )


def _rolled(table: str, hours: Hours, *, days: bool) -> Iterator[tuple[str, str, list[str]]]:
    """The tables with the sums of some whole hours, with the SQL of the hour there and the
    conditions on the rows.
    """
    apart = _hours_of("hour_without_day", hours)
    if table == ALL:
        yield "rollup_day_total", "u.hour", hours.where("u.hour")
        yield by_hour(table), "u.hour", [f"u.hour in ({apart})"]
    elif days:
        yield _DAYS[table], f"u.day * {HOURS_OF_DAY}", hours.where("u.day", HOURS_OF_DAY)
        # The first and the last day of a window may be in it in part.
        cut = hours.cut(HOURS_OF_DAY)
        among = f" union all select value from json_each('{cut}')" if cut else ""
        yield by_hour(table), "u.hour", [f"u.hour in ({apart}{among})"]
    else:
        yield by_hour(table), "u.hour", hours.where("u.hour")


def _select(columns: Iterable[str]) -> str:
    return "select\n    " + ",\n    ".join(columns)


def _part(
    columns: Iterable[str], name: str, rows: list[str], conditions: tuple[Condition, ...]
) -> Query:
    texts = [*rows, *(condition.sql for condition in conditions)]
    where = "\nwhere\n    " + "\n    and ".join(texts) if texts else ""
    return Query(
        f"{_select(columns)}\nfrom {name} as u{where}",
        values_of(conditions),
    )


def whole_hours(window: Window) -> Hours:
    """The hours that are whole in a window."""
    first = None if window.since is None else -(-window.since // HOUR_NS)
    return Hours(first, None if window.until is None else max(window.until // HOUR_NS, first or 0))


def _hours_of(view: str, hours: Hours) -> str:
    """SQL for the hours of a view that are among some hours."""
    conditions = hours.where("h.hour")
    return f"select h.hour from {view} as h" + (
        f" where {' and '.join(conditions)}" if conditions else ""
    )


def _rest(view: str, window: Window, hours: Hours) -> list[str]:
    """Conditions for the rows of a view that no rollup has: of hours that are not rolled up, of the
    hours that the window cuts, and processes that still run.
    """
    conditions = chosen(view, _hours_of("hour_without_rollup", hours))
    cut = window.cut_hours()
    if cut:
        ended = OUT if view == END_IN_JOBS else "u.ended_ns"
        within = "".join(f" and {text}" for text in window.where(ended))
        conditions += [f"{rows}{within}" for rows in chosen(view, ", ".join(map(str, cut)))]
    if not window and view in _RUNNING:
        conditions.append(_RUNNING[view])
    return conditions


def _rest_of_jobs(
    jobs: str, select: str, window: Window, conditions: tuple[Condition, ...]
) -> Query:
    """The same for some jobs."""
    unrolled = _hours_of("hour_without_rollup", whole_hours(window))
    cut = window.cut_hours()
    alternatives = [f"u.out_hour in ({unrolled})"]
    if cut:
        in_cut_hour = f"u.out_hour in ({', '.join(map(str, cut))})"
        alternatives.append(" and ".join([in_cut_hour, *window.where("u.out_ns")]))
    if not window:
        alternatives.append("u.out_hour is null")
    in_hours = f"{unrolled} union all select value from json_each('{cut}')"
    ended = f"select p.id from process as p where p.ended_hour in ({in_hours})"
    ended += "" if window else " union all select p.id from process as p where p.ended_hour is null"
    rest = members(
        jobs,
        [select],
        Condition(f"({' or '.join(alternatives)})"),
        *conditions,
        hours=in_hours,
        ended=ended,
    )
    return Query(f"{select}\n{rest.sql}", rest.values)


def job_usage(jobs: str) -> str:
    """The view job_usage for the jobs that SQL lists: it reads only their rows.

    SQLite pushes a condition down through one sum, but not through a sum of sums. So the view is
    put over their rows of the views that it reads alone.
    """
    part = source(
        "rollup_job",
        Window(),
        (f"u.{name}" for name in aggregates.parts(ROLLED_OF_JOB)),
        days=True,
        jobs=jobs,
    )
    usage = sql_files.over(
        "job_usage",
        job_usage_part=f"select * {part.sql}",
        job_without_process=(
            f"select n.job_id from main.job_without_process as n where n.job_id in ({jobs})"
        ),
    )
    return f"(select * from {usage} where job_id in ({jobs}))"
