"""What memory knows goes on in another warehouse: the same jobs and lives, no id given twice,
nothing that is there already added again.
"""

from __future__ import annotations

from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, How, Origin
from elsa.state.incarnation import Incarnation
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.state.warehouse_switch import carry_over
from tests.support.events import INIT, exited, fork
from tests.support.memberships import memberships

S = 1_000_000_000
REAL = 1_700_000_000 * S
NOW = 100 * S


def known() -> tuple[Processes, Job]:
    """50 is in a job since 20 s, its child 51 from its fork; 52 was in it and ended; 60 is not."""
    old = Processes(
        Jobs(next_id=7),
        next_id=200,
        clocks=Clocks([Clock(0, 0, REAL, 0), Clock(2, 30 * S, REAL + S, 0)]),
    )
    job = old.jobs.create("night", 1000, REAL + 15 * S, tags={"k": "v"}, closes_itself=True)
    old.apply([fork(10 * S, INIT, 50), fork(11 * S, INIT, 60)])
    old.add(old.living[50], job, 20 * S)
    old.apply([fork(40 * S, 50, 51), fork(41 * S, 50, 52), exited(42 * S, 52)])
    old.set_comm(old.living[50], b"sh")
    return old, job


def empty(next_id: int = 1) -> Processes:
    return Processes(Jobs(next_id=next_id), clocks=Clocks([]))


def test_an_empty_warehouse_gets_all_running_processes_under_the_same_job_id() -> None:
    old, job = known()
    new = empty()
    moved = carry_over(old, new, set(), 4, NOW)
    assert moved.clocks == [Clock(4, 0, REAL, 0), Clock(6, 30 * S, REAL + S, 0)]
    (carried,) = moved.jobs.values()
    assert (carried.id, carried.name, carried.owner_uid, carried.tags, carried.living) == (
        7,
        "night",
        1000,
        {"k": "v"},
        2,
    )
    assert new.jobs.next_id == old.jobs.next_id
    assert new.jobs.emptied == {}
    fifty, child, other = (new.living[pid] for pid in (50, 51, 60))
    assert (fifty.start_ns, fifty.start_clock_id, fifty.origin, fifty.comm) == (
        10 * S,
        4,
        Origin.FORK,
        "sh",
    )
    assert (child.start_clock_id, child.parent_id, child.ancestor) == (6, fifty.id, fifty)
    assert (fifty.jobs, child.jobs, other.jobs) == ((7,), (7,), ())
    assert sorted(memberships(new.changes)) == [
        (7, fifty.id, 20 * S, None, How.ADDED),
        (7, child.id, 0, None, How.INHERITED),
    ]
    assert len(new.changes.started) == 3
    assert moved.since_ns == 15 * S
    assert job.id == 7


def test_a_job_whose_id_is_taken_gets_an_unused_id() -> None:
    for next_id, given in ((500, 500), (3, 8)):
        new = empty(next_id)
        old, _ = known()
        moved = carry_over(old, new, {7}, 4, NOW)
        assert {old_id: job.id for old_id, job in moved.jobs.items()} == {7: given}
        assert new.living[50].jobs == (given,)
        assert new.jobs.create("next", 0, 1).id == given + 1


def test_of_an_older_state_of_the_same_warehouse_only_what_is_new_is_added() -> None:
    old, job = known()
    new = Processes(Jobs(next_id=8), next_id=1000, clocks=Clocks([Clock(0, 0, REAL, 0)]))
    new.jobs.restore(Job(7, "night", 1000, REAL + 15 * S, True, {"k": "v"}))
    for pid, start_ns, member in ((50, 10 * S, True), (60, 11 * S, True), (51, 12 * S, False)):
        life = Incarnation(pid, pid, start_ns, 0, Origin.FORK)
        life.jobs = (7,) if member else ()
        new.restore(life)
    moved = carry_over(old, new, {7}, 4, NOW)
    assert moved.jobs == {}
    assert moved.clocks == [Clock(4, 30 * S, REAL + S, 0)]
    assert new.living[50].id == 50  # as it was
    assert new.changes.left == [(NOW, 7, 60)]  # taken out since
    (child,) = new.changes.started
    assert (child.pid, child.start_ns, child.parent_id, child.jobs) == (51, 40 * S, 50, (7,))
    assert [
        (life.pid, life.start_ns, life.end_source)
        for life in new.changes.amended.values()
        if life.end_source
    ] == [(51, 12 * S, End.VANISHED)]
    assert moved.since_ns == NOW
    assert job.living == 2


def test_a_job_without_members_is_known_to_be_empty() -> None:
    old, _ = known()
    old.apply([exited(50 * S, 50), exited(51 * S, 51)])
    new = empty()
    carry_over(old, new, set(), 4, NOW)
    assert new.jobs.emptied == {7: 0}
