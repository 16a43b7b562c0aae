"""A real job from its start to its report, as a user would have it: what belongs to it, what it
cost, and every way to be refused.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from elsa.errors import (
    EXIT_CONFIG,
    EXIT_DATA,
    EXIT_NO_INPUT,
    EXIT_PERMISSION,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
)
from tests.support.elsa_host import Host, all_records, records, wait_until
from tests.support.peers import peer

pytestmark = pytest.mark.kernel

# Copies of real programs, under names that no other process of the host has.
SCRIPT = """
# a pipeline
seq 1 200000 | ./elsort -rn | ./elsum > /dev/null
# a daemon, forked twice, in a session of its own
(setsid ./elsh -c './elseq 1 200000 | ./elsum' > /dev/null 2>&1 < /dev/null &)
# a grandchild of a dead parent
./elsh -c '(sleep 0.2; ./elzip -1 < ./data | ./elwc -c) > /dev/null 2>&1 < /dev/null &'
./elzip -1 < ./data > /dev/null
exit 3
"""
MINE = ("elsort", "elsum", "elsh", "elseq", "elzip", "elwc")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with programs under names of our own, and data to work on."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for mine, real in {
        "elsort": "sort",
        "elsum": "md5sum",
        "elsh": "sh",
        "elseq": "seq",
        "elzip": "gzip",
        "elwc": "wc",
    }.items():
        shutil.copy(os.path.realpath(shutil.which(real) or real), folder / mine)
    (folder / "data").write_bytes(os.urandom(1 << 20) * 8)
    return folder


def run_job(host: Host, folder: Path) -> int:
    """Run the script as a job and wait until the last of it has ended; the job's id."""
    done = host.run(
        "job",
        "run",
        "--name",
        "demo",
        "--tag",
        "customer=acme",
        "--",
        "sh",
        "-c",
        SCRIPT,
        cwd=folder,
    )
    assert done.returncode == 3, done.stderr
    wait_until("the job's last process ended", lambda: not host.request("list")["jobs"])
    return int(done.stderr.split()[1])


def test_a_job_holds_whatever_it_started_and_costs_what_the_kernel_wrote(
    host: Host, programs: Path
) -> None:
    host.start()
    subprocess.run(
        [programs / "elsum", programs / "data"], capture_output=True, check=True
    )  # not in the job
    job = run_job(host, programs)
    host.ingest()

    by_name = {
        row["command"]: row
        for row in host.report("commands", "--job", job)
        if not row["forked_only"]
    }
    calls = {name: by_name[name]["records"] for name in MINE}
    assert calls == {"elsort": 1, "elsum": 2, "elsh": 2, "elseq": 1, "elzip": 2, "elwc": 1}
    assert host.value("select count(*) from process_usage where command = 'elsum'") == 3

    (usage,) = host.report("jobs")
    pids = [pid for (pid,) in host.sql("select pid from job_process_usage where job_id = ?", job)]
    mine = [record for record in records(host.pacct) if record.pid in set(pids)]
    assert len(pids) == len(set(pids)) == len(mine) == usage["processes"] == usage["records"]
    assert usage["utime_ticks"] == sum(record.utime for record in mine) > 0
    assert usage["stime_ticks"] == sum(record.stime for record in mine)
    assert (usage["exit_code"], usage["exit_signal"], usage["complete"], usage["running"]) == (
        3,
        0,
        1,
        0,
    )
    assert usage["state"] == "closed"
    assert host.value("select tags from job_usage") == '{"customer":"acme"}'
    assert_all_is_counted(host)


@pytest.mark.peers
def test_a_jobs_ticks_are_those_that_dump_acct_prints(host: Host, programs: Path) -> None:
    host.start()
    job = run_job(host, programs)
    host.ingest()
    pids = {pid for (pid,) in host.sql("select pid from job_process_usage where job_id = ?", job)}
    printed = subprocess.run(
        [peer("dump-acct"), host.read_part()], capture_output=True, check=True, text=True
    ).stdout
    lines = [line.split("|") for line in printed.splitlines()]
    mine = [line for line in lines if int(line[9]) in pids]
    (usage,) = host.report("jobs")
    assert len(mine) == usage["processes"]
    assert usage["utime_ticks"] == ticks(mine, 2) > 0
    assert usage["stime_ticks"] == ticks(mine, 3)
    assert usage["etime_ticks"] == ticks(mine, 4)
    in_all = dict(host.sql("select measure, in_all from reconciliation"))
    assert (in_all["utime_ticks"], in_all["stime_ticks"]) == (ticks(lines, 2), ticks(lines, 3))


def ticks(lines: list[list[str]], column: int) -> int:
    """The sum of a column of dump-acct."""
    return round(sum(float(line[column]) for line in lines))


