"""Windows and jobs, in the words that people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.errors import UsageError
from elsa.kernel import accounts
from elsa.report.query import job_lookup, options, times
from elsa.report.query.times import Window
from tests.support.reports import Reports

HOUR = 3600
# 2026-11-04 15:30:20 in Berlin, which is UTC+1 in winter.
NOW = datetime(2026, 11, 4, 14, 30, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # The rule itself rather than a name, so that no time zone files are needed.
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("now", "2026-11-04T14:30:20"),
        ("now-2hours", "2026-11-04T12:30:20"),
        ("now-30minutes", "2026-11-04T14:00:20"),
        ("now-90s", "2026-11-04T14:28:50"),
        ("now-1day", "2026-11-03T14:30:20"),
        ("NOW+1week", "2026-11-11T14:30:20"),
        ("today", "2026-11-03T23:00:00"),
        ("midnight", "2026-11-03T23:00:00"),
        ("yesterday", "2026-11-02T23:00:00"),
        ("tomorrow", "2026-11-04T23:00:00"),
        ("noon", "2026-11-04T11:00:00"),
        ("09:30", "2026-11-04T08:30:00"),
        ("9:30", "2026-11-04T08:30:00"),
        ("09:30:15", "2026-11-04T08:30:15"),
        ("09:30:15.25", "2026-11-04T08:30:15.250"),
        ("15:30:20.5", "2026-11-03T14:30:20.500"),
        ("yesterday 09:30:15.25", "2026-11-03T08:30:15.250"),
        ("2026-11-02T09:30:15.25", "2026-11-02T08:30:15.250"),
        ("09:30:15Z", "2026-11-04T09:30:15"),
        ("14:30:21z", "2026-11-03T14:30:21"),
        ("23:30+10:00", "2026-11-04T13:30"),
        ("9:30:15.5 -0500", "2026-11-04T14:30:15.500"),
        ("@1793800000", "2026-11-04T13:46:40"),
        ("@1793800000.25", "2026-11-04T13:46:40.250"),
        ("2026-11-02", "2026-11-01T23:00:00"),
        ("2026-11", "2026-10-31T23:00:00"),
        ("1102", "2026-11-01T23:00:00"),
        ("11/02", "2026-11-01T23:00:00"),
        ("110225-09:30", "2025-11-02T08:30:00"),
        ("11/02/25", "2025-11-01T23:00:00"),
        ("9:30pm", "2026-11-03T20:30:00"),
        ("15:30:20", "2026-11-04T14:30:20"),
        ("15:30:21", "2026-11-03T14:30:21"),
        ("24:00", "2026-11-03T23:00:00"),
        ("yesterday 24:00", "2026-11-03T23:00:00"),
        ("2026-11-02T24:00:00", "2026-11-02T23:00:00"),
        ("2026-11-02T24:00+01:00", "2026-11-02T23:00:00"),
        ("1.5h", "2026-11-04T13:00:20"),
        ("1h30m", "2026-11-04T13:00:20"),
        ("a week ago", "2026-10-28T14:30:20"),
        ("an hour ago", "2026-11-04T13:30:20"),
        ("12:00 AM", "2026-11-03T23:00:00"),
        ("2026-07-02", "2026-07-01T22:00:00"),
        ("2026-11-02T09:30", "2026-11-02T08:30:00"),
        ("2026-11-02 09:30:01", "2026-11-02T08:30:01"),
        ("2026-11-02t09:30z", "2026-11-02T09:30:00"),
        ("2026-11-02T09:30-05:00", "2026-11-02T14:30:00"),
        ("7d", "2026-10-28T14:30:20"),
        ("-7d", "2026-10-28T14:30:20"),
        ("7 days ago", "2026-10-28T14:30:20"),
        ("last 7 days", "2026-10-28T14:30:20"),
        ("now-36 hours", "2026-11-03T02:30:20"),
        ("1 month", "2026-10-05T14:30:20"),
        ("2y", "2024-11-04T14:30:20"),
        ("9pm", "2026-11-03T20:00:00"),
        ("Yesterday  18:00", "2026-11-03T17:00:00"),
        ("monday 9am", "2026-11-02T08:00:00"),
        ("wed 9am", "2026-11-04T08:00:00"),
        ("wed 9pm", "2026-10-28T20:00:00"),
        ("monday", "2026-11-01T23:00:00"),
        ("wed", "2026-11-03T23:00:00"),
        ("last wednesday", "2026-10-27T23:00:00"),
        ("last tue", "2026-11-02T23:00:00"),
        ("thursday", "2026-10-28T23:00:00"),
        ("yesterday noon", "2026-11-03T11:00:00"),
        ("last day", "2026-11-02T23:00:00"),
        ("this week", "2026-11-01T23:00:00"),
        ("last week", "2026-10-25T23:00:00"),
        ("this month", "2026-10-31T23:00:00"),
        ("last month", "2026-09-30T22:00:00"),
        ("this year", "2025-12-31T23:00:00"),
        ("last year", "2024-12-31T23:00:00"),
        ("2026", "2025-12-31T23:00:00"),
        ("november", "2026-10-31T23:00:00"),
        ("last november", "2025-10-31T23:00:00"),
        ("dec", "2025-11-30T23:00:00"),
    ],
)
def test_time_is_understood_as_written_on_this_host_s_clock(text: str, utc: str) -> None:
    expected = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert times.moment(text, NOW) == round(expected.timestamp() * 1000) * 10**6


def test_day_on_which_the_clock_changes_has_its_own_length() -> None:
    after = datetime(2026, 10, 26, 8, tzinfo=UTC)
    assert times.moment("today", after) - times.moment("yesterday", after) == 25 * HOUR * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "25:00",
        "2026-13-01",
        "2026-13",
        "1302",
        "13:00pm",
        "now-",
        "now-2fortnights",
        "-1",
        "now-99999999999999999999days",
        "7",
        "days",
        "last",
        "last soon",
        "next week",
        "week",
        "ago",
        "13pm",
        "yesterday 25:00",
        "monday 2026",
        "24:01",
        "24:00:01",
        "a",
        "a ago",
        "a fortnight ago",
        "1.5.5h",
        "1h ago 30m",
        "@",
        "@-1",
        "@1e9",
        "09:30.5",
        "09:30+99:00",
        "25:00Z",
    ],
)
def test_time_that_cannot_be_read_is_an_error_with_examples(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--since: cannot read the time .*; write for example 2026-11-02"
    ):
        times.moment(text, NOW, "--since")


@pytest.mark.parametrize(
    "text",
    [
        *("0001-01-01", "1000-01-01", "1677-09-22", "2262-04-11", "3000-01-01", "9999-12-31"),
        *("999999y", "540y", "now+290y", "now+9999y", "@99999999999", "2300-01", "9999-W52"),
    ],
)
def test_time_outside_the_calendar_is_said_to_be_too_far_away(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since: the time .* is too far away; write for"):
        times.moment(text, NOW, "--since")


@settings(max_examples=300)
@given(st.text())
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    try:
        assert isinstance(times.moment(text, NOW), int)
    except UsageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("kind", "text", "first", "after"),
    [
        ("day", "yesterday", "2026-11-03", "2026-11-04"),
        ("day", "last", "2026-11-03", "2026-11-04"),
        ("day", "2026-11-02T09:30", "2026-11-02", "2026-11-03"),
        ("day", "3d", "2026-11-01", "2026-11-02"),
        ("week", "this", "2026-11-02", "2026-11-09"),
        ("week", " Last ", "2026-10-26", "2026-11-02"),
        ("week", "2026-W48", "2026-11-23", "2026-11-30"),
        ("week", "2026-11-01", "2026-10-26", "2026-11-02"),
        ("month", "last", "2026-10-01", "2026-11-01"),
        ("month", "2026-02", "2026-02-01", "2026-03-01"),
        ("month", "december", "2025-12-01", "2026-01-01"),
    ],
)
def test_a_day_week_or_month_is_that_of_any_time_in_it(
    kind: str, text: str, first: str, after: str
) -> None:
    expected = (date.fromisoformat(first), date.fromisoformat(after))
    days = times.days(kind, text, NOW)
    assert days == expected
    assert days.window() == times.window(first, after, NOW)
    assert options.asked_window({kind: (text,)}, NOW) == days.window()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("month", "soon"), ("day", ""), ("week", "9999-12-31"), ("month", "0001-01-02")),
        *(("day", "3000-01-01"), ("week", "1677-10-01"), ("month", "2262-04")),
    ],
)
def test_a_period_that_cannot_be_read_is_an_error_with_examples(kind: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{kind}: cannot read .*; write for example"):
        times.days(kind, text, NOW)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("day", "2026-10", "2026-10 is a month; write .*, or use --month 2026-10"),
        ("day", "last month", "last month is a month; write .*, or use --month 'last month'"),
        ("day", "October", "October is a month"),
        ("day", "2026-W48", "2026-W48 is a week; write .*, or use --week 2026-W48"),
        ("day", "this week", "this week is a week"),
        ("week", "last november", "last november is a month"),
        ("month", "2026", "2026 is a year; write .*, or use --since and --until"),
        ("month", "last year", "last year is a year"),
    ],
)
def test_a_longer_period_is_not_cut_to_its_start(kind: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^--{kind}: {words}"):
        times.days(kind, text, NOW)


def test_a_period_and_another_window_are_not_both_to_be_had() -> None:
    asked = {"month": ("last",), "week": ("this",), "until": ("today",)}
    with pytest.raises(UsageError, match=r"--week is a window .* leave out --until and --month"):
        options.asked_window(asked, NOW)


def test_a_window_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(UsageError, match="--since today is not before --until yesterday"):
        times.window("today", "yesterday", NOW)


@pytest.mark.parametrize(
    ("since", "until", "utc"),
    [
        ("22:00", "23:30", ("2026-11-03T21:00:00", "2026-11-03T22:30:00")),
        ("22:00", "06:00", ("2026-11-03T21:00:00", "2026-11-04T05:00:00")),
        ("09:00", "17:00", ("2026-11-04T08:00:00", "2026-11-04T16:00:00")),
        ("09:00", "24:00", ("2026-11-04T08:00:00", "2026-11-04T23:00:00")),
        ("22:00Z", "06:00Z", ("2026-11-03T22:00:00", "2026-11-04T06:00:00")),
        ("today", "6pm", ("2026-11-03T23:00:00", "2026-11-04T17:00:00")),
    ],
)
def test_a_time_of_day_is_the_latest_and_as_the_end_the_first_after_the_start(
    since: str, until: str, utc: tuple[str, str]
) -> None:
    expected = (int(datetime.fromisoformat(f"{text}Z").timestamp()) * 10**9 for text in utc)
    assert times.window(since, until, NOW) == tuple(expected)


def test_window_is_half_open_and_may_lack_either_bound() -> None:
    assert Window(1, 2).where("t") == ["t >= 1", "t < 2"]
    assert Window(until=2).where("t") == ["t < 2"]
    assert not Window()
    assert Window(since=0)


def test_job_is_found_by_id_or_name_and_the_id_goes_first(reports: Reports) -> None:
    reports.warehouse.job(1, "build")
    reports.warehouse.job(2, "1")
    connection = reports.warehouse.connection
    assert [job_lookup.latest(connection, text)[0] for text in ("1", "build", "2")] == [1, 1, 2]


@pytest.mark.parametrize("closed_at_ns", [None, 5])
def test_a_name_of_several_jobs_means_the_latest_where_one_is_needed(
    reports: Reports, closed_at_ns: int | None
) -> None:
    reports.warehouse.job(1, "build", closed_at_ns=None)
    reports.warehouse.job(2, "build", closed_at_ns=closed_at_ns)
    found, said = job_lookup.latest(reports.warehouse.connection, "build")
    assert found == job_lookup.latest(reports.warehouse.connection, "build")[0] == 2
    assert said == [
        "2 jobs have the name build; this is the latest, job 2; build#-2 is the one before"
    ]


@pytest.fixture
def nightly(reports: Reports) -> Reports:
    names = ("night/a", "night/b", "night/a", "night/a", "night/b", "night/a#1")
    for number, name in enumerate(names, start=1):
        reports.warehouse.job(number, name)
    return reports


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("night/a#-1", [4]),
        ("night/a#-2", [3]),
        ("night/a#2", [3]),
        ("night/a#1", [6]),  # a job with just this name
        ("night/a#1#1", [6]),
        ("night/?#-1", [4, 5]),
        ("night/?#3", [4]),
    ],
)
def test_one_run_of_a_name_is_chosen_by_its_number(
    nightly: Reports, text: str, ids: list[int]
) -> None:
    assert job_lookup.job_ids(nightly.warehouse.connection, text) == ids


def test_a_name_of_several_kinds_or_owners_says_so_and_how_to_choose(nightly: Reports) -> None:
    nightly.warehouse.job(19, "nightly", members=())
    nightly.warehouse.job(20, "nightly", kind="service", members=())
    nightly.warehouse.job(21, "automatic:x", members=())

    def job(name: str) -> int:
        return int(nightly.json("job", name)["job_id"])

    said = nightly.run("job", "nightly").stderr
    assert f"this is service:nightly of {accounts.user(1000)};" in said
    assert "; the same name have manual:nightly (latest job 19)" in said
    assert "have the name nightly; this is the latest" not in said
    assert (job("nightly"), job("service:nightly"), job("automatic:nightly")) == (20, 20, 20)
    assert job("nightly#-1") == 20
    assert job("manual:nightly") == job("manual:nightly#-1") == 19
    assert job("1000:nightly") == 20
    # What is no kind or owner with such a job is a part of the name.
    assert job("automatic:x") == 21
    said = nightly.run("commands", "--job", "nightly").stderr
    assert (
        "jobs of several kinds, owners or hosts have the name nightly, and all are meant: " in said
    )
    assert "1 service:nightly" in said
    assert "several kinds" not in nightly.run("commands", "--job", "service:nightly").stderr
    with pytest.raises(UsageError, match="no job has the id or name session:nightly"):
        nightly.run("job", "session:nightly")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("night/a#4", "there are 3 runs, #1 to #3 or #-3 to #-1"),
        ("night/b#-3", "there are 2 runs"),
        ("night/a#1#2", "there is 1 run, #1 or #-1"),
        ("night/a#0", "no job has the id or name"),
        ("night#-1", "no job has the id or name"),
        ("4#-1", "no job has the id or name"),
    ],
)
def test_a_run_that_there_is_not_is_an_error_that_says_which_there_are(
    nightly: Reports, text: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        job_lookup.job_ids(nightly.warehouse.connection, text)


def test_every_report_on_a_job_takes_a_name_with_several_runs(nightly: Reports) -> None:
    for number in (3, 4):
        nightly.warehouse.process(number, start=number, seconds=5)
        nightly.warehouse.usage(number, run_ns=number * 10**9, utime_us=number * 10**6)
        nightly.warehouse.stay(number, number)
    assert nightly.json("job", "night/a")["job_id"] == 4
    assert nightly.json("job", "night/a#-2")["job_id"] == 3
    assert [row["pid"] for row in nightly.json("tree", "night/a#-2")] == [1003]
    assert [row["pid"] for row in nightly.json("processes", "--job", "night/a")] == [1003, 1004]
    assert [row["pid"] for row in nightly.json("processes", "--job", "night/a#-1")] == [1004]
    assert nightly.json("commands", "--job", "night/a")[0]["processes"] == 2
    assert "night/a" in nightly.run("flame", "night/a#-2", "-o", "-").stdout


def test_a_name_of_several_jobs_means_all_of_them_where_processes_are_selected(
    reports: Reports,
) -> None:
    for number in (1, 2):
        reports.warehouse.job(number, "build")
    reports.warehouse.job(3, "night")
    found = options.resolve(
        reports.warehouse.connection, {"job": ("build",)}, datetime.now().astimezone()
    )
    assert found.jobs == (1, 2)
    assert found.words == (
        "2 jobs have the name build; all of them are meant; build#-1 is the latest",
    )


@pytest.mark.parametrize(
    ("kinds", "jobs"),
    [
        (("manual",), (1,)),
        (("automatic",), (2, 3)),
        (("service", "manual"), (1, 2)),
        (("all",), (1, 2, 3)),
        (("Cron",), (3,)),
        (("slurm",), ()),
    ],
)
def test_kinds_select_jobs(reports: Reports, kinds: tuple[str, ...], jobs: tuple[int, ...]) -> None:
    for number, kind in enumerate(("manual", "service", "cron"), start=1):
        reports.warehouse.job(number, kind=kind)
    found = job_lookup.jobs_of(reports.warehouse.connection, {"kind": kinds})
    assert found == jobs


def test_a_kind_that_does_not_exist_is_an_error_that_lists_the_kinds(reports: Reports) -> None:
    with pytest.raises(UsageError, match="no job is of kind daemon; write one of manual, service"):
        job_lookup.jobs_of(reports.warehouse.connection, {"kind": ("daemon",)})


@pytest.mark.parametrize("text", ["nope", "77", "99999999999999999999", "²", "a\nb"])
def test_job_that_is_not_there_is_an_error_in_one_line(reports: Reports, text: str) -> None:
    with pytest.raises(UsageError, match="no job has the id or name") as caught:
        job_lookup.latest(reports.warehouse.connection, text)[0]
    assert "\n" not in str(caught.value)


def test_a_window_that_starts_in_the_future_is_said(reports: Reports) -> None:
    reports.warehouse.process(1)
    assert "the window starts in the future" in reports.run("users", "--since", "tomorrow").stderr
    assert "future" not in reports.run("users", "--since", "24:00").stderr
