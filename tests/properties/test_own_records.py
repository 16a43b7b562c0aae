"""The warehouse of a user's own processes and jobs: it has all of them, and nothing in it depends
on what others did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.store import own_records, schema
from tests.support.given import REAL, SECOND, Warehouse

ME, OTHERS = 1000, (0, 1001, 1002)
HOUR = REAL // (3600 * SECOND)


class Other(NamedTuple):
    """A process of somebody else, and what is known of it."""

    uid: int
    start: int
    comm: str
    parent_is_mine: bool
    recorded: bool
    measured: bool
    job: int | None
    """101 or 102: a job of an other."""
    mine_too: bool
    """The job has a process of mine as well."""


others = st.lists(
    st.builds(
        Other,
        st.sampled_from(OTHERS),
        st.integers(0, 5000),
        st.sampled_from(("work", "secret", "vault")),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from((None, 101, 102)),
        st.booleans(),
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def paths(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    folder = tmp_path_factory.mktemp("own")
    count = iter(range(10**6))

    def new() -> Path:
        path = folder / f"{next(count)}.db"
        path.write_bytes(template.read_bytes())
        return path

    yield new


def _mine(warehouse: Warehouse) -> None:
    """Two processes of mine, one of root in a job of mine, a record alone, an event, arguments."""
    warehouse.insert("long_text", id=1, value="/home/me/run")
    warehouse.process(2, start=10, comm="work", exe_id=1)
    warehouse.process(4, start=20, seconds=None, comm="shell", inherited_job_id=None)
    warehouse.process(6, start=30, comm="sudo", uid=0)
    warehouse.acct(1, 2, comm="work", utime=50)
    warehouse.acct(3, None, comm="work", uid=ME)
    warehouse.usage(2, run_ns=7 * SECOND)
    warehouse.usage(6, run_ns=9 * SECOND)
    warehouse.insert("program", process_id=4, cmdline_id=1)
    warehouse.insert("event", id=1, boot_id=1, kind=1, time_ns=10 * SECOND, process_id=2)
    warehouse.job(1, "mine", members=(2, 6))
    warehouse.insert("job_tag", job_id=1, key="k", value="v")
    warehouse.insert("collector", id=1, boot_id=1, version="1", since_ns=0, heard_ns=9 * SECOND)
    warehouse.insert("gap", boot_id=1, kind="overrun", from_ns=1, to_ns=2, lost=3)


def _of_others(warehouse: Warehouse, rows: list[Other]) -> None:
    for owner, job in ((0, 101), (1001, 102)):
        warehouse.job(job, f"job of {owner}", owner_uid=owner)
        warehouse.insert("job_tag", job_id=job, key="theirs", value="secret")
    for number, other in enumerate(rows):
        id_ = 1000 + 2 * number
        warehouse.process(
            id_,
            start=other.start,
            comm=other.comm,
            uid=other.uid,
            parent_id=2 if other.parent_is_mine else None,
            inherited_job_id=other.job if other.mine_too else None,
        )
        warehouse.insert("event", id=id_, boot_id=1, kind=3, time_ns=SECOND, process_id=id_)
        if other.recorded:
            warehouse.acct(1000 + number, id_, comm=other.comm, uid=other.uid)
            warehouse.acct(2000 + number, None, comm=other.comm, uid=other.uid)
        if other.measured:
            warehouse.usage(id_, run_ns=number)
            warehouse.insert("long_text", id=id_, value=f"/{other.comm}/{number}")
            warehouse.insert("program", process_id=id_, cmdline_id=id_)
        if other.job is not None:
            warehouse.connection.execute(
                "insert or ignore into membership (job_id, process_id, since_ns, how)"
                " values (?, ?, 0, 2)",
                (other.job, 2 if other.mine_too else id_),
            )


def _copy(path: Path, rows: list[Other], since_ns: int | None = None) -> list[str]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma synchronous = off")  # each row is a transaction
        warehouse = Warehouse(connection)
        _mine(warehouse)
        _of_others(warehouse, rows)
        connection.execute("update collector set events = ?, lost = ?", (len(rows), len(rows)))
        connection.execute("update gap set lost = ?", (len(rows),))
        connection.execute("update acct_file set records = ?, head = x'01'", (len(rows),))
    with closing(sqlite3.connect(":memory:")) as copied:
        copied.deserialize(own_records.copy(path, ME, since_ns))
        assert copied.execute("pragma foreign_key_check").fetchall() == []
        return list(copied.iterdump())


@pytest.fixture(scope="module")
def alone(paths: Callable[[], Path]) -> list[str]:
    """The copy where others did nothing."""
    return _copy(paths(), [])


@settings(max_examples=60)
@given(others)
def test_nothing_in_it_depends_on_what_others_did(
    paths: Callable[[], Path], alone: list[str], rows: list[Other]
) -> None:
    assert _copy(paths(), rows) == alone


def test_it_has_all_that_is_mine(paths: Callable[[], Path]) -> None:
    path = paths()
    _copy(path, [])
    with closing(sqlite3.connect(":memory:")) as copied:
        copied.deserialize(own_records.copy(path, ME))

        def value(query: str) -> object:
            return copied.execute(query).fetchone()[0]

        assert value("select group_concat(id) from (select id from process order by id)") == "2,4,6"
        assert value("select cpu_s from job_usage where job_id = 1") == 16
        assert value("select group_concat(value) from long_text") == "/home/me/run"
        assert value("select utime_ticks from user_usage where uid = 1000") == 50
        assert value("select count(*) from acct") == 2
        assert value("select count(*) from event") == 1
        assert value("select lost from gap") is None


def test_a_time_leaves_out_what_ended_before(paths: Callable[[], Path]) -> None:
    path = paths()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        warehouse = Warehouse(connection)
        _mine(warehouse)
        warehouse.process(8, start=7200)
        # A job that began before is there with all its members.
        warehouse.process(10, start=40)
        warehouse.process(12, start=7300)
        warehouse.job(2, "long", members=(10, 12))
    since_ns = (HOUR + 1) * 3600 * SECOND
    with closing(sqlite3.connect(":memory:")) as copied:
        copied.deserialize(own_records.copy(path, ME, since_ns))
        assert copied.execute("select id from process order by id").fetchall() == [
            (id_,) for id_ in (4, 8, 10, 12)
        ]
        assert copied.execute("select wall_s from job_usage where job_id = 2").fetchone() == (7261,)


def test_every_table_is_decided() -> None:
    assert set(own_records.PARTS) == {*schema.metadata.tables, "alembic_version"}


def test_what_an_administrator_added_is_left_out(paths: Callable[[], Path]) -> None:
    path = paths()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _mine(Warehouse(connection))
        connection.executescript(
            "analyze; create table his (x); create index his_index on his (x);"
            " create view his_view as select x from his; create index more on process (uid);"
        )
    with closing(sqlite3.connect(":memory:")) as copied:
        copied.deserialize(own_records.copy(path, ME))
        assert copied.execute("select count(*) from process").fetchone() == (3,)
        assert (
            copied.execute("select name from sqlite_master where name like 'his%'").fetchall() == []
        )
