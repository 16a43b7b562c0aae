"""The month that is made up for tests and measurements holds everything that a month of a busy host
has, and holds together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.month import Month, write


@pytest.fixture(scope="module")
def month(template: Path) -> Iterator[sqlite3.Connection]:
    """A small one."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        write(connection, Month(6000, events=True))
        yield connection


def test_the_same_seed_gives_the_same_rows_and_another_gives_others() -> None:
    first, same, other = (list(Month(500, seed=seed).batches()) for seed in (1, 1, 2))
    assert first == same != other


def test_its_books_balance_and_no_reference_leads_nowhere(month: sqlite3.Connection) -> None:
    assert month.execute("select count(*) from process").fetchone() == (6000,)
    assert (
        month.execute(
            "select measure, difference from reconciliation where difference <> 0"
        ).fetchall()
        == []
    )
    assert month.execute("select * from pragma_foreign_key_check").fetchall() == []


@pytest.mark.parametrize(
    "kind",
    [
        "process where elapsed_ns is null",
        "process where elapsed_ns > 86400e9",
        "process where end_source = 5",
        (
            "process as p where not exists (select 1 from acct where process_id = p.id) and"
            " elapsed_ns is not null"
        ),
        "usage where complete = 0",
        "acct where join_outcome = 0",
        "acct where join_outcome = 2",
        "acct where join_outcome = 3",
        "acct where join_outcome = 4",
        "acct where join_outcome = 5",
        "job where closed_at_ns is null",
        "gap where kind = 'taskstats'",
        "(select 1 from all_memberships group by process_id having count(*) = 3)",
        "process where inherited_job_id is not null",
        "job_process_usage where part_life = 1 and part_life_whole = 0",
        "job_process_usage where part_life_whole = 1",
        "event where kind = 3",
    ],
)
def test_it_has_some_of_each_kind(month: sqlite3.Connection, kind: str) -> None:
    assert month.execute(f"select count(*) from {kind}").fetchone()[0] > 0
