"""Sums are exact, however large: where one is stored, in a view, in a report, in a bill, and after
processes were pruned.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from elsa.cli.ingest import ingest as command
from elsa.cli.report import report
from elsa.report.export import export
from elsa.report.query import warehouse
from elsa.report.query.times import Window
from elsa.store import database, retention, rollups
from elsa.store.aggregates import Aggregate
from elsa.store.retention import Cutoffs
from elsa.store.sums import combined, storable_rows, summed
from elsa.units import HOUR_NS

MOST = 2**63 - 1
HOUR = 480_000
NOW = (HOUR + 100) * HOUR_NS
YEAR_NS = 365 * 86_400 * 10**9


@pytest.mark.parametrize(
    "values", [[1, 2], [MOST, 1], [MOST] * 5, [2**62, None, 2**62, 2**62], [None], [3, None]]
)
def test_a_sum_that_no_integer_holds_is_kept_in_rows_that_add_up(values: list[int | None]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table given (key text, x integer)")
        connection.executemany("insert into given values ('a', ?)", [(value,) for value in values])
        sums = {
            "x": Aggregate("sum", "x"),
            "most": Aggregate("max", "x"),
            "known": Aggregate("count", "x"),
        }
        kept = summed(connection, ["key"], sums, "from given group by key")
    known = [value for value in values if value is not None]
    assert sum(row[1] or 0 for row in kept) == sum(known)
    assert all(row[0] == "a" and (row[1] is None or row[1] <= MOST) for row in kept)
    assert len(kept) == max(-(-sum(known) // MOST), 1)
    assert kept[0][1] is None if not known else kept[0][1] is not None
    assert [row[2] for row in kept if row[2] is not None] == ([max(known)] if known else [])
    assert sum(row[3] or 0 for row in kept) == len(known)


def test_halves_are_put_together_as_they_were() -> None:
    for number in (0, 5, 2**32, 2**64 + 7, -1, -(2**40)):
        assert combined(number >> 32, number & 0xFFFFFFFF) == number
    assert combined("key", None) == "key"
    assert list(storable_rows(["a", None, 2.5, 7])) == [["a", None, 2.5, 7]]


@pytest.fixture
def huge(db: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Of one hour a job of 40 processes of 280 CPU-years each, 11,200 in all, and one process in
    none; counters near 2**63.
    """
    with closing(database.open_for_writing(db)) as connection:
        connection.execute("insert into host values (1, 'm', 'here')")
        connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
        connection.execute("insert into clock values (1, 1, 0, ?, 0)", (HOUR * HOUR_NS,))
        connection.execute("insert into comm values (1, 'solver')")
        connection.execute(
            """insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns,
                close_reason, closes_itself) values (1, 1, 'long', 0, 0, 1, 'request', 0)"""
        )
        for id_ in range(1, 43):
            connection.execute(
                "insert into process (id, boot_id, pid, origin, start_ns, clock_id, uid, comm_id,"
                " elapsed_ns, end_clock_id, end_source) values (?, 1, ?, 1, 0, 1, 5, 1, ?, 1, 1)",
                (id_, id_ + 1000, 10**9 if id_ < 42 else None),
            )
            if id_ < 41:
                connection.execute("insert into membership values (1, ?, 0, null, 2, null)", (id_,))
            if id_ < 42:
                connection.execute(
                    "insert into usage (process_id, threads, complete, run_ns, utime_us, stime_us,"
                    " read_bytes, minflt, nvcsw) values (?, 1, 1, ?, ?, ?, ?, ?, 3)",
                    (id_, 280 * YEAR_NS, MOST, MOST, MOST, MOST),
                )
        yield db, connection


STATES = ("as it came", "rolled up", "pruned", "rolled up and pruned", "pruned and rolled up")
CPU_S = 280 * 365 * 86_400


def become(path: Path, connection: sqlite3.Connection, state: str) -> None:
    """Roll up and prune, in that order or the other."""
    for word in state.split(" and ") if state != STATES[0] else ():
        if word == "pruned":
            assert (
                retention.prune(
                    connection, path, Cutoffs(None, NOW - HOUR_NS, None), lambda _done, _total: None
                ).processes
                >= 40
            )
        else:
            assert rollups.refresh(connection, path, NOW) <= 1
            assert rollups.stale_hours(connection, NOW) == []


