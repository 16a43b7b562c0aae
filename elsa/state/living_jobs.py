"""Which automatic jobs the processes that live now would be in, by the rules alone. Pure.

What has happened before is not known here: a process whose daemon is no longer its parent is taken
for one of its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from elsa.state.job_rules import AutomaticJob, Decision, Process, Rules

_KTHREADD = 2


class Living(NamedTuple):
    """A living process."""

    pid: int
    ppid: int
    path: str
    """Of its control group."""
    comm: str
    uid: int | None = None
    loginuid: int | None = None
    arguments: tuple[str, ...] = ()


class Run:
    """A daemon's child with what it started."""

    def __init__(self, root: int, daemon: str, home: Decision, job: AutomaticJob) -> None:
        """`daemon` is the comm of the root's parent."""
        self.root = root
        self.daemon = daemon
        self.home = home
        self.job = job


class Membership(NamedTuple):
    """Where a process belongs."""

    decision: Decision
    run: Run | None

    @property
    def job(self) -> AutomaticJob | None:
        """The job, if it is in one."""
        return self.run.job if self.run else self.decision.job


def memberships(processes: Iterable[Living], rules: Rules) -> dict[int, Membership]:
    """Each process by its pid; kernel threads are in no job and not in the result."""
    living = {process.pid: process for process in processes}
    decisions: dict[str, Decision] = {}
    result: dict[int, Membership] = {}
    for process in _parents_first(living):
        if _KTHREADD in (process.pid, process.ppid):
            continue
        if process.path not in decisions:
            decisions[process.path] = rules.decide(process.path)
        decision = decisions[process.path]
        parent = living.get(process.ppid)
        run = None
        if parent is not None and parent.pid in result:
            run = _run(process, parent, result[parent.pid], decision)
        result[process.pid] = Membership(decision, run)
    return result


def _run(process: Living, parent: Living, of_parent: Membership, now: Decision) -> Run | None:
    """The run that a process is in: its parent's, or one that it begins."""
    run = of_parent.run
    if run is not None and run.home.keeps(now):
        if not run.job.settled:
            run.job = run.home.run(_facts(process, run.daemon)) or run.job
        return run
    # PAM may have moved a daemon's child into its session before it was looked at.
    for home in (now, of_parent.decision) if of_parent.decision.keeps(now) else (now,):
        job = home.run(_facts(process, parent.comm))
        if job is not None:
            return Run(process.pid, parent.comm, home, job)
    return None


def _facts(process: Living, daemon: str) -> Process:
    return Process(process.comm, daemon, process.uid, process.loginuid, process.arguments)


def _parents_first(living: Mapping[int, Living]) -> list[Living]:
    """The processes, each after its parent; a parent is only what really is above it."""
    children: dict[int, list[Living]] = {}
    for process in living.values():
        children.setdefault(process.ppid, []).append(process)
    order: list[Living] = []
    waiting = [process for process in living.values() if process.ppid not in living]
    while waiting:
        order += waiting
        waiting = [child for process in waiting for child in children.get(process.pid, ())]
    return order
