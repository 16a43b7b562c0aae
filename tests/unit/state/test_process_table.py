"""Events to incarnations: who lives, whose child, in which jobs, and how each ended."""

from __future__ import annotations

import gc
from itertools import permutations

import pytest

from elsa.decode import events as ev
from elsa.decode.events import Event
from elsa.errors import UsageError
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, EventKind, How, Origin
from elsa.state.ending import ThreadEnd, ThreadEnds
from elsa.state.incarnation import TICK_NS, Incarnation, ProcSnapshot, ProgramRow
from elsa.state.jobs import Job, Jobs
from elsa.state.late_exits import LATE_NS
from elsa.state.process_table import REPORTED_WITHIN_NS, Processes
from tests.support.events import INIT, clone, event, execed, exited, fork
from tests.support.memberships import memberships

MS = 1_000_000
SECOND = 1_000_000_000


def found(
    pid: int,
    start_ns: int = 0,
    *,
    ppid: int = INIT,
    threads: int = 1,
    zombie: bool = False,
    seen_ns: int = 10 * SECOND,
    uid: int = 0,
) -> ProcSnapshot:
    return ProcSnapshot(
        pid, ppid, start_ns // TICK_NS * TICK_NS, threads, zombie, uid, b"found", seen_ns
    )


@pytest.fixture
def processes() -> Processes:
    """Process 100 runs, born at 1 s."""
    processes = Processes(Jobs())
    processes.apply([fork(1 * SECOND, INIT, 100)])
    return processes


def new_job(processes: Processes, name: str = "job") -> Job:
    return processes.jobs.create(name, 0, 0)


def all_lives(processes: Processes) -> list[Incarnation]:
    return processes.changes.started


# --- one life


def test_a_fork_starts_a_process_and_the_exit_of_its_only_thread_ends_it(
    processes: Processes,
) -> None:
    life = processes.living[100]
    assert (life.origin, life.start_ns, life.parent_id) == (Origin.FORK, SECOND, None)
    processes.apply([exited(3 * SECOND, 100, 0x0700)])
    assert processes.living == {}
    assert (life.elapsed_ns, life.end_source, life.exit_status, life.leader_status) == (
        2 * SECOND,
        End.EXIT,
        0x0700,
        0x0700,
    )


def test_without_events_the_process_is_the_same(processes: Processes) -> None:
    processes.take_changes()
    processes.keeps_events = False
    processes.apply([fork(2 * SECOND, 100, 101), execed(3 * SECOND, 101), exited(4 * SECOND, 101)])
    [child] = processes.changes.started
    assert (child.parent_id, child.elapsed_ns) == (processes.living[100].id, 2 * SECOND)
    assert processes.changes.events == []


def test_a_child_has_the_parent_the_user_and_the_name_of_its_parent(processes: Processes) -> None:
    parent = processes.living[100]
    parent.uid, parent.comm = 1000, "sh"
    processes.apply([fork(2 * SECOND, 100, 101)])
    child = processes.living[101]
    assert (child.parent_id, child.parent_inferred, child.uid, child.comm) == (
        parent.id,
        None,
        1000,
        "sh",
    )


def test_ids_are_two_apart_and_go_on_from_the_next_free_one() -> None:
    processes = Processes(Jobs(), next_id=40)
    processes.apply([fork(1, INIT, pid) for pid in (5, 6, 7)])
    assert [life.id for life in all_lives(processes)] == [40, 42, 44]


def test_an_exec_asks_for_the_new_name_until_the_process_has_gone(processes: Processes) -> None:
    processes.set_comm(processes.living[100], b"before")
    processes.apply(
        [
            fork(2 * SECOND, 100, 101),
            execed(2 * SECOND, 100),
            execed(2 * SECOND, 101),
            execed(2 * SECOND, 999),
        ]
    )
    assert processes.living[100].comm is None
    assert processes.execed == {100, 101}
    processes.apply([exited(3 * SECOND, 100)])
    assert processes.execed == {101}


def row(life: Incarnation, cmdline: str | None) -> ProgramRow:
    """A row of table program; where the last exec was not seen, what it executed is NULL."""
    return (life.id, cmdline, cmdline and "exe", "cwd", "cgroup", 1000, 1)


def programs(processes: Processes) -> list[ProgramRow]:
    """What is to be stored of programs."""
    return list(processes.changes.programs.values())


def test_what_a_process_executed_before_its_last_exec_does_not_stay_its_program(
    processes: Processes,
) -> None:
    """It was gone before anybody looked: seen by its end, or by a look in vain."""
    processes.apply([fork(1 * SECOND, INIT, 200), execed(2 * SECOND, 100), execed(2 * SECOND, 200)])
    first, second = processes.living[100], processes.living[200]
    for life in (first, second):
        processes.note_program(life, row(life, "sh"), 2 * SECOND + 10 * MS)
    assert processes.execed == set()
    processes.apply([execed(3 * SECOND, 100), execed(3 * SECOND, 200), exited(3 * SECOND, 100)])
    processes.note_program(second, None, 3 * SECOND + 10 * MS)
    processes.apply([exited(4 * SECOND, 200)])
    assert programs(processes) == [row(first, None), row(second, None)]


def test_a_program_that_was_read_before_its_exec_event_arrived_is_kept(
    processes: Processes,
) -> None:
    life = processes.living[100]
    processes.apply([execed(2 * SECOND, 100)])
    processes.set_comm(life, b"second")
    processes.note_program(life, row(life, "second"), 4 * SECOND)
    processes.apply([execed(3 * SECOND, 100), exited(5 * SECOND, 100)])
    assert (programs(processes), life.comm) == ([row(life, "second")], "second")


def test_a_process_that_was_never_read_has_no_program(processes: Processes) -> None:
    processes.apply([execed(2 * SECOND, 100), exited(3 * SECOND, 100)])
    assert programs(processes) == []


def test_a_process_found_in_proc_has_to_be_read_and_so_have_all_after_a_loss(
    processes: Processes,
) -> None:
    """An exec may be among what was lost."""
    life = processes.living[100]
    processes.note_program(life, row(life, "sh"), 2 * SECOND)
    processes.reconcile([found(100, SECOND), found(300, 2 * SECOND)], infer=True)
    assert set(processes.unread_programs) == {100, 300}
    processes.apply([exited(20 * SECOND, 100), exited(20 * SECOND, 300)])
    for pid in (100, 300):
        processes.resolve_exit(pid, None)
    assert (programs(processes), processes.unread_programs) == ([row(life, None)], {})


def test_a_process_that_ends_while_events_are_missing_may_have_executed_another_program(
    processes: Processes,
) -> None:
    life = processes.living[100]
    processes.note_program(life, row(life, "sh"), 2 * SECOND)
    processes.events_lost = True
    processes.apply([exited(3 * SECOND, 100)])
    assert programs(processes) == [row(life, None)]


