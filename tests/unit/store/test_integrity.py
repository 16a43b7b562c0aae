"""`elsa db check`: a sound warehouse passes, damage is reported in words."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from elsa.errors import ConfigError, ElsaError
from elsa.store.integrity import faults
from tests.support.given import Warehouse


@pytest.fixture
def path(db: Path) -> Path:
    return db


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_new_warehouse_is_sound(path: Path) -> None:
    assert faults(path) == []


def test_a_reference_that_leads_nowhere_is_found(path: Path) -> None:
    change(path, "insert into boot values (1, 77, 'x', 0, null, 4000000)")
    assert faults(path) == ["a reference leads nowhere"]


def test_a_process_that_would_not_be_found_is_found(path: Path) -> None:
    change(
        path,
        "insert into host values (1, 'm', 'h')",
        "insert into boot values (1, 1, 'b', 0, null, 4000000)",
        "insert into clock values (1, 1, 0, 0, 0)",
        "insert into process (id, boot_id, pid, origin, start_ns, clock_id) values (2, 1, 300, 1,"
        " 5, 1)",
    )
    assert faults(path) == []
    change(path, "delete from process_start_block")
    assert faults(path) == ["a process is not found by its start time"]


def test_a_process_that_entered_an_automatic_job_after_its_end_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        warehouse = Warehouse(connection)
        warehouse.process(2, start=10, seconds=5)
        warehouse.job(1, kind="manual")
        warehouse.job(2, kind="service")
        warehouse.stay(1, 2, since=16)
        warehouse.stay(2, 2, since=15)
    assert faults(path) == []
    change(path, "update membership set since_ns = since_ns + 1")
    assert faults(path) == ["a process entered an automatic job after its end"]


def test_pages_that_were_overwritten_are_found(path: Path) -> None:
    change(
        path,
        "pragma journal_mode = delete",
        "insert into comm with recursive n(i) as (select 1 union all select i + 1 from n where i <"
        " 9000) select i, 'name' || i from n",
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = b"\xa5" * 20_000
    path.write_bytes(data)
    try:
        assert faults(path)
    except ElsaError as error:
        assert isinstance(error, ConfigError)
