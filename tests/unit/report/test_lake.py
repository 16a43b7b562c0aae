"""A lake has what ended on each whole day once, whatever is exported again, pruned, renamed or
interrupted, and tells hosts apart.
"""

from __future__ import annotations

import importlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from elsa.cli.db import db as commands
from elsa.errors import ConfigError, ElsaError, UnavailableError, UsageError
from elsa.progress import no_progress
from elsa.report.lake import partitions
from elsa.report.lake.target import Target
from elsa.report.query import warehouse
from elsa.report.query.times import Window
from elsa.store import database, retention, rollups
from tests.support import given, object_store
from tests.support.given import REAL, SECOND
from tests.support.lake import in_duckdb
from tests.support.month import BEGIN_NS, END_NS, HOUR, Month, write

DAY = 24 * HOUR
LATER = END_NS + DAY
# The warehouses of `given` start on 2026-01-02 at 03:04:05 UTC.
MIDNIGHT = (REAL // DAY + 1) * DAY
TO_MIDNIGHT = (MIDNIGHT - REAL) // SECOND
TOTALS = ["select host, processes, cpu_ns from user_usage order by host, processes"]


def export(
    path: Path,
    place: Path | str,
    now_ns: int = LATER,
    *,
    window: Window | None = None,
    unfinished: bool = False,
) -> partitions.Exported:
    """Export a warehouse."""
    with warehouse.reading(path) as connection:
        return partitions.export(
            connection,
            Target(str(place)),
            window or Window(),
            now_ns,
            no_progress,
            unfinished=unfinished,
        )


@contextmanager
def filling(path: Path, template: Path) -> Iterator[given.Warehouse]:
    """A new warehouse to fill."""
    path.write_bytes(template.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield given.Warehouse(connection)


@pytest.fixture(scope="module")
def month(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small month."""
    path: Path = tmp_path_factory.mktemp("lake") / "elsa.db"
    path.write_bytes(template.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(900))
    return path


def contents(place: Path) -> dict[str, bytes]:
    """Every file with its bytes."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_the_same_export_twice_gives_the_same_files(month: Path, tmp_path: Path) -> None:
    first = export(month, tmp_path, unfinished=True)
    before = contents(tmp_path)
    assert first.unchanged == first.deleted == first.pruned == 0
    assert first.written > 80
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/day=2026-*/*/*")}
    export(month, tmp_path, unfinished=True)
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_rerun_replaces_the_files_of_what_changed_and_no_others(
    month: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsa.db"
    copy.write_bytes(month.read_bytes())
    place = tmp_path / "lake"
    export(copy, place)
    before = contents(place)
    with closing(sqlite3.connect(copy)) as connection, connection:
        hour, process = connection.execute(
            "select ended_hour, process_id from usage join process on id = process_id limit 1"
        ).fetchone()
        connection.execute("update usage set nvcsw = 123456789 where process_id = ?", (process,))
        # All that ended on another day is gone.
        other = BEGIN_NS // HOUR + 5 * 24
        assert hour // 24 != other // 24
        connection.execute(
            "update process set ended_s = ended_s + 86400 where ended_hour / 24 = ?",
            (other // 24,),
        )
    export(copy, place)
    after = contents(place)
    assert before.keys() - after.keys() >= {"processes/day=2026-10-06/host=busy/part.parquet"}
    changed = {name for name in after if after[name] != before.get(name)}
    days = {name.split("/")[1] for name in changed if name.startswith("processes/")}
    assert days == {f"day={date(1970, 1, 1) + timedelta(days=hour // 24)}", "day=2026-10-07"}


def test_only_days_that_are_over_and_wholly_in_the_window_are_written(
    month: Path, tmp_path: Path
) -> None:
    window = Window(BEGIN_NS + DAY - HOUR, BEGIN_NS + 9 * DAY)
    export(month, tmp_path, BEGIN_NS + 4 * DAY + HOUR, window=window)
    days = {path.parts[-3] for path in tmp_path.glob("processes/*/host=busy/part.parquet")}
    assert days == {"day=2026-10-02", "day=2026-10-03", "day=2026-10-04"}


def test_what_is_unfinished_moves_to_its_day_and_never_counts_twice(
    template: Path, tmp_path: Path
) -> None:
    path, place = tmp_path / "elsa.db", tmp_path / "lake"
    with filling(path, template) as rows:
        rows.process(1, start=10, seconds=20)
        rows.acct(1, 1, utime=100)
        rows.process(2, start=10, seconds=None)
        rows.job(1, members=(1, 2))
        queries = [
            "select cast(day as varchar) as day, sum(processes) as n, sum(cpu_ns) as cpu_ns"
            " from user_day_usage group by 1 order by 1",
            "select processes, running, cpu_ns from job_usage",
        ]
        export(path, place, REAL + 100 * SECOND)
        assert in_duckdb(str(place), queries)[0] == []
        export(path, place, REAL + 100 * SECOND, unfinished=True)
        days, jobs = in_duckdb(str(place), queries)
        assert days == [{"day": None, "n": 2, "cpu_ns": SECOND}]
        assert jobs == [{"processes": 2, "running": 1, "cpu_ns": SECOND}]
        rows.connection.execute(
            "update process set elapsed_ns = ?, end_clock_id = 1, end_source = 1 where id = 2",
            (TO_MIDNIGHT * SECOND,),
        )
        rows.acct(2, 2, utime=200, etime=100.0 * TO_MIDNIGHT)
        export(path, place, MIDNIGHT + HOUR)
        days, jobs = in_duckdb(str(place), queries)
        assert days == [{"day": "2026-01-02", "n": 1, "cpu_ns": SECOND}]
        assert jobs == [{"processes": 1, "running": 0, "cpu_ns": SECOND}]
        export(path, place, MIDNIGHT + 2 * DAY)
        days, jobs = in_duckdb(str(place), queries)
        assert [day["n"] for day in days] == [1, 1]
        assert jobs == [{"processes": 2, "running": 0, "cpu_ns": 3 * SECOND}]


def test_what_a_host_pruned_stays_in_the_lake(month: Path, tmp_path: Path) -> None:
    copy, place = tmp_path / "elsa.db", tmp_path / "lake"
    copy.write_bytes(month.read_bytes())
    export(copy, place)
    before = contents(place)
    with closing(database.open_for_writing(copy)) as connection:
        rollups.refresh(connection, copy, LATER)
        cutoffs = retention.Cutoffs(None, BEGIN_NS + 15 * DAY + 5 * HOUR, None)
        assert retention.prune(connection, copy, cutoffs, no_progress).processes > 100
    done = export(copy, place)
    assert (done.pruned > 15 * 2, done.deleted) == (True, 0)
    after = contents(place)
    by_day = {name for name in before if "/day=" in name}
    assert {name for name in by_day if after[name] != before[name]} == set()
    assert in_duckdb(str(place), TOTALS)[0]


def test_hosts_with_equal_ids_and_odd_names_are_told_apart(template: Path, tmp_path: Path) -> None:
    place = tmp_path / "lake"
    names = ["web1", "a/b=c%20 d:'", "..", "Web1"]
    for number, name in enumerate(names, start=1):
        path = tmp_path / f"{number}.db"
        with filling(path, template) as rows:
            rows.connection.execute(
                "update host set name = ?, machine_id = ?", (name, f"m{number}")
            )
            rows.process(1)
            rows.acct(1, 1, utime=100 * number)
            rows.job(1, f"job of {number}", members=(1,))
        export(path, place)
    totals, jobs = in_duckdb(
        str(place),
        ["select host, cpu_ns from user_usage", "select host, name, cpu_ns from job_usage"],
    )
    used = {name: number * SECOND for number, name in enumerate(names, start=1)}
    assert {row["host"]: row["cpu_ns"] for row in totals} == used
    assert {(row["host"], row["name"]): row["cpu_ns"] for row in jobs} == {
        (name, f"job of {number}"): number * SECOND for number, name in enumerate(names, start=1)
    }


@pytest.mark.parametrize(
    ("host", "since", "refusal"),
    [
        (("here", "other"), 5, "data of another host that is called 'here'"),
        (("renamed", "m1"), 5, "under the name 'here'.*delete host=here and hosts/m1.parquet"),
        (("here", "m1"), 6, "from another warehouse"),
    ],
)
def test_data_of_another_host_or_warehouse_is_refused_and_nothing_is_written(
    template: Path, tmp_path: Path, host: tuple[str, str], since: int, refusal: str
) -> None:
    place = tmp_path / "lake"
    for number, (name, machine_id, since_ns) in enumerate((("here", "m1", 5), (*host, since))):
        path = tmp_path / f"{number}.db"
        with filling(path, template) as rows:
            rows.connection.execute("update host set name = ?, machine_id = ?", (name, machine_id))
            rows.connection.execute("update clock set since_ns = ?", (since_ns,))
            rows.process(1)
        if number == 0:
            export(path, place)
    before = contents(place)
    with pytest.raises(ConfigError, match=refusal):
        export(path, place)
    assert contents(place) == before


def test_sums_beyond_64_bits_are_exact(template: Path, tmp_path: Path) -> None:
    path, place = tmp_path / "elsa.db", tmp_path / "lake"
    with filling(path, template) as rows:
        for number in (1, 2, 3):
            rows.process(number)
            rows.usage(number, read_bytes=2**63 - 1, write_bytes=None)
        rows.job(1, members=(1, 2, 3))
    export(path, place)
    asked = "select read_bytes, write_bytes from"
    for (row,) in in_duckdb(str(place), [f"{asked} user_usage", f"{asked} job_usage"]):
        assert row == {"read_bytes": Decimal(3 * (2**63 - 1)), "write_bytes": None}


def test_files_of_an_older_version_lack_columns_that_are_unknown_then(
    template: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    path, place = tmp_path / "elsa.db", tmp_path / "lake"
    with filling(path, template) as rows:
        rows.process(1)
        rows.usage(1, nvcsw=7, nivcsw=8)
    export(path, place)
    (file,) = place.glob("processes/day=2026-*/*/part.parquet")
    table = pq.ParquetFile(file).read()
    pq.write_table(table.drop_columns(["nvcsw"]), file)
    (rows_found,) = in_duckdb(str(place), ["select nvcsw, nivcsw from user_usage"])
    assert rows_found == [{"nvcsw": None, "nivcsw": 8}]


def test_a_lake_without_any_row_has_views_without_rows(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsa.db"
    with filling(path, template):
        pass
    export(path, tmp_path / "lake")
    assert in_duckdb(str(tmp_path / "lake"), ["select * from job_usage", *TOTALS]) == [[], []]


def test_an_export_that_is_interrupted_leaves_no_half_file_and_goes_on(
    month: Path, tmp_path: Path
) -> None:
    whole, place = tmp_path / "whole", tmp_path / "lake"
    export(month, whole)

    def stop(done: int, _total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with warehouse.reading(month) as connection, pytest.raises(KeyboardInterrupt):
        partitions.export(connection, Target(str(place)), Window(), LATER, stop)
    expected = contents(whole)
    part = contents(place)
    assert 0 < len(part) < len(expected)
    assert {name: expected[name] for name in part} == part
    export(month, place)
    assert contents(place) == expected


def test_a_uri_of_files_gives_the_same_as_a_path(month: Path, tmp_path: Path) -> None:
    export(month, tmp_path / "path")
    export(month, f"file://{tmp_path}/uri")
    assert contents(tmp_path / "uri") == contents(tmp_path / "path")


def test_an_object_store_gets_the_same_files_and_only_those_that_changed(
    month: Path, tmp_path: Path
) -> None:
    export(month, tmp_path, unfinished=True)
    with object_store.running() as store:
        place = store.uri("bucket/elsa")
        export(month, place, unfinished=True)
        assert {
            key.removeprefix("bucket/elsa/"): content
            for key, content in store.objects.items()
            if not key.endswith("/")
        } == contents(tmp_path)
        store.writes.clear()
        done = export(month, place)
        # pyarrow marks the folder of a deleted object.
        assert [key for key in store.writes if not key.endswith("/")] == []
        assert (done.written, done.deleted > 0) == (0, True)
        assert not [key for key in store.objects if f"{partitions.NO_DAY}/host=busy/p" in key]


def test_a_place_that_cannot_be_written_is_one_line(month: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ElsaError, match=r"^\S*/file/\S+: [^\n]+$"):
        export(month, tmp_path / "file")
    for place in ("nowhere://me:secret@x?key=secret", "s3://me:secret@a b?key=secret"):
        with pytest.raises(
            UsageError, match=r"^\w+://[xa] ?b?: pyarrow knows no such place"
        ) as said:
            export(month, place)
        assert "secret" not in str(said.value)


def test_a_bucket_that_is_not_there_is_said(month: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = OSError(
        "When resolving region for bucket 'x': AWS Error NETWORK_CONNECTION: s3://me:secret@x"
    )
    stores = SimpleNamespace(FileSystem=Mock(**{"from_uri.side_effect": refused}))
    monkeypatch.setattr("elsa.report.lake.target.pa_fs", stores)
    with pytest.raises(UnavailableError) as said:
        export(month, "s3://me:secret@x/folder")
    assert str(said.value).startswith(
        "s3://x/folder: the store has no such bucket, or does not answer (AWS Error"
        " NETWORK_CONNECTION); "
    )
    assert "secret" not in str(said.value)


def test_without_pyarrow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "elsa.report.lake.target")
    with pytest.raises(UsageError, match="pip install"):
        importlib.import_module("elsa.report.lake.target")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--unfinished", "x"], "goes with --partition"),
        (["--partition", "--again", "x"], "leave out --again"),
        (["--partition", "--format", "jsonl", "x"], "writes Parquet"),
        (["s3://bucket/x"], "only --partition writes to a URI"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(commands, ["export", *arguments])
    assert (result.exit_code, said in str(result.exception or result.output)) == (2, True) or (
        isinstance(result.exception, UsageError) and said in str(result.exception)
    )


def test_the_commands_write_a_lake_and_print_its_views(month: Path, tmp_path: Path) -> None:
    place = tmp_path / "lake"
    runner = CliRunner()
    result = runner.invoke(
        commands, ["export", "--partition", str(place), "--db", str(month)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "files written with" in result.stderr
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    script = runner.invoke(commands, ["lake", "duckdb", str(place)], catch_exceptions=False).output
    with duckdb.connect() as connection:
        connection.execute(script)
        (count,) = connection.execute("select sum(processes) from user_usage").fetchone()
    assert count > 800
