"""The sums that the ingester adds up in memory are those that the views give."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.config import Config
from elsa.decode import acct
from elsa.ingest import ingester
from elsa.ingest.ingester import Ingester
from elsa.kernel import acct_file, clocks
from elsa.kernel.procfs import Procfs
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB
from elsa.store import aggregates, database, plain_sums, rollups
from elsa.store.plain_sums import ONLY_ACCT, KnownBy, Plain, PlainSums
from elsa.units import SECOND_NS

LAYOUT = struct.Struct("<2BH6If8H16s")
NOW = 1_700_000_000 // 86400 * 86400
DAY = NOW // 86400
BOOTED = NOW + 3 * 3600
SUMS = (
    *("rollup_hour", "rollup_day", "rollup_command", "rollup_user", "rollup_job", "rollup_audit"),
    *("rollup_unconfirmed", "rollup_day_command", "rollup_day_user", "rollup_day_job"),
    "rollup_day_total",
)
MEASURES = aggregates.columns(ROLLED | OF_AUDIT | ROLLED_OF_JOB)
LARGEST = 0xFFFF
"""A comp_t of 3 years in 1/100 s."""


class Given(NamedTuple):
    """A process and its record."""

    minute: int
    """When it ended."""
    pid: int
    ticks: float
    uid: int
    flag: int
    comp: int
    reported: bool
    """jobd received its events, if that was after the boot."""
    by_taskstats: bool
    in_job: bool
    is_self: bool
    """A record that acct(2) writes about its caller."""

    @property
    def end(self) -> int:
        return NOW + self.minute * 60

    def record(self) -> bytes:
        btime = self.end - int(self.ticks) // 100
        comp = (self.comp, self.comp // 2, 0 if self.is_self else 9, 0, 0, self.comp, 7, 0)
        whose = (0, self.uid, self.uid % 2, self.pid, 1)
        name = b"work%d" % (self.pid % 3)
        return LAYOUT.pack(
            0 if self.is_self else self.flag, 3, 0, *whose, btime, self.ticks, *comp, name
        )


rarely = st.sampled_from((*(False,) * 19, True))
given_processes = st.lists(
    st.builds(
        Given,
        st.integers(0, 16 * 60),
        st.integers(300, 400),
        st.sampled_from((0.0, 5.0, 399.0, 720_000.0, 20_000_000.0)),
        st.integers(0, 3),
        st.sampled_from((0, 1, 2)),
        st.sampled_from((0, 3, 5000, LARGEST)),
        st.booleans(),
        rarely,
        rarely,
        rarely,
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of a host that has booted once since jobd was installed."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("plain") / "elsa.db"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("insert into host (id, name) values (1, 'test')")
        connection.execute("insert into boot (id, host_id, uuid) values (1, 1, 'a boot')")
        connection.execute("insert into clock values (1, 1, 0, ?, 0)", (BOOTED * SECOND_NS,))
        connection.execute(
            "insert into collector values (1, 1, 1, '0', 0, ?1, ?1, 0, 0, 1)", (10**6 * SECOND_NS,)
        )
        connection.execute("insert into comm values (1, 'before')")
        connection.execute(
            """insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself)
               values (1, 1, 'job', 1, 0, 0)"""
        )
    return path


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    """So that hours are divided among batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingester, "BATCH", 10)
        patch.setattr(acct_file, "CHUNK", 10 * 64)
        yield


def report(connection: sqlite3.Connection, processes: list[Given]) -> None:
    """What jobd stored of the processes that it received."""
    for number, one in enumerate(processes, start=1):
        start_s = one.end - BOOTED - one.ticks / 100
        if start_s < 0 or not one.reported or one.is_self:
            continue
        connection.execute(
            """insert into process (id, boot_id, pid, origin, start_ns, clock_id, elapsed_ns,
                   end_clock_id, end_source, exit_status, uid, comm_id)
               values (?, 1, ?, 1, ?, 1, ?, 1, 1, 0, ?, 1)""",
            (
                2 * number,
                one.pid,
                int(start_s * SECOND_NS) + number,
                int(one.ticks) * SECOND_NS // 100 + 1234,
                one.uid,
            ),
        )
        if one.by_taskstats:
            connection.execute(
                """insert into usage (process_id, threads, complete, utime_us, rss_kib)
                   values (?, 1, 1, 7, 8)""",
                (2 * number,),
            )
        if one.in_job:
            connection.execute(
                "insert into membership values (1, ?, 0, null, 1, null)", (2 * number,)
            )


def ingest(folder: Path, processes: list[Given]) -> None:
    """Append their records to the accounting file, and read them."""
    with (folder / "pacct").open("ab") as file:
        file.writelines(one.record() for one in processes)
    config = Config(db=folder / "elsa.db", socket=folder / "sock", acct_file=folder / "pacct")
    Ingester(config, Procfs(), host="test").run_once([])


