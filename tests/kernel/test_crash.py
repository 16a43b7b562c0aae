"""What happens to warehouses and their writers: killed at any moment, two at once, locked, full,
read-only.

Nothing is doubled, nothing is lost unsaid, and work goes on when the cause is gone.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from elsa.errors import EXIT_RETRY
from elsa.kernel import accounting as kernel
from tests.support.elsa_host import Host, Workload, records, wait_until, workload
from tests.support.truth import OF_THE_STORM, assert_no_record_is_joined_to_another_life

pytestmark = pytest.mark.kernel


def run_storm(host: Host, storm: Workload, name: str = "storm") -> int:
    """Let a storm run in a job of its own; how many processes it started."""
    pid = storm.line()[0]
    host.request("add", job=host.create(name, pid), pids=[pid], tree=True)
    storm.go()
    started = storm.line()[0]
    storm.rest()
    return started


def assert_each_is_there_once(host: Host, started: int) -> None:
    """Every process of the storm has one record, and every record its own life."""
    named = f"from acct as a join comm as n on n.id = a.comm_id where n.name {OF_THE_STORM}"
    assert host.sql(
        "select count(*), count(distinct n.name), count(distinct a.process_id),"
        f" sum(a.join_outcome = 1) {named}"
    ) == [(started,) * 4]
    read = records(host.read_part())
    assert host.value("select in_all from reconciliation where measure = 'records'") == len(read)
    assert host.value("select in_all from reconciliation where measure = 'stime_ticks'") == sum(
        record.stime for record in read
    )
    assert_no_record_is_joined_to_another_life(host)
    host.assert_sound()


def test_the_ingester_may_die_at_any_moment(host: Host, native: Callable[[str], Path]) -> None:
    chance = random.Random(1)
    host.start()
    deaths = 0
    with workload(native("storm"), 2, 5000, 20) as storm:
        pid = storm.line()[0]
        host.request("add", job=host.create("storm", pid), pids=[pid], tree=True)
        storm.go()
        while not storm.has_printed() or deaths < 8:
            follower = host.popen("ingest", "--follow", "--quiet", "--interval", "0.05")
            time.sleep(chance.uniform(0.2, 0.6))
            follower.kill()
            follower.wait()
            deaths += 1
        started = storm.line()[0]
        storm.rest()
    host.ingest_all()
    assert_each_is_there_once(host, started)
    assert host.sql("select * from gap") == []


def test_a_long_transaction_may_die_at_any_moment(
    host: Host, native: Callable[[str], Path]
) -> None:
    """All records are at hand at once, and the ingester gets a little more time whenever it was
    killed.
    """
    host.start()
    with workload(native("storm"), 2, 4000, 20) as storm:
        started = run_storm(host, storm)
    deaths = 0
    while True:
        ingester = host.popen("ingest", "--quiet")
        try:
            assert ingester.wait(0.15 + 0.06 * deaths) == 0
            break
        except subprocess.TimeoutExpired:
            ingester.kill()
            ingester.wait()
            deaths += 1
    assert deaths > 1
    host.ingest_all()
    assert_each_is_there_once(host, started)


def test_of_ingesters_at_once_one_works_and_the_others_say_so(
    host: Host, native: Callable[[str], Path]
) -> None:
    host.start()
    with workload(native("storm"), 2, 1500, 20) as storm:
        started = run_storm(host, storm)
    together = [
        host.popen("ingest", "--quiet", stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    outcomes = [(one.communicate(timeout=60)[1], one.returncode) for one in together]
    assert {code for _, code in outcomes} <= {0, EXIT_RETRY}
    assert 0 in {code for _, code in outcomes}
    assert all("another elsa ingest is at work" in said for said, code in outcomes if code)
    host.ingest_all()
    assert_each_is_there_once(host, started)


def test_a_warehouse_that_another_program_locks_costs_nothing(
    host: Host, native: Callable[[str], Path]
) -> None:
    host.start(commit_ms=20)
    with closing(sqlite3.connect(host.db, isolation_level=None)) as other:
        other.execute("begin immediate")
        with workload(native("storm"), 2, 1500, 20) as storm:
            assert host.request("create", name="storm", pids=storm.line())["committed"] is False
            storm.go()
            started = storm.line()[0]
            storm.rest()
        assert host.run("report", "jobs").returncode == 0
        follower = host.popen(
            "ingest", "--follow", "--quiet", "--interval", "0.05", stderr=subprocess.DEVNULL
        )
        time.sleep(1)
        assert host.request("status")["backlog"] >= started
        other.execute("rollback")
    wait_until("all is stored", lambda: host.request("status")["backlog"] < 100)
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(30) == 0
    host.ingest_all()
    assert_each_is_there_once(host, started)
    assert host.sql("select * from gap") == []


def test_while_the_writer_is_behind_the_kernel_keeps_what_memory_has_no_room_for(
    host: Host, native: Callable[[str], Path]
) -> None:
    """Whether somebody who was there before jobd has ended may wait as well, whoever it is."""
    with ExitStack() as stack:
        early = [stack.enter_context(workload("/bin/cat")) for _ in range(10)]
        host.start(commit_ms=20, backlog_events=20_000)
        other = stack.enter_context(closing(sqlite3.connect(host.db, isolation_level=None)))
        with workload(native("storm"), 2, 5000, 20) as storm:
            host.create("storm", *storm.line())
            other.execute("begin immediate")
            storm.go()
            for one in early:
                one.close()
                time.sleep(0.1)
            started = storm.line()[0]
            storm.rest()
        other.execute("rollback")
    stored = (
        "select count(*) from process as p join comm as n on n.id = p.comm_id where n.name"
        f" {OF_THE_STORM} and p.elapsed_ns > 0"
    )
    wait_until(
        "all is stored", lambda: host.value(stored) == started
    )  # a request would have jobd take in everything at once
    host.ingest_all()
    assert_each_is_there_once(host, started)
    assert host.sql("select * from gap") == []


def test_what_memory_cannot_hold_while_the_warehouse_is_locked_is_a_gap(
    host: Host, native: Callable[[str], Path]
) -> None:
    host.start(commit_ms=20, backlog_events=2000)
    with closing(sqlite3.connect(host.db, isolation_level=None)) as other:
        job = None
        with workload(native("storm"), 2, 2500, 20, 200) as storm, workload("/bin/cat") as member:
            workers = storm.line()
            job = host.create("storm", *workers, member.pid)
            other.execute("begin immediate")
            storm.go()
            while not storm.has_printed():
                # Before it answers `list` jobd takes in what else would wait in the kernel.
                host.request("list")
                assert host.request("status")["backlog"] < 20_000
            started = storm.line()[0]
            storm.rest()
            other.execute("rollback")
            wait_until(
                "the gap is stored", lambda: host.sql("select * from gap where kind = 'backlog'")
            )
            assert [one["pid"] for one in host.request("show", job=job)["members"]] == [member.pid]
    host.ingest_all()
    (gap,) = host.sql("select kind, from_ns < to_ns, lost > 1000, note from gap")
    assert gap == ("backlog", 1, 1, "the warehouse could not be written")
    named = f"from acct as a join comm as n on n.id = a.comm_id where n.name {OF_THE_STORM}"
    assert host.sql(f"select count(*), count(distinct n.name) {named}") == [(started, started)]
    assert host.value(f"select count(a.process_id) - count(distinct a.process_id) {named}") == 0
    assert_no_record_is_joined_to_another_life(host)
    inside = {
        name for (name,) in host.sql("select command from job_process_usage where job_id = ?", job)
    }
    joined = [name for (name,) in host.sql(f"select n.name {named} and a.process_id is not null")]
    assert {name[1] for name in joined if name not in inside} <= {"-"}
    host.assert_sound()


@pytest.fixture
def small(
    accounting: Path,
    tmp_path: Path,
    template: Path,
    require_kernel: Callable[[object, str], None],
) -> Iterator[Host]:
    """A host whose warehouse is on a disk of 6 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "elsa-test", disk],
        capture_output=True,
        check=False,
    )
    require_kernel(
        mounted.returncode == 0,
        f"no tmpfs can be mounted here: {mounted.stderr.decode(errors='replace').strip()}",
    )
    host = Host(disk, accounting, template)
    try:
        yield host
    finally:
        host.close()
        # The programs that jobd had started end when they notice that it has.
        umount = ["umount", str(disk)]
        wait_until(
            "nothing uses the disk",
            lambda: subprocess.run(umount, capture_output=True, check=False).returncode == 0,
        )
        kernel.switch_on(accounting)  # umount ended it if the file was there; it is not


