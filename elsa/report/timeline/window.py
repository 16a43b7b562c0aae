"""The window of a timeline, where it is not given whole, and the length of its steps."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from elsa.errors import UsageError
from elsa.report.query import rollup_source, steps
from elsa.report.query.selection import Selection
from elsa.report.query.statement import listed
from elsa.report.query.times import Window
from elsa.report.timeline.asked import Asked
from elsa.units import HOUR_NS, SECOND_NS

DEFAULT_NS = 24 * HOUR_NS
"""The window of the whole host, unless another is asked for."""


# While jobd runs, its newest reading of all processes is not older than this.
_READING_NS = 10 * 60 * SECOND_NS


# If more processes ended in a window, steps of less than an hour have to be asked for: the hourly
# sums are read much sooner.
_MOST_PROCESSES = 200_000


def with_window(
    connection: sqlite3.Connection, selection: Selection, asked: Asked, now_ns: int, *, whole: bool
) -> Selection:
    """The selection with a window that has both ends. By default it is the last day, or with
    `whole` the time of the jobs.
    """
    since, until = selection.window
    if since is not None and until is not None:
        return selection
    if whole and selection.jobs is not None:
        first, last = _time_of_jobs(connection, selection.jobs)
        since = first if since is None else since
        until = last if until is None else until
    if until is None:
        until = _latest_reading(connection, now_ns)
        until = now_ns if until is None or (since is not None and until <= since) else until
    if since is None:
        since = until - DEFAULT_NS
        length_s = asked.step_s or steps.fitting(Window(since, until), asked.most)
        since = steps.floor(since, length_s)
    if since >= until:
        raise UsageError("this window has not started yet; give an earlier --since")
    return replace(selection, window=Window(since, until))


def _time_of_jobs(
    connection: sqlite3.Connection, jobs: tuple[int, ...]
) -> tuple[int | None, int | None]:
    """From the first start of their processes to the last end, in whole seconds; None where that is
    not known.
    """
    first, last, running = connection.execute(
        "select min(u.started_ns), max(u.ended_ns), sum(u.running)"
        f" from {rollup_source.job_usage(listed(jobs))} as u"
    ).fetchone()
    since = None if first is None else first // SECOND_NS * SECOND_NS
    return since, None if running or last is None else (last // SECOND_NS + 1) * SECOND_NS


def _latest_reading(connection: sqlite3.Connection, now_ns: int) -> int | None:
    """When all processes were read last; None if jobd does not run now. What was used later is not
    known yet of those that live.
    """
    row = connection.execute(
        "select r.until_ns + c.offset_ns from usage_reading as r join clock as c on c.id ="
        " r.clock_id where r.of_all = 1 order by r.id desc limit 1"
    ).fetchone()
    return row[0] if row and 0 <= now_ns - row[0] <= _READING_NS else None


def length_of(connection: sqlite3.Connection, selection: Selection, asked: Asked) -> int:
    """How many seconds a step has."""
    if asked.step_s is not None:
        return asked.step_s
    length_s = steps.fitting(selection.window, asked.most)
    if length_s >= steps.HOUR_S:
        return length_s
    hours = rollup_source.whole_hours(selection.window).where("u.hour")
    (processes,) = connection.execute(
        f"select sum(u.processes) from {rollup_source.by_hour(rollup_source.ALL)} as u"
        f" where {' and '.join(hours)}"
    ).fetchone()
    return steps.HOUR_S if (processes or 0) > _MOST_PROCESSES else length_s


def hours_of(window: Window) -> list[int]:
    """The hours that a window touches."""
    since, until = steps.bounds(window)
    return [*range(since // HOUR_NS, (until - 1) // HOUR_NS + 1)]
