"""Processes that lived at a moment or in a window, and what they used there, against plain Python
over the same lifetimes and readings.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.report import moment, processes, usage
from elsa.report.query import warehouse
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from tests.support import given as rows
from tests.support.given import REAL, SECOND

MINUTE = 60
MINUTES = 6
SPAN = MINUTES * MINUTE
TIMES = st.integers(0, 4 * SPAN).map(lambda quarter: quarter / 4)


class Life(NamedTuple):
    """One process: seconds of the boot, what it used by each reading while it lived, and in all."""

    start: float
    end: float | None
    by_reading: tuple[int, ...]
    """Microseconds of CPU time up to the end of each minute."""
    total: int
    recorded: bool
    """Only its accounting record is known."""

    def lived(self, since: float, until: float) -> bool:
        """Whether it lived at some time between two times."""
        return self.start < until and (self.end is None or self.end >= since)

    def read(self, minute: int) -> bool:
        """Whether jobd read it at the end of a minute."""
        at = minute * MINUTE
        return not self.recorded and self.start < at and (self.end is None or at <= self.end)

    def used(self, since: float, until: float) -> int | None:
        """What it used in whole minutes, each part when it was used; None: nobody knows."""
        known, used, before = False, 0, 0
        for minute in range(1, MINUTES + 1):
            if not self.read(minute):
                continue
            if since < minute * MINUTE <= until:
                known = True
                used += self.by_reading[minute - 1] - before
            before = self.by_reading[minute - 1]
        if self.end is not None and since <= self.end < until:
            return used + self.total - before
        return used if known else None


@st.composite
def lives(draw: st.DrawFn) -> Life:
    start = draw(TIMES)
    length = draw(st.none() | st.sampled_from((0, 0.25, 5, 30, 60)) | TIMES)
    steps = draw(st.lists(st.integers(0, 3) | st.just(10**6), min_size=7, max_size=7))
    # Whatever was read has used something.
    sums = [1 + sum(steps[: place + 1]) for place in range(len(steps))]
    recorded = length is not None and draw(st.integers(0, 4)) == 0
    end = None if length is None else start + length
    return Life(start, end, tuple(sums[:MINUTES]), sums[-1], recorded)


@contextmanager
def stored(template: Path, found: list[Life]) -> Iterator[sqlite3.Connection]:
    """A warehouse with these processes, read at the end of every minute, and in a job."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        for name in ("user_name", "group_name"):
            connection.create_function(name, 1, warehouse.user_name)
        made = rows.Warehouse(connection)
        made.insert("collector", id=1, boot_id=1)
        made.process(1000, start=0, seconds=None, comm="idle")
        made.job(1, "build")
        made.job(2, "night")
        made.job(3, "cron", kind="cron")
        for number, life in enumerate(found, 1):
            seconds = None if life.end is None else life.end - life.start
            more: dict[str, int] = {"origin": 3} if life.recorded else {}
            if job_of(number) == 3:
                more["inherited_job_id"] = 3
            made.process(number, start=life.start, seconds=seconds, comm=f"c{number % 3}", **more)
            if life.recorded:
                made.acct(number, number, join=4, utime=life.total // 10_000)
            elif life.end is not None:
                made.usage(number, run_ns=life.total * 1000, utime_us=life.total, stime_us=0)
            job_id = job_of(number)
            if job_id in (1, 2):
                made.stay(job_id, number)
        made.interval(1000, until=0.001, run_ns=1000, utime_us=1, stime_us=0)
        for minute in range(1, MINUTES + 1):
            living = {
                number: counted(life.by_reading[minute - 1])
                for number, life in enumerate(found, 1)
                if life.read(minute)
            }
            # Something runs in every minute.
            living[1000] = counted(minute + 1)
            made.reading(minute * MINUTE, living)
        yield connection


def job_of(number: int) -> int | None:
    """The job of a process: of some an automatic job that they inherited."""
    if number % 2:
        return 1 + number % 3 // 2
    return 3 if number % 4 == 0 else None


def counted(us: int) -> dict[str, int]:
    return {"run_ns": us * 1000, "utime_us": us, "stime_us": 0}


def window(since: float, until: float) -> Window:
    return Window(REAL + int(since * SECOND), REAL + int(until * SECOND))


def asked(report: Report) -> list[dict[str, Any]]:
    """The rows, without the process that runs always."""
    found = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
    return [row for row in found if row.get("process_id") != 1000]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lives(), max_size=8), TIMES, st.sampled_from((None, (1,), (1, 2), (3,), (1, 3))))
