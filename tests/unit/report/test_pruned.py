"""Of processes that were pruned only hourly sums are left: every report that would show more of
them says so, and no other.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from elsa.cli.report import report
from elsa.report import completeness
from elsa.state.tariff import RATES, Tariff
from elsa.store import database, retention, rollups, tariffs
from tests.support.month import BEGIN_NS, END_NS, HOUR, Month, write

DAY = 24 * HOUR
HALF = BEGIN_NS + 15 * DAY
WHOLE = ("--since", "2026-10-03T04:00Z", "--until", "2026-10-12T04:00Z")
CUT = ("--since", "2026-10-03T04:30Z", "--until", "2026-10-12T04:30Z")
LATER = ("--since", "2026-10-20T04:30Z")


@pytest.fixture(scope="module")
def db(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small month, its first half pruned."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("pruned") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(3000))
    with closing(database.open_for_writing(path)) as connection:
        rollups.refresh(connection, path, END_NS + DAY)
        connection.execute("update job set closed_at_ns = created_at_ns where closed_at_ns is null")
        retention.prune(
            connection, path, retention.Cutoffs(None, HALF, None), lambda _done, _total: None
        )
    return path


def run(db: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(report, [*arguments, "--db", str(db)], catch_exceptions=False)
    assert result.exit_code == 0
    return result


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "--job", "3,4"),
        ("commands", "--user", "1001"),
        ("groups", "--exit", "nonzero"),
        ("days", "--clip"),
        ("jobs", *CUT, "--clip"),
        ("tree", "3"),
        ("tree", "3", "--collapsed"),
        ("compare", "3", "4"),
        ("last", *WHOLE),
        ("processes", "--limit", "5"),
        ("audit",),
        ("sa",),
        ("lastcomm", "--job", "3"),
        ("dump-acct", *WHOLE),
    ],
)
def test_a_report_of_the_processes_themselves_says_which_of_them_are_gone(
    db: Path, arguments: tuple[str, ...]
) -> None:
    assert "pruned: only hourly sums" in run(db, *arguments).stderr


@pytest.mark.parametrize(
    "arguments", [("commands", "--job", "3"), ("users", "--job", "3"), ("job", "3")]
)
def test_pruned_usage_of_a_job_is_a_row_without_a_name(
    db: Path, arguments: tuple[str, ...]
) -> None:
    assert ": the line without a name is the sum over them" in run(db, *arguments).stderr


def test_jobs_with_pruned_processes_say_that_no_source_count_has_them(db: Path) -> None:
    words = "only sums are left of some processes of these jobs"
    assert words in run(db, "jobs").stderr
    assert words in run(db, "jobs", *WHOLE).stderr
    assert words not in run(db, "jobs", *LATER).stderr


@pytest.mark.parametrize("name", ["commands", "users", "groups", "hours", "days", "months", "jobs"])
def test_a_report_from_hourly_sums_says_only_of_hours_which_its_window_cuts_that_they_are_left_out(
    db: Path, name: str
) -> None:
    assert "pruned" not in run(db, name).stderr
    assert "pruned" not in run(db, name, *WHOLE).stderr
    assert "pruned" not in run(db, name, *LATER).stderr
    assert "pruned and not counted: the window cuts hours" in run(db, name, *CUT).stderr


def test_nothing_is_said_of_a_job_or_a_time_of_which_nothing_was_pruned(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        young = connection.execute(
            "select min(id) from job where id not in (select job_id from rollup_job where pruned"
            " = 1)"
        ).fetchone()[0]
    for arguments in (
        ("tree", str(young)),
        ("commands", "--job", str(young)),
        ("last", *LATER),
        ("sa", *LATER),
        ("audit", *LATER),
    ):
        assert "pruned" not in run(db, *arguments).stderr


def test_days_that_start_within_an_hour_say_that_they_lack_pruned_usage(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert "pruned: only hourly sums" in run(db, "days").stderr
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_flame_graph_says_what_it_lacks(db: Path, tmp_path: Path) -> None:
    assert "pruned: only hourly sums" in run(db, "flame", "3", "-o", str(tmp_path / "x.svg")).stderr


def test_a_wholly_pruned_job_is_reported_as_pruned_and_not_as_one_that_has_not_ended(
    db: Path,
) -> None:
    with closing(sqlite3.connect(db)) as connection:
        gone = (
            "select min(job_id) from rollup_job where pruned = 1 and job_id not in"
            " (select job_id from all_memberships)"
        )
        job = str(connection.execute(gone).fetchone()[0])
    words = run(db, "processes", "--job", job).stderr
    assert "no process of that job that ended is left in the warehouse" in words
    assert "has ended yet" not in words
    for name in ("commands", "users"):
        assert "the line without a name" in run(db, name, "--job", job).stderr


def test_a_pruned_job_in_a_window_names_the_hours_that_the_window_cuts(
    db: Path,
) -> None:
    with closing(sqlite3.connect(db)) as connection:
        most = (
            "select job_id, min(hour) * 3600 from rollup_job where pruned = 1 group by job_id"
            " having max(hour) > min(hour) limit 1"
        )
        job, second = connection.execute(most).fetchone()
    since = (datetime.fromtimestamp(second + more, UTC).isoformat() for more in (0, 1800))
    whole, cut = (run(db, "job", str(job), "--since", text) for text in since)
    assert "pruned and not counted: the window cuts hours" in cut.stderr
    assert "pruned and not counted" not in whole.stderr
    for result in (whole, cut):
        assert "no process of that job" not in result.stderr


@pytest.mark.parametrize("name", ["commands", "jobs", "processes", "bill"])
def test_the_reason_for_an_empty_report_is_queried_only_if_it_is_empty(
    db: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "bill":
        with closing(database.open_for_writing(db)) as connection:
            tariffs.add(
                connection, Tariff(0, 0, "EUR", "UTC", 2, dict.fromkeys(RATES, Decimal(1)), {}), 0
            )
    monkeypatch.setattr(completeness, "nothing", lambda *_: pytest.fail("asked in vain"))
    assert run(db, name).stdout
