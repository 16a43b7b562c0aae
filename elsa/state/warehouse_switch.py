"""What a collector knows, carried over into another warehouse: open jobs, living incarnations,
stays and clocks. Pure.

What the new warehouse tells of this boot stands, as after a restart; what only memory knows is
added. An incarnation is the same by its pid and start, a job by its id, name, owner and time.
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
    """By the id that each had before."""
    since_ns: int
    """Monotonic: since when the warehouse may lack something of these jobs."""


def carry_over(
    old: Processes, new: Processes, taken: Container[int], next_clock_id: int, now_ns: int
) -> SwitchResult:
    """Add what the old state knows to the new one, as it was restored from the new warehouse.

    A job keeps its id unless it is among the taken ones, which other jobs of the new warehouse
    bear; then it gets one that was never given.
    """
    clocks = _carry_clocks(old, new, next_clock_id)
    new.jobs.next_id = max(new.jobs.next_id, old.jobs.next_id)
    moved: dict[int, Job] = {}
    here: dict[int, Job] = {}
    for job in old.jobs.open.values():
        there = new.jobs.open.get(job.id)
        if there is not None and (there.name, there.owner_uid, there.created_at_ns) == (
            job.name,
            job.owner_uid,
            job.created_at_ns,
        ):
            here[job.id] = there
        else:
            here[job.id] = moved[job.id] = _carry_job(job, new, taken)
    _carry_lives(old, new, here, now_ns)
    begun = [old.clocks.monotonic_ns(job.created_at_ns) for job in moved.values()]
    for job in moved.values():
        begun += [life.member_since(job.id) or life.start_ns for life in new.members(job)]
    return SwitchResult(clocks, moved, min(begun, default=now_ns))


def _carry_clocks(old: Processes, new: Processes, next_id: int) -> list[Clock]:
    """The clocks that began after all that the new warehouse knows of this boot."""
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
    new.jobs.restore(carried)
    new.jobs.emptied[carried.id] = 0  # until a member comes
    return carried


def _carry_lives(old: Processes, new: Processes, jobs: dict[int, Job], now_ns: int) -> None:
    lives = {life.id: (life, _life(life, new)) for life in list(old.living.values())}
    for life, carried in lives.values():
        parent = lives.get(life.parent_id) if life.parent_id is not None else None
        if not carried.stored and parent is not None:
            carried.parent_id = parent[1].id
        ancestor = life.ancestor
        while ancestor is not None and ancestor.id not in lives:
            ancestor = ancestor.ancestor
        for job_id in (
            job_id
            for job_id, (_, command) in old.launched.items()
            if command is life and job_id in jobs
        ):
            new.launched[jobs[job_id].id] = jobs[job_id], carried
        carried.ancestor = lives[ancestor.id][1] if ancestor is not None else None
        for job_id in life.jobs:
            since_ns = life.member_since(job_id)
            new.add(carried, jobs[job_id], since_ns, How.ADDED if since_ns else How.INHERITED)
        for job_id, job in jobs.items():
            if job.id in carried.jobs and job_id not in life.jobs:
                new.remove(
                    carried, job, now_ns
                )  # it was taken out after the new warehouse had been written


def _life(life: Incarnation, new: Processes) -> Incarnation:
    """The same life in the new state: as it is there, or made."""
    there = new.living.get(life.pid)
    if there is not None:
        if same_start(there, life.start_ns):
            return there
        new.vanished([there], max(life.start_ns, there.start_ns))
    made = new.adopt(life.pid, life.start_ns, life.origin)
    made.parent_inferred, made.uid, made.comm = life.parent_inferred, life.uid, life.comm
    made.status, made.leader_status, made.exits, made.exec_ns = (
        life.status,
        life.leader_status,
        life.exits,
        life.exec_ns,
    )
    return made
