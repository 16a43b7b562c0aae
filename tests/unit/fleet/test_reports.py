"""Reports on a fleet database: with --host A each is what A's own warehouse says, to the last unit,
and what all hosts used is the sum of the hosts.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from elsa import formats
from elsa.cli.main import group
from elsa.cli.report import report
from elsa.errors import PrivilegeError, UsageError
from elsa.fleet import REPORTS as OF_FLEET
from elsa.fleet import hosts, reports, settings
from elsa.fleet.copy import Wanted
from elsa.fleet.ids import IDS_OF_HOST
from elsa.fleet_url import FleetUrl
from elsa.measures import MEASURES
from elsa.report.render.output import Output
from elsa.store import rollups
from tests.support import fleets
from tests.support.postgres import Server

HOSTS = {"ant": 900, "bee": 700, "cat": 500}
"""How many processes the made-up month of each host has."""
LATER_NS = fleets.LATER_NS
_IDS = {"job_id", "boot_id", "gap_id"}
# Different on a host whose own processes are read, and which knows its own users by other names.
_NAMED = {"user", "group", "owner", "host"}


class Fleet(NamedTuple):
    """Warehouses, and the database that all of them were pushed to."""

    paths: dict[str, Path]
    url: str
    server: Server
    database: str

    def run(self, *arguments: str, db: str | None = None) -> Any:
        return CliRunner().invoke(
            report, [*arguments, "--db", db or self.url], catch_exceptions=False
        )

    def json(self, *arguments: str, db: str | None = None) -> Any:
        return json.loads(self.run(*arguments, "--format", "json", db=db).stdout)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json(*arguments)["rows"]
        return rows

    def both(self, host: str, *arguments: str) -> tuple[Any, Any]:
        """What the fleet says of a host, and what the host says."""
        number = [*self.paths].index(host) + 1
        of_fleet = self.json(*arguments, "--host", host)
        of_host = self.json(*arguments, db=str(self.paths[host]))
        return _same(of_fleet, number), _same(of_host, None)


def _same(printed: Any, host_id: int | None) -> list[dict[str, Any]]:
    """The rows without names, with the ids of the host."""
    (key,) = printed.keys() & {"rows", "audit"}
    rows = printed[key]["classes"] if key == "audit" else printed[key]
    same = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in _NAMED}
        for name in _IDS & kept.keys():
            if host_id is not None and kept[name] is not None:
                assert kept[name] // IDS_OF_HOST == host_id
                kept[name] %= IDS_OF_HOST
        same.append(kept)
    return same


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory,
    template: Path,
    postgres: Server,
    fleet_template: str,
) -> Fleet:
    folder = tmp_path_factory.mktemp("fleet")
    database = postgres.database(fleet_template)
    url = postgres.url(database)
    paths = {}
    for name, processes in HOSTS.items():
        path = fleets.month(folder / f"{name}.db", template, processes, name * 10)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("update host set name = ?", (name,))
            connection.execute("update job set kind = 'service' where id % 5 = 1")
            connection.execute("update job set kind = 'cron' where id % 5 = 2")
            connection.execute(
                "insert into job_tag select id, 'host', ? from job where id % 3 = 0", (name,)
            )
            _add_tariffs(connection)
            rollups.refresh(connection, path, LATER_NS)
        fleets.pushed(path, url)
        paths[name] = path
    with postgres.connect(database) as connection:
        _add_tariffs(connection)
    return Fleet(paths, url, postgres, database)


def _add_tariffs(connection: Any) -> None:
    """Two versions, the second from the middle of the month, which is dearer by day."""
    elsa = "" if isinstance(connection, sqlite3.Connection) else "elsa."
    prices = "'0.01', '3.5', '0.2', '0.1', '0.1'"
    for id_, from_s in ((1, 0), (2, 1_792_000_800)):
        connection.execute(
            f"insert into {elsa}tariff values ({id_}, {from_s}000000000, 0, null, 'EUR',"
            f" 'Europe/Berlin', 2, null, {prices})"
        )
    for weekday in range(5):
        for hour in range(8, 18):
            connection.execute(
                f"insert into {elsa}tariff_factor values (2, {weekday}, {hour}, '1.5')"
            )


WINDOWS = (
    ["--month", "2026-10"],
    ["--since", "2026-10-05T07:00", "--until", "2026-10-19T21:00"],
    ["--day", "2026-10-08"],
    ["--since", "2026-10-08T03:00", "--until", "2026-10-08T09:00"],
    ["--since", "2026-10-20T05:00"],
    ["--until", "2026-10-11T05:00"],
)
REPORTS = (
    ["users"],
    ["users", "--user", "uid:1003"],
    ["groups"],
    ["commands"],
    ["commands", "--command", "c*"],
    ["hours"],
    ["days"],
    ["months"],
    ["days", "--user", "uid:1003,uid:1010"],
    ["days", "--command", "c*"],
    ["kinds"],
    ["jobs"],
    ["jobs", "--kind", "service"],
    ["jobs", "--tag", "host"],
    ["jobs", "--sort", "cpu_s", "--limit", "5"],
    ["runs"],
    ["runs", "--kind", "manual"],
    ["bill"],
    ["bill", "--by", "group"],
    ["bill", "--by", "job"],
    ["bill", "--by", "tag"],
    ["gaps"],
)


@pytest.mark.parametrize("asked", REPORTS, ids=" ".join)
def test_a_report_with_host_is_that_of_the_host(three: Fleet, asked: list[str]) -> None:
    place = REPORTS.index(asked)
    rows = 0
    # Each report with some of the windows, and each window with some of the reports.
    for number, host in enumerate(("ant", "cat")):
        window = WINDOWS[(place + number * 3) % len(WINDOWS)]
        of_fleet, of_host = three.both(host, *asked, *window)
        if asked == ["bill", "--by", "job"]:  # equal charges stand in the order of ids as texts
            of_fleet, of_host = sorted(of_fleet, key=str), sorted(of_host, key=str)
        assert of_fleet == of_host, (host, window)
        rows += len(of_host)
    assert rows


def test_figures_of_sources_are_those_of_the_host(three: Fleet) -> None:
    for window in WINDOWS:
        of_fleet, of_host = three.both("bee", "audit", *window)
        (own,) = (row for row in of_fleet if row["class"] == "self")
        assert {own[key] for key in ("processes", "records")} == {None}  # hosts do not push these
        assert [row for row in of_fleet if row["class"] != "self"] == [
            row for row in of_host if row["class"] != "self"
        ]


def test_a_job_is_that_of_its_host(three: Fleet) -> None:
    (newest, *_) = three.json("jobs", "--limit", "1", db=str(three.paths["bee"]))["rows"]
    number = 2 * IDS_OF_HOST + newest["job_id"]
    for more in ([], ["--month", "2026-10"], ["--summary", "ja"]):
        of_fleet = three.json("job", str(number), *more)["job"]
        of_host = three.json("job", str(newest["job_id"]), *more, db=str(three.paths["bee"]))["job"]
        for job in (of_fleet, of_host):
            job.pop("commands", None)
        assert of_fleet.pop("job_id") == number
        assert of_host.pop("job_id") == newest["job_id"]
        kept = of_host.keys() - _NAMED
        assert {key: of_fleet[key] for key in kept} == {key: of_host[key] for key in kept}, more
    by_hour = three.rows("days", "--job", str(number))
    assert sum(row["processes"] for row in by_hour) <= of_fleet["processes"]


@pytest.mark.parametrize("report", ["users", "commands", "days", "months", "kinds"])
def test_what_all_hosts_used_is_the_sum_of_the_hosts(three: Fleet, report: str) -> None:
    window = ("--month", "2026-10")
    sums = [name for name, measure in MEASURES.items() if measure.fold in ("sum", "count")]
    keys = ("uid", "command", "forked_only", "day", "month", "kind")
    expected: Counter[tuple[Any, ...]] = Counter()
    for path in three.paths.values():
        for row in three.json(report, *window, db=str(path))["rows"]:
            key = tuple(row.get(key) for key in keys)
            expected.update({(*key, name): row.get(name) or 0 for name in sums})
    everything: Counter[tuple[Any, ...]] = Counter()
    for row in three.rows(report, *window):
        key = tuple(row.get(key) for key in keys)
        everything.update({(*key, name): row.get(name) or 0 for name in sums})
    assert {key: pytest.approx(figure, rel=1e-12) for key, figure in expected.items()} == everything
    if report in ("days", "commands"):
        by_host = three.rows(report, *window, "--columns", "+host,cpu_s")
        assert {row["host"] for row in by_host} == {*HOSTS}
        assert sum(row["cpu_s"] or 0 for row in by_host) == pytest.approx(
            sum(row["cpu_s"] or 0 for row in three.rows(report, *window))
        )


def test_a_job_is_found_by_name_host_and_owner(three: Fleet) -> None:
    local = three.json("job", "job25", db=str(three.paths["bee"]))["job"]
    of_bee = three.run("job", "job25", "--host", "bee", "--format", "json")
    job = json.loads(of_bee.stdout)["job"]
    assert job["job_id"] == 2 * IDS_OF_HOST + local["job_id"]
    assert {key: job[key] for key in ("processes", "cpu_s", "kind")} == {
        key: local[key] for key in ("processes", "cpu_s", "kind")
    }
    # Of several owners the latest job counts, and the others are named as their hosts name them.
    said = three.run("job", "job25").stderr
    assert f"the same name have manual:{job['owner']}:job25 (latest job 1000000025 on ant)" in said
    owner = job["owner"]
    assert owner.startswith("user1")
    by_owner = three.json("job", f"{owner}:job25", "--host", "b*")["job"]
    assert (by_owner["job_id"], by_owner["owner"]) == (job["job_id"], owner)
    with pytest.raises(UsageError, match="no job has the id or name"):
        three.run("job", str(job["job_id"]), "--host", "cat")


@pytest.mark.parametrize("window", [[], ["--day", "2026-10-08"]], ids=["always", "day"])
def test_kinds_of_each_host_are_those_of_the_host(three: Fleet, window: list[str]) -> None:
    (first, *_) = all_kinds = three.rows("kinds", *window)
    rows = three.rows("kinds", *window, "--columns", ",".join(("host", *first)))
    for host in HOSTS:
        expected = three.rows("kinds", *window, "--host", host)
        assert [
            {key: value for key, value in row.items() if key != "host"}
            for row in rows
            if row["host"] == host
        ] == expected
    for kind in {row["kind"] for row in all_kinds}:
        (every,) = (row for row in all_kinds if row["kind"] == kind)
        of_kind = [row for row in rows if row["kind"] == kind]
        assert sum(row["processes"] for row in of_kind) == every["processes"]
    largest, *_ = three.rows("kinds", "--columns", "host,cpu_s", "--sort", "cpu_s", "--host", "*t")
    assert largest["host"] == "ant"


def test_users_have_the_names_of_their_hosts(three: Fleet) -> None:
    rows = three.rows("users", "--month", "2026-10", "--user", "user1003")
    assert {(row["host"], row["user"], row["uid"]) for row in rows} == {
        (host, "user1003", 1003) for host in HOSTS
    }
    with pytest.raises(UsageError, match="--user: no host of the fleet knows a user nobody-there"):
        three.run("users", "--user", "nobody-there")
    groups = three.rows("groups", "--month", "2026-10", "--host", "ant")
    assert {row["group"] for row in groups if row["gid"]} <= {
        f"group{row['gid']}" for row in groups
    }
    owners = {row["owner"] for row in three.rows("jobs", "--month", "2026-10", "--limit", "9")}
    assert all(owner.startswith("user") for owner in owners)


def _same_users(three: Fleet) -> Fleet:
    """The fleet, where the hosts have the same users but for a few."""
    database = three.server.database(three.database)
    with three.server.connect(database) as connection:
        for change in (
            "update elsa.account set name = 'other' where host_id = 2 and id = 1003",
            "update elsa.account set name = 'user1003' where host_id = 2 and id = 1005",
            "delete from elsa.account where host_id > 1 and id = 1010",
        ):
            assert connection.execute(change).rowcount > 0
    url = three.server.url(database)
    settings.change(FleetUrl(url), settings.SAME_USERS, "yes")
    return three._replace(url=url, database=database)


@pytest.mark.parametrize(
    "asked",
    [
        ["users"],
        ["users", "--day", "2026-10-08"],
        ["users", "--user", "user1003,uid:1010"],
        ["users", "--host", "ant,cat", "--since", "2026-10-08T03:00"],
        ["groups"],
        ["bill"],
        ["bill", "--by", "group", "--host", "[ab]*"],
    ],
    ids=" ".join,
)
def test_users_with_the_same_id_and_name_are_one_where_the_site_says_so(
    three: Fleet, asked: list[str]
) -> None:
    same = _same_users(three)
    kind = "group" if "groups" in asked or "group" in asked else "user"
    id_ = kind[0] + "id"
    rows = same.rows(*asked)
    assert "host" not in rows[0]
    added_up = ("processes", "records", "read_bytes", "write_bytes", "elapsed_s", "cpu_s", "run_ns")
    figures = [name for name in added_up if name in rows[0]]
    expected: dict[tuple[Any, ...], list[int]] = {}
    hosts_of: dict[tuple[Any, ...], set[str]] = {}
    for row in same.rows(*asked, "--columns", ",".join(("host", *rows[0]))):
        # An id without a name is that of its host alone.
        unnamed = row["host"] if row[kind] == str(row[id_]) else None
        key = (row[id_], row[kind], unnamed)
        hosts_of.setdefault(key, set()).add(row["host"])
        so_far = expected.setdefault(key, [0] * len(figures))
        expected[key] = [
            sum_ + _units(row, name) for sum_, name in zip(so_far, figures, strict=True)
        ]
    assert len(rows) == len(hosts_of)
    some = {"--host", "--user"} & {*asked}
    assert max(map(len, hosts_of.values())) == (2 if some else 3)
    assert Counter((*key[:2], *sums) for key, sums in expected.items()) == Counter(
        (row[id_], row[kind], *(_units(row, name) for name in figures)) for row in rows
    )
    if kind == "user":
        names = {(row["uid"], row["user"]) for row in rows if row["uid"] in (1003, 1010)}
        known = {(1003, "user1003"), (1010, "user1010"), (1010, "1010")}
        assert names <= known | ({(1003, "other")} if not some else set())
        assert names >= known or "2026-10-08" in asked


def test_a_table_tells_users_of_one_name_apart(three: Fleet) -> None:
    same = _same_users(three)
    for asked in (["users"], ["bill"]):
        names = [line.split("  ")[0] for line in same.run(*asked, "--all").stdout.splitlines()]
        assert {"user1003 (1003)", "user1003 (1005)", "1010 (bee)", "1010 (cat)"} <= {*names}
        assert {"user1010", "user1005", "other"} <= {*names}
        assert not {"user1003", "1010"} & {*names}
    by_host = three.run("users", "--all").stdout
    assert "user1003" in by_host
    assert "(" not in by_host
    exported = same.run("users", "--format", "csv", "--columns", "user").stdout.split()
    assert exported.count("user1003") == exported.count("1010") == 2


def test_a_bill_by_job_names_the_hosts_of_the_jobs(three: Fleet) -> None:
    usual = three.rows("bill", "--by", "job", "--columns", "+uncharged")
    rows = three.rows("bill", "--by", "job", "--columns", "+host,uncharged")
    assert "host" not in usual[0]
    hosts = {1: "ant", 2: "bee", 3: "cat"}
    of_jobs = [row for row in rows if row["job_id"] is not None]
    assert {row["host"] for row in of_jobs} == {*HOSTS}
    assert all(row["host"] == hosts[row["job_id"] // IDS_OF_HOST] for row in of_jobs)
    assert sorted(({**row, "host": ""} for row in rows), key=str) == sorted(
        ({"host": "", **row} for row in usual), key=str
    )


def test_what_a_fleet_does_not_know_of_jobs_is_said_to_be_unknown(three: Fleet) -> None:
    said = three.run("jobs", "--kind", "container").stderr
    assert "no job matches" in said
    assert "there is no job yet" not in said
    newest = three.json("jobs", "--limit", "1")
    assert newest["sources"] is None
    job = three.json("job", str(newest["rows"][0]["job_id"]))
    assert (job["sources"], job["job"]["commands"]) == (None, [])
    assert "its host knows its commands" in " ".join(job["notes"])
    assert "only sums are left" not in " ".join(job["notes"])


def _units(row: dict[str, Any], name: str) -> int:
    """A figure as a whole number of its smallest unit."""
    value = row[name]
    return 0 if value is None else round(value * 10**9) if isinstance(value, float) else value


def test_only_the_owner_says_that_users_are_the_same(postgres: Server, fleet: str) -> None:
    reader = f"reader_{fleet}"
    with postgres.connect(fleet) as connection:
        connection.execute(f"create role {reader} login in role elsa_reader")

    def run(url: str, *more: str) -> str:
        return (
            CliRunner()
            .invoke(group, ["fleet", "settings", *more, "--db", url], catch_exceptions=False)
            .stdout
        )

    assert run(postgres.url(fleet, reader)) == "same_users = no\n"
    assert run(postgres.url(fleet), "--same-users", "yes") == "same_users = yes\n"
    assert run(postgres.url(fleet, reader)) == "same_users = yes\n"
    with pytest.raises(PrivilegeError):
        settings.change(FleetUrl(postgres.url(fleet, reader)), settings.SAME_USERS, "no")
    assert run(postgres.url(fleet), "--same-users", "no") == "same_users = no\n"


def test_hosts_that_are_late_or_incomplete_are_named(three: Fleet) -> None:
    result = three.run("users", "--since", "2026-10-28")
    late, silent, incomplete, *_ = result.stderr.splitlines()
    assert late.startswith("elsa-report: 3 of 3 hosts are late, with sums until: ")
    assert "ant (2026-11-" in late
    assert incomplete.startswith("elsa-report: 3 of 3 hosts are incomplete: ")
    printed = three.json("users", "--since", "2026-10-28", "--host", "ant")
    told = printed["hosts"]
    assert (told["number"], [each["host"] for each in told["late"]]) == (1, ["ant"])
    assert told["incomplete"][0]["gaps"] > 0
    assert printed["complete"] is False
    assert silent.startswith(
        "elsa-report: jobd is silent on 3 of 3 hosts; later data is from accounting only: "
    )
    assert "bee (since 2026-10-31 " in silent
    assert [each["host"] for each in told["silent"]] == ["ant"]
    in_time = three.json("users", "--day", "2026-10-08")["hosts"]
    assert (in_time["late"], in_time["silent"]) == ([], [])


def test_a_host_that_does_not_record_is_as_incomplete_as_on_the_host(three: Fleet) -> None:
    number = [*HOSTS].index("cat") + 1
    newest = three.rows("jobs", "--host", "cat", "--limit", "1")[0]["job_id"]
    for asked in (["users"], ["jobs", "--state", "closed"], ["gaps"], ["job", str(newest)]):
        for window in ([], ["--day", "2026-10-30"], ["--since", "2026-10-30"]):
            local = [*asked]
            if asked[0] == "job":
                local[1] = str(newest - number * IDS_OF_HOST)
            more = ["--host", "cat"] if asked[0] != "job" else []
            of_fleet = three.json(*asked, *window, *more)
            of_host = three.json(*local, *window, db=str(three.paths["cat"]))
            assert of_fleet.get("gaps") == of_host.get("gaps"), (asked, window)
            assert of_fleet.get("complete") in (of_host.get("complete"), None, False)
    silent = [row for row in three.rows("gaps") if row["kind"] == "silence"]
    assert {(row["host"], row["note"]) for row in silent} == {
        (host, "without notice: killed, or it cannot write") for host in HOSTS
    }
    database = three.server.database(three.database)
    with three.server.connect(database) as connection:
        connection.execute("update elsa.host set unread_since_ns = silent_since_ns where id = 2")
        connection.execute("update elsa.host set silent_since_ns = null where id > 1")
    other = three._replace(url=three.server.url(database), database=database)
    said = other.run("kinds").stderr
    assert "jobd is silent on 1 of 3 hosts; later data is from accounting only: ant (" in said
    assert "no accounting record is read any more on 1 of 3 hosts: bee (since 2026-10-31" in said
    assert other.json("kinds", "--host", "cat")["hosts"]["silent"] == []
    assert {row["host"] for row in other.rows("gaps") if row["kind"] == "silence"} == {"ant"}


def test_what_was_not_pushed_yet_is_not_reported_as_nothing(three: Fleet) -> None:
    database = three.server.database(three.database)
    this_hour = int(time.time()) // 3600
    with three.server.connect(database) as connection:
        connection.execute(
            "update elsa.host set until_hour = %s - (name = 'bee')::int, silent_since_ns = null",
            [this_hour],
        )
    current = three._replace(url=three.server.url(database), database=database)

    def at(hours_ago: int) -> str:
        return datetime.fromtimestamp((this_hour - hours_ago) * 3600, UTC).strftime("%FT%H:%M:%SZ")

    def told(*asked: str) -> tuple[str, Any]:
        return current.run("users", *asked).stderr, current.json("users", *asked)

    reach = "elsa-report: the sums of bee reach until {}, of {} until {}; what is later comes"
    times = [formats.local_time(at(hours)) for hours in (1, 0)]
    said, printed = told("--since", at(3))
    assert said.splitlines()[0].startswith(reach.format(times[0], "2 hosts", times[1]))
    assert f"no process ended in that window (known until {times[0]})" in said
    assert (printed["rows"], printed["complete"]) == ([], None)
    assert (printed["hosts"]["until"], printed["hosts"]["late"]) == (at(1), [])
    said, printed = told("--since", at(0))
    assert "nothing of that window is here yet" in said
    assert "no process ended" not in said
    assert (printed["rows"], printed["complete"]) == ([], None)
    said, printed = told("--since", at(0), "--host", "ant")
    assert said.startswith(f"elsa-report: the sums of ant reach until {times[1]}, before that")
    said, printed = told("--since", at(3), "--until", at(1))
    assert said == "elsa-report: no process ended in that window\n"
    assert printed["complete"] is True
    said, _ = told()
    assert said.count(" reach until ") == 1
    with three.server.connect(database) as connection:
        connection.execute("update elsa.host set until_hour = null where name = 'cat'")
    said, printed = told("--since", at(3), "--until", at(1))
    assert "no process ended in that window (not known of all hosts)" in said
    assert (printed["complete"], printed["hosts"]["until"]) == (False, None)


def test_hours_that_were_deleted_are_named(three: Fleet) -> None:
    database = three.server.database(three.database)
    pruned = three._replace(url=three.server.url(database), database=database)
    before = datetime(2026, 10, 20, tzinfo=UTC)
    assert hosts.prune(FleetUrl(pruned.url), int(before.timestamp()) // 3600) > 0
    cut = ["--since", "2026-10-08T03:00Z", "--until", "2026-10-21T09:00Z"]
    for asked in (
        ["users", *cut],
        ["commands", *cut],
        ["hours", "--day", "2026-10-08"],
        ["days", *cut],
        ["bill", "--month", "2026-10"],
    ):
        printed = pruned.json(*asked)
        of_ant, *_ = printed["hosts"]["pruned"]
        assert (of_ant["host"], printed["complete"]) == ("ant", False), asked
        assert len(printed["hosts"]["pruned"]) == 3
        said = pruned.run(*asked).stderr
        assert "hours of 3 of 3 hosts were deleted from the fleet (elsa fleet prune)" in said, asked
        assert three.json(*asked)["hosts"]["pruned"] == []
    of_bee = pruned.json("users", *cut, "--host", "bee")["hosts"]["pruned"]
    assert of_bee == [
        {"host": "bee", "since": "2026-10-08T03:00:00Z", "until": "2026-10-09T00:00:00Z"}
    ]
    # Nothing is said where whole days are enough.
    for asked in (["users", "--month", "2026-10"], ["hours", "--day", "2026-10-22"], ["jobs"]):
        assert pruned.json(*asked)["hosts"]["pruned"] == [], asked


def test_a_window_is_rounded_to_hours_and_says_so(three: Fleet) -> None:
    rounded = three.run("users", "--since", "2026-10-08T03:10", "--until", "2026-10-08T09:50Z")
    assert "a fleet database has sums by the hour: the window is from 2026-10-08 03:00" in (
        rounded.stderr
    )
    whole = three.run("users", "--since", "2026-10-08T03:00", "--until", "2026-10-08T09:00Z")
    assert rounded.stdout == whole.stdout


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["last"], "elsa report last needs single processes"),
        (["tree", "1"], "elsa report tree needs single processes"),
        (["sa"], "is a fleet database"),
        (["users", "--clip", "--day", "2026-10-08"], "--clip needs single processes"),
        (["commands", "--user", "uid:1003"], "commands --user needs single processes"),
        (["users", "--user", "uid:1003", "--pid", "7"], "users --pid needs single processes"),
        (["days", "--user", "uid:3", "--command", "c"], "days --user --command needs single"),
        (["groups", "--tag", "host"], "groups --tag needs single processes"),
        (["users", "--host", "ant", "--command", "c"], "run this report on ant"),
        (["bill", "--command", "c*"], "bill --command needs single processes"),
        (["users", "--host", "dog"], "nothing is recorded of a host dog; write one of ant, bee"),
    ],
    ids=str,
)
def test_what_needs_processes_is_refused(three: Fleet, asked: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        three.run(*asked)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_help_of_a_report_says_whether_it_takes_a_fleet() -> None:
    takes = {
        name
        for name, command in report.commands.items()
        for option in command.params
        if option.name == "db" and option.metavar == "PATH|URL"
    }
    assert takes == {*OF_FLEET}


def test_an_empty_list_of_runs_says_that_nothing_matches(three: Fleet) -> None:
    said = three.run("runs", "--host", "ant", "--until", "2001-01-01").stderr
    assert "no automatic job matches" in said
    assert "there is no job yet" not in said


def test_explained_sql_is_that_of_both_databases(three: Fleet) -> None:
    for asked in ("users", "jobs", "days", "commands --host ant", "bill --by job", "runs"):
        shown = three.run(*asked.split(), "--month", "2026-10", "--explain").stdout
        head, in_postgres = shown.split("\n-- over these rows:\n")[0].split("\n", 1)
        assert head == "-- in PostgreSQL:"
        with three.server.connect(three.database) as connection:
            for statement in in_postgres.split(";\n"):
                connection.execute(statement)
        assert "rollup_day_" in in_postgres


def test_gaps_of_many_hosts_are_not_compared_with_all_their_clocks(three: Fleet) -> None:
    wanted = Wanted("gaps", {}, Output("json"))
    with reports.reading(FleetUrl(three.url), wanted) as copy:
        plan = [step for *_, step in copy.execute("explain query plan select * from gaps")]
    assert [step for step in plan if step.startswith("SEARCH c USING")]
    assert not [step for step in plan if step.startswith("SCAN c")]


def test_sums_beyond_64_bits_are_exact(postgres: Server, fleet: str) -> None:
    with postgres.connect(fleet) as connection:
        connection.execute(
            "insert into elsa.host (machine_id, name, version) values ('m', 'huge', '1')"
        )
        for uid, day in ((1, 20700), (1, 20701), (1, 20702), (2, 20700)):
            connection.execute(
                "insert into elsa.rollup_day_user (host_id, day, uid, in_job, processes, cpu_ns)"
                f" values (1, {day}, {uid}, 0, 1, {2**63 - 1})"
            )
    fleet_of_one = Fleet({}, postgres.url(fleet), postgres, fleet)
    rows = fleet_of_one.rows("users", "--columns", "uid,processes,cpu_s")
    assert rows == [
        {"uid": 1, "processes": 3, "cpu_s": 3 * (2**63 - 1) / 1e9},
        {"uid": 2, "processes": 1, "cpu_s": (2**63 - 1) / 1e9},
    ]
    assert "1 of 1 host is late, with sums until: huge (nothing yet)" in (
        fleet_of_one.run("users").stderr
    )


def test_hosts_that_give_themselves_one_name_are_told_apart(three: Fleet) -> None:
    database = three.server.database(three.database)
    with three.server.connect(database) as connection:
        connection.execute("update elsa.host set name = 'bee' where id = 1")
        connection.execute("update elsa.host set name = 'bee#2' where id = 3")
    fleet = three._replace(url=three.server.url(database), database=database)
    month = ("users", "--month", "2026-10")
    assert {row["host"] for row in fleet.rows(*month)} == {"bee#1", "bee#2", "bee#2#3"}
    for number, name in enumerate(HOSTS, 1):
        shown = ("bee#1", "bee#2", "bee#2#3")[number - 1]
        theirs, before = fleet.rows(*month, "--host", shown), three.rows(*month, "--host", name)
        assert [row["cpu_s"] for row in theirs] == [row["cpu_s"] for row in before]
    with pytest.raises(UsageError, match=r"of a host bee; write one of bee#1, bee#2, bee#2#3$"):
        fleet.run(*month, "--host", "bee")
    late = fleet.json("users")["hosts"]["late"]
    assert [host["host"] for host in late] == ["bee#1", "bee#2", "bee#2#3"]