def test_a_full_disk_is_said_and_waited_out(
    small: Host, native: Callable[[str], Path], tmp_path: Path
) -> None:
    small.log = tmp_path / "jobd.log"  # on another disk
    small.start(commit_ms=20)
    ballast = small.db.with_name("ballast")
    with workload(native("storm"), 2, 1500, 20) as storm:
        pid = storm.line()[0]
        small.request("add", job=small.create("storm", pid), pids=[pid], tree=True)
        fill(ballast)
        storm.go()
        started = storm.line()[0]
        storm.rest()
    wait_until("jobd says why", lambda: "no space left" in small.request("status")["writer"], 20)
    done = small.run("ingest", "--quiet")
    assert done.returncode == EXIT_RETRY
    assert "no space left" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    ballast.unlink()
    wait_until("jobd goes on", lambda: small.request("status")["writer"] == "ok", 20)
    small.request("sync")
    small.ingest_all()
    assert_each_is_there_once(small, started)
    assert small.sql("select * from gap") == []
    assert "can be written again" in small.log.read_text()


def test_jobd_that_is_started_on_a_full_disk_listens_and_waits_for_room(
    small: Host, native: Callable[[str], Path], tmp_path: Path
) -> None:
    small.log = tmp_path / "jobd.log"
    ballast = small.db.with_name("ballast")
    small.start()
    small.stop()
    fill(ballast)
    small.elsa("db", "upgrade")
    with small.log.open("wb") as output:
        small.jobd = small.popen("jobd", stderr=output)
    wait_until(
        "jobd says why it waits",
        lambda: b"full" in small.log.read_bytes() or b"no space" in small.log.read_bytes(),
    )
    with workload(native("storm"), 2, 500, 20) as storm:
        storm.line()
        storm.go()
        started = storm.line()[0]
        storm.rest()
    assert small.jobd.poll() is None
    ballast.unlink()
    wait_until("jobd answers", small._answers)
    small.ingest_all()
    heard = (
        "select count(*) from process as p join comm as n on n.id = p.comm_id where n.name"
        f" {OF_THE_STORM} and p.origin = 1"
    )
    assert small.value(heard) == started
    # It looked into /proc only then, so until then nothing is passed off as certain.
    named = f"from acct as a join comm as n on n.id = a.comm_id where n.name {OF_THE_STORM}"
    assert small.sql(
        f"select count(*), count(distinct a.process_id), min(a.join_outcome) > 0 {named}"
    ) == [(started, started, 1)]
    assert [kind for (kind,) in small.sql("select kind from gap")] == ["down"]
    assert_no_record_is_joined_to_another_life(small)
    small.assert_sound()


def fill(path: Path) -> None:
    """Use up all space of a disk."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_read_only_disk_is_said(small: Host) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small.db.parent], check=True)
    for command in ("jobd", "ingest"):
        done = small.run(command)
        assert done.returncode not in (0, 1), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
    assert small.run("report", "jobs").returncode == 0
    subprocess.run(["mount", "-o", "remount,rw", small.db.parent], check=True)
    small.start()
    assert small.request("status")["writer"] == "ok"
