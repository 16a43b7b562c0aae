"""The parent of a process whose fork was not received: the next record of the parent's pid is the
parent's own.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from elsa.matching import parentage
from elsa.matching.parentage import JUST_BEFORE
from elsa.state.codes import How, Origin
from tests.support.given import SECOND, Warehouse

ACCT: dict[str, Any] = {"origin": int(Origin.ACCT), "parent_pid": 50}


@pytest.fixture
def warehouse(connection: sqlite3.Connection) -> Warehouse:
    return Warehouse(connection)


def traced(warehouse: Warehouse, id_: int = 9) -> tuple[Any, ...]:
    """Parent, whether it was inferred, and the jobs of a process after tracing."""
    parentage.infer_parents(warehouse.connection, 1)
    found = warehouse.row(
        "select parent_id, parent_inferred, start_ns / 1e9 as start from process where id = ?", id_
    )
    jobs = [
        row["job_id"]
        for row in warehouse.rows(
            "select job_id from membership where process_id = ? and how = ?", id_, How.INFERRED
        )
    ]
    return found["parent_id"], found["parent_inferred"], found["start"], jobs


def test_the_only_process_that_had_the_pid_then_is_the_parent(warehouse: Warehouse) -> None:
    warehouse.process(2, pid=50, start=5, seconds=20)
    warehouse.process(4, pid=50, start=40)
    warehouse.job(1, members=(2,))
    warehouse.process(9, start=10, **ACCT)
    assert traced(warehouse) == (2, 1, 10, [1])


def test_of_several_within_the_second_the_next_in_the_file_is_the_parent(
    warehouse: Warehouse,
) -> None:
    for id_ in (3, 5, 7):
        warehouse.process(id_, pid=50, start=10, seconds=0.2, origin=3)
    warehouse.job(1, members=(5,))
    warehouse.process(9, start=10, seconds=0.1, **ACCT)
    for record, process in enumerate((3, 9, 5, 7), 1):
        warehouse.acct(record, process)
    assert traced(warehouse) == (5, 1, 10, [1])


def test_a_parent_that_started_later_than_its_record_says_ended_later_too(
    warehouse: Warehouse,
) -> None:
    """Its own parent moves its start to 10.9 s, so that it may have lived on until 20.9 s; the
    child ended 1.0 s later.
    """
    warehouse.process(2, pid=60, start=10.9, seconds=30)
    warehouse.process(9, pid=50, start=10, seconds=10, origin=3, parent_pid=60)
    warehouse.process(7, start=21, seconds=0.9, **ACCT)
    assert traced(warehouse, 7)[0] == 9
    assert warehouse.row("select start_ns from process where id = 9") == {
        "start_ns": int(10.9 * SECOND)
    }


def test_after_the_last_record_the_process_that_still_runs_is_the_parent(
    warehouse: Warehouse,
) -> None:
    warehouse.process(2, pid=50, start=10, seconds=0.2)
    warehouse.process(4, pid=50, start=10.4, seconds=None)
    warehouse.process(9, start=10.5, seconds=0.1, **ACCT)
    warehouse.acct(1, 2)
    warehouse.acct(2, 9)
    assert traced(warehouse)[0] == 4


def test_where_a_record_may_be_missing_nothing_is_concluded(warehouse: Warehouse) -> None:
    warehouse.process(2, pid=50, start=10, seconds=0.2)
    warehouse.process(4, pid=50, start=10.4, seconds=0.2)
    warehouse.process(9, start=10.5, seconds=0.1, **ACCT)
    warehouse.acct(1, 9)
    warehouse.acct(2, 4)
    assert traced(warehouse)[0] is None


def test_a_record_that_may_be_the_parents_is_waited_for(warehouse: Warehouse) -> None:
    warehouse.process(2, pid=50, start=10, seconds=5)
    warehouse.process(9, start=10.5, seconds=0.1, **ACCT)
    warehouse.acct(1, 9)
    warehouse.acct(2, None, pid=50)
    assert traced(warehouse)[0] is None
    warehouse.connection.execute("update acct set process_id = 2, join_outcome = 1 where id = 2")
    assert traced(warehouse)[0] == 2


@pytest.mark.parametrize("origin", [Origin.ACCT, Origin.FORK])
def test_who_had_ended_before_is_not_the_parent_while_the_parents_record_is_not_read(
    warehouse: Warehouse, origin: Origin
) -> None:
    """The pid was reused within the second: the process that had it before left the last record
    that is read so far.
    """
    warehouse.process(2, pid=50, start=10, seconds=0.2)
    warehouse.process(4, pid=61, start=10.3, seconds=0.1)
    warehouse.job(1, members=(2,))
    warehouse.process(9, start=10.5, seconds=0.1, origin=int(origin), parent_pid=50)
    for record, process in ((1, 2), (2, 4), (1 + JUST_BEFORE + 1, 9)):
        warehouse.acct(record, process)
    assert traced(warehouse)[0] is None
    warehouse.process(6, pid=50, start=10.4, seconds=0.4)
    warehouse.acct(50, 6)
    assert traced(warehouse) == (6, 1, 10.5, [])


def test_the_init_of_a_pid_namespace_is_the_parent_of_those_that_end_with_it(
    warehouse: Warehouse,
) -> None:
    """It leaves its record, and then kills them."""
    warehouse.process(3, pid=50, start=10, seconds=0.2, origin=3)
    warehouse.process(9, start=10, seconds=0.1, **ACCT)
    warehouse.acct(1, 3)
    warehouse.acct(2, 9, exitcode=9)
    warehouse.process(5, pid=50, start=10, seconds=0.7, origin=3)
    warehouse.acct(3, 5)
    assert traced(warehouse)[0] is None  # or was it killed by something else?
    warehouse.connection.execute("delete from acct where id = 3")
    warehouse.connection.execute("delete from process where id = 5")
    assert traced(warehouse)[0] == 3


def test_a_parent_is_never_younger_than_its_child(warehouse: Warehouse) -> None:
    warehouse.process(2, pid=50, start=14, seconds=5)
    warehouse.process(9, start=10, seconds=4.5, **ACCT)
    assert traced(warehouse)[0] is None
    warehouse.process(4, pid=50, start=10.5, seconds=5)
    assert traced(warehouse)[:3] == (4, 1, 10.5)


@pytest.mark.parametrize(
    ("start", "parent"), [(10.15, None), (10.05, None), (10.35, 5), (10.25, 5)]
)
def test_the_parent_of_a_received_fork_is_known_from_adjacent_records(
    warehouse: Warehouse, start: float, parent: int | None
) -> None:
    for id_ in (3, 5):
        warehouse.process(id_, pid=50, start=10, seconds=0.2, origin=3)
    warehouse.process(2, pid=60, start=10, seconds=0.1)
    warehouse.process(4, pid=61, start=10.2, seconds=0.01)
    warehouse.process(6, pid=62, start=10.4, seconds=0.1)
    for record, process in enumerate((2, 3, 4, 6, 5), 1):
        warehouse.acct(record, process, join=1 if process % 2 == 0 else 4)
    warehouse.process(8, start=start, parent_pid=50)
    assert traced(warehouse, 8)[0] == parent


def test_no_process_starts_before_its_parent(warehouse: Warehouse) -> None:
    warehouse.process(2, pid=50, start=10.7, seconds=5)
    warehouse.process(9, start=10, seconds=1, **ACCT)
    warehouse.process(11, start=10.1, seconds=0.5, origin=3, parent_id=9)
    warehouse.process(13, start=10.2, seconds=0.3, origin=3, parent_id=11)
    assert traced(warehouse)[2] == traced(warehouse, 11)[2] == traced(warehouse, 13)[2] == 10.7


def test_children_of_those_that_came_into_a_job_come_into_it_too(warehouse: Warehouse) -> None:
    warehouse.process(2, pid=50, start=5, seconds=20)
    warehouse.job(1)
    warehouse.stay(1, 2, since=8)
    warehouse.process(9, start=10, **ACCT)
    warehouse.process(4, start=10.2, parent_id=9)
    warehouse.process(11, start=7, **ACCT)
    assert traced(warehouse) == (2, 1, 10, [1])
    assert traced(warehouse, 4)[3] == [1]
    assert traced(warehouse, 11) == (2, 1, 7, [])


def test_a_parent_that_does_not_come_is_given_up(warehouse: Warehouse) -> None:
    warehouse.process(9, start=10, **ACCT)
    warehouse.process(11, start=10 + 2 * parentage.ORPHAN_NS / SECOND, origin=3, parent_pid=51)
    parentage.infer_parents(warehouse.connection, 1)
    assert [
        row["parent_pid"] for row in warehouse.rows("select parent_pid from process order by id")
    ] == [None, 51]
