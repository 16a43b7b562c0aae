"""Processes by when they lived, not by when they ended: `--at` and `--alive`."""

from __future__ import annotations

import pytest

from elsa.errors import UsageError
from elsa.units import HOUR_NS
from tests.support.given import REAL, SECOND
from tests.support.reports import Reports

# Seconds of the boot, as written times.
AT = "2026-01-02T03:04:{:02}Z"


def at(seconds: int) -> str:
    return AT.format(5 + seconds)


def test_moment_shows_what_lived_then_also_what_still_runs(filled: Reports) -> None:
    commands = [row["command"] for row in filled.json("processes", "--at", at(14))]
    assert commands == ["cc", "make", "sh"]
    assert [row["command"] for row in filled.json("last", "--at", at(14))] == commands[::-1]
    assert filled.json("processes", "--at", at(9)) == []
    assert "no process ran in that window" in filled.run("processes", "--at", at(9)).stderr
    of_job = filled.json("processes", "--at", at(16), "--job", "night", "--state", "running")
    assert [row["command"] for row in of_job] == ["sh"]


def test_process_at_a_moment_is_shown_with_all_that_it_used(filled: Reports) -> None:
    (cc,) = filled.json("processes", "--at", at(14), "--command", "cc")
    assert (cc["cpu_s"], cc["minflt"], cc["elapsed_s"]) == (2.0, 7, 5.0)


def test_window_shows_what_lived_in_it_and_what_was_used_in_it(filled: Reports) -> None:
    filled.warehouse.interval(3, until=20, run_ns=3 * SECOND, utime_us=1, stime_us=0, rss_kib=70)
    filled.warehouse.interval(3, until=40, run_ns=5 * SECOND, utime_us=1, stime_us=0, rss_kib=50)
    window = ("--since", at(15), "--until", at(20), "--columns", "command,cpu_s,rss_kib,elapsed_s")
    rows = {row["command"]: row for row in filled.json("processes", "--alive", *window)}
    assert rows == {
        "cc": {"command": "cc", "cpu_s": 2.0, "rss_kib": None, "elapsed_s": 5.0},
        "make": {"command": "make", "cpu_s": 0.0, "rss_kib": None, "elapsed_s": 20.0},
        "sh": {"command": "sh", "cpu_s": 3.0, "rss_kib": 70, "elapsed_s": None},
    }
    assert "left out" not in filled.run("processes", "--alive", *window).stderr
    later = ("--alive", "--since", at(21), "--until", at(41), "--command", "sh")
    (shell,) = filled.json("processes", *later)
    assert (shell["cpu_s"], shell["rss_kib"]) == (2.0, 50)


def test_number_of_active_processes_is_shown_if_named(filled: Reports) -> None:
    window = ("--since", at(14), "--until", at(29))
    (row,) = filled.json("users", *window, "--user", "1000", "--columns", "+active")
    assert (row["processes"], row["active"]) == (0, 1)  # the shell runs on
    assert all("active" not in row for row in filled.json("users", *window))
    (hour,) = filled.json("hours", "--columns", "+active")
    assert (hour["processes"], hour["active"]) == (3, 4)
    assert "active" in filled.run("hours", "--columns", "help").stdout
    assert filled.run("hours", "--plot", "active").stdout.rstrip().endswith("4")


def test_number_of_active_processes_is_unknown_where_processes_were_pruned(
    filled: Reports,
) -> None:
    pruned = {"pruned": 1, "processes": 3, "in_job": 0, "host_id": 1, "uid": 7}
    filled.warehouse.insert("rollup_user", hour=REAL // HOUR_NS, **pruned)
    filled.warehouse.process(9, start=3600, seconds=1)
    hours = filled.json("hours", "--columns", "+active")
    assert [row["active"] for row in hours] == [None, 2]
    by_command = ("commands", "--columns", "+active")
    assert {row["active"] for row in filled.json(*by_command)} == {None}
    later = filled.json(*by_command, "--since", "2026-01-02T04:00Z")
    assert {row["command"]: row["active"] for row in later} == {"sh": 1, "work": 1}


def test_options_about_lifetimes_say_what_they_need(filled: Reports) -> None:
    for options, words in (
        (("--alive",), "add --since"),
        (("--at", "now", "--since", "today"), "leave out --since"),
        (("--at", "now+1h"), "in the future"),
        (("--at", "x"), "--at: cannot read the time 'x'"),
    ):
        with pytest.raises(UsageError, match=words):
            filled.run("last", *options)


def test_sql_of_both_is_shown(filled: Reports) -> None:
    for options in (("--at", at(14)), ("--alive", "--since", at(14))):
        sql = filled.run("processes", *options, "--explain").stdout
        rows = filled.warehouse.connection.execute(sql).fetchall()
        assert len(rows) == len(filled.json("processes", *options)), options


def test_process_whose_clock_was_set_lived_at_the_times_that_were_shown(reports: Reports) -> None:
    warehouse = reports.warehouse
    for id_, offset_ns in ((2, REAL + 30 * SECOND), (3, REAL - 10 * SECOND)):
        warehouse.insert("clock", id=id_, boot_id=1, since_ns=20 * SECOND, offset_ns=offset_ns)
    # Started at 10 s, and ended at 30 s of a clock that had been set to 60 s or back to 20 s.
    warehouse.process(1, start=10, seconds=20, comm="ahead", end_clock_id=2)
    warehouse.process(2, start=10, seconds=20, comm="back", end_clock_id=3)
    lived = {
        second: {row["command"] for row in reports.json("processes", "--at", at(second))}
        for second in (9, 15, 25, 54)
    }
    assert lived == {9: {"back"}, 15: {"ahead", "back"}, 25: {"ahead"}, 54: {"ahead"}}
