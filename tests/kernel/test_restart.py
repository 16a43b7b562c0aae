"""The collector ends, in peace or killed, and begins again: jobs live on, and what happened
meanwhile is concluded and marked so.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.elsa_host import Host, children_of, ended_afterwards, wait_until, workload
from tests.support.truth import OF_THE_STORM, assert_no_record_is_joined_to_another_life

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_lives_through_an_outage(host: Host, number: signal.Signals) -> None:
    meanwhile = (
        'read go; sleep 300 & for code in 5 6 7; do sh -c "sleep 0.05; exit $code"; done; echo 1;'
        " read end"
    )
    with (
        workload("/bin/sh", "-c", meanwhile, start_new_session=True) as parent,
        workload("/bin/cat") as victim,
        workload("/bin/cat") as other,
    ):
        with ended_afterwards(parent):
            host.start(commit_ms=50)
            job = host.create("long", parent.pid, victim.pid)
            host.create("second", victim.pid)
            stopping_ns = time.monotonic_ns()
            host.stop(number)
            victim.process.kill()
            victim.process.wait()
            parent.go()
            assert parent.line() == [1]
            (living,) = children_of(parent.pid)
            time.sleep(0.3)
            beginning_ns = time.monotonic_ns()
            host.start(commit_ms=50)
            assert {one["pid"] for one in host.request("show", job=job)["members"]} >= {
                parent.pid,
                living,
            }
            wait_until("the victim is closed", lambda: host.request("show", job=job)["living"] == 2)
            assert host.request("show", job="second")["living"] == 0
            assert host.request("of", pid=other.pid)["jobs"] == []
            host.request("add", job="second", pids=[other.pid])  # ids go on
            host.ingest()

    ((kind, from_ns, to_ns),) = host.sql("select kind, from_ns, to_ns from gap")
    assert kind == "down"
    assert stopping_ns - 2_000_000_000 < from_ns < beginning_ns < to_ns
    rows = {
        pid: (command, how, status, record, round(elapsed_s, 3), etime)
        for pid, command, how, status, record, elapsed_s, etime in host.sql(
            """select pid, command, how, exit_status, record, elapsed_s, etime_ticks
               from job_process_usage
               where job_id = ? and state = 'ended'""",
            job,
        )
    }
    rows.pop(parent.pid, None)  # killed just now; whether that is stored already does not matter
    command, how, status, record, elapsed_s, etime = rows.pop(victim.pid)
    assert (command, how, status) == ("cat", "added", 9)
    # Its record states its start to the second: a process that may have started in the gap may be
    # another's.
    before_ns = from_ns - host.value("select start_ns from process where pid = ?", victim.pid)
    assert record == (
        "uncertain" if before_ns < 200_000_000 else "exact" if before_ns > 1_300_000_000 else record
    )
    assert record in ("uncertain", "exact")
    # Its end is dated by its record, not by the moment when it was missed; in the job it was for a
    # part of that.
    whole_s = host.value("select elapsed_s from process_usage where pid = ?", victim.pid)
    assert whole_s == pytest.approx(etime / 100, abs=0.02)
    assert 0 <= elapsed_s < whole_s
    assert sorted(
        (command, how, status, record)
        for command, how, status, record, *_ in rows.values()
        if command == "sh"
    ) == [("sh", "inferred", code << 8, "own") for code in (5, 6, 7)]
    assert host.sql(
        "select command, how from job_process_usage where job_id = ? and pid = ?", job, living
    ) == [("sleep", "inferred")]
    host.assert_sound()


def assert_each_outage_is_a_gap(host: Host) -> None:
    """Each run after the first stores with its first batch one gap, which begins where the run
    before had received everything. A run that died before its first batch stored nothing at all:
    the gap of the run after it covers both outages.
    """
    runs = host.sql("select since_ns, heard_ns, events from collector order by id")
    gaps = host.sql("select from_ns, to_ns from gap where kind = 'down'")
    for (_, heard_ns, _), (since_ns, _, _) in pairwise(runs):
        assert [gap for gap in gaps if gap[0] <= heard_ns and since_ns <= gap[1]]
    untils_ns = [*(since_ns for since_ns, _, _ in runs[1:]), 2**63]
    for (since_ns, _, events), until_ns in zip(runs, untils_ns, strict=True):
        own = [gap for gap in gaps if since_ns <= gap[1] < until_ns]
        is_first = since_ns == runs[0][0]
        assert len(own) == (0 if is_first or not events else 1)
    assert len(gaps) == len([events for _, _, events in runs[1:] if events])


def test_jobd_may_die_at_any_moment_of_a_storm(host: Host, native: Callable[[str], Path]) -> None:
    chance = random.Random(0)
    host.start(commit_ms=20)
    with workload(native("storm"), 2, 3000, 20, 400) as storm:
        workers = storm.line()
        job = host.create("storm", *workers)
        storm.go()
        deaths = 0
        while deaths < 4 or not storm.has_printed():
            time.sleep(chance.uniform(0.02, 0.5))
            host.kill()
            deaths += 1
            host.start(commit_ms=20)
        started = storm.line()[0]
        storm.rest()
    wait_until("all are closed", lambda: host.request("show", job=job)["living"] == 0)
    host.ingest_all()
    assert deaths > 1
    assert host.value("select count(*) from collector") == deaths + 1
    assert_each_outage_is_a_gap(host)
    named = host.sql(
        "select n.name, a.process_id, a.join_outcome from acct as a"
        f" join comm as n on n.id = a.comm_id where n.name {OF_THE_STORM}"
    )
    assert len(named) == len({name for name, _, _ in named}) == started
    joined = [process for _, process, _ in named if process is not None]
    assert len(joined) == len(set(joined)) > 0.95 * started  # a few fit several lives equally well
    assert_no_record_is_joined_to_another_life(host)
    inside = {
        name for (name,) in host.sql("select command from job_process_usage where job_id = ?", job)
    }
    # What cannot always be told is whose child one was that was left to init.
    outside = [name for name, process, _ in named if process is not None and name not in inside]
    assert {name[1] for name in outside} <= {"-"}
    assert {name for name in inside if not name[0].isdigit()} <= {"storm", "worker"}
    assert [
        row
        for row in host.sql("select pid from process_usage where state = 'running'")
        if row[0] in workers
    ] == []
    host.assert_sound()


def test_a_service_needs_no_other_program_to_make_or_upgrade_its_warehouse(host: Host) -> None:
    def change(statement: str) -> None:
        with contextlib.closing(sqlite3.connect(host.db)) as connection:
            connection.execute(statement)
            connection.commit()

    views = "select count(*) from sqlite_master where type = 'view'"
    host.db.unlink()
    with workload("/bin/cat") as member:
        host.start("--upgrade", commit_ms=20)
        job = host.create("first", member.pid)
        assert host.stop() == 0
        made = host.value(views)
        assert made > 20
        assert "created, at revision" in host.log.read_text()
        assert "alembic" not in host.log.read_text()
        change("drop view job_usage")
        host.start("--upgrade", commit_ms=20)
        assert host.request("show", job=job)["living"] == 1
        assert host.stop() == 0
    assert host.value(views) == made
    change("update alembic_version set version_num = '9999'")
    done = host.run("jobd", "--upgrade")
    assert done.returncode == 78
    assert "made by a newer ELSA" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
