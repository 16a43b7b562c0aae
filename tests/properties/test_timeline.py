"""The steps of a timeline add up to the window, whatever the window and the steps, if no part of
the usage crosses its edges; and each part is where it was used, by an addition in plain Python.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from elsa.measures import COUNTERS, MEASURES
from elsa.report.query import steps, warehouse
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.timeline.asked import Asked
from elsa.report.timeline.figures import timeline
from elsa.state.clock import Clock
from elsa.state.intervals import reading
from elsa.store import aggregates, intervals
from elsa.units import HOUR_NS, SECOND_NS
from tests.support import given as made

# 2026-10-24T12:00Z: the day before the one of 25 hours in Berlin.
BOOT = 1_792_843_200 * SECOND_NS
HOURS = 30
SUMMED = ("user_s", "system_s", "read_bytes", "write_bytes", "processes")
moments = st.one_of(
    st.integers(0, HOURS * 3600).map(lambda s: s * SECOND_NS),
    st.integers(0, HOURS * 60).map(lambda m: m * 60 * SECOND_NS),
    st.integers(0, HOURS * HOUR_NS),
)


class Process(NamedTuple):
    """When it ran, ns since the boot, and how much it had used at each reading and at its end: CPU
    time in us, bytes read.
    """

    start: int
    end: int | None
    used: list[tuple[int, int]]
    uid: int
    in_job: bool

    def is_read(self, at: int) -> bool:
        """Whether a reading finds it alive."""
        return self.start < at and (self.end is None or at <= self.end)


class Part(NamedTuple):
    """What was used from one moment to the last nanosecond of a span, in real time."""

    uid: int
    since: int
    last: int
    cpu_us: int
    read_bytes: int


@st.composite
def processes(draw: st.DrawFn) -> Process:
    start = draw(moments)
    length = draw(st.one_of(st.none(), st.integers(0, 90 * SECOND_NS), st.integers(0, 9 * HOUR_NS)))
    amounts = st.tuples(st.integers(0, 10**7), st.integers(0, 10**9))
    more = draw(st.lists(st.just((0, 0)) | amounts, min_size=7, max_size=7))
    used, sums = [], (0, 0)
    for cpu_us, read in more:
        sums = (sums[0] + cpu_us, sums[1] + read)
        used.append(sums)
    end = None if length is None else start + length
    return Process(start, end, used, draw(st.integers(0, 2)), draw(st.booleans()))


def parts(found: list[Process], readings: list[int]) -> Iterator[tuple[Process, Part]]:
    """What each process used when, by the rules in words."""
    intervals = [(process, list(in_intervals(process, readings))) for process in found]
    # If a reading finds that no process has used anything, nothing is stored of it.
    known = {part.last + 1 - BOOT for _, own in intervals for part in own}
    for process, own in intervals:
        yield from ((process, part) for part in own)
        if process.end is not None:
            yield process, remainder(process, process.end, own, known)


def in_intervals(process: Process, readings: list[int]) -> Iterator[Part]:
    """What it used from one reading to the next."""
    before = (0, 0)
    for number, at in enumerate(readings):
        if process.is_read(at) and process.used[number] != before:
            cpu_us, read = process.used[number]
            first = max(process.start, readings[number - 1] if number else 0)
            yield Part(
                process.uid, BOOT + first, BOOT + at - 1, cpu_us - before[0], read - before[1]
            )
            before = (cpu_us, read)


def remainder(process: Process, end: int, own: list[Part], known: set[int]) -> Part:
    """What it used after the last reading that is known, of those that found it alive; in over an
    hour it counts at the end.
    """
    since = max(filter(process.is_read, known)) if own else process.start
    if end - since > HOUR_NS:
        since = end
    cpu_us, read = process.used[-1]
    cpu_us -= sum(part.cpu_us for part in own)
    read -= sum(part.read_bytes for part in own)
    return Part(process.uid, BOOT + since, BOOT + end, cpu_us, read)


def stored(template: Path, found: list[Process], readings: list[int]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with closing(sqlite3.connect(template)) as source:
        source.backup(connection)
    connection.create_function("user_name", 1, warehouse.user_name)
    given_rows = made.Warehouse(connection)
    connection.execute("update clock set offset_ns = ?", (BOOT,))
    given_rows.job(1)
    for id_, process in enumerate(found, start=1):
        more: dict[str, Any] = {"start_ns": process.start, "uid": process.uid}
        if process.end is not None:
            more |= {"elapsed_ns": process.end - process.start, "end_clock_id": 1, "end_source": 1}
        given_rows.process(id_, seconds=None, **more)
        if process.end is not None:
            given_rows.usage(id_, **counters(process.used[-1]))
        if process.in_job:
            given_rows.stay(1, id_)
    before: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for number, at in enumerate(readings):
        values = []
        for id_, process in enumerate(found, start=1):
            if process.is_read(at):
                now = process.used[number]
                used = (now[0] - before[id_][0], now[1] - before[id_][1])
                by_column = counters(used)
                sums = (by_column.get(measure.column, 0) for measure in COUNTERS)
                values.append((id_, None, None, 100 * id_, used[0], 0, *sums))
                before[id_] = now
        since = readings[number - 1] if number else 0
        made_reading = reading(Clock(1, 0, BOOT, 0), since, at, values)
        intervals.write(connection, [made_reading])
    return connection


def counters(used: tuple[int, int]) -> dict[str, int]:
    cpu_us, read = used
    return {"run_ns": 1000 * cpu_us, "utime_us": cpu_us, "stime_us": 0, "read_bytes": read}


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def whole(connection: sqlite3.Connection, selection: Selection) -> list[int]:
    """What window reports count, in integers."""
    sums = [aggregates.over_rows(MEASURES[name]).sql for name in SUMMED]
    source = rows(selection, sums, used=True)
    (row,) = connection.execute(f"select {', '.join(sums)} {source.sql}", source.values)
    return [value or 0 for value in row]


# It has used nothing new at the second reading, and no other process is read.
IDLE_AT_SECOND = Process(0, None, [(0, 1)] * 6 + [(1, 1)], uid=0, in_job=False)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    found=st.lists(processes(), min_size=1, max_size=5),
    readings=st.lists(moments.filter(bool), max_size=6, unique=True).map(sorted),
    bounds=st.lists(moments, min_size=2, max_size=2, unique=True).map(sorted),
    length_s=st.sampled_from([length_s for length_s in steps.LENGTHS_S if length_s >= 300]),
    by=st.sampled_from((None, "user", "command", "kind", "job")),
    of_job=st.booleans(),
)
@example(
    found=[IDLE_AT_SECOND._replace(end=SECOND_NS)],
    readings=[1, SECOND_NS],
    bounds=[0, SECOND_NS],
    length_s=300,
    by=None,
    of_job=False,
)
@example(
    found=[IDLE_AT_SECOND._replace(end=2_005_025_125)],
    readings=[1, SECOND_NS],
    bounds=[0, 2 * SECOND_NS],
    length_s=300,
    by=None,
    of_job=False,
)
# The reading of an hour's end is of the hour before.
@example(
    found=[
        Process(0, 2 * HOUR_NS, [(0, 1)] * 6 + [(10**6, 1)], uid=0, in_job=False),
        Process(0, None, [(0, 1)] + [(0, 2)] * 6, uid=0, in_job=False),
    ],
    readings=[HOUR_NS // 2, HOUR_NS],
    bounds=[2 * HOUR_NS, 3 * HOUR_NS],
    length_s=300,
    by=None,
    of_job=False,
)
# There are no hourly sums of the users of a job.
@example(
    found=[Process(0, None, [(2, 0)] * 7, uid=0, in_job=True)],
    readings=[HOUR_NS],
    bounds=[0, HOUR_NS // 2],
    length_s=3600,
    by="user",
    of_job=True,
)
def test_steps_add_up_to_the_window_and_parts_count_when_they_were_used(
    template: Path,
    found: list[Process],
    readings: list[int],
    bounds: list[int],
    length_s: int,
    by: str | None,
    of_job: bool,
) -> None:
    bounds_ns = [BOOT + bound for bound in bounds]
    window = Window(*bounds_ns)
    selection = Selection(window, jobs=(1,) if of_job else None)
    asked = Asked(by, step_s=length_s, top=2)
    with closing(stored(template, found, readings)) as connection:
        result = timeline(connection, selection, asked, memory=True)
        total = whole(connection, selection)
    places = range(len(SUMMED))
    sums = [sum(one.total(place) or 0 for one in result.series) for place in places]

    # steps are without holes and overlaps
    starts = [step.since_ns for step in result.steps]
    assert (starts[0], result.steps[-1].until_ns) == window
    assert starts[1:] == [step.until_ns for step in result.steps[:-1]]

    every = [part for one, part in parts(found, readings) if one.in_job or not of_job]
    counted = [part for part in every if window[0] <= part.last < window[1]]
    assert sum(part.cpu_us * 1000 for part in counted) == total[0]
    whole_hours = length_s >= 3600 and all(start % HOUR_NS == 0 for start in starts)
    by_whole_hours = whole_hours and not (of_job and by in ("user", "command"))
    crossing = not by_whole_hours and any(
        part.since < edge <= part.last for part in every for edge in bounds_ns
    )
    if not crossing:
        assert sums == total
    assert sums[-1] == total[-1]
    for number, step in enumerate(result.steps):
        cpu_us = Fraction(0)
        for part in every:
            since, end = part.since, part.last + 1
            if by_whole_hours:  # sums of hours: each part counts at its end
                since = part.last
                if part not in counted:
                    continue
            inside = max(min(end, step.until_ns) - max(since, step.since_ns), 0)
            cpu_us += Fraction(part.cpu_us * inside, end - since)
        shown = sum(one.sums[number][0] or 0 for one in result.series)
        assert abs(shown - 1000 * cpu_us) <= len(every)

    if by == "user" and not crossing:
        for one in result.series:
            if one.rank is not None and one.key[0] is not None:
                uid = int(one.key[0]) if one.key[0].isdigit() else USERS[one.key[0]]
                assert one.total(0) == sum(
                    part.cpu_us * 1000 for part in counted if part.uid == uid
                )


USERS = {warehouse.user_name(uid) or "": uid for uid in range(3)}
