"""The real taskstats: what a process used arrives whole, agrees with what the kernel says
elsewhere, and what is missing is known.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elsa.decode.acct import AXSIG
from elsa.decode.comm import escape_comm
from elsa.decode.taskstats import AGROUP, Message, Taskstats, decode
from elsa.errors import ElsaError
from elsa.kernel.taskstats import TaskstatsQuery, TaskstatsSocket, thread_id
from elsa.state.process_sums import ProcessStats, ProcessSums

pytestmark = pytest.mark.kernel

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
# Adds up a thread's message and the group's: what both know.
COMMON = (
    "cpu_count",
    "cpu_delay_ns",
    "cpu_run_real_ns",
    "cpu_run_virtual_ns",
    "utime_us",
    "stime_us",
    "nvcsw",
    "nivcsw",
)


@pytest.fixture
def listener(require_kernel: Callable[[object, str], None]) -> Iterator[TaskstatsSocket]:
    """A listener, or a skip that says why there is none."""
    reason, made = "", None
    try:
        made = TaskstatsSocket()
    except ElsaError as error:
        reason = str(error)
    require_kernel(made, reason)
    assert made is not None
    with made:
        yield made


def heard(listener: TaskstatsSocket, pids: set[int]) -> list[Message]:
    """The messages of some processes, up to the last one's end."""
    found: list[Message] = []
    left, deadline = set(pids), time.monotonic() + 10
    while left and time.monotonic() < deadline:
        messages = [message for datagram in listener.drain(100_000) for message in decode(datagram)]
        found += [
            message
            for message in messages
            if message.thread is not None and message.thread.tgid in pids
        ]
        left -= {
            thread.tgid
            for thread, _ in messages
            if thread is not None and thread.tgid is not None and thread.flag & AGROUP
        }
        time.sleep(0.002)
    assert not left
    assert listener.drops() == 0
    return found


def stats_of(listener: TaskstatsSocket, pid: int) -> ProcessStats:
    (stats,) = ProcessSums().feed(heard(listener, {pid}))
    return stats


def python(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], text=True, **options
    )
    return process


# Threads that end one by one, each after writing n times 1500 bytes; then, as the last words, what
# /proc knows.
WRITER = """
import os, sys, threading
def write(name, count):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY)
    for _ in range(count):
        os.write(fd, b"x" * 1500)
    os.close(fd)
folder, *counts = sys.argv[1:]
threads = [
    threading.Thread(target=write, args=(f"{folder}/{n}", int(count)))
    for n, count in enumerate(counts)
]
for thread in threads: thread.start()
for thread in threads: thread.join()
os.write(1, open("/proc/self/io").read().encode() + open("/proc/self/status").read().encode())
os._exit(3)
"""


def facts(text: str) -> dict[str, int]:
    """The numbers in "name: number" lines."""
    lines = (line.partition(":") for line in text.splitlines())
    return {
        name: int(value.split()[0])
        for name, _, value in lines
        if value.split()[:1] and value.split()[0].isdigit()
    }


def test_a_childs_record_arrives_under_its_id(listener: TaskstatsSocket) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    found: list[int] = []
    deadline = time.monotonic() + 2
    while child.pid not in found and time.monotonic() < deadline:
        found += map(thread_id, listener.drain(10_000))
    assert child.pid in found
    listener.close()
    listener.close()
    gc.collect()


def test_a_short_message_has_no_thread() -> None:
    assert thread_id(b"\0" * 20) == 0


