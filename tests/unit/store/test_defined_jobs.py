"""What was recorded becomes a job: by descent, session, command or condition, as of a time, and for
ordinary users only their own.
"""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from elsa.errors import PrivilegeError, UnavailableError, UsageError
from elsa.matching import parentage
from elsa.state.criteria import Criteria
from elsa.store import defined_jobs, locks
from tests.support import given
from tests.support.given import Warehouse

REAL, S, RUNNING = given.REAL, given.SECOND, given.RUNNING


@pytest.fixture
def warehouse(connection: sqlite3.Connection) -> Any:
    """A tree: 2 over 4 and 5, 4 over 6 (runs) and 7 (line concluded), 8 of another user under 5;
    and 9, which bears the pid of 2 later.
    """
    made = given.Warehouse(connection)
    made.process(2, start=10, seconds=20, pid=100, comm="sh")
    made.process(4, start=11, parent_id=2, comm="make")
    made.process(5, start=12, parent_id=2, comm="sudo")
    made.process(6, start=13, seconds=RUNNING, parent_id=4, comm="cc1")
    made.process(7, start=40, parent_id=4, parent_inferred=1, comm="cc1plus")
    made.process(8, start=14, parent_id=5, uid=0, comm="id")
    made.process(9, start=50, pid=100, comm="other")
    made.process(10, start=51, parent_id=9, comm="other")
    return made


def chosen(warehouse: Warehouse, only_uid: int | None = None, **selection: Any) -> dict[int, int]:
    """Incarnations that are found, and how they would be members."""
    path = Path(warehouse.connection.execute("pragma database_list").fetchone()[2])
    defined_jobs.find(warehouse.connection, path, Criteria(**selection), only_uid)
    return dict(warehouse.connection.execute("select * from temp.chosen"))


def test_a_root_is_the_process_that_had_the_pid_then_and_brings_all_its_descendants(
    warehouse: Warehouse,
) -> None:
    tree = {2: 5, 4: 5, 5: 5, 6: 5, 7: 4, 8: 5}
    assert chosen(warehouse, root=100, at_ns=REAL + 15 * S) == tree
    assert (
        chosen(warehouse, root=100, at_ns=REAL + 10 * S) == tree
    )  # a whole second, as reports show it, means any moment of it
    assert chosen(warehouse, root=100) == {9: 5, 10: 5}  # without a time: the last one
    assert chosen(warehouse, root=1004) == {4: 5, 6: 5, 7: 4}


def test_descent_is_followed_whatever_the_order_of_the_ids(connection: sqlite3.Connection) -> None:
    made = given.Warehouse(connection)
    rng = random.Random(7)
    ids = rng.sample(range(1, 10_000), 300)
    parents = {child: rng.choice([None, *ids[:place]]) for place, child in enumerate(ids) if place}
    for place, child in enumerate(ids):
        made.process(child, start=10 + place, pid=20_000 + child, parent_id=parents.get(child))
    root = ids[0]
    expected, grown = {root}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in expected} - expected
        expected, grown = expected | more, bool(more)
    assert set(chosen(made, root=20_000 + root)) == expected
    assert 100 < len(expected) < 300


def test_a_window_selects_by_start_time(warehouse: Warehouse) -> None:
    assert chosen(warehouse, root=100, at_ns=REAL + 15 * S, until_ns=REAL + 12 * S) == {2: 5, 4: 5}
    assert chosen(
        warehouse, root=100, at_ns=REAL + 15 * S, since_ns=REAL + 13 * S, until_ns=REAL + 40 * S
    ) == {6: 5, 8: 5}


def test_commands_are_matched_as_a_shell_does(warehouse: Warehouse) -> None:
    assert chosen(warehouse, commands=("cc1*", "make")) == {4: 5, 6: 5, 7: 5}
    with pytest.raises(UsageError, match="no recorded process"):
        chosen(warehouse, commands=("CC1",))


def test_a_session_is_its_known_members_and_their_unread_descendants(
    warehouse: Warehouse,
) -> None:
    warehouse.insert("program", process_id=2, session=100)
    warehouse.insert(
        "program", process_id=5, session=1005
    )  # it has left the session, and 8 under it was not looked at
    warehouse.insert("program", process_id=6, session=100)
    warehouse.insert("program", process_id=10, session=100)  # a later session of the same number
    assert chosen(warehouse, session=100, at_ns=REAL + 45 * S) == {
        2: 5,
        4: 4,
        6: 5,
        7: 4,
    }  # the session outlived its leader
    assert chosen(warehouse, session=100) == {9: 5, 10: 5}


def test_a_condition_selects_and_can_do_nothing_else(warehouse: Warehouse) -> None:
    assert set(
        chosen(warehouse, where="command like 'cc1%' and process_usage.uid = 1000 -- compilers")
    ) == {6, 7}
    before = list(warehouse.connection.iterdump())
    for condition in (
        "no_such_column = 1",
        "1 = 1); delete from process; select (1",
        "load_extension('x')",
        "process_id in (pragma_table_info('job'))",
        "1 and",
        "",
        "pid in (insert into job_tag values (1, 2, 3) returning 1)",
    ):
        with pytest.raises(UsageError) as refused:
            chosen(warehouse, where=condition)
        assert str(refused.value).startswith("--where: "), condition
        assert "\n" not in str(refused.value)
    assert list(warehouse.connection.iterdump()) == before


