"""What taskstats, /proc and exec tell, from the real kernel to the warehouse, against truths of the
processes' own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.elsa_host import Host, wait_until, workload

pytestmark = pytest.mark.kernel

KIB = 1024
# Burns CPU, writes, holds memory; says at the end what getrusage makes of it.
WORK = """
import json, os, resource, sys, threading, time
seconds = float(sys.argv[1])
size, threads, memory = map(int, sys.argv[2:5])
hold = b"x" * memory
def work():
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass
    fd = os.open(f"{sys.argv[5]}-{threading.get_ident()}", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"y" * size)
    os.close(fd)
others = [threading.Thread(target=work) for _ in range(threads - 1)]
for other in others: other.start()
work()
for other in others: other.join()
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]), flush=True)
"""


@pytest.fixture
def running(host: Host) -> Iterator[Host]:
    host.start()
    yield host


def finish(host: Host) -> None:
    """Have everything stored, and the statistics of the last to end as well."""
    wait_until(
        "every life was told of", lambda: host.request("sync") and not before_first_start(host)
    )


def before_first_start(host: Host) -> int:
    members = "select process_id from all_memberships"
    return int(
        host.value(f"select count(*) from process where elapsed_ns is null and id in ({members})")
    ) + int(
        host.value(
            "select count(*) from all_memberships where process_id not in (select process_id from"
            f" usage) and process_id in ({members})"
        )
    )


def in_job(host: Host, *command: str) -> str:
    """Run a command in a job of its own; what it printed."""
    done = host.run("job", "run", "--", *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def usage(host: Host, columns: str) -> tuple[int, ...]:
    ((*row,),) = host.sql(
        f"select {columns} from usage join all_memberships using (process_id) join process on id ="
        " process_id where how = 3"
    )
    return tuple(row)


@pytest.mark.parametrize("threads", [1, 4])
def test_cpu_memory_and_bytes_are_those_of_all_threads(
    running: Host, tmp_path: Path, threads: int
) -> None:
    size, memory = 3_000_000, 60 << 20
    cpu_s, maxrss = json.loads(
        in_job(
            running,
            sys.executable,
            "-c",
            WORK,
            "0.15",
            str(size),
            str(threads),
            str(memory),
            str(tmp_path / "f"),
        )
    )
    finish(running)
    counted, complete, run_ns, utime_us, stime_us, chars, rss = usage(
        running, "threads, complete, run_ns, utime_us, stime_us, write_chars, rss_kib"
    )
    assert (counted, complete) == (threads, 1)
    # The program asked before its last breath, so a little less than it used; ticks of 4 ms per
    # thread make the other difference.
    assert cpu_s - 0.02 <= run_ns / 1e9 <= cpu_s + 0.2
    assert abs((utime_us + stime_us) / 1e6 - run_ns / 1e9) < 0.05 * (threads + 1), (
        "ticks are samples, worse ones on a busy host"
    )
    # The kernel cuts each thread down to whole KiB.
    assert 0 <= threads * size + KIB - chars < (threads + 1) * KIB
    assert memory // KIB <= rss <= maxrss + 4096


def test_sleep_and_death_by_a_signal_cost_next_to_nothing(running: Host) -> None:
    done = running.run("job", "run", "--", "sh", "-c", "sleep 0.3; kill -KILL $$")
    assert done.returncode != 0
    finish(running)
    run_ns, elapsed_ns, status = usage(running, "run_ns, elapsed_ns, exit_status")
    assert run_ns < 100_000_000
    assert elapsed_ns >= 300_000_000
    assert status == 9


def test_fifty_at_once_are_told_apart(running: Host, tmp_path: Path) -> None:
    job = running.create("fifty")
    sizes = {}
    children = []
    for number in range(50):
        size = (number + 1) * 10 * KIB
        script = f"read go; head -c {size} /dev/zero > {tmp_path}/{number}; true"
        child = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)
        running.request("add", job=job, pids=[child.pid])
        sizes[child.pid] = size
        children.append(child)
    for child in children:
        child.communicate(b"\n")
    finish(running)
    rows = running.sql("""select parent.pid, write_chars
           from usage join process on process.id = process_id
           join process as parent on parent.id = process.parent_id
           where parent.id in (select process_id from all_memberships where how = 1)""")
    assert dict(rows) == sizes


def test_part_of_a_life_in_a_job_has_the_counters_of_both_ends(
    running: Host, tmp_path: Path
) -> None:
    script = f"""