def test_a_multithreaded_writer_is_charged_every_byte_of_every_thread(
    listener: TaskstatsSocket, tmp_path: Path
) -> None:
    counts = (1, 7, 100, 1000)
    child = python(WRITER, tmp_path, *counts, stdout=subprocess.PIPE)
    told = facts(child.communicate()[0])
    messages = heard(listener, {child.pid})
    written = {
        thread.pid: thread.write_chars
        for thread, _ in messages
        if thread is not None and thread.pid != child.pid
    }
    # Each thread's figure is cut down to a multiple of 1024.
    assert sorted(written.values()) == [count * 1500 // 1024 * 1024 for count in counts]
    (stats,) = ProcessSums().feed(messages)
    assert (stats.threads, stats.complete, stats.total.exitcode) == (5, True, 3 << 8)
    assert told["wchar"] - 5 * 1024 < stats.total.write_chars <= told["wchar"] + 4096
    assert told["rchar"] - 5 * 1024 < stats.total.read_chars <= told["rchar"] + 16384
    assert told["write_bytes"] == stats.total.write_bytes
    assert told["read_bytes"] == stats.total.read_bytes


def test_the_peak_of_memory_is_the_programs_own(listener: TaskstatsSocket) -> None:
    program = (
        "import os; x = bytearray(64 << 20); del x; os.write(1,"
        " open('/proc/self/status').read().encode()); os._exit(0)"
    )
    child = python(program, stdout=subprocess.PIPE)
    told = facts(child.communicate()[0])
    total = stats_of(listener, child.pid).total
    # The kernel counts pages per CPU and adds them up now and then.
    assert abs(total.hiwater_rss_kib - told["VmHWM"]) < 2048
    assert total.hiwater_rss_kib > 64 << 10
    assert total.hiwater_vm_kib == told["VmPeak"]


def test_burned_time_is_neither_lost_nor_invented(listener: TaskstatsSocket) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = python("import os, time\nwhile time.process_time() < 0.4: pass\nos._exit(0)")
    child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_ns = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e9
    total = stats_of(listener, child.pid).total
    # It ends with the last tick, and a tick has 10 ms at most.
    assert 0.39e9 < total.cpu_run_virtual_ns <= used_ns
    assert 0.5 < (total.utime_us + total.stime_us) * 1000 / total.cpu_run_virtual_ns < 1.5
    assert (total.utime_us + total.stime_us) * 1000 == pytest.approx(
        total.cpu_run_real_ns, abs=2000
    )
    assert total.coremem_mb_us > 0
    assert total.tgetime_us is not None
    assert total.tgetime_us * 1000 >= total.cpu_run_virtual_ns


def test_a_child_killed_by_a_signal_says_so(listener: TaskstatsSocket) -> None:
    child = subprocess.Popen(["sleep", "60"])
    child.kill()
    child.wait()
    total = stats_of(listener, child.pid).total
    assert total.exitcode == signal.SIGKILL
    assert total.flag & AXSIG
    assert total.ppid == os.getpid()


def test_the_executable_is_known_by_device_and_inode(listener: TaskstatsSocket) -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    total = stats_of(listener, child.pid).total
    program = Path("/bin/true").stat()
    assert (total.exe_dev, total.exe_inode) == (program.st_dev, program.st_ino)
    assert escape_comm(total.comm) == "true"


def test_fifty_at_once_are_kept_apart(listener: TaskstatsSocket, tmp_path: Path) -> None:
    program = (
        "import os, sys; fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.write(fd, b'x' *"
        " 1024 * int(sys.argv[2])); os._exit(0)"
    )
    children = {python(program, tmp_path / str(number), number): number for number in range(50)}
    for child in children:
        child.wait()
    sums = ProcessSums()
    found = {
        stats.tgid: stats for stats in sums.feed(heard(listener, {child.pid for child in children}))
    }
    assert {child.pid: number << 10 for child, number in children.items()} == {
        pid: each.total.write_chars for pid, each in found.items()
    }
    assert all(each.complete for each in found.values())
    assert (len(sums), sums.unfinished) == (0, 0)


MANY = """
import os, threading
def work(number):
    fd = os.open("/dev/null", os.O_WRONLY)
    os.write(fd, b"x" * 1024 * number)
    os.close(fd)
for first in range(0, 400, 40):
    threads = [threading.Thread(target=work, args=(first + number,)) for number in range(40)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_hundreds_of_threads_add_up_to_what_the_kernel_says_of_the_group(
    listener: TaskstatsSocket,
) -> None:
    child = python(MANY)
    child.wait()
    messages = heard(listener, {child.pid})
    (stats,) = ProcessSums().feed(messages)
    assert (stats.threads, stats.complete) == (401, True)
    assert stats.total.write_chars == sum(range(400)) << 10
    group = messages[-1].group
    assert group is not None
    threads = [thread for thread, _ in messages if thread is not None]
    for name in COMMON:
        # The kernel looks twice at a thread that is still running, for the group first; a tick of
        # 10 ms or less may fall in between.
        whole, sum_of_threads = (
            getattr(group, name),
            sum(getattr(thread, name) for thread in threads),
        )
        assert (
            whole
            <= sum_of_threads
            <= whole * 1.05 + {"ns": 30_000_000, "us": 30_000}.get(name[-2:], 0)
        ), name
    for name in set(Taskstats._fields) - {*COMMON, "version", "comm", "etime_us"}:
        assert name.endswith(("_count", "_delay_ns")) or getattr(group, name) == 0, name


def test_threads_that_ended_before_anyone_listened_are_missed_by_name_only(
    require_kernel: Callable[[object, str], None],
) -> None:
    program = """
import os, threading, time
def burn():
    while time.thread_time() < 0.1: pass
threads = [threading.Thread(target=burn) for _ in range(3)]
for thread in threads: thread.start()
while len(os.listdir("/proc/self/task")) > 1: time.sleep(0.001)
print(flush=True)
input()
"""
    child = python(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        late = TaskstatsSocket()
    except ElsaError as error:
        child.communicate("")
        require_kernel(None, str(error))
        return
    with late:
        child.communicate("\n")
        stats = stats_of(late, child.pid)
    assert (stats.threads, stats.complete) == (1, False)
    assert stats.total.cpu_run_virtual_ns > 0.27e9


def test_under_pid_reuse_the_messages_come_in_the_order_of_the_lives(
    listener: TaskstatsSocket, require_kernel: Callable[[object, str], None]
) -> None:
    require_kernel(LAST_PID.exists(), "a pid cannot be chosen here (CONFIG_CHECKPOINT_RESTORE)")
    first = subprocess.Popen(["true"])
    first.wait()
    codes: list[int] = []
    number, deadline = 0, time.monotonic() + 30
    # Whoever forks between the two steps takes the id, or one that is lower.
    while len(codes) < 100 and time.monotonic() < deadline:
        number += 1
        LAST_PID.write_text(str(first.pid - 1))
        pid = os.fork()
        if pid == 0:
            os._exit(number % 256)
        os.waitpid(pid, 0)
        if pid == first.pid:
            codes.append(number % 256 << 8)
    found: list[ProcessStats] = []
    deadline = time.monotonic() + 5
    while len(found) <= len(codes) and time.monotonic() < deadline:
        messages = [message for datagram in listener.drain(10_000) for message in decode(datagram)]
        # Between two of ours the id may have been somebody else's.
        found += [
            stats
            for stats in ProcessSums().feed(messages)
            if stats.tgid == first.pid and stats.total.ppid == os.getpid()
        ]
    assert escape_comm(found.pop(0).total.comm) == "true"
    assert [stats.total.exitcode for stats in found] == codes
    assert len(codes) == 100


def test_losses_are_counted_exactly(listener: TaskstatsSocket) -> None:
    # Other processes of the host may end between the reads of the two sockets, so not every attempt
    # can agree; chance cannot make one.
    for _ in range(20):
        with TaskstatsSocket(64 << 10) as small:
            small.drain(1_000_000)
            listener.drain(1_000_000)
            subprocess.run(
                ["sh", "-c", "i=0; while [ $i -lt 500 ]; do (exit 0); i=$((i+1)); done"], check=True
            )
            received = len(small.drain(1_000_000))
            drops, everything = small.drops(), len(listener.drain(1_000_000))
        assert drops > 0
        assert listener.drops() == 0
        if received + drops == everything:
            return
    pytest.fail("received + dropped never was what the other socket heard")


def test_a_living_process_can_be_asked_about(listener: TaskstatsSocket) -> None:
    with TaskstatsQuery() as query:
        before = query.get(os.getpid())
        deadline = time.process_time() + 0.05
        while time.process_time() < deadline:
            pass
        after = query.get(os.getpid())
        assert before is not None
        assert after is not None
        (leader, _), (_, whole) = decode(after[0])[0], decode(after[1])[0]
        _, earlier = decode(before[1])[0]
        assert leader is not None
        assert whole is not None
        assert earlier is not None
        assert (leader.pid, leader.tgid) == (os.getpid(), os.getpid())
        assert whole.cpu_run_virtual_ns >= leader.cpu_run_virtual_ns
        assert whole.cpu_run_virtual_ns - earlier.cpu_run_virtual_ns > 0.03e9
        child = subprocess.Popen(["true"])
        child.wait()
        assert query.get(child.pid) is None
    assert listener.drops() == 0


@pytest.mark.parametrize("what", ["TaskstatsSocket", "TaskstatsQuery"])
def test_without_the_privilege_it_is_refused_with_what_to_do(
    listener: TaskstatsSocket, what: str
) -> None:
    program = (
        f"from elsa.kernel.taskstats import {what} as It; import os; os.setuid(65534); It().get(1)"
        f" if 'Query' in '{what}' else It()"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "PrivilegeError: taskstats need CAP_NET_ADMIN" in outcome.stderr
    assert listener.fileno() >= 0


@pytest.mark.parametrize("flags", [["--pid", "--fork"], ["--user"]])
def test_another_namespace_is_refused_with_what_to_do(
    listener: TaskstatsSocket, flags: list[str]
) -> None:
    program = "from elsa.kernel.taskstats import TaskstatsSocket; TaskstatsSocket()"
    outcome = subprocess.run(
        ["unshare", *flags, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "UnavailableError" in outcome.stderr or "PrivilegeError" in outcome.stderr
    assert listener.fileno() >= 0


def test_in_another_network_namespace_nothing_arrives_and_nothing_says_so(
    listener: TaskstatsSocket,
) -> None:
    """So a program that relies on it has to start with a canary."""
    program = """
import subprocess, time
from elsa.kernel.taskstats import TaskstatsSocket
with TaskstatsSocket() as deaf:
    subprocess.run(["true"])
    time.sleep(0.1)
    print(len(deaf.drain(1000)), deaf.drops())
"""
    outcome = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout == "0 0\n"
    assert listener.fileno() >= 0
