"""When the memory of jobs is read, of which jobs and how, and what is stored of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.jobd import job_memory_reader
from elsa.jobd.job_memory_reader import FIRST_NS, SAVED_NS, SHARE, JobMemoryReader
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import MemoryBy, Origin
from elsa.state.incarnation import Incarnation
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.units import MS_NS, SECOND_NS

PSS, RSS = MemoryBy.PSS, MemoryBy.RSS
START_NS = 100 * SECOND_NS
PAGE_KIB = 4


class FakeProcfs(Procfs):
    """Processes whose memory the test sets."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.memory: dict[int, tuple[int, int | None]] = {}
        """By pid: RSS and PSS in KiB; a PSS of None cannot be read."""
        self.started: dict[int, int] = {}
        self.asked: list[int] = []
        self.vanish: set[int] = set()
        """Pids of processes that end between the two readings."""

    def read_stat(self, pid: int) -> bytes | None:
        if pid not in self.memory:
            return None
        fields = ["S", *["0"] * 16, "1", "0", "0", "0", *["0"] * 30]
        fields[19] = str(self.started.get(pid, START_NS) // (10 * MS_NS))
        fields[21] = str(self.memory[pid][0] // PAGE_KIB)
        return f"{pid} (a b) {' '.join(fields)}".encode()

    def read_smaps_rollup(self, pid: int) -> bytes | None:
        self.asked.append(pid)
        if pid in self.vanish:
            del self.memory[pid]
            return None
        pss_kib = self.memory[pid][1]
        if pss_kib is None:
            return None
        return f"5 - 7 ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:  {pss_kib} kB\n".encode()


class Host:
    """Jobs of such processes, and a reader of their memory. A reading takes as long on a CPU as the
    test says.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes = Processes(Jobs(), 2, Clocks([Clock(1, 0, 0, 0)]))
        self.procfs = FakeProcfs()
        self.counted: set[int] = set()
        self.now_ns = 1000 * SECOND_NS
        self.cpu_ns = self.takes_ns = 0
        monkeypatch.setattr(clocks, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(job_memory_reader, "thread_time_ns", self._cpu)
        self.reader = JobMemoryReader(
            self.processes,
            self.procfs,
            lambda job: job.id in self.counted,
            60 * SECOND_NS,
            self.now_ns,
        )

    def _cpu(self) -> int:
        self.cpu_ns += self.takes_ns
        return self.cpu_ns

    def job(self, *pids: int) -> Job:
        job = self.processes.jobs.create("build", 0, 0)
        self.enter(job, *pids)
        return job

    def enter(self, job: Job, *pids: int) -> None:
        for pid in pids:
            life = self.processes.living.get(pid)
            life = life or self.processes.adopt(pid, START_NS, Origin.FORK)
            self.processes.add(life, job, self.now_ns)

    def end(self, *pids: int) -> None:
        for pid in pids:
            self.processes.end_vanished([self.processes.living[pid]], self.now_ns)
            self.procfs.memory.pop(pid, None)

    def run(self, seconds: float, *, wait: bool = False) -> list[tuple[float, int, int, int]]:
        """Let so much time pass; what is stored: second, job id, KiB, how."""
        began_ns = self.now_ns
        for _ in range(round(seconds * 20)):
            self.now_ns += 50 * MS_NS
            self.reader.tick(self.now_ns, wait=wait)
        return [
            ((row.read_ns - began_ns) / SECOND_NS, row.job_id, row.memory_kib, row.memory_by)
            for row in self.processes.take_changes().memory
        ]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_shared_memory_counts_once_and_that_of_all_members_at_a_moment_is_added_up(
    host: Host,
) -> None:
    host.procfs.memory = {7: (8000, 3000), 8: (8000, 3000), 9: (100, 100)}
    job = host.job(7, 8)
    assert host.run(0.5) == [(0.3, job.id, 6000, PSS)]
    assert job.memory_peak == (6000, PSS)
    assert 9 not in host.procfs.asked, "it is in no job"


def test_new_job_is_read_after_ever_longer_times_and_then_with_all_others(host: Host) -> None:
    host.procfs.memory = {7: (4, 4)}
    job, seconds = host.job(7), []
    for step in range(20 * 200):
        host.procfs.memory[7] = (4, 4 + step)
        seconds += [round(step / 20 + second, 2) for second, *_ in host.run(0.05)]
    early = [0.3, 0.55, 1.05, 2.05, 4.05, 8.05, 16.05, 32.05]
    assert seconds == sorted([*early, 20, 80, 140, 200]), "minutes of the clock end at 20, 80, ..."
    assert job.memory_peak == (4 + 20 * 200 - 1, PSS)


def test_what_hardly_changed_is_not_stored_again_unless_it_is_the_most_so_far(host: Host) -> None:
    host.procfs.memory = {7: (6400, 6400)}
    job = host.job(7)
    assert [row[2] for row in host.run(0.5)] == [6400]
    for kib, stored in ((6300, []), (6299, [6299]), (6400, [6400]), (6401, [6401])):
        host.procfs.memory[7] = (kib, kib)
        assert [row[2] for row in host.run(60)] == stored
    assert job.memory_peak == (6401, PSS)


def test_job_that_has_grown_is_read_soon_again(host: Host) -> None:
    host.procfs.memory = dict.fromkeys(range(10, 18), (1000, 1000))
    job = host.job(10)
    host.run(90)
    host.enter(job, *range(11, 18))
    host.run(0.2)
    host.end(11)
    assert [row[1:] for row in host.run(0.3)] == [(job.id, 7000, PSS)]
    host.end(*range(12, 18))
    assert [row[2] for row in host.run(40)] == [1000]


def test_job_without_living_members_needs_nothing_and_that_is_stored_once(host: Host) -> None:
    host.procfs.memory = {7: (1000, 900)}
    job, never = host.job(7), host.job()
    host.run(0.5)
    host.end(7)
    rows = host.run(130)
    assert [row[1:3] for row in rows] == [(job.id, 0)]
    assert (job.memory_peak, never.memory_peak) == ((900, PSS), None)


def test_members_that_cannot_be_read_are_unknown_and_not_0(host: Host) -> None:
    job = host.job(7, 8)
    assert host.run(130) == []
    assert job.memory_peak is None
    # Another process has the pid of one of them.
    host.procfs.memory, host.procfs.started = {7: (500, 500)}, {7: START_NS + SECOND_NS}
    assert host.run(60) == []


def test_member_that_ends_between_the_two_readings_does_not_make_the_sum_an_upper_bound(
    host: Host,
) -> None:
    host.procfs.memory = {7: (1000, 900), 8: (5000, 4000)}
    host.procfs.vanish = {8}
    job = host.job(7, 8)
    assert host.run(0.3) == [(0.3, job.id, 900, PSS)]


def test_kernel_that_does_not_show_shares_leaves_an_upper_bound(host: Host) -> None:
    host.procfs.memory = {7: (8000, None), 8: (8000, 3000)}
    job = host.job(7, 8)
    assert host.run(0.3) == [(0.3, job.id, 16000, RSS)]


def test_process_that_takes_too_long_to_walk_leaves_an_upper_bound_for_its_job_only(
    host: Host,
) -> None:
    host.procfs.memory = {7: (4 << 20, 1 << 20), 8: (8000, 3000)}
    large, small = host.job(7, 8), host.job(8)
    rows = host.run(0.3)
    assert sorted(row[1:] for row in rows) == [
        (large.id, (4 << 20) + 8000, RSS),
        (small.id, 3000, PSS),
    ]
    assert host.procfs.asked == [8]


def test_what_was_read_exactly_before_is_raised_by_what_has_grown_since(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.procfs.memory = {7: (8000, 3000), 8: (8000, 3000)}
    job = host.job(7, 8)
    assert [row[1:] for row in host.run(0.3)] == [(job.id, 6000, PSS)]
    monkeypatch.setattr(job_memory_reader, "LONGEST_NS", 0)
    for resident_kib, stored in (
        (8100, []),
        (7000, []),
        (8500, [(job.id, 6500, RSS)]),
        (8360, [(job.id, 6360, RSS)]),
    ):
        host.procfs.memory[8] = (resident_kib, None)
        assert [row[1:] for row in host.run(60)] == stored
    assert job.memory_peak == (6500, RSS)


def test_job_whose_control_group_counts_it_is_not_read(host: Host) -> None:
    host.procfs.memory = {7: (8000, 3000)}
    job = host.job(7)
    host.counted.add(job.id)
    assert host.run(130) == []
    assert host.procfs.asked == []
    host.counted.clear()
    assert [row[1:] for row in host.run(60)] == [(job.id, 3000, PSS)]


def test_no_reading_begins_while_the_warehouse_cannot_be_written(host: Host) -> None:
    host.procfs.memory = {7: (8000, 3000)}
    job = host.job(7)
    assert host.run(5, wait=True) == []
    assert host.reader.due_ns(host.now_ns) > host.now_ns, "the loop must not spin"
    assert [row[1:] for row in host.run(2)] == [(job.id, 3000, PSS)]


@pytest.mark.parametrize("takes_ms", [1, 40, 400])
def test_readings_take_at_most_their_share_of_a_cpu(host: Host, takes_ms: int) -> None:
    host.procfs.memory = {7: (8000, 3000)}
    host.takes_ns = takes_ms * MS_NS
    job, other = host.job(7), host.job()
    used_ns = 0
    for second in range(1200):
        host.procfs.memory[7] = (8000, 3000 + 100 * second)
        host.run(1)
        if second % 5 == 0:  # it starts again and again
            job.grown_at = 1
            host.processes.jobs.count([job.id], -1)
            host.processes.jobs.count([job.id], 1)
        used_ns += host.reader.take_cost_ns()
        assert used_ns <= (second + 1) * SECOND_NS // SHARE + SAVED_NS + host.takes_ns
    assert used_ns > 0
    assert job.memory_peak is not None
    assert other.memory_peak is None


def test_jobs_that_share_a_span_are_read_in_one_go(host: Host) -> None:
    host.procfs.memory = dict.fromkeys(range(10, 30), (100, 100))
    jobs = [host.job(pid, pid + 1) for pid in range(10, 28)]
    rows = host.run(0.3)
    assert {row[0] for row in rows} == {0.3}
    assert {row[1] for row in rows} == {job.id for job in jobs}
    assert sorted(host.procfs.asked) == list(range(10, 29)), "each process is read once"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "end", "grow", "wait"]),
            st.integers(10, 15),
            st.integers(1, 2500).map(lambda pages: pages * PAGE_KIB),
        ),
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_peak_is_the_most_that_all_living_members_had_at_a_reading(
    steps: list[tuple[str, int, int]],
) -> None:
    """Whatever comes, grows and ends: the newest row is never a 64th away from what a reading
    would show, the peak is the greatest row, and 0 is stored only where no member is alive.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        host = Host(monkeypatch)
        job = host.job()
        stored = [0]
        for what, pid, kib in steps:
            living = host.processes.living
            if what == "enter" and pid not in living:
                host.procfs.memory[pid] = kib, kib
                host.enter(job, pid)
            elif what == "end" and pid in living:
                host.end(pid)
            elif what == "grow" and pid in living:
                host.procfs.memory[pid] = kib, kib
            stored += [row[2] for row in host.run(61)]
            total = sum(pss or 0 for _, pss in host.procfs.memory.values())
            assert abs(stored[-1] - total) * 64 <= stored[-1]
            assert (stored[-1] == 0) == (not living)
        assert (job.memory_peak or (0,))[0] == max(stored)


def test_first_reading_is_made_soon_after_the_first_member(host: Host) -> None:
    job = host.job()
    host.run(10)
    host.procfs.memory = {7: (8000, 3000)}
    host.enter(job, 7)
    ((second, *_),) = host.run(1)
    assert FIRST_NS / SECOND_NS <= second <= 0.35


def test_incarnations_are_what_is_read_not_pids(host: Host) -> None:
    host.procfs.memory = {7: (8000, 3000)}
    job = host.job(7)
    host.run(0.5)
    host.end(7)
    life: Incarnation = host.processes.adopt(7, START_NS, Origin.FORK)
    host.procfs.memory = {7: (100, 50)}
    assert job.id not in life.jobs
    assert [row[2] for row in host.run(61)] == [0]
