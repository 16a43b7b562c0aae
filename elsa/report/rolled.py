"""Sums over long windows from the rollups: whole days and hours that are rolled up come from there, all else from the processes themselves.

The result is the same as over the processes, since rollups are true (elsa/store/rollups.py), only sooner. Where processes were pruned,
the rollups are all that is left of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from elsa.report.query import OUT, Condition, Query, columns_of, members
from elsa.report.selection import Selection
from elsa.report.times import Window
from elsa.state.clock import HOUR_NS
from elsa.store import assets, measures
from elsa.store.days import HOURS
from elsa.store.measures import ROLLED
from elsa.store.rollups import CLASS, CLASSES, PARTS, ROLLUPS, Rollup, chosen

# Hours, and whole days, from 1970 to the year 270000.
_NEVER = HOURS * 10**8
# Where the sums by some keys are, of days and of hours.
_DAYS = {
    "rollup_command": "(select n.name as command, r.* from rollup_day_command as r left join comm as n on n.id = r.comm_id)",
    "rollup_user": "rollup_day_user",
    "rollup_job": "rollup_day_job",
}
ALL = "rollup_hour"
"""The sums over all that ended, by no key."""
_ROLLUPS = ROLLUPS | {ALL: Rollup("process_usage", "ended_hour", (), (), ROLLED), CLASS: CLASSES}


def suits(table: str, selection: Selection) -> bool:
    """Whether a rollup knows all that a selection asks for."""
    return selection.jobs is None and not selection.clip and knows(table, selection.choices)


def knows(table: str, choices: Iterable[Condition]) -> bool:
    """Whether all choices are on the keys of a rollup."""
    return columns_of(choice.sql for choice in choices) <= set(_ROLLUPS[table].keys)


def by_hour(table: str) -> str:
    """Where a rollup's rows of every hour are."""
    return {ALL: "rolled_user", CLASS: CLASS}.get(table) or table.replace("rollup", "rolled")


def sums(table: str) -> dict[str, str]:
    """The SQL of each figure over rows of `source`."""
    return {key: measure.of_parts(key) for key, measure in _ROLLUPS[table].measures.items()}


def source(
    table: str, window: Window, expressions: Iterable[str], *conditions: Condition, days: bool = False, jobs: str | None = None
) -> Query:
    """The from clause, with the alias `u`, for sums by the keys of a rollup and by `ended_hour` over all that is in a window.

    It has the sums that the expressions name: a union computes whatever it is asked for. Conditions are on the keys. Several rows may be
    of one key and hour. With `days` a whole day may count as its first hour. What still runs is there if there is no window. Of `jobs`,
    which is SQL that lists some, only what is theirs is looked at.
    """
    rollup = _ROLLUPS[table]
    keys = "".join(f"u.{key}, " for key in rollup.keys)
    wanted = columns_of(expressions)
    stored = {name: text for name, text in measures.parts(rollup.measures).items() if name in wanted}
    first, last = _whole_hours(window)
    names = "".join(f", u.{name}" for name in stored)
    theirs = conditions if jobs is None else (Condition(f"u.job_id in ({jobs})"), *conditions)
    parts = [
        _where(f"select {keys}{hour} as ended_hour{names}\n    from {name} as u", rows, theirs)
        for name, hour, rows in _rolled(table, first, last, days=days)
    ]
    # Not summed here: below a sum SQLite would look up every table of these views, asked for or not.
    each = "".join(f",\n        {text} as {name}" for name, text in stored.items())
    if jobs is not None:
        parts.append(_rest_of_jobs(jobs, f"select {keys}u.out_hour as ended_hour{each}", window, conditions))
    for rows, view in product(_rest(rollup, window, first, last) if jobs is None else (), PARTS.get(rollup.view, (rollup.view,))):
        parts.append(_where(f"select {keys}u.{rollup.hour} as ended_hour{each}\n    from {view} as u", rows, conditions))
    text = "\n    union all\n    ".join(part.sql for part in parts)
    return Query(f"from (\n    {text}\n) as u", tuple(value for part in parts for value in part.values))


