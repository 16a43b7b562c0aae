"""Reads how much memory all living members of a job need together, of jobs whose control group does
not count that.

A job is read a quarter of a second after it got its first member, and again after twice as long
each time, up to the length of an interval; then with all other jobs at the end of each interval. A
job that has twice as many members as at that reading starts again. So short jobs and sudden growth
are read too.

What processes share counts once by their proportional set size (/proc/PID/smaps_rollup). The kernel
walks all their pages for it, which takes about 20 us per MiB. If that would take too long, the
resident set sizes are added up instead, an upper bound; or if it was affordable before, only what
these have grown since is added. All this takes at most one part in SHARE of the time of one CPU:
readings are left out while more was used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from time import thread_time_ns

from elsa.decode.procfs import parse_pss, parse_stat
from elsa.errors import DataError
from elsa.host.proc_scan import start_ns
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.state.codes import MemoryBy
from elsa.state.incarnation import Incarnation, same_start
from elsa.state.jobs import Job, MemoryRow
from elsa.state.process_table import Processes
from elsa.units import MS_NS, SECOND_NS

SHARE = 500
# How much time on a CPU may be saved up for a reading: that of two minutes.
SAVED_NS = 120 * SECOND_NS // SHARE
PORTION_NS = 5 * MS_NS
FIRST_NS = 250 * MS_NS
# Jobs that are due in the same span are read together, since each reading goes over all processes.
SPAN_NS = 50 * MS_NS
RETRY_NS = SECOND_NS
# What reading a proportional set size takes, and at most: events wait meanwhile.
PSS_NS, PSS_NS_PER_KIB, LONGEST_NS = 50_000, 25, 50 * MS_NS
# A reading is stored if it differs by more than one part in so many from what was stored last.
CHANGED = 64
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class JobMemoryReader:
    """Reads the memory of open jobs, and adds what changed to the changes."""

    def __init__(
        self,
        processes: Processes,
        procfs: Procfs,
        counted: Callable[[Job], bool],
        period_ns: int,
        now_ns: int,
    ) -> None:
        """`counted` says whether the control group of a job counts its greatest memory; all other
        jobs are read every `period_ns`.
        """
        self._processes = processes
        self._procfs = procfs
        self._counted = counted
        self._period_ns = period_ns
        self._all_due_ns = self._next_period(now_ns)
        """When all jobs are read."""
        self._early: dict[int, tuple[int, int]] = {}
        """By job id: when a job is read before that, and after how long again."""
        self._early_due_ns = 0
        self._not_before_ns = 0
        self._saved_ns, self._saved_at_ns = SAVED_NS, now_ns
        self._took_ns = 0
        self._shown: dict[int, tuple[int, int]] = {}
        """By job id: memory and how it was read, as stored last."""
        self._both: dict[int, tuple[int, int]] = {}
        """By job id: proportional and resident set sizes when both were read last."""
        self._reading: Iterator[None] | None = None

    def due_ns(self, now_ns: int) -> int:
        """When `tick` is to be called next."""
        if self._reading is not None:
            return now_ns
        due_ns = min(self._all_due_ns, self._early_due_ns) if self._early else self._all_due_ns
        return max(due_ns, self._not_before_ns)

    def is_due(self, now_ns: int) -> bool:
        """Whether a reading is to begin."""
        return self._reading is None and now_ns >= self.due_ns(now_ns)

    def tick(self, now_ns: int, *, wait: bool) -> None:
        """Read some processes if it is time. With `wait` no reading is begun: the warehouse cannot
        be written.
        """
        if self._processes.jobs.grown:
            self._plan_early(now_ns)
        if self.is_due(now_ns):
            if wait:
                self._not_before_ns = now_ns + RETRY_NS
                return
            self._reading = self._read(self._take_due(now_ns), now_ns)
        if self._reading is not None:
            self._read_some()

    def take_cost_ns(self) -> int:
        """The time on a CPU that was used since the last call."""
        took_ns, self._took_ns = self._took_ns, 0
        return took_ns

    # --- when

    def _next_period(self, now_ns: int) -> int:
        return now_ns - now_ns % self._period_ns + self._period_ns

    def _plan_early(self, now_ns: int) -> None:
        jobs = self._processes.jobs
        due_ns = now_ns + FIRST_NS
        due_ns += -due_ns % SPAN_NS
        self._early_due_ns = min(self._early_due_ns, due_ns) if self._early else due_ns
        self._early.update((job_id, (due_ns, FIRST_NS)) for job_id in jobs.grown)
        jobs.grown.clear()

    def _take_due(self, now_ns: int) -> list[Job]:
        """The jobs that are to be read now; plans when they are read next."""
        jobs = self._processes.jobs
        due = [job_id for job_id, (due_ns, _) in self._early.items() if due_ns <= now_ns]
        for job_id in due:
            due_ns, delay_ns = self._early.pop(job_id)
            if job_id in jobs.open and 2 * delay_ns < self._period_ns:
                self._early[job_id] = max(due_ns, now_ns - delay_ns) + delay_ns, 2 * delay_ns
        self._early_due_ns = min((due_ns for due_ns, _ in self._early.values()), default=0)
        if now_ns < self._all_due_ns:
            return [jobs.open[job_id] for job_id in due if job_id in jobs.open]
        self._all_due_ns = self._next_period(now_ns)
        for job_id in self._shown.keys() - jobs.open.keys():
            del self._shown[job_id]
            self._both.pop(job_id, None)
        for job in jobs.open.values():
            job.grown_at = max(2 * job.living, 1)
        return [job for job in jobs.open.values() if job.living or job.id in self._shown]

    # --- reading

    def _read_some(self) -> None:
        assert self._reading is not None  # noqa: S101
        started_ns, until_ns = thread_time_ns(), clocks.monotonic_ns() + PORTION_NS
        for _ in self._reading:
            if clocks.monotonic_ns() >= until_ns:
                break
        else:
            self._reading = None
        self._spend(thread_time_ns() - started_ns, clocks.monotonic_ns())

    def _spend(self, took_ns: int, now_ns: int) -> None:
        self._took_ns += took_ns
        self._saved_ns, self._saved_at_ns = self._left_ns(now_ns) - took_ns, now_ns
        if self._saved_ns < 0:
            self._not_before_ns = now_ns - self._saved_ns * SHARE

    def _left_ns(self, now_ns: int) -> int:
        """How much time on a CPU may be used now."""
        return min(self._saved_ns + (now_ns - self._saved_at_ns) // SHARE, SAVED_NS)

    def _read(self, jobs: Iterable[Job], now_ns: int) -> Iterator[None]:
        """Read the members of jobs; pauses after each process."""
        members: dict[int, list[Incarnation]] = {}
        for job in jobs:
            if not self._counted(job):
                members[job.id] = []
            yield
        for life in list(self._processes.living.values()) if members else ():
            for job_id in life.jobs:
                if job_id in members:
                    members[job_id].append(life)
        yield
        rss: dict[Incarnation, int] = {}
        for life in {life for of_job in members.values() for life in of_job}:
            rss_kib = self._rss_kib(life)
            if rss_kib is not None:
                rss[life] = rss_kib
            yield
        members = {
            job_id: [life for life in of_job if life in rss]
            for job_id, of_job in members.items()
            if not of_job or any(life in rss for life in of_job)
        }
        by_pss = _affordable(members, rss, self._left_ns(clocks.monotonic_ns()))
        pss: dict[Incarnation, int | None] = {}
        for life in {life for job_id in by_pss for life in members[job_id]}:
            pss[life] = self._pss_kib(life, rss[life])
            yield
        for job_id, of_job in members.items():
            shares = [pss.get(life) for life in of_job]
            known = [share for share in shares if share is not None]
            rss_kib = sum(rss[life] for life in of_job)
            if job_id in by_pss and len(known) == len(shares):
                self._both[job_id] = sum(known), rss_kib
                self._note(job_id, now_ns, sum(known), MemoryBy.PSS)
            else:
                self._note_rss(job_id, now_ns, rss_kib)

    def _rss_kib(self, life: Incarnation) -> int | None:
        """Resident memory of a process; None if it has ended."""
        data = self._procfs.read_stat(life.pid)
        try:
            stat = None if data is None else parse_stat(data)
        except DataError:
            return None
        if stat is None or stat.over:
            return None
        if not same_start(life, start_ns(stat, self._processes.clocks.from_boottime_ns)):
            return None
        return stat.rss_pages * _PAGE_KIB

    def _pss_kib(self, life: Incarnation, rss_kib: int) -> int | None:
        """Its proportional set size: 0 if it has ended since; None if the kernel does not show
        it.
        """
        if not rss_kib:
            return 0
        data = self._procfs.read_smaps_rollup(life.pid)
        pss_kib = parse_pss(data or b"")
        if pss_kib is None and self._rss_kib(life) is None:
            return 0
        return pss_kib

    def _note_rss(self, job_id: int, read_ns: int, rss_kib: int) -> None:
        """Without proportional set sizes: what was resident when they were read last is in them."""
        pss_kib, then_kib = self._both.get(job_id, (0, 0))
        if (rss_kib - then_kib) * CHANGED > then_kib:
            self._note(job_id, read_ns, pss_kib + rss_kib - then_kib, MemoryBy.RSS)

    def _note(self, job_id: int, read_ns: int, memory_kib: int, by: MemoryBy) -> None:
        job = self._processes.jobs.open.get(job_id)
        shown = self._shown.get(job_id)
        if job is None or (not memory_kib and shown is None):
            return
        is_peak = job.memory_peak is None or memory_kib > job.memory_peak[0]
        if is_peak or shown is None or _differs(shown, (memory_kib, by)):
            self._shown[job_id] = memory_kib, by
            self._processes.changes.memory.append(MemoryRow(job_id, read_ns, memory_kib, by))
        if is_peak:
            job.memory_peak = memory_kib, by


def _affordable(
    members: dict[int, list[Incarnation]], rss: dict[Incarnation, int], left_ns: int
) -> Collection[int]:
    """The jobs whose proportional set sizes can be read in some time: as many as possible."""
    costs = {
        job_id: [PSS_NS + PSS_NS_PER_KIB * rss[life] for life in of_job]
        for job_id, of_job in members.items()
    }
    chosen = set()
    for job_id in sorted(costs, key=lambda job_id: sum(costs[job_id])):
        left_ns -= sum(costs[job_id])
        if left_ns < 0:
            break
        if max(costs[job_id], default=0) <= LONGEST_NS:
            chosen.add(job_id)
    return chosen


def _differs(shown: tuple[int, int], now: tuple[int, int]) -> bool:
    return shown[1] != now[1] or abs(now[0] - shown[0]) * CHANGED > shown[0]
