"""`elsa report timeline`: when usage counts, memory, times without jobd, series, and the drawing.
That steps add up: tests/properties/test_timeline.py.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from elsa.errors import UsageError
from elsa.report.query import steps
from elsa.report.query.times import Window
from elsa.report.render import chart
from elsa.report.render.chart import Panel, Style
from elsa.units import HOUR_NS, SECOND_NS
from tests.support.given import REAL
from tests.support.reports import Reports

# The warehouse of the tests booted at 03:04:05; its minutes end 55 s, 115 s, ... later.
WINDOW = ("--since", "2026-01-02T03:04:05Z", "--until", "2026-01-02T03:14:05Z")
CPU_S = 1_000_000


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(second: float) -> str:
    """A second after the boot as rows have it."""
    moment = datetime.fromtimestamp(REAL / SECOND_NS + second, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def used(cpu_s: float, rss_kib: int | None = None, **more: int) -> dict[str, Any]:
    """Counters of so much CPU time."""
    known = {"run_ns": int(cpu_s * SECOND_NS), "utime_us": int(cpu_s * CPU_S), "stime_us": 0}
    return known | more | ({} if rss_kib is None else {"rss_kib": rss_kib})


def cpu(reports: Reports, *arguments: str) -> list[tuple[str, float | None]]:
    """The steps in which there is CPU time, or none is known."""
    rows = reports.json("timeline", *WINDOW, "--step", "1m", *arguments)
    return [(row["since_at"], row["cpu_s"]) for row in rows if row["cpu_s"] != 0]


def test_an_interval_counts_in_the_minutes_that_it_covers(reports: Reports) -> None:
    reports.warehouse.process(1, start=5, seconds=None)
    reports.warehouse.interval(1, until=55, **used(3))
    reports.warehouse.interval(1, until=235, **used(9))
    assert cpu(reports) == [(at(0), 3.0), (at(55), 2.0), (at(115), 2.0), (at(175), 2.0)]


def test_the_rest_of_an_idle_process_counts_after_the_last_reading(reports: Reports) -> None:
    reports.warehouse.process(1, start=5, seconds=175)
    reports.warehouse.usage(1, **used(6))
    reports.warehouse.process(2, start=5, seconds=None)
    reports.warehouse.interval(1, until=55, **used(1))
    # It had used nothing new by then, and another process is read.
    reports.warehouse.interval(2, until=145, **used(0.001))
    steps = dict(cpu(reports, "--user", "1000", "--pid", "1001"))
    assert steps == {at(0): 1.0, at(115): pytest.approx(5 * 30 / 35), at(175): pytest.approx(5 / 7)}


@pytest.mark.parametrize("of", [(), ("--job", "build"), ("--by", "job")])
def test_a_step_has_the_same_usage_in_any_window(reports: Reports, of: tuple[str, ...]) -> None:
    warehouse = reports.warehouse
    warehouse.process(1, start=5, seconds=None)
    warehouse.process(2, start=100, seconds=130)
    warehouse.job(1, "build", members=(1, 2))
    warehouse.job(2, "web", kind="service", members=(1,))
    warehouse.interval(1, until=55, **used(3))
    warehouse.interval(1, until=235, **used(183))
    warehouse.usage(2, **used(65))
    rows = reports.json("timeline", *WINDOW, "--step", "5s", *of)
    whole = {(row["since_at"], row.get("name")): row["cpu_s"] for row in rows}
    # Inside of both, across the end of one, after the start of the other, and across all.
    for since, until in ((120, 180), (90, 110), (225, 240), (50, 240), (0, 590)):
        window = ("--since", at(since), "--until", at(until), "--step", "5s")
        rows = reports.json("timeline", *window, *of)
        assert len(rows) == (until - since) // 5 * len({row.get("name") for row in rows})
        for row in rows:
            of_step = whole[row["since_at"], row.get("name")]
            assert row["cpu_s"] == pytest.approx(of_step, abs=1e-6)
        if not of and until == 180:
            assert sum(row["cpu_s"] for row in rows) == pytest.approx(60 + 30)
            note = reports.run("timeline", *window).stderr
            assert "2m35s of what is spread over the edges of this window is outside of it" in note


@pytest.mark.parametrize(
    "of", ["users", "jobs", "hours", "kinds", "commands --job build", "jobs --job build"]
)
def test_reports_say_how_much_is_of_intervals_across_the_edges(reports: Reports, of: str) -> None:
    warehouse = reports.warehouse
    warehouse.process(1, start=5, seconds=None)
    warehouse.job(1, "build", members=(1,))
    for until, cpu_s in ((55, 3), (115, 7), (175, 12)):
        warehouse.interval(1, until=until, **used(cpu_s))

    def said(since: float, until: float) -> str:
        window = ("--since", at(since), "--until", at(until))
        notes = reports.run(*of.split(), *window).stderr
        return "".join(re.findall(r"an interval counts where it ends: (.*) \(elsa", notes))

    both = (
        "4.00 s of CPU time from across the start of this window is in it whole, and 5.00 s of CPU"
        " time from across its end is left out"
    )
    assert said(60, 120) == both
    assert said(55, 120) == "5.00 s of CPU time from across the end of this window is left out"
    assert said(60, 100) == "4.00 s of CPU time from across the end of this window is left out"
    assert said(55, 115) == ""
    if "--job" in of:
        warehouse.process(2, start=5, seconds=None)
        warehouse.interval(2, until=115, **used(50))
        assert said(60, 100) == "4.00 s of CPU time from across the end of this window is left out"
    assert said(-600, 590) == ""


def test_jobs_without_a_row_in_a_window_have_their_own_part_of_the_note(reports: Reports) -> None:
    warehouse = reports.warehouse
    for id_, cpu_s in ((1, 4), (2, 50)):
        warehouse.process(id_, start=5, seconds=300)
        warehouse.interval(id_, until=115, **used(cpu_s))
    warehouse.job(1, "build", members=(1,))
    result = reports.run("jobs", "--job", "build", "--since", at(60), "--until", at(100))
    assert "no process ended in that window" in result.stderr
    assert "4.00 s of CPU time from across the end of this window is left out" in result.stderr


def test_what_a_process_used_that_was_never_read_is_not_said_to_be_between_readings(
    reports: Reports,
) -> None:
    reports.warehouse.process(1, start=5, seconds=175)
    reports.warehouse.usage(1, **used(6))
    said = reports.run("timeline", *WINDOW, "--step", "1m").stderr
    assert "is spread evenly: over the life of a process that was not read" in said
    assert "from one reading" not in said


def test_time_to_come_is_empty_but_not_without_jobd(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: REAL + 125 * SECOND_NS)
    reports.warehouse.insert(
        "collector", id=1, boot_id=1, since_ns=0, heard_ns=60 * SECOND_NS, stopped_ns=None
    )
    reports.warehouse.process(1, start=5, seconds=10)
    reports.warehouse.usage(1, **used(2))
    rows = reports.json("timeline", *WINDOW, "--step", "1m")
    assert [row["silent_s"] for row in rows] == [0, 35, 10, *[0] * 8]
    assert [row["cpu_s"] for row in rows] == [2, 0, *[None] * 9]


def test_a_long_process_without_a_reading_counts_at_its_end(reports: Reports) -> None:
    reports.warehouse.process(1, start=5, seconds=3 * 3600)
    reports.warehouse.usage(1, **used(7))
    reports.warehouse.process(2, start=5 + 3 * 3600 - 600, seconds=595)
    reports.warehouse.usage(2, **used(595))
    window = ("--since", "2026-01-02T05:00:00Z", "--until", "2026-01-02T07:00:00Z", "--step", "5m")
    result = reports.run("timeline", *window, "--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    filled = {row["since_at"][11:16]: round(row["cpu_s"]) for row in rows if row["cpu_s"]}
    assert filled == {"05:50": 50, "05:55": 300, "06:00": 252}
    assert "7.00 s of CPU time counts where processes ended" in result.stderr
    assert "98 % of the CPU time was used across steps" in result.stderr


def test_a_process_may_be_read_that_started_just_after_the_interval(reports: Reports) -> None:
    reports.warehouse.process(1, start=55.001, seconds=None)
    reports.warehouse.interval(1, until=55, **used(0.5))
    assert cpu(reports) == [(at(0), 0.5)]
    fine = reports.json("timeline", *WINDOW, "--step", "10s")
    assert [row["since_at"] for row in fine if row["cpu_s"]] == [at(45)]


def test_times_without_jobd_are_empty_unless_something_counts_there(reports: Reports) -> None:
    warehouse = reports.warehouse
    for id_, since, until in ((1, 0, 60), (2, 300, 590)):
        warehouse.insert(
            "collector",
            id=id_,
            boot_id=1,
            since_ns=since * SECOND_NS,
            heard_ns=until * SECOND_NS,
            stopped_ns=until * SECOND_NS,
        )
    warehouse.process(1, start=5, seconds=10)
    warehouse.usage(1, **used(2))
    warehouse.process(2, start=180, seconds=10)
    warehouse.acct(1, 2, utime=100)
    rows = reports.json("timeline", *WINDOW, "--step", "1m")
    assert [row["cpu_s"] for row in rows] == [2, 0, None, 1, None, 0, 0, 0, 0, 0, None]
    assert [row["silent_s"] for row in rows] == [0, 55, 60, 60, 60, 5, 0, 0, 0, 5, 5]
    # Only the record of a process without I/O is known.
    assert {row["write_bytes"] for row in rows} == {None}
    drawn = reports.run("timeline", *WINDOW, "--step", "1m", "--metric", "cpu,io")
    assert "jobd did not run for 4m10s of this window" in drawn.stderr
    assert [line.count("░" * 6) for line in drawn.stdout.splitlines()[2:7]] == [3] * 5
    assert "written to storage per second: not known" in drawn.stdout


def test_memory_keeps_the_last_reading_until_the_process_ends(reports: Reports) -> None:
    warehouse = reports.warehouse
    warehouse.process(1, start=5, seconds=None)
    warehouse.process(2, start=5, seconds=230)
    warehouse.process(3, start=5, seconds=590)
    warehouse.interval(1, until=55, **used(1, 100))
    warehouse.interval(2, until=115, **used(1, 1000))
    warehouse.interval(1, until=175, **used(2, 400))
    warehouse.interval(3, until=500, **used(2, 50))
    rows = reports.json("timeline", *WINDOW, "--step", "1m")
    memory = [row["resident_kib"] for row in rows]
    assert memory == [100, 1100, 1400, 1400, 400, 400, 400, 400, 450, 450, 400]
    late = ("--since", "2026-01-02T03:08:05Z", "--until", "2026-01-02T03:10:05Z", "--step", "1m")
    # The newest value before the window.
    assert [row["resident_kib"] for row in reports.json("timeline", *late)] == [400, 400, 400]
    result = reports.run("timeline", *WINDOW)
    assert "shared pages count once for each process" in result.stderr
    assert "most 1.4 MiB at 03:0" in result.stdout


def test_the_series_of_jobs_and_the_rest_make_up_the_host(reports: Reports) -> None:
    warehouse = reports.warehouse
    warehouse.job(1, "web", kind="service")
    warehouse.job(2, "backup", kind="cron")
    warehouse.job(3, "backup", kind="cron")
    warehouse.job(4, "mine")
    for id_, job in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 4)):
        warehouse.process(id_, start=10 * id_, seconds=None if id_ == 1 else 30)
        warehouse.stay(job, id_)
        if id_ > 1:
            warehouse.usage(id_, **used(id_))
    warehouse.interval(1, until=55, **used(20, 500))
    warehouse.interval(4, until=65, **used(1, 70))
    by_job = reports.json("timeline", *WINDOW, "--step", "10m", "--by", "job")
    found = {
        (row["rank"], row["name"], row["kind"], row["cpu_s"], row["resident_kib"])
        for row in by_job
        if row["cpu_s"]
    }
    assert found == {
        (1, "web", "service", 20, 500),
        (2, "none", None, 9, 70),
        (3, "backup", "cron", 5, 0),
    }
    by_kind = reports.json("timeline", *WINDOW, "--step", "10m", "--by", "kind", "--top", "1")
    named = {(row["rank"], row["kind"]): row["cpu_s"] for row in by_kind if row["cpu_s"]}
    assert named == {(1, "service"): 20, (None, "other"): 14}
    chosen = reports.json("timeline", *WINDOW, "--kind", "manual", "--step", "10m", "--by", "job")
    assert [row["name"] for row in chosen if row["cpu_s"]] == ["mine"]


def test_a_job_is_drawn_over_its_own_time(reports: Reports) -> None:
    warehouse = reports.warehouse
    warehouse.process(1, start=100, seconds=19.5)
    warehouse.usage(1, **used(9.75))
    warehouse.job(1, "build", members=(1,), closed_at_ns=REAL + 200 * SECOND_NS)
    rows = reports.json("timeline", "--job", "build")
    assert (rows[0]["since_at"], rows[-1]["until_at"]) == (at(100), at(120))
    assert [row["cpus"] for row in rows] == [pytest.approx(0.5)] * 19 + [pytest.approx(0.25)]
    assert reports.run("timeline", "--job", "build").stdout.splitlines()[0] == (
        "2026-01-02 03:05:45 to 2026-01-02 03:06:05, a column is 1s"
    )


def test_a_member_that_entered_late_counts_from_then_on(reports: Reports) -> None:
    warehouse = reports.warehouse
    warehouse.process(1, start=5, seconds=None)
    warehouse.job(1, "build")
    warehouse.read(1, at=85, **used(50))
    warehouse.stay(1, 1, since=85, how=1)
    warehouse.interval(1, until=115, **used(53))
    assert cpu(reports, "--job", "build") == [(at(55), 3.0)]
    fine = reports.json("timeline", *WINDOW, "--step", "10s", "--job", "build")
    assert [row["since_at"] for row in fine if row["cpu_s"]] == [at(85), at(95), at(105)]


def test_what_cannot_be_drawn_is_said(reports: Reports) -> None:
    reports.warehouse.process(1)
    for arguments, said in (
        (("--step", "7m"), "--step: no steps of 7m; write one of 1s, 2s, 5s"),
        (("--step", "1s", *WINDOW), "600 steps do not fit this width: write at least --step 10s"),
        (("--step", "1s", "--since", "2020", "--format", "csv"), "write at least --step"),
        (("--since", "2016"), "steps do not fit this width: take a shorter window, or take"),
        (("--metric", "disk"), "--metric: cannot read 'disk'; write one of cpu, memory, io"),
        (("--sort", "cpus"), "leave --sort out"),
        (("--since", "2099"), "this window has not started yet"),
    ):
        with pytest.raises(UsageError) as error:
            reports.run("timeline", *arguments)
        assert said in str(error.value)


def test_rows_may_be_chosen_sorted_and_limited(reports: Reports) -> None:
    reports.warehouse.process(1, start=5, seconds=None)
    reports.warehouse.interval(1, until=55, **used(3, read_bytes=6000))
    chosen = ("timeline", *WINDOW, "--step", "5m", "--columns", "since_at,cpus,read_bytes_s")
    lines = reports.run(*chosen, "--format", "csv").stdout.splitlines()
    assert lines[0] == "since_at,cpus,read_bytes_s"
    assert lines[1].startswith("2026-01-02T03:04:05.000Z,0.0545")
    assert len(lines) == 4
    table = reports.run(*chosen, "--sort", "cpus", "--limit", "1").stdout.splitlines()
    assert table[-1].split() == ["2026-01-02", "03:04:05", "0.05", "109", "B"]
    assert "select" in reports.run("timeline", *WINDOW, "--explain").stdout


# --- steps


def test_steps_start_at_round_times_of_this_hosts_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    # From Saturday noon over the day of 25 hours.
    since = 1_792_836_000 * SECOND_NS
    window = Window(since, since + 60 * HOUR_NS)
    lengths = {}
    for length_s in (6 * 3600, 86_400, steps.WEEK_S, steps.MONTH_S):
        laid = steps.lay(window, length_s)
        lengths[length_s] = [(step.until_ns - step.since_ns) / HOUR_NS for step in laid]
    assert lengths[6 * 3600] == [6, 6, 7, 6, 6, 6, 6, 6, 6, 5]
    assert lengths[86_400] == [12, 25, 23]
    assert lengths[steps.WEEK_S] == [37, 23]
    assert lengths[steps.MONTH_S] == [60]


def test_as_many_steps_are_taken_as_fit() -> None:
    def fitting(hours: float, most: int = 68) -> str:
        return steps.name(steps.fitting(Window(0, int(hours * HOUR_NS)), most))

    assert [fitting(hours) for hours in (0.01, 0.1, 1, 24, 48, 24 * 7, 24 * 30, 24 * 365)] == [
        *("1s", "10s", "1m", "30m", "1h", "3h", "12h", "1w")
    ]


# --- the drawing

STARTS_S = [1_767_312_000 + 1800 * number for number in range(48)]


def text(value: float) -> str:
    return f"{value:.2f}"


def test_a_panel_has_its_maximum_its_times_and_its_gaps() -> None:
    values = [None if 30 <= place < 34 else place / 10 for place in range(48)]
    drawn = [Panel("CPUs used", [values], text, ", 9 s in all")]
    assert (
        "\n".join(chart.panels(drawn, STARTS_S, 1800, Style(80, blocks=True)))
        == """\
