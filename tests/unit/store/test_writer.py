"""Batches into the warehouse: each whole, once and in order, whatever stands in the way for a
while.
"""

from __future__ import annotations

import logging
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, EventKind, How, MemoryBy, Origin
from elsa.state.jobs import Job, Jobs, MemoryRow
from elsa.state.process_table import Processes
from elsa.store import collector_runs, database, writer
from elsa.store.batch import Batch, Gap
from elsa.store.boots import Machine
from elsa.store.writer import Writer
from elsa.units import HOUR_NS
from tests.support.events import INIT, exited, fork

MACHINE = Machine("0123", "host", "a-boot", 1_700_000_000 * 10**9)
BOOT, COLLECTOR = 1, 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)


@pytest.fixture
def begun(db: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    """A warehouse in which a collector has begun."""
    assert collector_runs.begin(connection, MACHINE, 1, 100)[:2] == (BOOT, COLLECTOR)
    return connection


@pytest.fixture
def at_work(db: Path, begun: sqlite3.Connection) -> Iterator[Writer]:
    """A writer on it; stopped at the end, where the test has not."""
    one = Writer(db, BOOT, COLLECTOR)
    yield one
    with suppress(OSError):
        one.stop(patience_s=5)


def store(connection: sqlite3.Connection, batch: Batch) -> None:
    one = Writer(Path(connection.execute("pragma database_list").fetchone()[2]), BOOT, COLLECTOR)
    one.submit(batch)
    assert one.stop(patience_s=5)


def small(number: int, then: Callable[[], None] | None = None) -> Batch:
    """A batch with one gap, so that rows can be counted."""
    return Batch(
        gaps=[Gap("down", number, number, None)], heard_ns=number, then=[then] if then else []
    )


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("select from_ns from gap order by id")]


def await_commits(one: Writer, done: list[object], count: int) -> None:
    """Collect until so many calls have come."""
    deadline = time.monotonic() + 5
    while len(done) < count:
        assert time.monotonic() < deadline
        select.select([one.fileno()], [], [], 0.2)
        one.collect()


def await_trouble(one: Writer, told: str) -> None:
    """Wait until the writer says what stands in its way."""
    deadline = time.monotonic() + 5
    while one.trouble is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert told in str(one.trouble)


def full_batch() -> Batch:
    """A batch with something of everything: 50 is in a job, its child 51 has come and gone, and 50
    has left.
    """
    jobs = Jobs(next_id=3)
    job = jobs.create("build", 1000, 5, tags={"ticket": "12"}, closes_itself=True)
    processes = Processes(jobs)
    processes.apply([fork(1000, INIT, 50)])
    life = processes.living[50]
    processes.set_comm(life, b"sh")
    processes.add(life, job, 2000)
    processes.apply([fork(3000, 50, 51), exited(3500, 51, 256)])
    processes.remove(life, job, 4000)
    batch = Batch(
        jobs=[job],
        clocks=[Clock(0, 0, 10**18, 0)],
        gaps=[Gap("overrun", 1, 2, 3, "why")],
        heard_ns=5000,
        events_total=3,
        lost_total=4,
    )
    batch.take(processes.take_changes())
    batch.closed.append((6000, "request", job.id))
    return batch


def test_everything_in_a_batch_is_stored(begun: sqlite3.Connection) -> None:
    store(begun, full_batch())

    def rows(sql: str) -> list[tuple[object, ...]]:
        return begun.execute(sql).fetchall()

    assert rows(
        """select process.id, pid, parent_id, origin, start_ns, elapsed_ns, end_source,
           exit_status, name
           from process left join comm on comm_id = comm.id"""
    ) == [
        (2, 50, None, Origin.FORK, 1000, None, None, None, "sh"),
        (4, 51, 2, Origin.FORK, 3000, 500, End.EXIT, 256, "sh"),
    ]
    assert rows("select kind, time_ns, tgid, code, process_id from event") == [
        (EventKind.FORK, 1000, 50, None, 2),
        (EventKind.FORK, 3000, 51, None, 4),
        (EventKind.EXIT, 3500, 51, 256, 4),
    ]
    assert rows("select job_id, process_id, since_ns, until_ns, how from membership") == [
        (3, 2, 2000, 4000, How.ADDED),
    ]
    assert rows("select id, inherited_job_id from process") == [(2, None), (4, 3)]
    assert rows("select job_id, process_id, since_ns, until_ns, how from all_memberships") == [
        (3, 2, 2000, 4000, How.ADDED),
        (3, 4, 0, None, How.INHERITED),
    ]
    assert rows(
        "select id, name, owner_uid, created_at_ns, closed_at_ns, close_reason, closes_itself"
        " from job"
    ) == [(3, "build", 1000, 5, 6000, "request", 1)]
    assert rows("select * from job_tag") == [(3, "ticket", "12")]
    assert rows("select * from clock") == [(0, BOOT, 0, 10**18, 0)]
    assert rows("select boot_id, kind, from_ns, to_ns, lost, note from gap") == [
        (BOOT, "overrun", 1, 2, 3, "why")
    ]
    assert rows("select heard_ns, events, lost, stopped_ns from collector") == [(5000, 3, 4, None)]


