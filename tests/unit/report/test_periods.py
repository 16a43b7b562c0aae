"""`elsa report hours`, `days` and `months`: tables, bars, and the marks of an estimate. Their sums:
tests/properties/test_windows.py.
"""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from elsa.errors import UsageError
from elsa.report.query import periods
from elsa.report.render import plot
from elsa.report.render.columns import COLUMNS
from tests.support.reports import Reports


def test_periods_come_in_their_order_and_a_limit_keeps_the_newest(filled: Reports) -> None:
    filled.warehouse.process(9, start=4 * 3600, seconds=1)
    hours = [row["hour"] for row in filled.json("hours")]
    assert len(hours) == 2
    assert hours == sorted(hours)
    assert [row["hour"] for row in filled.json("hours", "--limit", "1")] == hours[1:]
    assert [row["processes"] for row in filled.json("months")] == [4]
    assert [row["processes"] for row in filled.json("days", "--job", "build")] == [2]
    assert "no process ended in that window" in filled.run("days", "--since", "2026-02-01").stderr


def test_clipped_figures_are_marked_as_an_estimate_in_a_column_and_in_words(
    filled: Reports,
) -> None:
    window = ["--since", "2026-01-02T03:04:25Z", "--until", "2026-01-02T03:04:30Z"]
    for kind in (
        ["commands"],
        ["users"],
        ["groups"],
        ["hours"],
        ["days"],
        ["months"],
        ["jobs"],
        ["job", "build"],
    ):
        result = filled.run(*kind, *window, "--clip")
        assert "estimate" in result.stdout, kind
        assert (
            "elsa-report: estimate: 100 % of the CPU time was not read while it was used, and is"
            " spread evenly over the lifetime" in result.stderr
        ), kind
    (make,) = filled.json("commands", *window, "--clip", "--job", "build")
    # 5 of its 20 seconds
    assert (
        make["command"],
        make["utime_ticks"],
        make["elapsed_s"],
        make["processes"],
        make["estimate"],
    ) == ("make", 25, 5.0, 1, 1)
    assert "estimate" not in filled.run("commands", *window, "--format", "csv").stdout


def test_process_that_was_taken_out_of_a_job_belongs_to_the_window_in_which_that_was(
    filled: Reports,
) -> None:
    filled.warehouse.process(20, start=10, seconds=None, comm="daemon")
    filled.warehouse.job(5, "left")
    filled.warehouse.stay(5, 20, until=100)
    filled.warehouse.read(20, at=100, run_ns=2 * 10**9, utime_us=2_000_000, stime_us=0)
    assert filled.json("job", "left")["cpu_s"] == 2.0
    assert [(row["day"], row["cpu_s"]) for row in filled.json("days", "--job", "left")] == [
        ("2026-01-02", 2.0)
    ]
    assert [row["pid"] for row in filled.json("processes", "--job", "left")] == [1020]
    assert [row["cpu_s"] for row in filled.json("users", "--job", "left")] == [2.0]
    assert filled.json("job", "left", "--until", "2026-01-02T03:05:00Z")["processes"] == 0
    assert filled.json("job", "left", "--since", "2026-01-02T03:05:00Z")["cpu_s"] == 2.0


def test_bars_are_as_long_as_their_values_and_empty_periods_stand_between(filled: Reports) -> None:
    filled.warehouse.process(9, start=3 * 3600, seconds=10)
    filled.warehouse.acct(9, 9, utime=157)
    lines = filled.run("hours", "--plot").stdout.splitlines()
    assert lines[0] == "cpu"
    assert len(lines) == 5
    full, *_, half = (line.count("█") for line in lines[1:])
    assert (full, half) == (50, 25)
    assert lines[2].endswith(" -")
    assert "run" in filled.run("days", "--plot", "running").stdout


def test_bars_are_ascii_where_nothing_else_can_be_read() -> None:
    text = plot.bars([("a", 2.0), ("b", 1.0), ("c", None)], COLUMNS["cpu_s"], 30, blocks=False)
    assert text.splitlines() == [
        "cpu",
        f"a  {'#' * 19}  2.00 s",
        f"b  {'#' * 10:<19}  1.00 s",
        f"c  {' ' * 19}       -",
    ]


def test_plot_of_what_is_no_figure_or_no_drawing_is_refused(filled: Reports) -> None:
    with pytest.raises(
        UsageError, match="--plot: this report has no column 'cpus'; did you mean cpu_s"
    ):
        filled.run("hours", "--plot", "cpus")
    with pytest.raises(UsageError, match="a figure"):
        filled.run("hours", "--plot", "hour")
    with pytest.raises(UsageError, match="leave --format and --sort out"):
        filled.run("hours", "--plot", "--format", "csv")


