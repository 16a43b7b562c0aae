"""Real perf rings: the control group of every process is known and proved, however short it lives
and however it got there; programs and names are right, and losses are counted exactly.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from elsa.decode.cgroup_events import (
    HOLD_BACK_NS,
    Attach,
    BornInto,
    Decoder,
    Lost,
    Made,
    Record,
    Removed,
    Sampled,
)
from elsa.errors import ElsaError
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import Hierarchy, find_hierarchy, walk
from elsa.kernel.perf_events import PerfEvents, Tracepoint, open_events

pytestmark = pytest.mark.kernel

DISABLE = 0x2401  # PERF_EVENT_IOC_DISABLE
UNITS = 100
CHILDREN = 3


@pytest.fixture
def hierarchy(require_kernel: Callable[[object, str], None]) -> Hierarchy:
    """The hierarchy to follow, if this kernel samples it; or a skip that says why not."""
    reason, found = "perf events do not sample the hierarchy of this host", None
    try:
        found = find_hierarchy()
        open_cgroup_events(found).close()
    except ElsaError as error:
        reason, found = str(error), None
    require_kernel(found is not None and found.sampled, reason)
    assert found is not None
    return found


@pytest.fixture
def group(hierarchy: Hierarchy) -> Iterator[Path]:
    """A control group of this test, removed afterwards."""
    path = hierarchy.mount / f"elsa-test-{os.getpid()}"
    path.mkdir()
    yield path
    for below in sorted(path.glob("**/"), reverse=True):
        below.rmdir()


class Unit(NamedTuple):
    """What the workload itself says of a unit."""

    cgroup_id: int
    pids: list[int]


def run_units(
    command: list[str], events: PerfEvents, decoder: Decoder
) -> tuple[list[Unit], list[Record]]:
    """Run the workload, drain all the while, and return what it says and what was received."""
    records: list[Record] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as workload:
        while workload.poll() is None:
            time.sleep(0.002)
            taken = events.drain()
            records += decoder.decode(taken.chunks, taken.time_ns - HOLD_BACK_NS)
        assert workload.stdout is not None
        lines = workload.stdout.read().splitlines()
    assert workload.returncode == 0
    records += decoder.decode(events.drain().chunks, time.monotonic_ns())
    words = [[int(word) for word in line.split()] for line in lines]
    return [Unit(first, pids) for first, *pids in words], records


@pytest.mark.parametrize("way", ["self", "parent", "into"])
def test_every_process_of_a_millisecond_is_known_in_its_group(
    way: str, hierarchy: Hierarchy, group: Path, native: Callable[[str], Path], tmp_path: Path
) -> None:
    link = tmp_path / "program"
    command = [str(native("cgroups")), str(group), str(link), way, str(UNITS), str(CHILDREN)]
    # A small ring, so that records wrap around its end many times
    with open_cgroup_events(hierarchy, 1 << 14) as events:
        decoder = Decoder(events.opened, events.names)
        units, records = run_units([*command, "1000"], events, decoder)
        assert events.lost() == 0
    assert len(units) == UNITS

    path = f"/{group.relative_to(hierarchy.mount)}"
    made = {record.cgroup_id: record.path for record in records if isinstance(record, Made)}
    removed = {record.cgroup_id: record.path for record in records if isinstance(record, Removed)}
    names = {unit.cgroup_id: f"{path}/unit{number}" for number, unit in enumerate(units)}
    assert made.items() >= names.items()
    assert removed.items() >= names.items()
    emptied = {record.cgroup_id: record.path for record in decoder.take_emptied()}
    assert emptied.items() >= names.items() or "cgroup_notify_populated" not in events.opened

    ids = names.keys()
    ends = [
        record
        for record in records
        if isinstance(record, Sampled) and record.filename is None and record.cgroup_id in ids
    ]
    expected = [(unit.cgroup_id, pid) for unit in units for pid in unit.pids]
    assert sorted((end.cgroup_id or 0, end.tgid) for end in ends) == sorted(expected)

    programs = {
        (record.cgroup_id, record.tgid): record.filename
        for record in records
        if isinstance(record, Sampled) and record.filename and record.cgroup_id in ids
    }
    assert programs == {
        (unit.cgroup_id, unit.pids[2]): f"{link}.{number}" for number, unit in enumerate(units)
    }

    leaders = [(unit.cgroup_id, unit.pids[0]) for unit in units]
    moved = [
        (record.cgroup_id, record.pid)
        for record in records
        if isinstance(record, Attach) and record.cgroup_id in ids
    ]
    born = [record.pid for record in records if isinstance(record, BornInto)]
    assert moved == ([] if way == "into" else leaders)
    assert [pid for _, pid in leaders if pid in born] == (
        [pid for _, pid in leaders] if way == "into" else []
    )


THREADS = """
import threading
threads = [threading.Thread(target=int) for _ in range(20)]
for thread in threads:
    thread.start()