import os, sys
for size in (1000000, 500000, 250000):
    fd = os.open({str(tmp_path / "out")!r}, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"z" * size)
    os.close(fd)
    print(size, flush=True)
    sys.stdin.readline()
"""
    job = running.create("part")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        running.request("add", job=job, pids=[child.pid])
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        running.request("remove", job=job, pids=[child.pid])
        child.communicate("\n")
    finish(running)
    before, after = running.sql(
        "select write_chars, run_ns from usage_so_far where edge_ns <> 0 order by edge_ns"
    )
    # Rounded down as at the end of a thread; and what it printed.
    assert 500_000 - KIB <= after[0] - before[0] < 500_000 + KIB
    assert after[1] >= before[1] > 0


def test_arguments_are_stored_without_secrets_and_with_where_they_ran(
    running: Host, tmp_path: Path
) -> None:
    done = running.run(
        "job", "run", "--", "sh", "-c", "sleep 0.3", "--password=hunter2", cwd=tmp_path
    )
    assert done.returncode == 0
    finish(running)
    query = """select (select value from long_text where id = cmdline_id),
                      (select value from long_text where id = cwd_id),
                      (select value from long_text where id = exe_id), session
               from program join all_memberships using (process_id) where how = 3"""
    ((cmdline, cwd, exe, session),) = running.sql(query)
    assert cmdline == "sh -c 'sleep 0.3' '--password=***'"
    assert cwd == str(tmp_path)
    assert Path(exe).name == Path(os.path.realpath("/bin/sh")).name
    assert session == os.getsid(0)


def test_a_program_is_that_of_the_last_exec_or_unknown(running: Host) -> None:
    """A process that is gone when jobd reads /proc does not get its earlier command line; the path
    of its program comes with the exec itself.
    """
    in_job(running, "sh", "-c", "sleep 0.2; exec true never looked at")
    finish(running)
    query = """select command, cmdline, exe, session is not null from job_process_usage
               join process_program using (process_id) where how = 'launched'"""
    assert running.sql(query) == [("true", None, shutil.which("true"), 1)]


def test_what_ran_before_jobd_has_its_program_and_control_group_stored(host: Host) -> None:
    with workload("/bin/cat", "-", "--", "-") as one:
        host.start()
        job = host.create("early", one.pid)
        query = (
            "select cmdline, cgroup from all_memberships"
            " join process_program using (process_id) where job_id = ?"
        )
        cgroup = next(
            line[3:]
            for line in Path(f"/proc/{one.pid}/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        wait_until(
            "it was looked at", lambda: host.sql(query, job) == [("/bin/cat - -- -", cgroup)]
        )


def test_without_the_option_nothing_of_the_kind_is_kept(host: Host) -> None:
    host.start(taskstats="off", cmdlines="off")
    in_job(host, "sleep", "0.2")
    host.request("sync")
    assert host.value("select count(*) from process where elapsed_ns is not null") > 0
    assert (
        host.value("select count(*) from usage") == host.value("select count(*) from program") == 0
    )


@pytest.fixture
def cpu_cgroup() -> Iterator[Path]:
    """A control group of this test's own that counts CPU time (v1 cpuacct, or v2 where every group
    does).
    """
    for mount in (
        Path("/sys/fs/cgroup/cpuacct"),
        Path("/sys/fs/cgroup/unified"),
        Path("/sys/fs/cgroup"),
    ):
        group = mount / f"elsa-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "cpuacct.usage").exists() or (group / "cpu.stat").exists():
            break
        group.rmdir()
    else:
        pytest.skip("no control group here counts CPU time")
    try:
        yield group
    finally:
        group.rmdir()


def cgroup_cpu_ns(group: Path) -> int:
    """CPU time of everything that ever ran in a group."""
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text())
    return 1000 * int(
        dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())["usage_usec"]
    )


def test_a_control_group_around_the_job_counts_the_same_cpu_time(
    running: Host, cpu_cgroup: Path, tmp_path: Path
) -> None:
    """The group is an independent truth for the whole tree, daemon included; what taskstats leaves
    out are the last moments of each.
    """
    program = tmp_path / "burn.py"
    program.write_text(
        "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    )
    burn = f"{sys.executable} {program}"
    script = (
        f'echo $$ > {cpu_cgroup}/cgroup.procs; {burn}; (setsid sh -c "{burn}" &) ; for i in 1 2 3 4'
        " 5 6 7 8 9 10; do /bin/true; done"
    )
    in_job(running, "sh", "-c", script)
    wait_until("the job's last process ended", lambda: not running.request("list")["jobs"])
    finish(running)
    mine = running.value("select sum(run_ns) from usage join all_memberships using (process_id)")
    ticks = running.value(
        "select 1000 * sum(utime_us + stime_us) from usage join all_memberships using (process_id)"
    )
    theirs = cgroup_cpu_ns(cpu_cgroup)
    print(
        f"CPU time: taskstats {mine / 1e9:.3f} s, its ticks {ticks / 1e9:.3f} s, the control group"
        f" {theirs / 1e9:.3f} s"
    )
    assert 550_000_000 <= mine <= theirs * 1.01
    assert mine >= 0.85 * theirs


# --- the same for memory and storage: control groups of version 1 or 2, whatever the host has
# ------------------------------------------


def is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


@pytest.fixture
def wide_cgroup(tmp_path: Path) -> Iterator[list[Path]]:
    """New control groups that count memory and I/O: two of version 1, or one of version 2."""
    device = tmp_path.stat().st_dev
    name = f"elsa-test-{os.getpid()}"
    mount = Path("/sys/fs/cgroup")
    groups = (
        [mount / "memory" / name, mount / "blkio" / name]
        if (mount / "blkio").exists()
        else [mount / name]
    )
    made: list[Path] = []
    try:
        for group in groups:
            try:
                group.mkdir()
            except OSError as error:
                pytest.skip(f"no control group can be made here: {error}")
            made.append(group)
            for kind in ("read", "write"):
                # Version 1 counts only where it limits: here by far more than any device can do.
                limit = group / f"blkio.throttle.{kind}_bps_device"
                if limit.exists():
                    try:
                        limit.write_text(f"{os.major(device)}:{os.minor(device)} {10**12}")
                    except OSError as error:
                        pytest.skip(f"the I/O of this file system cannot be counted: {error}")
        if not any(
            (group / file).exists()
            for group in made
            for file in ("blkio.throttle.io_service_bytes", "io.stat")
        ):
            pytest.skip("no control group here counts I/O")
        yield made
    finally:
        for group in made:
            wait_until("the group is empty", partial(is_empty, group))
            group.rmdir()


def cgroup_io(groups: list[Path]) -> tuple[int, int]:
    """Bytes that reached the devices, read and written."""
    for group in groups:
        if (group / "blkio.throttle.io_service_bytes").exists():
            rows = [
                line.split()
                for line in (group / "blkio.throttle.io_service_bytes").read_text().splitlines()
            ]
            return tuple(
                sum(int(row[2]) for row in rows if row[1:2] == [kind]) for kind in ("Read", "Write")
            )  # type: ignore[return-value]
        if (group / "io.stat").exists():
            words = (group / "io.stat").read_text().split()
            return tuple(
                sum(int(word[7:]) for word in words if word.startswith(kind))
                for kind in ("rbytes=", "wbytes=")
            )  # type: ignore[return-value]
    return 0, 0


def cgroup_peak(groups: list[Path]) -> int | None:
    """The most memory that the group had at once, page cache included."""
    for group in groups:
        for file in ("memory.max_usage_in_bytes", "memory.peak"):
            if (group / file).exists():
                return int((group / file).read_text())
    return None


def test_a_control_group_around_the_job_sees_the_same_bytes_read_and_written(
    running: Host, wide_cgroup: list[Path], tmp_path: Path
) -> None:
    """A writer, and a reader that is a daemon, both past the page cache, so that what processes ask
    for is what devices do.
    """
    mib = 24
    enter = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in wide_cgroup)
    probe = subprocess.run(
        ["dd", "if=/dev/zero", f"of={tmp_path}/probe", "bs=1M", "count=1", "oflag=direct"],
        check=False,
        capture_output=True,
    )
    if probe.returncode:
        pytest.skip("this file system knows no direct I/O")
    write = f"dd if=/dev/zero of={tmp_path}/data bs=1M count={mib} oflag=direct conv=fsync"
    read = f"dd if={tmp_path}/data of=/dev/null bs=1M iflag=direct"
    hold = f"{sys.executable} -c 'x = bytearray(64 << 20)'"
    in_job(
        running,
        "sh",
        "-c",
        f"{enter}; {write}; {hold}; (setsid sh -c '{read}' > /dev/null 2>&1 < /dev/null &)",
    )
    wait_until("the job's last process ended", lambda: not running.request("list")["jobs"])
    finish(running)
    ((read_bytes, write_bytes, rss_kib),) = running.sql(
        "select sum(read_bytes), sum(write_bytes), max(rss_kib) from usage"
        " join all_memberships using (process_id)"
    )
    theirs = cgroup_io(wide_cgroup)
    peak = cgroup_peak(wide_cgroup)
    print(
        f"read: taskstats {read_bytes}, control group {theirs[0]}; written: {write_bytes},"
        f" {theirs[1]}; peak: {rss_kib * 1024}, {peak}"
    )
    assert mib << 20 <= read_bytes
    assert abs(read_bytes - theirs[0]) <= 1 << 20, (
        "but for what each reads of programs and directories"
    )
    assert mib << 20 <= write_bytes
    assert abs(write_bytes - theirs[1]) <= 1 << 20, "but for what the file system writes of its own"
    assert rss_kib >= 64 * KIB
    assert peak is None or peak >= 64 << 20, (
        "of all processes at once, page cache included: not less than the largest"
    )


def test_what_a_process_uses_is_stored_while_it_runs_also_if_jobd_is_killed(host: Host) -> None:
    host.start(interval_s=1)
    script = """
