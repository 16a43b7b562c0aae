"""Reports say when what feeds the warehouse is silent: only where they reach to now, and only where
it matters.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.kernel.procfs import INITIAL_NAMESPACES, Procfs
from elsa.report import gaps
from elsa.report.collector_status import late, silence
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.units import SECOND_NS
from tests.support import given
from tests.support.given import Warehouse

HEARD = 1000
NOW = given.REAL + (HEARD + 5) * SECOND_NS
LATER = NOW + 60 * SECOND_NS
HEARS_NOTHING = "jobd has been silent since "


@pytest.fixture(scope="module")
def path(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(template, tmp_path_factory.mktemp("silence") / "elsa.db"))


@pytest.fixture
def warehouse(path: Path) -> Iterator[Any]:
    """A collector that has heard up to HEARD, a job that is over, one that is open, one that is
    closed but runs on; nothing is kept.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin")
        made = given.Warehouse(connection)
        made.insert(
            "collector", id=1, boot_id=1, since_ns=0, heard_ns=HEARD * SECOND_NS, version="1"
        )
        made.connection.execute("update acct_file set read_at_ns = ?", (given.REAL,))
        made.process(2)
        made.process(4, seconds=given.RUNNING)
        made.job(1, members=(2,), closed_at_ns=given.REAL + 20 * SECOND_NS, close_reason="request")
        made.job(2)
        made.job(3, members=(4,), closed_at_ns=given.REAL + 20 * SECOND_NS, close_reason="request")
        yield made
        connection.execute("rollback")


def test_a_running_collector_is_not_mentioned(warehouse: Warehouse) -> None:
    assert (
        silence(warehouse.connection, Window(), NOW)
        == late(warehouse.connection, Selection(), NOW)
        == []
    )


@pytest.mark.parametrize(
    ("until", "told"),
    [(None, True), (LATER + SECOND_NS, True), (given.REAL + 900 * SECOND_NS, False)],
)
def test_a_stopped_collector_is_mentioned_if_the_window_reaches_that_far(
    warehouse: Warehouse, until: int | None, told: bool
) -> None:
    words = late(warehouse.connection, Selection(Window(None, until)), LATER)
    assert [line.startswith(HEARS_NOTHING) for line in words] == [True] * told


@pytest.mark.parametrize(
    ("jobs", "told"), [((1,), False), ((2,), True), ((3,), True), ((1, 2), True)]
)
def test_of_jobs_it_matters_unless_all_were_over(
    warehouse: Warehouse, jobs: tuple[int, ...], told: bool
) -> None:
    assert bool(late(warehouse.connection, Selection(jobs=jobs), LATER)) is told


def test_with_accounting_alone_only_reports_on_sources_mention_the_collector(
    warehouse: Warehouse,
) -> None:
    warehouse.connection.execute("delete from collector")
    assert silence(warehouse.connection, Window(), LATER) == [
        "the collector was never started here; start it with: elsa jobd"
    ]
    assert late(warehouse.connection, Selection(), LATER) == []


def test_accounting_that_is_read_no_more_is_said_while_the_collector_hears(
    warehouse: Warehouse,
) -> None:
    days = 3 * 86_400
    warehouse.connection.execute("update collector set heard_ns = ?", (days * SECOND_NS,))
    (line,) = late(warehouse.connection, Selection(), given.REAL + (days + 1) * SECOND_NS)
    assert line.startswith("no accounting record was read since ")
    assert line.endswith(": accounting is off, or elsa ingest is not run any more")
    warehouse.connection.execute("delete from acct_file")
    assert late(warehouse.connection, Selection(), given.REAL + (days + 1) * SECOND_NS) == []


