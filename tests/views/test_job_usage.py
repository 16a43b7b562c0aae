"""job_usage: one row per job, with what it cost and how complete that is."""

from __future__ import annotations

import json

import pytest

from elsa.measures import OF_TASKSTATS_ALONE
from elsa.state.codes import MemoryBy
from tests.support.given import Warehouse

# What taskstats counts and jobs add up.
ADDED = ("threads", "run_ns", "utime_us", "stime_us", *OF_TASKSTATS_ALONE)


def test_a_finished_job_sums_its_processes_and_separates_wall_from_elapsed_time(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=10, seconds=30, exit_status=3 << 8)
    warehouse.process(2, start=15, seconds=30)
    warehouse.process(3, start=15, seconds=30)
    warehouse.acct(1, 1, utime=100, stime=10, etime=3000.0, minflt=5, majflt=1)
    warehouse.acct(2, 2, utime=1, stime=2, etime=3000.0, minflt=6, join=4)
    warehouse.acct(3, 3, utime=1000)
    warehouse.job(
        7, "build", members=(2,), closed_at_ns=1_767_323_100 * 10**9, close_reason="ended"
    )
    warehouse.stay(7, 1, how=3)
    warehouse.insert("job_tag", job_id=7, key="project", value="x")
    row = warehouse.row("select * from job_usage")
    assert json.loads(row.pop("tags")) == {"project": "x"}
    assert row == {
        "job_id": 7,
        "name": "build",
        "kind": "manual",
        **dict.fromkeys(
            (
                *("group_cpu_s", "group_peak_bytes", "group_read_bytes", "group_write_bytes"),
                *("job_peak_kib", "job_peak_by"),
            )
        ),
        "owner_uid": 1000,
        "created_at_ns": 1_767_323_045 * 10**9,
        "closed_at_ns": 1_767_323_100 * 10**9,
        "created_at": "2026-01-02 03:04:05",
        "closed_at": "2026-01-02 03:05:00",
        "close_reason": "ended",
        "state": "closed",
        "processes": 2,
        "running": 0,
        "records": 2,
        "started_ns": 1_767_323_055 * 10**9,
        "ended_ns": 1_767_323_090 * 10**9,
        "started_at": "2026-01-02 03:04:15",
        "ended_at": "2026-01-02 03:04:50",
        "wall_s": 35.0,
        "elapsed_s": 60.0,
        "etime_ticks": 6000.0,
        "utime_ticks": 101,
        "stime_ticks": 12,
        "with_usage": 0,
        "with_ticks": 2,
        "without_usage": 0,
        "usage_partial": 0,
        "sampled": 0,
        "user_s": 1.01,
        "system_s": 0.12,
        "cpu_s": 1.13,
        "minflt": 11,
        "majflt": 1,
        "exit_status": 3 << 8,
        "exit_code": 3,
        "exit_signal": 0,
        "inferred": 0,
        "part_life": 0,
        "part_life_whole": 0,
        "uncertain": 0,
        "without_record": 0,
        "gaps": 0,
        "usage_gaps": 0,
        "complete": 1,
        "usage_complete": 0,
        **dict.fromkeys((*ADDED, "rss_kib", "vm_kib", "coremem_mb_s", "virtmem_mb_s")),
        "minor_faults": 11,
        "major_faults": 1,
    }


def test_job_with_a_running_process_has_no_end_and_no_wall_time_yet(warehouse: Warehouse) -> None:
    warehouse.process(1, start=10, seconds=5)
    warehouse.process(2, start=11, seconds=None)
    warehouse.acct(1, 1, utime=1)
    warehouse.job(1, members=(1, 2))
    row = warehouse.row("select * from job_usage")
    assert (row["state"], row["processes"], row["running"], row["records"]) == ("open", 2, 1, 1)
    assert (row["ended_at"], row["ended_ns"], row["wall_s"]) == (None, None, None)
    assert (row["utime_ticks"], row["elapsed_s"], row["without_record"], row["complete"]) == (
        1,
        5.0,
        0,
        0,
    )


def test_job_ends_where_its_processes_are_taken_out_though_they_run_on(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=10, seconds=None)
    warehouse.job(1)
    warehouse.stay(1, 1, since=12, until=15)
    row = warehouse.row("select running, wall_s, elapsed_s, started_at, complete from job_usage")
    assert row == {
        "running": 0,
        "wall_s": 3.0,
        "elapsed_s": 3.0,
        "started_at": "2026-01-02 03:04:17",
        "complete": 0,
    }


