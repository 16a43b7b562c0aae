"""A warehouse of several hosts: their users are told apart, and only this host's ids bear its
names.
"""

from __future__ import annotations

import pytest

from elsa.errors import UsageError
from elsa.kernel.procfs import Procfs
from elsa.store import retention, rollups
from tests.support.reports import Reports


@pytest.fixture
def two(reports: Reports) -> Reports:
    """Ourselves, and another host of which a file was brought here; root used 1 s here and 2 s
    there, others 4 s there.
    """
    warehouse = reports.warehouse
    warehouse.connection.execute(
        "update host set machine_id = ?", (Procfs().machine_id() or "none",)
    )
    if Procfs().machine_id() is None:
        warehouse.connection.execute(
            "update host set machine_id = null, name = ?", (Procfs().hostname(),)
        )
    warehouse.connection.execute("update host set name = 'here' where machine_id is not null")
    warehouse.insert("host", id=2, machine_id=None, name="web1")
    warehouse.insert("boot", id=2, host_id=2, uuid=None)
    warehouse.insert("acct_file", id=2, host_id=2, path="web1.pacct")
    warehouse.process(1, uid=0)
    warehouse.acct(1, 1, uid=0, gid=0, utime=100)
    warehouse.process(2, uid=0, boot_id=2, origin=3)
    warehouse.acct(2, 2, join=4, uid=0, gid=0, utime=200, acct_file_id=2)
    warehouse.acct(3, None, uid=7, gid=0, utime=400, acct_file_id=2)
    warehouse.job(1, "ours", members=(1,), owner_uid=0)
    warehouse.job(2, "theirs", members=(2,), owner_uid=0, boot_id=2)
    return reports


def _here(reports: Reports) -> str:
    return str(reports.warehouse.row("select name from host where id = 1")["name"])


@pytest.mark.parametrize("rolled_up", [False, True])
def test_one_uid_on_two_hosts_is_two_users_of_which_one_has_a_name_here(
    two: Reports, rolled_up: bool
) -> None:
    if rolled_up:
        rollups.refresh(two.warehouse.connection, two.path, 2**61)
    here = _here(two)
    users = {
        (row["host"], row["user"], row["uid"], row["utime_ticks"]) for row in two.json("users")
    }
    assert users == {(here, "root", 0, 100), ("web1", "0", 0, 200), ("web1", "7", 7, 400)}
    groups = {
        (row["host"], row["group"], row["gid"], row["utime_ticks"]) for row in two.json("groups")
    }
    assert groups == {(here, "root", 0, 100), ("web1", "0", 0, 600)}
    view = two.warehouse.rows("select host, uid, utime_ticks from user_usage")
    assert {tuple(row.values()) for row in view} == {
        (host, uid, ticks) for host, _, uid, ticks in users
    }
    assert two.run("users").stdout.split()[0] == "host"
    month = two.json("timeline", "--month", "2026-01", "--step", "1d", "--by", "user")
    cpu = {(row["host"], row["user"]): row["cpu_s"] for row in month if row["cpu_s"]}
    assert cpu == {(here, "root"): 1, ("web1", "0"): 2, ("web1", "7"): 4}


def test_processes_and_jobs_show_their_host(two: Reports) -> None:
    here = _here(two)
    found = {(row["host"], row["user"], row["group"], row["uid"]) for row in two.json("processes")}
    assert found == {(here, "root", "root", 0), ("web1", "0", "0", 0), ("web1", "7", "0", 7)}
    for window in ([], ["--since", "2026-01-01"]):
        jobs = {(row["host"], row["name"], row["owner"]) for row in two.json("jobs", *window)}
        assert jobs == {(here, "ours", "root"), ("web1", "theirs", "0")}
        assert two.json("job", "theirs", *window)["owner"] == "0"
        assert two.json("job", "theirs", *window)["host"] == "web1"
    assert two.json("job", "theirs", "--summary", "ja")["owner"] == "0"
    for report in ("processes", "last", "jobs"):
        assert two.run(report).stdout.split()[0] == "host", report


@pytest.mark.parametrize("rolled_up", [False, True])
def test_host_chooses(two: Reports, rolled_up: bool) -> None:
    if rolled_up:
        rollups.refresh(two.warehouse.connection, two.path, 2**61)
    for report, key in (
        ("users", "utime_ticks"),
        ("commands", "utime_ticks"),
        ("months", "utime_ticks"),
        ("processes", "utime_ticks"),
    ):
        assert sum(row[key] for row in two.json(report, "--host", "web*")) == 600, report
        assert sum(row[key] for row in two.json(report, "--host", _here(two))) == 100, report
    assert [row["name"] for row in two.json("jobs", "--host", "web1")] == ["theirs"]
    with pytest.raises(
        UsageError, match=r"--host: nothing is recorded of a host web2; write one of .*web1"
    ):
        two.run("users", "--host", "web2")
    two.warehouse.insert("gap", id=1, boot_id=2, kind="down", from_ns=1, to_ns=2)
    assert [row["host"] for row in two.json("gaps", "--host", "web1")] == ["web1"]
    assert two.json("gaps", "--host", _here(two)) == []


