"""`elsa report at`: what ran at a moment, and what was used in the interval that holds it."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from copy import copy
from dataclasses import replace

import pytest

from elsa.cli.report import shared_options
from elsa.errors import UsageError
from elsa.report.render.output import Output
from elsa.store import intervals, own_records
from elsa.units import HOUR_NS
from tests.support.given import REAL, RUNNING, SECOND
from tests.support.reports import Reports


def at(seconds: int) -> str:
    """A second of the boot as a written time: the boot was at 03:04:05."""
    minute, second = divmod(4 * 60 + 5 + seconds, 60)
    return f"2026-01-02T03:{minute:02}:{second:02}Z"


def used(seconds: float, **more: int) -> dict[str, int]:
    return {"run_ns": int(seconds * SECOND), "utime_us": 1, "stime_us": 0} | more


@pytest.fixture
def busy(reports: Reports) -> Reports:
    """Readings once a minute. A daemon uses a quarter of a CPU; in the second minute a storm of
    processes of a job that each live for 0.1 s; a process that does nothing after its start.
    """
    warehouse = reports.warehouse
    warehouse.insert("collector", id=1, boot_id=1, since_ns=SECOND, heard_ns=1000 * SECOND)
    warehouse.process(1, start=5, seconds=RUNNING, comm="daemon")
    warehouse.process(2, start=6, seconds=RUNNING, comm="idle")
    warehouse.job(1, "build")
    warehouse.process(3, start=50, seconds=100, comm="make")
    warehouse.usage(3, **used(2))
    warehouse.stay(1, 3, how=3)
    for number in range(500):
        warehouse.process(10 + number, start=62 + number / 10, seconds=0.1, comm="cc")
        warehouse.usage(10 + number, rss_kib=900, read_bytes=8192, **used(0.08))
        warehouse.stay(1, 10 + number)
    for minute in (1, 2, 3):
        warehouse.reading(
            60 * minute,
            {
                1: used(15 * minute, rss_kib=100 * minute, read_bytes=6000 * minute),
                2: used(0.1, rss_kib=7000),
            }
            | ({3: used(0.5 * minute, rss_kib=50)} if minute < 3 else {}),
        )
    return reports


def test_rows_show_what_ran_at_the_moment_and_what_all_used_around_it(busy: Reports) -> None:
    rows = {row["command"]: row for row in busy.json("at", at(118))}
    assert list(rows) == ["cc", "daemon", "make", "idle"]
    cc, daemon, make, idle = rows.values()
    assert (cc["alive"], cc["active"], cc["cpu_s"], cc["cpus"]) == (0, 500, 40.0, None)
    assert (cc["job_names"], cc["read_bytes"], cc["read_bytes_s"]) == ("build", 500 * 8192, None)
    assert (daemon["alive"], daemon["active"], daemon["cpus"]) == (1, 1, 0.25)
    assert (daemon["resident_kib"], daemon["read_bytes_s"], daemon["job_ids"]) == (200, 100.0, None)
    assert (make["cpu_s"], make["cpus"], make["resident_kib"]) == (0.5, 0.5 / 60, 50)
    # It was read and had used nothing since.
    assert (idle["cpu_s"], idle["cpus"], idle["resident_kib"]) == (0.0, 0.0, 7000)
    assert sum(row["share_percent"] for row in rows.values()) == pytest.approx(100)
    assert cc["share_percent"] == pytest.approx(100 * 40 / 55.5)


def test_notes_say_which_interval_it_is_and_how_many_lived_in_it(busy: Reports) -> None:
    notes = busy.run("at", at(118)).stderr
    assert "is in the interval from 03:05:05 to 03:06:05 (1m00s)" in notes
    assert "503 processes lived in it and used 55.50 s of CPU time, 0.93 CPUs on average" in notes
    assert "3 of them lived at that moment" in notes
    assert "gap" not in notes
    busy.warehouse.insert(
        "gap", id=1, boot_id=1, kind="overrun", from_ns=90 * SECOND, to_ns=95 * SECOND
    )
    assert "1 gap in this window" in busy.run("at", at(118)).stderr
    assert "gap" not in busy.run("at", at(130)).stderr
    assert "estimated" not in notes
    assert "not known" not in notes


def test_process_that_ended_has_the_rate_of_what_is_left_since_its_last_reading(
    busy: Reports,
) -> None:
    (make,) = busy.json("at", at(140), "--command", "make")
    assert (make["cpu_s"], make["cpus"], make["alive"]) == (1.0, 1.0 / 30, 1)
    (make,) = busy.json("at", at(155), "--command", "make")
    assert (make["cpu_s"], make["cpus"], make["alive"]) == (1.0, None, 0)


def test_processes_jobs_and_users_add_up_to_the_same(busy: Reports) -> None:
    for by, count in (("process", 503), ("command", 4), ("job", 2), ("user", 1)):
        rows = busy.json("at", at(118), "--by", by)
        assert len(rows) == count, by
        assert sum(row["cpu_s"] for row in rows) == pytest.approx(55.5), by
        assert sum(row["active"] for row in rows) == 503, by
    process, *_ = busy.json("at", at(118), "--by", "process")
    assert (process["pid"], process["command"]) == (1001, "daemon")


def test_choices_and_jobs_choose_processes_with_all_that_they_used(busy: Reports) -> None:
    busy.warehouse.acct(1, 3, comm="gmake", uid=7)
    assert [row["cpu_s"] for row in busy.json("at", at(118), "--command", "gmake")] == [0.5]
    assert busy.json("at", at(118), "--command", "make") == []
    assert "no process matches in that window" in busy.run("at", at(118), "--pid", "1").stderr
    build = busy.json("at", at(118), "--job", "build", "--by", "job")
    assert [(row["job_ids"], row["active"], row["cpu_s"]) for row in build] == [("1", 501, 40.5)]


def _now_is(reports: Reports, second: int, heard: int | None = None) -> None:
    """Set the clock so that it is now this second of the boot."""
    offset_ns = time.time_ns() - second * SECOND
    execute = reports.warehouse.connection.execute
    execute("update clock set offset_ns = ?", (offset_ns,))
    execute("update usage_reading set hour = (until_ns - 1 + ?) / ?", (offset_ns, HOUR_NS))
    execute("update collector set heard_ns = ?", ((heard or second) * SECOND,))


def test_while_an_interval_is_not_over_all_figures_are_of_the_last_that_is(busy: Reports) -> None:
    _now_is(busy, 205)
    busy.warehouse.process(600, start=185, seconds=RUNNING, comm="new")
    busy.warehouse.process(601, start=186, seconds=2, comm="short")
    busy.warehouse.usage(601, **used(1))
    rows = {row["command"]: row for row in busy.json("at")}
    assert (rows["daemon"]["cpus"], rows["daemon"]["cpu_s"]) == (0.25, 15.0)
    assert rows.keys() == {"daemon", "idle", "make"}
    notes = busy.run("at", "now").stderr
    assert "is not over: all figures are of the last one that is" in notes
    assert "(1m00s), and what started later is left out" in notes
    assert "16.00 s of CPU time, 0.27 CPUs on average; 2 of them lived" in notes


def test_a_reading_that_may_not_be_stored_yet_is_not_taken_for_one_that_found_nothing(
    busy: Reports,
) -> None:
    _now_is(busy, 245, 244)  # the reading at 240 s may come
    (daemon,) = busy.json("at", "--command", "daemon")
    assert (daemon["cpus"], daemon["cpu_s"]) == (0.25, 15.0)
    _now_is(busy, 275)
    (daemon,) = busy.json("at", "--command", "daemon")
    assert (daemon["cpus"], daemon["cpu_s"]) == (0.0, 0.0)


def test_interval_in_which_jobd_stopped_will_never_be_over(busy: Reports) -> None:
    _now_is(busy, 900, 205)
    busy.warehouse.process(601, start=186, seconds=2, comm="short")
    busy.warehouse.usage(601, **used(1))
    result = busy.run("at", "700s ago")
    assert "jobd was not listening any more at the end of the interval" in result.stderr
    assert "is not over" not in result.stderr
    rows = {row["command"]: row for row in busy.json("at", "700s ago")}
    assert (rows["short"]["cpu_s"], rows["daemon"]["cpu_s"]) == (1.0, None)
    assert (rows["daemon"]["alive"], rows["daemon"]["cpus"]) == (1, None)


def test_nobody_knows_what_lived_after_jobd_stopped(busy: Reports) -> None:
    _now_is(busy, 900, 205)
    rows = {row["command"]: row for row in busy.json("at", "500s ago")}
    assert rows.keys() == {"daemon", "idle"}
    for row in rows.values():
        assert (row["alive"], row["active"], row["cpus"], row["cpu_s"]) == (None,) * 4
        assert (row["resident_kib"], row["share_percent"]) == (None, None)
    notes = busy.run("at", "500s ago").stderr
    assert "2 processes had started before and may have lived in it" in notes
    assert "lived in it and used" not in notes
    assert "of them lived" not in notes


def test_without_readings_figures_are_estimated_or_unknown(busy: Reports) -> None:
    warehouse = busy.warehouse
    warehouse.connection.execute("update collector set heard_ns = ?", (190 * SECOND,))
    warehouse.process(600, start=100, seconds=1000, comm="recorded", origin=3)
    warehouse.acct(9, 600, comm="recorded", utime=50_000, join=4)
    rows = {row["command"]: row for row in busy.json("at", at(415))}
    assert (rows["recorded"]["cpus"], rows["recorded"]["estimated_s"]) == (0.5, 30.0)
    assert (rows["daemon"]["alive"], rows["daemon"]["cpu_s"], rows["daemon"]["cpus"]) == (
        *(None, None, None),
    )
    notes = busy.run("at", at(415)).stderr
    assert "jobd read no living process around" in notes
    assert "100 % of the CPU time is estimated" in notes
    assert "2 processes had started before and may have lived in it" in notes
    # While it read, that is known of the others, and estimated of this process alone.
    rows = {row["command"]: row for row in busy.json("at", at(150))}
    assert (rows["daemon"]["cpu_s"], rows["daemon"]["estimated_s"]) == (15.0, 0)
    assert (rows["recorded"]["cpu_s"], rows["recorded"]["estimated_s"]) == (30.0, 30.0)


def test_readings_that_found_nothing_are_not_stored_and_still_known(busy: Reports) -> None:
    warehouse = busy.warehouse
    warehouse.process(600, start=301, seconds=5, comm="short")
    warehouse.usage(600, **used(3))
    for second in (305, 415):  # up to when jobd was listening, and after a later reading
        (daemon,) = busy.json("at", at(second), "--command", "daemon")
        assert (daemon["alive"], daemon["cpu_s"], daemon["cpus"]) == (1, 0.0, 0.0)
        assert "(1m00s)" in busy.run("at", at(second)).stderr
        warehouse.reading(900, {1: used(46)})
        warehouse.connection.execute(
            "update usage_reading set since_ns = ? where until_ns = ?", (840 * SECOND, 900 * SECOND)
        )
    assert [row["cpu_s"] for row in busy.json("at", at(310), "--command", "short")] == [3.0]
    assert busy.json("at", at(370), "--command", "short") == []


def test_before_jobd_read_a_process_first_nothing_is_known_of_what_it_used(
    reports: Reports,
) -> None:
    warehouse = reports.warehouse
    warehouse.insert("collector", id=1, boot_id=1, since_ns=300 * SECOND, heard_ns=400 * SECOND)
    for number, start in ((1, 5), (2, 320)):
        warehouse.process(number, start=start, seconds=RUNNING, comm=f"work{number}")
    warehouse.reading(359, {1: used(20)})
    warehouse.connection.execute(
        "update usage_reading set since_ns = 0, until_ns = ?, of_all = 2", (360 * SECOND,)
    )
    warehouse.reading(360, {2: used(10)})
    warehouse.connection.execute("update usage_reading set since_ns = 0")
    warehouse.reading(420, {1: used(50), 2: used(10)})
    (row,) = reports.json("at", at(120))
    assert (row["alive"], row["cpu_s"]) == (1, None)
    for second, expected in ((330, [(10.0, 0.25), (None, None)]), (400, [(30.0, 0.5), (0.0, 0.0)])):
        rows = reports.json("at", at(second))
        assert [(row["cpu_s"], row["cpus"]) for row in rows] == expected


def test_jobs_are_those_of_the_moment(reports: Reports) -> None:
    warehouse = reports.warehouse
    warehouse.job(1, "build")
    warehouse.job(2, "night")
    warehouse.process(1, start=5, seconds=RUNNING, comm="daemon")
    warehouse.process(3, start=61, seconds=58, comm="make")
    warehouse.reading(60, {1: used(15)})
    warehouse.read(1, at=80, **used(20))
    warehouse.read(1, at=110, **used(27))
    warehouse.reading(120, {1: used(30)})
    warehouse.stay(2, 1, since=80, until=110, how=1)
    warehouse.stay(1, 3)
    warehouse.stay(2, 3)
    names = {
        second: {row["command"]: row["job_names"] for row in reports.json("at", at(second))}
        for second in (70, 100, 119)
    }
    assert [names[second]["daemon"] for second in (70, 100, 119)] == [None, "night", None]
    # Also where it had not started yet, or had just ended.
    assert [names[second]["make"] for second in (60 + 10, 119)] == ["build, night"] * 2
    (daemon,) = reports.json("at", at(100), "--job", "night", "--command", "daemon")
    assert (daemon["alive"], daemon["cpu_s"], daemon["cpus"]) == (1, 7.0, 7 / 30)


def test_each_host_has_an_interval_of_its_own(busy: Reports) -> None:
    warehouse = busy.warehouse
    warehouse.insert("host", id=2, machine_id="m2", name="there")
    warehouse.insert("boot", id=2, host_id=2, uuid="b2", started_at_ns=REAL)
    warehouse.insert("clock", id=2, boot_id=2, since_ns=0, offset_ns=REAL, boottime_offset_ns=0)
    other = copy(warehouse)
    other._used, other._read_ns = {}, 90 * SECOND
    other.process(700, start=1, seconds=RUNNING, comm="far", boot_id=2, clock_id=2)
    other.process(701, start=95, seconds=1, comm="early", boot_id=2, clock_id=2)
    other.process(702, start=65, seconds=1, comm="before", boot_id=2, clock_id=2)
    other.reading(180, {700: used(9)})
    rows = {row["command"]: row for row in busy.json("at", at(100), "--by", "process")}
    assert (rows["far"]["cpus"], rows["far"]["host"]) == (0.1, "there")
    assert (rows["daemon"]["cpus"], rows["daemon"]["host"]) == (0.25, "here")
    assert "early" in rows
    assert "before" not in rows
    only = busy.json("at", at(100), "--host", "there", "--by", "user")
    assert [(row["host"], row["active"]) for row in only] == [("there", 2)]
    printed = json.loads(busy.run("at", at(100), "--format", "json").stdout)
    lived = sum(row["active"] for row in printed["rows"])
    assert sum(source["processes"] for source in printed["sources"].values()) == lived
    notes = busy.run("at", at(100)).stderr
    assert f"elsa-report: {lived} processes: " in notes
    assert re.search("here: .* is in the interval from .*there: .* is in the interval", notes, re.S)
    assert "here: " not in busy.run("at", at(100), "--host", "there").stderr


def test_json_has_the_moment_the_interval_and_the_units(busy: Reports) -> None:
    printed = json.loads(busy.run("at", at(118), "--format", "json").stdout)
    assert printed["at"] == "2026-01-02T03:06:03+00:00"
    assert printed["window"] == {
        "since": "2026-01-02T03:05:05.000Z",
        "until": "2026-01-02T03:06:05.000Z",
    }
    units = printed["units"]
    assert (units["read_bytes_s"], units["resident_kib"], units["cpu_s"]) == ("bytes/s", "KiB", "s")


@pytest.mark.parametrize("by", ["command", "process", "job", "user"])
def test_sql_is_shown_that_sqlite_runs(busy: Reports, by: str) -> None:
    sql = busy.run("at", at(118), "--by", by, "--columns", "all", "--explain").stdout
    rows = busy.warehouse.connection.execute(sql).fetchall()
    assert len(rows) == len(busy.json("at", at(118), "--by", by))


def test_plain_user_sees_his_own_processes_with_the_same_figures(busy: Reports) -> None:
    connection = busy.warehouse.connection
    connection.execute("update process set uid = 7 where id in (1, 3)")
    busy.warehouse.process(600, start=301, seconds=5, comm="short", uid=7)
    busy.warehouse.usage(600, **used(3))
    expected = [busy.json("at", at(second), "--user", "7") for second in (118, 305)]
    with closing(sqlite3.connect(":memory:")) as own:
        own.deserialize(own_records.copy(busy.path, 7))
        own.backup(connection)
    for row in (row for rows in expected for row in rows):
        row["job_names"] = row["job_ids"] = None  # the job is another user's
    assert [busy.json("at", at(second)) for second in (118, 305)] == expected
    assert [row["command"] for row in expected[1]] == ["short", "daemon"]


@pytest.mark.parametrize("report", [("at", at(118)), ("processes", "--at", at(118))])
@pytest.mark.parametrize("job", [(), ("--job", "build")])
def test_processes_of_a_moment_are_found_by_indexes(
    busy: Reports, report: tuple[str, ...], job: tuple[str, ...]
) -> None:
    plan = busy.warehouse.plan(busy.run(*report, *job, "--explain").stdout)
    # Those that run are all read, and records without a process are few.
    assert not re.search(
        r"SCAN (?:p|i|f|a|r|process|acct)\b(?! USING INDEX (?:process_running|acct_unjoined))", plan
    )
    assert "SEARCH p USING INDEX process_lasting" in plan


def test_time_may_be_several_words(busy: Reports) -> None:
    assert busy.json("at", "2026-01-02", "03:06:03Z") == busy.json("at", at(118))


def test_times_that_cannot_be_are_refused(busy: Reports) -> None:
    for text, words in (("now+1h", "TIME now\\+1h is in the future"), ("x", "TIME: cannot read")):
        with pytest.raises(UsageError, match=words):
            busy.run("at", text)


def test_empty_warehouse_says_so(busy: Reports) -> None:
    for table in ("process", "host"):
        busy.warehouse.connection.execute(f"delete from {table}")
    result = busy.run("at", at(118))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing is recorded yet" in result.stderr


def test_old_hour_is_one_interval_also_where_shorter_intervals_of_members_are_left(
    reports: Reports,
) -> None:
    warehouse = reports.warehouse
    warehouse.insert("collector", id=1, boot_id=1, heard_ns=9000 * SECOND)
    warehouse.job(1)
    for number, command in ((1, "daemon"), (2, "member")):
        warehouse.process(number, start=5, seconds=RUNNING, comm=command)
    for minute in range(1, 61):
        warehouse.reading(60 * minute, {1: used(minute), 2: used(minute)})
        if minute == 10:
            warehouse.read(2, at=630, **used(10))
            warehouse.stay(1, 2, since=630, how=1)
    connection = warehouse.connection
    connection.execute("commit") if connection.in_transaction else None
    intervals.merge_hours(connection, REAL // HOUR_NS + 1, lambda _: None)
    # 03:03:05 to 03:59:05 of the clock are one interval now.
    rows = {row["command"]: row for row in reports.json("at", at(700))}
    assert (rows["daemon"]["cpu_s"], rows["member"]["cpu_s"]) == (55, 55)
    assert rows["daemon"]["cpus"] == pytest.approx(55 / (55 * 60 - 5))
    window = ("--alive", "--since", at(500), "--until", at(800), "--columns", "command,cpu_s")
    used_s = {row["command"]: row["cpu_s"] for row in reports.json("processes", *window)}
    assert used_s == {"daemon": None, "member": 5.0}


def test_an_age_with_a_hyphen_is_a_time_and_not_an_option(busy: Reports) -> None:
    assert busy.run("at", "-1s").exit_code == 0
    refused = busy.run("at", "-1s", "--nope=3")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "No such option '--nope'" in refused.stderr


def test_a_narrow_terminal_leaves_out_the_processes_of_the_moment_first(
    busy: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_out = {"alive", "resident", "read/s", "written/s", "cpus", "read", "written"}
    seen = []
    for width in (80, 64, 56, 50, 44, 30):
        made = replace(Output(), width=width)
        monkeypatch.setattr(shared_options, "Output", lambda *_, made=made, **__: made)
        heading = busy.run("at", at(118)).stdout.splitlines()[0]
        seen.append(heading.removesuffix(" +").split())
        assert "cpu" in seen[-1], width
        assert {"active", "share"} <= {*seen[-1]} or not first_out & {*seen[-1]}, width
    assert seen[0] == [
        "jobs",
        "command",
        "user",
        "cpus",
        "active",
        "cpu",
        "share",
        "read",
        "written",
    ]
    assert len(seen[-1]) < 5
