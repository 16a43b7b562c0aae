"""The reader of control groups: what it reads from /proc and the group tree where events are
missing, and what it records of losses.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from elsa.decode.cgroup_events import Emptied, Lost, Made, Removed, Sampled
from elsa.jobd import cgroup_reader
from elsa.jobd.cgroup_reader import CgroupReader
from elsa.kernel import cgroups
from elsa.kernel.cgroups import Hierarchy
from elsa.kernel.perf_events import Followed
from elsa.kernel.procfs import Procfs
from elsa.state.codes import How
from elsa.state.default_job_rules import rules
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.store.batch import GroupCounterRow
from tests.support.events import exited, fork

S = 1_000_000_000


class Host:
    """A host with a tree of groups, a /proc and no events, or with those put into `records`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, events: bool) -> None:
        self.tree, self.proc = folder / "cgroup", folder / "proc"
        (self.tree / "system.slice/web.service").mkdir(parents=True)
        self.processes = Processes(Jobs())
        self.gaps: list[tuple[Any, ...]] = []
        self.stored: list[Job] = []
        self.records: list[object] = []
        self.emptied: list[Emptied] = []
        self.group_counters: list[GroupCounterRow] = []
        self.lost: int | None = 0
        self.followed = Followed([], [])
        source = SimpleNamespace(
            hierarchy=Hierarchy(self.tree, 0, sampled=True), events=None, refusal=None
        )
        if events:
            source.events = SimpleNamespace(
                opened={},
                names={},
                drain=lambda: SimpleNamespace(chunks=self.records),
                lost=lambda: self.lost,
                follow_cpus=lambda: self.followed,
            )
            monkeypatch.setattr(
                cgroup_reader,
                "Decoder",
                lambda *_: SimpleNamespace(decode=self._decode, take_emptied=lambda: self.emptied),
            )
        recorder = SimpleNamespace(gap=lambda *row: self.gaps.append(row))
        self.edges: list[tuple[int, int]] = []
        self.reader = CgroupReader(
            cast("Any", source),
            Procfs(self.proc),
            self.processes,
            rules(()),
            cast("Any", recorder),
            self.stored.append,
            self.group_counters.append,
            lambda life, edge_ns: self.edges.append((life.pid, edge_ns)),
        )

    def _decode(self, records: list[object], _until_ns: int) -> list[object]:
        self.records = []
        return records

    def run(self, pid: int, group: str, state: str = "S") -> None:
        """A process in a group, which runs or is a zombie."""
        start_ns = time.monotonic_ns()
        self.processes.apply([fork(start_ns, 1, pid)])
        (self.proc / str(pid)).mkdir(parents=True)
        start = f"1 0 {start_ns // 10**7} 0 0"
        (self.proc / str(pid) / "stat").write_text(
            f"{pid} (web) {state} 1 {pid} {pid} {'0 ' * 13}{start} {'0 ' * 30}\n"
        )
        (self.proc / str(pid) / "cgroup").write_text(f"0::{group}\n")

    def members(self) -> list[tuple[str, int]]:
        names = {job.id: job.name for job in self.processes.jobs.open.values()}
        return [(names[job_id], how) for job_id, _, _, _, how in self.processes.changes.entered]


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch, events=False)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch, events=True)


def test_without_events_the_group_is_read_at_an_exec_and_the_membership_is_inferred(
    silent: Host,
) -> None:
    silent.run(50, "/system.slice/web.service")
    silent.reader.look(silent.processes.living[50], "/usr/sbin/web")
    assert silent.members() == [("web", How.INFERRED)]
    assert silent.processes.living[50].exe == "/usr/sbin/web"


def test_processes_that_run_at_the_start_are_in_the_job_of_their_group_from_then_on(
    host: Host,
) -> None:
    host.run(50, "/system.slice/web.service")
    host.run(51, "/")
    host.processes.living[50].seen_ns = 1
    host.reader.start()
    assert host.members() == [("web", How.PRESENT)]
    assert host.processes.changes.entered[0][2] > 0


def test_process_that_ended_and_was_not_reaped_enters_no_job(host: Host) -> None:
    for pid, state in ((50, "Z"), (51, "S"), (52, "X")):
        host.run(pid, "/system.slice/web.service", state)
    host.reader.start()
    [(_, process_id, *_)] = host.processes.changes.entered
    assert process_id == host.processes.living[51].id


def test_after_a_loss_every_group_is_read_and_the_gap_has_the_exact_number(host: Host) -> None:
    host.run(50, "/system.slice/web.service")
    host.records = [Lost(S, 7), Lost(S, 3)]
    for record in host.reader.records(S):
        host.reader.apply(record)
    host.reader.settle(time.monotonic_ns())
    assert host.members() == [("web", How.INFERRED)]
    [(kind, from_ns, to_ns, lost)] = host.gaps
    assert (kind, lost) == ("cgroup", 10)
    assert from_ns < to_ns
    host.reader.settle(time.monotonic_ns())
    assert len(host.gaps) == 1


def test_loss_that_the_kernel_counted_and_the_ring_reported_later_is_one_gap(host: Host) -> None:
    host.lost = 9
    host.reader.check(time.monotonic_ns() + 3600 * S)
    host.reader.settle(time.monotonic_ns())
    host.lost = 0
    host.records = [Lost(S, 9)]
    host.reader.records(S)
    host.reader.settle(time.monotonic_ns())
    assert [lost for *_, lost in host.gaps] == [9]
    host.records = [Lost(2 * S, 4)]
    host.reader.records(2 * S)
    host.reader.settle(time.monotonic_ns())
    assert [lost for *_, lost in host.gaps] == [9, 4]


