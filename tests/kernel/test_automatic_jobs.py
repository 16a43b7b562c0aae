"""Automatic jobs on the real kernel: each process is in the job of its control group from its
start, however short it lives and however it came there, and in no other automatic job.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elsa.decode.cgroups import parse_cpu_stat
from elsa.errors import ElsaError
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import find_hierarchy
from elsa.kernel.privileges import CAP_NET_ADMIN, CAP_SYS_PTRACE
from elsa.state.codes import How
from tests.support.elsa_host import Host, wait_until

pytestmark = pytest.mark.kernel

UNITS = 200
CHILDREN = 3
JOBS_AND_HOW = "select j.name, m.how from all_memberships as m join job as j on j.id = m.job_id"


@pytest.fixture
def slice_(require_kernel: Callable[[object, str], None]) -> Iterator[Path]:
    """A slice of this test, removed afterwards."""
    reason, mount = "perf events do not sample the hierarchy of this host", None
    try:
        hierarchy = find_hierarchy()
        open_cgroup_events(hierarchy).close()
        mount = hierarchy.mount if hierarchy.sampled else None
    except ElsaError as error:
        reason = str(error)
    require_kernel(mount is not None, reason)
    assert mount is not None
    path = mount / f"elsatest{os.getpid()}.slice"
    path.mkdir()
    yield path
    for below in sorted(path.glob("**/"), reverse=True):
        below.rmdir()


@pytest.mark.parametrize("way", ["self", "parent", "into"])
def test_each_unit_is_a_job_with_exactly_its_processes(
    way: str, host: Host, slice_: Path, native: Callable[[str], Path], tmp_path: Path
) -> None:
    host.start()
    program = tmp_path / "program"
    command = [native("cgroups"), slice_, program, way, UNITS, CHILDREN, 1000]
    lines = subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert host.stop() == 0
    expected = {
        f"cgroup/unit{number}": sorted(map(int, line.split()[1:]))
        for number, line in enumerate(lines)
    }
    assert len(expected) == UNITS
    members = defaultdict(list)
    for name, pid, since_ns, until_ns, path in host.sql(
        """select j.name, p.pid, m.since_ns, m.until_ns, t.value from all_memberships as m
           join job as j on j.id = m.job_id and j.kind = 'other'
           join process as p on p.id = m.process_id join long_text as t on t.id = j.cgroup_id
           where t.value like ?""",
        f"/{slice_.name}/%",
    ):
        assert (since_ns, until_ns) == (0, None)
        assert path == f"/{slice_.name}/{name.removeprefix('cgroup/')}"
        members[name].append(pid)
    assert {name: sorted(pids) for name, pids in members.items()} == expected
    programs = host.sql(
        """select p.pid from process as p join long_text as t on t.id = p.exe_id
           where t.value glob ?""",
        f"{program}.*",
    )
    assert len(programs) == UNITS * (CHILDREN // 2)
    exits = host.sql(
        """select distinct exit_status from job_usage join job on job.id = job_id
           where job.kind = 'other'"""
    )
    assert exits == [(0,)]
    states = host.sql(
        "select distinct close_reason from job where id in (select job_id from all_memberships)"
        " and kind = 'other'"
    )
    assert states == [("ended",)]
    assert host.value("select count(*) from gap where kind = 'cgroup'") == 0


def enter(group: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A process that runs in a group for a while."""
    script = f"echo $$ > {group}/cgroup.procs; exec sleep {seconds}"
    process = subprocess.Popen(["sh", "-c", script])
    wait_until("it is in its group", lambda: str(process.pid) in members(group))
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def members(group: Path) -> list[str]:
    return (group / "cgroup.procs").read_text().split()


def test_a_unit_restarted_while_jobd_is_down_is_two_jobs_and_one_that_ran_on_is_one(
    host: Host, slice_: Path
) -> None:
    for name in ("on", "again"):
        (slice_ / name).mkdir()
    running, first = enter(slice_ / "on", 60), enter(slice_ / "again", 60)
    try:
        host.start()
        host.request("sync")
        host.stop()
        end(first)
        (slice_ / "again").rmdir()
        (slice_ / "again").mkdir()
        second = enter(slice_ / "again", 60)
        try:
            host.start()
            host.request("sync")
            jobs = host.sql("select name, closed_at_ns is null from job order by id")
            assert sorted(jobs) == [("cgroup/again", 0), ("cgroup/again", 1), ("cgroup/on", 1)]
            how = (
                "select m.how, p.pid from all_memberships as m"
                " join process as p on p.id = m.process_id"
            )
            assert sorted(host.sql(how)) == sorted(
                (8, process.pid) for process in (running, first, second)
            )
        finally:
            end(second)
    finally:
        end(running)