def test_a_late_command_line_is_stored_for_the_program_that_was_read(
    processes: Processes,
) -> None:
    life = processes.living[100]
    seen = row(life, None)
    processes.note_program(life, seen, 2 * SECOND)
    processes.take_changes()
    processes.note_cmdline(life, seen, 2 * SECOND, None)
    assert programs(processes) == []
    processes.note_cmdline(life, seen, 2 * SECOND, "sh -c true")
    assert programs(processes) == [(life.id, "sh -c true", *seen[2:])]
    processes.note_program(life, seen, 3 * SECOND)
    processes.note_cmdline(life, seen, 2 * SECOND, "sh -c true")
    assert programs(processes) == [seen]
    processes.apply([execed(4 * SECOND, 100), exited(5 * SECOND, 100)])
    processes.note_cmdline(life, seen, 3 * SECOND, "sh -c false")
    assert programs(processes) == [row(life, None)]


def test_a_uid_event_and_a_comm_event_of_the_leader_tell_user_and_name(
    processes: Processes,
) -> None:
    letters = int.from_bytes(b"ed\0\0", "little")
    other = int.from_bytes(b"no\0\0", "little")
    processes.apply(
        [
            event(ev.UID, 2, 100, 100, 1000, 0),
            event(ev.COMM, 2, 100, 100, letters),
            event(ev.COMM, 2, 105, 100, other),
        ]
    )
    life = processes.living[100]
    assert (life.uid, life.comm) == (1000, "ed")


def test_events_are_kept_as_the_kernel_sent_them_with_the_incarnation_concerned(
    processes: Processes,
) -> None:
    processes.apply(
        [
            clone(2, 100, 105),
            execed(3, 100),
            exited(4, 100, 9, tid=105),
            exited(5, 200, 7, parent=3),
            event(ev.SID, 6, 1, 1),
        ]
    )
    id_ = processes.living[100].id
    assert processes.changes.events == [
        (EventKind.FORK, SECOND, 0, 100, 100, INIT, INIT, None, None, id_),
        (EventKind.FORK, 2, 0, 105, 100, INIT, INIT, None, None, id_),
        (EventKind.EXEC, 3, 0, 100, 100, None, None, None, None, id_),
        (EventKind.EXIT, 4, 0, 105, 100, None, None, 9, 17, id_),
        (EventKind.EXIT, 5, 0, 200, 200, 3, 3, 7, 17, None),
    ]


def test_a_stored_process_that_changes_is_amended_once_per_batch(processes: Processes) -> None:
    life = processes.living[100]
    life.stored = True
    processes.set_comm(life, b"one")
    processes.set_comm(life, b"two")
    processes.apply([exited(2 * SECOND, 100)])
    assert processes.take_changes().amended == {life.id: life}
    assert len(processes.changes) == 0


def test_elapsed_time_is_never_negative(processes: Processes) -> None:
    life = processes.living[100]
    processes.apply([exited(SECOND - 100_000, 100)])
    assert life.elapsed_ns == 0


def test_start_and_end_have_the_clock_of_their_own_moment_and_not_of_their_arrival() -> None:
    processes = Processes(
        Jobs(), clocks=Clocks([Clock(2, 0, 0, 0), Clock(4, 5 * SECOND, 3600 * SECOND, 0)])
    )
    processes.reconcile([found(60, 5 * SECOND)], infer=False)
    processes.apply(
        [fork(4 * SECOND, INIT, 50), fork(5 * SECOND - MS, INIT, 60), exited(6 * SECOND, 50)]
    )
    assert [
        (life.start_clock_id, life.end_clock and life.end_clock.id) for life in all_lives(processes)
    ] == [(2, None), (2, 4)]


# --- threads


def test_a_process_outlives_its_leader_and_ends_with_the_status_of_its_last_thread(
    processes: Processes,
) -> None:
    life = processes.living[100]
    processes.apply(
        [
            clone(2, 100, 105),
            clone(3, 100, 106),
            exited(4 * SECOND, 100, 0),
            exited(5 * SECOND, 100, 0x0600, tid=105),
        ]
    )
    assert processes.living == {100: life}
    processes.apply([exited(6 * SECOND, 100, 0x0600, tid=106)])
    assert processes.living == {}
    assert (life.elapsed_ns, life.exit_status, life.leader_status) == (5 * SECOND, 0x0600, 0)


@pytest.mark.parametrize(("later_ns", "status"), [(MS, None), (SECOND, 0)])
def test_of_exit_codes_that_arrive_close_together_events_alone_select_none(
    processes: Processes, later_ns: int, status: int | None
) -> None:
    processes.apply([clone(2 * SECOND, 100, 101), exited(3 * SECOND, 100, 0x0500, tid=101)])
    life = processes.living[100]
    processes.apply([exited(3 * SECOND + later_ns, 100)])
    assert (life.end_source, life.exit_status, life.leader_status) == (End.EXIT, status, 0)


@pytest.mark.parametrize("early", [True, False], ids=["before its exit", "after it"])
def test_taskstats_decide_between_exit_codes_whenever_they_arrive(
    processes: Processes, early: bool
) -> None:
    life = processes.living[100]
    life.stored = True
    ends = ThreadEnds(
        [
            ThreadEnd(100, 0x0700, 2_000_000, killed=False),
            ThreadEnd(101, 0, 2_020_000, killed=False),
        ],
        [100, 101],
        complete=True,
    )
    processes.apply([clone(2 * SECOND, 100, 101), exited(3 * SECOND, 100, 0x0700)])
    if early:
        processes.note_thread_ends(life, ends)
    processes.apply([exited(3 * SECOND + 20 * MS, 100, tid=101)])
    if not early:
        assert life.exit_status is None
        processes.note_thread_ends(life, ends)
    assert (life.exit_status, life.leader_status) == (0, 0x0700)
    assert life.id in processes.changes.amended


def test_taskstats_give_the_status_if_no_exit_was_received(processes: Processes) -> None:
    life = processes.living[100]
    processes.end_vanished([life], 3 * SECOND)
    processes.note_thread_ends(
        life, ThreadEnds([ThreadEnd(100, 0x0700, 2_000_000, killed=False)], [100], complete=True)
    )
    assert (life.end_source, life.exit_status) == (End.VANISHED, 0x0700)


def status_of(life: Incarnation) -> int | None:
    """Its exit status; a function, so that mypy does not take the status for unchangeable."""
    return life.exit_status


def test_the_status_from_the_program_that_waited_for_the_command_prevails(
    processes: Processes,
) -> None:
    life, job = processes.living[100], new_job(processes)
    life.stored = True
    processes.add(life, job, 0, How.LAUNCHED)
    processes.apply(
        [
            clone(2 * SECOND, 100, 101),
            exited(3 * SECOND, 100, 0x0700),
            exited(3 * SECOND, 100, 0, tid=101),
        ]
    )
    assert status_of(life) is None
    for told in ((job.id, 0, 4711), (job.id + 1, 0, 0), (job.id, 0x0100, 0)):
        with pytest.raises(UsageError):
            processes.report_status(*told)
    assert status_of(life) is None
    processes.report_status(job.id, 0, 0)
    assert (life.exit_status, life.leader_status) == (0, 0x0700)
    assert life.id in processes.changes.amended
    with pytest.raises(UsageError, match="no command that has just ended"):
        processes.report_status(job.id, 0, 0)


