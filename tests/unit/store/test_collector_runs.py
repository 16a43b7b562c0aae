"""What a collector finds when it begins: all that was open on this boot, and all that was open on
earlier boots closed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from elsa.decode.cgroups import GroupCounters
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, Origin
from elsa.state.incarnation import Incarnation, ProcSnapshot
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.store import boots, collector_runs
from elsa.store.batch import Batch, GroupCounterRow
from elsa.store.boots import Machine
from elsa.store.collector_runs import CollectorRun
from elsa.store.writer import Writer
from tests.support.events import INIT, event, exited, fork

S = 1_000_000_000
BOOTED_AT = 1_700_000_000 * S
MACHINE = Machine("0123", "host", "first-boot", BOOTED_AT)
AFTER = MACHINE._replace(boot_uuid="second-boot", booted_at_ns=BOOTED_AT + 3600 * S)


def store(connection: sqlite3.Connection, begun: CollectorRun, batch: Batch) -> None:
    writer = Writer(
        Path(connection.execute("pragma database_list").fetchone()[2]),
        begun.boot_id,
        begun.collector_id,
    )
    writer.submit(batch)
    assert writer.stop(patience_s=5)


@pytest.fixture
def first(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A first run, heard up to 50 s: 100 is in jobs 1 and 2, its child 101 in 1 and removed from 2,
    102 has ended; 3 is closed, 4 empty.
    """
    begun = collector_runs.begin(connection, MACHINE, 77, 10 * S)
    jobs = Jobs()
    clock = Clock(2, 0, BOOTED_AT, 0)
    processes = Processes(jobs, clocks=Clocks([clock]))
    one, two, three = (
        jobs.create(name, 1000, 5, tags={"n": name}, closes_itself=name == "two")
        for name in ("one", "two", "three")
    )
    four = jobs.create("four", 0, 6)
    processes.apply([fork(11 * S, INIT, 100)])
    life = processes.living[100]
    processes.set_comm(life, b"sh")
    for job in (one, two, three):
        processes.add(life, job, 12 * S)
    processes.apply([fork(13 * S, 100, 101), fork(14 * S, 100, 102), exited(15 * S, 102)])
    processes.remove(processes.living[101], two, 16 * S)
    for job in (three,):
        for member in processes.members(job):
            processes.remove(member, job, 17 * S)
        jobs.close(job, 18, "request")
    batch = Batch(
        jobs=[one, two, three, four],
        clocks=[clock],
        heard_ns=50 * S,
        closed=[(18, "request", three.id)],
    )
    batch.take(processes.take_changes())
    store(connection, begun, batch)
    return connection


def test_the_first_run_of_a_boot_has_received_nothing_before(
    connection: sqlite3.Connection,
) -> None:
    begun = collector_runs.begin(connection, MACHINE._replace(tick_ns=3_333_333), 77, 10)
    assert begun.heard_ns is None
    assert connection.execute("select started_at_ns, tick_ns from boot").fetchall() == [
        (BOOTED_AT, 3_333_333)
    ]
    assert connection.execute("select machine_id, name from host").fetchall() == [("0123", "host")]
    assert connection.execute(
        "select boot_id, pid, since_ns, heard_ns, stopped_ns from collector"
    ).fetchall() == [(begun.boot_id, 77, 10, 10, None)]


def test_a_second_run_on_the_boot_goes_on_where_the_first_stopped(
    first: sqlite3.Connection,
) -> None:
    before = first.execute("select * from process").fetchall()
    begun = collector_runs.begin(first, MACHINE, 78, 60 * S)
    assert (begun.boot_id, begun.collector_id, begun.heard_ns) == (1, 2, 50 * S)
    assert first.execute("select * from process").fetchall() == before
    assert first.execute("select count(*) from job where closed_at_ns is null").fetchone() == (3,)


def test_a_restart_restores_what_was_open(first: sqlite3.Connection) -> None:
    processes = collector_runs.restore(first, 1, 1)
    jobs = processes.jobs
    assert [
        (job.id, job.name, job.owner_uid, job.closes_itself, job.tags, job.living)
        for job in jobs.open.values()
    ] == [
        (1, "one", 1000, False, {"n": "one"}, 2),
        (2, "two", 1000, True, {"n": "two"}, 1),
        (4, "four", 0, False, {}, 0),
    ]
    parent, child = processes.living[100], processes.living[101]
    assert len(processes.living) == 2
    assert (
        parent.id,
        parent.start_ns,
        parent.start_clock_id,
        parent.origin,
        parent.comm,
        parent.stored,
    ) == (
        2,
        11 * S,
        2,
        Origin.FORK,
        "sh",
        True,
    )
    assert (parent.jobs, parent.member_since(1), child.jobs, child.member_since(1)) == (
        (1, 2),
        12 * S,
        (1,),
        0,
    )
    assert (child.parent_id, child.ancestor) == (parent.id, parent)