@pytest.mark.peers
def test_sa_agrees_on_every_command(host: Host, programs: Path) -> None:
    host.start()
    run_job(host, programs)
    host.ingest()
    ours = {
        (row["command"], row["forked_only"]): row
        for row in host.report("commands")
        if row["records"]
    }
    # What acct(2) writes about its caller is a process to sa.
    part = host.read_part()
    selfs = Counter((record.comm, record.flag & 1) for record in all_records(part))
    selfs.subtract((record.comm, record.flag & 1) for record in records(part))
    # With -j these are seconds per call, where all else that sa prints is minutes.
    printed = subprocess.run(
        [peer("sa"), "-a", "-i", "-j", part], capture_output=True, check=True, text=True
    ).stdout
    seen = set()
    for line in printed.splitlines()[1:]:
        calls, elapsed, cpu, _io, _core, name = line.split(maxsplit=5)
        key = (name.removesuffix("*"), int(name.endswith("*")))
        if not int(calls) - selfs[key]:
            continue
        seen.add(key)
        row = ours[key]
        assert int(calls) == row["records"] + selfs[key], name
        assert float(elapsed.removesuffix("re")) == pytest.approx(
            row["etime_ticks"] / 100 / int(calls), abs=0.00501
        ), name
        cpu_s = (row["utime_ticks"] + row["stime_ticks"]) / 100
        assert float(cpu.removesuffix("cp")) == pytest.approx(cpu_s / int(calls), abs=0.00501), name
    assert seen == set(ours)


def assert_all_is_counted(host: Host) -> None:
    """Jobs and unattributed together are the whole file, to the tick."""
    host.assert_sound()
    everything = records(host.read_part())
    in_all = dict(host.sql("select measure, in_all from reconciliation"))
    assert in_all["records"] == len(everything)
    assert in_all["utime_ticks"] == sum(record.utime for record in everything)
    assert in_all["stime_ticks"] == sum(record.stime for record in everything)


