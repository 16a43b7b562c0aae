"""The warehouse is taken away under a running jobd, and another put in its place: jobs go on in it,
and what it lacks is a gap.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.elsa_host import Host, children_of, ended_afterwards, wait_until, workload

pytestmark = pytest.mark.kernel


def remove(host: Host) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{host.db}{suffix}").unlink(missing_ok=True)


def deleted(host: Host, _backup: Path, _empty: Path) -> None:
    remove(host)
    time.sleep(0.5)
    host.elsa("db", "upgrade")


def emptied(host: Host, _backup: Path, _empty: Path) -> None:
    os.truncate(host.db, 0)
    host.elsa("db", "upgrade")


def another(host: Host, _backup: Path, empty: Path) -> None:
    """One whose job 1 is another's, and ended long ago."""
    foreign = host.db.with_name("foreign.db")
    shutil.copy(empty, foreign)
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("insert into host values (1, null, 'elsewhere')")
        connection.execute("insert into boot (id, host_id) values (1, 1)")
        connection.execute(
            """insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns,
                close_reason, closes_itself) values (1, 1, 'theirs', 0, 5, 6, 'request', 0)"""
        )
    remove(host)
    foreign.rename(host.db)


def restored(host: Host, backup: Path, _empty: Path) -> None:
    """A backup that was made before the job."""
    remove(host)
    shutil.copy(backup, host.db)


@pytest.mark.parametrize(
    "replace", [deleted, emptied, another, restored], ids=lambda replace: replace.__name__
)
def test_open_jobs_go_on_in_the_warehouse_that_took_the_place_of_ours(
    host: Host, template: Path, replace: object
) -> None:
    assert callable(replace)
    script = "read a; sleep 300 & echo 1; read b; sh -c 'exit 5'; sleep 300 & echo 2; read c"
    with (
        workload("/bin/sh", "-c", script, start_new_session=True) as member,
        workload("/bin/cat") as added,
        ended_afterwards(member),
    ):
        host.start(commit_ms=50)
        host.request("sync")
        backup = host.db.with_name("backup.db")
        with closing(sqlite3.connect(host.db)) as connection:
            connection.execute("vacuum into ?", (str(backup),))
        before_ns = time.monotonic_ns()
        job = host.create("long", member.pid, added.pid)
        member.go()
        assert member.line() == [1]
        (first,) = children_of(member.pid)
        host.request("sync")
        replace(host, backup, template)
        member.go()
        assert member.line() == [2]
        wait_until(
            "jobd found the other warehouse",
            lambda: "has taken the place of ours" in host.log.read_text(),
            20,
        )
        wait_until("jobd answers", host._answers, 20)
        (shown,) = host.request("list")["jobs"]
        assert shown["id"] == (2 if replace is another else job)
        job = shown["id"]
        assert (shown["name"], shown["owner_uid"]) == ("long", os.geteuid())
        host.request("sync")  # whether what ended just then was missed is known only now
        assert {one["pid"] for one in host.request("show", job=job)["members"]} == {
            member.pid,
            added.pid,
            *children_of(member.pid),
        }
        assert host.request("create", name="next", pids=[])["job"]["id"] > job
        added.process.kill()
        added.process.wait()
        host.request("sync")
        host.ingest_all()
    gaps = host.sql("select kind, from_ns, to_ns, note from gap where kind <> 'taskstats'")
    ((kind, from_ns, to_ns, note),) = gaps
    assert kind == "replaced"
    assert from_ns < to_ns
    assert abs(from_ns - before_ns) < 10_000_000_000
    assert ("job 1 goes on as 2" in note) == (replace is another)
    rows = host.sql(
        "select pid, state, part_life, record from job_process_usage where job_id = ?", job
    )
    assert {(pid, bool(part)) for pid, _, part, _ in rows} >= {
        (member.pid, True),
        (added.pid, True),
        (first, False),
    }
    assert [record for pid, _, _, record in rows if pid == added.pid] != [None]
    assert host.value("select complete from job_usage where job_id = ?", job) == 0
    host.assert_sound()