def test_a_restart_restores_what_the_groups_of_jobs_had_counted_before(
    first: sqlite3.Connection,
) -> None:
    begun = collector_runs.begin(first, MACHINE, 78, 60 * S)
    before = GroupCounters(1000, 500, None, 7, 8)
    unknown = GroupCounters(None, None, None, None, None)
    batch = Batch(heard_ns=61 * S)
    batch.group_counters[1] = GroupCounterRow(1, 60 * S, 0, GroupCounters(3, 2, None, 1, 0), before)
    batch.group_counters[4] = GroupCounterRow(4, 60 * S, 0, unknown, unknown)
    assert batch.has_content
    store(first, begun, batch)
    jobs = collector_runs.restore(first, 1, 1).jobs.open
    assert {job_id: job.counted_before for job_id, job in jobs.items()} == {
        1: before,
        2: None,
        4: None,
    }
    assert first.execute(
        "select read_ns, final, user_us, system_us, memory_peak, read_bytes from job_cgroup"
        " where job_id = 1"
    ).fetchall() == [(60 * S, 0, 3, 2, None, 1)]


def test_ids_go_on_after_a_restart(first: sqlite3.Connection) -> None:
    processes = collector_runs.restore(first, 1, 1)
    processes.apply([fork(60 * S, 100, 103)])
    assert (processes.living[103].id, processes.living[103].jobs) == (8, (1, 2))
    assert processes.jobs.create("five", 0, 0).id == 5


def test_the_ids_of_the_collector_and_of_the_ingester_never_meet(first: sqlite3.Connection) -> None:
    assert boots.next_own_id(first, "process", boots.COLLECTOR_IDS) == 8
    assert boots.next_own_id(first, "process", boots.INGESTER_IDS) == 7
    first.execute(
        "insert into process (id, boot_id, pid, origin, start_ns, clock_id) values (7, 1, 5, 3,"
        " 0, 2)"
    )
    assert boots.next_own_id(first, "process", boots.COLLECTOR_IDS) == 8
    assert boots.next_own_id(first, "process", boots.INGESTER_IDS) == 9


def test_a_job_that_was_empty_at_the_restart_is_known_to_be(first: sqlite3.Connection) -> None:
    assert list(collector_runs.restore(first, 1, 1).jobs.emptied) == [4]


def test_a_restored_process_that_ends_is_amended_in_its_row(first: sqlite3.Connection) -> None:
    begun = collector_runs.begin(first, MACHINE, 78, 60 * S)
    processes = collector_runs.restore(first, begun.boot_id, begun.next_job_id)
    shown = ProcSnapshot(100, 1, 11 * S, 1, False, 0, b"sh", 60 * S)
    processes.reconcile([shown], infer=True)
    processes.apply([event(4, 60 * S + 1, 100, 100, 1000, 1000), exited(61 * S, 100, 9)])
    processes.resolve_exit(100, None)
    batch = Batch(heard_ns=61 * S)
    batch.take(processes.take_changes())
    store(first, begun, batch)
    assert first.execute(
        "select elapsed_ns, end_source, exit_status, uid from process where pid = 100"
    ).fetchall() == [(50 * S, End.EXIT, 9, 1000)]


def test_a_restored_process_keeps_the_pid_of_its_unknown_parent(
    connection: sqlite3.Connection,
) -> None:
    begun = collector_runs.begin(connection, MACHINE, 77, 10 * S)
    clock = Clock(2, 0, BOOTED_AT, 0)
    processes = Processes(Jobs(), clocks=Clocks([clock]))
    processes.apply([fork(11 * S, 99, 100)])
    batch = Batch(clocks=[clock], heard_ns=12 * S)
    batch.take(processes.take_changes())
    store(connection, begun, batch)
    restored = collector_runs.restore(connection, begun.boot_id, begun.next_job_id)
    restored.end_vanished(list(restored.living.values()), 20 * S)
    later = Batch(heard_ns=20 * S)
    later.take(restored.take_changes())
    store(connection, begun, later)
    assert connection.execute("select parent_pid, end_source from process").fetchall() == [
        (99, End.VANISHED)
    ]