def test_greatest_memory_of_a_job_is_kept_with_it_and_a_reading_that_showed_less_is_not(
    begun: sqlite3.Connection,
) -> None:
    jobs = Jobs(3)
    job = jobs.create("build", 0, 5)
    readings = [(1, 500, MemoryBy.PSS), (2, 800, MemoryBy.RSS), (3, 0, MemoryBy.PSS)]
    store(begun, Batch(jobs=[job], memory=[MemoryRow(job.id, *row) for row in readings]))
    stored = "select memory_kib, memory_by from job"
    assert begun.execute(stored).fetchall() == [(800, MemoryBy.RSS)]
    assert begun.execute("select * from job_memory").fetchall() == [(3, *row) for row in readings]
    # After a restart, or in another warehouse, it goes on from there.
    job.memory_peak = 900, MemoryBy.PSS
    store(begun, Batch(jobs=[job]))
    assert begun.execute(stored).fetchall() == [(800, MemoryBy.RSS)], "it is raised by readings"
    other = jobs.create("carried over", 0, 5)
    other.memory_peak = 900, MemoryBy.PSS
    store(begun, Batch(jobs=[other]))
    restored = collector_runs.restore(begun, BOOT, 1).jobs.open
    assert {key: restored[key].memory_peak for key in restored} == {
        job.id: (800, MemoryBy.RSS),
        other.id: (900, MemoryBy.PSS),
    }


def test_a_batch_that_fails_leaves_nothing_behind(
    at_work: Writer, begun: sqlite3.Connection
) -> None:
    begun.execute(
        "create trigger no_gaps before insert on gap begin select raise(abort, 'no gaps"
        " today'); end"
    )
    batch = full_batch()
    batch.gaps.append(Gap("down", 1, 2, None))
    before = list(begun.iterdump())
    at_work.submit(batch)
    await_trouble(at_work, "no gaps today")
    assert not at_work.stop(patience_s=0)
    assert list(begun.iterdump()) == before


def test_a_later_batch_amends_what_an_earlier_one_stored(begun: sqlite3.Connection) -> None:
    processes = Processes(Jobs())
    processes.apply([fork(1000, INIT, 50)])
    first, second, third = Batch(clocks=[Clock(0, 0, 0, 0)]), Batch(), Batch()
    first.take(processes.take_changes())
    processes.set_comm(processes.living[50], b"ed")
    second.take(processes.take_changes())
    processes.apply([exited(3000, 50, 9)])
    third.take(processes.take_changes())
    assert [(len(batch.started), len(batch.amended)) for batch in (first, second, third)] == [
        (1, 0),
        (0, 1),
        (0, 1),
    ]
    for batch in (first, second, third):
        store(begun, batch)
    assert begun.execute("select elapsed_ns, end_source, exit_status from process").fetchall() == [
        (2000, End.EXIT, 9)
    ]


def test_an_exec_that_nobody_saw_leaves_of_a_program_what_an_exec_does_not_change(
    begun: sqlite3.Connection,
) -> None:
    begun.execute(
        "insert into process (id, boot_id, pid, origin, start_ns, clock_id)"
        " values (2, 1, 60, 1, 0, 1)"
    )
    for row in (
        (2, "sh -c x", "/bin/sh", "/tmp", "/a.slice", 1000, 9),
        (2, None, None, None, None, None, None),
    ):
        store(begun, Batch(programs=[row]))
    query = "select cmdline, exe, cwd, cgroup, loginuid, session from process_program"
    assert begun.execute(query).fetchall() == [(None, None, "/tmp", "/a.slice", 1000, 9)]