def test_the_time_since_jobd_stopped_is_an_open_gap(warehouse: Warehouse) -> None:
    warehouse.insert(
        "gap", id=7, boot_id=1, kind="down", from_ns=10 * SECOND_NS, to_ns=20 * SECOND_NS
    )
    for stopped, note in (
        (HEARD * SECOND_NS, "stopped"),
        (None, "without notice: killed, or it cannot write"),
    ):
        warehouse.connection.execute("update collector set stopped_ns = ?", (stopped,))
        report = gaps.gaps(warehouse.connection, Window(), Output(), LATER)
        rows = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
        assert [(row["gap_id"], row["kind"], row["ended_at"], row["note"]) for row in rows] == [
            (None, "silence", None, note),
            (7, "down", "2026-01-02T03:04:25.000Z", None),
        ]
        assert rows[0]["started_at"] == "2026-01-02T03:20:45Z"
    assert len(gaps.gaps(warehouse.connection, Window(), Output(), NOW).rows) == 1  # type: ignore[arg-type]
    assert len(gaps.gaps(warehouse.connection, Window(until=NOW), Output(), LATER).rows) == 1  # type: ignore[arg-type]
    assert [
        row[0]
        for row in gaps.gaps(warehouse.connection, Window(), Output(sort="started_at"), LATER).rows
    ] == [7, None]


def test_check_knows_the_gaps_since_a_time(warehouse: Warehouse) -> None:
    warehouse.insert(
        "gap", id=7, boot_id=1, kind="down", from_ns=10 * SECOND_NS, to_ns=20 * SECOND_NS
    )
    warehouse.insert(
        "gap", id=8, boot_id=1, kind="down", from_ns=30 * SECOND_NS, to_ns=40 * SECOND_NS
    )
    warehouse.insert("gap", id=9, kind="file", acct_file_id=1, from_position=0, to_position=64)
    assert [known[:2] for known in gaps.since(warehouse.connection, given.REAL, NOW)] == [
        ("jobd was not listening", 2)
    ]
    assert [
        known[:2] for known in gaps.since(warehouse.connection, given.REAL + 30 * SECOND_NS, LATER)
    ] == [
        ("jobd was not listening", 1),
        ("jobd has stored nothing since", 1),
    ]
    assert gaps.since(warehouse.connection, given.REAL + 40 * SECOND_NS, NOW) == []
    (file,) = gaps.since(warehouse.connection, given.REAL - SECOND_NS, NOW)[:1]
    assert file == ("bytes of an accounting file that are no records", 1, None)


def test_a_hole_in_the_live_file_is_news_until_the_records_behind_it_are_older(
    warehouse: Warehouse,
) -> None:
    """A live file is always one that was just read."""
    warehouse.insert("gap", id=1, kind="file", acct_file_id=1, from_position=64, to_position=192)
    warehouse.connection.execute("update acct_file set read_at_ns = ?", (NOW,))
    warehouse.acct(1, None, position=0)
    since_ns = given.REAL + 900 * SECOND_NS

    def known() -> list[int]:
        return [count.number for count in gaps.since(warehouse.connection, since_ns, NOW)]

    assert known() == [1]
    warehouse.acct(2, None, position=192, btime=since_ns // SECOND_NS - 1, etime=100.0)
    assert known() == [1]
    warehouse.acct(3, None, position=256, btime=since_ns // SECOND_NS - 2, etime=100.0)
    assert known() == []


def test_a_collector_that_has_ended_is_reported_at_once(warehouse: Warehouse) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    warehouse.connection.execute("update collector set pid = ?", (gone.pid,))
    if Procfs().namespace("pid") == INITIAL_NAMESPACES["pid"]:
        assert silence(warehouse.connection, Window(), NOW)[0].startswith(HEARS_NOTHING)
    warehouse.connection.execute(
        "update collector set pid = ?, stopped_ns = heard_ns", (os.getpid(),)
    )
    assert silence(warehouse.connection, Window(), NOW)[0].startswith(HEARS_NOTHING)
    assert silence(warehouse.connection, Window(until=NOW - 5 * SECOND_NS), NOW) == []
