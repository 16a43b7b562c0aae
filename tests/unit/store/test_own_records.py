"""What a user gets who may not read the warehouse: the own jobs and processes, and nothing that
others do changes a byte of it.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.errors import DataError
from elsa.store import own_records, rollups
from tests.support.month import END_NS, Month, write

DAY = 86_400 * 10**9
ME = 1005
# What only others' rows, or nobody's, have in these tables.
SUMS = (
    "rollup_command",
    "rollup_audit",
    "rollup_day_user",
    "rollup_day_total",
    "rollup_unconfirmed",
)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """A made-up month, rolled up, with an event and a program for some processes."""
    path = tmp_path_factory.mktemp("own") / "elsa.db"
    path.write_bytes(template.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(1000))
        connection.execute("insert into long_text values (1, 'mine'), (2, 'theirs')")
        connection.execute(
            "insert into program (process_id, cmdline_id, exe_id)"
            f" select id, iif(uid = {ME}, 1, 2), iif(uid = {ME}, 1, 2) from process"
            " where id % 3 = 0"
        )
        connection.execute("update job set memory_kib = 1 << 30, memory_by = 1")
        connection.execute("insert into job_memory select id, 5, 1 << 30, 1 from job")
        rollups.refresh(connection, path, END_NS + DAY)
    return path


def opened(data: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(data)
    return connection


def ids(connection: sqlite3.Connection, query: str, *values: object) -> set[Any]:
    return {row[0] for row in connection.execute(query, values)}


def own(connection: sqlite3.Connection, uid: int) -> tuple[set[int], set[int], set[int]]:
    """The jobs of a user, the processes that ran as the user, and all that the user may know; from
    the rows, by plain Python.
    """
    jobs = ids(connection, "select id from job where owner_uid = ?", uid)
    by_acct = dict(
        connection.execute("select process_id, uid from acct where process_id is not null")
    )
    rows = connection.execute("select id, uid, inherited_job_id from process").fetchall()
    mine = {id_ for id_, of, _ in rows if by_acct.get(id_, of) == uid}
    whole = {id_ for id_, _, job in rows if job in jobs}
    for job, process, since, until in connection.execute(
        "select job_id, process_id, since_ns, until_ns from membership"
    ):
        if job in jobs and since == 0 and until is None:
            whole.add(process)
    return jobs, mine, mine | whole


@pytest.mark.parametrize("uid", [ME, 1000, 0, 4_000_000])
def test_a_user_gets_the_own_jobs_and_processes_and_nothing_else(month: Path, uid: int) -> None:
    with (
        closing(sqlite3.connect(month)) as all_,
        closing(opened(own_records.copy(month, uid))) as mine,
    ):
        jobs, ran, known = own(all_, uid)
        assert (uid != ME) or (len(jobs) > 1 and len(known) > len(ran) > 20)
        assert ids(mine, "select id from job") == jobs
        assert ids(mine, "select id from process") == known
        for table in ("usage", "usage_so_far", "usage_interval", "acct"):
            found = ids(mine, f"select process_id from {table} where process_id is not null")
            assert found == ids(all_, f"select process_id from {table}") & known
        assert ids(mine, "select process_id from membership") <= known
        assert ids(mine, "select job_id from membership union select job_id from job_tag") <= jobs
        assert ids(mine, "select job_id from job_memory") == jobs
        assert ids(mine, "select process_id from program") <= ran
        texts = ids(mine, "select value from long_text")
        assert texts == ({"mine"} if uid == ME else {"theirs"} & texts)
        assert ids(mine, "select uid from acct where process_id is null") <= {uid}
        names = "select comm_id from process union select comm_id from acct"
        assert ids(mine, "select id from comm") == ids(mine, names) - {None}
        for table in (*SUMS, "rollup_hour", "rollup_pruned"):
            assert ids(mine, f"select count(*) from {table}") == {0}
        assert ids(mine, "select distinct events + lost from collector") <= {0}
        assert ids(mine, "select distinct lost from gap") <= {None}
        assert ids(
            mine, "select distinct position from acct union select position from acct_file"
        ) <= {0}


def test_the_figures_of_the_own_jobs_are_those_of_the_warehouse(month: Path) -> None:
    with (
        closing(sqlite3.connect(month)) as all_,
        closing(opened(own_records.copy(month, ME))) as mine,
    ):
        # Other users' processes that were in a job for a part of their lifetime do not exist.
        _, _, known = own(all_, ME)
        odd = {
            job
            for job, process in all_.execute("select job_id, process_id from all_memberships")
            if process not in known
        }
        columns = (
            "job_id, name, processes, cpu_s, rss_kib, read_bytes, started_at, wall_s, tags,"
            " job_peak_kib, job_peak_by"
        )
        query = f"select {columns} from job_usage where owner_uid = {ME} order by job_id"
        expected = [row for row in all_.execute(query).fetchall() if row[0] not in odd]
        found = [row for row in mine.execute(query).fetchall() if row[0] not in odd]
        assert len(expected) > 1
        assert found == expected


def test_rows_that_are_too_many_are_refused(month: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_records, "MOST_PROCESSES", 20)
    with pytest.raises(DataError, match="choose a time with --since"):
        own_records.copy(month, ME)


def test_a_user_of_another_host_with_the_same_uid_is_somebody_else(
    month: Path, tmp_path: Path
) -> None:
    path = tmp_path / "elsa.db"
    path.write_bytes(month.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("insert into host (id, machine_id, name) values (2, 'm2', 'there')")
        connection.execute("insert into boot (id, host_id, uuid) values (90, 2, 'b90')")
        connection.execute(
            "insert into clock (id, boot_id, since_ns, offset_ns, boottime_offset_ns)"
            " values (90, 90, 0, 0, 0)"
        )
        connection.execute(
            "insert into process (id, boot_id, pid, origin, start_ns, clock_id, uid)"
            " values (9999999, 90, 7, 1, 5, 90, ?)",
            (ME,),
        )
        connection.execute(
            "insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself)"
            " values (9999, 90, 'theirs', ?, 5, 0)",
            (ME,),
        )
    assert own_records.copy(path, ME) == own_records.copy(month, ME)


def changed(connection: sqlite3.Connection, dice: random.Random) -> None:
    """Change, delete and add rows of which a user must know nothing."""
    jobs, _, known = own(connection, ME)
    others = sorted(ids(connection, "select id from process") - known)
    theirs = sorted(ids(connection, "select id from job") - jobs)
    (top,) = connection.execute("select max(id) from process").fetchone()
    for process in dice.sample(others, 20):
        match dice.randrange(4):
            case 0:
                for table in ("usage", "program", "membership", "usage_so_far", "usage_interval"):
                    connection.execute(f"delete from {table} where process_id = ?", (process,))
                connection.execute("delete from acct where process_id = ?", (process,))
                connection.execute("delete from process where id = ?", (process,))
            case 1:
                connection.execute(
                    "update process set elapsed_ns = ?, pid = ?, exit_status = 9 where id = ?",
                    (dice.randrange(10**12), dice.randrange(1, 4000), process),
                )
                connection.execute("update acct set utime = 77 where process_id = ?", (process,))
            case 2:
                connection.execute(
                    "update usage set utime_us = ?, rss_kib = 1 where process_id = ?",
                    (dice.randrange(10**9), process),
                )
            case 3:
                top += 1
                connection.execute(
                    "insert into process (id, boot_id, pid, origin, start_ns, clock_id, uid,"
                    " comm_id) select ?, boot_id, pid, origin, start_ns, clock_id, uid, comm_id"
                    " from process where id = ? and uid <> ?",
                    (top, process, ME),
                )
    for job in dice.sample(theirs, 5):
        connection.execute("update job set name = 'x', closed_at_ns = 5 where id = ?", (job,))
        connection.execute("delete from job_tag where job_id = ?", (job,))
        connection.execute("update job_memory set memory_kib = 7 where job_id = ?", (job,))
        process = dice.choice(sorted(known))
        connection.execute(
            "insert or ignore into membership (job_id, process_id, since_ns, how)"
            " values (?, ?, 0, 1)",
            (job, process),
        )
    connection.execute("update collector set events = ?, lost = 3", (dice.randrange(10**6),))
    connection.execute("update gap set lost = ?, note = 'x'", (dice.randrange(10**6),))
    connection.execute("update acct_file set modified_at_ns = 9, records = 50, position = 64")
    connection.execute("update acct set position = position + 64")
    connection.execute("delete from acct where process_id is null and uid <> ?", (ME,))
    for table in SUMS:
        connection.execute(
            f"delete from {table} where hour % 2" if "day" not in table else f"delete from {table}"
        )


def test_whatever_others_do_not_a_byte_changes(month: Path, tmp_path: Path) -> None:
    before = own_records.copy(month, ME)
    path = tmp_path / "elsa.db"

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 2**32))
    def holds(seed: int) -> None:
        path.write_bytes(month.read_bytes())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("begin")
            changed(connection, random.Random(seed))
            connection.execute("commit")
        assert own_records.copy(path, ME) == before

    holds()
    # It is no accident: what the user did makes a difference.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("update job set name = 'changed' where owner_uid = ?", (ME,))
    assert own_records.copy(path, ME) != before
