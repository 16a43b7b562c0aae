"""How a boot ended: what was open then ends at the last moment known, and what nobody heard of it
is a gap of a kind that tells why.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest

from elsa.config import Config
from elsa.ingest.ingester import Ingester
from elsa.kernel.procfs import Procfs
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, How
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from elsa.store import boot_ends, boots, collector_runs, database
from elsa.store.batch import Batch
from elsa.store.boots import Machine
from elsa.store.collector_runs import CollectorRun
from elsa.store.writer import Writer
from tests.support.events import INIT, exited, fork

S = 1_000_000_000
BOOTED_S = 1_700_000_000
FIRST = Machine("0123456789abcdef0123456789abcdef", "host", "first", BOOTED_S * S)
# struct acct_v3 (elsa/decode/acct.py)
LAYOUT = struct.Struct("<2BH6If8H16s")


def later(seconds: int, name: str = "next") -> Machine:
    """The same machine, booted so many seconds after the first time."""
    return FIRST._replace(boot_uuid=name, booted_at_ns=(BOOTED_S + seconds) * S)


def store(connection: sqlite3.Connection, begun: CollectorRun, batch: Batch) -> None:
    writer = Writer(
        Path(connection.execute("pragma database_list").fetchone()[2]),
        begun.boot_id,
        begun.collector_id,
    )
    writer.submit(batch)
    assert writer.stop(patience_s=5)


def hear(
    connection: sqlite3.Connection, machine: Machine, heard_s: int, *, stopped: bool
) -> CollectorRun:
    """A run that hears up to a time: pids 100 and 101 run on in job 1, whose 102 has ended; job 2
    is over by then.
    """
    begun = collector_runs.begin(connection, machine, 77, 10 * S)
    clock = Clock(
        boots.next_own_id(connection, "clock", boots.COLLECTOR_IDS), 0, machine.booted_at_ns, 0
    )
    processes = Processes(Jobs(), clocks=Clocks([clock]))
    one, two = (processes.jobs.create(name, 1000, 5) for name in ("service", "over"))
    processes.apply([fork(11 * S, INIT, 100), fork(11 * S, INIT, 200)])
    processes.add(processes.living[100], one, 12 * S)
    processes.add(processes.living[200], two, 12 * S)
    processes.apply(
        [fork(13 * S, 100, 101), fork(14 * S, 100, 102), exited(15 * S, 102), exited(15 * S, 200)]
    )
    processes.jobs.close(two, 16, "request")
    heard_ns = heard_s * S
    batch = Batch(
        jobs=[one, two], closed=[(16, "request", two.id)], clocks=[clock], heard_ns=heard_ns
    )
    batch.stopped_ns = heard_ns if stopped else None
    batch.take(processes.take_changes())
    store(connection, begun, batch)
    return begun


def gaps(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select boot_id, kind, from_ns / 1000000000, to_ns / 1000000000, lost from gap order by id"
    ).fetchall()


def rows(connection: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


@pytest.mark.parametrize(("stopped", "kind"), [(True, "shutdown"), (False, "crash")])
def test_from_where_jobd_ended_to_where_the_next_boot_began_is_a_gap(
    connection: sqlite3.Connection, stopped: bool, kind: str
) -> None:
    hear(connection, FIRST, 50, stopped=stopped)
    assert gaps(connection) == []
    assert collector_runs.begin(connection, later(3600), 5, 10).heard_ns == 0
    assert gaps(connection) == [(1, kind, 50, 3600, None)]
    assert rows(connection, "select job_id, gaps, complete from job_usage order by job_id") == [
        (1, 1, 0),
        (2, 0, 0),
    ]
    assert rows(connection, "select what is not kind from gaps") == [(1,)], (
        "a kind is told in words"
    )


def test_job_that_was_over_before_jobd_stopped_is_not_touched_by_what_came_after(
    connection: sqlite3.Connection,
) -> None:
    hear(connection, FIRST, 50, stopped=True)
    collector_runs.begin(connection, later(3600), 5, 10)
    connection.execute("update process set inherited_job_id = null where end_source = 5")
    connection.execute(
        "delete from membership where job_id = 1 and process_id in (select id from process where"
        " end_source = 5)"
    )
    assert rows(connection, "select gaps from job_usage where job_id = 1") == [(0,)]


def test_the_end_of_a_boot_is_unknown_if_by_its_clock_the_next_boot_started_earlier(
    connection: sqlite3.Connection,
) -> None:
    hear(connection, FIRST, 50, stopped=False)
    collector_runs.begin(connection, later(-1_600_000_000), 5, 10)
    assert gaps(connection) == [(1, "crash", 50, None, None)]
    assert rows(connection, "select gaps, complete from job_usage where job_id = 1") == [(1, 0)]


def test_before_the_first_collector_of_a_host_is_no_gap_and_of_another_host_neither(
    connection: sqlite3.Connection,
) -> None:
    boots.boot_row(connection, FIRST)  # by the ingester
    boots.add_clock(connection, 1, Clock(1, 0, FIRST.booted_at_ns, 0))
    assert collector_runs.begin(connection, later(100), 5, 10).heard_ns is None
    assert (
        collector_runs.begin(
            connection, later(200, "theirs")._replace(machine_id=None, name="other"), 5, 10
        ).heard_ns
        is None
    )
    assert gaps(connection) == []


def test_boot_in_which_no_collector_was_started_is_a_gap_as_a_whole(
    connection: sqlite3.Connection,
) -> None:
    hear(connection, FIRST, 50, stopped=True)
    boots.boot_row(connection, later(1000, "second"))  # by the ingester
    collector_runs.begin(connection, later(1600, "third"), 5, 10)
    assert gaps(connection) == [(1, "shutdown", 50, 1000, None), (2, "boot", 0, 600, None)]
    times = "started_at, ended_at"
    assert rows(connection, f"select {times} from gaps where boot_id = 2") == [
        ("2023-11-14 22:30:00", "2023-11-14 22:40:00")
    ]
    assert collector_runs.begin(connection, later(1600, "third"), 5, 10).heard_ns == 0
    assert len(gaps(connection)) == 2, "what was closed once is not closed again"


def test_a_collector_that_died_before_it_stored_anything_has_received_nothing(
    connection: sqlite3.Connection,
) -> None:
    hear(connection, FIRST, 50, stopped=True)
    collector_runs.begin(connection, later(100, "second"), 5, 10 * S)
    assert collector_runs.begin(connection, later(100, "second"), 6, 20 * S).heard_ns == 0
    collector_runs.begin(connection, later(160, "third"), 5, 10 * S)
    assert gaps(connection) == [(1, "shutdown", 50, 100, None), (2, "boot", 0, 60, None)]


def test_open_jobs_end_at_the_last_moment_known_from_a_record(
    connection: sqlite3.Connection,
) -> None:
    hear(connection, FIRST, 50, stopped=True)
    collector_runs.begin(connection, later(3600), 5, 10)
    with database.transaction(connection):
        for at_s in (80, 70):
            boot_ends.extend_boot(connection, 1, (BOOTED_S + at_s) * S)
    ended_at = (BOOTED_S + 80) * S
    assert rows(connection, "select ended_at_ns from boot where id = 1") == [(ended_at,)]
    ends = rows(
        connection,
        "select pid, (start_ns + elapsed_ns) / 1000000000, end_source from process order by pid",
    )
    assert ends == [
        (100, 80, End.REBOOT),
        (101, 80, End.REBOOT),
        (102, 15, End.EXIT),
        (200, 15, End.EXIT),
    ]
    assert rows(connection, "select closed_at_ns, close_reason from job order by id") == [
        (ended_at, "reboot"),
        (16, "request"),
    ]
    with database.transaction(connection):
        boot_ends.extend_boot(connection, 1, (BOOTED_S + 9999) * S)
    assert rows(connection, "select ended_at_ns from boot where id = 1") == [
        ((BOOTED_S + 3600) * S,)
    ], "the next boot had begun"


def record(pid: int, parent: int, began_s: int, ended_s: int) -> bytes:
    ticks = float((ended_s - began_s) * 100)
    return LAYOUT.pack(
        0, 3, 0, 0, 0, 0, pid, parent, BOOTED_S + began_s, ticks, 1, 1, 100, 0, 0, 10, 0, 0, b"sh"
    )


@pytest.mark.parametrize(
    "ingested_first", [False, True], ids=["after the next jobd began", "before"]
)
def test_records_show_processes_that_forked_after_jobd_stopped(
    connection: sqlite3.Connection, tmp_path: Path, *, ingested_first: bool
) -> None:
    """100 ignores TERM and forks 300 and 301 before it is killed; 101 is alive when the machine
    goes down.
    """
    machine = later(3600)
    hear(connection, FIRST, 50, stopped=True)
    for name, text in {
        "proc/stat": f"btime {machine.booted_at_ns // S}\n",
        "proc/sys/kernel/random/boot_id": machine.boot_uuid,
        "proc/sys/kernel/hostname": machine.name,
        "etc/machine-id": str(machine.machine_id),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    acct = tmp_path / "pacct"
    acct.write_bytes(
        record(102, 100, 14, 15)
        + record(200, 1, 11, 15)
        + record(300, 100, 60, 61)
        + record(301, 100, 70, 71)
    )
    with acct.open("ab") as file:
        file.write(record(100, 1, 11, 75) + record(302, 1, 78, 78))
    config = Config(db=tmp_path / "elsa.db", socket=tmp_path / "none", acct_file=acct)
    ingester = Ingester(config, Procfs(tmp_path / "proc", tmp_path / "etc"))
    if not ingested_first:
        collector_runs.begin(connection, machine, 5, 10 * S)
    assert ingester.run_once([]).records == 6
    collector_runs.begin(connection, machine, 5, 10 * S)
    assert gaps(connection) == [(1, "shutdown", 50, 3600, None)]
    members = (
        "select p.pid, m.how from membership as m join process as p on p.id = m.process_id where"
        " job_id = 1 and pid >= 300"
    )
    assert rows(connection, f"{members} order by 1") == [(300, How.INFERRED), (301, How.INFERRED)]
    ends = rows(
        connection,
        "select pid, (start_ns + elapsed_ns) / 1000000000, end_source from process"
        " where pid in (100, 101) order by pid",
    )
    assert ends == [(100, 75, End.ACCT), (101, 78, End.REBOOT)]
    assert rows(connection, "select closed_at_ns from job where id = 1") == [((BOOTED_S + 78) * S,)]
    assert rows(connection, "select processes, complete, gaps from job_usage where job_id = 1") == [
        (5, 0, 1)
    ]
    causes = rows(connection, "select pid, class, cause from audit_unconfirmed order by pid")
    assert [row for row in causes if row[0] >= 300] == [
        (pid, "only_acct", "shutdown") for pid in (300, 301, 302)
    ]