def test_a_process_that_is_moved_while_it_runs_is_charged_to_each_job_for_its_part(
    host: Host, slice_: Path
) -> None:
    for name in ("before", "after"):
        (slice_ / name).mkdir()
    host.start()
    script = f"""
        import os, time
        def burn(seconds):
            end = time.process_time() + seconds
            while time.process_time() < end: pass
        def move(name): open("{slice_}/" + name + "/cgroup.procs", "w").write(str(os.getpid()))
        move("before"); burn(0.4); time.sleep(0.3); move("after"); time.sleep(1.5); burn(0.2)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert host.stop() == 0
    charged = dict(
        host.sql(
            """select name, user_s + system_s from job_process_usage join job on job.id = job_id"""
        )
    )
    total = host.value(
        """select user_s + system_s from process_usage
           where process_id in (select process_id from all_memberships)"""
    )
    # What it used before it came into the first of them is in none.
    assert 0.35 < charged["cgroup/before"] < 0.6
    assert 0.15 < charged["cgroup/after"] < 0.35
    assert 0 <= total - sum(charged.values()) < 0.3
    until_ns = host.value("select max(until_ns) from all_memberships")
    edges = host.sql("select job_id, sign, run_ns from job_edge where edge_ns = ?", until_ns)
    left, entered = sorted(edges, key=lambda edge: -edge[1])
    assert (left[1], entered[1], left[2]) == (1, -1, entered[2])


def test_a_jobd_that_dropped_its_privileges_has_events_of_groups_for_a_new_warehouse_too(
    host: Host, slice_: Path
) -> None:
    for name in ("old", "new"):
        (slice_ / name).mkdir()
    host.start("--user", "root")
    assert host.jobd is not None
    status = Path(f"/proc/{host.jobd.pid}/status").read_text()
    assert f"CapPrm:\t{1 << CAP_NET_ADMIN | 1 << CAP_SYS_PTRACE:016x}\n" in status
    end(enter(slice_ / "old", 60))
    host.request("sync")
    assert ("cgroup/old", How.MOVED) in host.sql(JOBS_AND_HOW)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{host.db}{suffix}").unlink(missing_ok=True)
    host.elsa("db", "upgrade")
    found = "has taken the place of ours"
    wait_until("jobd uses the new warehouse", lambda: found in host.log.read_text(), 20)
    wait_until("jobd answers", host._answers, 20)
    end(enter(slice_ / "new", 60))
    assert host.stop() == 0
    assert ("cgroup/new", How.MOVED) in host.sql(JOBS_AND_HOW)
    assert "no cgroup events" not in host.log.read_text()


def test_what_a_group_counts_itself_is_stored_when_its_last_process_has_ended(
    host: Host, slice_: Path
) -> None:
    host.start()
    group = slice_ / "short"
    group.mkdir()
    many = f"echo $$ > {group}/cgroup.procs; for i in $(seq 100); do /bin/true; done"
    subprocess.run(["sh", "-c", many], check=True)
    host.request("sync")
    counted = parse_cpu_stat((group / "cpu.stat").read_bytes())
    assert counted is not None
    [(final, stored_us, before_us)] = host.sql(
        """select final, user_us + system_us, user_us_before + system_us_before from job_cgroup
           join job on job.id = job_id where name = 'cgroup/short'"""
    )
    assert (final, before_us) == (1, 0)
    # The last moments of the last process may come after its exit event.
    assert 0.9 * counted.usage_us <= stored_us <= counted.usage_us
    [row] = json.loads(host.elsa("report", "audit", "--format", "json"))["audit"]["groups"]
    assert (row["name"], row["group_cpu_s"]) == ("cgroup/short", stored_us / 1e6)
