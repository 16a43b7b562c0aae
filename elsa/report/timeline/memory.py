"""The memory of each series over time."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Mapping

from elsa.report.query.periods import Period
from elsa.report.query.selection import Selection
from elsa.report.timeline import resident
from elsa.report.timeline.asked import OF_KINDS, By, Key, rest_of
from elsa.report.timeline.coverage import Span
from elsa.report.timeline.usage import Names


def _keyed(named: Names, lives: list[resident.Lifetime]) -> list[resident.Lifetime]:
    return [life._replace(key=named(life.key)) for life in lives]


def memory_of(
    connection: sqlite3.Connection,
    by: By,
    selection: Selection,
    laid: list[Period],
    runs: list[Span],
) -> dict[Key, list[int | None]]:
    """Resident memory by key and step."""
    ends = [run.until_ns for run in runs]

    def is_known(at_ns: int) -> bool:
        place = bisect_right(ends, at_ns)
        return not runs or (place < len(runs) and runs[place].since_ns <= at_ns)

    resident.find_living(connection, selection.window)
    partition = by.of_jobs and selection.jobs is None
    keys = () if partition else by.keys
    named = Names(connection, by)
    lives = _keyed(named, resident.lifetimes(connection, selection, keys))
    if partition:
        in_jobs = resident.in_jobs(connection, by.keys, OF_KINDS, *selection.choices)
        whole = [life._replace(key=rest_of(by)) for life in lives]
        lives = [*whole, *_keyed(named, in_jobs)]

    def total(sums: Mapping[Key, int]) -> int:
        return sums.get(rest_of(by), 0) if partition else sum(sums.values())

    found = resident.over_time(connection, selection.window, laid, lives, total, is_known)
    series: dict[Key, list[int | None]] = {}
    for step, sums in enumerate(found):
        for key, kib in (sums or {}).items():
            value = kib
            if partition and key == rest_of(by):
                value = 2 * kib - sum((sums or {}).values())
            series.setdefault(key, [None if one is None else 0 for one in found])[step] = value
    return series
