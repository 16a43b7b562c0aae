"""The jobs of one boot that are open, or closed with processes still in them: names, owners, how
many processes live in each. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from elsa.errors import UsageError

MANUAL = "manual"
"""The kind of a job that a request made; every other one is automatic."""


@dataclass
class Job:
    """One job."""

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

    @property
    def automatic(self) -> bool:
        """Whether a rule made it, and not a request."""
        return self.kind != MANUAL


class Jobs:
    """Jobs by id and name. `emptied` gathers those whose last process ended, with the monotonic
    time of that end.
    """

    def __init__(self, next_id: int = 1) -> None:
        self.open: dict[int, Job] = {}
        self._of_owner: dict[int, dict[int, Job]] = {}
        self.emptied: dict[int, int] = {}
        self.next_id = next_id
        """The id of the next job."""

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
        self._of_owner.setdefault(job.owner_uid, {})[job.id] = job
        self.next_id = max(self.next_id, job.id + 1)

    def seen(self, owner_uid: int | None) -> Mapping[int, Job]:
        """The open jobs of one owner by id, or with None all: without a look at those of others,
        however many these are.
        """
        return self.open if owner_uid is None else self._of_owner.get(owner_uid, {})

    def find(self, key: int | str, owner_uid: int | None = None) -> Job:
        """The open job with an id or a unique name, among those of one owner if given.

        Raises UsageError where there is none, or several of that name.
        """
        seen = self.seen(owner_uid)
        named = [seen[key]] if isinstance(key, int) and key in seen else []
        if isinstance(key, str):
            named = [job for job in seen.values() if job.name == key]
        if not named:
            asked = key if isinstance(key, int) else repr(key)
            raise UsageError(
                f"no open job {asked}; see: elsa-job list (what a closed one cost: elsa-report job"
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
        of_owner = self._of_owner[job.owner_uid]
        del of_owner[job.id]
        if not of_owner:
            del self._of_owner[job.owner_uid]

    def count(self, job_ids: Iterable[int], step: int, time_ns: int = 0) -> None:
        """A process came into these jobs (+1) or went out of them (-1) at a monotonic time."""
        for job_id in job_ids:
            job = self.open.get(job_id)
            if job is None:
                continue
            job.living += step
            if step < 0 and job.living == 0:
                self.emptied[job_id] = time_ns
            elif step > 0:
                self.emptied.pop(job_id, None)