def asked(path: Path, *words: str) -> list[dict[str, Any]]:
    """The rows of a report."""
    done = CliRunner().invoke(
        report, [*words, "--format", "json", "--db", str(path)], catch_exceptions=False
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


@pytest.mark.parametrize("state", STATES)
def test_views_and_reports_are_right_beyond_what_64_bits_hold(
    huge: tuple[Path, sqlite3.Connection], state: str
) -> None:
    path, connection = huge
    become(path, connection, state)
    for view, where, processes in (
        ("command_usage", "", 41),
        ("user_usage", "", 41),
        ("job_usage", "", 40),
        ("unattributed_usage", "", 1),
    ):
        found = connection.execute(
            "select sum(processes - running), sum(cpu_s), sum(read_bytes), sum(minor_faults) from"
            f" {view}{where}"
        )
        assert found.fetchone() == (
            processes,
            processes * CPU_S,
            pytest.approx(processes * MOST),
            pytest.approx(processes * MOST),
        ), view
    for words in (
        ["commands"],
        ["users"],
        ["days"],
        ["hours"],
        ["months"],
        ["days", "--user", "5"],
    ):
        assert sum(row["cpu_s"] for row in asked(path, *words)) == 41 * CPU_S, words
    for words in (
        ["jobs"],
        ["jobs", "--since", "2000-01-01"],
        ["commands", "--job", "1"],
        ["users", "--job", "1"],
        ["days", "--job", "1"],
    ):
        assert sum(row["cpu_s"] for row in asked(path, *words)) == 40 * CPU_S, words
    assert connection.execute("select * from reconciliation where difference <> 0").fetchall() == []
    assert (
        CliRunner().invoke(report, ["audit", "--db", str(path)], catch_exceptions=False).exit_code
        == 0
    )


def test_a_bill_of_what_64_bits_do_not_hold_is_exact(huge: tuple[Path, sqlite3.Connection]) -> None:
    path, connection = huge
    connection.execute(
        "insert into tariff values (1, 0, 0, null, 'EUR', 'UTC', 2, null, '0', '1', '0', '0',"
        " '0.01')"
    )
    for state in ("as it came", "rolled up", "pruned"):
        become(path, connection, state)
        (line,) = asked(path, "bill", "--by", "user")
        assert (line["charge"], line["cpu_hours"]) == (
            f"{41 * CPU_S // 3600}.00",
            41 * CPU_S / 3600,
        ), state
        of_job, of_none = asked(path, "bill", "--by", "job")
        assert [of_job["processes"], of_none["processes"], of_none["charge"]] == [
            40,
            1,
            f"{CPU_S // 3600}.00",
        ], state


def test_a_file_of_the_largest_records_that_can_be_forged_is_ingested_and_summed(
    db: Path, tmp_path: Path
) -> None:
    pacct = tmp_path / "pacct"
    record = struct.Struct("=BBHIIIIIIfHHHHHHHH16s")
    # etime of 100 s; the largest comp_t, 2**13 - 1 eighths of 8**8, in all counters
    pacct.write_bytes(
        b"".join(
            record.pack(0, 3, 0, 0, 0, 0, 300 + i, 1, HOUR * 3600, 1e4, *[0xFFFF] * 8, b"forged")
            for i in range(200)
        )
    )
    done = CliRunner().invoke(command, [str(pacct), "--db", str(db)], catch_exceptions=False)
    assert "200 new records" in done.output
    with closing(sqlite3.connect(db)) as connection:
        ticks = 200 * (0x1FFF << 21)
        found = connection.execute(
            "select utime_ticks, stime_ticks, user_s, cpu_s, minflt from user_usage"
        ).fetchone()
        assert found == (ticks, ticks, ticks / 100, 2 * ticks / 100, ticks)
        assert (
            connection.execute("select count(*) from rollup_hour where ready = 1").fetchone()[0] > 0
        )


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_export_of_jobs_has_sums_that_no_integer_holds(
    huge: tuple[Path, sqlite3.Connection], tmp_path: Path, form: str
) -> None:
    path, _ = huge
    to = tmp_path / "export"
    with warehouse.reading(path) as connection:
        export(connection, to, form, Window(), NOW, lambda _done, _total: None)
    if form == "jsonl":
        (job,) = map(json.loads, (to / "jobs.jsonl").read_text().splitlines())
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        (job,) = parquet.ParquetFile(to / "jobs.parquet").read().to_pylist()
    assert (job["run_ns"], job["processes"], job["nvcsw"]) == (40.0 * 280 * YEAR_NS, 40, 120)
    assert isinstance(job["run_ns"], float)
    assert isinstance(job["nvcsw"], int)
    shown = CliRunner().invoke(
        report,
        ["users", "--columns", "read_bytes,minor_faults", "--db", str(path)],
        catch_exceptions=False,
    )
    assert str(int(41.0 * MOST)) in shown.stdout