def _rolled(table: str, first: int, last: int, *, days: bool) -> Iterator[tuple[str, str, str]]:
    """Where the sums of some whole hours are: the tables, what tells the hour there, and which rows."""
    apart = f"select h.hour from apart_hour as h where h.hour >= {first} and h.hour < {last}"
    if table == ALL:
        yield "rollup_day_hour", "u.hour", f"u.hour >= {first} and u.hour < {last}"
        yield by_hour(table), "u.hour", f"u.hour in ({apart})"
    elif days:
        begin, end = -(-first // HOURS), max(last // HOURS, -(-first // HOURS))
        yield _DAYS[table], f"u.day * {HOURS}", f"u.day >= {begin} and u.day < {end}"
        # The first and the last day of a window may be there in part.
        cut = [*range(first, min(begin * HOURS, last)), *range(max(end * HOURS, first), last)]
        among = f" union all select value from json_each('{cut}')" if cut else ""
        yield by_hour(table), "u.hour", f"u.hour in ({apart}{among})"
    else:
        yield by_hour(table), "u.hour", f"u.hour >= {first} and u.hour < {last}"


def _where(select: str, rows: str, conditions: tuple[Condition, ...]) -> Query:
    texts = [rows, *(condition.sql for condition in conditions)]
    return Query(f"{select}\n    where {' and '.join(texts)}", tuple(value for condition in conditions for value in condition.values))


def _whole_hours(window: Window) -> tuple[int, int]:
    """The first hour that is whole in a window, and the one after the last."""
    first = 0 if window.since is None else -(-window.since // HOUR_NS)
    return first, _NEVER if window.until is None else max(window.until // HOUR_NS, first)


def _rest(rollup: Rollup, window: Window, first: int, last: int) -> list[str]:
    """Conditions for what no rollup has: hours that are not rolled up, the two that are not whole, and what still runs."""
    found = chosen(rollup, f"select hour from unrolled_hour where hour >= {first} and hour < {last}")
    edges = window.cut_hours()
    if edges:
        out = "u.ended_ns" if rollup.hour == "ended_hour" else OUT
        inside = "".join(f" and {text}" for text in window.where(out))
        found += [f"{rows}{inside}" for rows in chosen(rollup, ", ".join(map(str, edges)))]
    if not window:
        found.append("u.ended_hour is null" if rollup.hour == "ended_hour" else "u.until_ns is null and u.ended_hour is null")
    return found


def _rest_of_jobs(jobs: str, select: str, window: Window, conditions: tuple[Condition, ...]) -> Query:
    """The same of some jobs. Of those who were in one from birth to end only those are looked up who ended in such an hour, or run."""
    first, last = _whole_hours(window)
    edges = window.cut_hours()
    unrolled = f"select hour from unrolled_hour where hour >= {first} and hour < {last}"
    found = [f"u.out_hour in ({unrolled})"]
    if edges:
        found.append(" and ".join([f"u.out_hour in ({', '.join(map(str, edges))})", *window.where("u.out_ns")]))
    if not window:
        found.append("u.out_hour is null")
    late = f"select p.id from process as p where p.ended_hour in ({unrolled} union all select value from json_each('{edges}'))"
    late += "" if window else " union all select p.id from process as p where p.ended_hour is null"
    rest = members(jobs, [select], Condition(f"({' or '.join(found)})"), *conditions, whole=f"+s.process_id in ({late})")
    return Query(f"{select}\n    {rest.sql}", rest.values)


def job_usage(jobs: str) -> str:
    """The view job_usage for some jobs only, which SQL lists: it reads what is theirs alone.

    SQLite lets a condition sink through one sum, but not through a sum of sums. So the view's own select is given their rows alone under
    the name of job_part.
    """
    theirs = source("rollup_job", Window(), (f"u.{name}" for name in measures.parts(measures.ROLLED_OF_JOB)), days=True, jobs=jobs)
    return f"(with job_part as (select * {theirs.sql}) select * from ({assets.select('job_usage')}) where job_id in ({jobs}))"
