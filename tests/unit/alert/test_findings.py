"""Each loss, failure and growth of usage is found once, and nothing else."""

from __future__ import annotations

import pytest

from elsa.alert import findings
from elsa.alert.findings import Rules
from elsa.alert.reported import Reported
from elsa.report import gates
from elsa.report.query import warehouse
from elsa.run import budget
from elsa.state.codes import How
from tests.support.given import REAL
from tests.support.reports import Reports

NOW = REAL + 10**15
RULES = Rules(
    frozenset({"manual", "cron", "service"}),
    gates.gates(["cpu:+50%"]),
    [("night*", budget.limits("cpu=30s"))],
)


class Watched:
    """A warehouse that is looked at again and again."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.given = reports.warehouse
        self.reported: Reported | None = None
        self.now = NOW + findings.SETTLE_NS
        self.number = 0

    def look(self, since_ns: int | None = None, rules: Rules = RULES) -> list[str]:
        """The lines of what is new."""
        self.now += 10**9
        with warehouse.reading(self.reports.path) as connection:
            found = findings.find(connection, self.reported, rules, self.now, since_ns)
        self.reported = found.reported
        return [alert.text for alert in found.alerts]

    def job(
        self,
        name: str,
        cpu_s: int = 1,
        *,
        kind: str = "manual",
        closed: int | None = NOW,
        exit_status: int = 0,
        owner_uid: int = 1000,
    ) -> int:
        """A job of one process."""
        self.number += 1
        self.given.job(self.number, name, closed_at_ns=closed, kind=kind, owner_uid=owner_uid)
        self.given.process(
            self.number, start=1000 * self.number, seconds=cpu_s, exit_status=exit_status
        )
        self.given.usage(self.number, run_ns=cpu_s * 10**9, utime_us=cpu_s * 10**6, stime_us=0)
        self.given.stay(self.number, self.number, how=How.LAUNCHED)
        return self.number


@pytest.fixture
def watched(reports: Reports) -> Watched:
    return Watched(reports)


def test_the_first_look_reports_nothing_and_the_next_what_is_new(watched: Watched) -> None:
    watched.job("old", exit_status=256)
    assert watched.look() == []
    watched.job("new", exit_status=256, kind="cron")
    watched.job("fine")
    (line,) = watched.look()
    assert line.startswith("job 2 new (cron, ")
    assert line.endswith(") failed: exit status 1")
    assert watched.look() == []


def test_what_happened_since_a_time_is_reported_again(watched: Watched) -> None:
    watched.job("early", exit_status=256, closed=NOW - 10**12)
    watched.job("late", exit_status=9)
    assert watched.look() == []
    (line,) = watched.look(since_ns=NOW - 10**9)
    assert line.endswith("failed: killed by signal 9 (SIGKILL)")
    assert watched.look() == []


def test_a_job_that_was_open_is_judged_when_it_has_closed(watched: Watched) -> None:
    """Also if it turns out that it ended before the last look, as after a crash of jobd."""
    number = watched.job("long", exit_status=256, closed=None)
    watched.job("short")
    assert watched.look() == watched.look() == []
    watched.given.connection.execute(
        "update job set closed_at_ns = ? where id = ?", (NOW - 10**12, number)
    )
    assert len(watched.look()) == 1
    assert watched.look() == []


def test_a_job_that_closed_a_moment_ago_is_judged_later(watched: Watched) -> None:
    watched.look()
    watched.job("new", exit_status=256, closed=watched.now + 10**9)
    assert watched.look() == []
    watched.now += findings.SETTLE_NS
    assert len(watched.look()) == 1
    assert watched.look() == []


def test_a_service_that_was_stopped_has_not_failed(watched: Watched) -> None:
    watched.look()
    watched.job("web", kind="service", exit_status=15)
    watched.job("killed", kind="service", exit_status=9)
    watched.job("mine", exit_status=15)
    watched.job("session/3", kind="session", exit_status=256)
    assert [line.split()[2] for line in watched.look()] == ["killed", "mine"]


def test_a_job_that_used_more_than_its_earlier_runs_is_reported(watched: Watched) -> None:
    watched.look()
    for cpu_s in (10, 11, 10, 12, 30):
        watched.job("backup", cpu_s)
    assert watched.look() == [], "four earlier runs are too few"
    watched.job("backup", 11)
    watched.job("backup", 20, kind="cron")
    watched.job("backup", 20, owner_uid=1001)
    assert watched.look() == [], "runs of other kinds and owners are no runs of it"
    watched.job("backup", 20)
    (line,) = watched.look()
    assert "used more than before: cpu 20.00 s is 81.8 % more than the median of 6 runs" in line
    watched.job("backup", 60)
    assert watched.look(rules=RULES._replace(growth=())) == []


def test_a_job_over_its_budget_is_reported(watched: Watched) -> None:
    watched.look()
    watched.job("nightly", 40)
    watched.job("daily", 40)
    watched.job("nightly", 20)
    (line,) = watched.look()
    assert line.endswith("): cpu 40.00 s is over the budget of 30.00 s, by 10.00 s")


def test_a_gap_is_reported_once(watched: Watched) -> None:
    watched.look()
    row = {"boot_id": 1, "from_ns": 10**9, "to_ns": 2 * 10**9, "lost": 7}
    watched.given.insert("gap", kind="overrun", **row)
    (line,) = watched.look()
    assert line.startswith("data may be missing: jobd was too slow and the kernel dropped events, ")
    assert line.endswith(", 7 lost")
    assert watched.look() == []


def test_names_cannot_break_a_line(watched: Watched) -> None:
    watched.look()
    watched.job("a\nb\x1b[2J\u202e$(touch x)'\"", exit_status=256)
    (line,) = watched.look()
    assert line.isprintable()
    assert "a\\nb\\x1b[2J\\u202e$(touch x)'\"" in line


def test_in_a_restored_warehouse_what_happened_since_the_last_look_is_reported(
    watched: Watched,
) -> None:
    watched.job("first", exit_status=256)
    watched.look()
    watched.given.connection.execute("update job set created_at_ns = created_at_ns + 1")
    watched.job("second", exit_status=256, closed=watched.now)
    watched.now += findings.SETTLE_NS
    (line,) = watched.look()
    assert line.split()[2] == "second"
    assert watched.look() == []


def test_many_jobs_are_judged_and_none_is_lost(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_AT_ONCE", 10)
    monkeypatch.setattr(findings, "EARLIER_RUNS", 6)
    watched.look()
    for number in range(21):
        watched.job("many", 100 if number in (5, 19) else 10, exit_status=256, kind="cron")
    lines = watched.look()
    assert [int(line.split()[1]) for line in lines if "failed" in line] == list(range(1, 22))
    assert [line.split()[1] for line in lines if "median of" in line] == ["6", "20"]