def test_a_status_may_be_reported_without_a_received_exit_but_not_for_long(
    processes: Processes,
) -> None:
    processes.apply([fork(1 * SECOND, INIT, 200)])
    lives, jobs = (
        [processes.living[pid] for pid in (100, 200)],
        [new_job(processes), new_job(processes)],
    )
    for life, job in zip(lives, jobs, strict=True):
        processes.add(life, job, 0, How.LAUNCHED)
    processes.end_vanished(lives, 3 * SECOND)
    processes.report_status(jobs[0].id, 0x0300)
    processes.drop_overdue(3 * SECOND + REPORTED_WITHIN_NS + 1)
    with pytest.raises(UsageError):
        processes.report_status(jobs[1].id, 0x0300)
    assert [life.exit_status for life in lives] == [0x0300, None]


def test_the_exec_of_another_thread_is_not_the_end_though_the_leader_exits(
    processes: Processes,
) -> None:
    life = processes.living[100]
    processes.apply([clone(2, 100, 105), exited(3, 100, 0), execed(4, 100)])
    assert processes.living == {100: life}
    assert life.threads == 1
    processes.apply([exited(9 * SECOND, 100, 0x0300)])
    assert (life.end_source, life.exit_status, life.leader_status, life.exec_ns) == (
        End.EXIT,
        0x0300,
        0x0300,
        4,
    )


@pytest.mark.parametrize("leader_at", [0, 150, 300])
def test_hundreds_of_threads_are_one_process_with_one_end(
    processes: Processes, leader_at: int
) -> None:
    tids = list(range(1000, 1300))
    processes.apply(clone(2, 100, tid) for tid in tids)
    tids.insert(leader_at, 100)
    for tid in tids:
        assert 100 in processes.living
        processes.apply([exited(3 * SECOND, 100, 0x0100, tid=tid)])
    assert processes.living == {}
    assert len(all_lives(processes)) == 1


def test_a_thread_may_fork_and_the_child_is_that_of_its_process(processes: Processes) -> None:
    processes.apply([clone(2, 100, 105), event(ev.FORK, 3, 105, 100, 300, 300)])
    assert processes.living[300].parent_id == processes.living[100].id


# --- a pid that is used again


def test_a_pid_that_is_used_again_at_once_is_another_incarnation(processes: Processes) -> None:
    processes.apply(
        [
            exited(2 * SECOND, 100, 1),
            fork(2 * SECOND + 48_000, INIT, 100),
            exited(3 * SECOND, 100, 2),
        ]
    )
    assert [(life.id, life.exit_status) for life in all_lives(processes)] == [(2, 1), (4, 2)]


@pytest.mark.parametrize(
    "late",
    [exited(2 * SECOND + 9 * MS, 100, 1, parent=0), exited(2 * SECOND - 1, 100, 1)],
    ids=["reaped", "earlier"],
)
def test_an_exit_queued_after_the_next_fork_of_its_pid_ends_the_earlier_process(
    processes: Processes, late: Event
) -> None:
    old = processes.living[100]
    processes.apply([fork(2 * SECOND, INIT, 100)])
    assert (old.end_source, old.elapsed_ns, old.exit_status) == (End.REUSED, SECOND, None)
    new = processes.living[100]
    processes.apply([late])
    assert processes.living == {100: new}
    assert (old.end_source, old.exit_status) == (End.EXIT, 1)
    assert (old.elapsed_ns or 0) <= SECOND  # over before the next began
    processes.apply([exited(4 * SECOND, 100, 2)])
    assert (new.elapsed_ns, new.exit_status, old.exit_status) == (2 * SECOND, 2, 1)


def test_the_next_process_of_a_pid_gets_its_own_exit_though_an_earlier_exit_is_pending(
    processes: Processes,
) -> None:
    processes.apply([fork(2 * SECOND, INIT, 100)])
    new = processes.living[100]
    processes.apply([exited(3 * SECOND, 100, 2)])
    assert processes.living == {}
    assert new.exit_status == 2


def test_the_exit_of_a_thread_is_not_taken_for_a_pending_exit_of_an_earlier_process(
    processes: Processes,
) -> None:
    old = processes.living[100]
    processes.apply(
        [
            fork(2 * SECOND, INIT, 100),
            clone(3 * SECOND, 100, 105),
            exited(4 * SECOND, 100, 5, tid=105),
        ]
    )
    assert processes.living[100].threads == 1
    assert old.exit_status is None


def test_two_earlier_processes_get_their_late_exits_in_order(processes: Processes) -> None:
    processes.apply([fork(2 * SECOND, INIT, 100), fork(3 * SECOND, INIT, 100)])
    processes.apply(
        [exited(3 * SECOND + 1, 100, 1, parent=0), exited(3 * SECOND + 2, 100, 2, parent=0)]
    )
    assert [life.exit_status for life in all_lives(processes)] == [1, 2, None]


def test_an_exit_that_does_not_come_is_given_up(processes: Processes) -> None:
    old = processes.living[100]
    processes.apply([fork(2 * SECOND, INIT, 100)])
    new = processes.living[100]
    processes.apply([exited(2 * SECOND + LATE_NS + 1, 100, 2, parent=0)])
    assert (old.end_source, new.end_source, new.exit_status) == (End.REUSED, End.EXIT, 2)


def test_housekeeping_forgets_only_the_exits_that_are_not_coming(processes: Processes) -> None:
    old = processes.living[100]
    processes.apply([fork(2 * SECOND, INIT, 100)])
    processes.drop_overdue(2 * SECOND + LATE_NS)
    processes.apply([exited(2 * SECOND, 100, 1, parent=0)])
    assert old.end_source == End.EXIT
    newer = processes.living[100]
    processes.apply([fork(3 * SECOND, INIT, 100)])
    processes.drop_overdue(3 * SECOND + LATE_NS + 1)
    processes.apply([exited(3 * SECOND, 100, 2, parent=0)])
    assert (newer.end_source, processes.living) == (End.REUSED, {})


# --- jobs


