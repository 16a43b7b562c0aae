"""kind_usage: automatic jobs of each kind and what is in none add up to everything on the
host, to the last unit, also where processes move between automatic jobs, and before and after their
sums are rolled up and the processes pruned.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.measures import BY_USE, DIVIDED
from elsa.report import kinds, usage
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.store import database, retention, rollups
from tests.support.given import REAL, SECOND, Warehouse

KINDS = {1: "service", 2: "cron", 3: "session", 4: "service", 5: "manual", 6: "manual"}
AUTOMATIC = [job for job, kind in KINDS.items() if kind != "manual"]
NOW = REAL + 30 * 86400 * SECOND
DAY = 86400 * SECOND
# What taskstats counts of one process; each counter of a snapshot is a part of it.
USED = {
    "utime_us": 6_000_000,
    "stime_us": 3_000_000,
    "run_ns": 9_000_000_001,
    "read_bytes": 1_000_003,
    "write_bytes": 777,
    "minflt": 1009,
    "majflt": 13,
}


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "elsa.db"
    with closing(sqlite3.connect(copy)) as connection, closing(sqlite3.connect(template)) as source:
        source.backup(connection)
    return copy


@pytest.fixture
def warehouse(path: Path) -> Iterator[Warehouse]:
    with closing(database.open_for_writing(path)) as connection:
        given = Warehouse(connection)
        for job, kind in KINDS.items():
            given.job(job, f"job{job}", kind=kind)
        yield given


def counters(part: float) -> dict[str, int]:
    return {name: int(used * part) for name, used in USED.items()}


class Truth:
    """What each kind should have: integers, by measure."""

    def __init__(self) -> None:
        self.kinds: dict[str, Counter[str]] = {}

    def add(self, job: int | None, **figures: int) -> None:
        kind = "none" if job is None else KINDS[job]
        self.kinds.setdefault(kind, Counter()).update(figures)


def process_that_moves(
    warehouse: Warehouse, truth: Truth, number: int, rng: random.Random, *, runs: bool
) -> None:
    """A process that goes through up to four automatic jobs, or through none for a while, and may
    be in manual jobs for all or a part of its life.
    """
    start, moves = rng.randrange(10, 200_000), rng.randrange(4)
    places = [rng.choice([*AUTOMATIC, None])]
    for _ in range(moves):
        places.append(rng.choice([job for job in (*AUTOMATIC, None) if job not in places]))
        if len(places) == len(AUTOMATIC) + 1:
            break
    warehouse.process(number, start=start, seconds=None if runs else 10_000)
    if not runs:
        warehouse.usage(number, **USED)
        if rng.random() < 0.5:
            warehouse.acct(number, number, utime=900, btime=REAL // SECOND + start)
    times = [0, *sorted(rng.sample(range(1, 9_999), len(places) - 1)), 10_000]
    for place, job in enumerate(places):
        since, until = times[place], times[place + 1]
        last = place == len(places) - 1
        before, after = counters(since / 10_000), counters(until / 10_000)
        if not (runs and last):
            truth.add(
                job,
                processes=int(last),
                running=0,
                read_bytes=after["read_bytes"] - before["read_bytes"],
                major_faults=after["majflt"] - before["majflt"],
                cpu_ns=after["run_ns"] - before["run_ns"],
            )
        else:
            truth.add(job, processes=1, running=1)
        if job is None:
            continue
        entered = start + since if since else 0
        warehouse.stay(job, number, since=entered, until=None if last else start + until, how=6)
        if since:
            warehouse.read(number, at=entered, **before)
        if not last:
            warehouse.read(number, at=start + until, **after)
    for job in (5, 6):
        if rng.random() < 0.4:
            warehouse.stay(job, number, since=rng.choice([0, start + 17]))


def rows(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    cursor = connection.execute("select * from kind_usage")
    names = [column[0] for column in cursor.description]
    found = [dict(zip(names, row, strict=True)) for row in cursor]
    return {row["kind"]: row for row in found}


def check(connection: sqlite3.Connection, truth: Truth | None = None) -> None:
    """The rows add up to what user_usage has, and are what they should be."""
    of_kind = rows(connection)
    keys = ("processes", "running", *(measure.name for measure in DIVIDED))
    sums = ", ".join(f"sum({key})" for key in keys)
    (of_all,) = connection.execute(f"select {sums} from user_usage").fetchall()
    for key, everything in zip(keys, of_all, strict=True):
        scale = next((measure.scale for measure in DIVIDED if measure.name == key), 1)
        parts = [round((row[key] or 0) * scale) for row in of_kind.values()]
        assert sum(parts) == round((everything or 0) * scale), key
    for kind, expected in truth.kinds.items() if truth is not None else ():
        row = of_kind[kind]
        figures = {key: row[key] or 0 for key in expected if key != "cpu_ns"}
        if "cpu_ns" in expected:
            figures["cpu_ns"] = round((row["cpu_s"] or 0) * 1e9)
        assert figures == dict(expected), kind


@pytest.mark.parametrize("seed", range(8))
def test_kinds_and_the_rest_add_up_to_everything_to_the_last_unit(
    warehouse: Warehouse, path: Path, seed: int
) -> None:
    rng, truth = random.Random(seed), Truth()
    for number in range(1, 31):
        process_that_moves(warehouse, truth, number, rng, runs=number % 5 == 0)
    # A record without a process: its CPU time is unattributed.
    warehouse.acct(99, None, join=5, utime=7)
    truth.add(None, cpu_ns=70_000_000)
    connection = warehouse.connection
    check(connection, truth)
    jobs = {kind: row["jobs"] for kind, row in rows(connection).items()}
    assert jobs == {"service": 2, "cron": 1, "session": 1, "none": None}
    rollups.refresh(connection, path, NOW)
    check(connection, truth)
    before = rows(connection)
    connection.execute("update job set closed_at_ns = created_at_ns")
    cutoffs = retention.Cutoffs(None, REAL + DAY, None)
    assert retention.prune(connection, path, cutoffs, lambda _, __: None).processes > 0
    check(connection, truth)
    after = rows(connection)
    assert {kind: row["processes"] for kind, row in after.items()} == {
        kind: row["processes"] for kind, row in before.items()
    }


def test_whole_charges_leave_less_to_the_rest_and_are_counted(warehouse: Warehouse) -> None:
    """The counters of a process that moved were not read: both jobs have all of it."""
    warehouse.process(1, start=10, seconds=100)
    warehouse.usage(1, **USED)
    warehouse.stay(1, 1, until=50)
    warehouse.stay(2, 1, since=50, how=6)
    of_kind = rows(warehouse.connection)
    assert [of_kind[kind]["part_life_whole"] for kind in ("service", "cron")] == [1, 1]
    assert [of_kind[kind]["processes"] for kind in ("service", "cron", "none")] == [0, 1, 0]
    assert of_kind["none"]["read_bytes"] == -USED["read_bytes"]
    check(warehouse.connection)


def test_nothing_recorded_is_all_in_none(warehouse: Warehouse) -> None:
    (only,) = rows(warehouse.connection).values()
    assert (only["kind"], only["processes"], only["cpu_s"]) == ("none", 0, None)


def of_window(connection: sqlite3.Connection, window: Window) -> dict[str, dict[str, Any]]:
    """The rows of the report in a window, with every column."""
    asked, _ = kinds.query(Selection(window), Output("csv", "all"))
    cursor = asked.run(connection)
    names = [column[0] for column in cursor.description]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cursor}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rolled", [False, True], ids=["from processes", "from rollups"])
def test_kinds_of_a_window_add_up_to_the_host_and_windows_to_the_whole(
    path: Path, warehouse: Warehouse, seed: int, rolled: bool
) -> None:
    rng, connection = random.Random(seed), warehouse.connection
    for number in range(1, 41):
        process_that_moves(warehouse, Truth(), number, rng, runs=number % 8 == 0)
    if rolled:
        rollups.refresh(connection, path, NOW)
    cuts = [*rng.sample(range(230_000), 3), rng.randrange(60) * 3600]
    moments = [None, *sorted(REAL // SECOND * SECOND + cut * SECOND for cut in cuts), None]
    totals: Counter[tuple[str, str]] = Counter()
    for window in map(Window, moments, moments[1:]):
        found = of_window(connection, window)
        assert "elapsed_s" not in found["none"]
        commands, _ = usage.query(usage.COMMANDS, Selection(window), Output("csv", "all"))
        cursor = commands.run(connection)
        names = [column[0] for column in cursor.description]
        host = [dict(zip(names, row, strict=True)) for row in cursor]
        for key in ("processes", *(measure.name for measure in BY_USE)):
            scale = next((measure.scale for measure in DIVIDED if measure.name == key), 1)
            in_all = sum(round((row[key] or 0) * scale) for row in host)
            assert sum(round((row[key] or 0) * scale) for row in found.values()) == in_all, key
            for kind, row in found.items():
                totals[kind, key] += round((row[key] or 0) * scale)
    whole = rows(connection)
    for (kind, key), total in totals.items():
        scale = next((measure.scale for measure in DIVIDED if measure.name == key), 1)
        ended = (whole[kind][key] or 0) - (whole[kind]["running"] if key == "processes" else 0)
        assert total == round(ended * scale), (kind, key)
    assert len({kind for kind, _ in totals}) == 4


def test_a_job_counts_in_the_windows_in_which_it_used_something(warehouse: Warehouse) -> None:
    warehouse.process(1, start=10, seconds=100)
    warehouse.process(2, start=7300, seconds=100)
    for number, job in ((1, 1), (2, 4)):
        warehouse.stay(job, number)
    first = of_window(warehouse.connection, Window(until=REAL + 3600 * SECOND))
    both = of_window(warehouse.connection, Window(since=REAL))
    none = of_window(warehouse.connection, Window(since=REAL + DAY))
    assert (first["service"]["jobs"], both["service"]["jobs"]) == (1, 2)
    assert (set(none), none["none"]["processes"]) == ({"none"}, 0)