def test_the_hour_of_an_end_is_that_of_the_clock_that_held_then(begun: sqlite3.Connection) -> None:
    clocks = [Clock(0, 0, 10**18, 0), Clock(2, 5000, 10**18 + 2 * HOUR_NS, 0)]
    processes = Processes(Jobs(), clocks=Clocks(clocks))
    processes.apply(
        [fork(1000, INIT, 50), fork(1000, INIT, 51), exited(3000, 50), fork(4000, INIT, 52)]
    )
    batch, later = Batch(clocks=clocks), Batch()
    processes.apply([exited(6000, 51)])
    batch.take(processes.take_changes())
    processes.apply([exited(7000, 52)])  # amended: a trigger's work
    later.take(processes.take_changes())
    for one in (batch, later):
        store(begun, one)
    hour = 10**18 // HOUR_NS
    assert begun.execute("select pid, ended_hour from process order by pid").fetchall() == [
        (50, hour),
        (51, hour + 2),
        (52, hour + 2),
    ]


def test_an_ended_membership_keeps_its_end_when_a_later_one_ends(
    begun: sqlite3.Connection,
) -> None:
    jobs = Jobs()
    processes = Processes(jobs)
    job = jobs.create("build", 0, 0)
    processes.apply([fork(1000, INIT, 50)])
    batch = Batch(jobs=[job], clocks=[Clock(0, 0, 0, 0)])
    for now_ns, move in (
        (2000, processes.add),
        (3000, processes.remove),
        (4000, processes.add),
        (5000, processes.remove),
    ):
        move(processes.living[50], job, now_ns)
        batch.take(processes.take_changes())
        store(begun, batch)
        batch = Batch()
    assert begun.execute(
        "select since_ns, until_ns from membership order by since_ns"
    ).fetchall() == [(2000, 3000), (4000, 5000)]


def test_the_rows_of_a_batch_do_not_change_with_the_state_while_they_wait(
    begun: sqlite3.Connection,
) -> None:
    processes = Processes(Jobs())
    processes.apply([fork(1000, INIT, 50)])
    batch = Batch(clocks=[Clock(0, 0, 0, 0)])
    batch.take(processes.take_changes())
    processes.apply([exited(3000, 50, 9)])
    store(begun, batch)
    assert begun.execute("select elapsed_ns from process").fetchall() == [(None,)]


def test_batches_are_committed_in_order_before_their_callbacks_run(
    at_work: Writer, begun: sqlite3.Connection
) -> None:
    seen: list[object] = []

    def note(number: int) -> None:
        seen.append(number in numbers(begun))

    for number in range(20):
        at_work.submit(small(number, partial(note, number)))
    await_commits(at_work, seen, 20)
    assert all(seen)
    assert numbers(begun) == list(range(20))
    assert begun.execute("select heard_ns from collector").fetchone() == (19,)


def test_callbacks_run_only_in_collect_by_the_thread_that_owns_the_writer(
    at_work: Writer,
) -> None:
    done: list[object] = []
    at_work.submit(small(1, lambda: done.append(1)))
    assert select.select([at_work.fileno()], [], [], 5)[0]
    assert done == []
    at_work.collect()
    assert done == [1]
    at_work.collect()
    assert done == [1]


