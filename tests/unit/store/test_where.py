"""A condition that never ends is ended, whatever it does: by its time limit or with its client."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from elsa.errors import RetryError, UsageError
from elsa.store import where

NEVER = {
    "steps": (
        "exists (with recursive n(i) as (select 1 union all select i + 1 from n) select 1 from n"
        " where i < 0)"
    ),
    # one call of a function, within which SQLite looks at nothing
    "a call": "instr(zeroblob(20000000), cast(zeroblob(10000000) || x'01' as blob))",
}
SECONDS = 20
"""What ends at once ends by then on any machine, and never by itself."""


@pytest.fixture
def one(connection: sqlite3.Connection, db: Path) -> Path:
    """A warehouse with a process in it."""
    insert = (
        "insert into process (id, boot_id, pid, start_ns, clock_id, origin) values (2, 1, 100, 1,"
        " 1, 1)"
    )
    connection.execute("insert into host (id, machine_id, name) values (1, 'm', 'here')")
    connection.execute("insert into boot (id, host_id, uuid, started_at_ns) values (1, 1, 'b', 0)")
    connection.execute(
        "insert into clock (id, boot_id, since_ns, offset_ns, boottime_offset_ns) values (1, 1, 0,"
        " 0, 0)"
    )
    connection.execute(insert)
    return db


def children() -> set[int]:
    pid = os.getpid()
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def ids(db: Path, condition: str, limit_s: float = 60) -> list[int]:
    return list(chain.from_iterable(where.matching(db, condition, limit_s)))


def test_what_fits_is_found(one: Path) -> None:
    assert (ids(one, "pid = 100"), ids(one, "pid = 101")) == ([2], [])


@pytest.mark.parametrize("condition", NEVER.values(), ids=NEVER)
def test_a_condition_that_never_ends_is_ended_when_its_time_is_over(
    one: Path, condition: str
) -> None:
    before, began = children(), time.monotonic()
    with pytest.raises(RetryError, match=r"--where: .*longer than 0.5 s .*define_s"):
        ids(one, condition, 0.5)
    assert time.monotonic() - began < SECONDS
    assert children() == before


def test_a_condition_that_makes_no_sense_is_refused_in_words(one: Path) -> None:
    with pytest.raises(
        UsageError, match="--where: no such column: nonsense; it is an SQL condition"
    ):
        ids(one, "nonsense")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_condition_ends_with_its_client(one: Path, number: signal.Signals) -> None:
    program = (
        "import sys; from pathlib import Path; from elsa.store import where;"
        "print('up', flush=True); list(where.matching(Path(sys.argv[1]), sys.argv[2], 600))"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", program, one, NEVER["a call"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with asker:
        assert asker.stdout is not None
        asker.stdout.readline()
        listed = Path(f"/proc/{asker.pid}/task/{asker.pid}/children")
        deadline = time.monotonic() + SECONDS
        while not (found := listed.read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.01)
        (pid,) = found
        time.sleep(0.3)  # it has its order
        asker.send_signal(number)
        asker.wait(SECONDS)
    while (
        Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    ):
        assert time.monotonic() < deadline + SECONDS
        time.sleep(0.01)


def test_a_report_is_ended_by_ctrl_c_at_once_though_sqlite_is_at_work(one: Path) -> None:
    program = """
import signal
from elsa.cli.entry import elsa_report
from elsa.store import database

class Working:
    def __init__(self, path):
        print("at work", flush=True)
        import sqlite3
        sqlite3.connect(":memory:").execute(
            "select instr(zeroblob(20000000), cast(zeroblob(10000000) || x'01' as blob))"
        )

database.open_for_reading = Working
elsa_report()
"""
    report = subprocess.Popen(
        [sys.executable, "-c", program, "jobs", "--db", one],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with report:
        assert report.stdout is not None
        assert report.stdout.readline() == b"at work\n"
        time.sleep(0.5)
        report.send_signal(signal.SIGINT)
        assert report.wait(SECONDS) == -signal.SIGINT