CPUs used: most 4.70 at 23:30, 9 s in all
4.70 │                              ░░░░     ▁▂▃▄▅▅▆▇█
     │                             ▁░░░░▅▆▇▇██████████
     │                    ▁▂▃▄▄▅▆▇██░░░░██████████████
     │          ▁▁▂▃▄▅▆▆▇███████████░░░░██████████████
   0 │ ▁▂▃▃▄▅▆▇█████████████████████░░░░██████████████
     └────────────────────────────────────────────────
      00:00   04:00   08:00   12:00   16:00   20:00"""
    )
    assert (
        "\n".join(chart.panels(drawn, STARTS_S, 1800, Style(80, blocks=False)))
        == """\
CPUs used: most 4.70 at 23:30, 9 s in all
4.70 |                                        ...:::##
     |                                  :::###########
     |                     ...:::###    ##############
     |           ....:::############    ##############
   0 | ....:::######################????##############
     +------------------------------------------------
      00:00   04:00   08:00   12:00   16:00   20:00"""
    )


def test_series_are_stacked_as_letters_and_small_ones_are_seen() -> None:
    series = [[4.0, 0.0, 0.1, None, 8.0], [4.0, 8.0, 0.2, None, 0.0]]
    drawn = [Panel("CPUs used", series, text), Panel("memory", [[None] * 5], text)]
    starts_s = [1_767_312_000 + 86_400 * number for number in range(5)]
    lines = chart.panels(drawn, starts_s, 86_400, Style(32, blocks=True))
    assert (
        "\n".join(lines)
        == """\
