"""The open jobs of a boot: names, owners, and how many living members each has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from elsa.decode.cgroups import GroupCounters
from elsa.errors import UsageError
from elsa.state.job_kinds import MANUAL


class MemoryRow(NamedTuple):
    """The memory of all living members of a job together, as a reading showed it."""

    job_id: int
    read_ns: int
    """Monotonic."""
    memory_kib: int
    memory_by: int
    """codes.MemoryBy"""


@dataclass
class Job:
    """A job."""

    id: int
    name: str
    owner_uid: int
    created_at_ns: int
    """Real time."""
    closes_itself: bool = False
    """Closes when its last process has ended."""
    tags: dict[str, str] = field(default_factory=dict)
    closed_at_ns: int | None = None
    close_reason: str | None = None
    living: int = 0
    kind: str = MANUAL
    cgroup: str | None = None
    """Path of the control group that an automatic job is."""
    cgroup_inode: int | None = None
    invocation: str | None = None
    """Of the systemd unit, where that is known."""
    counted_before: GroupCounters | None = None
    """What the control group had counted before the job; None: its counters are not read."""
    is_run: bool = False
    """An automatic job that is a child of a daemon with all that it starts, not a control group."""
    memory_peak: tuple[int, int] | None = None
    """KiB, and codes.MemoryBy: the most memory of all members together that a reading showed."""
    grown_at: int = 1
    """With so many living members it has grown so much that their memory is to be read soon."""

    @property
    def automatic(self) -> bool:
        """Whether a rule made it, and not a request."""
        return self.kind != MANUAL


class Jobs:
    """The open jobs by id and name."""

    def __init__(self, next_id: int = 1) -> None:
        self.open: dict[int, Job] = {}
        self._by_owner: dict[int, dict[int, Job]] = {}
        self.emptied: dict[int, int] = {}
        """Ids of jobs whose last member has ended or left, with the monotonic time of that."""
        self.emptied_groups: list[Job] = []
        """Jobs that are control groups and whose last member has ended or left; for the caller, who
        reads the group's counters and empties the list.
        """
        self.filled_groups: list[Job] = []
        """The same of jobs that had no living member and have one."""
        self.grown: set[int] = set()
        """Ids of jobs with twice as many living members as when their memory was last read with
        that of all jobs; for the caller, who reads it and empties the set.
        """
        self.divided: set[int | None] = set()
        """Open automatic jobs of which a child of a member may be a job of its own; None: this
        holds for processes that are in no automatic job.
        """
        self.next_id = next_id

    def create(
        self,
        name: str,
        owner_uid: int,
        now_at_ns: int,
        *,
        closes_itself: bool = False,
        tags: dict[str, str] | None = None,
        kind: str = MANUAL,
    ) -> Job:
        """A new job; ids are never used again."""
        job = Job(self.next_id, name, owner_uid, now_at_ns, closes_itself, dict(tags or {}))
        job.kind = kind
        self.restore(job)
        return job

    def restore(self, job: Job) -> None:
        """Put back a stored open job."""
        self.open[job.id] = job
        self._by_owner.setdefault(job.owner_uid, {})[job.id] = job
        self.next_id = max(self.next_id, job.id + 1)

    def of_owner(self, owner_uid: int | None) -> Mapping[int, Job]:
        """The open jobs of an owner by id; with None the jobs of all. The time that this takes does
        not depend on how many jobs other owners have.
        """
        return self.open if owner_uid is None else self._by_owner.get(owner_uid, {})

    def find(self, key: int | str, owner_uid: int | None = None) -> Job:
        """The open job with an id or a unique name, among the jobs of an owner if given; a manual
        job before an automatic job of the same name. `service:nginx` is the job of that kind.

        Raises UsageError if there is none, or several have that name.
        """
        jobs = self.of_owner(owner_uid)
        named = [jobs[key]] if isinstance(key, int) and key in jobs else []
        if isinstance(key, str):
            kind, _, name = key.partition(":")
            named = [job for job in jobs.values() if (job.kind, job.name) == (kind, name)]
            named = named or [job for job in jobs.values() if job.name == key]
            named = [job for job in named if not job.automatic] or named
        if not named:
            wanted = key if isinstance(key, int) else repr(key)
            raise UsageError(
                f"no open job {wanted}; see: elsa-job list (what a closed job cost: elsa-report job"
                " JOB)"
            )
        if len(named) > 1:
            ids = ", ".join(str(job.id) for job in named[:10])
            raise UsageError(f"{len(named)} open jobs are named {key!r}; name one by its id: {ids}")
        return named[0]

    def close(self, job: Job, now_at_ns: int, how: str) -> None:
        """Close a job; its processes must have left."""
        job.closed_at_ns = now_at_ns
        job.close_reason = how
        del self.open[job.id]
        self._forget_owner(job)

    def rename(self, job: Job, name: str, owner_uid: int) -> None:
        """Give an open job another name and owner."""
        job.name = name
        if owner_uid != job.owner_uid:
            self._forget_owner(job)
            job.owner_uid = owner_uid
            self._by_owner.setdefault(owner_uid, {})[job.id] = job

    def _forget_owner(self, job: Job) -> None:
        of_owner = self._by_owner[job.owner_uid]
        del of_owner[job.id]
        if not of_owner:
            del self._by_owner[job.owner_uid]

    def close_when_empty(self, job: Job, time_ns: int) -> None:
        """No process will enter a job any more: it closes with its last one, or now."""
        job.closes_itself = True
        self.note_if_empty(job.id, time_ns)

    def note_if_empty(self, job_id: int, time_ns: int) -> None:
        """If no member of an open job is alive, the last one ended or left by this time."""
        job = self.open.get(job_id)
        if job is not None and job.living == 0:
            self.emptied.setdefault(job_id, time_ns)

    def count(self, job_ids: Iterable[int], step: int, time_ns: int = 0) -> None:
        """A process entered these jobs (+1) or left them (-1) at a monotonic time."""
        for job_id in job_ids:
            job = self.open.get(job_id)
            if job is None:
                continue
            job.living += step
            if step < 0 and job.living == 0:
                self.emptied[job_id] = time_ns
                if job.counted_before is not None:
                    self.emptied_groups.append(job)
            elif step > 0 and job.living == 1:
                self.emptied.pop(job_id, None)
                if job.counted_before is not None:
                    self.filled_groups.append(job)
            if job.living >= job.grown_at:
                self.grown.add(job_id)
                job.grown_at = 2 * job.living