"""


def test_process_with_threads_ends_once_and_is_not_started_by_its_threads(
    hierarchy: Hierarchy,
) -> None:
    with open_cgroup_events(hierarchy) as events:
        child = subprocess.Popen([sys.executable, "-c", THREADS])
        child.wait()
        decoder = Decoder(events.opened, events.names)
        records = decoder.decode(events.drain().chunks, time.monotonic_ns())
    samples = [r for r in records if isinstance(r, Sampled) and r.tgid == child.pid]
    assert [sample.filename for sample in samples] == [sys.executable, None]
    assert not [r for r in records if isinstance(r, BornInto) and r.parent_tgid == child.pid]


def test_losses_are_counted_exactly(hierarchy: Hierarchy, group: Path) -> None:
    only_ours = f"root == {hierarchy.number} && path ~ '*{group.name}/*'"
    made = Tracepoint("cgroup/cgroup_mkdir", filters=(only_ours,))
    cpus = os.sched_getaffinity(0)
    with PerfEvents(open_events([made], ring_bytes=4096)) as events:
        decoder = Decoder(events.opened, events.names)
        for number in range(500):
            (group / str(number)).mkdir()
        received = decoder.decode(events.drain().chunks, time.monotonic_ns())
        lost = events.lost()
        assert lost
        assert len(received) == 500 - lost
        assert events.lost() == 0
        # Each ring reports its loss with the first record that has room again.
        try:
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                (group / f"cpu{cpu}").mkdir()
        finally:
            os.sched_setaffinity(0, cpus)
        later = decoder.decode(events.drain().chunks, time.monotonic_ns())
        assert sum(record.records for record in later if isinstance(record, Lost)) == lost
        assert sum(isinstance(record, Made) for record in later) == len(cpus)


UNPRIVILEGED = """
import os, subprocess, time
from elsa.decode.cgroup_events import Decoder
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import find_hierarchy
events = open_cgroup_events(find_hierarchy(), 4096, exit_codes=True)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
child = subprocess.Popen(["sh", "-c", "exit 7"])
child.wait()
decoder = Decoder(events.opened, events.names)
for record in decoder.decode(events.drain().chunks, time.monotonic_ns()):
    if child.pid in record:
        print(type(record).__name__, record[-1])
for _ in range(100):
    subprocess.run(["true"])
print(events.lost() > 0, *events.follow_cpus())
"""


def test_rings_are_drained_and_count_losses_without_any_privilege(hierarchy: Hierarchy) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, check=True
    )
    shell, ended, sampled, counted = outcome.stdout.splitlines()
    assert shell.startswith("Sampled /")
    assert (ended, sampled) == ("ExitGroup 7", "Sampled None")
    assert counted == "True [] []"


def test_refusal_says_which_privilege_is_missing(hierarchy: Hierarchy) -> None:
    program = """
import os
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import find_hierarchy
hierarchy = find_hierarchy()
os.setuid(65534)
open_cgroup_events(hierarchy)
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "PrivilegeError: tracepoints are opened by root, or with CAP_PERFMON" in outcome.stderr


def test_rings_follow_the_cpus_that_are_online(
    hierarchy: Hierarchy, require_kernel: Callable[[object, str], None], tmp_path: Path
) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    require_kernel(len(cpus) > 1, "there is only one CPU")
    first, second = cpus[:2]

    def received(events: PerfEvents, decoder: Decoder) -> list[int]:
        """On which of the two CPUs the end of a process is received."""
        pids = {}
        for cpu in (first, second):
            child = subprocess.Popen(["taskset", "-c", str(cpu), "true"])
            child.wait()
            pids[child.pid] = cpu
        records = decoder.decode(events.drain().chunks, time.monotonic_ns())
        return [
            pids[record.tgid]
            for record in records
            if isinstance(record, Sampled) and record.filename is None and record.tgid in pids
        ]

    online = tmp_path / "online"
    online.write_text(f"{first}\n")
    exits = Tracepoint("sched/sched_process_exit", raw=False, cgroup=True)
    with PerfEvents(open_events([exits], sys_cpu=tmp_path), sys_cpu=tmp_path) as events:
        decoder = Decoder(events.opened, events.names)
        assert received(events, decoder) == [first]
        online.write_text(f"{first},{second}\n")
        assert events.follow_cpus() == ([second], [])
        assert received(events, decoder) == [first, second]
        subprocess.run(["taskset", "-c", str(first), "true"], check=True)
        online.write_text(f"{second}-{second}\n")
        assert events.follow_cpus() == ([], [])
        before = decoder.decode(events.drain().chunks, time.monotonic_ns())
        assert any(isinstance(record, Sampled) for record in before)
        assert received(events, decoder) == [second]
        # What the kernel does to the events of a CPU that goes offline, here without doing it
        fcntl.ioctl(events._rings[second].fileno(), DISABLE, 0)
        assert received(events, decoder) == []
        assert events.follow_cpus() == ([], [])
        assert events.follow_cpus() == ([second], [])
        assert received(events, decoder) == [second]
        # A CPU that this machine does not have is like one that may not be opened any more.
        online.write_text(f"{second},4095\n")
        assert events.follow_cpus() == ([], [4095])


def test_walk_names_every_group_with_the_id_of_its_directory(
    hierarchy: Hierarchy, group: Path
) -> None:
    (group / "a/b").mkdir(parents=True)
    found = dict(walk(hierarchy.mount))
    own = f"/{group.relative_to(hierarchy.mount)}"
    for path in ("", "/a", "/a/b"):
        assert found[(hierarchy.mount / f".{own}{path}").stat().st_ino] == own + path
    assert found[hierarchy.mount.stat().st_ino] == "/"


def test_nothing_stays_open_after_closing(hierarchy: Hierarchy) -> None:
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    events = open_cgroup_events(hierarchy)
    assert len(os.listdir("/proc/self/fd")) > len(before)  # noqa: PTH208
    events.close()
    events.close()
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert "perf_event" not in Path("/proc/self/maps").read_text()
