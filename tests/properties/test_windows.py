"""Windows add up: hours, days and months to each other, to users and to the job, against an
addition in plain Python over the raw rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.report import usage
from elsa.report.query import periods, warehouse
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Row
from tests.support import given as rows

SECOND = 10**9
# 2026-10-24T12:00Z: the day before the one of 25 hours in Berlin.
BOOT = 1_792_843_200 * SECOND
HOURS = 60
SUMMED = ("run_ns", "read_bytes", "minor_faults", "major_faults")
BY = (usage.HOURS, usage.DAYS, usage.MONTHS)


class Candidate(NamedTuple):
    """One process: when it began and ended (ns since the boot), what it used, and its stay in the
    job.
    """

    start: int
    end: int | None
    used: tuple[int, ...]
    since: int | None
    """When it was put into the job; None: at birth."""
    until: int | None
    """When it was taken out; None: at its end."""

    def parts(self, *, of_job: bool) -> Iterator[tuple[int | None, int, int, tuple[int, ...]]]:
        """From when to when, in real time, it used what: nothing lasts up to a reading, since it
        counts in the last nanosecond before. Also since when the process, or member, was there,
        if it ended then.
        """
        readings = [(self.since, self.at_in()), (self.until, self.at_out())]
        begun, before = self.start, (0,) * len(SUMMED)
        came = self.since if of_job and self.since is not None else self.start
        for ns, used in readings:
            if ns is not None:
                member = (self.since or 0) < ns and (self.until is None or ns <= self.until)
                if member or not of_job:
                    yield None, BOOT + ns - 1, BOOT + ns - 1, less(used, before)
                begun, before = ns, used
        if self.end is not None and not (of_job and self.until is not None):
            yield BOOT + came, BOOT + begun, BOOT + self.end, less(self.used, before)
        elif of_job and self.until is not None:
            yield BOOT + came, BOOT + self.until, BOOT + self.until, (0,) * len(SUMMED)

    def lived(self, first: int, after: int, *, of_job: bool) -> bool:
        """Whether it lived, or was a member, at some time between two real times."""
        came = BOOT + (self.since if of_job and self.since is not None else self.start)
        end = self.until if of_job and self.until is not None else self.end
        return first < after and came < after and (end is None or BOOT + end >= first)

    def at_in(self) -> tuple[int, ...]:
        """Its counters when it was put into the job."""
        return whole_us(value // 4 for value in self.used)

    def at_out(self) -> tuple[int, ...]:
        """Its counters when it was taken out."""
        return whole_us(value // 2 for value in self.used)


def whole_us(used: Iterable[int]) -> tuple[int, ...]:
    """With whole microseconds on a CPU, as intervals have them."""
    run_ns, *others = used
    return run_ns // 1000 * 1000, *others


def less(used: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(used, before, strict=True))


@st.composite
def lives(draw: st.DrawFn) -> Candidate:
    start = draw(st.integers(0, HOURS * 3600 * SECOND))
    length = draw(
        st.one_of(st.none(), st.integers(0, 2 * SECOND), st.integers(0, 40 * 3600 * SECOND))
    )
    end = None if length is None else start + length
    used = tuple(draw(st.integers(0, 10**6)) for _ in SUMMED)
    edges = (
        sorted(
            draw(st.lists(st.integers(start + 1, end or start + 10**14), min_size=2, max_size=2))
        )
        if length != 0
        else [0, 0]
    )
    late, early = (draw(st.booleans()) and length != 0 for _ in range(2))
    return Candidate(start, end, used, edges[0] if late else None, edges[1] if early else None)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def stored(template: Path, found: list[Candidate]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with closing(sqlite3.connect(template)) as source:
        source.backup(connection)
    connection.create_function("user_name", 1, warehouse.user_name)
    made = rows.Warehouse(connection)
    connection.execute("update clock set offset_ns = ?", (BOOT,))
    made.job(1)
    for number, life in enumerate(found, start=1):
        more: dict[str, Any] = (
            {}
            if life.end is None
            else {"elapsed_ns": life.end - life.start, "end_clock_id": 1, "end_source": 1}
        )
        made.process(number, seconds=None, uid=number % 3, **(more | {"start_ns": life.start}))
        if life.end is not None:
            made.usage(number, **counters(life.used))
        stay = {"job_id": 1, "process_id": number, "since_ns": life.since or 0}
        made.insert("membership", **stay, until_ns=life.until, how=1)
        for edge_ns, used in ((life.since, life.at_in()), (life.until, life.at_out())):
            if edge_ns is not None:
                made.read(number, at_ns=edge_ns, **counters(used))
    return connection


def counters(used: tuple[int, ...]) -> dict[str, int]:
    return {
        {"minor_faults": "minflt", "major_faults": "majflt"}.get(key, key): value
        for key, value in zip(SUMMED, used, strict=True)
    } | {"utime_us": 0, "stime_us": 0}


def label(by: usage.By, ns: int) -> str:
    """Which hour, day or month of the local clock a moment is in."""
    local = datetime.fromtimestamp(ns // SECOND).astimezone()
    if by.period == periods.HOUR:
        return local.replace(minute=0, second=0).isoformat(timespec="minutes")
    return f"{local:%Y-%m-%d}" if by.period == periods.DAY else f"{local:%Y-%m}"


def asked(
    connection: sqlite3.Connection,
    by: usage.By,
    selection: Selection,
    columns: str | None = None,
) -> dict[str, dict[str, Any]]:
    output = Output("json", columns)
    report = usage.usage(connection, by, selection, output, everything=True)
    found: list[Row] = list(report.rows)
    return {row[0]: dict(zip(report.columns, row, strict=True)) for row in found}


def total(found: dict[str, dict[str, Any]], key: str) -> int:
    return sum(row[key] or 0 for row in found.values())


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lives(), max_size=12), st.booleans())
def test_periods_by_end_are_what_plain_python_adds_up_and_sum_to_the_whole_exactly(
    template: Path, found: list[Candidate], of_job: bool
) -> None:
    selection = Selection(jobs=(1,) if of_job else None)
    with closing(stored(template, found)) as connection:
        users = asked(connection, usage.USERS, selection)
        for by in BY:
            expected: dict[str, list[int]] = defaultdict(lambda: [0] * len(SUMMED))
            for life in found:
                for *_, at, used in life.parts(of_job=of_job):
                    name = label(by, at)
                    expected[name] = [a + b for a, b in zip(expected[name], used, strict=True)]
            got = asked(connection, by, selection)
            figures = {name: [row[key] or 0 for key in SUMMED] for name, row in got.items()}
            assert {name: row for name, row in figures.items() if any(row)} == {
                name: row for name, row in expected.items() if any(row)
            }
            assert list(got) == sorted(
                got,
                key=lambda name: datetime.fromisoformat(
                    name if len(name) > 7 else f"{name}-01"
                ).timestamp(),
            )
            for key in SUMMED:
                assert total(got, key) == total(users, key)
            for key in ("cpu_s", "user_s", "elapsed_s"):
                assert sum(round((row[key] or 0) * 1e9) for row in got.values()) == sum(
                    round((row[key] or 0) * 1e9) for row in users.values()
                )


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lives(), max_size=12), st.integers(0, HOURS), st.integers(1, HOURS), st.booleans())
def test_clipped_periods_are_the_parts_of_each_life_in_them_and_sum_to_the_whole_within_rounding(
    template: Path, found: list[Candidate], since: int, hours: int, of_job: bool
) -> None:  # fmt: skip
    window = Window(BOOT + since * 3600 * SECOND, BOOT + (since + hours) * 3600 * SECOND)
    assert window.since is not None
    assert window.until is not None
    with closing(stored(template, found)) as connection:
        for chosen in (Window(), window):
            first, last = chosen if chosen else (BOOT, BOOT + 10**6 * SECOND)
            assert first is not None
            assert last is not None
            selection = Selection(chosen, clip=True, jobs=(1,) if of_job else None)
            for by in BY:
                expected: dict[str, list[Fraction]] = defaultdict(
                    lambda: [Fraction(0)] * len(SUMMED)
                )
                lived: dict[str, int] = defaultdict(int)
                for period in periods.lay(by.period or "", BOOT, BOOT + 10**6 * SECOND):
                    for life in found:
                        for came, begun, ended, used in life.parts(of_job=of_job):
                            bounds = max(period.since_ns, first), min(period.until_ns, last)
                            if came is not None and was_there(came, ended, *bounds):
                                lived[period.label] += 1
                            part = share(begun, ended, *bounds)
                            expected[period.label] = [
                                a + b * part
                                for a, b in zip(expected[period.label], used, strict=True)
                            ]
                got = asked(connection, by, selection)
                there = {name: row["processes"] for name, row in got.items() if row["processes"]}
                assert there == lived
                for name, row in got.items():
                    assert all(
                        abs(row[key] - value) <= 1
                        for key, value in zip(SUMMED, expected[name], strict=True)
                    ), name
                    assert row["estimate"] == 1
            whole = asked(connection, usage.USERS, selection)
            for key in SUMMED:
                assert abs(
                    total(whole, key) - total(asked(connection, usage.HOURS, selection), key)
                ) <= 1 + 0.5 * (2 * HOURS + 3)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lives(), max_size=12), st.integers(0, HOURS), st.integers(1, HOURS), st.booleans())
def test_active_are_those_that_lived_in_a_period_or_window(
    template: Path, found: list[Candidate], since: int, hours: int, of_job: bool
) -> None:
    window = Window(BOOT + since * 1800 * SECOND, BOOT + (since + hours) * 1800 * SECOND)
    jobs = (1,) if of_job else None
    with closing(stored(template, found)) as connection:
        for chosen, clip in ((Window(), False), (window, False), (window, True)):
            selection = Selection(chosen, clip, jobs)
            first, last = chosen if chosen else (BOOT, BOOT + 10**9 * SECOND)
            assert first is not None
            assert last is not None
            for by in BY:
                got = asked(connection, by, selection, f"{by.noun},active")
                assert {name: row["active"] for name, row in got.items()} == {
                    period.label: sum(
                        life.lived(
                            max(period.since_ns, first), min(period.until_ns, last), of_job=of_job
                        )
                        for life in found
                    )
                    for period in periods.lay(by.period or "", BOOT, BOOT + 10**6 * SECOND)
                    if period.label in got
                }
            users = asked(connection, usage.USERS, selection, "uid,active")
            lived = [life.lived(first, last, of_job=of_job) for life in found]
            assert {row["uid"]: row["active"] for row in users.values() if row["active"]} == {
                uid: count
                for uid in range(3)
                if (count := sum(lived[number - 1] for number in places(len(found), uid)))
            }


def places(count: int, uid: int) -> list[int]:
    """The numbers of the processes of a user."""
    return [number for number in range(1, count + 1) if number % 3 == uid]


def was_there(came: int, left: int, since: int, until: int) -> bool:
    """Whether a life, or a stay, touches what is between two moments."""
    return since < until and came < until and (left > since or came == left == since)


def share(begun: int, ended: int, since: int, until: int) -> Fraction:
    """Which part of what was used from one moment to another lies between two moments."""
    if begun >= ended:
        return Fraction(since <= ended < until)
    part = min(ended, until) - max(begun, since)
    return Fraction(max(part, 0), ended - begun) if since < until else Fraction(0)


def test_day_of_twenty_five_hours_has_as_many_periods_and_every_moment_is_in_one() -> None:
    start, end = (int(datetime(2026, 10, day).timestamp()) * SECOND for day in (25, 26))
    hours = periods.lay(periods.HOUR, start, end - 1)
    assert len(hours) == 25
    assert len({period.label for period in hours}) == 25
    assert (hours[0].since_ns, hours[-1].until_ns) == (start, end)
    assert all(a.until_ns == b.since_ns for a, b in pairwise(hours))
    (day,) = periods.lay(periods.DAY, start, end - 1)
    assert day == (start, end, "2026-10-25")


def test_clock_that_changes_by_half_an_hour_leaves_no_moment_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "LHST-10:30LHDT-11,M10.1.0,M4.1.0")
    time.tzset()
    start = int(datetime(2026, 4, 5).timestamp()) * SECOND
    hours = periods.lay(periods.HOUR, start, start + 86400 * SECOND)
    assert all(a.until_ns == b.since_ns for a, b in pairwise(hours))
    assert {(period.until_ns - period.since_ns) // (1800 * SECOND) for period in hours} == {1, 2}
    assert len({period.label for period in hours}) == len(hours)
