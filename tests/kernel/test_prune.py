"""Pruning beside a jobd in a storm, an ingester and readers, and killed again and again: nothing is
lost, and every sum stays.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.elsa_host import PATIENCE_S, Host, wait_until, workload
from tests.support.month import Month, write

pytestmark = pytest.mark.kernel
PRUNE = (
    str(Path(sys.executable).with_name("elsa")),
    "db",
    "prune",
    "--events",
    "24h",
    "--processes",
    "24h",
)


@pytest.fixture
def old(host: Host, tmp_path: Path, template: Path) -> Host:
    """A host whose warehouse has a month of long ago, in which every record was joined."""
    made = shutil.copy(template, tmp_path / "month.db")
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        write(connection, Month(12_000, events=True))
        connection.execute("delete from acct where join_outcome = 0")
        connection.execute("update job set closed_at_ns = created_at_ns where closed_at_ns is null")
    shutil.move(made, host.db)
    return host


def sums(host: Host) -> list[list[dict[str, Any]]]:
    """What the month used, by command, user, day and job. That there is a second host, this one,
    shows only once jobd has been started.
    """
    reports = [
        host.report(name, "--until", "2026-11-01", "--columns", "all")
        for name in ("commands", "users", "days", "jobs")
    ]
    of_hosts = ("host", "user", "owner")
    kept = [
        [{key: value for key, value in row.items() if key not in of_hosts} for row in rows]
        for rows in reports
    ]
    return [sorted(rows, key=str) for rows in kept]


def works(pruning: subprocess.Popen[bytes], db: Path) -> bool:
    """Whether it has opened the warehouse, or ended."""
    try:
        opened = [file.readlink() for file in Path(f"/proc/{pruning.pid}/fd").iterdir()]
    except FileNotFoundError:  # it was closed meanwhile, or all were
        opened = []
    return db in opened or pruning.poll() is not None


def test_pruning_beside_everything_else_and_killed_at_any_moment_changes_no_sum(
    old: Host, native: Callable[[str], Path]
) -> None:
    before = sums(old)
    old.start()
    old.popen("ingest", "--follow", "--quiet")
    kills = 0
    with workload(native("storm"), 2, 4_000, 20) as storm:
        storm.line()
        job = old.create("storm", storm.pid)
        old.request("add", job=job, pids=[storm.pid], tree=True)
        storm.go()
        for number in range(60):
            pruning = subprocess.Popen(PRUNE, env=old.environ, stderr=subprocess.DEVNULL)
            # Killed before that it would prove nothing.
            wait_until("it works", partial(works, pruning, old.db))
            with suppress(subprocess.TimeoutExpired):
                pruning.wait(0.05 * number)
                break
            pruning.send_signal(signal.SIGKILL)
            pruning.wait()
            kills += 1
            old.report("commands", "--limit", "3")
        started, *_ = storm.line()
        storm.rest()
    assert kills
    old.elsa("db", "prune", "--events", "24h", "--processes", "24h")
    old.request("sync")
    status = old.request("status")
    assert (status["lost"], status["gaps"]) == (0, 0)
    assert old.stop() == 0
    deadline = time.monotonic() + PATIENCE_S
    for process in old.started:
        process.terminate()
        process.wait(deadline - time.monotonic())
    old.ingest_all()
    assert sums(old) == before
    assert old.report("jobs", "--job", str(job), "--columns", "processes,records") == [
        {"processes": started + 3, "records": started + 3}
    ]
    assert (
        old.value("select count(*) from process where ended_hour < ?", 1_793_404_800 // 3600)
        < 1_000
    )
    old.elsa("db", "check")
