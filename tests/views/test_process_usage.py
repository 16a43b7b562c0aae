"""process_usage: one row per incarnation, plus one per counted record that is joined to none."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.decode.acct import AXSIG
from elsa.measures import OF_TASKSTATS_ALONE
from tests.support.given import Warehouse

REAL_S = 1_767_323_045  # real time of monotonic 0 (see given.py)
# Figures of taskstats alone.
USAGE = (
    *("threads", "usage_complete", "run_ns", "utime_us", "stime_us", "rss_kib", "vm_kib"),
    *("coremem_mb_us", "virtmem_mb_us", "coremem_mb_s", "virtmem_mb_s"),
    *OF_TASKSTATS_ALONE,
    *("exe_dev", "exe_inode"),
)


def test_a_process_with_a_record_shows_both_sources_in_raw_and_human_units(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=5, comm="make")
    warehouse.process(2, start=10, seconds=2.5, comm="sh", parent_id=1)
    more = {"minflt": 40, "majflt": 2, "mem": 512, "io": 77, "tty": 34816, "uid": 7, "gid": 8}
    warehouse.acct(9, 2, comm="cc1", flag=1 | 2, utime=150, stime=25, etime=250.0, **more)
    row = warehouse.row("select * from process_usage where process_id = 2")
    assert row == {
        "process_id": 2,
        "acct_id": 9,
        "host": "here",
        "host_id": 1,
        "boot_id": 1,
        "pid": 1002,
        "parent_process_id": 1,
        "ppid": 1001,
        "command": "cc1",
        "forked_only": 1,
        "superuser": 1,
        "dumped_core": 0,
        "killed": 0,
        "uid": 7,
        "gid": 8,
        "tty": 34816,
        "start_ns": 10_000_000_000,
        "end_ns": 12_500_000_000,
        "started_ns": (REAL_S + 10) * 10**9,
        "ended_ns": (REAL_S + 12) * 10**9 + 500_000_000,
        "started_at": "2026-01-02 03:04:15",
        "ended_at": "2026-01-02 03:04:17",
        "ended_hour": (REAL_S + 12) // 3600,
        "elapsed_ns": 2_500_000_000,
        "elapsed_s": 2.5,
        "user_ns": 1_500_000_000,
        "system_ns": 250_000_000,
        "etime_ticks": 250.0,
        "utime_ticks": 150,
        "stime_ticks": 25,
        "user_s": 1.5,
        "system_s": 0.25,
        "cpu_s": 1.75,
        "provenance": "acct",
        "minflt": 40,
        "majflt": 2,
        "swaps": 0,
        "mem_kib": 512,
        "io_raw": 77,
        "exit_status": 0,
        "exit_code": 0,
        "exit_signal": 0,
        "state": "ended",
        "origin": "fork",
        "end_source": "exit",
        "ended_inferred": 0,
        "record": "exact",
        "class": "both",
        "before_first_start": None,
        "in_job": 0,
        "tick_ns": 4_000_000,
        "below_tick": 1,
        **dict.fromkeys(USAGE),
        "minor_faults": 40,
        "major_faults": 2,
    }


def test_what_is_unknown_of_a_running_process_is_null_and_never_zero(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=None)
    row = warehouse.row("select * from process_usage")
    known = {name for name, value in row.items() if value is not None}
    identity = {
        "process_id",
        "host",
        "host_id",
        "boot_id",
        "pid",
        "command",
        "uid",
        "start_ns",
        "started_ns",
        "started_at",
    }
    assert known == identity | {"state", "origin", "class", "in_job", "tick_ns", "below_tick"}
    assert (row["state"], row["class"], row["command"], row["uid"]) == (
        "running",
        "running",
        "work",
        1000,
    )


@pytest.mark.parametrize(("join", "word"), [(0, "pending"), (5, "ambiguous")])
def test_record_that_is_joined_to_no_process_is_a_row_of_its_own(
    warehouse: Warehouse, join: int | None, word: str
) -> None:
    warehouse.acct(1, None, join=join, pid=77, ppid=7, btime=REAL_S, etime=250.0, utime=3, stime=4)
    row = warehouse.row("select * from process_usage")
    assert row["process_id"] is None
    assert (row["pid"], row["ppid"], row["record"], row["state"], row["host"]) == (
        77,
        7,
        word,
        "ended",
        "here",
    )
    assert (row["started_at"], row["ended_at"]) == (
        "2026-01-02 03:04:05",
        "2026-01-02 03:04:07",
    )
    assert (row["started_ns"], row["ended_ns"], row["elapsed_s"]) == (
        REAL_S * 10**9,
        (REAL_S + 2) * 10**9,
        2.5,
    )
    assert (row["utime_ticks"], row["stime_ticks"], row["cpu_s"]) == (3, 4, 0.07)


def test_record_that_acct_wrote_about_its_own_caller_is_nowhere(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.acct(1, None, join=3, utime=99)
    row = warehouse.row("select * from process_usage")
    assert (row["process_id"], row["record"], row["utime_ticks"]) == (1, None, None)


@pytest.mark.parametrize(("join", "word"), [(1, "exact"), (2, "uncertain"), (4, "own")])
def test_record_column_says_how_the_record_was_joined(
    warehouse: Warehouse, join: int | None, word: str
) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, join=join)
    assert warehouse.row("select record from process_usage") == {"record": word}


def test_the_end_is_dated_by_the_clock_at_the_end_even_after_a_step(warehouse: Warehouse) -> None:
    hour = 3600 * 10**9
    warehouse.insert(
        "clock",
        id=2,
        boot_id=1,
        since_ns=11 * 10**9,
        offset_ns=REAL_S * 10**9 + hour,
        boottime_offset_ns=0,
    )
    warehouse.process(1, start=10, seconds=2, end_clock_id=2)
    row = warehouse.row("select started_at, ended_at, elapsed_s from process_usage")
    assert row == {
        "started_at": "2026-01-02 03:04:15",
        "ended_at": "2026-01-02 04:04:17",
        "elapsed_s": 2.0,
    }


@pytest.mark.parametrize(
    ("status", "decoded"),
    [(0, (0, 0, 0, 0)), (3 << 8, (3, 0, 0, 0)), (9, (None, 9, 1, 0)), (11 | 128, (None, 11, 1, 1))],
)
def test_wait_status_is_decoded_as_wait_does(
    warehouse: Warehouse, status: int, decoded: tuple[int | None, int, int, int]
) -> None:
    warehouse.process(1, exit_status=status)
    row = warehouse.row("select exit_code, exit_signal, killed, dumped_core from process_usage")
    assert tuple(row.values()) == decoded


def test_exit_status_is_the_connector_s_first_since_the_record_has_the_leader_s(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, exit_status=6 << 8)
    warehouse.acct(1, 1, exitcode=0)
    warehouse.process(2, exit_status=None, end_source=2)
    warehouse.acct(2, 2, exitcode=5 << 8)
    warehouse.process(3, exit_status=None, end_source=2)
    warehouse.acct(3, 3, exitcode=5 << 8)
    warehouse.usage(3, threads=2)
    rows = warehouse.rows("select exit_code from process_usage order by process_id")
    assert [row["exit_code"] for row in rows] == [
        6,
        5,
        None,
    ], "of several threads the leader's need not be that of all"


def test_an_exit_status_that_nothing_decides_is_not_taken_from_the_leader(
    warehouse: Warehouse,
) -> None:
    """All exits were received, so it is known that there is more than one code."""
    warehouse.process(1, exit_status=None, leader_status=7 << 8)
    warehouse.acct(1, 1, exitcode=7 << 8)
    assert warehouse.row("select exit_status, exit_code, state from process_usage") == {
        "exit_status": None,
        "exit_code": None,
        "state": "ended",
    }


@pytest.mark.parametrize(("status", "killed"), [(0, 0), (9, 1)])
def test_a_process_was_killed_if_its_wait_status_says_so(
    warehouse: Warehouse, status: int, killed: int
) -> None:
    """The record's flag alone is set as well where a thread was ended because another one ended the
    process.
    """
    warehouse.process(1, exit_status=status)
    warehouse.acct(1, 1, flag=AXSIG, exitcode=0)
    assert warehouse.row("select killed from process_usage") == {"killed": killed}


def test_ppid_is_the_record_s_where_the_parent_is_unknown(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, ppid=42)
    assert warehouse.row("select parent_process_id, ppid from process_usage") == {
        "parent_process_id": None,
        "ppid": 42,
    }


def test_taskstats_prevail_over_the_ticks_of_the_record_which_are_unchanged(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, utime=150, stime=25, minflt=8, majflt=7)
    counts: dict[str, Any] = {
        "minflt": 9,
        "utime_us": 1_504_000,
        "stime_us": 258_000,
        "run_ns": 1_760_000_123,
        "read_chars": 4096,
        "blkio_delay_ns": None,
    }
    warehouse.usage(1, threads=3, coremem_mb_us=2_500_000, rss_kib=900, exe_inode=7, **counts)
    row = warehouse.row("select * from process_usage")
    assert (row["utime_ticks"], row["stime_ticks"], row["provenance"]) == (150, 25, "taskstats")
    assert (row["user_s"], row["system_s"], row["cpu_s"]) == pytest.approx(
        (1.502293, 0.257707, 1.76), abs=1e-6
    )
    assert row["run_ns"] == 1_760_000_123
    assert (
        row["threads"],
        row["usage_complete"],
        row["rss_kib"],
        row["coremem_mb_s"],
        row["exe_inode"],
    ) == (3, 1, 900, 2.5, 7)
    assert (row["minflt"], row["minor_faults"], row["majflt"], row["major_faults"]) == (8, 9, 7, 7)
    assert (row["read_chars"], row["write_chars"], row["blkio_delay_ns"]) == (4096, None, None)


def test_process_without_a_record_has_the_figures_of_taskstats_all_the_same(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1)
    warehouse.usage(1, utime_us=4000, stime_us=0, complete=0)
    row = warehouse.row("select cpu_s, utime_ticks, provenance, usage_complete from process_usage")
    assert row == {
        "cpu_s": 0.004,
        "utime_ticks": None,
        "provenance": "taskstats",
        "usage_complete": 0,
    }


def test_the_program_is_shown_as_text(warehouse: Warehouse) -> None:
    warehouse.process(1)
    for number, value in enumerate(
        ("cc -o 'a b'", "/usr/bin/cc", "/src", "/system.slice"), start=1
    ):
        warehouse.insert("long_text", id=number, value=value)
    warehouse.insert(
        "program",
        process_id=1,
        cmdline_id=1,
        exe_id=2,
        cwd_id=3,
        cgroup_id=4,
        loginuid=1000,
        session=77,
    )
    warehouse.process(2)
    warehouse.insert("program", process_id=2, session=5)
    first, second = warehouse.rows("select * from process_program order by process_id")
    assert tuple(first.values()) == (
        1,
        "cc -o 'a b'",
        "/usr/bin/cc",
        "/src",
        "/system.slice",
        1000,
        77,
    )
    assert tuple(second.values()) == (2, None, None, None, None, None, 5)


def test_a_process_that_proc_did_not_show_has_the_path_that_it_executed(
    warehouse: Warehouse,
) -> None:
    for number, value in enumerate(("/usr/bin/cc", "./cc"), start=1):
        warehouse.insert("long_text", id=number, value=value)
    warehouse.process(1, exe_id=2)
    warehouse.process(2, exe_id=2)
    warehouse.insert("program", process_id=2, exe_id=1)
    warehouse.process(3, exe_id=2)
    warehouse.insert("program", process_id=3, session=5)
    warehouse.process(4)
    rows = warehouse.rows("select process_id, exe, session from process_program order by 1")
    assert [tuple(row.values()) for row in rows] == [
        (1, "./cc", None),
        (2, "/usr/bin/cc", None),
        (3, "./cc", 5),
    ]
    plan = warehouse.plan("select exe from process_program where process_id = 3")
    assert "SCAN" not in plan


@pytest.mark.parametrize(
    ("run_ns", "utime_us", "stime_us", "cpu_s", "user_s"),
    [
        (761_000_000, 0, 4000, 0.761, 0.0),  # slept through every tick: the samples missed it
        (
            761_000_000,
            0,
            0,
            0.761,
            0.761,
        ),  # the kernel takes what was never sampled for user time, too
        (0, 4000, 0, 0.004, 0.004),  # shorter than a tick: the measurement ends before it begins
        (300_000, 0, 0, 0.0003, 0.0003),
        (None, 4000, 4000, 0.008, 0.004),
    ],
)
def test_cpu_time_is_measured_where_it_can_be_and_sampled_where_not(
    warehouse: Warehouse,
    run_ns: int | None,
    utime_us: int,
    stime_us: int,
    cpu_s: float,
    user_s: float,
) -> None:
    warehouse.process(1)
    warehouse.usage(1, run_ns=run_ns, utime_us=utime_us, stime_us=stime_us)
    row = warehouse.row("select cpu_s, user_s, system_s from process_usage")
    assert (row["cpu_s"], row["user_s"], row["system_s"]) == pytest.approx(
        (cpu_s, user_s, cpu_s - user_s)
    )


def test_an_end_known_only_from_a_record_with_a_cut_elapsed_time_is_marked_as_inferred(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, seconds=None)
    warehouse.process(2, end_source=1)  # its exit was received
    warehouse.process(3, end_source=3)
    warehouse.process(4, end_source=3)
    for number, late_s in ((2, 4), (3, 0), (4, None)):
        warehouse.acct(number, number, late_s=late_s)
    warehouse.acct(5, None, late_s=3)
    warehouse.acct(6, None)
    found = warehouse.rows(
        "select process_id, acct_id, ended_inferred from process_usage order by process_id nulls"
        " last, acct_id"
    )
    assert [row["ended_inferred"] for row in found] == [None, 0, 1, 0, 1, 0]
    warehouse.job(1, members=(2, 3))
    of_job = warehouse.rows("select ended_inferred from job_process_usage order by process_id")
    assert [row["ended_inferred"] for row in of_job] == [0, 1]


def test_the_last_processes_are_found_without_computing_every_row(warehouse: Warehouse) -> None:
    plan = warehouse.plan("select * from process_usage order by ended_ns desc limit 10")
    assert plan.startswith("MERGE (UNION ALL)")  # each of the two views is read with the limit
    assert "CO-ROUTINE" not in plan


def test_the_last_ten_by_their_end_and_a_day_by_it_are_found_by_indexes(
    warehouse: Warehouse,
) -> None:
    last = warehouse.plan("select * from process_usage order by ended_at desc limit 10")
    assert "SCAN p USING INDEX process_ended_at" in last
    assert "SCAN a USING INDEX acct_unjoined_at" in last
    assert "ORDER BY" not in last  # nothing is sorted
    day = warehouse.plan(
        "select sum(cpu_s) from process_usage"
        " where ended_at >= '2026-01-02' and ended_at < '2026-01-03'"
    )
    assert "SEARCH p USING INDEX process_ended_at" in day
    assert "SEARCH a USING INDEX acct_unjoined_at" in day


def test_an_end_before_1970_is_in_its_own_second_and_hour(warehouse: Warehouse) -> None:
    warehouse.process(1, start=-REAL_S - 3, seconds=2.5)
    row = warehouse.row("select ended_at, ended_hour from process_usage")
    assert row == {"ended_at": "1969-12-31 23:59:59", "ended_hour": -1}
