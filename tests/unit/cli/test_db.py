"""`elsa db info` and `elsa db schema`: what a warehouse holds, and what its columns mean."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from elsa.cli.db import db
from elsa.cli.report import report
from elsa.errors import ConfigError, PrivilegeError, UsageError
from elsa.store import database, sql_files
from tests.support.given import Warehouse


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """A warehouse with one process that has a record."""
    copied = tmp_path / "elsa.db"
    shutil.copy(template, copied)
    with closing(sqlite3.connect(copied, isolation_level=None)) as connection:
        warehouse = Warehouse(connection)
        warehouse.process(1, start=10)
        warehouse.acct(1, 1)
    return copied


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(db, [*arguments, "--db", str(path)], catch_exceptions=False)


def test_info_tells_hosts_times_rows_and_size(path: Path) -> None:
    found = json.loads(run(path, "info", "--format", "json").stdout)
    assert found["hosts"] == ["here"]
    assert (found["rows"]["process"], found["rows"]["acct"], found["rows"]["job"]) == (1, 1, 0)
    assert found["first_hour"] == "2026-01-02T03:00:00Z"
    assert found["last_hour"] == "2026-01-02T04:00:00Z"
    assert found["events_stored_until"] is None
    assert found["bytes"] == path.stat().st_size
    assert "rows of process" in run(path, "info").stdout


def test_schema_lists_every_view_with_its_grain(path: Path) -> None:
    listed = {
        row["name"]: row for row in json.loads(run(path, "schema", "--format", "json").stdout)
    }
    for view in sql_files.views():
        assert listed[view.stem]["kind"] == "view"
        assert listed[view.stem]["meaning"].startswith("one row"), view.stem
    assert listed["process"]["kind"] == "table"


def test_schema_of_a_view_explains_its_columns(path: Path) -> None:
    rows = json.loads(run(path, "schema", "job_usage", "--format", "json").stdout)
    assert {"name": "cpu_s", "unit": "s", "meaning": "user + system CPU time"} in rows
    assert "meaning" in run(path, "schema", "job_usage").stdout


def test_schema_of_what_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(UsageError, match="no table or view nothing"):
        run(path, "schema", "nothing")


def test_prune_blames_the_option_that_was_given(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option, age in (("--events", ""), ("--processes", "soon")):
        with pytest.raises(ConfigError, match=f"^{option}: cannot keep for '{age}'"):
            run(path, "prune", option, age)
    (tmp_path / "elsa.toml").write_text("keep_processes = 'soon'")
    monkeypatch.setenv("ELSA_CONFIG", str(tmp_path / "elsa.toml"))
    with pytest.raises(ConfigError, match="keep_processes: cannot keep"):
        run(path, "prune")
    monkeypatch.delenv("ELSA_CONFIG")
    assert "would be deleted" in run(path, "prune", "-n", "--processes", "-30d").stderr


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who may not read the warehouse, and no jobd."""

    def refuse(path: Path) -> sqlite3.Connection:
        raise PrivilegeError(f"{path}: this user may not read it; root and the elsa group may")

    monkeypatch.setattr(database, "open_for_reading", refuse)
    monkeypatch.setenv("ELSA_SOCKET", str(tmp_path / "none.sock"))


@pytest.mark.usefixtures("refused")
def test_the_schema_needs_no_warehouse_that_one_may_read(path: Path) -> None:
    named = {row["name"] for row in json.loads(run(path, "schema", "--format", "json").stdout)}
    assert {view.stem for view in sql_files.views()} | {"process", "job"} <= named
    assert "user + system CPU time" in run(path, "schema", "job_usage").stdout
    with pytest.raises(PrivilegeError, match=r"other users see their own jobs .* jobd does not"):
        run(path, "info")


def test_the_schema_needs_no_warehouse_at_all(tmp_path: Path) -> None:
    assert "job_usage" in run(tmp_path / "none.db", "schema").stdout


def test_views_over_a_lake_that_is_not_here_say_so(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for folder, said in (("here", False), ("none", True), ("s3://lake/none", False)):
        place = folder if "://" in folder else str(tmp_path / folder)
        done = CliRunner().invoke(db, ["lake", "duckdb", place])
        assert (done.exit_code, f"/{folder}/" in done.stdout or "://" in place) == (0, True)
        assert ("there is no such folder here" in done.stderr) is said


@pytest.mark.usefixtures("refused")
def test_a_query_is_shown_to_who_may_not_run_it(path: Path) -> None:
    arguments = ["commands", "--user", "root", "--since", "2026", "--db", str(path)]
    with pytest.raises(PrivilegeError):
        CliRunner().invoke(report, arguments, catch_exceptions=False)
    shown = CliRunner().invoke(report, [*arguments, "--explain"], catch_exceptions=False)
    assert "u.uid = 0" in shown.stdout
    assert "names of jobs are not known here" in shown.stderr
