"""Which automatic jobs the processes that live now would be in: what jobd does when it starts, with
nothing that it would know from before. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from elsa.state.automatic_jobs import AutomaticJobs
from elsa.state.codes import How, Origin
from elsa.state.incarnation import Incarnation
from elsa.state.job_rules import AutomaticJob, Decision, Rules
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes


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
    start_ticks: int = 0
    """When it started, on a clock that all have in common."""


class Membership(NamedTuple):
    """Where a process belongs."""

    decision: Decision
    job: AutomaticJob | None
    """The job, if it is in one."""
    job_id: int | None
    is_run: bool = False


class _Host:
    """What the living processes alone say of their host."""

    def __init__(self, rules: Rules, living: Mapping[int, Living]) -> None:
        self._living = living
        self.decide = rules.decide
        self.descriptions: dict[int, AutomaticJob] = {}
        """By job id."""

    def invocation(self, _path: str) -> str | None:
        return None

    def path_of(self, _group_id: int) -> str | None:
        return None

    def uid_of(self, _owner: str) -> int | None:
        return None

    def login(self, life: Incarnation) -> int | None:
        return self._living[life.pid].loginuid

    def arguments(self, life: Incarnation) -> Sequence[str]:
        return self._living[life.pid].arguments

    def store(self, job: Job) -> None:
        pass

    def opened(self, job: Job, description: AutomaticJob, *, new_group: bool) -> None:
        self.descriptions[job.id] = description

    def settled(self, job: Job, description: AutomaticJob) -> None:
        self.descriptions[job.id] = description

    def closing(self, job: Job) -> None:
        pass


def memberships(processes: Iterable[Living], rules: Rules) -> dict[int, Membership]:
    """Each process by its pid."""
    living = {process.pid: process for process in processes}
    state = Processes(Jobs())
    host = _Host(rules, living)
    automatic = AutomaticJobs(state, host)
    order = sorted(living.values(), key=lambda process: (process.start_ticks, process.pid))
    group_ids = {path: number for number, path in enumerate({each.path for each in order}, 1)}
    for path, number in group_ids.items():
        automatic.add_group(number, path)
    for process in order:
        life = state.adopt(process.pid, process.start_ticks, Origin.SNAPSHOT)
        life.comm, life.uid, life.seen_ns = process.comm, process.uid, 1
        life.ancestor = state.living.get(process.ppid)  # a parent has started before
        automatic.find(life, group_ids[process.path], now_ns=1, how=How.PRESENT)
    return {
        life.pid: _membership(life, host, state.jobs, living[life.pid].path)
        for life in state.living.values()
    }


def _membership(life: Incarnation, host: _Host, jobs: Jobs, path: str) -> Membership:
    job = jobs.open.get(life.automatic or 0)
    decision = host.decide(path)
    if job is None:
        return Membership(decision, None, None)
    return Membership(decision, host.descriptions[job.id], job.id, job.is_run)
