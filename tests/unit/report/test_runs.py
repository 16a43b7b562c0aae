"""`elsa report runs` and `kinds`: the last run by name, and what jobs of each kind used."""

from __future__ import annotations

import pytest

from tests.support.given import REAL, SECOND
from tests.support.reports import Reports

COLUMNS = "name,kind,runs,job_id,state,wall_s,cpu_s"


@pytest.fixture
def units(reports: Reports) -> Reports:
    """Three runs of a cron job, a service that was restarted and runs, a session, a job by hand."""
    warehouse = reports.warehouse
    for number, (name, kind, ticks) in enumerate(
        [
            ("cron/root/backup.sh", "cron", 100),
            ("ssh", "service", 500),
            ("cron/root/backup.sh", "cron", 400),
            ("ssh", "service", 50),
            ("session/1", "session", 300),
            ("cron/root/backup.sh", "cron", 200),
            ("ssh", "manual", 900),
        ],
        start=1,
    ):
        made = number * 1000
        is_open = number == 4
        warehouse.process(number, start=made, seconds=60)
        warehouse.acct(number, number, utime=ticks, etime=6000.0)
        warehouse.job(
            number,
            name,
            kind=kind,
            members=(number,),
            created_at_ns=REAL + made * SECOND,
            closed_at_ns=None if is_open else REAL + (made + 60) * SECOND,
        )
    warehouse.process(9, start=10, seconds=2, comm="kworker")
    warehouse.acct(9, 9, utime=8)
    return reports


def lines(reports: Reports, *args: str) -> list[list[str]]:
    result = reports.run("runs", "--columns", COLUMNS, "--format", "csv", *args)
    assert result.exit_code == 0
    return [line.split(",") for line in result.stdout.splitlines()[1:]]


def test_the_last_run_of_each_name_comes_with_the_number_of_runs_most_cpu_first(
    units: Reports,
) -> None:
    assert lines(units) == [
        ["session/1", "session", "1", "5", "closed", "60.0", "3.0"],
        ["cron/root/backup.sh", "cron", "3", "6", "closed", "60.0", "2.0"],
        ["ssh", "service", "2", "4", "open", "60.0", "0.5"],
    ]
    assert lines(units, "--kind", "service,cron", "--limit", "1") == [
        ["cron/root/backup.sh", "cron", "3", "6", "closed", "60.0", "2.0"]
    ]


def test_a_run_is_compared_with_the_median_of_the_runs_before(units: Reports) -> None:
    asked = ("--columns", "name,cpu_s,cpu_usual_s,cpu_more_percent,wall_more_percent", "--sort")
    rows = {row["name"]: row for row in units.json("runs", *asked, "cpu_more_percent")}
    # Worse first; what has no earlier run comes last.
    assert list(rows) == ["cron/root/backup.sh", "ssh", "session/1"]
    assert rows["cron/root/backup.sh"]["cpu_usual_s"] == 2.5
    assert rows["cron/root/backup.sh"]["cpu_more_percent"] == pytest.approx(-20)
    assert rows["cron/root/backup.sh"]["wall_more_percent"] == 0
    assert rows["ssh"]["cpu_more_percent"] == pytest.approx(-90)
    assert rows["session/1"]["cpu_usual_s"] is None
    for number in range(30):  # more than are compared; they are older than those before
        units.warehouse.process(100 + number, start=20_000 + number, seconds=1)
        units.warehouse.usage(100 + number, utime_us=number * 10**6, stime_us=0, run_ns=1)
        units.warehouse.job(100 + number, "ssh", kind="service", members=(100 + number,))
    chosen = ("runs", "--kind", "service", "--job", "ssh", *asked, "cpu_usual_s")
    (row,) = (row for row in units.json(*chosen) if row["cpu_s"] == 29)
    # Of 9 to 28.
    assert row["cpu_usual_s"] == 18.5
    explained = units.run(*chosen, "--explain").stdout
    assert units.warehouse.connection.execute(explained).fetchall()


def test_growth_is_that_since_the_run_before(units: Reports) -> None:
    for number, rss in ((1, 500), (2, 3000), (3, 900), (4, 9000), (6, 700)):
        units.warehouse.usage(number, rss_kib=rss, run_ns=number * SECOND)
    rows = units.json("runs", "--sort", "grown")
    assert [
        (row["name"], row["rss_before_kib"], row["rss_grown_kib"], row["runs"]) for row in rows
    ] == [
        ("ssh", 3000, 6000, 2),
        ("cron/root/backup.sh", 900, -200, 3),
        ("session/1", None, None, 1),
    ]
    table = units.run("runs", "--kind", "service", "--sort", "grown").stdout.splitlines()
    assert table[0].split()[-1] == "grown"
    assert table[2].split()[-2:] == ["+5.9", "MiB"]
    assert "before_id from last_run" not in units.run("runs", "--explain").stdout