def test_a_job_starts_when_its_first_process_enters_and_its_elapsed_time_is_that_of_all_memberships(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=10, seconds=20)
    warehouse.job(1)
    warehouse.stay(1, 1, since=12, until=15)
    warehouse.stay(1, 1, since=21)
    row = warehouse.row("select wall_s, elapsed_s, started_at, ended_at from job_usage")
    assert row == {
        "wall_s": 18.0,
        "elapsed_s": 12.0,
        "started_at": "2026-01-02 03:04:17",
        "ended_at": "2026-01-02 03:04:35",
    }


def test_job_that_nothing_was_ever_in_is_a_row_with_unknown_usage(warehouse: Warehouse) -> None:
    warehouse.job(1)
    row = warehouse.row("select * from job_usage")
    assert (row["processes"], row["running"], row["cpu_s"], row["wall_s"], row["tags"]) == (
        0,
        0,
        None,
        None,
        "{}",
    )


def test_process_that_stayed_twice_is_charged_once(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, utime=5)
    warehouse.job(1)
    warehouse.stay(1, 1, since=0, until=10.2)
    warehouse.stay(1, 1, since=10.5)
    row = warehouse.row("select processes, utime_ticks, part_life from job_usage")
    assert row == {"processes": 1, "utime_ticks": 5, "part_life": 1}


@pytest.mark.parametrize(
    ("join", "how", "column"),
    [(2, 2, "uncertain"), (None, 2, "without_record"), (1, 4, "inferred")],
)
def test_uncertain_processes_are_counted_and_make_the_job_incomplete(
    warehouse: Warehouse, join: int | None, how: int, column: str
) -> None:
    warehouse.process(1)
    if join is not None:
        warehouse.acct(1, 1, join=join)
    warehouse.job(1)
    warehouse.stay(1, 1, how=how)
    row = warehouse.row("select * from job_usage")
    assert (row[column], row["complete"]) == (1, 0)
    assert sum(row[name] for name in ("uncertain", "without_record", "inferred", "gaps")) == 1


@pytest.mark.parametrize(
    ("from_s", "to_s", "touches"),
    [
        (1, 9, 0),
        (1, 10, 1),
        (12, 13, 1),
        (20, 30, 1),
        (21, 30, 0),
        (None, 5, 0),
        (None, 15, 1),
        (15, None, 1),
        (21, None, 0),
    ],
)
def test_gap_touches_a_job_when_it_overlaps_the_span_from_its_first_member_to_its_last_end(
    warehouse: Warehouse, from_s: int | None, to_s: int | None, touches: int
) -> None:
    warehouse.process(1, start=10, seconds=10)
    warehouse.acct(1, 1)
    warehouse.job(1, members=(1,))
    warehouse.insert(
        "gap",
        id=1,
        boot_id=1,
        kind="overrun",
        from_ns=None if from_s is None else from_s * 10**9,
        to_ns=None if to_s is None else to_s * 10**9,
    )
    row = warehouse.row("select gaps, complete from job_usage")
    assert row == {"gaps": touches, "complete": 1 - touches}


def test_gap_before_a_long_lived_process_was_added_does_not_touch_its_job(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=10, seconds=None)
    warehouse.job(1)
    warehouse.stay(1, 1, since=100, how=1)
    warehouse.insert("gap", id=1, boot_id=1, kind="overrun", from_ns=50 * 10**9, to_ns=60 * 10**9)
    warehouse.insert("gap", id=2, boot_id=1, kind="overrun", from_ns=150 * 10**9, to_ns=160 * 10**9)
    assert warehouse.row("select gaps from job_usage") == {"gaps": 1}


def test_gap_of_another_boot_does_not_touch_a_job(warehouse: Warehouse) -> None:
    warehouse.insert("boot", id=2, host_id=1, uuid="b2")
    warehouse.process(1, start=10, seconds=10)
    warehouse.job(1, members=(1,))
    warehouse.insert("gap", id=1, boot_id=2, kind="overrun", from_ns=12 * 10**9, to_ns=13 * 10**9)
    assert warehouse.row("select gaps from job_usage") == {"gaps": 0}


