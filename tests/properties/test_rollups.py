"""Whatever is written into a warehouse, in whatever order, sums by way of the rollups are those
over the processes themselves.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.measures import COUNTERS, DIVIDED
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, listed
from elsa.report.query.times import Window
from elsa.state.clock import Clock
from elsa.state.intervals import reading
from elsa.store import aggregates, intervals, rollups
from elsa.units import HOUR_NS

MINUTE = 60 * 10**9
# Real time at monotonic 0: a quarter past some hour. From three hours on the clock is two hours
# ahead.
REAL = 490_000 * HOUR_NS + 15 * MINUTE
CLOCKS = {1: 0, 2: 2 * HOUR_NS}
# The first of the two days that the tests are about is over.
NOW = REAL + 24 * HOUR_NS

KEYS = {
    table: ", ".join(f"u.{key}" for key in rollup.keys) for table, rollup in rollups.ROLLUPS.items()
} | {rollup_source.ALL: "null"}
"""By what is summed."""

small = st.integers(0, 5)
minutes = st.integers(0, 400)
moments = st.one_of(
    st.none(), st.integers(0, 12).map(lambda hours: hours * HOUR_NS), st.integers(0, 12 * HOUR_NS)
)

Act = Callable[[sqlite3.Connection], object]


def sql(text: str) -> Callable[..., Act]:
    """A statement with its values."""
    return lambda *values: lambda connection: connection.execute(text, values)


def refresh(connection: sqlite3.Connection) -> int:
    """Roll up what is settled."""
    return rollups.refresh(
        connection, Path(connection.execute("pragma database_list").fetchone()[2]), NOW
    )


def read(
    process_id: int, minute: int, used: tuple[int, int, int], gid: int | None, *, edge: bool
) -> Act:
    """A reading of a process while it lived, and what it used since the reading before. jobd stores
    a process before its readings, or in the same transaction.
    """
    sums = dict(zip(("run_ns", "minflt", "read_bytes"), used, strict=True))
    counters = (sums.get(measure.column) for measure in COUNTERS)
    row = (process_id, gid, 0, 7, used[0] // 1000, 0, *counters)
    clock = Clock(1, 0, REAL, 0) if minute < 180 else Clock(2, 3 * HOUR_NS, REAL + 2 * HOUR_NS, 0)
    made = reading(clock, 0, minute * MINUTE, [row], of_all=not edge)

    def act(connection: sqlite3.Connection) -> None:
        lived = connection.execute(
            "select 1 from process where id = ? and start_ns < ?"
            " and coalesce(start_ns + elapsed_ns >= ?, true)",
            (process_id, minute * MINUTE, minute * MINUTE),
        )
        if lived.fetchone():
            intervals.write(connection, [made])

    return act


PROCESS = (
    "insert or ignore into process (id, boot_id, pid, origin, start_ns, clock_id, uid, comm_id,"
    " elapsed_ns, end_clock_id, end_source)"
)
RECORD = f"""insert or ignore into acct
    values (?, 1, ?, ?, ?, ?, 3, 0, 0, 5, ?, 7, 1, {REAL // 10**9} + ? * 60, ?, 3, 4, 5, 0, 0,
            6, 7, 0, 2, null)"""
READ = st.builds(
    read,
    small,
    st.one_of(minutes, st.sampled_from((5, 50))),
    st.tuples(st.sampled_from((0, 1000, 10**7)), small, small),
    st.one_of(st.none(), small),
    edge=st.booleans(),
)


def forget_intervals(process_id: int) -> Act:
    """As pruning does."""

    def act(connection: sqlite3.Connection) -> None:
        for table in ("usage_interval", "usage_so_far"):
            connection.execute(f"delete from {table} where process_id = ?", (process_id,))

    return act


def delete(process_id: int) -> Act:
    """As pruning does: with its intervals."""

    def act(connection: sqlite3.Connection) -> None:
        forget_intervals(process_id)(connection)
        connection.execute("delete from process where id = ?", (process_id,))

    return act


ACTS = st.one_of(
    READ,
    READ,
    READ,
    st.builds(forget_intervals, small),
    st.just(refresh),
    st.builds(
        sql(f"{PROCESS} values (?, 1, 7, ?, ? * {MINUTE}, 1, ?, ?, ? * {MINUTE}, ?, 1)"),
        small,
        st.sampled_from((1, 3)),
        minutes,
        small,
        st.sampled_from((1, 2, None)),
        st.one_of(st.none(), minutes),
        st.sampled_from((1, 2, None)),
    ),
    st.builds(
        sql(
            f"update process set elapsed_ns = ?1 * {MINUTE}, end_clock_id = ?2 where id = ?3"
            " and not exists (select 1 from usage_so_far as f where f.process_id = ?3"
            f" and f.until_ns > start_ns + ?1 * {MINUTE})"
        ),
        minutes,
        st.sampled_from((1, 2)),
        small,
    ),
    st.builds(
        sql(
            f"update process set start_ns = ?1 * {MINUTE} where id = ?2 and not exists"
            " (select 1 from usage_so_far as f where f.process_id = ?2)"
        ),
        minutes,
        small,
    ),
    st.builds(
        sql("update process set uid = ?, comm_id = ? where id = ?"),
        small,
        st.sampled_from((1, 2)),
        small,
    ),
    st.builds(sql("update process set exit_status = ? where id = ?"), small, small),
    st.builds(delete, small),
    st.builds(
        sql(RECORD),
        small,
        small,
        st.one_of(st.none(), small),
        st.integers(0, 5),
        st.sampled_from((0, 1)),
        small,
        minutes,
        st.floats(0, 10**6, width=32),
    ),
    st.builds(
        sql("update or ignore acct set process_id = ?, join_outcome = ? where id = ?"),
        st.one_of(st.none(), small),
        st.integers(0, 5),
        small,
    ),
    st.builds(sql("delete from acct where id = ?"), small),
    st.builds(
        sql(
            "insert or replace into usage (process_id, threads, complete, run_ns, utime_us,"
            " stime_us, rss_kib, coremem_mb_us) values (?, 1, ?, ?, 20, 30, ?, 10)"
        ),
        small,
        st.sampled_from((0, 1)),
        st.sampled_from((None, 3, 10**7)),
        small,
    ),
    st.builds(sql("delete from usage where process_id = ?"), small),
    st.builds(
        sql(
            "insert or ignore into membership (job_id, process_id, since_ns, until_ns, how) values"
            f" (?, ?, ? * {MINUTE}, ? * {MINUTE}, ?)"
        ),
        st.integers(1, 3),
        small,
        st.sampled_from((0, 5)),
        st.sampled_from((None, 50)),
        st.integers(1, 4),
    ),
    st.builds(
        sql(f"update membership set until_ns = ? * {MINUTE} where process_id = ?"), minutes, small
    ),
    st.builds(
        sql("delete from membership where process_id = ? and job_id = ?"), small, st.integers(1, 3)
    ),
)


# Processes that are there from the beginning, some of which still run, so that what follows is
# about them.
FIRST = [
    act
    for id_ in range(6)
    for act in (
        sql(f"{PROCESS} values (?, 1, 7, 1, ? * {MINUTE}, 1, 5, 1, ? * {MINUTE}, ?, 1)")(
            id_, 40 * id_, *((130, 1 + id_ % 2) if id_ % 3 else (None, None))
        ),
        sql(
            "insert into usage (process_id, threads, complete, run_ns, minflt)"
            " values (?, 1, 1, ?, 9)"
        )(id_, 10**7 * id_),
    )
]


@pytest.fixture(scope="module")
def template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with what rows refer to."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("rollups") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("insert into host values (1, 'm', 'here')")
        connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
        for id_, ahead_ns in CLOCKS.items():
            connection.execute(
                "insert into clock values (?, 1, ?, ?, 0)",
                (id_, (id_ - 1) * 3 * HOUR_NS, REAL + ahead_ns),
            )
        connection.executemany("insert into comm values (?, ?)", [(1, "one"), (2, "two")])
        for id_ in (1, 2, 3):
            connection.execute(
                """insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns,
                close_reason, closes_itself) values (?, 1, 'job', 1, 0, null, null, 0)""",
                (id_,),
            )
        connection.execute(
            "insert into acct_file values (1, 1, 'f', 1, 1, 0, 0, x'', x'', 0, 0, 0, 0)"
        )
        # Before it was started nobody listened.
        connection.execute(
            "insert into collector values (1, 1, 1, 'v', ?, ?, null, 0, 0, 0)",
            (60 * MINUTE, 300 * MINUTE),
        )
    return path


@pytest.fixture(scope="module")
def warehouse(template: Path) -> Iterator[sqlite3.Connection]:
    """One connection for all tests and examples: SQLite takes far longer to prepare these queries
    than to run them, and keeps what it has prepared.
    """
    with closing(sqlite3.connect(template, isolation_level=None, cached_statements=1000)) as made:
        made.execute("pragma journal_mode = memory")
        yield made


def emptied(warehouse: sqlite3.Connection) -> sqlite3.Connection:
    """The warehouse without what an earlier test, or example, left in it."""
    if warehouse.in_transaction:  # of an example that failed
        warehouse.rollback()
    for table in (
        "process",
        "acct",
        "usage",
        "membership",
        "usage_reading",
        "usage_interval",
        "usage_so_far",
        "rollup_hour",
        *rollups.ROLLUPS,
    ):
        warehouse.execute(f"delete from {table}")
    return warehouse


@settings(max_examples=60)
@given(
    first=st.sampled_from(([], FIRST)),
    acts=st.lists(ACTS, max_size=25),
    window=st.tuples(moments, moments),
)
def test_sums_by_way_of_rollups_are_those_over_the_processes(
    warehouse: sqlite3.Connection,
    first: list[Act],
    acts: list[Act],
    window: tuple[int | None, int | None],
) -> None:
    connection = emptied(warehouse)
    for act in first:
        act(connection)
    for act in [*acts, refresh, *acts[:2]]:
        act(connection)
        since, until = (None if ns is None else REAL + ns for ns in window)
        for span in (Window(), Window(since, until)):
            for table in KEYS:
                expected = summed(connection, span, table)
                assert [
                    summed_by_rollup(connection, span, table, days=days) for days in (False, True)
                ] == [expected, expected]
    assert audited(connection) == by_itself(connection, audited)
    refresh(connection)
    assert audited(connection) == by_itself(connection, audited)


@settings(max_examples=40)
@given(
    acts=st.lists(ACTS, max_size=25),
    later=st.lists(ACTS, max_size=5),
    window=st.tuples(moments, moments),
    inherited=st.lists(st.tuples(small, st.integers(1, 3)), max_size=3),
)
def test_sums_of_some_jobs_are_those_of_all_jobs_for_these(
    warehouse: sqlite3.Connection,
    acts: list[Act],
    later: list[Act],
    window: tuple[int | None, int | None],
    inherited: list[tuple[int, int]],
) -> None:
    since, until = (None if ns is None else REAL + ns for ns in window)
    connection = emptied(warehouse)
    for act in [*FIRST, *acts]:
        act(connection)
    connection.execute(
        f"insert or ignore into membership (job_id, process_id, since_ns, until_ns, how)"
        f" values (2, 1, 0, {50 * MINUTE}, 2)"
    )
    for process_id, job_id in inherited:
        connection.execute(
            "update process set inherited_job_id = ?2 where id = ?1 and not exists"
            " (select 1 from membership as m where m.process_id = ?1 and m.job_id = ?2)",
            (process_id, job_id),
        )
    for act in (refresh, *later):
        act(connection)
    # The last window cuts the hour in which members leave.
    of_leave = Window(REAL + 46 * MINUTE, REAL + 55 * MINUTE)
    for span in (Window(), Window(since, until), of_leave):
        expected = summed(connection, span, "rollup_job")
        for jobs in ((2,), (1, 3)):
            assert summed_by_rollup(
                connection, span, "rollup_job", days=True, jobs=listed(jobs)
            ) == [row for row in expected if row[0] in jobs]


@settings(max_examples=50)
@given(acts=st.lists(ACTS, min_size=5, max_size=30), at=moments)
def test_parts_of_time_add_up_to_all_processes_whole(
    warehouse: sqlite3.Connection, acts: list[Act], at: int | None
) -> None:
    """Also what running processes have used so far."""
    figures = [aggregates.over_rows(measure).plain for measure in DIVIDED]
    connection = emptied(warehouse)
    for act in [*FIRST, *acts]:
        act(connection)
    whole = totals(connection, rows(Selection(), figures), figures)
    assert totals(connection, rows(Selection(), figures, used=True), figures) == whole
    moment = REAL + (at or 0)
    windows = (Window(None, moment), Window(moment, None))
    parts = [
        totals(connection, rows(Selection(window), figures, used=True), figures)
        for window in windows
    ]
    running = rows(Selection(), figures, Condition("u.out_ns is null"), used=True)
    parts.append(totals(connection, running, figures))
    assert [sum(part[place] for part in parts) for place in range(len(figures))] == whole


def totals(connection: sqlite3.Connection, source: Query, figures: list[str]) -> list[int]:
    text = f"select {', '.join(figures)} {source.sql}"
    (row,) = connection.execute(text, source.values).fetchall()
    return [value or 0 for value in row]


def test_an_hour_that_changes_while_it_is_rolled_up_is_not_taken_for_rolled_up(
    warehouse: sqlite3.Connection,
) -> None:
    connection = emptied(warehouse)
    sql(f"{PROCESS} values (1, 1, 7, 1, 0, 1, 5, 1, 9, 1, 1)")()(connection)
    connection.set_trace_callback(
        # The first sum has been read; before the next one something is told of a process of
        # that hour.
        lambda text: (
            connection.execute("update process set uid = 6 where id = 1")
            if text.startswith("select uid")
            else None
        )
    )
    refresh(connection)
    connection.set_trace_callback(None)
    assert connection.execute("select * from rollup_hour where ready = 1").fetchall() == []


def test_what_is_told_late_of_an_hour_in_which_nothing_had_ended_is_in_the_sums_of_its_day(
    warehouse: sqlite3.Connection,
) -> None:
    connection = emptied(warehouse)
    for id_, minute in ((1, 0), (2, 120)):
        sql(f"{PROCESS} values (?, 1, 7, 1, 0, 1, 5, 1, ? * {MINUTE}, 1, 1)")(id_, minute)(
            connection
        )
        refresh(connection)
        assert connection.execute("select count(*) from rollup_day").fetchone() == (1,)
        same_by_day_and_hour(connection)


def test_sum_of_a_job_has_the_memory_to_which_a_process_grew_that_had_left_it(
    warehouse: sqlite3.Connection,
) -> None:
    connection = emptied(warehouse)
    sql(f"{PROCESS} values (1, 1, 7, 1, 0, 1, 5, 1, null, null, null)")()(connection)
    connection.execute(
        "insert into membership (job_id, process_id, since_ns, until_ns, how)"
        f" values (1, 1, 0, {50 * MINUTE}, 1)"
    )
    refresh(connection)
    read(1, 200, (1000, 0, 0), None, edge=False)(connection)
    expected = summed(connection, Window(), "rollup_job")
    assert 7 in expected[0]
    assert summed_by_rollup(connection, Window(), "rollup_job", days=False) == expected


def test_sums_of_an_hour_that_nothing_ended_in_any_more_stay_forgotten(
    warehouse: sqlite3.Connection,
) -> None:
    connection = emptied(warehouse)
    sql(f"{PROCESS} values (1, 1, 7, 1, 0, 1, 5, 1, 9, 1, 1)")()(connection)
    refresh(connection)
    sql(f"update process set elapsed_ns = 120 * {MINUTE}")()(connection)
    assert connection.execute(
        "select (select count(*) from rollup_day), (select count(*) from rollup_day_user)"
    ).fetchone() == (0, 0)
    refresh(connection)
    assert connection.execute("select sum(processes) from rollup_day_user").fetchone() == (1,)
    same_by_day_and_hour(connection)


def audited(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """What the views of the audit say, by their names."""
    views = ("audit", "audit_ticks", "audit_unconfirmed", "audit_period")
    return {view: sorted(map(repr, connection.execute(f"select * from {view}"))) for view in views}


def by_itself(
    connection: sqlite3.Connection, ask: Callable[[sqlite3.Connection], dict[str, list[str]]]
) -> dict[str, list[str]]:
    """What is answered where nothing is rolled up."""
    connection.execute("savepoint rolled_up")
    connection.execute("delete from rollup_hour")
    answer = ask(connection)
    connection.execute("rollback to rolled_up")
    connection.execute("release rolled_up")
    return answer


def same_by_day_and_hour(connection: sqlite3.Connection) -> None:
    """By way of days, of hours, and over the processes."""
    for table in KEYS:
        expected = summed(connection, Window(), table)
        assert [
            summed_by_rollup(connection, Window(), table, days=days) for days in (False, True)
        ] == [expected, expected]


def summed(connection: sqlite3.Connection, window: Window, table: str) -> list[tuple[object, ...]]:
    """By the keys of a rollup, over the processes."""
    keys = KEYS[table]
    figures = row_sums.sums(members=table == "rollup_job")
    source = rows(
        Selection(window), [keys, *figures.values()], members=table == "rollup_job", used=True
    )
    return (
        Query(
            f"select {keys}, {', '.join(figures.values())} {source.sql} group by {keys} order by"
            f" {keys}"
        )
        .run(connection)
        .fetchall()
    )


def summed_by_rollup(
    connection: sqlite3.Connection,
    window: Window,
    table: str,
    *,
    days: bool,
    jobs: str | None = None,
) -> list[tuple[object, ...]]:
    """The same by way of the rollup; `jobs` is SQL that lists jobs."""
    keys = KEYS[table]
    known = rollup_source.sums(table)
    figures = ", ".join(known[key] for key in row_sums.sums(members=table == "rollup_job"))
    source = rollup_source.source(
        table, window, rollup_source.sums(table).values(), days=days, jobs=jobs
    )
    return connection.execute(
        f"select {keys}, {figures} {source.sql} group by {keys} order by {keys}"
    ).fetchall()
