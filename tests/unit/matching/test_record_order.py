"""Between which times a record was written, known from exactly joined records around it."""

from __future__ import annotations

import sqlite3

import pytest

from elsa.matching import record_order
from elsa.matching.record_order import WrittenBetween
from tests.support.given import SECOND, Warehouse


@pytest.fixture
def warehouse(connection: sqlite3.Connection) -> Warehouse:
    warehouse = Warehouse(connection)
    for id_, start in ((2, 10), (4, 11), (6, 13), (8, 12)):
        warehouse.process(id_, start=start, seconds=4)
    return warehouse


def seconds(*times: int | None) -> WrittenBetween:
    return WrittenBetween(*(None if time is None else time * SECOND for time in times))


def test_what_stands_between_two_records_was_written_between_them(warehouse: Warehouse) -> None:
    for id_, process in ((1, None), (2, 2), (3, 6), (4, None), (5, 4), (6, 8), (7, None)):
        warehouse.acct(id_, process)
    found = record_order.written_between(warehouse.connection, 1, [7, 1, 4])
    assert found == {1: seconds(None, 14), 4: seconds(13, 15), 7: seconds(13, None)}


@pytest.mark.parametrize("change", ["join_outcome = 2", "join_outcome = 4", "acct_file_id = 2"])
def test_only_exact_neighbours_in_the_same_file_tell(warehouse: Warehouse, change: str) -> None:
    for id_, process in ((1, 2), (2, None), (3, 4)):
        warehouse.acct(id_, process)
    assert record_order.written_between(warehouse.connection, 1, [2]) == {2: seconds(10, 15)}
    warehouse.insert("acct_file", id=2, host_id=1, path="other")
    warehouse.connection.execute(f"update acct set {change} where id = 3")
    assert record_order.written_between(warehouse.connection, 1, [2]) == {2: seconds(10, None)}
    assert record_order.written_between(warehouse.connection, 2, [2]) == {2: record_order.UNKNOWN}


def test_neighbours_that_contradict_each_other_tell_nothing(warehouse: Warehouse) -> None:
    warehouse.process(10, start=1, seconds=1)
    for id_, process in ((1, 2), (2, None), (3, 10)):
        warehouse.acct(id_, process)
    assert record_order.written_between(warehouse.connection, 1, [2]) == {2: record_order.UNKNOWN}


def test_many_records_are_handled_in_chunks(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.acct(1, 2)
    for id_ in range(2, 30):
        warehouse.acct(id_, None)
    warehouse.acct(30, 4)
    whole = record_order.written_between(warehouse.connection, 1, range(2, 30))
    monkeypatch.setattr(record_order, "MOST", 7)
    assert record_order.written_between(warehouse.connection, 1, range(2, 30)) == whole
    assert set(whole.values()) == {seconds(10, 15)}