@pytest.mark.parametrize("followed", [Followed([3], []), Followed([], [3])])
def test_what_a_cpu_did_without_a_ring_is_a_gap_of_unknown_size(
    host: Host, followed: Followed
) -> None:
    host.followed, host.lost = followed, None
    host.reader.check(time.monotonic_ns() + 3600 * S)
    host.reader.settle(time.monotonic_ns())
    assert [lost for *_, lost in host.gaps] == [None]


def test_gap_of_a_cpu_without_a_ring_grows_as_long_as_there_is_one(host: Host) -> None:
    started_ns = time.monotonic_ns()
    for after_s, cpus in ((20, [3]), (40, [3, 4]), (60, []), (80, []), (100, [3])):
        host.followed = Followed([], cpus)
        host.reader.settle(started_ns + (after_s - 1) * S)
        host.reader.check(started_ns + after_s * S)
        host.reader.settle(started_ns + after_s * S + 1)
    *outage, next_ns = (since_ns for _, since_ns, *_ in host.gaps)
    assert len(outage) == 3  # the CPU went between the second and the third
    assert len(set(outage)) == 1
    assert outage[0] <= started_ns
    # It may have come before the check at 80 s, if it was away for a moment.
    assert next_ns == started_ns + 60 * S


def test_without_events_the_job_of_a_removed_group_closes_with_its_last_process(
    silent: Host,
) -> None:
    silent.run(50, "/system.slice/web.service")
    silent.reader.start()
    (silent.tree / "system.slice/web.service").rmdir()
    silent.reader.check(time.monotonic_ns() + 3600 * S)
    [job] = silent.processes.jobs.open.values()
    assert job.closes_itself


def test_group_that_is_gone_is_known_until_the_records_before_that_are_applied(
    host: Host,
) -> None:
    host.run(50, "/system.slice/web.service")
    host.reader.start()
    inode = (host.tree / "system.slice/web.service").stat().st_ino
    (host.tree / "system.slice/web.service").rmdir()
    behind_ns = time.monotonic_ns()
    host.records = [Lost(behind_ns, 1)]
    host.reader.records(behind_ns)
    host.reader.settle(behind_ns)
    host.processes.apply([fork(behind_ns, 1, 51)])
    host.reader.apply(Sampled(behind_ns + 1, 51, 51, inode, None))
    [job] = host.processes.jobs.open.values()
    assert job.id in host.processes.living[51].jobs
    assert not job.closes_itself
    host.reader.settle(time.monotonic_ns())
    assert job.closes_itself


def test_groups_that_are_emptied_without_end_take_only_so_much_time(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(cgroups, "read_files", lambda group, *_: read.append(group.name))
    steps = iter(range(0, S, cgroup_reader.EMPTIED_NS // 7))
    monkeypatch.setattr("elsa.kernel.clocks.monotonic_ns", lambda: next(steps))
    for _ in range(2):
        host.emptied = [Emptied(S, number % 50, f"/{number % 50}") for number in range(200)]
        host.reader.hold()
    assert 2 <= len(read) <= 14
    assert read[: len(read) // 2] == read[len(read) // 2 :]


def test_counters_and_invocation_of_an_emptied_group_are_read_before_its_records_are_applied(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cgroups,
        "invocation_id",
        lambda mount, path: "a" * 32 if Path(f"{mount}{path}").exists() else None,
    )
    web = host.tree / "system.slice/web.service"
    host.reader.start()
    inode = web.stat().st_ino
    (web / "cpu.stat").write_text("usage_usec 7\nuser_usec 5\nsystem_usec 2\n")
    host.emptied = [Emptied(S, inode, "/system.slice/web.service")]
    host.reader.hold()
    (web / "cpu.stat").unlink()
    web.rmdir()
    host.reader.apply(Removed(S, inode, ""))
    host.reader.apply(Made(S, inode, "/system.slice/web.service"))
    host.processes.apply([fork(S, 1, 51), exited(S + 2, 51)])
    host.reader.apply(Sampled(S + 1, 51, 51, inode, None))
    host.reader.apply(Removed(S + 3, inode, ""))
    [row] = host.group_counters
    assert (row.final, row.counted[:2]) == (1, (5, 2))
    assert [job.invocation for job in host.processes.jobs.open.values()] == ["a" * 32]
    host.reader.settle(time.monotonic_ns())
    assert host.reader.invocation("/system.slice/web.service") is None


def test_counters_are_read_at_the_time_of_the_membership(host: Host) -> None:
    (host.tree / "system.slice/db.service").mkdir()
    host.run(50, "/system.slice/web.service")
    host.reader.start()
    host.processes.living[50].first_exec_ns = 1
    host.reader.settle(1)
    (host.proc / "50/cgroup").write_text("0::/system.slice/db.service\n")
    host.reader.rescan()
    host.reader.settle(2)
    entered, left = (
        [row[2] for row in host.processes.changes.entered],
        host.processes.changes.left,
    )
    assert entered[0] == 0
    assert host.edges == [(50, time_ns) for time_ns in entered[1:]]
    assert [time_ns for time_ns, *_ in left] == entered[1:]
