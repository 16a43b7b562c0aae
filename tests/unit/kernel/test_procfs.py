"""/proc is read from any root: a fake tree here, the real one in two tests that hold for every
Linux.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from elsa.errors import UnavailableError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A /proc with two processes and a few files."""
    for name, content in {
        "1/stat": "1 (init) S 0",
        "1/comm": "init\n",
        "1/status": "Uid:\t0\t0\t0\t0\n",
        "20/comm": "spa ce\n\n",
        "sys/kernel/random/boot_id": "f0e1\n",
        "sys/kernel/hostname": "box\n",
        "sys/kernel/acct": "4\t2\t30\n",
        "stat": "cpu 1 2 3\nintr 1\nbtime 1700000000\nprocesses 5\n",
        "selfish": "",
        "machine-id": "0123456789abcdef0123456789abcdef\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_pids_are_the_numeric_entries_in_order(tree: Path) -> None:
    (tree / "3").mkdir()
    assert Procfs(tree).pids() == [1, 3, 20]


def test_a_gone_process_reads_as_none(tree: Path) -> None:
    procfs = Procfs(tree)
    assert (
        procfs.read_stat(7),
        procfs.read_status(7),
        procfs.read_comm(7),
        procfs.read_cmdline(7, 99),
    ) == (None, None, None, None)


def test_comm_loses_its_own_newline_only(tree: Path) -> None:
    assert Procfs(tree).read_comm(1) == b"init"
    assert Procfs(tree).read_comm(20) == b"spa ce\n"


def test_what_the_kernel_says_about_itself(tree: Path) -> None:
    procfs = Procfs(tree, etc=tree)
    assert procfs.boot_id() == "f0e1"
    assert procfs.boot_time() == 1700000000
    assert procfs.hostname() == "box"
    assert procfs.machine_id() == "0123456789abcdef0123456789abcdef"
    assert procfs.sysctl("kernel.acct") == "4\t2\t30"
    assert procfs.sysctl("kernel.nothing") is None
    assert procfs.kernel_config() is None


def test_no_machine_id_is_none(tree: Path) -> None:
    (tree / "machine-id").write_text("uninitialized\n")
    assert Procfs(tree, etc=tree).machine_id() is None
    assert Procfs(tree, etc=tree / "nowhere").machine_id() is None


def test_a_root_that_is_not_proc_is_reported(tmp_path: Path) -> None:
    procfs = Procfs(tmp_path / "nowhere")
    with pytest.raises(UnavailableError, match="is /proc mounted"):
        procfs.pids()
    with pytest.raises(UnavailableError, match="boot_id"):
        procfs.boot_id()


def test_a_file_longer_than_one_read_comes_whole(tree: Path) -> None:
    long = b"x" * 200_000
    (tree / "1" / "status").write_bytes(long)
    assert Procfs(tree).read_status(1) == long


def test_of_arguments_no_more_is_read_than_is_asked_for(tree: Path) -> None:
    (tree / "1" / "cmdline").write_bytes(b"x" * 200_000)
    assert Procfs(tree).read_cmdline(1, 1000) == b"x" * 1000


def test_the_real_proc_knows_this_process_and_forgets_an_ended_one() -> None:
    procfs = Procfs()
    assert os.getpid() in procfs.pids()
    child = subprocess.Popen(["true"])
    child.wait()
    assert procfs.read_stat(child.pid) is None
    assert procfs.namespace("pid") == procfs.namespace("pid", os.getpid())


def test_offsets_lead_from_one_clock_to_the_other() -> None:
    offsets = clocks.offsets()
    assert abs(clocks.realtime_ns() - clocks.monotonic_ns() - offsets.realtime_ns) < 50_000_000
    assert offsets.boottime_ns > -1_000_000