def test_the_warehouse_cannot_be_changed_nor_another_attached_by_a_condition(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    for condition in (f"1); attach '{other}' as o --", "1) union select 1; drop table job --"):
        with pytest.raises(UsageError):
            chosen(warehouse, where=condition)
    assert not other.exists()


def test_an_ordinary_user_gets_only_his_own(warehouse: Warehouse) -> None:
    assert chosen(warehouse, only_uid=1000, root=100, at_ns=REAL + 15 * S) == {
        2: 5,
        4: 5,
        5: 5,
        6: 5,
        7: 4,
    }
    with pytest.raises(PrivilegeError, match="not yours"):
        chosen(warehouse, only_uid=1000, root=1008)
    with pytest.raises(PrivilegeError, match="condition"):
        chosen(warehouse, only_uid=1000, where="1")
    with pytest.raises(UsageError, match="no recorded process matches"):
        chosen(warehouse, only_uid=1000, commands=("id",))


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ({"root": 77}, "no recorded process had pid 77"),
        ({"root": 100, "at_ns": REAL + 35 * S}, "started at 2026-01-02T"),
        ({"session": 77}, "not known"),
        ({"root": 100, "session": 100}, "exactly one"),
        ({}, "exactly one"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    warehouse: Warehouse, selection: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(warehouse, **selection)


def test_a_selection_of_several_boots_is_refused(warehouse: Warehouse) -> None:
    warehouse.insert("boot", id=2, host_id=1, uuid="b2")
    warehouse.process(20, boot_id=2, comm="make")
    with pytest.raises(UsageError, match="several boots"):
        chosen(warehouse, commands=("make",))


def defined(warehouse: Warehouse, db: Path, **selection: Any) -> int:
    found = defined_jobs.find(warehouse.connection, db, Criteria(**selection), None)
    job_id = defined_jobs.reserve(
        warehouse.connection, db, found.boot_id, "late", 1000, {"a": "b"}, REAL
    )
    assert (
        defined_jobs.fill(warehouse.connection, job_id, found, lambda _done, _total: None)
        == found.processes
    )
    return job_id


def test_a_defined_job_is_a_job_like_any_other(
    warehouse: Warehouse, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defined_jobs, "CHUNK", 2)
    warehouse.usage(4, run_ns=3 * S, utime_us=3_000_000, stime_us=0)
    job_id = defined(warehouse, db, root=100, at_ns=REAL + 15 * S)
    usage = warehouse.row("select * from job_usage")
    assert (usage["job_id"], usage["name"], usage["owner_uid"], usage["tags"]) == (
        job_id,
        "late",
        1000,
        '{"a":"b"}',
    )
    assert (usage["state"], usage["close_reason"], usage["processes"], usage["running"]) == (
        "closed",
        "defined",
        6,
        1,
    )
    assert (usage["inferred"], usage["part_life"], usage["cpu_s"], usage["complete"]) == (
        1,
        0,
        3.0,
        0,
    )
    hows = {
        row["process_id"]: row["how"]
        for row in warehouse.rows("select process_id, how from job_membership")
    }
    assert hows == dict.fromkeys((2, 4, 5, 6, 8), "defined") | {7: "inferred"}
    assert [
        row for row in warehouse.rows("select * from reconciliation") if row["difference"]
    ] == []


def test_a_job_that_could_not_be_filled_is_left_empty_and_says_so(
    warehouse: Warehouse, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defined_jobs, "CHUNK", 2)
    found = defined_jobs.find(
        warehouse.connection, db, Criteria(root=100, at_ns=REAL + 15 * S), None
    )
    job_id = defined_jobs.reserve(warehouse.connection, db, 1, "late", 1000, {}, REAL)

    def interrupt(done: int, _total: int) -> None:
        if done >= 4:
            assert warehouse.row("select close_reason, complete from job_usage") == {
                "close_reason": "defining",
                "complete": 0,
            }
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        defined_jobs.fill(warehouse.connection, job_id, found, interrupt)
    assert warehouse.row("select close_reason, processes, complete from job_usage") == {
        "close_reason": "failed",
        "processes": 0,
        "complete": 0,
    }


def test_only_jobd_gives_job_ids_while_it_runs(warehouse: Warehouse, db: Path) -> None:
    with locks.only(locks.COLLECTOR, db), pytest.raises(UnavailableError, match="--socket"):
        defined_jobs.reserve(warehouse.connection, db, 1, "late", 1000, {}, REAL)
    warehouse.insert(
        "collector", id=1, boot_id=1, job_ids_until=500
    )  # it was killed, and may have returned ids below 500
    assert defined_jobs.reserve(warehouse.connection, db, 1, "late", 1000, {}, REAL) == 500


def test_a_defined_job_takes_no_more(warehouse: Warehouse, db: Path) -> None:
    """A process that the ingester finds to be a child of a member is in the member's jobs, but for
    those that are selections.
    """
    warehouse.job(1, members=(2,))
    defined(warehouse, db, root=100, at_ns=REAL + 15 * S)
    warehouse.process(
        21,
        start=20,
        comm="late",
        parent_pid=warehouse.row("select pid from process where id = 2")["pid"],
    )
    parentage.infer_parents(warehouse.connection, 1)
    assert warehouse.rows("select job_id from membership where process_id = 21") == [{"job_id": 1}]