CPUs used: most 8.00 at 01-02
8.00 │BBBBBBBBBB     ░░░░░AAAAA
     │BBBBBBBBBB     ░░░░░AAAAA
     │BBBBBBBBBB     ░░░░░AAAAA
     │BBBBBBBBBB     ░░░░░AAAAA
     │AAAAABBBBB     ░░░░░AAAAA
     │AAAAABBBBB     ░░░░░AAAAA
     │AAAAABBBBB     ░░░░░AAAAA
   0 │AAAAABBBBBbbbbb░░░░░AAAAA
memory: not known
     └─────────────────────────
      01-02     01-04     01-06"""
    )


def test_colours_are_for_terminals() -> None:
    series = [[1.0], [1.0]]
    drawn = [Panel("CPUs used", series, text)]
    plain = chart.panels(drawn, [0], 3600, Style(20, blocks=True))
    coloured = chart.panels(drawn, [0], 3600, Style(20, blocks=True, colour=True))
    assert "\x1b" not in "".join(plain)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in coloured] == plain
    assert "\x1b[7;34mA" in coloured[-3]


def test_the_memory_of_a_job_is_what_its_processes_had_together(reports: Reports) -> None:
    warehouse = reports.warehouse
    warehouse.process(1, start=100, seconds=10)
    warehouse.usage(1, **used(5, 700))
    warehouse.job(1, "build", members=(1,), closed_at_ns=REAL + 111 * SECOND_NS)
    for second, kib, by in ((101, 300, 1), (101.5, 200, 1), (104, 900, 2)):
        warehouse.insert(
            "job_memory", job_id=1, read_ns=int(second * SECOND_NS), memory_kib=kib, memory_by=by
        )
    window = ("--job", "build", "--until", at(113))
    rows = reports.json("timeline", *window)
    # The most in each second, as before it until the next reading; the job was closed at 111 s.
    expected = [None, 300, 200, 200, *[900] * 7, 0, 0]
    assert [row["resident_kib"] for row in rows] == expected
    assert "of all processes of the job together" in reports.run("timeline", *window).stderr
    # A selection of its processes has no such readings.
    some = reports.json("timeline", *window, "--command", "work")
    assert {row["resident_kib"] for row in some} == {None}