def test_a_new_boot_closes_the_jobs_of_the_old_boot_at_the_last_received_moment(
    first: sqlite3.Connection,
) -> None:
    begun = collector_runs.begin(first, AFTER, 5, 10)
    assert (begun.boot_id, begun.heard_ns) == (2, 0)
    assert first.execute(
        "select pid, elapsed_ns, end_source, end_clock_id from process order by id"
    ).fetchall() == [
        (100, 39 * S, End.REBOOT, 2),
        (101, 37 * S, End.REBOOT, 2),
        (102, 1 * S, End.EXIT, 2),
    ]
    ended_at = BOOTED_AT + 50 * S
    assert first.execute(
        "select id, closed_at_ns, close_reason from job order by id"
    ).fetchall() == [
        (1, ended_at, "reboot"),
        (2, ended_at, "reboot"),
        (3, 18, "request"),
        (4, ended_at, "reboot"),
    ]
    assert first.execute("select uuid, ended_at_ns from boot").fetchall() == [
        ("first-boot", ended_at),
        ("second-boot", None),
    ]
    processes = collector_runs.restore(first, begun.boot_id, begun.next_job_id)
    assert (processes.living, processes.jobs.open) == ({}, {})


def test_an_earlier_boot_never_ends_after_the_start_of_the_next(first: sqlite3.Connection) -> None:
    collector_runs.begin(first, AFTER._replace(booted_at_ns=BOOTED_AT + 20 * S), 5, 10)
    assert first.execute("select ended_at_ns from boot where id = 1").fetchone() == (
        BOOTED_AT + 20 * S,
    )


def test_a_boot_that_is_closed_stays_as_it_is(first: sqlite3.Connection) -> None:
    begun = collector_runs.begin(first, AFTER, 5, 10)
    boots.add_clock(first, begun.boot_id, Clock(4, 0, BOOTED_AT + 3600 * S, 0))
    closed = (
        first.execute("select * from process").fetchall(),
        first.execute("select * from job").fetchall(),
    )
    collector_runs.begin(
        first, AFTER._replace(boot_uuid="third", booted_at_ns=BOOTED_AT + 7200 * S), 5, 10
    )
    assert (
        first.execute("select * from process").fetchall(),
        first.execute("select * from job").fetchall(),
    ) == closed


def test_the_boots_of_other_hosts_are_none_of_ours(first: sqlite3.Connection) -> None:
    collector_runs.begin(first, AFTER._replace(machine_id="4567", name="other"), 5, 10)
    assert first.execute("select count(*) from process where elapsed_ns is null").fetchone() == (2,)
    assert first.execute("select ended_at_ns from boot where id = 1").fetchone() == (None,)


def test_a_machine_that_went_down_before_anything_was_written_does_no_harm(
    connection: sqlite3.Connection,
) -> None:
    """The row of a run is committed before its first batch, which brings the first clock."""
    collector_runs.begin(connection, MACHINE, 5, 10 * S)
    begun = collector_runs.begin(connection, AFTER, 5, 10 * S)
    assert begun.boot_id == 2


def test_the_newest_closed_jobs_are_listed_for_users_who_may_see_them(
    first: sqlite3.Connection,
) -> None:
    assert [
        (job["id"], job["name"], job["tags"]) for job in collector_runs.ended_jobs(first, None)
    ] == [(3, "three", {"n": "three"})]
    assert [job["id"] for job in collector_runs.ended_jobs(first, 1000)] == [3]
    assert collector_runs.ended_jobs(first, 1001) == []
    collector_runs.begin(first, AFTER, 5, 10)
    assert [job["id"] for job in collector_runs.ended_jobs(first, None, limit=2)] == [4, 3]


def test_a_restored_stay_counts_only_while_its_job_is_open(first: sqlite3.Connection) -> None:
    first.execute("update job set closed_at_ns = 1, close_reason = 'request' where id = 1")
    processes = collector_runs.restore(first, 1, 1)
    assert processes.living[101].jobs == ()
    assert isinstance(processes.living[101], Incarnation)
    assert isinstance(processes.jobs.open[2], Job)


def test_a_job_id_that_a_killed_collector_may_have_returned_is_never_used_again(
    connection: sqlite3.Connection,
) -> None:
    first = collector_runs.begin(connection, MACHINE, 5, 10 * S)
    assert first.next_job_id == 1
    killed = collector_runs.begin(connection, MACHINE, 6, 20 * S)
    assert killed.next_job_id == first.next_job_id + collector_runs.JOB_IDS
    connection.execute("update collector set stopped_ns = 30")
    connection.execute(
        """insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns,
                close_reason, closes_itself) values (7, 1, 'a', 0, 1, null, null, 0)"""
    )
    assert collector_runs.begin(connection, MACHINE, 7, 40 * S).next_job_id == 8


def test_the_newest_jobs_of_a_user_are_found_without_reading_those_of_others(
    connection: sqlite3.Connection,
) -> None:
    plans: list[str] = []
    connection.set_trace_callback(plans.append)
    collector_runs.ended_jobs(connection, 1000)
    connection.set_trace_callback(None)
    steps = [row[3] for row in connection.execute(f"explain query plan {plans[-1]}")]
    assert steps[0] == "SEARCH job USING INDEX job_owner (owner_uid=?)"
    assert not any("B-TREE" in step for step in steps)
