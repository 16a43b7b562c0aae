"""Carries what a collector knows over into another warehouse: open jobs, living incarnations,
memberships and clocks. Pure.

What the new warehouse records of this boot is kept, as after a restart; what only memory knows is
added. Incarnations are the same if pid and start are; jobs if id, name, owner and time are.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from elsa.state.clock import Clock
from elsa.state.codes import How
from elsa.state.incarnation import Incarnation, same_start
from elsa.state.jobs import Job
from elsa.state.process_table import Processes


class SwitchResult(NamedTuple):
    """What is new to the warehouse, besides the changes of the processes."""

    clocks: list[Clock]
    jobs: dict[int, Job]
    """By the id that each had in the old warehouse."""
    since_ns: int
    """Monotonic: since when something of these jobs may be missing from the warehouse."""


def carry_over(
    old: Processes, new: Processes, taken: Container[int], next_clock_id: int, now_ns: int
) -> SwitchResult:
    """Add what the old state knows to the new state, which was restored from the new warehouse.

    A job keeps its id unless another job of the new warehouse has it (`taken`); then it gets an id
    that was never used.
    """
    clocks = _carry_clocks(old, new, next_clock_id)
    new.jobs.next_id = max(new.jobs.next_id, old.jobs.next_id)
    moved: dict[int, Job] = {}
    by_old_id: dict[int, Job] = {}
    for job in old.jobs.open.values():
        recorded = new.jobs.open.get(job.id)
        if recorded is not None and _same_job(job, recorded):
            by_old_id[job.id] = recorded
        else:
            by_old_id[job.id] = moved[job.id] = _carry_job(job, new, taken)
    _carry_processes(old, new, by_old_id, now_ns)
    starts = [old.clocks.monotonic_ns(job.created_at_ns) for job in moved.values()]
    for job in moved.values():
        starts += [life.member_since(job.id) or life.start_ns for life in new.members(job)]
    return SwitchResult(clocks, moved, min(starts, default=now_ns))


def _same_job(one: Job, other: Job) -> bool:
    return (one.name, one.owner_uid, one.created_at_ns) == (
        other.name,
        other.owner_uid,
        other.created_at_ns,
    )


def _carry_clocks(old: Processes, new: Processes, next_id: int) -> list[Clock]:
    """Add the clocks that are newer than all clocks of this boot in the new warehouse."""
    last_ns = new.clocks.known[-1].since_ns if new.clocks.known else -1
    later = [clock for clock in old.clocks.known if clock.since_ns > last_ns]
    carried = [clock._replace(id=next_id + 2 * index) for index, clock in enumerate(later)]
    new.clocks.known.extend(carried)
    return carried


def _carry_job(job: Job, new: Processes, taken: Container[int]) -> Job:
    job_id = new.jobs.next_id if job.id in taken else job.id
    carried = Job(
        job_id, job.name, job.owner_uid, job.created_at_ns, job.closes_itself, dict(job.tags)
    )
    carried.kind, carried.cgroup, carried.cgroup_inode = job.kind, job.cgroup, job.cgroup_inode
    carried.invocation, carried.is_run = job.invocation, job.is_run
    carried.memory_peak = job.memory_peak
    new.jobs.restore(carried)
    new.jobs.emptied[carried.id] = 0  # until a member is added
    return carried


def _carry_processes(old: Processes, new: Processes, jobs: dict[int, Job], now_ns: int) -> None:
    carried_by_id = {life.id: _carry_process(life, new) for life in list(old.living.values())}
    for job_id, (_, command) in old.launched.items():
        if command.id in carried_by_id and job_id in jobs:
            new.launched[jobs[job_id].id] = jobs[job_id], carried_by_id[command.id]
    for life in old.living.values():
        carried = carried_by_id[life.id]
        if not carried.stored and life.parent_id in carried_by_id:
            carried.parent_id = carried_by_id[life.parent_id].id
        ancestor = life.ancestor
        while ancestor is not None and ancestor.id not in carried_by_id:
            ancestor = ancestor.ancestor
        carried.ancestor = carried_by_id[ancestor.id] if ancestor is not None else None
        for job_id in life.jobs:
            since_ns = life.member_since(job_id)
            new.add(carried, jobs[job_id], since_ns, How.ADDED if since_ns else How.INHERITED)
        carried.group = life.group
        if life.automatic is not None:
            carried.automatic = jobs[life.automatic].id
        for job_id, job in jobs.items():
            # It was removed from the job after the new warehouse was last written.
            if job.id in carried.jobs and job_id not in life.jobs:
                new.remove(carried, job, now_ns)


def _carry_process(life: Incarnation, new: Processes) -> Incarnation:
    """The same process in the new state: as the warehouse records it, or new."""
    recorded = new.living.get(life.pid)
    if recorded is not None:
        if same_start(recorded, life.start_ns):
            return recorded
        new.end_vanished([recorded], max(life.start_ns, recorded.start_ns))
    carried = new.adopt(life.pid, life.start_ns, life.origin)
    carried.parent_inferred, carried.uid, carried.comm = life.parent_inferred, life.uid, life.comm
    carried.status, carried.leader_status = life.status, life.leader_status
    carried.exits, carried.exec_ns = life.exits, life.exec_ns
    return carried