def sums(path: Path) -> dict[str, list[str]]:
    """All sums, when all that is over has been rolled up."""
    with closing(database.open_for_writing(path)) as connection:
        rollups.refresh(connection, path, (NOW + 40 * 86400) * SECOND_NS)
        return {
            table: sorted(map(repr, added(connection.execute(f"select {columns} from {table}"))))
            for table, columns in (
                dict.fromkeys(SUMS, "*") | {"rollup_hour": "hour, ready"}
            ).items()
        }


def added(cursor: sqlite3.Cursor) -> list[tuple[object, ...]]:
    """Rows of which those of the same key are added up: a sum beyond 64 bits has several."""
    is_sum = [name in MEASURES for name, *_ in cursor.description]
    rows: dict[tuple[object, ...], tuple[Any, ...]] = {}
    for row in cursor:
        key = tuple(value for value, a_sum in zip(row, is_sum, strict=True) if not a_sum)
        before = rows.get(key, (None,) * len(row))
        rows[key] = tuple(
            (old if new is None else new if old is None else old + new) if a_sum else new
            for old, new, a_sum in zip(before, row, is_sum, strict=True)
        )
    return list(rows.values())


def forget_sums(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("delete from rollup_hour")


@settings(max_examples=30, deadline=None)
@given(given_processes, given_processes)
def test_sums_of_the_ingester_are_those_of_the_views(
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    earlier: list[Given],
    later: list[Given],
) -> None:
    folder = tmp_path_factory.mktemp("example")
    shutil.copy(template, folder)
    path = folder / "elsa.db"
    by_end = sorted(earlier, key=lambda one: one.end)
    with closing(sqlite3.connect(path)) as connection, connection:
        report(connection, [*by_end, *later])
    ingest(folder, by_end)
    ingest(folder, later)  # in any order
    summed = sums(path)
    forget_sums(path)
    assert summed == sums(path)


def plain(since: int, until: int, *, reported: bool, comp: int = 50) -> list[Given]:
    """Plain processes, one every two minutes."""
    return [
        Given(minute, 300 + minute, 5.0, 1, 0, comp, reported, False, False, False)
        for minute in range(since, until, 2)
    ]


class RolledUp(NamedTuple):
    """The hours and the days of which there are sums."""

    hours: set[int]
    days: set[int]


def rolled_up_after(folder: Path, template: Path, processes: list[Given], *others: str) -> RolledUp:
    """What the ingester rolls up, after these statements on what jobd stored."""
    shutil.copy(template, folder)
    path = folder / "elsa.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        report(connection, processes)
        for statement in others:
            connection.execute(statement)
    ingest(folder, processes)
    with closing(sqlite3.connect(path)) as connection:
        rolled_up = RolledUp(
            {hour for (hour,) in connection.execute("select hour from rollup_audit")},
            {day for (day,) in connection.execute("select day from rollup_day")},
        )
    summed = sums(path)
    forget_sums(path)
    assert summed == sums(path)
    return rolled_up


@pytest.mark.parametrize("reported", [False, True])
def test_hours_and_days_of_plain_processes_are_rolled_up_by_the_ingester(
    template: Path, tmp_path: Path, reported: bool
) -> None:
    processes = plain(190, 400, reported=reported)
    if not reported:
        processes = plain(0, 180, reported=False)
    expected = {one.end // 3600 for one in processes}
    assert rolled_up_after(tmp_path, template, processes) == (expected, {DAY})


def test_a_day_with_sums_of_deleted_processes_is_left_to_sqlite(
    template: Path, tmp_path: Path
) -> None:
    pruned = f"""
        insert into rollup_user (hour, pruned, uid, gid, in_job, host_id, processes, cpu_ns)
        values ({DAY * 24 + 4}, 1, 1, 1, 0, 1, 5, 7)"""
    rolled_up = rolled_up_after(tmp_path, template, plain(190, 400, reported=True), pruned)
    assert rolled_up.days == set()
    with closing(sqlite3.connect(tmp_path / "elsa.db")) as connection:
        (processes,) = connection.execute("select sum(processes) from rollup_day_user").fetchone()
    assert processes == len(plain(190, 400, reported=True)) + 5


def test_a_day_with_too_many_totals_to_keep_is_left_to_sqlite(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_sums, "_MOST_TOTALS", 3)
    assert rolled_up_after(tmp_path, template, plain(190, 400, reported=True)).days == set()


def test_a_day_of_two_passes_is_left_to_sqlite(template: Path, tmp_path: Path) -> None:
    earlier, later = plain(0, 120, reported=False), plain(120, 180, reported=False)
    shutil.copy(template, tmp_path)
    path = tmp_path / "elsa.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "realtime_ns", lambda: (NOW + 3 * 3600) * SECOND_NS)
        ingest(tmp_path, earlier)
    ingest(tmp_path, later)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select day from rollup_day").fetchall() == []
        assert len(connection.execute("select hour from rollup_audit").fetchall()) == 3
    summed = sums(path)
    forget_sums(path)
    assert summed == sums(path)


def test_sums_beyond_64_bits_are_exact(template: Path, tmp_path: Path) -> None:
    processes = [one for one in plain(0, 60, reported=False, comp=LARGEST) for _ in range(4)]
    assert rolled_up_after(tmp_path, template, processes).hours == {NOW // 3600}
    with closing(sqlite3.connect(tmp_path / "elsa.db")) as connection:
        rows = connection.execute("select user_ns from rollup_user").fetchall()
    assert len(rows) > 1
    assert sum(ns for (ns,) in rows) == len(processes) * (8191 << 21) * 10**7


HOUR = DAY * 24 + 4
_LEFT = (HOUR * 3600 + 60 - BOOTED) * SECOND_NS
# Hour 4 begins 240 minutes after NOW: the process that ends then has number 26 and id 52.
OTHERS = {
    "a member": ("insert into membership values (1, 52, 0, null, 1, null)",),
    "a member of an automatic job": ("update process set inherited_job_id = 1 where id = 52",),
    "a member that left": (
        "insert into process (id, boot_id, pid, origin, start_ns, clock_id)"
        " values (9998, 1, 99, 1, 5, 1)",
        f"insert into membership values (1, 9998, 0, {_LEFT}, 1, null)",
    ),
    "another process": (
        f"""insert into process
                (id, boot_id, pid, origin, start_ns, clock_id, elapsed_ns, end_source)
            values (9998, 1, 99, 1, {_LEFT}, 1, 5, 1)""",
    ),
    "an end before its start": ("update process set elapsed_ns = -5 where id = 54",),
    "an ambiguous record": (
        "insert into acct_file values (9, 1, 'f', 1, 1, 0, 0, x'00', x'', 0, 0, 0, 0)",
        f"""insert into acct values (1, 9, 0, null, 5, 0, 3, 0, 0, 5, 6, 7, 1,
            {HOUR * 3600 + 60}, 5.0, 3, 4, 5, 0, 0, 6, 7, 0, 1, null)""",
    ),
}


@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_hours_in_which_something_else_ended_are_left_to_the_views(
    template: Path, tmp_path: Path, others: tuple[str, ...]
) -> None:
    processes = plain(190, 400, reported=True)
    expected = {one.end // 3600 for one in processes} - {HOUR}
    assert rolled_up_after(tmp_path, template, processes, *others) == (expected, set())


@pytest.mark.parametrize("table", ["usage", "usage_so_far"])
def test_where_taskstats_reports_processes_joined_processes_are_left_to_the_views(
    template: Path, tmp_path: Path, table: str
) -> None:
    processes = plain(190, 400, reported=True)
    of_one = {
        "usage": "insert into usage (process_id, threads, complete) values (52, 1, 1)",
        "usage_so_far": (
            "insert into usage_so_far (process_id, edge_ns, until_ns) values (52, 0, 1)"
        ),
    }
    assert rolled_up_after(tmp_path, template, processes, of_one[table]) == (set(), set())


@pytest.mark.parametrize("another_writes", [False, True])
def test_sums_are_forgotten_when_another_program_writes(
    template: Path, tmp_path: Path, another_writes: bool
) -> None:
    shutil.copy(template, tmp_path)
    path = tmp_path / "elsa.db"
    row = next(acct.decode_rows(plain(0, 2, reported=False)[0].record()))
    with closing(database.open_for_writing(path)) as connection:
        sums = PlainSums(connection, 1, (NOW + 86400) * SECOND_NS)
        with database.transaction(connection):
            connection.execute(
                f"""insert into process (id, boot_id, pid, origin, start_ns, clock_id, elapsed_ns)
                values (1, 1, 1, 3, {(NOW - BOOTED) * SECOND_NS}, 1, 0)"""
            )
            ended = Plain([NOW * SECOND_NS], [0], [KnownBy(1, ONLY_ACCT, 1)])
            sums.add(ended, [1], [[field] for field in row])
        if another_writes:
            with closing(database.open_for_writing(path)) as other:
                other.execute("insert into comm values (2, 'other')")
        with database.transaction(connection):
            sums.finish()
        rolled_up = connection.execute("select hour from rollup_hour").fetchall()
    assert rolled_up == ([] if another_writes else [(NOW // 3600,)])
