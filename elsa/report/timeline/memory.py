"""The memory of each series over time."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import NamedTuple

from elsa.report.query.periods import Period
from elsa.report.query.selection import Selection
from elsa.report.timeline import resident
from elsa.report.timeline.asked import OF_KINDS, By, Key, rest_of
from elsa.report.timeline.coverage import Span
from elsa.report.timeline.usage import Names

_OF_PROCESSES = (
    "memory is the sum of what was resident at readings of living processes: shared pages"
    " count once for each process, and processes that lived between two readings are not"
    " in it"
)
_TOGETHER = (
    "memory is that of all processes of the job together, as read from time to time{}; between two"
    " readings it may have been more"
)
_BY_PSS = ": shared pages count once"
_BY_RSS = ": shared pages count once for each process"
_READINGS = """select m.read_at_ns, m.memory_kib, m.memory_by from job_memory_reading as m
    where m.job_id = :job
    union all
    select j.closed_at_ns, 0, null from job as j where j.id = :job and j.closed_at_ns is not null
    order by 1"""


class Memory(NamedTuple):
    """What is known of the memory in a window."""

    series: dict[Key, list[int | None]]
    """In KiB, by step: the most in it that was read."""
    word: str | None = None
    """What these figures are, for a note."""


def _keyed(named: Names, lives: list[resident.Lifetime]) -> list[resident.Lifetime]:
    return [life._replace(key=named(life.key)) for life in lives]


def memory_of(
    connection: sqlite3.Connection,
    by: By,
    selection: Selection,
    laid: list[Period],
    runs: list[Span],
) -> Memory:
    """The memory of each series: of a whole job as it was read together, where it was; otherwise
    the resident memory of its processes.
    """
    ends = [run.until_ns for run in runs]

    def is_known(at_ns: int) -> bool:
        place = bisect_right(ends, at_ns)
        return not runs or (place < len(runs) and runs[place].since_ns <= at_ns)

    if selection.job is not None and not selection.choices and not by.keys:
        together = _together(connection, selection.job, laid, is_known)
        if together is not None:
            return together
    series = _of_processes(connection, by, selection, laid, is_known)
    return Memory(series, _OF_PROCESSES if any(map(any, series.values())) else None)


def _together(
    connection: sqlite3.Connection,
    job: int,
    laid: list[Period],
    is_known: Callable[[int], bool],
) -> Memory | None:
    """The memory of all members of a job together; None if it was never read."""
    found = connection.execute(_READINGS, {"job": job}).fetchall()
    how = {by for _, _, by in found if by is not None}
    if not how:
        return None
    times = [at_ns for at_ns, _, _ in found]
    values: list[int | None] = []
    for step in laid:
        first, last = bisect_right(times, step.since_ns), bisect_left(times, step.until_ns)
        read = [kib for at_ns, kib, _ in found[first:last] if is_known(at_ns)]
        if first and is_known(step.since_ns):
            read.append(found[first - 1][1])  # as the step begins
        values.append(max(read, default=None))
    if len(how) > 1:
        return Memory({(): values}, _TOGETHER.format(""))
    return Memory({(): values}, _TOGETHER.format(_BY_PSS if how == {"pss"} else _BY_RSS))


def _of_processes(
    connection: sqlite3.Connection,
    by: By,
    selection: Selection,
    laid: list[Period],
    is_known: Callable[[int], bool],
) -> dict[Key, list[int | None]]:
    """Resident memory by key and step."""
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
