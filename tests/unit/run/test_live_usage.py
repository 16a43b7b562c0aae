"""What a living member uses is read from /proc only if it is that member, and never with what its
children used.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from elsa.kernel.clocks import Offsets
from elsa.kernel.procfs import Procfs
from elsa.run.jobd_usage import EndedMembers, Precision
from elsa.run.live_usage import JobNow, Running, memory_kib, running
from elsa.run.usage_sums import Usage

# A process that began 50 s after boot; real time is 1000 s ahead of monotonic time, and the machine
# slept for 20 s.
OFFSETS = Offsets(1000 * 10**9, 20 * 10**9)
BEGAN_AT_NS = (50 - 20 + 1000) * 10**9
IO = (
    "rchar: {}\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes:"
    " 6\ncancelled_write_bytes: 7\n"
)


def member(**fields: Any) -> dict[str, Any]:
    return {
        "pid": 42,
        "ppid": 1,
        "comm": "x",
        "uid": 0,
        "since_at_ns": BEGAN_AT_NS,
        "from_birth": True,
    } | fields


@pytest.fixture
def root(tmp_path: Path) -> Path:
    process = tmp_path / "42"
    for thread in (42, 43):
        (process / "task" / str(thread)).mkdir(parents=True)
        (process / "task" / str(thread) / "io").write_text(IO.format(1000))
    (process / "io").write_text(IO.format(999_999))
    (process / "stat").write_text("42 (x) R 1 1 1 0 -1 0 0 0 0 0 150 50 7 7 20 0 2 0 5000 0 0\n")
    (process / "status").write_text("Name:\tx\nVmHWM:\t 300 kB\nVmRSS:\t 200 kB\n")
    return tmp_path


def test_a_member_is_read_and_its_io_is_that_of_its_threads(root: Path) -> None:
    assert running(Procfs(root), member(), OFFSETS) == Running(
        42, 2, 200, Usage(1, 2.0, 300, 2000, 4, 10, 12)
    )


def test_threads_that_have_ended_are_in_it(root: Path) -> None:
    ended = {"read_chars": 1024, "write_chars": 0, "read_bytes": 4096, "write_bytes": 8192}
    process = running(Procfs(root), member(ended_threads=ended), OFFSETS)
    assert process is not None
    assert process.usage.io == (3024, 4, 4106, 8204)


def test_memory_that_members_share_counts_once_where_it_decides(root: Path) -> None:
    shutil.copytree(root / "42", root / "43")
    stat = (root / "43/stat").read_text().replace("42 (x)", "43 (x)")
    (root / "43/stat").write_text(stat)
    members = [member(), member(pid=43), member(pid=44), member(pid=None)]
    procfs = Procfs(root)
    assert memory_kib(procfs, members, OFFSETS, 400) == 400
    # Both hold the same 200 KiB; without smaps_rollup it is not known that they share them.
    assert memory_kib(procfs, members, OFFSETS, 399) is None
    for pid in ("42", "43"):
        (root / pid / "smaps_rollup").write_text("Rss: 200 kB\nPss:                 100 kB\n")
    assert memory_kib(procfs, members, OFFSETS, 399) == 200
    # The pid was reused.
    (root / "43/stat").write_text(stat.replace("5000", "9000"))
    assert memory_kib(procfs, members, OFFSETS, 0) == 100


def test_a_member_that_joined_later_is_shown_with_what_it_used_since() -> None:
    process = Running(42, 1, 200, Usage(1, 2.0, 300, 1000, 2000, None, 4000))
    assert process.since(Usage(1, 0.5, None, 400, 3000, 1, None)) == Running(
        42, 1, 200, Usage(1, 1.5, 300, 600, 0, None, None)
    )
    assert process.since(None) == process


def test_json_has_a_running_process_as_a_flat_object() -> None:
    assert Running(42, 1, 200, Usage(1, 2.0, 300, 1, 2, None, 4)).as_object() == {
        "pid": 42,
        "threads": 1,
        "rss_kib": 200,
        "cpu_s": 2.0,
        "peak_rss_kib": 300,
        "read_chars": 1,
        "write_chars": 2,
        "read_bytes": None,
        "write_bytes": 4,
    }


@pytest.mark.parametrize(
    "other",
    [{"since_at_ns": BEGAN_AT_NS - 10**9}, {"since_at_ns": BEGAN_AT_NS + 10**9}, {"pid": 7}],
)
def test_another_process_of_the_same_pid_is_not_the_member(
    root: Path, other: dict[str, Any]
) -> None:
    assert running(Procfs(root), member(**other), OFFSETS) is None


def test_a_member_that_joined_later_started_before(root: Path) -> None:
    later = member(since_at_ns=BEGAN_AT_NS + 10**9, from_birth=False)
    assert running(Procfs(root), later, OFFSETS) is not None
    assert (
        running(Procfs(root), member(since_at_ns=BEGAN_AT_NS - 10**9, from_birth=False), OFFSETS)
        is None
    )


def test_a_pid_that_passes_on_while_it_is_read_is_noticed(root: Path) -> None:
    class Reused(Procfs):
        def read_status(self, pid: int) -> bytes | None:
            stat = root / "42/stat"
            stat.write_text(stat.read_text().replace(" 5000 ", " 5001 "))
            return super().read_status(pid)

    assert running(Reused(root), member(), OFFSETS) is None


def test_io_that_may_not_be_read_is_unknown_and_not_0(root: Path) -> None:
    for path in root.glob("42/task/*/io"):
        path.unlink()
    process = running(Procfs(root), member(), OFFSETS)
    assert process is not None
    assert process.usage.io == (None,) * 4
    assert process.usage.cpu_s == 2.0


def test_a_zombie_has_no_memory(root: Path) -> None:
    (root / "42/status").write_text("Name:\tx\nUid:\t0\n")
    process = running(Procfs(root), member(), OFFSETS)
    assert process is not None
    assert (process.rss_kib, process.usage.peak_rss_kib) == (0, 0)


def test_running_and_finished_make_together() -> None:
    process = Running(42, 1, 200, Usage(1, 2.0, 300, 1, 2, 3, 4))
    now = JobNow({}, 2, [(member(), process), (member(), None)], None)
    assert now.running == process.usage
    assert now.together is None, "what is unknown is not 0"
    now.ended = EndedMembers(Usage(10, 1.0, 500, 10, 20, None, 40), 0, Precision(0, 0, None))
    assert now.together == Usage(11, 3.0, 500, 11, 22, None, 44)