def test_children_forked_after_the_add_are_in_the_job_from_their_fork_and_earlier_children_are_not(
    processes: Processes,
) -> None:
    job = new_job(processes)
    processes.apply([fork(2 * SECOND, 100, 101)])
    assert processes.add(processes.living[100], job, 3 * SECOND)
    processes.apply([fork(4 * SECOND, 100, 102), fork(5 * SECOND, 102, 103)])
    assert {life.pid: life.member_since(job.id) for life in processes.members(job)} == {
        100: 3 * SECOND,
        102: 0,
        103: 0,
    }
    ids = {life.pid: life.id for life in all_lives(processes)}
    assert memberships(processes.changes) == [
        (job.id, ids[100], 3 * SECOND, None, How.ADDED),
        (job.id, ids[102], 0, None, How.INHERITED),
        (job.id, ids[103], 0, None, How.INHERITED),
    ]


def test_a_fork_before_the_add_that_arrives_after_it_is_not_in_the_job(
    processes: Processes,
) -> None:
    job = new_job(processes)
    processes.add(processes.living[100], job, 3 * SECOND)
    processes.apply([fork(3 * SECOND - 1, 100, 101), fork(3 * SECOND, 100, 102)])
    assert [life.pid for life in processes.members(job)] == [100, 102]


def test_a_fork_before_the_remove_that_arrives_after_it_is_in_the_job(
    processes: Processes,
) -> None:
    job = new_job(processes)
    processes.add(processes.living[100], job, 3 * SECOND)
    processes.remove(processes.living[100], job, 5 * SECOND)
    processes.add(processes.living[100], job, 7 * SECOND)
    for pid, time_ns in ((101, 3 * SECOND - 1), (102, 3 * SECOND), (103, 5 * SECOND - 1)):
        processes.apply([fork(time_ns, 100, pid)])
    processes.apply([fork(5 * SECOND, 100, 104), fork(7 * SECOND, 100, 105)])
    assert [life.pid for life in processes.members(job)] == [100, 102, 103, 105]
    assert (processes.memberships.late_entries, processes.memberships.late_leaves) == ([], [])


def test_a_fork_before_the_close_that_arrives_after_it_was_in_the_job_and_is_to_leave(
    processes: Processes,
) -> None:
    job = new_job(processes)
    processes.add(processes.living[100], job, 3 * SECOND)
    processes.remove(processes.living[100], job, 5 * SECOND)
    processes.jobs.close(job, 5 * SECOND, "request")
    processes.apply([fork(4 * SECOND, 100, 101), fork(5 * SECOND, 100, 102)])
    processes.apply([fork(6 * SECOND, 101, 103)])
    late = [processes.living[pid] for pid in (101, 103)]
    assert processes.memberships.late_leaves == [(life, job.id) for life in late]
    for life in late:
        assert processes.memberships.remove(life, job.id, 7 * SECOND)
    processes.apply([fork(8 * SECOND, 101, 104)])
    ids = [(job.id, life.id, 0, None, How.INHERITED) for life in late]
    assert memberships(processes.changes)[1:] == ids
    assert processes.changes.left[1:] == [(7 * SECOND, job.id, life.id) for life in late]


def test_forks_before_a_tree_was_added_that_arrive_after_it_are_to_enter_with_their_descendants(
    processes: Processes,
) -> None:
    job = new_job(processes)
    parent = processes.living[100]
    processes.add(parent, job, 4 * SECOND, tree=True)
    processes.apply([fork(2 * SECOND, 100, 101), fork(3 * SECOND, 101, 102)])
    processes.apply([fork(5 * SECOND, 101, 103), fork(5 * SECOND, 100, 104)])
    assert [(life.pid, job_id) for life, job_id in processes.memberships.late_entries] == [
        (101, job.id),
        (102, job.id),
        (103, job.id),
    ]
    processes.memberships.late_entries.clear()
    processes.remove(parent, job, 6 * SECOND)
    processes.apply([fork(6 * SECOND, 100, 105)])
    assert processes.memberships.late_entries == []


def test_a_process_whose_end_is_read_after_a_change_of_its_jobs_did_not_change_them(
    processes: Processes,
) -> None:
    job = new_job(processes)
    processes.apply([fork(1 * SECOND, 100, 101), fork(1 * SECOND, 100, 102)])
    for pid in (100, 101):
        processes.add(processes.living[pid], job, 3 * SECOND)
    processes.remove(processes.living[101], job, 5 * SECOND)
    ids = [processes.living[pid].id for pid in (100, 101)]
    processes.apply([exited(2 * SECOND, 100), exited(4 * SECOND, 101), exited(4 * SECOND, 102)])
    assert processes.changes.over == list(zip(ids, (2 * SECOND, 4 * SECOND), strict=True))
    assert job.living == 0


def test_adding_twice_changes_nothing(processes: Processes) -> None:
    job = new_job(processes)
    assert processes.add(processes.living[100], job, 3 * SECOND)
    assert not processes.add(processes.living[100], job, 4 * SECOND)
    assert (len(processes.changes.entered), job.living) == (1, 1)


def test_a_process_may_be_in_several_jobs_and_its_children_are_in_all_of_them(
    processes: Processes,
) -> None:
    one, two = new_job(processes, "one"), new_job(processes, "two")
    processes.add(processes.living[100], one, 2 * SECOND)
    processes.apply([fork(3 * SECOND, 100, 101)])
    processes.add(processes.living[100], two, 4 * SECOND)
    processes.apply([fork(5 * SECOND, 100, 102)])
    assert {pid: life.jobs for pid, life in processes.living.items()} == {
        100: (1, 2),
        101: (1,),
        102: (1, 2),
    }
    assert (one.living, two.living) == (3, 2)


def test_one_inherited_job_is_a_column_until_the_process_leaves_it(processes: Processes) -> None:
    one, two = new_job(processes, "one"), new_job(processes, "two")
    for job in (one, two):
        processes.add(processes.living[100], job, 2 * SECOND)
    processes.take_changes()
    processes.apply([fork(3 * SECOND, 100, 101), fork(3 * SECOND, 100, 102)])
    left, stayed = processes.living[101], processes.living[102]
    processes.remove(left, one, 4 * SECOND)
    assert (left.inherited_job_id, stayed.inherited_job_id) == (None, one.id)
    assert processes.changes.entered == [
        (two.id, left.id, 0, None, How.INHERITED),
        (two.id, stayed.id, 0, None, How.INHERITED),
        (one.id, left.id, 0, None, How.INHERITED),
    ]
    assert processes.changes.left == [(4 * SECOND, one.id, left.id)]


def test_removing_a_process_keeps_its_children_so_far_and_spares_the_later_ones(
    processes: Processes,
) -> None:
    job = new_job(processes)
    parent = processes.living[100]
    processes.add(parent, job, 2 * SECOND)
    processes.apply([fork(3 * SECOND, 100, 101)])
    assert processes.remove(parent, job, 4 * SECOND)
    assert not processes.remove(parent, job, 4 * SECOND)
    processes.apply([fork(5 * SECOND, 100, 102)])
    assert [life.pid for life in processes.members(job)] == [101]
    assert processes.changes.left == [(4 * SECOND, job.id, parent.id)]


