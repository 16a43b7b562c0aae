"""The peak of a job, whatever of it is known: never less than that of its largest process, and
unknown only where nothing is known.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.state.codes import MemoryBy
from tests.support.given import Warehouse

KIB = st.none() | st.integers(0, 1 << 40)


@pytest.fixture
def warehouse(template: Path) -> Iterator[Warehouse]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        yield Warehouse(connection)


@given(
    largest=st.lists(KIB, max_size=3),
    sampled=st.none() | st.tuples(st.integers(0, 1 << 40), st.sampled_from(MemoryBy)),
    group=st.none() | st.tuples(st.booleans(), KIB),
    closed=st.booleans(),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_peak_is_never_less_than_that_of_the_largest_process_and_never_0_for_unknown(
    warehouse: Warehouse,
    largest: list[int | None],
    sampled: tuple[int, MemoryBy] | None,
    group: tuple[bool, int | None] | None,
    closed: bool,
) -> None:
    connection = warehouse.connection
    connection.execute("begin")
    try:
        for number, kib in enumerate(largest, 1):
            warehouse.process(number, start=10, seconds=10)
            warehouse.usage(number, rss_kib=kib)
        kib_and_by = sampled or (None, None)
        warehouse.job(
            1,
            members=tuple(range(1, len(largest) + 1)),
            memory_kib=kib_and_by[0],
            memory_by=kib_and_by[1],
            closed_at_ns=1_767_323_100 * 10**9 if closed else None,
        )
        measured_kib = None
        if group is not None:
            final, measured_kib = group
            measured = None if measured_kib is None else measured_kib * 1024
            warehouse.insert(
                "job_cgroup", job_id=1, read_ns=1, final=int(final), memory_peak=measured
            )
        row = warehouse.row("select job_peak_kib, job_peak_by from job_usage")
    finally:
        connection.execute("rollback")
    whole_kib = kib_and_by[0] if measured_kib is None else measured_kib
    known = [kib for kib in (*largest, whole_kib) if kib is not None]
    assert row["job_peak_kib"] == max(known, default=None)
    assert (row["job_peak_by"] is None) == (not known)
    of_one = max((kib for kib in largest if kib is not None), default=-1)
    is_largest = of_one > (-1 if whole_kib is None else whole_kib)
    assert (row["job_peak_by"] == "largest") == is_largest
    assert (row["job_peak_by"] == "measured") == (
        not is_largest
        and measured_kib is not None
        and group is not None
        and (group[0] or not closed)
    )
