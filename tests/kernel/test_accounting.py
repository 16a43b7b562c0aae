"""The facts about process accounting that the design leans on, held to the kernel at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elsa.decode.acct import AFORK, AXSIG, AcctRecord, decode_rows, is_self_record
from elsa.decode.acct_search import walk
from elsa.decode.acct_times import exit_second
from elsa.decode.comm import unescape_comm
from elsa.errors import DataError, InputMissingError
from elsa.kernel.accounting import canary, free_percent, switch_off, switch_on, thresholds
from elsa.kernel.acct_file import AcctFile
from tests.support.peers import as_dump_acct, dump_acct, peer, same_as_gnu

pytestmark = pytest.mark.kernel

TRUE = shutil.which("true") or "true"
# On a busy machine a process that has to give way may be charged with few of the ticks in which it
# ran, so this one does not give way.
SPIN = """
import contextlib, os, time
with contextlib.suppress(OSError):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
while time.process_time() < 0.3: pass
"""


def records(path: Path) -> list[AcctRecord]:
    """Every record of a file that must hold nothing else."""
    data = path.read_bytes()
    runs = walk(data, more=False)
    assert [(run.start, run.end, run.records) for run in runs] == [(0, len(data), True)]
    return [AcctRecord._make(row) for row in decode_rows(data)]


def of(path: Path, *pids: int) -> list[AcctRecord]:
    """The records of some processes; others of the host end meanwhile too."""
    return [record for record in records(path) if record.pid in pids]


def ended(*command: str) -> tuple[int, int]:
    """Pid and wait status of a command that was run."""
    return os.waitpid(os.posix_spawnp(command[0], command, os.environ), 0)


def test_the_record_of_every_child_waited_for_is_there_and_in_order(accounting: Path) -> None:
    pids = []
    for count in range(1, 301):
        pids.append(ended(TRUE)[0])
        if count % 50 == 0:
            assert [record.pid for record in of(accounting, *pids)] == pids
    found = of(accounting, *pids)
    assert [record.comm for record in found] == ["true"] * 300
    assert {record.ppid for record in found} == {os.getpid()}
    assert {record.flag & AFORK for record in found} == {0}
    assert not any(map(is_self_record, found))


def test_status_signal_and_times_are_those_of_the_process(accounting: Path) -> None:
    failed, status = ended("sh", "-c", "exit 3")
    spun, _ = ended(sys.executable, "-c", SPIN)
    before = time.time()
    victim = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
    time.sleep(0.25)
    os.kill(victim, 9)
    os.waitpid(victim, 0)
    after = time.time()
    by_pid = {record.pid: record for record in of(accounting, failed, spun, victim)}
    assert by_pid[failed].exitcode == status == 3 << 8
    assert by_pid[spun].utime + by_pid[spun].stime >= 28
    assert by_pid[victim].exitcode == 9
    assert by_pid[victim].flag & AXSIG
    assert 20 <= by_pid[victim].etime <= (after - before) * 100 + 1
    # Both clocks are read to the second and the elapsed time is cut to whole ones, so one second is
    # the doubt.
    assert int(before) - 1 <= exit_second(by_pid[victim]) <= int(after) + 1


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xc3\xa9",
        b"\xff\xfe\x01",
        b"tab\there",
        b"back\\slash",
        b"a name of 15 b.",
        b"a name of 16 byt",
    ],
)
def test_names_of_any_bytes_arrive(accounting: Path, tmp_path: Path, name: bytes) -> None:
    program = os.fsencode(tmp_path) + b"/" + name
    shutil.copy(os.fsencode(TRUE), program)
    pid = os.posix_spawn(program, [program], {})
    os.waitpid(pid, 0)
    (record,) = of(accounting, pid)
    assert unescape_comm(record.comm) == name[:15]


def test_a_short_name_after_a_long_one_leaves_no_rest(accounting: Path) -> None:
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.prctl(15, b'fifteen"
        " letters')\nlibc.prctl(15, b'ab')"
    )
    pid, _ = ended(sys.executable, "-c", code)
    assert [record.comm for record in of(accounting, pid)] == ["ab"]


def test_whoever_calls_acct_is_recorded_without_having_ended(accounting: Path) -> None:
    for _ in range(20):
        switch_on(accounting)
    mine = of(accounting, os.getpid())
    assert len(mine) == 20
    assert all(map(is_self_record, mine))


def test_a_caller_of_acct_whose_threads_ended_is_known_in_spite_of_their_faults(
    accounting: Path,
) -> None:
    code = f"""
import threading, time
from pathlib import Path
from elsa.kernel.accounting import switch_on
def burn():
    memory, end = bytearray(20_000_000), time.thread_time() + 0.1
    # asking for the time alone would burn the kernel's time
    while time.thread_time() < end: sum(range(10_000))
thread = threading.Thread(target=burn)
thread.start(); thread.join()
# join returns a moment before the kernel has seen the end
while len(list(Path("/proc/self/task").iterdir())) > 1: pass
switch_on(Path({str(accounting)!r}))
"""
    pid, status = ended(sys.executable, "-c", code)
    assert status == 0
    bogus, real = of(accounting, pid)
    assert bogus.minflt > 0
    assert bogus.utime > 0
    assert is_self_record(bogus)
    assert not is_self_record(real)
    assert (real.utime >= bogus.utime, real.stime >= bogus.stime) == (
        True,
        True,
    )  # counting both would count those ticks twice


@pytest.mark.peers
def test_accton_gives_two_records_for_one_process(accounting: Path) -> None:
    accton = peer("accton")
    for _ in range(10):
        process = subprocess.Popen([accton, str(accounting)], stdout=subprocess.DEVNULL)
        assert process.wait() == 0
        assert [is_self_record(record) for record in of(accounting, process.pid)] == [True, False]


def test_no_process_that_ended_looks_like_a_caller_of_acct(accounting: Path) -> None:
    script = """
