"""The queries of a timeline: what was used within each step, and what across steps."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import NamedTuple

from elsa.measures import MEASURES
from elsa.report.query import periods, rollup_source, steps
from elsa.report.query.periods import Period
from elsa.report.query.process_rows import members, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, listed, select
from elsa.report.query.times import Window
from elsa.report.render.writer import Row
from elsa.report.timeline.asked import ALL, KINDS, OF_KINDS, Asked, By, Key, by_of
from elsa.report.timeline.window import hours_of, length_of
from elsa.store import aggregates
from elsa.store.sums import summed
from elsa.units import HOUR_NS

SUMMED = ("user_s", "system_s", "read_bytes", "write_bytes", "processes")


USER, SYSTEM, READ, WRITE, PROCESSES = range(len(SUMMED))


class Part(NamedTuple):
    """Which part of the usage is asked for: of a key, within a step or across steps."""

    key: Key
    step_ns: int
    since_ns: int | None
    """When it started to be used; None: in the step."""
    until_ns: int | None
    """The last nanosecond in which it was used."""
    was_read: int | None
    """1: what was used after a reading; 0: there was none; None: in an interval."""


Sums = list[int | None]
"""In the order of SUMMED; None where nothing is known."""


class Prepared(NamedTuple):
    """What a timeline asks the warehouse."""

    laid: list[Period]
    length_s: int
    by: By
    rollup: str | None
    """The hourly sums that the figures are from, if any."""
    whole: Question
    jobs: Question | None = None
    """What was used in automatic jobs; the rest of the whole is in none."""

    def queries(self) -> list[Query]:
        """All queries."""
        return [self.whole.query(), *([self.jobs.query()] if self.jobs else [])]


def prepared(connection: sqlite3.Connection, selection: Selection, asked: Asked) -> Prepared:
    """The queries to run. In hourly sums each part counts where it ends; otherwise also those are
    asked for that end after the window.
    """
    length_s = length_of(connection, selection, asked)
    laid = steps.lay(selection.window, length_s)
    by = by_of(asked, selection)
    whole_hours = periods.are_whole_hours(laid) and length_s >= steps.HOUR_S
    if not (by.of_jobs and selection.jobs is None):
        rollup = _rollup(by, selection) if whole_hours else None
        asked_of = selection if rollup else _with_later(connection, selection)
        return Prepared(laid, length_s, by, rollup, _of_processes(by, rollup, asked_of, laid))
    rolled = whole_hours and not selection.choices
    rollup = _rollup(ALL, selection) if rolled else None
    asked_of = selection if rolled else _with_later(connection, selection)
    whole = _of_processes(ALL, rollup, asked_of, laid)
    jobs = _of_automatic_jobs(by, asked_of, laid, rolled=rolled)
    return Prepared(laid, length_s, by, rollup, whole, jobs)


# A remainder over a longer time counts at its end.
LONGEST_NS = HOUR_NS


def _with_later(connection: sqlite3.Connection, selection: Selection) -> Selection:
    """The selection with the parts that end after its window, and started in it or before."""
    since, until = steps.bounds(selection.window)
    # By the clock of each reading; few readings are newer than a window, so all may be read.
    (last,) = connection.execute(
        "select max(r.until_ns + c.offset_ns) from usage_reading as r join clock as c on c.id ="
        " r.clock_id where r.hour >= ? and r.since_ns + c.offset_ns < ?",
        (until // HOUR_NS, until),
    ).fetchone()
    return replace(
        selection,
        window=Window(since, max(until + LONGEST_NS, last or 0)),
        choices=(
            *selection.choices,
            Condition(f"(u.out_ns < {until} or u.used_ns < {until})"),
        ),
    )


def _of_processes(by: By, rollup: str | None, selection: Selection, laid: list[Period]) -> Question:
    """What the selected processes used, by hourly sums where there are any."""
    wanted = _wanted(by, rollup)
    if rollup is None:
        return _parts(by, None, rows(selection, wanted, used=True), laid)
    jobs = None if selection.jobs is None else listed(selection.jobs)
    source = rollup_source.source(rollup, selection.window, wanted, *selection.choices, jobs=jobs)
    return _parts(by, rollup, source, laid)


def _rollup(by: By, selection: Selection) -> str | None:
    """The hourly sums that have what is asked for, if any."""
    if selection.job is not None and (by.of_jobs or not by.keys) and not selection.choices:
        return "rollup_job"
    tables = (by.rollup,) if by.keys else (rollup_source.ALL, "rollup_user", "rollup_command")
    suiting = (table for table in tables if rollup_source.suits(table, selection))
    return next(suiting, None)


def _of_automatic_jobs(
    by: By, selection: Selection, laid: list[Period], *, rolled: bool
) -> Question:
    """What was used in automatic jobs, of each of which a process is a member at another time."""
    since, until = steps.bounds(selection.window)
    jobs = (
        f"select j.id from job as j where j.kind in ({KINDS}) and j.created_at_ns < {until} and"
        f" (j.closed_at_ns is null or j.closed_at_ns >= {since} or j.close_reason = 'disabled')"
    )
    if rolled:
        wanted = _wanted(by, by.rollup)
        source = rollup_source.source(by.rollup, selection.window, wanted, OF_KINDS)
        return _parts(by, by.rollup, source, laid)
    wanted = _wanted(by, None)
    hours = f"select value from json_each('{hours_of(selection.window)}')"
    source = members(
        jobs,
        wanted,
        *(Condition(text) for text in selection.window.where("u.out_ns")),
        *selection.choices,
        hours=hours,
        ended=f"select p.id from process as p where p.ended_hour in ({hours})",
    )
    return _parts(by, None, source, laid)


def _sums(rollup: str | None) -> dict[str, aggregates.Aggregate]:
    """What is added up, over processes or over a rollup."""
    measures = [MEASURES[name] for name in SUMMED]
    if rollup is None:
        return {measure.name: aggregates.over_rows(measure) for measure in measures}
    return {
        measure.name: aggregates.over_parts(measure, f"u.{measure.rolled}") for measure in measures
    }


# When the usage of a row `u` started. That of an interval is not older than the process, or its
# entry into a job or leave of it before.
_USED_SINCE = """coalesce(max(u.used_ns, u.out_ns + 1 - u.read_ns + (
        select max(p.start_ns, coalesce((
            select max(f.edge_ns) from usage_so_far as f
            where f.process_id = p.id and f.edge_ns < u.read_ns), 0))
        from process as p where p.id = u.whose_id)), u.used_ns)"""


def _wanted(by: By, rollup: str | None) -> list[str]:
    """The expressions that the rows need columns for."""
    times = [] if rollup else [_USED_SINCE, "u.was_read"]
    return [*by.keys, *times, *(sum_.text for sum_ in _sums(rollup).values())]


class Question(NamedTuple):
    """A query for parts."""

    keys: dict[str, str]
    """The columns of Part after the key, then the ids of the key."""
    sums: dict[str, aggregates.Aggregate]
    source: Query
    """From its `from` on."""

    def query(self) -> Query:
        """The query as one statement."""
        sums = {name: sum_.sql for name, sum_ in self.sums.items()}
        return Query(f"{select(self.keys | sums)}\n{self.source.sql}", self.source.values)

    def run(self, connection: sqlite3.Connection) -> list[Row]:
        """The rows: keys, then sums."""
        source = self.source
        return summed(connection, [*self.keys.values()], self.sums, source.sql, source.values)


def _parts(by: By, rollup: str | None, source: Query, laid: list[Period]) -> Question:
    """One row for what was used within a step, and one for each time across steps."""
    if rollup is None:
        step_ns = steps.start_of(laid, "u.out_ns")
        across = f"iif(u.used_ns < {step_ns}, {{}}, null)"
    else:
        step_ns = steps.start_of(laid, f"u.ended_hour * {HOUR_NS}")
        across = "null"
    keys = {
        "step_ns": step_ns,
        **{
            name: across.format(column)
            for name, column in (
                ("since_ns", _USED_SINCE),
                ("until_ns", "u.out_ns"),
                ("was_read", "u.was_read"),
            )
        },
        **{f"id_{number}": key for number, key in enumerate(by.keys, start=1)},
    }
    grouped = ", ".join(str(number) for number in range(1, len(keys) + 1))
    return Question(keys, _sums(rollup), Query(f"{source.sql}\ngroup by {grouped}", source.values))
