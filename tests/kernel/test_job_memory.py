"""The memory of all processes of a job together, as readings of the real /proc show it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elsa_host import Host

pytestmark = pytest.mark.kernel

MIB_KIB = 1024
WAIT = "import sys; sys.stdin.readline()\n"
EIGHT = """
import mmap, os, time
for _ in range(7):
    if not os.fork():
        break
memory = mmap.mmap(-1, 60 * 10**6, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for place in range(0, len(memory), mmap.PAGESIZE):
    memory[place] = 1
time.sleep(3)
"""
SHARED = """
import mmap, os, time
memory = mmap.mmap(-1, 200 << 20)
for _ in range(3):
    if not os.fork():
        break
for place in range(0, len(memory), mmap.PAGESIZE):
    memory[place] = 1
own = b"1" * (10 << 20)
time.sleep(3)
"""


@pytest.fixture
def running(host: Host) -> Iterator[Host]:
    host.start()
    yield host


def peaks(host: Host, program: str) -> tuple[int, str, int]:
    """Run a Python program in a job made by hand: the peak of the job in KiB, how it is known, and
    the peak of the largest process.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WAIT + program], stdin=subprocess.PIPE
    ) as process:
        job = host.create("memory", process.pid)
        process.communicate(b"go\n")
        host.request("sync")
    return host.sql(
        f"select job_peak_kib, job_peak_by, rss_kib from job_usage where job_id = {job}"
    )[0]


def test_eight_processes_of_60_mb_at_once_are_500_mb_and_not_68(running: Host) -> None:
    peak_kib, by, largest_kib = peaks(running, EIGHT)
    assert by == "sampled pss"
    assert 480e6 * 0.9 <= peak_kib * 1024 <= 520e6 * 1.1
    assert peak_kib > 6.5 * largest_kib


def test_command_without_jobd_has_the_memory_of_all_that_it_started(host: Host) -> None:
    """What its control group counts comes first, where it has the memory controller."""
    elsa = Path(sys.executable).with_name("elsa")
    command = [sys.executable, "-I", "-S", "-c", EIGHT]
    done = subprocess.run(
        [elsa, "run", "--format", "json", "--", *command],
        env=host.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    cost = json.loads(done.stderr)
    assert cost["job_peak_by"] in ("sampled pss", "measured"), cost
    assert 480e6 * 0.9 <= cost["job_peak_kib"] * 1024 <= 520e6 * 1.1
    assert cost["job_peak_kib"] > 6.5 * cost["peak_rss_kib"]


def test_memory_that_processes_share_counts_once(running: Host) -> None:
    peak_kib, by, largest_kib = peaks(running, SHARED)
    assert by == "sampled pss", f"{peak_kib} KiB, the largest process {largest_kib}"
    # 200 MiB that four share, 10 MiB that each has for itself, and the interpreters.
    assert largest_kib >= 210 * MIB_KIB
    assert 240 * MIB_KIB <= peak_kib <= 280 * MIB_KIB
