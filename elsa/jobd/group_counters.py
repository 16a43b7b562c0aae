"""The counters of the control groups that are jobs: read when a job is made, when its group is
emptied and when its last process has ended, as long as the group exists, and from time to time in
between.

They are a source of their own: the kernel adds up what all processes of a group used, however short
they ran. A group that holds further automatic jobs counts for these too, so it says nothing of its
own job alone, and its counters are not stored.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elsa.decode.cgroups import COUNTER_FILES, NOTHING_COUNTED, GroupCounters, parse_counters
from elsa.kernel import cgroups, clocks, own_group
from elsa.state.jobs import Job, Jobs
from elsa.store.batch import GroupCounterRow
from elsa.units import MS_NS, SECOND_NS

PERIOD_NS = 60 * SECOND_NS
# How long in one call groups are read; a group takes about 0.05 ms.
BUDGET_NS = MS_NS // 2
LAST_NS = 100 * MS_NS
# So many paths of groups that hold others are remembered before those that do no more are dropped,
# and at least twice as many as hold others.
MOST_HOLDING = 5000
PEAK_FILES = ("memory.peak",)
UNKNOWN = GroupCounters(None, None, None, None, None)


def read(group: Path, inode: int | None = None) -> GroupCounters | None:
    """The counters of a group; None where it does not exist, or has none (version 1)."""
    files = cgroups.read_files(group, COUNTER_FILES, inode)
    return None if files is None or files[0] is None else parse_counters(*files)


@dataclass
class Followed:
    """A job whose control group is read."""

    job: Job
    before: GroupCounters
    read_ns: int
    stored: tuple[int, GroupCounters] | None = None
    """Whether they are final, and the counters: as they were stored last."""
    emptied: GroupCounters | None = None
    """The counters when the last process had left the group, which may be removed since."""


class GroupCounterReader:
    """Reads the counters of the groups of open jobs."""

    def __init__(self, mount: Path, jobs: Jobs, store: Callable[[GroupCounterRow], None]) -> None:
        self._mount = mount
        self._jobs = jobs
        self._store = store
        # Ordered: its first entry is found at once, also if many before it were deleted.
        self._followed: OrderedDict[int, Followed] = OrderedDict()
        """By job id; the group that was read longest ago comes first."""
        self._early: dict[int, tuple[int, GroupCounters | None]] = {}
        """By inode: when a group was emptied before its job was known, and its counters."""
        self._due: OrderedDict[int, None] = OrderedDict()
        """Job ids whose last member has ended."""
        self._automatic: dict[str, int] = {}
        """Ids of automatic jobs whose groups are read, by path."""
        self._holding: set[str] = set()
        """Paths of groups in which automatic jobs may be open."""
        self._most_holding = MOST_HOLDING

    def open(self, job: Job, *, new_group: bool) -> None:
        """A job was made. What its group had counted before is subtracted; a group that was made
        for the job has counted nothing.
        """
        if job.cgroup is None:
            return
        if job.automatic:
            self._drop_around(job)
        if job.is_run or self._holds_others(job.cgroup):
            return
        before = NOTHING_COUNTED if new_group else read(self._group(job), job.cgroup_inode)
        if before is not None:
            self._follow(job, before, clocks.monotonic_ns())

    def resume(self) -> None:
        """Go on with the jobs of which a jobd before this one had read counters."""
        for job in self._jobs.open.values():
            if job.counted_before is not None and not (job.automatic and job.closes_itself):
                self._follow(job, job.counted_before, 0)

    def emptied(self, inode: int, path: str, *, in_time: bool = True) -> None:
        """The last process has left a group, just now: read it before it is removed, if there is
        time.
        """
        if path in self._holding:
            return
        counters = read(Path(f"{self._mount}{path}"), inode) if in_time else None
        followed = self._followed.get(self._automatic.get(path, 0))
        if followed is not None and followed.job.cgroup_inode == inode:
            followed.emptied = counters
        else:
            self._early[inode] = clocks.monotonic_ns(), counters

    def forget_emptied(self) -> None:
        """Records were lost: the last process may have left any group again, unnoticed."""
        self._early.clear()
        for followed in self._followed.values():
            followed.emptied = None

    def close(self, job: Job) -> None:
        """No process will enter a job any more: the last chance to read its group."""
        followed = self._unfollow(job.id)
        if followed is not None:
            self._read(followed)

    def counts_memory(self, job: Job) -> bool:
        """Whether the group of a job counts the greatest memory since the job was made."""
        followed = self._followed.get(job.id)
        if followed is None:
            return False
        files = cgroups.read_files(self._group(job), PEAK_FILES, job.cgroup_inode)
        counters = parse_counters(None, files[0], None) if files is not None else UNKNOWN
        return counters.since(followed.before).memory_peak is not None

    def tick(self, now_ns: int) -> None:
        """After the records up to `now_ns`: read the groups that are due, as long as the budget
        lasts.
        """
        self._early = {key: early for key, early in self._early.items() if early[0] > now_ns}
        filled, self._jobs.filled_groups = self._jobs.filled_groups, []
        for job in filled:
            self._reopen(job)
        emptied, self._jobs.emptied_groups = self._jobs.emptied_groups, []
        self._due.update((job.id, None) for job in emptied if job.id in self._followed)
        if not self._due and not self._is_due(now_ns):
            return
        until_ns = clocks.monotonic_ns() + BUDGET_NS
        while self._due or self._is_due(now_ns):
            job_id = next(iter(self._due or self._followed))
            self._due.pop(job_id, None)
            followed = self._unfollow(job_id)
            if followed is not None and self._read(followed):
                self._go_on(followed, now_ns)
            if clocks.monotonic_ns() >= until_ns:
                break

    def finish(self) -> None:
        """Read all groups once more, so that the next jobd can go on."""
        until_ns = clocks.monotonic_ns() + LAST_NS
        for followed in self._followed.values():
            if clocks.monotonic_ns() >= until_ns:
                break
            self._read(followed)

    def _go_on(self, followed: Followed, now_ns: int) -> None:
        """Put a group behind the others; that of a command which has ended is removed, unless the
        program that made it does so.
        """
        job = followed.job
        if not job.living and not job.automatic:
            own_group.remove_left_behind(self._group(job))
        if job.id in self._jobs.open:
            followed.read_ns = now_ns
            self._put(followed)

    def _reopen(self, job: Job) -> None:
        """A process came into a group that was empty: what was read of it before is not final."""
        followed = self._followed.get(job.id)
        if followed is not None and followed.stored is not None and followed.stored[0]:
            self._keep(followed, 0, followed.stored[1])

    def _follow(self, job: Job, before: GroupCounters, read_ns: int) -> None:
        job.counted_before = before
        _, emptied = self._early.pop(job.cgroup_inode or 0, (0, None))
        self._put(Followed(job, before, read_ns, emptied=emptied))

    def _put(self, followed: Followed) -> None:
        job = followed.job
        self._followed[job.id] = followed
        if job.automatic and job.cgroup is not None:
            self._automatic[job.cgroup] = job.id

    def _unfollow(self, job_id: int) -> Followed | None:
        followed = self._followed.pop(job_id, None)
        if followed is not None and self._automatic.get(followed.job.cgroup or "") == job_id:
            del self._automatic[followed.job.cgroup or ""]
        return followed

    def _is_due(self, now_ns: int) -> bool:
        oldest = next(iter(self._followed.values()), None)
        return oldest is not None and now_ns - oldest.read_ns >= PERIOD_NS

    def _group(self, job: Job) -> Path:
        return Path(f"{self._mount}{job.cgroup}")

    def _read(self, followed: Followed) -> bool:
        """Read a group and store what has changed; whether the group still exists. Of one that was
        removed, the counters when it was emptied are final.
        """
        job = followed.job
        counters = read(self._group(job), job.cgroup_inode)
        if counters is not None:
            self._keep(followed, int(job.living == 0), counters.since(followed.before))
        elif followed.emptied is not None:
            self._keep(followed, 1, followed.emptied.since(followed.before))
        return counters is not None

    def _keep(self, followed: Followed, final: int, counted: GroupCounters) -> None:
        if followed.stored != (final, counted):
            followed.stored = final, counted
            read_ns, job_id = clocks.monotonic_ns(), followed.job.id
            self._store(GroupCounterRow(job_id, read_ns, final, counted, followed.before))

    def _drop_around(self, job: Job) -> None:
        """An automatic job was made in the groups of these jobs."""
        if len(self._holding) >= self._most_holding:
            self._holding = {
                path
                for other in self._jobs.open.values()
                if other.automatic
                for path in _holding(other)
            }
            self._most_holding = max(MOST_HOLDING, 2 * len(self._holding))
        holding = _holding(job)
        self._holding |= holding
        for job_id in [self._automatic[outer] for outer in holding & self._automatic.keys()]:
            followed = self._unfollow(job_id)
            assert followed is not None  # noqa: S101
            followed.job.counted_before, followed.before = None, UNKNOWN
            self._keep(followed, 0, UNKNOWN)

    def _holds_others(self, path: str) -> bool:
        """Whether automatic jobs are open in a group or below."""
        if path not in self._holding:
            return False
        below = f"{path}/"
        if any(
            job.automatic
            and job.cgroup is not None
            and (job.cgroup.startswith(below) or (job.is_run and job.cgroup == path))
            for job in self._jobs.open.values()
        ):
            return True
        self._holding.discard(path)
        return False


def _holding(job: Job) -> set[str]:
    """The paths of the groups that a job is in but is not; a run is not its group."""
    names = (job.cgroup or "").split("/")
    return {"/".join(names[:depth]) for depth in range(2, len(names) + job.is_run)}
