"""A membership in the row of its process (process.inherited_job_id) counts as one in table
membership: every view and every report of a made-up month is the same whichever way it is stored.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from elsa.cli.report import report
from elsa.state.codes import How
from elsa.store import database, retention, rollups, sql_files
from tests.support.month import BEGIN_NS, END_NS, Month, write

DAY_NS = 24 * 3600 * 10**9
# A row for each of the memberships that the month has in the rows of the processes.
MOVE = f"""
    begin;
    insert into membership (job_id, process_id, since_ns, until_ns, how)
    select inherited_job_id, id, 0, null, {How.INHERITED:d} from process
    where inherited_job_id is not null;
    update process set inherited_job_id = null;
    commit;"""
REPORTS = (
    "users",
    "users --job 3",
    "commands --job 3",
    "commands --job 3 --job 4 --job 5",
    "groups --job 4 --since 2026-10-03 --until 2026-10-09T05:30",
    "hours --job 3",
    "days --clip --job 3",
    "processes --job 3",
    "last --job 4",
    "jobs --all",
    "jobs --since 2026-10-05 --until 2026-10-10T05:30",
    "job 3",
    "tree 3",
    "classic 3",
    "compare 3 4",
    "flame 3 --collapsed",
    "audit",
    "audit --job 3",
    "sa --job 3",
    "lastcomm --job 3",
    "kinds",
)


class Both(NamedTuple):
    """The same month, its memberships in rows of their own, and in the rows of the processes."""

    rows: Path
    columns: Path


def _worked_on(path: Path, work: str) -> None:
    with closing(database.open_for_writing(path)) as connection:
        if work != "raw":
            rollups.refresh(connection, path, END_NS + DAY_NS)
        if work == "pruned":
            connection.execute("update job set closed_at_ns = 1 where closed_at_ns is null")
            cutoffs = retention.Cutoffs(None, BEGIN_NS + 15 * DAY_NS, None)
            retention.prune(connection, path, cutoffs, lambda *_: None)


@pytest.fixture(scope="module", params=["raw", "pruned"])
def both(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("inherited")
    made = Both(folder / "rows.db", folder / "columns.db")
    shutil.copy(template, made.columns)
    with closing(sqlite3.connect(made.columns, isolation_level=None)) as connection:
        write(connection, Month(1500))
        in_columns, in_rows = connection.execute(
            "select count(inherited_job_id), (select count(*) from membership) from process"
        ).fetchone()
        assert in_columns > 100
        assert in_rows > 100
    shutil.copy(made.columns, made.rows)
    with closing(sqlite3.connect(made.rows, isolation_level=None)) as connection:
        connection.executescript(MOVE)
    for path in made:
        _worked_on(path, request.param)
    yield made


def _contents(path: Path, view: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows: list[tuple[object, ...]] = connection.execute(f"select * from {view}").fetchall()
        return sorted(rows, key=repr)


def _said(path: Path, arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        report, [*arguments.split(), "--db", str(path)], catch_exceptions=False
    )
    return result.exit_code, result.stdout


def test_every_view_and_every_report_is_the_same(both: Both) -> None:
    for view in (path.stem for path in sql_files.views()):
        assert _contents(both.columns, view) == _contents(both.rows, view), view
    for arguments in REPORTS:
        assert _said(both.columns, arguments) == _said(both.rows, arguments), arguments
