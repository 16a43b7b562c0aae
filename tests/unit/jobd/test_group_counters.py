"""The counters of control groups that are jobs: what is read when, what is subtracted, and which
groups say nothing of one job alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from elsa.decode.cgroups import GroupCounters
from elsa.jobd import group_counters
from elsa.jobd.group_counters import PERIOD_NS, GroupCounterReader
from elsa.kernel import clocks
from elsa.state.jobs import Job, Jobs
from elsa.store.batch import GroupCounterRow

WEB = "/system.slice/web.service"


class Host:
    """A tree of made-up groups, and what is stored of them."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.jobs = Jobs()
        self.rows: list[GroupCounterRow] = []
        self.reader = self.restarted()
        self.now_ns = clocks.monotonic_ns()

    def restarted(self) -> GroupCounterReader:
        return GroupCounterReader(self.mount, self.jobs, self.rows.append)

    def group(self, path: str, user_us: int, system_us: int = 0) -> Path:
        folder = Path(f"{self.mount}{path}")
        folder.mkdir(parents=True, exist_ok=True)
        usage_us = user_us + system_us
        (folder / "cpu.stat").write_text(
            f"usage_usec {usage_us}\nuser_usec {user_us}\nsystem_usec {system_us}\nnr_periods 0\n"
        )
        return folder

    def job(self, path: str = WEB, *, living: int = 1, new_group: bool = True) -> Job:
        job = self.jobs.create(path.rpartition("/")[2], 0, 0, kind="service")
        folder = Path(f"{self.mount}{path}")
        job.cgroup, job.living = path, living
        job.cgroup_inode = folder.stat().st_ino if folder.exists() else None
        self.reader.open(job, new_group=new_group)
        return job

    def after_a_period(self) -> None:
        self.now_ns += PERIOD_NS + 1_000_000_000
        for _ in self.jobs.open:  # on a busy machine each call may read one only
            self.reader.tick(self.now_ns)

    @property
    def counted(self) -> list[tuple[int, GroupCounters]]:
        return [(row.final, row.counted) for row in self.rows]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def cpu(user_us: int, system_us: int = 0) -> GroupCounters:
    return GroupCounters(user_us, system_us, None, None, None)


def test_group_is_read_each_minute_and_stored_if_anything_has_changed(host: Host) -> None:
    host.group(WEB, 0)
    host.job()
    host.group(WEB, 70, 30)
    host.reader.tick(host.now_ns)
    assert host.rows == []
    host.after_a_period()
    assert host.counted == [(0, cpu(70, 30))]
    host.after_a_period()
    assert len(host.rows) == 1
    host.group(WEB, 71, 30)
    host.after_a_period()
    assert host.counted[1:] == [(0, cpu(71, 30))]


def test_group_is_read_once_more_when_the_last_process_has_ended(host: Host) -> None:
    host.group(WEB, 0)
    job = host.job()
    host.group(WEB, 5)
    host.jobs.count([job.id], -1, time_ns=1)
    host.reader.tick(host.now_ns)
    assert host.counted == [(1, cpu(5))]
    assert host.jobs.emptied_groups == []