def test_a_process_that_comes_back_into_a_job_is_in_it_since_then(processes: Processes) -> None:
    job = new_job(processes)
    life = processes.living[100]
    processes.add(life, job, 2 * SECOND)
    processes.remove(life, job, 3 * SECOND)
    processes.add(life, job, 4 * SECOND)
    assert life.member_since(job.id) == 4 * SECOND
    assert job.living == 1


def test_the_last_end_in_a_job_empties_it_at_that_time(processes: Processes) -> None:
    job = new_job(processes)
    processes.add(processes.living[100], job, 2 * SECOND)
    processes.apply([fork(3 * SECOND, 100, 101), exited(4 * SECOND, 100)])
    assert processes.jobs.emptied == {}
    processes.apply([exited(5 * SECOND, 101)])
    assert processes.jobs.emptied == {job.id: 5 * SECOND}


# --- descendants


def descendants(processes: Processes, *pids: int) -> list[int]:
    return sorted(
        life.pid for life in processes.with_descendants(processes.living[pid] for pid in pids)
    )


def test_descendants_are_reached_through_parents_that_are_dead(processes: Processes) -> None:
    processes.apply([fork(2, 100, 101), fork(3, 101, 102), fork(4, 102, 103), fork(5, INIT, 200)])
    processes.apply([exited(6, 102), exited(7, 101)])
    assert descendants(processes, 100) == [100, 103]
    assert descendants(processes, 103, 200) == [103, 200]


@pytest.mark.parametrize("order", list(permutations([101, 102, 103])), ids=str)
def test_descendants_are_reached_in_whatever_order_those_between_died(
    processes: Processes, order: tuple[int, ...]
) -> None:
    processes.apply([fork(2, 100, 101), fork(3, 101, 102), fork(4, 102, 103), fork(5, 103, 104)])
    processes.apply(exited(6, pid) for pid in order)
    assert descendants(processes, 100) == [100, 104]


def test_a_daemon_that_forks_and_exits_again_and_again_leaves_no_chain_of_the_dead(
    processes: Processes,
) -> None:
    pid = 1000
    processes.apply([fork(2 * SECOND, 100, pid)])
    for n in range(100_000):
        child = 1000 + (pid - 999) % 30_000
        processes.apply([fork(3 * SECOND + n, pid, child), exited(3 * SECOND + n, pid)])
        pid = child
        if n % 1000 == 0:
            processes.take_changes()
    processes.take_changes()
    assert descendants(processes, 100) == [100, pid]
    gc.collect()
    reachable = 0
    life: Incarnation | None = processes.living[pid]
    while life is not None:
        reachable += 1
        life = life.ancestor
    assert reachable <= 3
    held = sum(isinstance(one, Incarnation) for one in gc.get_objects())
    assert held <= 100


# --- what /proc showed


def test_a_process_found_alive_is_an_incarnation_of_its_own_kind() -> None:
    processes = Processes(Jobs())
    assert (
        processes.reconcile(
            [found(50, 2 * SECOND, uid=1000), found(60, 3 * SECOND, ppid=50)], infer=False
        )
        == []
    )
    parent, child = processes.living[50], processes.living[60]
    assert (parent.origin, parent.start_ns, parent.uid, parent.comm) == (
        Origin.SNAPSHOT,
        2 * SECOND,
        1000,
        "found",
    )
    assert (child.parent_id, child.parent_inferred) == (parent.id, 1)
    assert descendants(processes, 50) == [50, 60]


def test_a_zombie_is_over_but_one_with_threads_is_not() -> None:
    processes = Processes(Jobs())
    processes.reconcile([found(50, zombie=True), found(60, zombie=True, threads=3)], infer=False)
    assert list(processes.living) == [60]


def outcome(processes: Processes) -> list[tuple[object, ...]]:
    """All that is known of every process, except what only /proc shows."""
    pids = {life.id: (life.pid, life.start_ns) for life in all_lives(processes)}
    return sorted(
        (
            life.pid,
            life.start_ns,
            life.elapsed_ns or -1,
            life.end_source or 0,
            life.exit_status or 0,
            life.jobs,
            str(pids.get(life.parent_id or 0)),
        )
        for life in all_lives(processes)
    )


STORY = [
    fork(11 * SECOND, 100, 101),
    clone(12 * SECOND, 101, 105),
    fork(13 * SECOND, 101, 102),
    exited(14 * SECOND, 101, 0),
    exited(15 * SECOND, 101, 0x0600, tid=105),
    fork(16 * SECOND, 102, 103),
    exited(17 * SECOND, 102, 1),
    fork(18 * SECOND, INIT, 101),
]
# What /proc showed after so many events of the story: 100 from before, then who lived with how many
# threads.
LIVING = [
    {},
    {101: (11, 100, 1)},
    {101: (11, 100, 2)},
    {101: (11, 100, 2), 102: (13, 101, 1)},
    {101: (11, 100, 2), 102: (13, 101, 1)},
    {102: (13, INIT, 1)},
    {102: (13, INIT, 1), 103: (16, 102, 1)},
    {103: (16, INIT, 1)},
    {103: (16, INIT, 1), 101: (18, INIT, 1)},
]


def told(story: list[Event], scan_after: int | None) -> Processes:
    """A collector that listens from before the story; if it scans, it does so at some moment and
    reads the queue afterwards.
    """
    processes = Processes(Jobs())
    processes.apply([fork(SECOND, INIT, 100)])
    processes.add(processes.living[100], new_job(processes), 2 * SECOND)
    if scan_after is not None:
        seen_ns = (11 + scan_after) * SECOND - SECOND // 2
        shown = [found(100, SECOND, seen_ns=seen_ns)]
        for pid, (start_s, ppid, threads) in LIVING[scan_after].items():
            zombie = pid == 101 and scan_after == 4
            shown.append(
                found(
                    pid,
                    start_s * SECOND,
                    ppid=ppid,
                    threads=threads,
                    zombie=zombie,
                    seen_ns=seen_ns,
                )
            )
        processes.reconcile(shown, infer=True)
    processes.apply(story)
    return processes


@pytest.mark.parametrize("scan_after", range(9))
def test_events_that_overlap_a_scan_give_what_they_give_alone(scan_after: int) -> None:
    assert outcome(told(STORY, scan_after)) == outcome(told(STORY, None))


def test_a_process_seen_just_before_its_fork_got_its_time_is_not_two() -> None:
    processes = Processes(Jobs())
    processes.reconcile([found(50, 2 * SECOND, seen_ns=2 * SECOND + 5 * MS)], infer=False)
    processes.apply([fork(2 * SECOND + 6 * MS, INIT, 50)])
    assert [(life.origin, life.start_ns) for life in all_lives(processes)] == [
        (Origin.FORK, 2 * SECOND + 6 * MS)
    ]


