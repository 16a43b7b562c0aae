"""Pruning: what goes, what stays, and that every sum stays as it was."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.errors import ConfigError
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.times import Window
from elsa.store import database, retention, rollups, schema
from elsa.store.retention import Cutoffs, prune
from tests.support.month import BEGIN_NS, END_NS, HOUR, Month, write

DAY = 24 * HOUR
HALF = BEGIN_NS + 15 * DAY
KEEP_ALL = Cutoffs(None, None, None)


@pytest.fixture(scope="module")
def month(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of a small month, events and all."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("month") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(1500, events=True))
    return path


@pytest.fixture
def db(month: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(month, tmp_path / "elsa.db"))


@pytest.fixture
def opened(db: Path) -> Iterator[sqlite3.Connection]:
    with closing(database.open_for_writing(db)) as connection:
        yield connection


def quiet(_done: int, _total: int) -> None:
    """No bar."""


def sums(
    connection: sqlite3.Connection, *, days: bool = True
) -> dict[str, list[tuple[object, ...]]]:
    """All sums by command, user and job, and all jobs."""
    found = {}
    for table in (*rollups.ROLLUPS, rollup_source.ALL):
        keys = (
            ", ".join(f"u.{key}" for key in rollups.ROLLUPS[table].keys)
            if table in rollups.ROLLUPS
            else "null"
        )
        known = rollup_source.sums(table)
        figures = ", ".join(known[key] for key in row_sums.sums(members=table == "rollup_job"))
        for name, window in {
            "all": Window(),
            "some": Window(BEGIN_NS + 3 * DAY, BEGIN_NS + 20 * DAY),
        }.items():
            query = (
                f"select {keys}, {figures}"
                f" {rollup_source.source(table, window, [figures], days=days).sql} group by {keys}"
                f" order by {keys}"
            )
            found[f"{table} {name}"] = connection.execute(query).fetchall()
    found["jobs"] = connection.execute("select * from job_usage order by job_id").fetchall()
    return found


@pytest.mark.parametrize("rolled_up", [True, False])
def test_sums_by_command_user_and_job_are_the_same_after_processes_were_pruned(
    opened: sqlite3.Connection, db: Path, rolled_up: bool
) -> None:
    if rolled_up:
        rollups.refresh(opened, db, BEGIN_NS + 2 * DAY)
    before = sums(opened)
    assert prune(opened, db, Cutoffs(None, BEGIN_NS + 36 * HOUR, None), quiet).processes > 50
    assert sums(opened) == before
    rollups.refresh(opened, db, BEGIN_NS + 2 * DAY)
    assert sums(opened) == before
    assert prune(opened, db, Cutoffs(None, BEGIN_NS + 12 * DAY, None), quiet).processes > 200
    assert sums(opened) == before


def test_pruned_processes_leave_nothing_behind_and_the_books_balance(
    opened: sqlite3.Connection, db: Path
) -> None:
    prune(opened, db, Cutoffs(None, HALF, None), quiet)
    for table in (*retention.OF_PROCESS, "event"):
        lost = (
            f"select count(*) from {table} where process_id is not null and process_id not in"
            " (select id from process)"
        )
        assert opened.execute(lost).fetchone() == (0,), table
    assert opened.execute("select * from reconciliation where difference <> 0").fetchall() == []
    assert opened.execute("pragma foreign_key_check").fetchall() == []


def test_blocks_of_ids_that_hold_nothing_any_more_are_forgotten(
    opened: sqlite3.Connection, db: Path
) -> None:
    held = (
        "select boot_id, time_slot, block from process_start_block"
        " where block in (select id / 1024 from process) order by 1, 2, 3"
    )
    every = "select boot_id, time_slot, block from process_start_block order by 1, 2, 3"
    # Far from all others, so that their block is theirs alone.
    columns = "boot_id, pid, origin, start_ns, clock_id, elapsed_ns, end_clock_id, end_source"
    opened.execute(
        f"insert into process (id, {columns}) select id + 1 << 20, {columns} from process where"
        " elapsed_ns is not null"
    )
    prune(opened, db, Cutoffs(None, HALF, None), quiet)
    assert opened.execute(every).fetchall() == opened.execute(held).fetchall() != []


def test_every_table_about_a_process_is_pruned_with_it() -> None:
    telling = {
        name for name, table in schema.metadata.tables.items() if "process_id" in table.columns
    }
    assert telling == {
        *retention.OF_PROCESS,
        "event",
        "rollup_unconfirmed",
        "usage_interval",
    }


def test_what_an_open_job_needs_stays(opened: sqlite3.Connection, db: Path) -> None:
    opened.execute("update job set closed_at_ns = null, close_reason = null where id = 3")
    members = "select count(*) from all_memberships where job_id = 3"
    processes = (
        "select count(*) from process where id in"
        " (select process_id from all_memberships where job_id = 3)"
    )
    before = opened.execute(members).fetchone(), opened.execute(processes).fetchone()
    prune(opened, db, Cutoffs(None, END_NS, None), quiet)
    assert (opened.execute(members).fetchone(), opened.execute(processes).fetchone()) == before
    assert before[0][0] > 0


def test_what_runs_and_records_that_wait_stay_and_no_id_is_free_again(
    opened: sqlite3.Connection, db: Path
) -> None:
    kept = [
        "select count(*) from process where elapsed_ns is null",
        "select count(*) from acct where join_outcome = 0",
        "select max(id) from process",
        "select max(id) from acct",
        "select count(*) from acct_file",
        "select count(*) from comm",
    ]
    before = [opened.execute(query).fetchone() for query in kept]
    prune(opened, db, Cutoffs(END_NS, END_NS, None), quiet)
    assert [opened.execute(query).fetchone() for query in kept] == before
    assert opened.execute("select count(*) from process").fetchone()[0] < 100


def test_events_go_alone(opened: sqlite3.Connection, db: Path) -> None:
    before = sums(opened)
    processes = opened.execute("select count(*) from process").fetchone()
    gone = prune(opened, db, Cutoffs(HALF, None, None), quiet)
    assert gone.events > 1500
    assert opened.execute("select count(*) from process").fetchone() == processes
    assert sums(opened) == before


def test_a_dry_run_reports_what_would_be_deleted_and_deletes_nothing(
    opened: sqlite3.Connection, db: Path
) -> None:
    cutoffs = Cutoffs(HALF, HALF, None)
    rows = "select (select count(*) from process) + (select count(*) from event)"
    before = opened.execute(rows).fetchone()
    told = prune(opened, db, cutoffs, quiet, dry_run=True)
    assert opened.execute(rows).fetchone() == before
    gone = prune(opened, db, cutoffs, quiet)
    assert (gone.events, gone.processes) == (told.events, told.processes)


def test_interrupted_anywhere_it_leaves_every_sum_as_it_was(
    opened: sqlite3.Connection, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PROCESSES_AT_ONCE", 50)
    before = sums(opened)

    for limit in (50, 500):

        def stop(done: int, _total: int, limit: int = limit) -> None:
            if done > limit:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prune(opened, db, Cutoffs(None, HALF, None), stop)
        assert sums(opened) == before
    prune(opened, db, Cutoffs(None, HALF, None), quiet)
    assert sums(opened) == before


def test_space_is_given_back(opened: sqlite3.Connection, db: Path) -> None:
    opened.execute("pragma wal_checkpoint(truncate)")
    before = db.stat().st_size
    prune(opened, db, Cutoffs(END_NS, None, None), quiet)
    opened.execute("pragma wal_checkpoint(truncate)")
    assert opened.execute("pragma freelist_count").fetchone() == (0,)
    assert db.stat().st_size < before


def test_sums_of_pruned_processes_go_at_an_age_of_their_own(
    opened: sqlite3.Connection, db: Path
) -> None:
    prune(opened, db, Cutoffs(None, HALF, None), quiet)
    rollups.refresh(opened, db, END_NS)
    kept = opened.execute(
        "select count(*) from rollup_user where pruned = 1 and hour >= ?",
        ((BEGIN_NS + 9 * DAY) // HOUR,),
    ).fetchone()
    assert prune(opened, db, Cutoffs(None, None, BEGIN_NS + 9 * DAY), quiet).rollups > 100
    assert opened.execute("select count(*) from rollup_user where pruned = 1").fetchone() == kept
    assert sums(opened) == sums(opened, days=False)


@pytest.mark.parametrize(
    ("age", "hours"),
    [
        *(("36 hours", 36), ("30d", 720), ("2 weeks", 336), ("1 year", 8760), ("forever", None)),
        *(("30 days ago", 720), ("-30d", 720), ("a week", 168), ("1.5 days", 36)),
    ],
)
def test_ages_are_read_as_people_write_them(age: str, hours: int | None) -> None:
    assert retention.cutoff(age, 10**18, "--events") == (
        None if hours is None else 10**18 - hours * HOUR
    )


def test_only_events_may_be_kept_for_no_time() -> None:
    assert retention.cutoff("0", 10**18, "--events", may_be_0=True) == 10**18
    with pytest.raises(ConfigError, match="30 days"):
        retention.cutoff("0", 10**18, "--processes")


def test_an_age_beyond_all_time_is_as_far_back_as_a_column_goes() -> None:
    assert retention.cutoff("999999 years", 10**18, "--events") == -(2**63)


@pytest.mark.parametrize("age", ["", "soon", "5", "-3 hours", "0 days", "23 hours"])
def test_an_age_that_cannot_be_meant_is_an_error_that_shows_how(age: str) -> None:
    with pytest.raises(ConfigError, match="30 days"):
        retention.cutoff(age, 10**18, "--events")
