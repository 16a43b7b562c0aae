"""`elsa report audit` and `elsa report gaps`: who saw what, when something was missed, and what is
said about it.
"""

from __future__ import annotations

import csv
import io
import random
import time
from itertools import pairwise
from typing import Any

import pytest

from elsa.report.render.columns import COLUMNS
from tests.support.given import view_times
from tests.support.reports import Reports

SECOND = 10**9
REAL = 1_767_323_045 * SECOND  # real time of monotonic 0 (see given.py): 2026-01-02T03:04:05Z


@pytest.fixture
def doubtful(reports: Reports) -> Reports:
    """Two processes that both saw, one without a record between them, three from when the collector
    did not run, one that runs.
    """
    warehouse = reports.warehouse
    warehouse.insert("collector", id=1, boot_id=1, since_ns=5 * SECOND, heard_ns=1000 * SECOND)
    warehouse.insert(
        "gap",
        id=1,
        boot_id=1,
        kind="down",
        from_ns=200 * SECOND,
        to_ns=300 * SECOND,
        note="the collector did not run",
    )
    ends: list[tuple[int, int, dict[str, Any]]] = [
        (1, 10, {}),
        (2, 900, {}),
        (4, 210, {"origin": 3}),
        (5, 220, {"origin": 3}),
        (6, 230, {"origin": 3}),
    ]
    for number, second, more in ends:
        warehouse.process(number, start=second, **more)
        warehouse.acct(number, number, join=4 if more else 1, btime=REAL // SECOND + second)
    warehouse.process(3, start=100)
    warehouse.process(7, seconds=None)
    warehouse.acct(9, None, join=3, btime=REAL // SECOND + 50)
    return reports


def counts(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {
        row["class"]: (row["processes"], row["records"])
        for row in found["classes"]
        if row["processes"] or row["records"]
    }


def test_audit_counts_what_each_source_saw_and_says_when_and_why_they_differ(
    doubtful: Reports,
) -> None:
    found = doubtful.json("audit")
    assert counts(found) == {
        "both": (2, 2),
        "only_connector": (1, 0),
        "only_acct": (3, 3),
        "running": (1, 0),
        "self": (0, 1),
    }
    told = [
        (row["class"], row["cause"], row["processes"], row["first_ended_at"], row["last_ended_at"])
        for row in found["periods"]
    ]
    assert told == [
        ("only_acct", "down", 3, "2026-01-02T03:07:36.000Z", "2026-01-02T03:07:56.000Z"),
        ("only_connector", "between", 1, "2026-01-02T03:05:46.000Z", "2026-01-02T03:05:46.000Z"),
    ]
    table = doubtful.run("audit").stdout
    assert "only by accounting" in table
    assert "the collector did not run" in table
    assert "1 gap (see: elsa report gaps)" in doubtful.run("audit").stderr
    assert "showing 1 of 2 rows" in doubtful.run("audit", "--limit", "1").stderr


def test_audit_of_a_window_has_what_ended_in_it(doubtful: Reports) -> None:
    found = doubtful.json(
        "audit", "--since", "2026-01-02T03:07:40Z", "--until", "2026-01-02T03:07:50Z"
    )
    assert counts(found) == {"only_acct": (1, 1)}
    assert "running" not in {row["class"] for row in found["classes"]}
    assert [(row["cause"], row["processes"]) for row in found["periods"]] == [("down", 1)]
    words = doubtful.run(
        "audit", "--since", "2026-01-02T05:00Z", "--until", "2026-01-02T06:00Z"
    ).stderr
    assert "no process ended in that window" in words
    assert "gap" not in words


def test_audit_as_csv_is_one_table_of_classes(doubtful: Reports) -> None:
    rows = list(csv.DictReader(io.StringIO(doubtful.run("audit", "--format", "csv").stdout)))
    assert [row["class"] for row in rows][:3] == ["both", "uncertain", "only_connector"]
    assert {key for row in rows for key in row} <= set(COLUMNS)
    assert len(doubtful.run("audit", "--format", "jsonl").stdout.splitlines()) == 1


@pytest.mark.parametrize("seed", range(8))
def test_audit_is_its_views_and_windows_that_follow_each_other_add_up_to_it(
    reports: Reports, seed: int
) -> None:
    dice = random.Random(seed)
    warehouse = reports.warehouse
    for number in range(1, 60):
        join = dice.choice([None, 1, 1, 2, 4])
        start = dice.randrange(1000)
        warehouse.process(
            number,
            start=start,
            origin=3 if join == 4 else 1,
            seconds=dice.choice([None, 1]) if join is None else 1,
        )
        if join:
            warehouse.acct(number, number, join=join)
        elif dice.random() < 0.5:
            warehouse.acct(number, None, join=dice.choice([0, 3, 5]), btime=REAL // SECOND + start)
    found = reports.json("audit")
    assert list(map(view_times, found["classes"])) == warehouse.rows("select * from audit")
    views = warehouse.rows("select * from audit_period")
    assert sorted(repr(view_times(row)) for row in found["periods"]) == sorted(
        repr({k: v for k, v in row.items() if k != "period"}) for row in views
    )
    bounds = [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:09:00Z",
        "2026-01-02T03:15:00Z",
        "2026-01-02T04:00:00Z",
    ]
    parts = [
        counts(reports.json("audit", "--since", since, "--until", until))
        for since, until in pairwise(bounds)
    ]
    whole = counts(found)
    whole.pop("running", None)
    assert {
        name: tuple(sum(part.get(name, (0, 0))[place] for part in parts) for place in (0, 1))
        for name in whole
    } == whole


def test_nothing_recorded_yet_is_said(reports: Reports) -> None:
    assert "nothing is recorded yet" in reports.run("audit").stderr
    result = reports.run("gaps")
    assert result.stdout == ""
    assert "no gaps: no loss of events or records is known\n" in result.stderr
    assert "the collector was never started here" in result.stderr


def test_gaps_have_real_times_words_and_sizes_the_newest_first(doubtful: Reports) -> None:
    more = {
        "acct_file_id": 1,
        "from_position": 64,
        "to_position": 70,
        "note": "bytes that are no record",
    }
    doubtful.warehouse.insert("gap", id=2, kind="file", **more)
    silence, file, down = doubtful.json("gaps")
    assert (silence["gap_id"], silence["kind"], silence["started_at"], silence["ended_at"]) == (
        None,
        "silence",
        "2026-01-02T03:20:45Z",
        None,
    )
    assert (down["started_at"], down["ended_at"], down["duration_s"]) == (
        "2026-01-02T03:07:25.000Z",
        "2026-01-02T03:09:05.000Z",
        100.0,
    )
    assert (down["kind"], down["what"], down["lost"]) == ("down", "jobd was not listening", None)
    assert (file["path"], file["from_position"], file["to_position"]) == (
        "/var/log/account/pacct",
        64,
        70,
    )
    assert "from byte" in doubtful.run("gaps").stdout
    assert set(file) <= set(COLUMNS)
    assert [row["gap_id"] for row in doubtful.json("gaps", "--limit", "2")] == [None, 2]


def test_gaps_of_a_window_are_those_that_touch_it(doubtful: Reports) -> None:
    assert [row["gap_id"] for row in doubtful.json("gaps", "--since", "2026-01-02T03:09:00Z")] == [
        None,
        1,
    ]
    result = doubtful.run(
        "gaps", "--since", "2026-01-02T03:10:00Z", "--until", "2026-01-02T03:11:00Z"
    )
    assert (result.stdout, result.stderr) == (
        "",
        "elsa-report: no gaps: no loss of events or records is known in that window\n",
    )
    table = doubtful.run("gaps").stdout
    assert "jobd was not listening" in table
    assert "byte" not in table


def test_collector_that_does_not_hear_now_is_said_since_that_is_no_gap_yet(
    doubtful: Reports,
) -> None:
    for kind in ("gaps", "audit"):
        assert "jobd has been silent since 2026-01-02 " in doubtful.run(kind).stderr
        assert "the collector" not in doubtful.run(kind, "--until", "2026-01-02T03:20:00Z").stderr
    doubtful.warehouse.connection.execute(
        "update collector set heard_ns = ?", (time.time_ns() - REAL,)
    )
    assert "the collector" not in doubtful.run("gaps").stderr


def test_audit_shows_how_much_cpu_time_the_cut_to_ticks_lost(reports: Reports) -> None:
    assert reports.json("audit")["ticks"] == [
        {"processes": 0, "taskstats_s": 0.0, "acct_s": 0.0, "lost_s": 0.0, "lost_percent": None}
    ]
    for number, second in ((1, 10), (2, 100), (3, 100)):
        reports.warehouse.process(number, start=second)
        if number < 3:
            reports.warehouse.acct(number, number, utime=3, stime=1)
        reports.warehouse.usage(number, utime_us=36_000, stime_us=14_000)
    (row,) = reports.json("audit")["ticks"]
    assert row == reports.warehouse.row("select * from audit_ticks")
    assert row == {
        "processes": 2,
        "taskstats_s": 0.1,
        "acct_s": 0.08,
        "lost_s": 0.02,
        "lost_percent": 20.0,
    }
    assert reports.json("audit", "--since", "2026-01-02T03:05:00Z")["ticks"][0]["processes"] == 1
    assert "CPU time lost by accounting" in reports.run("audit").stdout


def test_jobs_are_compared_with_what_their_control_groups_counted(reports: Reports) -> None:
    warehouse = reports.warehouse
    assert "control groups" not in reports.run("audit").stdout
    for number, hour in ((1, 0), (2, 1)):
        warehouse.process(number, start=3600 * hour + 10)
        warehouse.usage(number, run_ns=SECOND, utime_us=0, stime_us=0)
        closed_at_ns = REAL + 3600 * hour * SECOND + 12 * SECOND
        warehouse.job(
            number, f"web{number}", members=(number,), kind="service", closed_at_ns=closed_at_ns
        )
        warehouse.insert(
            "job_cgroup", job_id=number, read_ns=1, final=1, user_us=number * 10**6, system_us=1000
        )
    groups = reports.json("audit")["groups"]
    assert [(row["name"], row["group_cpu_s"], row["difference_s"]) for row in groups] == [
        ("web2", 2.001, 1.001),
        ("web1", 1.001, 0.001),
    ]
    in_window = reports.json("audit", "--since", "2026-01-02T04:00Z")["groups"]
    assert [row["name"] for row in in_window] == ["web2"]
    assert [row["name"] for row in reports.json("audit", "--limit", "1")["groups"]] == ["web2"]
    assert "CPU time that control groups counted" in reports.run("audit").stdout


def test_job_report_shows_what_the_control_group_counted_where_it_is_known(
    filled: Reports,
) -> None:
    before = (
        filled.run("job", "build").stdout + filled.run("job", "build", "--summary", "ja").stdout
    )
    assert "group" not in before
    filled.warehouse.insert(
        "job_cgroup",
        job_id=1,
        read_ns=1,
        final=1,
        user_us=1_500_000,
        system_us=250_000,
        memory_peak=3 << 20,
    )
    assert filled.json("job", "build")["group_cpu_s"] == 1.75
    for more in ((), ("--summary", "ja")):
        shown = filled.run("job", "build", *more).stdout
        lines = [line.split() for line in shown.splitlines() if line.startswith("group")]
        assert lines == [["group", "cpu", "1.75", "s"], ["group", "peak", "3.0", "MiB"]]