def test_a_job_sums_taskstats_and_says_of_how_many_processes(warehouse: Warehouse) -> None:
    for number in (1, 2, 3, 4):
        warehouse.process(number, seconds=None if number == 4 else 1)
    for number in (1, 2):
        counts = {key: 10**number for key in ADDED if key != "threads"}
        warehouse.usage(
            number,
            rss_kib=number * 100,
            vm_kib=9,
            coremem_mb_us=500_000,
            complete=2 - number,
            **counts,
        )
    warehouse.acct(1, 1, utime=50)
    warehouse.acct(3, 3, utime=50)
    warehouse.job(1, members=(1, 2, 3, 4))
    row = warehouse.row("select * from job_usage")
    assert {row[key] for key in ADDED if key != "threads"} == {110}
    assert (
        row["threads"],
        row["rss_kib"],
        row["vm_kib"],
        row["coremem_mb_s"],
        row["virtmem_mb_s"],
    ) == (2, 200, 9, 1.0, None)
    assert (row["with_usage"], row["with_ticks"], row["without_usage"], row["usage_partial"]) == (
        2,
        1,
        1,
        1,
    )
    assert (row["utime_ticks"], row["user_s"], row["usage_complete"]) == (100, 0.50011, 0)


def test_lost_statistics_make_the_usage_incomplete_but_not_the_joins(warehouse: Warehouse) -> None:
    warehouse.process(1, start=10, seconds=10)
    warehouse.acct(1, 1)
    warehouse.usage(1)
    warehouse.job(1, members=(1,))
    columns = "gaps, usage_gaps, complete, usage_complete"
    assert tuple(warehouse.row(f"select {columns} from job_usage").values()) == (0, 0, 1, 1)
    warehouse.insert(
        "gap", id=1, boot_id=1, kind="taskstats", from_ns=12 * 10**9, to_ns=13 * 10**9, lost=2
    )
    assert tuple(warehouse.row(f"select {columns} from job_usage").values()) == (0, 1, 1, 0)
    assert warehouse.row("select what from gaps") == {"what": "statistics of threads were lost"}


@pytest.mark.parametrize(
    ("largest_kib", "sampled", "group", "closed", "peak"),
    [
        (None, None, None, True, (None, None)),
        (68, None, None, True, (68, "largest")),
        (68, (500, MemoryBy.PSS), None, True, (500, "sampled pss")),
        (68, (800, MemoryBy.RSS), None, True, (800, "sampled rss")),
        (90, (80, MemoryBy.PSS), None, True, (90, "largest")),
        (None, (0, MemoryBy.PSS), None, True, (0, "sampled pss")),
        (68, (800, MemoryBy.RSS), (1, 500 * 1024), True, (500, "measured")),
        (68, None, (0, 500 * 1024 + 1), False, (501, "measured")),
        (68, None, (0, 500 * 1024), True, (500, "sampled group")),
        (70, None, (1, 64 * 1024), True, (70, "largest")),
        (64, None, (1, 64 * 1024), True, (64, "measured")),
        (68, (80, MemoryBy.PSS), (1, None), True, (80, "sampled pss")),
    ],
)
def test_peak_of_a_job_is_that_of_all_its_processes_together_and_says_how_it_is_known(
    warehouse: Warehouse,
    largest_kib: int | None,
    sampled: tuple[int, int] | None,
    group: tuple[int, int | None] | None,
    closed: bool,
    peak: tuple[int | None, str | None],
) -> None:
    warehouse.process(1, start=10, seconds=10)
    warehouse.process(2, start=10, seconds=10)
    for process_id in (1, 2):
        warehouse.usage(process_id, rss_kib=largest_kib)
    kib, by = sampled or (None, None)
    closed_at_ns = 1_767_323_100 * 10**9 if closed else None
    warehouse.job(1, members=(1, 2), memory_kib=kib, memory_by=by, closed_at_ns=closed_at_ns)
    if group is not None:
        final, memory_peak = group
        warehouse.insert("job_cgroup", job_id=1, read_ns=1, final=final, memory_peak=memory_peak)
    row = warehouse.row("select job_peak_kib, job_peak_by from job_usage")
    assert tuple(row.values()) == peak


def test_reading_of_the_memory_of_a_job_has_the_real_time_of_the_clock_that_held_then(
    warehouse: Warehouse,
) -> None:
    warehouse.job(1)
    warehouse.insert("clock", id=9, boot_id=1, since_ns=20 * 10**9, offset_ns=3 * 10**9)
    for read_ns, kib, by in ((10, 100, MemoryBy.PSS), (20, 0, MemoryBy.RSS)):
        warehouse.insert(
            "job_memory", job_id=1, read_ns=read_ns * 10**9, memory_kib=kib, memory_by=by
        )
    (first_ns,) = warehouse.connection.execute(
        "select offset_ns from clock where id = 1"
    ).fetchone()
    rows = warehouse.connection.execute(
        "select job_id, read_at_ns, memory_kib, memory_by from job_memory_reading order by read_ns"
    ).fetchall()
    assert rows == [
        (1, first_ns + 10 * 10**9, 100, "pss"),
        (1, 23 * 10**9, 0, "rss"),
    ]