def test_hours_of_half_a_century_are_those_in_which_there_is_something(filled: Reports) -> None:
    filled.warehouse.acct(9, None, comm="old", btime=3600, etime=100.0, utime=7)
    hours = filled.json("hours")
    assert [(row["hour"][:13], row["utime_ticks"]) for row in hours] == [
        ("1970-01-01T01", 7),
        ("2026-01-02T03", 304),
    ]
    assert [row["utime_ticks"] for row in filled.json("hours", "--clip")] == [7, 304]
    assert [row["day"] for row in filled.json("days")] == ["1970-01-01", "2026-01-02"]
    lines = filled.run("hours", "--plot").stdout.splitlines()
    assert len(lines) == 4
    assert lines[2].split("  ")[0] == "490921 h without any"
    assert [line[:10] for line in filled.run("months", "--plot").stdout.splitlines()[1::2]] == [
        "1970-01   ",
        "2026-01   ",
    ]


def test_a_life_of_years_is_spread_over_its_newest_hours_and_the_older_ones_are_named(
    reports: Reports,
) -> None:
    years = 3 * 365 * 86400
    reports.warehouse.process(1, start=-years, seconds=years)
    reports.warehouse.acct(1, 1, utime=3 * 365 * 24)
    done = reports.run("hours", "--clip", "--format", "jsonl")
    assert done.stdout.count("\n") == periods.MOST
    assert "hours before 2023-09-21T" in done.stderr
    assert sum(row["elapsed_s"] for row in reports.json("months", "--clip")) == pytest.approx(years)


def test_days_around_a_day_that_the_clock_skipped(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Apia")
    time.tzset()
    try:
        for number, day in enumerate(("2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00")):
            reports.warehouse.acct(
                number + 1, None, btime=int(datetime.fromisoformat(day).timestamp())
            )
        assert [row["day"] for row in reports.json("days")] == ["2011-12-29", "2011-12-31"]
        assert len(reports.run("days", "--plot").stdout.splitlines()) == 3
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_a_process_used_counts_in_the_hours_in_which_it_was_used_also_while_it_runs(
    filled: Reports,
) -> None:
    daemon = ("--command", "daemon")
    warehouse = filled.warehouse
    warehouse.process(20, start=10, seconds=None, comm="daemon")
    warehouse.job(5, "service", members=(20,))
    # 04:00 and 05:00 are 3355 and 6955 s after the boot.
    for until, seconds in ((3355, 3), (6955, 7), (7000, 8)):
        cpu = {"run_ns": seconds * 10**9, "utime_us": seconds * 10**6, "stime_us": 0}
        warehouse.interval(20, until=until, read_bytes=seconds << 20, rss_kib=seconds, **cpu)

    def hours(*choice: str) -> list[tuple[float | None, int, int]]:
        rows = filled.json("hours", *choice)
        return [(row["cpu_s"], row["read_bytes"] >> 20, row["processes"]) for row in rows]

    for choice in (daemon, ("--job", "service")):
        assert hours(*choice) == [(3.0, 3, 0), (4.0, 4, 0), (1.0, 1, 0)]
    (row,) = filled.json("commands", *daemon)
    assert (row["cpu_s"], row["processes"], row["running"]) == (8.0, 1, 1)
    hour = ("--since", "2026-01-02T04:00:00Z", "--until", "2026-01-02T05:00:00Z")
    (row,) = filled.json("commands", *daemon, *hour)
    assert (row["cpu_s"], row["rss_kib"], row["processes"]) == (4.0, 7, 0)
    (row,) = filled.json("jobs", *hour)
    assert (row["name"], row["cpu_s"], row["running"]) == ("service", 4.0, 1)
    assert filled.json("job", "service")["cpu_s"] == 8.0
    assert filled.json("processes", *daemon, "--state", "running")[0]["cpu_s"] == 8.0

    warehouse.connection.execute(
        "update process set elapsed_ns = 7100000000000, end_clock_id = 1 where id = 20"
    )
    warehouse.usage(20, run_ns=10 * 10**9, utime_us=10**7, stime_us=0, read_bytes=12 << 20)
    for choice in (daemon, ("--job", "service")):
        assert hours(*choice) == [(3.0, 3, 0), (4.0, 4, 0), (3.0, 5, 1)]
    assert filled.json("job", "service")["cpu_s"] == 10.0