def test_the_parent_from_the_fork_event_counts_and_not_the_process_that_adopted_the_orphan() -> (
    None
):
    processes = Processes(Jobs())
    processes.reconcile(
        [found(INIT), found(50, 12 * SECOND, ppid=INIT, seen_ns=20 * SECOND)], infer=False
    )
    processes.apply([fork(12 * SECOND, 49, 50)])  # 49 came and went before anybody looked
    life = processes.living[50]
    assert (life.parent_id, life.parent_inferred) == (None, None)


def test_a_job_inferred_from_the_wrong_parent_is_revoked_when_the_fork_arrives() -> None:
    processes = Processes(Jobs())
    processes.apply([fork(1 * SECOND, INIT, 40), fork(1 * SECOND, INIT, 49)])
    job = new_job(processes)
    processes.add(processes.living[40], job, 2 * SECOND)
    # 40 took in the orphan of 49.
    processes.reconcile([found(40, SECOND), found(50, 5 * SECOND, ppid=40)], infer=True)
    assert list(processes.living[50].jobs) == [job.id]
    processes.apply([fork(5 * SECOND, 49, 50), exited(6 * SECOND, 49)])
    assert (list(processes.living[50].jobs), job.living) == ([], 1)
    assert [entry[1] for entry in memberships(processes.changes)] == [processes.living[40].id]
    assert processes.changes.left == []


def test_a_younger_process_that_now_has_the_pid_of_the_parent_is_not_the_parent() -> None:
    processes = Processes(Jobs())
    processes.reconcile([found(60, 5 * SECOND, ppid=50), found(50, 9 * SECOND)], infer=True)
    assert processes.living[60].parent_id is None


# --- doubts


@pytest.fixture
def doubtful() -> Processes:
    """Process 50 was found with two threads at 10 s."""
    processes = Processes(Jobs())
    processes.reconcile([found(50, threads=2)], infer=False)
    return processes


def test_the_exit_of_a_thread_of_a_found_process_is_unconfirmed_until_proc_decides(
    doubtful: Processes,
) -> None:
    life = doubtful.living[50]
    doubtful.apply([exited(11 * SECOND, 50, 0)])
    assert list(doubtful.unconfirmed_exits) == [50]
    doubtful.resolve_exit(50, found(50, zombie=True, threads=2, seen_ns=12 * SECOND))
    assert (doubtful.unconfirmed_exits, doubtful.living) == ({}, {50: life})
    doubtful.apply([exited(13 * SECOND, 50, 0x0600, tid=51)])
    doubtful.resolve_exit(50, found(50, zombie=True, seen_ns=14 * SECOND))
    assert (life.end_source, life.elapsed_ns, life.exit_status, life.leader_status) == (
        End.EXIT,
        13 * SECOND,
        0x0600,
        0,
    )


@pytest.mark.parametrize(
    "shown",
    [None, found(50, zombie=True), found(50, 11 * SECOND)],
    ids=["gone", "zombie", "another"],
)
def test_an_unconfirmed_exit_ends_a_process_that_proc_no_longer_shows(
    doubtful: Processes, shown: ProcSnapshot | None
) -> None:
    life = doubtful.living[50]
    doubtful.apply([exited(11 * SECOND, 50, 9)])
    doubtful.resolve_exit(50, shown)
    assert (life.end_source, life.elapsed_ns, life.exit_status) == (End.EXIT, 11 * SECOND, 9)


def test_the_newest_exit_is_the_unconfirmed_one(doubtful: Processes) -> None:
    life = doubtful.living[50]
    doubtful.apply([exited(11 * SECOND, 50, 0), exited(12 * SECOND, 50, 0x0600, tid=51)])
    doubtful.resolve_exit(50, None)
    assert (life.elapsed_ns, life.exit_status, life.leader_status) == (12 * SECOND, 0x0600, 0)


def test_the_last_exit_of_a_process_may_come_after_proc_no_longer_shows_it(
    doubtful: Processes,
) -> None:
    life = doubtful.living[50]
    doubtful.apply([exited(11 * SECOND, 50, 0)])
    doubtful.note_thread_ends(
        life,
        ThreadEnds(
            [ThreadEnd(50, 0, 1_000_000, False), ThreadEnd(51, 9, 1_020_000, True)], {50, 51}, True
        ),
    )
    doubtful.resolve_exit(50, None)
    doubtful.apply([exited(11 * SECOND + 20 * MS, 50, 9, tid=51)])
    assert (life.elapsed_ns, life.exit_status, life.leader_status) == (11 * SECOND + 20 * MS, 9, 0)
    assert doubtful.living == {}


@pytest.mark.parametrize("parent", [INIT, 0], ids=["waited for later", "reaped"])
def test_the_next_process_of_the_pid_keeps_its_exit_though_one_more_of_the_earlier_may_come(
    doubtful: Processes, parent: int
) -> None:
    old = doubtful.living[50]
    doubtful.apply([exited(12 * SECOND, 50, 5)])
    doubtful.resolve_exit(50, None)
    doubtful.apply([fork(13 * SECOND, INIT, 50)])
    new = doubtful.living[50]
    doubtful.apply([exited(14 * SECOND, 50, 6, parent=parent)])
    assert (new.end_source, new.exit_status, old.exit_status) == (End.EXIT, 6, 5)
    doubtful.apply([exited(14 * SECOND, 50, 5, parent=0)])  # the one that might come
    assert old.start_ns + (old.elapsed_ns or 0) == 13 * SECOND


@pytest.mark.parametrize("of_another", [True, False])
def test_where_events_were_lost_an_exit_that_names_another_parent_is_of_another_process(
    processes: Processes, of_another: bool
) -> None:
    processes.apply([fork(2 * SECOND, 100, 101)])
    life = processes.living[101]
    processes.events_lost = True
    processes.apply([exited(9 * SECOND, 101, 7, parent=77 if of_another else 100)])
    assert (life.end_source, life.exit_status) == ((None, None) if of_another else (End.EXIT, 7))
    assert processes.changes.events[-1][-1] == (None if of_another else life.id)


@pytest.mark.parametrize("forked", [False, True], ids=["found", "forked after the scan"])
def test_where_events_were_lost_an_exit_is_that_of_the_process_that_has_the_pid_now(
    processes: Processes, forked: bool
) -> None:
    old = processes.living[100]
    processes.events_lost = True
    processes.reconcile([] if forked else [found(100, 5 * SECOND)], infer=True)
    processes.events_lost = False
    if forked:
        processes.apply([fork(6 * SECOND, INIT, 100)])
    new = processes.living[100]
    processes.apply([exited(7 * SECOND, 100, 7, parent=0)])
    if not forked:
        processes.resolve_exit(100, None)
    assert (old.end_source, old.exit_status) == (End.REUSED, None)
    assert (new.end_source, new.exit_status) == (End.EXIT, 7)