def test_only_what_was_forked_after_the_add_is_in_the_job_unless_the_tree_is_asked_for(
    host: Host,
) -> None:
    host.start()
    # A parent with an old child and an old grandchild of a dead one; each of the three forks one
    # more when it is told to.
    late = "read x < {fifo}; sleep 0 & wait"
    fifos = [host.db.parent / name for name in ("one", "two", "three")]
    for fifo in fifos:
        os.mkfifo(fifo)
    child, orphan, parent = (late.format(fifo=fifo) for fifo in fifos)
    program = f"(sh -c '({orphan}) & echo orphan $!'); ({child}) & echo child $!; {parent}; wait"
    with subprocess.Popen(
        ["sh", "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shell:
        try:
            assert shell.stdout is not None
            old = dict(shell.stdout.readline().split() for _ in range(2))
            pids = {"parent": shell.pid, **{name: int(pid) for name, pid in old.items()}}
            alone = host.run("job", "create", "alone").stdout.strip()
            tree = host.run("job", "create", "tree").stdout.strip()
            assert "1 process added" in host.run("job", "add", alone, shell.pid).stderr
            assert "3 processes added" in host.run("job", "add", "tree", shell.pid, "--tree").stderr
            assert {
                member["pid"] for member in host.request("show", job=int(tree))["members"]
            } == set(pids.values())
            for fifo in fifos:
                fifo.write_text("go\n")
            shell.wait(20)
            wait_until("the orphan ended", lambda: not Path(f"/proc/{pids['orphan']}").exists())
        finally:
            shell.kill()
    host.ingest()
    members = (
        "select pid, ppid, part_life from job_process_usage where job_id = ? order by part_life"
        " desc, process_id"
    )
    sleeps = dict(host.sql("select ppid, pid from process_usage where command = 'sleep'"))
    in_tree = {pid: part for pid, _, part in host.sql(members, tree)}
    assert in_tree == dict.fromkeys(pids.values(), 1) | {sleeps[pid]: 0 for pid in pids.values()}
    assert [pid for pid, _, _ in host.sql(members, alone)] == [shell.pid, sleeps[shell.pid]]
    assert_all_is_counted(host)


def test_collector_follower_and_reports_share_the_warehouse(host: Host) -> None:
    host.start(commit_ms=20)
    follower = host.popen(
        "ingest",
        "--follow",
        "--interval",
        "0.05",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    storm = "i=0; while [ $i -lt 3000 ]; do (exit 7); i=$((i+1)); done"
    run = host.popen("job", "run", "--", "sh", "-c", storm, stderr=subprocess.DEVNULL)
    reports = 0
    while run.poll() is None or reports < 5:
        for report in ("jobs", "commands", "users"):
            done = host.run("report", report)
            assert done.returncode == 0, done.stderr
            assert "locked" not in done.stderr
        reports += 1
    assert run.returncode == 0
    assert host.stop() == 0
    follower.send_signal(signal.SIGTERM)
    _, said = follower.communicate(timeout=20)
    host.ingest()
    assert follower.returncode == 0
    assert "locked" not in said + host.log.read_text()
    assert (
        host.value(
            "select count(*) from job_process_usage where exit_code = 7 and record = 'exact'"
        )
        == 3000
    )
    assert host.sql("select * from gap") == []
    assert_all_is_counted(host)


def test_anybody_may_query_the_warehouse_with_sqlite(host: Host) -> None:
    host.start()
    host.run("job", "run", "--name", "one", "--", "true")
    host.ingest()
    shell = shutil.which("sqlite3")
    if shell:
        command = [
            shell,
            "-readonly",
            str(host.db),
            "select name, processes, exit_code from job_usage",
        ]
        assert (
            subprocess.run(command, capture_output=True, check=True, text=True).stdout
            == "one|1|0\n"
        )
    with sqlite3.connect(host.db) as connection:
        names = [column[0] for column in connection.execute("select * from job_usage").description]
        assert connection.execute("select processes from job_usage").fetchall() == [(1,)]
    connection.close()
    assert {"job_id", "name", "processes", "cpu_s", "wall_s", "complete"} <= set(names)


# --- refusals: one clear line and the right exit code
# ----------------------------------------------------------------------------


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_wrong_options_are_refused(host: Host) -> None:
    for command in (
        ["job", "frobnicate"],
        ["job", "add", "x"],
        ["report", "jobs", "--format", "xml"],
        ["ingest", "--interval", "soon"],
    ):
        done = host.run(command[0], *command[1:])
        assert done.returncode == EXIT_USAGE
        assert done.stderr.splitlines()[-1].startswith("Error: ")


def test_files_that_are_no_accounting_are_refused(host: Host, tmp_path: Path) -> None:
    missing, junk, fifo = tmp_path / "missing", tmp_path / "junk", tmp_path / "fifo"
    junk.write_bytes(b"no accounting " * 1000)
    os.mkfifo(fifo)
    refused(host.run("ingest", "--quiet", missing), EXIT_NO_INPUT, str(missing), "no such file")
    refused(host.run("ingest", "--quiet", junk), EXIT_DATA, str(junk), "not an accounting file")
    refused(host.run("ingest", "--quiet", fifo), EXIT_DATA, str(fifo), "not a regular file")
    refused(host.run("ingest", "--quiet", tmp_path), EXIT_DATA, str(tmp_path), "directory")
    refused(
        host.run("report", "jobs", "--db", missing), EXIT_NO_INPUT, str(missing), "elsa db upgrade"
    )
    refused(host.run("report", "jobs", "--db", junk), EXIT_CONFIG, str(junk))


def test_without_root_nothing_is_done_and_the_reason_is_told(host: Host, tmp_path: Path) -> None:
    host.start()
    for command in (["jobd"], ["ingest"], ["report", "jobs"], ["job", "list"]):
        refused(host.as_nobody(*command), EXIT_PERMISSION)
    # Now the folder lets everybody through, and still nothing of others may be touched.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)
    host.db.chmod(0o600)
    for command in (["jobd"], ["ingest"]):
        refused(host.as_nobody(*command), EXIT_PERMISSION)
    mine = host.as_nobody("report", "jobs")
    assert (mine.returncode, mine.stdout) == (0, "")
    assert "only your own jobs and processes" in mine.stderr
    job = host.create("roots", os.getpid())
    for request in (["show", job], ["add", job, os.getpid()], ["close", job]):
        refused(host.as_nobody("job", *request), EXIT_USAGE, f"no open job {job}")
    refused(
        host.as_nobody("job", "add", nobodys_job(host), os.getpid()),
        EXIT_PERMISSION,
        "not your process",
    )
    assert host.request("show", job=job)["living"] == 1


def nobodys_job(host: Host) -> str:
    """The id of a job that nobody created, as anybody may."""
    done = host.as_nobody("job", "create", "own")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_jobd_and_on_a_stale_socket_nothing_is_run(host: Host, tmp_path: Path) -> None:
    touch = ("touch", tmp_path / "ran")
    refused(host.run("job", "run", "--", *touch), EXIT_UNAVAILABLE, str(host.socket), "elsa jobd")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(host.socket))
    refused(host.run("job", "run", "--", *touch), EXIT_UNAVAILABLE, str(host.socket), "elsa jobd")
    assert not (tmp_path / "ran").exists()
    host.start()  # the stale socket is no obstacle
    assert host.run("job", "run", "--", *touch).returncode == 0
    assert (tmp_path / "ran").exists()


def test_a_second_jobd_is_refused_on_the_same_socket_and_on_the_same_warehouse(host: Host) -> None:
    host.start()
    refused(host.run("jobd"), EXIT_UNAVAILABLE, "at work")
    refused(
        host.run("jobd", "--socket", host.socket.with_name("other.sock")),
        EXIT_UNAVAILABLE,
        str(host.db),
    )
    other = host.db.with_name("other.db")
    host.elsa("db", "upgrade", "--db", other)
    done = host.run("jobd", "--db", other)
    refused(done, done.returncode, str(host.socket))
    assert done.returncode == EXIT_UNAVAILABLE
    assert host.request("status")["writer"] == "ok"


# --- the command that stands in


def test_the_status_of_the_command_is_passed_back(host: Host) -> None:
    host.start()
    for command, code in (
        (["sh", "-c", "exit 41"], 41),
        (["sh", "-c", "kill -9 $$"], -9),
        (["/nonexistent"], 127),
        (["/etc/passwd"], 126),
    ):
        assert (
            host.run(
                "job", "run", "--name", command[0].strip("/").split("/")[-1], "--", *command
            ).returncode
            == code
        )
    wait_until("all jobs closed", lambda: not host.request("list")["jobs"])
    host.ingest()
    statuses = dict(host.sql("select name, exit_status from job_usage"))
    assert (statuses["passwd"], statuses["nonexistent"]) == (126 << 8, 127 << 8)
    assert host.sql(
        "select exit_code, exit_signal from job_usage where name = 'sh' order by job_id"
    ) == [(41, 0), (None, 9)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_stand_in_ends_the_command(host: Host, number: signal.Signals) -> None:
    host.start()
    run = host.popen(
        "job", "run", "--name", "long", "--", "sleep", "1000", stderr=subprocess.DEVNULL
    )
    wait_until(
        "the command runs",
        lambda: [1 for job in host.request("list")["jobs"] if comms(host, job["id"]) == ["sleep"]],
    )
    run.send_signal(number)
    assert run.wait(20) == -number
    wait_until("its job is closed", lambda: not host.request("list")["jobs"])


def comms(host: Host, job: int) -> list[str]:
    return [member["comm"] for member in host.request("show", job=job)["members"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_jobd_has_stored_everything_that_it_heard(
    host: Host, number: signal.Signals
) -> None:
    host.start(commit_ms=600_000)
    job = host.create("here", os.getpid())
    children = []
    for _ in range(200):
        children.append(os.posix_spawnp("true", ["true"], os.environ))
        os.waitpid(children[-1], 0)
    assert host.stop(number) == 0
    ended = (
        "select pid from job_process_usage where job_id = ? and state = 'ended' order by process_id"
    )
    assert [pid for (pid,) in host.sql(ended, job)] == children
    assert host.value("select stopped_ns >= heard_ns and lost = 0 from collector") == 1
    assert not host.socket.exists()


def test_a_client_in_another_pid_namespace_means_its_own_pids(host: Host) -> None:
    """In it a command is 2 and its shell 1: on the host these are kthreadd and init, which belong
    to nobody's job.
    """
    host.start()
    elsa = Path(sys.executable).with_name("elsa")
    inside = f"""
        {elsa} job run --name inbox -- sh -c '/bin/true; /bin/true; exit 5'; echo $?
        JOB=$({elsa} job create addbox); {elsa} job add $JOB $$
        {elsa} job show $JOB --format json > {host.db.parent}/shown
        {elsa} job of $$ > /dev/null && {elsa} job add $JOB 99999; echo $?
        {elsa} job define late --root 1; echo $?
        {elsa} run --name bill -o /dev/null -- sh -c '/bin/true; exit 6'; echo $?
        """
    words = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", inside]
    done = subprocess.run(words, env=host.environ, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["5", "2", "2", "6"], done.stderr
    assert "no such process in your pid namespace: 99999" in done.stderr
    assert "define the job from the host" in done.stderr
    shown = json.loads((host.db.parent / "shown").read_text())["members"]
    assert [(one["pid"], one["usage"]["pid"]) for one in shown if not one["from_birth"]] == [(1, 1)]
    wait_until("all is stored", lambda: host.request("sync"))
    jobs = {
        name: host.value("select id from job where name = ?", name)
        for name in ("inbox", "addbox", "bill")
    }
    query = (
        "select how, command, exit_code, count(*) from job_process_usage where job_id = ? group by"
        " 1, 2, 3 order by 1 desc"
    )
    assert host.sql(query, jobs["inbox"]) == [("launched", "sh", 5, 1), ("inherited", "true", 0, 2)]
    assert host.sql(query, jobs["bill"]) == [("launched", "sh", 6, 1), ("inherited", "true", 0, 1)]
    assert (
        host.value(
            "select min(pid) from job_process_usage where job_id = ? and how = 'added'",
            jobs["addbox"],
        )
        > 2
    )
