"""What is stored of intervals, and that the sums are kept with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.measures import COUNTERS
from elsa.report import exactness
from elsa.report.query.times import Window
from elsa.state.clock import Clock
from elsa.state.codes import Origin
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import Shown, Used, before_first_run, reading
from elsa.store import intervals, rollups
from elsa.units import HOUR_NS
from tests.support.given import REAL, SECOND, Warehouse

CLOCK = Clock(1, 0, 0, 0)
COLUMNS = tuple(measure.column for measure in COUNTERS)


@pytest.fixture
def connection(db: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(db, isolation_level=None)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def warehouse(connection: sqlite3.Connection) -> Warehouse:
    made = Warehouse(connection)
    made.process(7, seconds=None)
    return made


def write(
    connection: sqlite3.Connection,
    used: Used,
    until_ns: int,
    *,
    edge: bool = False,
    **counters: int,
) -> None:
    shown = Shown(tuple(counters.get(name) for name in COLUMNS), 64, 100, 0, b"")
    row = (7, shown.gid, shown.forked_only, shown.rss_kib, *used.advance(shown))
    intervals.write(connection, [reading(CLOCK, 0, until_ns, [row], of_all=not edge)])


def test_what_a_process_used_so_far_is_the_sum_of_its_intervals(
    connection: sqlite3.Connection,
) -> None:
    used = Used()
    write(connection, used, 10, run_ns=5_000_500, minflt=3, read_bytes=4096)
    write(connection, used, 20, run_ns=5_000_500, minflt=3, read_bytes=4096)
    write(connection, used, 30, edge=True, run_ns=6_000_900, minflt=9, read_bytes=8192)
    write(connection, used, 40, run_ns=9_000_000, minflt=9, read_bytes=8192)
    assert connection.execute(
        """select until_ns, of_all, user_us, minflt, read_bytes, read_chars, rss_kib
           from usage_interval join usage_reading on id = reading_id order by id"""
    ).fetchall() == [
        (10, 1, 5000, 3, 4096, None, 64),
        (30, 0, 1000, 6, 4096, None, 64),
        (40, 1, 3000, 0, 0, None, 64),
    ], "nothing is stored of an interval in which nothing was used"
    assert connection.execute(
        "select edge_ns, user_us, run_ns, minflt, read_bytes, read_chars, gid, forked_only"
        " from usage_so_far order by edge_ns"
    ).fetchall() == [
        (0, 9000, 9_000_000, 9, 8192, None, 100, 0),
        (30, 6000, 6_000_900, 9, 8192, None, 100, 0),
    ]


def test_counter_that_could_not_be_read_at_an_edge_is_unknown_there(
    connection: sqlite3.Connection,
) -> None:
    used = Used()
    write(connection, used, 10, run_ns=1000, read_chars=1024)
    write(connection, used, 20, edge=True, run_ns=1000)
    assert connection.execute(
        "select edge_ns, read_chars from usage_so_far order by edge_ns"
    ).fetchall() == [(0, 1024), (20, None)]


def test_jobd_that_starts_again_goes_on_from_what_is_stored(connection: sqlite3.Connection) -> None:
    used = Used()
    write(connection, used, 10, run_ns=5_000_000, minflt=3)
    write(connection, used, 20, edge=True, run_ns=6_000_000, minflt=9)
    life, other = (Incarnation(id_, id_, 0, 1, Origin.FORK) for id_ in (7, 8))
    intervals.restore(connection, [life, other])
    assert other.used is None
    assert life.used is not None
    write(connection, life.used, 30, run_ns=6_000_000, minflt=10)
    assert connection.execute(
        "select user_us, minflt from usage_interval where reading_id = 3"
    ).fetchall() == [(0, 1)]


def test_old_intervals_are_merged_by_hour_and_no_sum_changes(
    connection: sqlite3.Connection, warehouse: Warehouse
) -> None:
    for number in (8, 9):
        warehouse.process(number, seconds=None, start=1)
    warehouse.job(1)
    warehouse.stay(1, 9, since=150)
    connection.execute("begin")
    for minute in range(1, 180):
        for number in (8, 9):
            run_ns = minute * number * 1_000_000
            used = {"run_ns": run_ns, "minflt": minute, "rss_kib": minute}
            if (number, minute) == (9, 3):
                warehouse.read(number, at=150, **used)
            else:
                warehouse.interval(number, until=60 * minute, **used)
    connection.execute("commit")
    sums = (
        "select ended_hour, {}, sum(user_ns), sum(minor_faults), max(rss_kib) from {} group by 1, 2"
    )
    questions = (
        sums.format("used_by", "interval_usage"),
        sums.format("job_id", "job_interval_usage"),
        "select sum(user_ns) from end_usage",
    )
    before = [connection.execute(text).fetchall() for text in questions]
    first, second, *_ = sorted({hour for hour, *_ in before[0]})
    assert intervals.count_old(connection, second + 1) > 200
    steps: list[int] = []
    merged = intervals.merge_hours(connection, second + 1, steps.append)
    assert merged == sum(steps) > 150
    assert [connection.execute(text).fetchall() for text in questions] == before
    rows = connection.execute(
        """select hour, process_id, count(*) from usage_interval
           join usage_reading on id = reading_id where hour <= ? group by 1, 2""",
        (second,),
    ).fetchall()
    assert [row for row in rows if row[1] == 8] == [(first, 8, 1), (second, 8, 1)]
    assert (second, 9, 1) in rows
    assert next(count for hour, number, count in rows if (hour, number) == (first, 9)) > 1
    assert intervals.merge_hours(connection, second + 1, steps.append) == 0


def test_merged_intervals_end_with_their_process_and_jobs_where_they_ended(
    connection: sqlite3.Connection, warehouse: Warehouse
) -> None:
    warehouse.job(1, members=(warehouse.process(8, start=100, seconds=500),))
    for minute in range(2, 60):
        living = {7: minute} | ({8: minute} if minute < 10 else {})
        warehouse.reading(
            60 * minute, {id_: {"run_ns": 10**6 * used} for id_, used in living.items()}
        )
    rollups.refresh(connection, connection_path(connection), REAL + 3 * HOUR_NS)
    ended = (
        "select started_ns, ended_ns, wall_s from job_usage",
        "select min(started_ns), max(ended_ns), max(end_ns) from rollup_job",
        "select min(started_ns), max(ended_ns) from job_usage_part",
    )
    before = [connection.execute(text).fetchone() for text in ended]
    assert before[0] == (REAL + 100 * SECOND, REAL + 600 * SECOND, 500)
    assert intervals.merge_hours(connection, REAL // HOUR_NS + 1, lambda _rows: None) > 50
    for _ in range(2):
        assert [connection.execute(text).fetchone() for text in (ended[0], ended[2])] == [
            before[0],
            before[2],
        ]
        rollups.refresh(connection, connection_path(connection), REAL + 3 * HOUR_NS)
    assert [connection.execute(text).fetchone() for text in ended] == before
    assert connection.execute(
        "select used_by, max(used_until_ns), max(ended_ns) from interval_counters group by 1"
    ).fetchall() == [
        (7, 3540 * SECOND, REAL + 3540 * SECOND - 1),
        (8, 600 * SECOND, REAL + 600 * SECOND - 1),
    ]


def test_days_keep_what_processes_used_that_were_only_read(
    connection: sqlite3.Connection, warehouse: Warehouse
) -> None:
    used = {"run_ns": 5_000_000, "read_bytes": 4096, "rss_kib": 64}
    warehouse.reading(600, {7: used})
    # taskstats did not report its end, in an hour without a reading
    warehouse.process(8, seconds=7200)
    warehouse.reading(660, {8: used | {"rss_kib": 32}})
    rollups.refresh(connection, connection_path(connection), REAL + 48 * HOUR_NS)
    for table in ("rollup_day_user", "rollup_day_command", "rollup_day_total"):
        assert connection.execute(
            f"select sum(run_ns), sum(read_bytes), max(rss_kib) from {table}"
        ).fetchone() == (10_000_000, 8192, 64)
    assert connection.execute(
        "select rss_kib from rollup_user where hour = ?", ((REAL + 7210 * SECOND) // HOUR_NS,)
    ).fetchall() == [(32,)]


def test_what_was_used_before_jobd_first_ran_counts_where_the_process_started_and_is_said(
    connection: sqlite3.Connection, warehouse: Warehouse
) -> None:
    hour = REAL // HOUR_NS
    until_ns = 31_000 * SECOND
    for id_, start_s, of_hour in ((8, 100, hour), (9, 30_000, (REAL + 30_000 * SECOND) // HOUR_NS)):
        warehouse.process(id_, start=start_s, seconds=None)
        more = Used().advance(Shown(counters(run_ns=3 * SECOND), None, 100, 0, b""))
        row = (id_, 100, 0, 64, *more)
        clock = Clock(1, 0, REAL, 0)
        intervals.write(connection, [before_first_run(clock, until_ns, of_hour, [row])])
    rows = connection.execute(
        "select used_by, ended_hour, ended_ns, used_since_ns, used_until_ns + ?"
        " from interval_counters",
        (REAL,),
    ).fetchall()
    assert [(id_, of_hour, since) for id_, of_hour, _, since, _ in rows] == [
        (8, hour, 100 * SECOND),
        (9, (REAL + 30_000 * SECOND) // HOUR_NS, 30_000 * SECOND),
    ]
    assert [(ended + 1, until) for _, _, ended, _, until in rows] == [
        ((hour + 1) * HOUR_NS, (hour + 1) * HOUR_NS),
        (REAL + until_ns, REAL + until_ns),
    ]
    assert intervals.merge_hours(connection, 10**6, lambda _rows: None) == 0
    (note,) = exactness.unread(connection, Window(hour * HOUR_NS, (hour + 1) * HOUR_NS))
    assert "3.00 s of CPU time that 1 process used before jobd first ran" in note
    assert exactness.unread(connection, Window((hour + 1) * HOUR_NS, (hour + 2) * HOUR_NS)) == []


def counters(**known: int) -> tuple[int | None, ...]:
    return tuple(known.get(name) for name in COLUMNS)


def connection_path(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("pragma database_list").fetchone()[2])