def test_those_alive_at_a_moment_are_those_that_had_started_and_had_not_ended(
    template: Path, found: list[Life], at: float, jobs: tuple[int, ...] | None
) -> None:
    start = REAL + int(at * SECOND)
    selection = Selection(Window(start, start + 1), jobs=jobs, alive=True)
    with stored(template, found) as connection:
        report = processes.processes(connection, processes.PROCESSES, selection, Output("json"))
        got = {row["process_id"] for row in asked(report)}
    assert got == {
        number
        for number, life in enumerate(found, 1)
        if life.lived(at, at + 1e-9) and (jobs is None or job_of(number) in jobs)
    }


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lives(), max_size=8), st.integers(0, MINUTES - 1), st.integers(1, MINUTES))
def test_those_alive_in_a_window_have_what_they_used_there_and_add_up_to_the_window(
    template: Path, found: list[Life], first: int, minutes: int
) -> None:
    since, until = first * MINUTE, min(first + minutes, MINUTES) * MINUTE
    selection = Selection(window(since, until), alive=True)
    with stored(template, found) as connection:
        report = processes.processes(connection, processes.LAST, selection, Output("json"))
        got = {row["process_id"]: row["cpu_s"] for row in asked(report)}
        expected = {
            number: life.used(since, until)
            for number, life in enumerate(found, 1)
            if life.lived(since, until)
        }
        whole = usage.usage(
            connection, usage.USERS, Selection(selection.window), Output("json"), everything=True
        )
        total = sum(row["cpu_s"] or 0 for row in asked(whole))
    assert got.keys() == expected.keys()
    for number, used in expected.items():
        if used is None:
            assert got[number] is None
        elif found[number - 1].recorded:
            assert got[number] == used // 10_000 / 100
        else:
            assert got[number] == used / 1e6
    # The process that runs always used a microsecond a minute, and one before.
    others_us = (until - since) // MINUTE + (since == 0)
    assert round(total * 1e6) == round(sum(value or 0 for value in got.values()) * 1e6) + others_us


def rows_at(connection: sqlite3.Connection, at: float, by: str) -> list[dict[str, Any]]:
    start = REAL + int(at * SECOND)
    then, selection = moment.moment(connection, Selection(Window(start, start + 1)))
    return asked(moment.report(connection, then, by, selection, Output("json")))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lives(), max_size=8), st.integers(4, 4 * SPAN - 1).map(lambda quarter: quarter / 4))
def test_moment_shows_what_all_used_in_its_interval_and_the_rates_of_those_that_lived_then(
    template: Path, found: list[Life], at: float
) -> None:
    minute = at // MINUTE * MINUTE
    # The first reading was just after the boot.
    since, until = max(minute, 0.001), minute + MINUTE
    with stored(template, found) as connection:
        got = {row["process_id"]: row for row in rows_at(connection, at, "process")}
        assert got.keys() == {
            number for number, life in enumerate(found, 1) if life.lived(since, until)
        }
        for number, row in got.items():
            life = found[number - 1]
            begun, ended = (
                max(life.start, since),
                min(until if life.end is None else life.end, until),
            )
            if life.recorded:
                assert life.end is not None
                length = life.end - life.start
                share = (ended - begun) / length if length else 1
                used_s = life.total // 10_000 / 100 * share
                assert row["estimated_s"] == (pytest.approx(used_s) if 0 < share < 1 else 0)
            else:
                used_s = (life.used(minute, until) or 0) / 1e6
                assert row["estimated_s"] == 0
            assert row["cpu_s"] == pytest.approx(used_s, abs=1e-9)
            alive = life.lived(at, at + 1e-9)
            assert row["alive"] == alive
            rate = pytest.approx(used_s / (ended - begun)) if ended > begun else None
            assert row["cpus"] == (rate if alive else None)
        # Rounded parts would not add up to the rounded sum: some are shares of a record.
        total_s = sum(row["cpu_s"] for row in got.values())
        for by in ("command", "job", "user"):
            # The process that runs always is in these too, with its microsecond.
            sums = rows_at(connection, at, by)
            assert sum(row["active"] for row in sums) == len(got) + 1
            assert sum(row["cpu_s"] for row in sums) == pytest.approx(total_s + 1e-6, abs=1e-8)
        if not any(life.recorded for life in found):
            chosen = Selection(window(minute, until))
            hours = usage.usage(connection, usage.USERS, chosen, Output("json"), everything=True)
            before = 1 if minute == 0 else 0  # the first reading
            used_s = sum(row["cpu_s"] or 0 for row in asked(hours))
            assert used_s == pytest.approx(total_s + (1 + before) / 1e6, abs=1e-8)