def test_the_next_process_of_the_pid_confirms_an_exit(doubtful: Processes) -> None:
    life = doubtful.living[50]
    doubtful.apply([exited(11 * SECOND, 50, 3), fork(12 * SECOND, INIT, 50)])
    assert (life.end_source, life.elapsed_ns, life.exit_status) == (End.EXIT, 11 * SECOND, 3)
    assert doubtful.unconfirmed_exits == {}


def test_the_late_exit_of_a_thread_that_proc_showed_no_more_is_not_the_end() -> None:
    processes = Processes(Jobs())
    processes.reconcile([found(50, threads=1, seen_ns=10 * SECOND)], infer=False)
    processes.apply([exited(10 * SECOND + MS, 50, 0, tid=51)])
    processes.resolve_exit(50, found(50, threads=1, seen_ns=11 * SECOND))
    assert 50 in processes.living


# --- loss and restart


def test_a_process_that_proc_lacks_is_reported_and_ends_only_when_the_caller_says_so(
    processes: Processes,
) -> None:
    processes.apply([fork(2 * SECOND, INIT, 101), fork(2 * SECOND, INIT, 102)])
    gone, coming, zombie = (processes.living[pid] for pid in (100, 101, 102))
    missing = processes.reconcile([found(102, 2 * SECOND, zombie=True)], infer=True)
    assert missing == [gone, coming, zombie]
    assert len(processes.living) == 3
    processes.apply(
        [exited(9 * SECOND, 101, 5), exited(9 * SECOND, 102, 6), fork(9 * SECOND, INIT, 101)]
    )  # it arrives after all
    processes.resolve_exit(102, None)
    processes.end_vanished(missing, 10 * SECOND)
    assert [(life.end_source, life.exit_status) for life in missing] == [
        (End.VANISHED, None),
        (End.EXIT, 5),
        (End.EXIT, 6),
    ]
    assert gone.elapsed_ns == 9 * SECOND
    assert list(processes.living) == [101]  # its next life was not meant


def test_a_pid_reused_without_received_events_is_two_processes(processes: Processes) -> None:
    old = processes.living[100]
    processes.reconcile([found(100, 5 * SECOND)], infer=True)
    assert (old.end_source, old.elapsed_ns) == (End.REUSED, 4 * SECOND)
    assert processes.living[100].origin == Origin.SNAPSHOT
    processes.apply([exited(4 * SECOND, 100, 7, parent=0)])  # its exit was only late
    assert (old.end_source, old.elapsed_ns, old.exit_status) == (End.EXIT, 3 * SECOND, 7)


def test_an_exit_in_the_start_tick_of_the_next_process_belongs_to_the_earlier_process(
    processes: Processes,
) -> None:
    old = processes.living[100]
    processes.reconcile([found(100, 4 * SECOND + 2 * MS)], infer=True)
    processes.apply([exited(4 * SECOND + MS, 100, 7), fork(4 * SECOND + 2 * MS, INIT, 100)])
    assert (old.end_source, old.elapsed_ns, old.exit_status) == (End.EXIT, 3 * SECOND + MS, 7)
    assert (processes.living[100].start_ns, len(all_lives(processes))) == (4 * SECOND + 2 * MS, 2)


def test_a_process_ends_at_the_fork_of_the_next_one_of_its_pid_and_not_at_the_tick_in_proc(
    processes: Processes,
) -> None:
    old = processes.living[100]
    processes.reconcile([found(100, 4 * SECOND)], infer=True)
    processes.apply(
        [fork(4 * SECOND + 2 * MS, INIT, 100), exited(4 * SECOND + 38 * MS, 100, 7, parent=0)]
    )
    assert (old.end_source, old.elapsed_ns, old.exit_status) == (End.EXIT, 3 * SECOND + 2 * MS, 7)
    assert processes.living[100].start_ns == 4 * SECOND + 2 * MS


def test_a_process_with_a_pending_exit_does_not_last_until_the_fork_after_the_next(
    processes: Processes,
) -> None:
    old = processes.living[100]
    processes.apply([fork(4 * SECOND, INIT, 100), exited(4 * SECOND + 30 * MS, 100)])
    processes.reconcile([found(100, 4 * SECOND + 60 * MS)], infer=True)
    processes.apply(
        [fork(4 * SECOND + 60 * MS, INIT, 100), exited(4 * SECOND + 80 * MS, 100, 7, parent=0)]
    )
    assert (old.end_source, old.elapsed_ns, old.exit_status) == (End.EXIT, 3 * SECOND, 7)
    assert [life.end_source for life in all_lives(processes)] == [End.EXIT, End.EXIT, None]


def test_events_of_the_earlier_process_are_its_own_though_proc_already_showed_the_next(
    processes: Processes,
) -> None:
    old = processes.living[100]
    job = new_job(processes)
    processes.add(old, job, 2 * SECOND)
    processes.reconcile([found(100, 5 * SECOND)], infer=True)
    processes.apply(
        [
            fork(3 * SECOND, 100, 101),
            clone(3 * SECOND, 100, 105),
            exited(4 * SECOND, 100, 0),
            fork(5 * SECOND, INIT, 100),
        ]
    )
    processes.apply([exited(4 * SECOND + MS, 100, 0x0600, tid=105)])
    assert (processes.living[101].parent_id, processes.living[101].jobs) == (old.id, (job.id,))
    assert (old.end_source, old.elapsed_ns, old.exit_status, old.leader_status) == (
        End.EXIT,
        3 * SECOND + MS,
        0x0600,
        0,
    )
    assert (processes.living[100].origin, processes.living[100].jobs) == (Origin.FORK, ())


def test_after_a_loss_a_living_child_of_a_member_is_in_the_job_and_marked_as_inferred(
    processes: Processes,
) -> None:
    job = new_job(processes)
    processes.add(processes.living[100], job, 5 * SECOND)
    processes.reconcile(
        [
            found(100, SECOND),
            found(101, 6 * SECOND, ppid=100),
            found(102, 7 * SECOND, ppid=101),
            found(103, 3 * SECOND, ppid=100),
        ],
        infer=True,
    )
    assert sorted(life.pid for life in processes.members(job)) == [100, 101, 102]
    ids = {life.pid: life.id for life in all_lives(processes)}
    assert processes.changes.entered[1:] == [
        (job.id, ids[101], 0, None, How.INFERRED),
        (job.id, ids[102], 0, None, How.INFERRED),
    ]
    assert processes.living[103].parent_inferred == 1


def test_the_first_scan_infers_no_memberships(processes: Processes) -> None:
    job = new_job(processes)
    processes.add(processes.living[100], job, 5 * SECOND)
    processes.reconcile([found(100, SECOND), found(101, 6 * SECOND, ppid=100)], infer=False)
    assert [life.pid for life in processes.members(job)] == [100]


