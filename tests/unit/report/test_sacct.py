"""`elsa report sacct`: jobs in the words of Slurm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from elsa.errors import UsageError
from tests.support.given import REAL, SECOND
from tests.support.reports import Reports


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def jobs(reports: Reports) -> Reports:
    """Three jobs: one that worked, one that was killed, one that runs."""
    warehouse = reports.warehouse
    for number, status, seconds in ((1, 0, 90_061), (2, 9, 5), (3, None, None)):
        warehouse.process(number, start=number * 100, seconds=seconds, exit_status=status)
        closed = None if seconds is None else REAL + (number * 100 + seconds) * SECOND
        warehouse.job(
            number, f"job|{number}", created_at_ns=REAL + number * 100 * SECOND, closed_at_ns=closed
        )
        warehouse.stay(number, number, how=3)
    warehouse.usage(
        1, run_ns=3_700 * SECOND, utime_us=3_000_000_000, stime_us=700_000_000, rss_kib=2048
    )
    warehouse.usage(2, run_ns=1_234_567_890, utime_us=1_000_000, stime_us=234_568)
    warehouse.insert("job_tag", job_id=1, key="account", value="acme")
    return reports


def rows(jobs: Reports, *options: str) -> list[list[str]]:
    printed = jobs.run("sacct", "-P", "-n", "-S", "2026-01-01", *options).stdout
    return [line.split("|") for line in printed.splitlines()]


def test_fields_are_written_as_sacct_writes_them(jobs: Reports) -> None:
    fields = "JobID,State,ExitCode,Start,Elapsed,TotalCPU,MaxRSS,Account"
    *ended, running = rows(jobs, "-o", fields)
    assert ended == [
        ["1", "COMPLETED", "0:0", "2026-01-02T03:05:45", "1-01:01:01", "01:01:40", "2048K", "acme"],
        ["2", "FAILED", "0:9", "2026-01-02T03:07:25", "00:00:05", "00:01.235", "", ""],
    ]
    del running[4]  # the time so far
    assert running == ["3", "RUNNING", "0:0", "2026-01-02T03:09:05", "", "", ""]


def test_elapsed_is_the_time_so_far_of_what_runs_and_empty_where_it_is_not_known(
    jobs: Reports,
) -> None:
    def elapsed_s() -> int:
        return int(rows(jobs, "-j", "3", "-o", "ElapsedRaw")[0][0])

    started = datetime.fromisoformat("2026-01-02T03:09:05Z").timestamp()
    before, shown, after = time.time(), elapsed_s(), time.time()
    assert int(before - started) <= shown <= after - started
    (job,) = json.loads(jobs.run("sacct", "-j", "3", "--json").stdout)["jobs"]
    assert job["time"]["elapsed"] >= shown
    jobs.warehouse.connection.execute("update job set closed_at_ns = 5 where id = 3")
    fields = "State,Elapsed,ElapsedRaw"
    assert rows(jobs, "-j", "3", "-S", "1970", "-o", fields) == [["COMPLETED", "", ""]]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ("R", ["3", "4"]),
        ("running,f", ["2", "3", "4"]),
        ("CD", ["1"]),
        ("NODE_FAIL", ["5"]),
        ("CA", []),
        ("PENDING", []),
    ],
)
def test_s_goes_by_the_state_that_is_printed(jobs: Reports, wanted: str, ids: list[str]) -> None:
    # Open with a failed command; closed by a reboot, with a failed command too.
    for number, closed in ((4, None), (5, REAL + 600 * SECOND)):
        jobs.warehouse.process(number, start=number * 100, seconds=5, exit_status=256)
        made = REAL + number * 100 * SECOND
        jobs.warehouse.job(number, "more", created_at_ns=made, closed_at_ns=closed)
        jobs.warehouse.stay(number, number, how=3)
    jobs.warehouse.connection.execute("update job set close_reason = 'reboot' where id = 5")
    assert [line[0] for line in rows(jobs, "-o", "JobID", "-s", wanted)] == ids
    states = {line[0] for line in rows(jobs, "-o", "State", "-s", wanted)}
    assert len(states) == len(wanted.split(",")) or not ids


def test_errors_name_the_options_of_sacct(jobs: Reports) -> None:
    with pytest.raises(UsageError, match=r"^-s: no state open; there are BOOT_FAIL \(BF\), CANC"):
        jobs.run("sacct", "-s", "open")
    with pytest.raises(UsageError, match=r"^-S: cannot read the time 'garbage'"):
        jobs.run("sacct", "-S", "garbage")
    with pytest.raises(
        UsageError, match=r"^-S today is not before -E 1999-01-01; give an earlier -S"
    ):
        jobs.run("sacct", "-S", "today", "-E", "1999-01-01")


def test_jobs_are_those_that_were_there_in_the_window(jobs: Reports) -> None:
    def ids(*options: str) -> list[str]:
        printed = jobs.run("sacct", "-P", "-n", "-o", "JobID", *options).stdout
        return printed.split()

    assert ids("-S", "2026-01-02T03:08", "-E", "2026-01-02T03:09") == ["1"]
    assert ids("-S", "2026-01-05") == ids() == ["3"]
    assert ids("-j", "1,2") == ["1", "2"]
    assert ids("-S", "2026-01-01", "-s", "F") == ["2"]
    assert ids("-S", "2026-01-01", "-u", "0") == []


def test_columns_have_widths_and_a_cut_is_marked(jobs: Reports) -> None:
    printed = jobs.run("sacct", "-j", "1", "-o", "JobName%-4,State%6", "-X").stdout
    assert printed.splitlines() == ["JobN  State ", "---- ------ ", "job+ COMPL+ "]
    assert jobs.run("sacct", "-j", "1", "-o", "JobName", "-p", "-n").stdout == "job\\x7c1|\n"


def test_json_has_the_names_of_slurm(jobs: Reports) -> None:
    found = json.loads(jobs.run("sacct", "-j", "2", "--json").stdout)["jobs"]
    assert [(job["job_id"], job["state"]["current"]) for job in found] == [(2, ["FAILED"])]
    assert found[0]["exit_code"]["signal"]["id"] == 9
    assert found[0]["time"]["total"] == {"seconds": 1, "microseconds": 234568}


def test_a_field_without_meaning_here_is_refused_with_those_that_have_one(jobs: Reports) -> None:
    with pytest.raises(UsageError, match="no field AllocCPUS; there are JobID, "):
        jobs.run("sacct", "-o", "JobID,AllocCPUS")
    assert "TotalCPU" in jobs.run("sacct", "-e").stdout.split()


def test_a_job_of_automatic_jobs_that_were_switched_off_is_not_completed(jobs: Reports) -> None:
    jobs.warehouse.connection.execute(
        "update job set kind = 'service', closed_at_ns = 5, close_reason = 'disabled' where id = 3"
    )
    assert rows(jobs, "-j", "3", "-o", "State,ExitCode", "-S", "1970") == [["CANCELLED", "0:0"]]
