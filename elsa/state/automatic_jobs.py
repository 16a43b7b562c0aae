"""Automatic jobs: which control group every process is in, and which job that makes.

A child starts in the control group of its parent (the connector's fork event). The records of
elsa/decode/cgroup_events.py report what changes that, and each exec and end proves in which group a
process is, or corrects it. Pure: what only the host knows is asked of a `Host`.

A process is in at most one automatic job at any moment. If it is moved before it executes a program
(as a service manager does with its children), it was in the new job from its start: until then it
was only being placed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from elsa.decode.cgroup_events import Attach, BornInto, Made, Record, Removed, Sampled
from elsa.decode.comm import comm_of_path, escape_path
from elsa.state.codes import How
from elsa.state.incarnation import Incarnation
from elsa.state.job_rules import AutomaticJob, Decision, Process
from elsa.state.jobs import Job
from elsa.state.process_table import Processes
from elsa.state.recently_ended import RecentlyEnded
from elsa.units import SECOND_NS

# A process that has executed nothing and is moved this long after its fork was not only being
# placed: it may be a worker of a daemon.
PLACING_NS = SECOND_NS
# How long a record waits for the fork of its process, which may stand behind it in the queue.
FORK_WITHIN_NS = SECOND_NS
# So many records wait at most: a user may move threads, whose ids no process has, without end.
MOST_WAITING = 1000
# What systemd and PAM execute in a new process before the program that it is for. systemd executes
# its systemd-executor by descriptor.
BEFORE_PROGRAM = frozenset(
    (
        *("systemd-executor", "unix_chkpwd", "mkhomedir_helper", "pwhistory_helper"),
        "pam_namespace_helper",
    )
)
BY_DESCRIPTOR = "/proc/self/fd/"
# The group of a process that was cloned into one that its first sample will name.
ELSEWHERE = -1
# job.close_reason of an automatic job that was open when jobd started without automatic jobs.
DISABLED = "disabled"
# How many answers are kept for each group; a hostile user can make up names without end.
MOST_COMMS = 1000


class Host(Protocol):
    """What only the host knows."""

    def decide(self, path: str) -> Decision:
        """What the rules say of a control group."""

    def invocation(self, path: str) -> str | None:
        """The invocation of the systemd unit that has this group; None if it is not known."""

    def path_of(self, group_id: int) -> str | None:
        """The path of a control group that no record has named; None if it does not exist."""

    def uid_of(self, owner: str) -> int | None:
        """The uid of a user; None if there is no such user."""

    def store(self, job: Job) -> None:
        """Store a job that is new, or has another invocation."""

    def login(self, life: Incarnation) -> int | None:
        """Uid of the login that a process descends from; None if it is not known."""

    def arguments(self, life: Incarnation) -> Sequence[str]:
        """The command line of a living process; empty if it is not known."""

    def opened(self, job: Job, description: AutomaticJob, *, new_group: bool) -> None:
        """A job was made; whether its control group was made for it."""

    def settled(self, job: Job, description: AutomaticJob) -> None:
        """Store a job whose name, owner, kind or tags are known only now."""

    def closing(self, job: Job) -> None:
        """No process will enter a job any more: another has its control group, or none."""


class Move(NamedTuple):
    """A process that had executed a program changed its automatic job at this time (monotonic): its
    counters at that moment divide its usage.
    """

    life: Incarnation
    time_ns: int
    left: int | None
    """Id of the job before; None: it was in none."""
    left_since_ns: int
    """When it had come into that; 0: with its start."""
    entered: int | None


@dataclass
class Unit:
    """A control group that, with all groups below it, is one automatic job at a time."""

    path: str
    inode: int | None = None
    job: Job | None = None
    is_new: bool = False
    """The group was made while jobd was listening, and has not been a job yet."""


class Group(NamedTuple):
    """A control group, and what the rules say of it."""

    path: str
    decision: Decision
    daemons: dict[str, bool]
    """By the comm of a process in it, whether a child of that may be a run; as far as was asked."""

    def has_runs_of(self, comm: str) -> bool:
        """Whether a child of a process with this comm may be a run."""
        answer = self.daemons.get(comm)
        if answer is None:
            if len(self.daemons) >= MOST_COMMS:
                self.daemons.clear()
            answer = self.daemons[comm] = self.decision.has_runs_of(comm)
        return answer


@dataclass
class Draft:
    """A job whose owner or name is not known before a program is executed in it."""

    job: Job
    decision: Decision
    first: Incarnation
    daemon: str
    """The comm of the daemon whose child is a job of its own; empty for other jobs."""
    has_command: bool = False
    """A run: a process of it has executed a program."""


class AutomaticJobs:
    """Keeps every living process in the automatic job of its control group."""

    def __init__(self, processes: Processes, host: Host) -> None:
        self._processes = processes
        self._living = processes.living
        self._jobs = processes.jobs
        self._host = host
        self._groups: dict[int, Group] = {}
        self._units: dict[str, Unit] = {}
        self._drafts: dict[int | None, Draft] = {}
        """By job id."""
        self._waiting: list[Attach | BornInto] = []
        self._resumed = False
        self.moves: list[Move] = []
        """For the caller, who reads the counters and empties the list."""
        processes.divide = self._divide
        self._ended = processes.recently_ended = RecentlyEnded()

    def apply(self, record: Record) -> None:
        """Take in a record, after all connector events of an earlier time."""
        if isinstance(record, Sampled):  # most are, and most agree with what is known
            time_ns, _, tgid, group_id, path = record
            life = self._process(tgid, time_ns)
            if life is None:
                return
            if life.group != group_id and group_id is not None and life.group_ns < time_ns:
                self._correct(life, group_id, time_ns)
            if path is not None:
                self.executed(life, escape_path(path), time_ns)
        elif isinstance(record, Attach | BornInto):
            self._move(record)
        elif isinstance(record, Made):
            self.add_group(record.cgroup_id, record.path)
        elif isinstance(record, Removed):
            self.remove_group(record.cgroup_id, record.time_ns)

    def retry(self, now_ns: int) -> None:
        """After all events up to `now_ns`, apply the records whose process was not known: its fork
        may have been received since.
        """
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            if now_ns - record.time_ns < FORK_WITHIN_NS:
                self._move(record)

    # --- groups

    def add_group(self, group_id: int, path: str) -> Group:
        """A control group exists."""
        unit = self._units.get(path)
        if unit is not None and unit.inode not in (None, group_id):
            self._close(unit, 0)
            del self._units[path]
        group = self._groups[group_id] = Group(path, self._host.decide(path), {})
        job = group.decision.job
        if job is None and group.decision.children:
            self._jobs.divided.add(None)
        elif job is not None and job.group == path:
            unit = self._units.setdefault(path, Unit(path))
            if unit.inode is None:
                unit.is_new = self._resumed and unit.job is None
            unit.inode = group_id
        return group

    def remove_group(self, group_id: int, time_ns: int) -> None:
        """A control group was removed at this time (0: not known); its job ends with its last
        process.
        """
        group = self._groups.pop(group_id, None)
        unit = self._units.get(group.path) if group is not None else None
        if unit is not None and unit.inode == group_id:
            self._close(unit, time_ns)
            del self._units[unit.path]

    def missing(self, existing: Container[int]) -> list[int]:
        """The known groups that are not among these."""
        return [group_id for group_id in self._groups if group_id not in existing]

    def _group(self, group_id: int) -> Group | None:
        group = self._groups.get(group_id)
        if group is None and group_id > 0:
            path = self._host.path_of(group_id)
            group = None if path is None else self.add_group(group_id, path)
        return group

    # --- processes

    def find(self, life: Incarnation, group_id: int, now_ns: int, how: How) -> None:
        """/proc showed that a living process is in a group. To be called for parents first."""
        life.group_ns = now_ns
        if life.group != group_id:
            self._place(life, group_id, now_ns, how)
            if life.automatic in self._drafts:
                self._settle(self._drafts[life.automatic], life, self._host.arguments(life))

    def _process(self, pid: int, time_ns: int) -> Incarnation | None:
        """The process that had this pid at this time, if its fork is known: CPUs write records and
        queue events a little out of order, so its end may have been applied before.
        """
        life = self._living.get(pid)
        if life is not None and life.start_ns <= time_ns:
            return life
        return self._ended.find(pid, time_ns)

    def _move(self, record: Attach | BornInto) -> None:
        life = self._process(record.pid, record.time_ns)
        if life is None:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(record)
        elif record.time_ns < life.group_ns:
            pass  # /proc was read since
        elif isinstance(record, Attach):
            if record.cgroup_id not in self._groups:
                self.add_group(record.cgroup_id, record.path)
            self._place(life, record.cgroup_id, record.time_ns, How.MOVED)
        else:
            life.group = ELSEWHERE
            self._switch(life, None, record.time_ns, How.MOVED)

    def _correct(self, life: Incarnation, group_id: int, time_ns: int) -> None:
        """A sample showed a process in another group than was known. If it is its first, the
        process was there from its start: a child with its parent's parent (CLONE_PARENT) has the
        group of the process that cloned it.
        """
        if life.group == ELSEWHERE:
            self._place(life, group_id, time_ns, How.MOVED, from_start=True)
        else:
            from_start = life.seen_ns == 0 and _is_before_exec(life, time_ns)
            self._place(life, group_id, time_ns, How.SAMPLED, from_start=from_start)

    def executed(self, life: Incarnation, path: str, time_ns: int) -> None:
        """A process executed the program at this path, which may make a job of it, or settle the
        name of the job that it is in.
        """
        if life.automatic in self._jobs.divided and life.ancestor is not None:
            life.comm = comm_of_path(path)
            self._divide(life, life.ancestor, time_ns)
        self._processes.note_exec(life, path, time_ns)
        if life.automatic in self._drafts and not _is_before_program(path):
            draft = self._drafts[life.automatic]
            if draft.daemon and not draft.has_command:
                draft.has_command = True
                self._note_command(life, time_ns)
            self._settle(draft, life)

    def _note_command(self, life: Incarnation, time_ns: int) -> None:
        """A process is the first of its run to execute a program: its exit is that of the run."""
        if life.automatic is not None and life.automatic == life.inherited_job_id:
            self._processes.memberships.change_automatic(
                life, life.automatic, time_ns, How.LAUNCHED, from_start=True
            )

    def _place(
        self,
        life: Incarnation,
        group_id: int,
        time_ns: int,
        how: How,
        *,
        from_start: bool = False,
    ) -> None:
        """Put a process into the job of a group."""
        is_new, life.group = not life.group, group_id
        group = self._group(group_id)
        run = self._run_of(life)
        if run is not None and (group is None or self._keeps(run, group.decision)):
            return
        job, parent = None, life.ancestor
        if group is not None and parent is not None and (is_new or parent.group == group_id):
            job = self._run_below(parent, group, life, time_ns)
        if job is None and group is not None:
            job = self._unit_job(group.decision, life, time_ns, entered=how == How.MOVED)
        self._switch(life, job, time_ns, how, from_start=from_start)

    def _switch(
        self,
        life: Incarnation,
        job: Job | None,
        time_ns: int,
        how: How,
        *,
        from_start: bool = False,
    ) -> None:
        left, entered = life.automatic, None if job is None else job.id
        if left == entered:
            return
        since_ns = 0 if left is None else life.member_since(left)
        was_placed = life.seen_ns == 0 and time_ns - life.start_ns < PLACING_NS
        from_start = from_start or (was_placed and _is_before_exec(life, time_ns))
        if from_start and how in (How.MOVED, How.SAMPLED) and not _is_in(life.ancestor, entered):
            how = How.LAUNCHED
        self._processes.memberships.change_automatic(
            life, entered, time_ns, how, from_start=from_start
        )
        if not from_start:
            self.moves.append(Move(life, time_ns, left, since_ns, entered))

    # --- runs: children of a daemon that are jobs of their own

    def _divide(self, life: Incarnation, parent: Incarnation, time_ns: int) -> None:
        """A daemon has a new child, or a child of it executes a program."""
        group = self._groups.get(life.group)
        if group is None or not group.has_runs_of(parent.comm or ""):
            return
        run = self._new_run(group, life, parent, time_ns)
        if run is not None:
            self._switch(life, run, time_ns, How.INHERITED)

    def _run_below(
        self, parent: Incarnation, group: Group, life: Incarnation, time_ns: int
    ) -> Job | None:
        """The run of a process in this group that was not received coming: its parent's, or its
        own. It may have come from its parent's group, as PAM moves a run into a session.
        """
        run = self._run_of(parent)
        if run is not None and self._keeps(run, group.decision):
            return run
        run = self._new_run(group, life, parent, time_ns)
        home = self._groups.get(parent.group)
        if run is None and home is not None and home.decision.keeps(group.decision):
            run = self._new_run(home, life, parent, time_ns)
        return run

    def _new_run(
        self, group: Group, life: Incarnation, parent: Incarnation, time_ns: int
    ) -> Job | None:
        daemon = parent.comm or ""
        if not group.has_runs_of(daemon):
            return None
        description = group.decision.run(self._facts(life, daemon))
        if description is None:
            return None
        job = self._create(description, life, time_ns)
        self._drafts[job.id] = Draft(job, group.decision, life, daemon)
        return job

    def _facts(self, life: Incarnation, daemon: str, arguments: Sequence[str] = ()) -> Process:
        login = self._host.login(life)
        return Process(life.comm or daemon, daemon, life.uid, login, arguments)

    def _run_of(self, life: Incarnation) -> Job | None:
        """The run that a process is in."""
        job = self._jobs.open.get(life.automatic or 0)
        return job if job is not None and job.is_run else None

    def _keeps(self, run: Job, now: Decision) -> bool:
        """Whether a process stays in its run in the group of this decision."""
        return self._host.decide(run.cgroup or "/").keeps(now)

    # --- jobs

    def _unit_job(
        self, decision: Decision, life: Incarnation, time_ns: int, *, entered: bool
    ) -> Job | None:
        """The job of the group's processes. If a process `entered` it, not by a fork, the unit may
        have a new invocation, which is another job.
        """
        description = decision.job
        if description is None:
            return None
        unit = self._units.setdefault(description.group, Unit(description.group))
        if unit.job is not None and entered and description.per == "invocation":
            invocation = self._host.invocation(unit.path)
            if unit.job.invocation is None:
                self._note_invocation(unit.job, invocation)
            elif invocation not in (None, unit.job.invocation):
                self._close(unit, time_ns)
        if unit.job is None:
            unit.job = self._create(description, life, time_ns, unit)
            if decision.children:
                self._jobs.divided.add(unit.job.id)
            if description.owner is None:
                self._drafts[unit.job.id] = Draft(unit.job, decision, life, "")
        return unit.job

    def _create(
        self,
        description: AutomaticJob,
        life: Incarnation,
        time_ns: int,
        unit: Unit | None = None,
    ) -> Job:
        job = self._jobs.create(
            description.name,
            self._owner_uid(description, life),
            time_ns + self._processes.clocks.at(time_ns).offset_ns,
            closes_itself=unit is None,
            tags=description.tags,
            kind=description.kind,
        )
        job.cgroup, job.is_run = description.group, unit is None
        if unit is not None:
            job.cgroup_inode = unit.inode
            if description.per == "invocation":
                self._note_invocation(job, self._host.invocation(unit.path))
        self._host.store(job)
        self._host.opened(job, description, new_group=unit is not None and unit.is_new)
        if unit is not None:
            unit.is_new = False
        return job

    def _note_invocation(self, job: Job, invocation: str | None) -> None:
        """Of which invocation a job is; also a tag, since journalctl is asked by it."""
        if invocation is not None:
            job.invocation = job.tags["invocation"] = invocation
            self._host.store(job)

    def _owner_uid(self, description: AutomaticJob, life: Incarnation) -> int:
        owner = description.owner
        uid = self._host.uid_of(owner) if isinstance(owner, str) else owner
        return uid if uid is not None else life.uid or 0

    def _close(self, unit: Unit, time_ns: int) -> None:
        """The job of a unit ends with its last process."""
        if unit.job is not None:
            self._host.closing(unit.job)
            self._jobs.divided.discard(unit.job.id)
            self._jobs.close_when_empty(unit.job, time_ns)
            unit.job = None

    def _settle(self, draft: Draft, life: Incarnation, arguments: Sequence[str] = ()) -> None:
        """A program was executed in a job whose owner or name was not known."""
        job = draft.job
        if draft.daemon:
            description = draft.decision.run(self._facts(life, draft.daemon, arguments))
        else:
            description = draft.decision.job if life is draft.first else None
        if description is None:
            return
        self._jobs.rename(job, description.name, self._owner_uid(description, life))
        job.kind = description.kind
        job.tags.update(description.tags)
        if description.settled:
            del self._drafts[job.id]
        self._host.settled(job, description)

    def forget_closed(self) -> None:
        """Forget jobs that were closed by others."""
        for unit in self._units.values():
            if unit.job is not None and unit.job.id not in self._jobs.open:
                unit.job = None
        self._drafts = {
            job_id: draft for job_id, draft in self._drafts.items() if job_id in self._jobs.open
        }

    # --- the start of jobd

    def resume(self, groups: Iterable[tuple[int, str]]) -> None:
        """All groups that exist, by id. The stored job of a group goes on if that is still the same
        group, and the same invocation of its unit; else it closes with its last process.
        """
        for group_id, path in groups:
            self.add_group(group_id, path)
        self._resumed = True
        for job in list(self._jobs.open.values()):
            if not job.automatic or job.is_run:
                continue
            unit = self._units.get(job.cgroup or "")
            if unit is None or unit.inode != job.cgroup_inode or self._was_restarted(job):
                self._jobs.close_when_empty(job, 0)
            else:
                unit.job = job
                if self._host.decide(unit.path).children:
                    self._jobs.divided.add(job.id)

    def _was_restarted(self, job: Job) -> bool:
        invocation = self._host.invocation(job.cgroup or "/")
        return None not in (invocation, job.invocation) and invocation != job.invocation


def close_all(
    processes: Processes, runs: Callable[[Incarnation], bool], now_ns: int
) -> tuple[list[Job], list[Incarnation]]:
    """Without control groups nothing says where processes go: close all automatic jobs. Returns
    them, and the members that left: those that run. The others were members to their end.
    """
    left = []
    for life in processes.living.values():
        if life.automatic is not None and runs(life):
            processes.memberships.change_automatic(
                life, None, now_ns, How.INFERRED, from_start=False
            )
            left.append(life)
        elif life.automatic is not None:
            # Forks of it may not have been read yet.
            life.jobs = tuple(job_id for job_id in life.jobs if job_id != life.automatic)
            life.automatic = None
    jobs = [job for job in processes.jobs.open.values() if job.automatic]
    for job in jobs:
        processes.jobs.close(job, now_ns + processes.clocks.at(now_ns).offset_ns, DISABLED)
    return jobs, left


def _is_in(life: Incarnation | None, job_id: int | None) -> bool:
    return life is not None and life.automatic == job_id


def _is_before_exec(life: Incarnation, time_ns: int) -> bool:
    """Whether a process has executed nothing before this time."""
    return time_ns <= life.first_exec_ns or not life.first_exec_ns


def _is_before_program(path: str) -> bool:
    """Whether this is not yet the program that a unit or run is for."""
    return path.startswith(BY_DESCRIPTOR) or path.rpartition("/")[2] in BEFORE_PROGRAM