def test_restored_processes_stay_in_their_jobs_and_are_recognized() -> None:
    jobs = Jobs()
    jobs.restore(Job(3, "old", 0, 0))
    processes = Processes(jobs, next_id=30)
    lives = [
        Incarnation(10, 100, SECOND, 0, Origin.FORK),
        Incarnation(12, 101, 2 * SECOND + 3 * MS, 0, Origin.FORK),
    ]
    lives[0].jobs = lives[1].jobs = (3,)
    lives[1].parent_id = 10
    for life in lives:
        processes.restore(life)
    processes.link_ancestors()
    assert jobs.open[3].living == 2
    assert descendants(processes, 100) == [100, 101]
    # While jobd was down, 101 forked 102, 100 ended, and its pid was reused.
    missing = processes.reconcile(
        [found(100, 8 * SECOND), found(101, 2 * SECOND, ppid=1), found(102, 5 * SECOND, ppid=101)],
        infer=True,
    )
    assert missing == []
    assert processes.living[101] is lives[1]
    assert lives[1].start_ns == 2 * SECOND + 3 * MS
    assert (lives[0].end_source, processes.living[100].jobs) == (End.REUSED, ())
    assert processes.living[102].jobs == (3,)
    assert [life.id for life in all_lives(processes)] == [30, 32]
    assert processes.changes.amended[lives[0].id] is lives[0]
    assert jobs.open[3].living == 2


@pytest.fixture
def restarted() -> Processes:
    """Process 100 ran when jobd stopped, and /proc does not show it now."""
    processes = Processes(Jobs(), next_id=30)
    processes.restore(Incarnation(10, 100, SECOND, 0, Origin.FORK))
    processes.reconcile([found(INIT)], infer=True)
    return processes


def test_an_exit_soon_after_a_restart_may_be_that_of_the_pids_next_process(
    restarted: Processes,
) -> None:
    life = restarted.living[100]
    restarted.apply([exited(9 * SECOND, 100, 7)])
    assert (life.end_source, life.exit_status, list(restarted.living)) == (
        End.VANISHED,
        None,
        [INIT],
    )
    restarted.note_thread_ends(life, ThreadEnds([ThreadEnd(100, 7, 8_000_000, False)], [100], True))
    assert life.exit_status == 7


def test_what_ended_while_jobd_was_down_gets_no_exit_of_the_pids_next_process(
    restarted: Processes,
) -> None:
    life = restarted.living[100]
    restarted.apply([fork(9 * SECOND, INIT, 100), exited(9 * SECOND + MS, 100, 7, parent=0)])
    assert (life.end_source, life.exit_status) == (End.REUSED, None)
    (following,) = (life for life in all_lives(restarted) if life.pid == 100)
    assert (following.end_source, following.exit_status) == (End.EXIT, 7)


# --- a full memory


def test_shedding_drops_events_and_short_processes_and_counts_them(
    processes: Processes,
) -> None:
    job = new_job(processes)
    parent = processes.living[100]
    processes.add(parent, job, SECOND)
    processes.apply(
        [fork(2 * SECOND, 100, 101), fork(2 * SECOND, 100, 102), exited(3 * SECOND, 101)]
    )
    assert processes.changes.shed() == 4 + 1
    assert [life.pid for life in processes.changes.started] == [100, 102]
    assert [stay[1] for stay in memberships(processes.changes)] == [
        parent.id,
        processes.living[102].id,
    ]
    assert processes.changes.events == []


def test_what_is_due_between_two_events_is_done_before_the_first_later_event() -> None:
    processes = Processes(Jobs())
    calls: list[tuple[int, list[int]]] = []

    def before(time_ns: int) -> int:
        calls.append((time_ns, sorted(processes.living)))
        return 35

    events = [fork(10, 1, 50), fork(25, 1, 51), fork(30, 1, 52), fork(20, 1, 53), fork(40, 1, 54)]
    processes.apply(events, 25, before)
    assert calls == [(30, [50, 51]), (40, [50, 51, 52, 53])]


# --- processes that are only remembered


@pytest.fixture
def remembered() -> Processes:
    """Process 100 ran when a jobd stopped, in job 1, and nothing has shown it since."""
    processes = Processes(Jobs())
    life = Incarnation(10, 100, SECOND, 0, Origin.FORK)
    life.jobs = (new_job(processes).id,)
    life.uid, life.comm = 7, "before"
    processes.restore(life)
    return processes


def test_what_forks_with_the_pid_of_a_remembered_process_may_be_another(
    remembered: Processes,
) -> None:
    remembered.apply([fork(9 * SECOND, 100, 200)])
    (child,) = all_lives(remembered)
    assert (child.parent_id, child.parent_inferred) == (10, 1)
    assert [how for *_, how in remembered.changes.entered] == [How.INFERRED]


def test_events_with_the_pid_of_a_remembered_process_change_nothing_of_it(
    remembered: Processes,
) -> None:
    name = int.from_bytes(b"else", "little")
    remembered.apply(
        [
            event(ev.UID, 9 * SECOND, 100, 100, 8, 8),
            event(ev.COMM, 9 * SECOND, 100, 100, name),
            execed(9 * SECOND, 100),
        ]
    )
    life = remembered.living[100]
    assert (life.uid, life.comm, remembered.execed) == (7, "before", set())
    assert remembered.changes.events[0][-1] is None


def test_a_remembered_process_ended_before_the_first_later_use_of_its_pid(
    remembered: Processes,
) -> None:
    """/proc showed only the latest use."""
    before = remembered.living[100]
    remembered.reconcile([found(100, 9 * SECOND)], infer=True)
    remembered.apply(
        [fork(8 * SECOND, INIT, 100), exited(8 * SECOND + MS, 100), fork(9 * SECOND, INIT, 100)]
    )
    assert (before.end_source, before.end_ns) == (End.REUSED, 8 * SECOND)
    assert before.id in remembered.changes.amended


def test_what_forked_before_a_process_that_proc_shows_started_is_not_its_child() -> None:
    processes = Processes(Jobs())
    processes.reconcile([found(100, 9 * SECOND)], infer=True)
    processes.apply(
        [
            fork(8 * SECOND, 100, 200),
            fork(9 * SECOND + MS, 100, 201),
            fork(10 * SECOND, 100, 202),
        ]
    )
    shown, *children = all_lives(processes)
    assert [(life.parent_id, life.parent_pid, life.parent_inferred) for life in children] == [
        (None, 100, None),
        (shown.id, None, 1),  # a start from /proc is cut to a tick
        (shown.id, None, None),
    ]


@pytest.mark.parametrize(
    ("shown_ns", "is_same"),
    [
        (SECOND, True),
        (SECOND - 10 * MS, True),
        (SECOND - 90 * MS, True),  # its fork event came so late
        (SECOND + 10 * MS, False),  # cut to a tick, and still after its fork
    ],
)
def test_a_process_that_started_after_a_fork_event_is_not_that_of_the_fork(
    remembered: Processes, shown_ns: int, is_same: bool
) -> None:
    before = remembered.living[100]
    remembered.reconcile([found(100, shown_ns)], infer=True)
    assert (remembered.living[100] is before) is is_same
