"""A timeline as rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from elsa.report import completeness, exactness
from elsa.report.query.selection import Selection
from elsa.report.render import envelope
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.report.timeline.asked import Asked, by_of
from elsa.report.timeline.figures import Timeline, sum_known, timeline

_FIRST = ("since_at", "until_at")


_FIGURES = (
    *("cpus", "resident_kib", "read_bytes_s", "write_bytes_s"),
    *("processes", "user_s", "system_s", "cpu_s", "read_bytes", "write_bytes", "silent_s"),
)


_SHOWN = ("since_at", "cpus", "resident_kib", "read_bytes_s", "write_bytes_s", "processes", "cpu_s")


def columns(selection: Selection, asked: Asked) -> tuple[str, ...]:
    """The columns that the rows have."""
    by = by_of(asked, selection)
    return (*_FIRST, *by.columns, *(["rank"] if asked.by else []), *_FIGURES)


class Made(NamedTuple):
    """The rows, and what they are drawn from."""

    report: Report
    timeline: Timeline


def report(
    connection: sqlite3.Connection,
    selection: Selection,
    asked: Asked,
    output: Output,
    *,
    memory: bool | None = None,
) -> Made:
    """The rows of a timeline, in the order of time, and all that a drawing needs; `memory` says
    whether it is wanted, otherwise the columns do.
    """
    has = columns(selection, asked)
    by = by_of(asked, selection)
    shown = output.choose(has, (_SHOWN[0], *by.columns, *_SHOWN[1:]))
    wanted = "resident_kib" in shown if memory is None else memory
    found = timeline(connection, selection, asked, memory=wanted)
    made = output.ordered(has, list(_rows(found, asked.by is not None)))
    words = [
        *completeness.words(connection, selection, rollup=found.rollup),
        *found.words,
    ]
    if found.rollup not in (None, "rollup_job"):
        # Hourly sums of all have it so.
        words += exactness.unread(connection, selection.window, hint="")
    words += completeness.cut(len(made), output.limit)
    newest = output.sort is None and output.limit is not None
    made = made[-(output.limit or 0) :] if newest else made[: output.limit]
    of_rows = Report(
        has,
        shown,
        made,
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=partial(completeness.facts, connection, selection, found.rollup),
    )
    return Made(of_rows, found)


def _rows(found: Timeline, ranked: bool) -> Iterator[Row]:
    for place, (step, silent_ns) in enumerate(zip(found.steps, found.silent_ns, strict=True)):
        seconds = (step.until_ns - step.since_ns) / 1e9
        for series in found.series:
            user, system, read, write, processes = series.sums[place]
            cpu = sum_known((user, system))
            yield (
                envelope.time(step.since_ns),
                envelope.time(step.until_ns),
                *series.key,
                *([series.rank] if ranked else []),
                None if cpu is None else cpu / 1e9 / seconds,
                series.memory[place],
                None if read is None else read / seconds,
                None if write is None else write / seconds,
                processes,
                *(None if value is None else value / 1e9 for value in (user, system, cpu)),
                read,
                write,
                silent_ns / 1e9,
            )
