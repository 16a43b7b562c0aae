"""Processes by when they lived, not by when they ended: `--at` and `--alive`."""

from __future__ import annotations

import pytest

from elsa.errors import UsageError
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
