"""Exports: every row that ended on a day that is over, once, in files that appear whole."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from elsa.errors import UsageError
from elsa.report.export import DATASETS, export, type_of
from elsa.report.query import warehouse
from elsa.report.query.times import Window
from tests.support.month import BEGIN_NS, END_NS, HOUR, Month, write

DAY = 24 * HOUR


@pytest.fixture(scope="module")
def connection(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sqlite3.Connection]:
    """A small month."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("export") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as filling:
        write(filling, Month(600))
    with warehouse.reading(path) as opened:
        yield opened


def quiet(_done: int, _total: int) -> None:
    """No bar."""


def test_every_process_that_ended_is_in_the_file_of_its_day_once(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    export(connection, tmp_path, "jsonl", Window(), END_NS, quiet)
    found = []
    for path in tmp_path.glob("processes/day=*/part.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {row["ended_at"][:10] for row in rows} == {path.parent.name.removeprefix("day=")}
        found += [(row["process_id"], row["acct_id"], row["cpu_s"]) for row in rows]
    told = connection.execute(
        "select process_id, acct_id, cpu_s from process_usage where state = 'ended'"
    ).fetchall()
    assert sorted(found, key=str) == sorted(told, key=str)


def test_jobs_and_memberships_are_there(connection: sqlite3.Connection, tmp_path: Path) -> None:
    export(connection, tmp_path, "jsonl", Window(), END_NS, quiet)
    jobs = [json.loads(line) for line in (tmp_path / "jobs.jsonl").read_text().splitlines()]
    assert [(row["job_id"], row["processes"]) for row in jobs] == connection.execute(
        "select job_id, processes from job_usage"
    ).fetchall()
    stays = sum(
        len(path.read_text().splitlines()) for path in tmp_path.glob("memberships/day=*/part.jsonl")
    )
    ended = (
        "select count(*) from all_memberships join process on id = process_id"
        " where elapsed_ns is not null"
    )
    assert connection.execute(ended).fetchone() == (stays,)


def test_only_days_that_are_over_and_wholly_in_the_window_are_written(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    window = Window(BEGIN_NS + DAY - HOUR, BEGIN_NS + 9 * DAY)
    export(connection, tmp_path, "jsonl", window, BEGIN_NS + 4 * DAY + HOUR, quiet)
    assert sorted(path.name for path in tmp_path.glob("processes/*")) == [
        "day=2026-10-02",
        "day=2026-10-03",
        "day=2026-10-04",
    ]


def test_what_is_there_is_kept_and_an_interrupted_export_goes_on(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(connection, tmp_path, "jsonl", Window(), END_NS, stop)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part.jsonl")}
    assert len(made) == 7
    assert export(connection, tmp_path, "jsonl", Window(), END_NS, quiet).kept == 7
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert export(connection, tmp_path, "jsonl", Window(), END_NS, quiet, again=True).kept == 0
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith(".")
    ] == []


def test_without_pyarrow_one_line_says_what_to_install(
    connection: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install"):
        export(connection, tmp_path, "parquet", Window(), END_NS, quiet)


def test_parquet_has_the_rows_and_types_of_the_columns(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    export(connection, tmp_path, "parquet", Window(), END_NS, quiet)
    export(connection, tmp_path, "jsonl", Window(), END_NS, quiet)
    names = {str: "string", int: "int64", float: "double", datetime: "timestamp[ms, tz=UTC]"}
    for dataset in DATASETS:
        paths = sorted(
            path
            for path in tmp_path.rglob("*.parquet")
            if dataset.name in str(path.relative_to(tmp_path))
        )
        for path in paths:
            table = parquet.ParquetFile(path).read()
            assert {field.name: str(field.type) for field in table.schema} == {
                key: names[type_of(key)] for key in dataset.columns
            }
            lines = [
                json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()
            ]
            for key in (key for key in dataset.columns if type_of(key) is datetime):
                told = [
                    None if line[key] is None else datetime.fromisoformat(line[key])
                    for line in lines
                ]
                assert table.column(key).to_pylist() == told
            assert table.num_rows == len(lines)
        assert paths