def test_a_locked_warehouse_is_waited_for_without_holding_up_the_owner(
    at_work: Writer, begun: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[object] = []
    begun.execute("begin immediate")
    began_s = time.monotonic()
    batches = [small(number, partial(done.append, number)) for number in range(3)]
    for batch in batches:
        at_work.submit(batch)
    assert time.monotonic() - began_s < 0.1
    await_trouble(at_work, "locked by another program")
    time.sleep(0.1)  # several tries
    at_work.collect()
    assert done == []
    begun.execute("rollback")
    await_commits(at_work, done, 3)
    assert at_work.trouble is None
    assert numbers(begun) == [0, 1, 2]
    assert [record.levelno for record in caplog.records] == [
        logging.ERROR,
        logging.WARNING,
    ]  # reported once, and once when it ended


def test_the_backlog_counts_the_rows_that_wait(at_work: Writer, begun: sqlite3.Connection) -> None:
    begun.execute("begin immediate")
    done: list[object] = []
    batch = full_batch()
    batch.then.append(lambda: done.append(1))
    at_work.submit(batch)
    at_work.submit(small(1))
    assert at_work.backlog == len(batch) == 2 + 3 + 1 + 1
    begun.execute("rollback")
    await_commits(at_work, done, 1)
    assert at_work.backlog == 0


def test_a_warehouse_that_was_missing_is_opened_again(db: Path, begun: sqlite3.Connection) -> None:
    begun.close()
    away = db.with_name("away.db")
    db.rename(away)
    one = Writer(db, BOOT, COLLECTOR)
    try:
        done: list[object] = []
        one.submit(small(7, lambda: done.append(7)))
        await_trouble(one, "no warehouse yet")
        away.rename(db)
        await_commits(one, done, 1)
    finally:
        assert one.stop(patience_s=5)
    with closing(database.open_for_reading(db)) as connection:
        assert numbers(connection) == [7]


def test_names_learnt_in_a_batch_that_failed_are_learnt_again(
    at_work: Writer, begun: sqlite3.Connection
) -> None:
    """Ids of names that were rolled back must not be used: another program may have taken them."""
    begun.execute(
        "create trigger no_gaps before insert on gap begin select raise(abort, 'no gaps"
        " today'); end"
    )
    done: list[object] = []
    batch = full_batch()
    batch.then.append(lambda: done.append(1))
    at_work.submit(batch)
    await_trouble(at_work, "no gaps today")
    with database.transaction(begun):
        begun.execute("drop trigger no_gaps")
        begun.execute(
            "insert into comm select max(coalesce((select max(id) from comm), 0)) + 1, 'other'"
        )
    await_commits(at_work, done, 1)
    assert set(
        begun.execute("select name from process join comm on comm.id = comm_id").fetchall()
    ) == {("sh",)}
    assert begun.execute("select count(*) from process").fetchone() == (2,)


def test_gap_that_goes_on_stays_one_row_and_an_unknown_loss_stays_unknown(
    begun: sqlite3.Connection,
) -> None:
    for gaps in (
        [Gap("cgroup", 7, 8, 1), Gap("cgroup", 7, 8, 2), Gap("cgroup", 7, 9, 3, goes_on=True)],
        [Gap("cgroup", 7, 10, None, goes_on=True), Gap("down", 7, 8, 4)],
        [Gap("cgroup", 7, 11, 5, goes_on=True)],
    ):
        store(begun, Batch(gaps=gaps))
    rows = begun.execute("select kind, from_ns, to_ns, lost from gap order by id").fetchall()
    assert [tuple(row) for row in rows] == [
        ("cgroup", 7, 8, 1),
        ("cgroup", 7, 11, None),
        ("down", 7, 8, 4),
    ]


def test_a_batch_that_contradicts_the_warehouse_becomes_a_gap_and_holds_up_nobody(
    at_work: Writer, begun: sqlite3.Connection
) -> None:
    done: list[object] = []
    first, same, other = full_batch(), full_batch(), small(7, lambda: done.append(1))
    same.then.append(lambda: done.append("a lie"))
    for batch in (first, same, other):
        at_work.submit(batch)
    await_commits(at_work, done, 1)
    assert done == [1]
    assert begun.execute("select count(*) from process").fetchone() == (2,)
    assert begun.execute("select lost from gap where note = 'could not be stored'").fetchall() == [
        (len(same),)
    ]
    assert at_work.backlog == 0


def test_damage_to_the_file_is_noticed_though_it_was_read_before_and_mended_it_is_written_on(
    db: Path, begun: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process does it, to pages of the schema; opening the file here would drop the locks
    of SQLite.
    """
    monkeypatch.setattr(writer, "CHECK_S", 0)
    one = Writer(db, BOOT, COLLECTOR)
    done: list[object] = []
    one.submit(small(1, lambda: done.append(1)))
    await_commits(one, done, 1)
    begun.execute("pragma wal_checkpoint(truncate)")
    begun.close()
    wreck = f"""
from functools import partial
from pathlib import Path
db, saved = Path({str(db)!r}), Path({str(db) + ".saved"!r})
saved.write_bytes(pages := db.read_bytes())
with db.open("r+b") as file:
    for at in range(4096, len(pages), 4096):
        if b"-- Grain" in pages[at:at + 4096]:
            file.seek(at)
            file.write(bytes(4096))
"""
    subprocess.run([sys.executable, "-c", wreck], check=True)
    one.submit(small(2, lambda: done.append(2)))
    await_trouble(one, "not a sound SQLite warehouse")
    subprocess.run(["sh", "-ec", "rm -f $0-wal $0-shm; mv -- $0.saved $0", db], check=True)
    await_commits(one, done, 2)
    one.stop(patience_s=5)
    with closing(sqlite3.connect(db)) as after:
        assert numbers(after) == [1, 2]


def test_a_stop_writes_what_is_left(db: Path, begun: sqlite3.Connection) -> None:
    one = Writer(db, BOOT, COLLECTOR)
    done: list[object] = []
    for number in range(10):
        one.submit(small(number, partial(done.append, number)))
    assert one.stop(patience_s=5)
    assert done == numbers(begun) == list(range(10))


def test_a_stop_gives_up_after_its_patience_and_says_so(
    db: Path, begun: sqlite3.Connection
) -> None:
    begun.execute("begin immediate")
    one = Writer(db, BOOT, COLLECTOR)
    one.submit(full_batch())
    assert not one.stop(patience_s=0.05)
    begun.execute("rollback")
    assert begun.execute("select count(*) from process").fetchone() == (0,)


def test_what_a_process_did_after_its_end_it_did_not_do(begun: sqlite3.Connection) -> None:
    jobs = Jobs()
    processes = Processes(jobs)
    job, other = jobs.create("build", 0, 0), jobs.create("test", 0, 0)
    processes.apply([fork(1000, INIT, 50), fork(1000, INIT, 51)])
    for pid in (50, 51):
        processes.add(processes.living[pid], job, 2000)
        processes.remove(processes.living[pid], job, 4000)
        processes.add(processes.living[pid], other, 4000)
    batch = Batch(jobs=[job, other], clocks=[Clock(0, 0, 0, 0)])
    batch.take(processes.take_changes())
    store(begun, batch)
    processes.apply([exited(3000, 50), exited(5000, 51)])
    batch = Batch()
    batch.take(processes.take_changes())
    store(begun, batch)
    assert begun.execute(
        "select pid, job_id, since_ns, until_ns from membership"
        " join process on process.id = process_id order by pid, job_id"
    ).fetchall() == [(50, 1, 2000, None), (51, 1, 2000, 4000), (51, 2, 4000, None)]


def test_a_job_is_stored_with_the_job_object_of_the_state() -> None:
    batch = Batch(jobs=[Job(1, "a", 0, 0)])
    assert len(batch) == 0
    assert batch.has_content


def test_an_ended_membership_does_not_end_the_next_one_in_the_same_batch(
    begun: sqlite3.Connection,
) -> None:
    jobs = Jobs()
    processes = Processes(jobs)
    job = jobs.create("build", 0, 0)
    processes.apply([fork(1000, INIT, 50)])
    life = processes.living[50]
    processes.add(life, job, 2000)
    processes.remove(life, job, 3000)
    processes.add(life, job, 4000)
    batch = Batch(jobs=[job], clocks=[Clock(0, 0, 0, 0)])
    batch.take(processes.take_changes())
    store(begun, batch)
    assert begun.execute(
        "select since_ns, until_ns from membership order by since_ns"
    ).fetchall() == [(2000, 3000), (4000, None)]


@pytest.mark.parametrize("together", [True, False])
def test_usage_makes_the_sums_of_its_hour_stale_in_the_batch_of_its_process_and_later(
    begun: sqlite3.Connection, *, together: bool
) -> None:
    hour = 10**18 // HOUR_NS
    processes = Processes(Jobs(), clocks=Clocks([Clock(0, 0, 10**18, 0)]))
    processes.apply([fork(1000, INIT, 50), exited(3000, 50)])
    usage = (2, 1, 1, *(0,) * (len(begun.execute("select * from usage").description) - 3))
    batch = Batch(clocks=[Clock(0, 0, 10**18, 0)])
    batch.take(processes.take_changes())
    if not together:
        store(begun, batch)
        batch = Batch()
    batch.usage.append(usage)
    begun.execute("insert into rollup_hour values (?, 1, 1), (?, 1, 1)", (hour, hour + 1))
    store(begun, batch)
    assert begun.execute("select hour from rollup_hour").fetchall() == [(hour + 1,)]
    assert begun.execute("select process_id from usage").fetchall() == [(2,)]
