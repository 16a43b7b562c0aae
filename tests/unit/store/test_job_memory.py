"""Old readings of the memory of jobs: the greatest and the last of each hour are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.store import job_memory
from elsa.units import HOUR_NS
from tests.support.given import Warehouse

HOUR = 490_000
MINUTE_NS = HOUR_NS // 60


@pytest.fixture
def warehouse(template: Path) -> Iterator[Warehouse]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        made = Warehouse(connection)
        connection.execute("update clock set offset_ns = ?", (HOUR * HOUR_NS,))
        yield made


def read(warehouse: Warehouse, job_id: int, *readings: tuple[int, int]) -> None:
    for minute, kib in readings:
        warehouse.insert(
            "job_memory", job_id=job_id, read_ns=minute * MINUTE_NS, memory_kib=kib, memory_by=1
        )


def left(warehouse: Warehouse, job_id: int) -> list[tuple[int, int]]:
    rows = warehouse.connection.execute(
        "select read_ns, memory_kib from job_memory where job_id = ? order by 1", (job_id,)
    )
    return [(read_ns // MINUTE_NS, kib) for read_ns, kib in rows]


def test_greatest_and_last_reading_of_each_old_hour_are_kept(warehouse: Warehouse) -> None:
    for job_id in (1, 2, 3):
        warehouse.job(job_id)
    read(
        warehouse, 1, (0, 5), (1, 9), (2, 7), (3, 9), (59, 6), (60, 1), (61, 2), (120, 4), (121, 3)
    )
    read(warehouse, 2, (5, 100), (6, 90), (7, 80))
    read(warehouse, 3, (125, 1), (126, 2), (127, 1))
    steps: list[int] = []
    assert job_memory.count_old(warehouse.connection, HOUR + 2) == 5
    assert job_memory.thin_hours(warehouse.connection, HOUR + 2, steps.append) == 5
    assert sum(steps) == 5
    assert left(warehouse, 1) == [(1, 9), (59, 6), (61, 2), (120, 4), (121, 3)]
    assert left(warehouse, 2) == [(5, 100), (7, 80)]
    assert left(warehouse, 3) == [(125, 1), (126, 2), (127, 1)]
    assert job_memory.count_old(warehouse.connection, HOUR + 2) == 0
