"""A view and the report of the same name say the same: before and after processes were pruned, with
the hours rolled up or not.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.measures import MEASURES
from elsa.report import audit, jobs, usage
from elsa.report.billing import bill, lines
from elsa.report.query import warehouse
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.store import database, retention, rollups
from tests.support.given import view_times
from tests.support.month import BEGIN_NS, END_NS, HOUR, Month, write

DAY = 24 * HOUR
STATES = (
    "as it came",
    "rolled up",
    "pruned",
    "rolled up, pruned",
    "pruned, rolled up",
    "half rolled up, pruned",
)
ALL = Output("json", "all")
JOB = 3


@pytest.fixture(scope="module")
def month(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small month, with jobs that are closed, so that all that ended may be pruned."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("month") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(600))
        connection.execute("update job set closed_at_ns = created_at_ns where closed_at_ns is null")
        connection.execute(
            "insert into tariff values (1, 0, 0, null, 'EUR', 'UTC', 2, null, '0', '1', '0', '0',"
            " '0')"
        )
    return path


def became(connection: sqlite3.Connection, path: Path, state: str) -> None:
    """Roll up and prune, in the order of the words."""
    for word in state.split(", "):
        if word == "pruned":
            cutoffs = retention.Cutoffs(None, BEGIN_NS + 15 * DAY, None)
            assert (
                retention.prune(connection, path, cutoffs, lambda _done, _total: None).processes
                > 100
            )
        elif word != STATES[0]:
            assert rollups.refresh(
                connection,
                path,
                END_NS + DAY if word == "rolled up" else BEGIN_NS + 8 * DAY + 5 * HOUR,
            )


@pytest.fixture(scope="module", params=STATES)
def states(
    request: pytest.FixtureRequest, month: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """The month as it came, and in another state; no test changes either."""
    path = Path(shutil.copy(month, tmp_path_factory.mktemp("state") / "elsa.db"))
    with closing(database.open_for_writing(path)) as connection:
        became(connection, path, request.param)
    with warehouse.reading(month) as before, warehouse.reading(path) as after:
        yield before, after


def table(connection: sqlite3.Connection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, by column."""
    found = connection.execute(sql)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def sorted_rows(rows: list[dict[str, Any]], columns: set[str]) -> list[str]:
    """Rows with some columns only, to be compared in any order."""
    return sorted(
        repr(sorted((key, value) for key, value in row.items() if key in columns)) for row in rows
    )


def same(view: list[dict[str, Any]], made: Report, *keys: str) -> None:
    """All figures that either has."""
    rows = [dict(zip(made.columns, row, strict=True)) for row in made.rows]
    assert rows
    columns = {*keys, *MEASURES} & set(rows[0])
    assert columns > set(keys)
    assert sorted_rows(view, columns) == sorted_rows(rows, columns)


@pytest.mark.parametrize(
    ("view", "by", "keys"),
    [
        ("command_usage", usage.COMMANDS, ("command", "forked_only")),
        ("user_usage", usage.USERS, ("uid",)),
    ],
)
def test_commands_and_users_are_the_same_in_the_view_and_the_report_and_as_before(
    states: tuple[sqlite3.Connection, sqlite3.Connection],
    view: str,
    by: usage.By,
    keys: tuple[str, ...],
) -> None:
    before, after = states
    rows = table(after, f"select * from {view}")
    same(rows, usage.usage(after, by, Selection(), ALL, everything=True), *keys)
    assert sorted_rows(rows, set(rows[0])) == sorted_rows(
        table(before, f"select * from {view}"), set(rows[0])
    )


@pytest.mark.parametrize(
    ("view", "by", "keys"),
    [
        ("job_command_usage", usage.COMMANDS, ("command", "forked_only")),
        ("job_user_usage", usage.USERS, ("uid",)),
    ],
)
def test_commands_and_users_of_a_job_are_the_same_in_the_view_and_the_report_and_add_up_to_the_job(
    states: tuple[sqlite3.Connection, sqlite3.Connection],
    view: str,
    by: usage.By,
    keys: tuple[str, ...],
) -> None:
    before, after = states
    for job in (JOB, JOB + 1):
        rows = table(after, f"select * from {view} where job_id = {job}")
        same(rows, usage.usage(after, by, Selection(jobs=(job,)), ALL, everything=True), *keys)
    counts = (
        "processes",
        "records",
        "utime_ticks",
        "minflt",
        "threads",
        "read_bytes",
        "run_ns",
        "without_usage",
        "elapsed_s",
    )
    listed = ", ".join(f"round(sum({key}), 6)" for key in counts)
    by_job = (
        f"select job_id, {listed} from {{}} where processes > 0 group by job_id order by job_id"
    )
    assert (
        after.execute(by_job.format(view)).fetchall()
        == before.execute(by_job.format("job_usage")).fetchall()
    )


def test_jobs_are_the_same_in_the_view_and_the_report_and_as_before(
    states: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    before, after = states
    rows = table(after, "select * from job_usage")
    same(
        rows,
        jobs.jobs(after, Selection(), ALL),
        "job_id",
        "wall_s",
        "complete",
        "inferred",
        "exit_status",
    )
    assert rows == table(before, "select * from job_usage")
    one = jobs.job(after, Selection(jobs=(JOB,)), ALL)
    (row,) = table(after, f"select * from job_usage where job_id = {JOB}")
    assert (
        dict(zip(one.columns, one.row, strict=True)).items()
        >= {key: row[key] for key in MEASURES if key in one.columns}.items()
    )
    at = one.commands.columns.index("processes")
    assert sum(found[at] for found in one.commands.rows) == row["processes"]


def test_what_is_in_no_job_is_the_same_in_the_view_and_the_bill_and_as_before(
    states: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    before, after = states
    view = "select * from unattributed_usage"
    assert table(after, view) == table(before, view)
    (row,) = table(after, view)
    made = bill.bill(after, "job", Selection(), ALL)
    (line,) = (
        found
        for found in (dict(zip(made.columns, each, strict=True)) for each in made.rows)
        if found["name"] == lines.IN_NO_JOB
    )
    assert (line["processes"], line["read_bytes"]) == (
        row["processes"] - row["running"],
        row["read_bytes"],
    )
    assert line["cpu_hours"] == pytest.approx(row["cpu_s"] / 3600, abs=1e-6)


def test_the_reconciliation_agrees_with_what_is_in_no_job_and_is_as_before(
    states: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    before, after = states
    view = "select * from reconciliation"
    rows = table(after, view)
    assert rows == table(before, view)
    (none,) = table(after, "select * from unattributed_usage")
    assert {row["measure"]: row["in_none"] for row in rows} == {
        row["measure"]: none[row["measure"]] for row in rows
    }
    assert all(row["in_jobs"] for row in rows[:3])
    (whole,) = table(after, "select sum(processes) as n from command_usage")
    assert rows[0]["in_all"] == whole["n"]
    assert {row["difference"] for row in rows} <= {0, None}


def test_the_audit_is_the_same_in_the_views_and_the_report(
    states: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    _, after = states
    made = audit.audit(after, Window(), ALL, END_NS)
    for part, view in ((made.classes, "audit"), (made.ticks, "audit_ticks")):
        rows = [view_times(dict(zip(part.columns, row, strict=True))) for row in part.rows]
        assert sorted_rows(table(after, f"select * from {view}"), set(part.columns)) == sorted_rows(
            rows, set(part.columns)
        ), view
