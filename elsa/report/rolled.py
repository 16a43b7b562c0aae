"""Sums over long windows from the hourly rollups: whole hours that are rolled up come from there, all else from the processes themselves.

The result is the same as over the processes, since rollups are true (elsa/store/rollups.py), only sooner. Where processes were pruned,
the rollups are all that is left of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from elsa.report.query import Condition, Query, columns_of
from elsa.report.selection import Selection
from elsa.report.times import Window
from elsa.store import assets
from elsa.store.measures import columns
from elsa.store.rollups import ROLLUPS, chosen
from elsa.store.staleness import HOUR_NS

# SQLite lets a condition with a subquery reach the indexes below a view, but not below a union of views.
_PARTS = {"process_usage": ("incarnation_usage", "unjoined_usage")}
# No process ends after the year 100000.
_NEVER = 10**9
# What a job's process that was taken out went out at, as elsa.report.query has it.
_OUT = "(case when u.until_ns is null then u.ended_ns else u.until_ns + u.started_ns - u.start_ns end)"


def suits(table: str, selection: Selection) -> bool:
    """Whether a rollup knows all that a selection asks for."""
    return selection.jobs is None and not selection.clip and knows(table, selection.choices)


def knows(table: str, choices: Iterable[Condition]) -> bool:
    """Whether all choices are on the keys of a rollup."""
    return columns_of(choice.sql for choice in choices) <= set(ROLLUPS[table].keys)


def sums(table: str) -> dict[str, str]:
    """The SQL of each figure over rows of `source`."""
    return {key: measure.of_parts(key) for key, measure in ROLLUPS[table].measures.items()}


def source(table: str, window: Window, expressions: Iterable[str], *conditions: Condition) -> Query:
    """The from clause, with the alias `u`, for sums by the keys of a rollup and by `ended_hour` over all that is in a window.

    It has the sums that the expressions name: a union computes whatever it is asked for. Conditions are on the keys. Several rows may be
    of one key and hour. What still runs is there if there is no window.
    """
    rollup = ROLLUPS[table]
    keys = ", ".join(f"u.{key}" for key in rollup.keys)
    wanted = columns_of(expressions)
    stored = {name: text for name, text in columns(rollup.measures).items() if name in wanted}
    first, last = _whole_hours(window)
    listed = "".join(f", u.{name}" for name in stored)
    rolled = f"select {keys}, u.hour as ended_hour{listed}\n    from {table.replace('rollup', 'rolled')} as u"
    parts = [_where(rolled, f"u.hour >= {first} and u.hour < {last}", conditions)]
    summed = "".join(f",\n        {text} as {name}" for name, text in stored.items())
    for rows, view in product(_rest(table, window, first, last), _PARTS.get(rollup.view, (rollup.view,))):
        part = _where(f"select {keys}, u.{rollup.hour} as ended_hour{summed}\n    from {view} as u", rows, conditions)
        parts.append(Query(f"{part.sql}\n    group by {keys}, u.{rollup.hour}", part.values))
    text = "\n    union all\n    ".join(part.sql for part in parts)
    return Query(f"from (\n    {text}\n) as u", tuple(value for part in parts for value in part.values))


def _where(select: str, rows: str, conditions: tuple[Condition, ...]) -> Query:
    texts = [rows, *(condition.sql for condition in conditions)]
    return Query(f"{select}\n    where {' and '.join(texts)}", tuple(value for condition in conditions for value in condition.values))


def _whole_hours(window: Window) -> tuple[int, int]:
    """The first hour that is whole in a window, and the one after the last."""
    first = 0 if window.since is None else -(-window.since // HOUR_NS)
    return first, _NEVER if window.until is None else max(window.until // HOUR_NS, first)


def _rest(table: str, window: Window, first: int, last: int) -> list[str]:
    """Conditions for what no rollup has: hours that are not rolled up, the two that are not whole, and what still runs."""
    rollup = ROLLUPS[table]
    found = chosen(rollup, f"select hour from unrolled_hour where hour >= {first} and hour < {last}")
    edges = {time // HOUR_NS for time in window if time is not None and time % HOUR_NS}
    if edges:
        out = "u.ended_ns" if rollup.hour == "ended_hour" else _OUT
        inside = "".join(f" and {text}" for text in window.where(out))
        found += [f"{rows}{inside}" for rows in chosen(rollup, ", ".join(map(str, sorted(edges))))]
    if not window:
        found.append("u.ended_hour is null" if rollup.hour == "ended_hour" else "u.until_ns is null and u.ended_hour is null")
    return found


def job_usage(ids: Iterable[int]) -> str:
    """The view job_usage for some jobs only: it reads what is theirs alone, where a condition around the view comes too late.

    SQLite lets a condition sink through one sum, but not through a sum of sums.
    """
    listed = ", ".join(str(int(id_)) for id_ in ids)
    text = (assets.folder("sql") / "job_usage.sql").read_text(encoding="utf-8").partition(" as\n")[2]
    parts = "from job_part as u\n"
    assert text.count(parts) == 1  # noqa: S101
    return f"(select * from ({text.replace(parts, f'{parts}    where u.job_id in ({listed}){chr(10)}')}) where job_id in ({listed}))"