import resource, sys, threading, time
over = threading.Event()
def burn():
    while not over.is_set():
        began = time.monotonic()
        end = time.thread_time() + 0.03
        while time.thread_time() < end: pass
        time.sleep(max(0, 0.25 - (time.monotonic() - began)))
threads = [threading.Thread(target=burn) for _ in range(2)]
for thread in threads: thread.start()
sys.stdin.readline()
over.set()
for thread in threads: thread.join()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_minflt, flush=True)
"""
    command, pipe = [sys.executable, "-c", script], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:

        def intervals() -> int:
            query = "select count(*) from interval_usage where pid = ? and user_ns > 0"
            return int(host.value(query, child.pid))

        wait_until("intervals are stored", lambda: intervals() > 1)
        host.kill()
        before = intervals()
        host.start(interval_s=1)
        wait_until("the next jobd has stored intervals too", lambda: intervals() > before + 1)
        out, _ = child.communicate("\n", timeout=30)
    cpu_s, faults = map(float, out.split())
    host.request("sync")
    wait_until(
        "taskstats came",
        lambda: (
            host.sql(
                "select 1 from usage u join process p on p.id = u.process_id where p.pid = ?",
                child.pid,
            )
            != []
        ),
        10,
    )
    parts = host.sql(
        """select user_ns + system_ns, minor_faults from interval_usage where pid = ?
           union all
           select user_ns + system_ns, minor_faults from end_usage where pid = ?""",
        child.pid,
        child.pid,
    )
    total = host.sql(
        "select user_ns + system_ns, minor_faults from process_usage where pid = ?", child.pid
    )
    assert [tuple(map(sum, zip(*parts, strict=True)))] == total
    assert len(parts) > 3
    assert all(part >= 0 for row in parts for part in row)
    # What is left for its end is what it used in an interval at most.
    assert parts[-1][0] < 0.8e9
    assert abs(total[0][0] / 1e9 - cpu_s) < 0.05
    assert total[0][1] >= faults