for n in $(seq 300); do /bin/true; done             # in a hurry
for n in $(seq 200); do (:); done                   # forked, never executed anything
for n in $(seq 50); do sleep 9 & kill -9 $!; done   # killed, mostly before an exec
for n in $(seq 20); do /nonexistent; done
wait
"""
    subprocess.run(["sh", "-c", script], stderr=subprocess.DEVNULL, check=False)
    for _ in range(100):
        pid = os.posix_spawn(
            TRUE, [TRUE], {}
        )  # vfork: the child borrows our memory until it executes
        os.waitpid(pid, 0)
    everything = records(accounting)
    assert len(everything) > 650
    assert {record.pid for record in everything if is_self_record(record)} <= {os.getpid()}
    assert all(
        record.mem > 0
        for record in everything
        if record.ppid not in {0, 2} and not is_self_record(record)
    )


def test_kernel_threads_are_recorded_and_are_no_callers_of_acct(
    accounting: Path, tmp_path: Path, require_kernel: Callable[[object, str], None]
) -> None:
    mount = (
        "truncate -s 8M disk && mkfs.ext4 -q disk && mkdir at && mount -o loop disk at && umount at"
    )
    done = subprocess.run(["sh", "-c", mount], cwd=tmp_path, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(
            "no loop device to start kernel threads with:"
            f" {done.stderr.decode(errors='replace').strip()}"
        )
    deadline = time.monotonic() + 10
    while (
        not (threads := [record for record in records(accounting) if record.ppid == 2])
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    require_kernel(threads, "no kernel thread ended in time")
    assert all(
        record.flag & AFORK and record.mem == record.minflt == 0 and not is_self_record(record)
        for record in threads
    )


def test_the_canary_finds_where_accounting_writes(accounting: Path) -> None:
    other = accounting.with_name("other")
    other.touch()
    assert canary(other, accounting) == accounting
    assert canary(other) is None
    switch_on(other)
    assert canary(accounting, other) == other
    switch_off()
    assert canary(accounting, other) is None


def test_a_renamed_file_is_written_to_until_accounting_is_switched(accounting: Path) -> None:
    renamed = accounting.rename(accounting.with_name("pacct.0"))
    pid, _ = ended(TRUE)
    assert [record.pid for record in of(renamed, pid)] == [pid]
    assert canary(accounting) == renamed
    switch_on(accounting)
    assert canary(accounting) == accounting
    assert is_self_record(records(renamed)[-1])


def test_truncating_the_file_is_safe_and_seen(accounting: Path) -> None:
    for _ in range(20):
        ended(TRUE)
    with AcctFile(accounting) as file:
        identity = file.identity()
        assert identity.size >= 20 * 64
        tail = file.before(identity.size)
        assert file.matches(identity.head, tail, identity.size)
        os.truncate(accounting, 0)
        assert file.read(identity.size) == b""
        assert not file.matches(identity.head, tail, identity.size)
        pid, _ = ended(TRUE)
        assert [record.pid for record in of(accounting, pid)] == [pid]


@pytest.mark.peers
def test_dump_acct_reads_the_same_numbers(accounting: Path) -> None:
    ended("sh", "-c", "seq 300000 | sort -r | tail -n 1 >&2; kill -TERM $$")
    switch_off()
    assert dump_acct(accounting) == [as_dump_acct(record) for record in records(accounting)]


@pytest.mark.peers
def test_the_gnu_programs_print_the_same_of_what_the_kernel_wrote(accounting: Path) -> None:
    ended(
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do seq 30000 | sort -r | tail -n 1 >&2; (exit 3); done; kill -TERM $$",
    )
    switch_off()
    same_as_gnu(accounting)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (".", DataError),
        ("none/pacct", InputMissingError),
        ("/dev/null", DataError),
        ("/proc/version", DataError),
    ],
)
def test_accounting_into_what_is_no_file_is_refused(
    accounting: Path, tmp_path: Path, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=str(tmp_path / path)):
        switch_on(tmp_path / path)
    assert canary(accounting) == accounting


def test_who_is_not_root_is_told_so(require_kernel: Callable[[object, str], None]) -> None:
    require_kernel(os.geteuid() == 0, "becoming another user needs root")
    child = """
import ctypes, os  # before this user may no longer read the libraries
from elsa.errors import PrivilegeError
from elsa.kernel.accounting import switch_off
os.setresuid(65534, 65534, 65534)
try:
    switch_off()
except PrivilegeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, check=True, text=True)
    assert "root only" in done.stdout


def test_the_thresholds_are_as_the_kernel_says(
    require_kernel: Callable[[object, str], None],
) -> None:
    require_kernel(Path("/proc/sys/kernel/acct").exists(), "this kernel has no process accounting")
    assert thresholds().suspend_percent <= thresholds().resume_percent
    assert 0 <= free_percent("/proc/..") <= 100