def test_what_a_group_had_counted_before_its_job_is_subtracted(host: Host) -> None:
    folder = host.group(WEB, 1000, 500)
    (folder / "memory.peak").write_text("4096\n")
    (folder / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1 wios=1\n")
    host.job(new_group=False)
    host.group(WEB, 1007, 501)
    (folder / "io.stat").write_text(
        "8:0 rbytes=11 wbytes=20 rios=1 wios=1\n8:1 rbytes=5 wbytes=1 rios=1 wios=1\n"
    )
    host.after_a_period()
    # The peak was reached before the job.
    assert host.counted == [(0, GroupCounters(7, 1, None, 6, 1))]
    (folder / "memory.peak").write_text("8192\n")
    host.after_a_period()
    assert host.counted[1:] == [(0, GroupCounters(7, 1, 8192, 6, 1))]


def test_group_that_was_removed_leaves_its_last_counters_and_is_not_read_again(host: Host) -> None:
    folder = host.group(WEB, 5)
    job = host.job()
    host.after_a_period()
    (folder / "cpu.stat").unlink()
    folder.rmdir()
    host.jobs.count([job.id], -1, time_ns=1)
    host.reader.tick(host.now_ns)
    host.group(WEB, 99)  # another group of the same name
    host.after_a_period()
    assert host.counted == [(0, cpu(5))]


@pytest.mark.parametrize("known_before", [False, True])
def test_group_that_is_removed_at_once_was_read_when_it_was_emptied(
    host: Host, *, known_before: bool
) -> None:
    folder = host.group(WEB, 5)
    inode = folder.stat().st_ino
    if known_before:
        job = host.job()
        host.reader.emptied(inode, WEB)  # as between two processes
        host.group(WEB, 9)
    host.reader.emptied(inode, WEB)
    (folder / "cpu.stat").unlink()
    folder.rmdir()
    if not known_before:
        job = host.jobs.create("web", 0, 0, kind="service")
        job.cgroup, job.living, job.cgroup_inode = WEB, 1, inode
        host.reader.open(job, new_group=True)
    host.jobs.count([job.id], -1, time_ns=1)
    host.reader.tick(host.now_ns)
    assert host.counted == [(1, cpu(9 if known_before else 5))]


def test_reading_of_an_empty_group_is_not_final_any_more_when_a_process_comes(host: Host) -> None:
    folder = host.group(WEB, 5)
    job = host.job()
    host.jobs.count([job.id], -1, time_ns=1)
    host.reader.tick(host.now_ns)
    host.jobs.count([job.id], 1)
    host.reader.tick(host.now_ns)
    assert host.counted == [(1, cpu(5)), (0, cpu(5))]
    host.group(WEB, 9)
    host.reader.emptied(folder.stat().st_ino, WEB)
    (folder / "cpu.stat").unlink()
    folder.rmdir()
    host.jobs.count([job.id], -1, time_ns=2)
    host.reader.tick(host.now_ns)
    assert host.counted[2:] == [(1, cpu(9))]


@pytest.mark.parametrize("lost", [False, True])
def test_reading_of_an_emptied_group_that_may_have_run_again_is_not_final(
    host: Host, *, lost: bool
) -> None:
    folder = host.group(WEB, 5)
    inode = folder.stat().st_ino
    job = host.job()
    host.reader.emptied(inode, WEB)
    (folder / "cpu.stat").unlink()
    folder.rmdir()
    if lost:
        host.reader.forget_emptied()
    else:
        host.reader.emptied(inode, WEB)  # emptied again, and removed before it was read
    host.jobs.count([job.id], -1, time_ns=1)
    host.reader.tick(host.now_ns)
    assert host.counted == []


def test_group_of_the_same_name_is_not_taken_for_that_of_the_job(host: Host) -> None:
    folder = host.group(WEB, 5)
    host.job()
    folder.rename(folder.with_name("kept"))  # so that its inode is not used again
    host.group(WEB, 99)
    host.after_a_period()
    assert host.rows == []


def test_next_invocation_in_the_same_group_has_what_the_group_counts_from_then_on(
    host: Host,
) -> None:
    host.group(WEB, 0)
    first = host.job()
    host.group(WEB, 5)
    first.living = 0
    host.reader.close(first)
    host.job(new_group=False)
    host.group(WEB, 7)
    host.after_a_period()
    assert [(row.job_id, row.final, row.counted) for row in host.rows] == [
        (1, 1, cpu(5)),
        (2, 0, cpu(2)),
    ]


@pytest.mark.parametrize("inner_first", [False, True])
def test_group_that_holds_another_job_says_nothing_of_its_own(
    host: Host, *, inner_first: bool
) -> None:
    outer, inner = "/user.slice/user@7.service", "/user.slice/user@7.service/app.service"
    host.group(outer, 50)
    host.group(inner, 20)
    for path in (inner, outer) if inner_first else (outer, inner):
        host.job(path)
    host.after_a_period()
    known = {row.job_id: row.counted for row in host.rows if row.counted.user_us is not None}
    inner_id = next(job.id for job in host.jobs.open.values() if job.cgroup == inner)
    assert known == {inner_id: cpu(20)}
    assert all(job.counted_before is None for job in host.jobs.open.values() if job.id != inner_id)


def test_groups_that_hold_others_are_known_however_many_there_are(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_counters, "MOST_HOLDING", 2)
    host.reader = host.restarted()
    outer = [f"/a.slice/{number}.service" for number in range(9)]
    for path in outer:
        host.group(path, 1)
        host.group(f"{path}/inner.service", 1)
        host.job(f"{path}/inner.service")
    for path in outer:
        host.job(path)
    held = [job.counted_before is None for job in host.jobs.open.values() if job.cgroup in outer]
    assert held == [True] * 9


def test_group_of_a_daemon_whose_child_is_a_job_says_nothing_of_the_daemon(host: Host) -> None:
    host.group(WEB, 0)
    host.job()
    host.group(WEB, 5)
    host.after_a_period()
    run = host.jobs.create("cron/root/backup", 0, 0, kind="cron", closes_itself=True)
    run.cgroup, run.is_run = WEB, True
    host.reader.open(run, new_group=False)
    host.group(WEB, 9)
    host.after_a_period()
    assert host.counted == [(0, cpu(5)), (0, group_counters.UNKNOWN)]
    assert host.rows[-1].before == group_counters.UNKNOWN


def test_command_with_a_group_of_its_own_leaves_its_unit_the_counters(host: Host) -> None:
    host.group(WEB, 0)
    host.job()
    own = host.jobs.create("make", 1000, 0)
    own.cgroup, own.living = f"{WEB}/elsa-run-5", 1
    host.group(own.cgroup, 2)
    host.reader.open(own, new_group=False)
    host.group(WEB, 9)
    host.group(own.cgroup, 8)
    host.after_a_period()
    assert [(row.job_id, row.counted) for row in host.rows] == [(1, cpu(9)), (2, cpu(6))]


def test_next_jobd_goes_on_with_what_was_subtracted(host: Host) -> None:
    host.group(WEB, 1000)
    job = host.job(new_group=False)
    host.group(WEB, 1003)
    host.reader.finish()
    assert host.counted == [(0, cpu(3))]
    assert host.rows[0].before == cpu(1000)
    job.counted_before = host.rows[0].before  # as it is restored
    host.reader = host.restarted()
    host.reader.resume()
    host.group(WEB, 1010)
    host.reader.tick(host.now_ns)
    assert host.counted[1:] == [(0, cpu(10))]


def test_one_call_reads_no_longer_than_its_budget(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"/system.slice/{number}.service" for number in range(30)]
    for path in paths:
        host.group(path, 1)
        host.job(path)
    now_ns = host.now_ns + 2 * PERIOD_NS
    steps = iter(range(now_ns, 2 * now_ns, group_counters.BUDGET_NS // 5))
    monkeypatch.setattr(clocks, "monotonic_ns", lambda: next(steps))
    host.reader.tick(now_ns)
    assert 1 <= len(host.rows) <= 5
    for _ in paths:
        host.reader.tick(now_ns)
    assert sorted(row.job_id for row in host.rows) == list(range(1, 31))


def test_group_counts_the_memory_of_its_job_if_its_peak_was_exceeded_since(host: Host) -> None:
    folder = host.group(WEB, 0)
    (folder / "memory.peak").write_text("5000\n")
    job = host.job(new_group=False)
    assert not host.reader.counts_memory(job), "the peak may be older than the job"
    (folder / "memory.peak").write_text("5001\n")
    assert host.reader.counts_memory(job)
    (folder / "memory.peak").unlink()
    assert not host.reader.counts_memory(job), "the memory controller is off"
    assert not host.reader.counts_memory(host.jobs.create("manual", 0, 0))
    new = host.group("/new", 0)
    (new / "memory.peak").write_text("1\n")
    assert host.reader.counts_memory(host.job("/new"))


def test_group_that_is_gone_or_holds_other_jobs_does_not_count_the_memory_of_one(
    host: Host,
) -> None:
    folder = host.group(WEB, 0)
    (folder / "memory.peak").write_text("5000\n")
    job = host.job()
    assert host.reader.counts_memory(job)
    inner = host.group(f"{WEB}/inner", 0)
    host.job(f"{WEB}/inner")
    assert not host.reader.counts_memory(job)
    for path in inner.iterdir():
        path.unlink()
    inner.rmdir()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert not host.reader.counts_memory(job)