@pytest.mark.parametrize("rolled_up", [False, True])
def test_host_is_a_key_of_commands_and_periods_if_it_is_asked_for(
    two: Reports, rolled_up: bool
) -> None:
    if rolled_up:
        rollups.refresh(two.warehouse.connection, two.path, 2**61)
    expected = {_here(two): 100, "web1": 600}
    for report in ("commands", "hours", "days", "months"):
        (whole,) = two.json(report)
        assert "host" not in whole
        assert whole["utime_ticks"] == 700
        for asked in (["--columns", "+host,utime_ticks"], ["--sort", "HOST"]):
            rows = two.json(report, *asked)
            assert {row["host"]: row["utime_ticks"] for row in rows} == expected, report
        assert "host" in two.run(report, "--sort", "host").stdout.splitlines()[0].split()
        active = two.json(report, "--month", "2026-01", "--columns", "host,active")
        assert {row["host"]: row["active"] for row in active} == {_here(two): 1, "web1": 1}
        assert "host  " in two.run(report, "--columns", "help").stdout
    of_job = two.json("hours", "--job", "theirs", "--columns", "host,utime_ticks")
    assert of_job == [{"host": "web1", "utime_ticks": 200}]


def test_sums_by_command_answer_for_a_host_without_its_processes(two: Reports) -> None:
    two.warehouse.connection.execute("update job set closed_at_ns = created_at_ns")
    two.warehouse.process(9, start=2 * 3600)  # the newest process is never pruned
    rollups.refresh(two.warehouse.connection, two.path, 2**61)
    before = {
        host: two.json("commands", *host)
        for host in ((), ("--host", "web1"), ("--host", _here(two)), ("--columns", "+host,cpu_s"))
    }
    cutoffs = retention.Cutoffs(None, 2**61, None)
    pruned = retention.prune(
        two.warehouse.connection, two.path, cutoffs, lambda _done, _total: None
    )
    assert (pruned.processes, two.warehouse.rows("select id from process")) == (2, [{"id": 9}])
    assert {host: two.json("commands", *host) for host in before} == before
    by_user = two.json("users", "--job", "theirs")  # what was pruned of a job has no user left
    assert [(row["host"], row["utime_ticks"]) for row in by_user] == [(None, 200)]


def test_a_bill_has_a_line_for_each_host(two: Reports) -> None:
    connection = two.warehouse.connection
    prices = "'0', '3600', '0', '0', '0'"
    connection.execute(
        f"insert into tariff values (1, 0, 0, null, 'EUR', 'UTC', 2, null, {prices})"
    )
    lines = {(row["host"], row["user"], row["uid"], row["charge"]) for row in two.json("bill")}
    assert lines == {
        (_here(two), "root", 0, "1.00"),
        ("web1", "0", 0, "2.00"),
        ("web1", "7", 7, "4.00"),
    }
    assert {
        (row["host"], row["charge"]) for row in two.json("bill", "--by", "group", "--host", "web1")
    } == {("web1", "6.00")}
    assert {(row["name"], row["owner"]) for row in two.json("bill", "--by", "job")} >= {
        ("theirs", "0"),
        ("ours", "root"),
    }


def test_explained_sql_runs_without_our_functions(two: Reports) -> None:
    for report in (
        *("users", "groups", "processes", "jobs", "jobs --since 2026-01-01", "runs", "kinds"),
        *("job 1", "job 1 --since 2026-01-01", "job 1 --summary ja"),
    ):
        result = two.run(*report.split(), "--explain")
        assert result.exit_code == 0, report
        for statement in result.stdout.split(";\n"):
            two.warehouse.connection.execute(statement)


def test_a_single_host_known_by_name_alone_is_not_this_one(reports: Reports) -> None:
    reports.warehouse.connection.execute("update host set machine_id = null, name = 'web1'")
    reports.warehouse.process(1, uid=0)
    assert [(row["user"], row["uid"]) for row in reports.json("users")] == [("0", 0)]
    assert "host" not in reports.json("users")[0]


@pytest.mark.parametrize("window", [(), ("--since", "2026-01-01")])
def test_kinds_of_a_host_add_up_to_that_host(two: Reports, window: tuple[str, ...]) -> None:
    two.warehouse.job(3, "nginx", kind="service", members=(2,), boot_id=2)

    def kinds(*host: str) -> dict[str, tuple[int, float, int | None]]:
        rows = two.json("kinds", *host, *window)
        return {row["kind"]: (row["processes"], row["cpu_s"], row["jobs"]) for row in rows}

    assert kinds("--host", _here(two)) == {"none": (1, 1, None)}
    of_other = {"service": (1, 2, 1), "none": (0, 4, None)}
    assert kinds("--host", "web1") == of_other
    assert kinds() == of_other | {"none": (1, 5, None)}