def test_runs_of_different_owners_are_not_compared_with_each_other(units: Reports) -> None:
    for number, (owner, ticks, rss) in enumerate(
        [(1, 100, 10), (2, 900, 50), (1, 300, 40), (2, 800, 60)], start=10
    ):
        units.warehouse.process(number, start=number * 1000, seconds=60)
        units.warehouse.acct(number, number, utime=ticks)
        units.warehouse.usage(number, rss_kib=rss, run_ns=ticks * 10**7, utime_us=ticks * 10**4)
        units.warehouse.job(number, "nightly", owner_uid=owner, members=(number,))
    columns = "+owner_uid,cpu_usual_s,rss_grown_kib"
    rows = units.json("runs", "--job", "nightly", "--columns", columns, "--sort", "+owner_uid")
    assert [
        (row["owner_uid"], row["runs"], row["job_id"], row["cpu_usual_s"], row["rss_grown_kib"])
        for row in rows
    ] == [(1, 2, 12, 1.0, 30), (2, 2, 13, 9.0, 10)]


def test_a_job_by_hand_with_the_name_of_a_service_is_a_line_of_its_own(units: Reports) -> None:
    found = [["ssh", "manual", "1", "7"], ["ssh", "service", "2", "4"]]
    assert [line[:4] for line in lines(units, "--job", "ssh")] == found
    assert [line[0] for line in lines(units, "--kind", "manual")] == ["ssh"]


@pytest.mark.parametrize(
    ("window", "found"),
    [
        (("--since", "2026-01-02T04:30:00Z"), {"cron/root/backup.sh": "1", "ssh": "1"}),
        (("--until", "2026-01-02T03:20:46Z"), {"cron/root/backup.sh": "1"}),
        (
            ("--since", "2026-01-02T03:50:00Z", "--until", "2026-01-02T04:20:00Z"),
            {"cron/root/backup.sh": "1", "ssh": "1"},
        ),
    ],
)
def test_a_window_has_the_runs_that_were_there_in_it(
    units: Reports, window: tuple[str, ...], found: dict[str, str]
) -> None:
    assert {line[0]: line[2] for line in lines(units, *window)} == found


def test_no_run_is_said_in_a_line(reports: Reports) -> None:
    assert "there is no job yet" in reports.run("runs").stderr
    reports.warehouse.job(1, "build")
    words = "no automatic job matches; --kind manual lists manual jobs"
    assert words in reports.run("runs").stderr
    assert words in reports.run("runs", "--user", "1").stderr
    assert "no job matches" in reports.run("runs", "--job", "build", "--kind", "cron").stderr


def test_kinds_are_listed_and_what_is_in_none_last(units: Reports) -> None:
    result = reports_csv(units, "kinds", "kind,jobs,processes,cpu_s")
    assert result == [
        "kind,jobs,processes,cpu_s",
        "cron,3,3,7.0",
        "service,2,2,5.5",
        "session,1,1,3.0",
        "none,,2,9.08",
    ]
    assert "kind_usage" in units.run("kinds", "--explain").stdout


def test_what_is_charged_twice_is_said(units: Reports) -> None:
    units.warehouse.stay(2, 6, since=10)
    assert "1 membership charged for a whole process" in units.run("kinds").stderr


def test_jobs_of_a_kind_and_the_newest_of_them(units: Reports) -> None:
    for more in ((), ("--since", "2026-01-02")):
        assert reports_csv(units, "jobs", "job_id,kind", "--kind", "service", *more) == [
            "job_id,kind",
            "4,service",
            "2,service",
        ]
    assert "showing the newest 1 job; --limit" in units.run("jobs", "--limit", "1").stderr
    assert "showing 1 name; --limit" in units.run("runs", "--limit", "1").stderr
    newest = reports_csv(units, "jobs", "job_id,kind", "--kind", "automatic", "--limit", "2")
    assert newest == ["job_id,kind", "6,cron", "5,session"]


def test_processes_of_jobs_of_a_kind(units: Reports) -> None:
    assert reports_csv(units, "users", "processes,cpu_s", "--kind", "cron") == [
        "processes,cpu_s",
        "3,7.0",
    ]


def test_compare_of_a_name_takes_its_last_run_against_those_before(units: Reports) -> None:
    result = units.run("compare", "cron/root/backup.sh", "--format", "csv")
    cpu = [line.split(",")[:4] for line in result.stdout.splitlines() if line.startswith("cpu_s")]
    assert cpu == [["cpu_s", "before", "2", "2.5"], ["cpu_s", "last", "1", "2.0"]]


def test_compare_takes_no_job_by_hand_for_a_run_of_a_service(units: Reports) -> None:
    units.warehouse.job(8, "ssh", kind="service", members=(9,))
    result = units.run("compare", "ssh", "--format", "csv")
    cpu = [line.split(",")[:4] for line in result.stdout.splitlines() if line.startswith("cpu_s")]
    assert cpu == [["cpu_s", "before", "2", "2.75"], ["cpu_s", "last", "1", "0.08"]]


def reports_csv(reports: Reports, report: str, columns: str, *args: str) -> list[str]:
    result = reports.run(report, "--columns", columns, "--format", "csv", *args)
    assert result.exit_code == 0
    return list(result.stdout.splitlines())
