"""command_usage and user_usage, and the same two within one job."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsa.store import rollups
from elsa.units import HOUR_NS
from tests.support.given import REAL, Warehouse


def test_command_and_fork_flag_are_the_key_as_in_sa(warehouse: Warehouse) -> None:
    for number, (comm, flag, utime) in enumerate(
        [("sh", 0, 5), ("sh", 1, 7), ("sh", 0, 1), ("cc", 0, 2)], start=1
    ):
        warehouse.process(number)
        warehouse.acct(number, number, comm=comm, flag=flag, utime=utime, stime=1, etime=200.0)
    warehouse.acct(9, None, comm="sh", utime=10, etime=50.0)
    warehouse.acct(10, None, join=3, comm="sh", utime=10_000)
    warehouse.process(11, comm="sh", seconds=None)
    columns = (
        "command, forked_only, processes, running, records, etime_ticks, utime_ticks, stime_ticks,"
        " cpu_s"
    )
    rows = warehouse.rows(f"select {columns} from command_usage order by command, forked_only")
    assert [tuple(row.values()) for row in rows] == [
        ("cc", 0, 1, 0, 1, 200.0, 2, 1, 0.03),
        ("sh", None, 1, 1, 0, None, None, None, None),
        ("sh", 0, 2, 0, 3, 450.0, 16, 2, 0.18),
        ("sh", 1, 1, 0, 1, 200.0, 7, 1, 0.08),
    ]


def test_user_usage_has_one_row_per_uid(warehouse: Warehouse) -> None:
    warehouse.process(1, uid=5)
    warehouse.acct(1, 1, uid=5, utime=1, minflt=3)
    warehouse.process(2, uid=6)
    warehouse.acct(2, None, uid=5, utime=2, minflt=4)
    rows = warehouse.rows(
        "select uid, processes, records, utime_ticks, minflt from user_usage order by uid"
    )
    assert [tuple(row.values()) for row in rows] == [(5, 1, 2, 3, 7), (6, 1, 0, None, None)]


def test_job_command_usage_and_job_user_usage_know_only_the_job_s_processes(
    warehouse: Warehouse,
) -> None:
    for number in (1, 2, 3):
        warehouse.process(number)
        warehouse.acct(number, number, comm="cc", utime=number, uid=number % 2)
    warehouse.job(1, members=(1, 2))
    warehouse.job(2, members=(2,))
    commands = warehouse.rows(
        "select job_id, command, processes, utime_ticks from job_command_usage order by job_id"
    )
    assert [tuple(row.values()) for row in commands] == [(1, "cc", 2, 3), (2, "cc", 1, 2)]
    users = warehouse.rows(
        "select job_id, uid, utime_ticks from job_user_usage order by job_id, uid"
    )
    assert [tuple(row.values()) for row in users] == [(1, 0, 2), (1, 1, 1), (2, 0, 2)]


def test_sums_and_peaks_of_taskstats_say_how_many_processes_they_include(
    warehouse: Warehouse,
) -> None:
    for number in (1, 2, 3, 4):
        warehouse.process(number, comm="cc", uid=5, seconds=None if number == 4 else 1)
    warehouse.usage(1, utime_us=1500, stime_us=0, rss_kib=10, read_bytes=4096, threads=2)
    warehouse.usage(2, utime_us=2500, stime_us=1, rss_kib=30, complete=0)
    warehouse.process(5, comm="cc", uid=5)
    warehouse.acct(5, 5, comm="cc", uid=5, utime=2)
    warehouse.acct(6, None, comm="sh", uid=6, utime=1)
    warehouse.job(1, members=(1, 2, 3, 4))
    columns = (
        "with_usage, with_ticks, without_usage, usage_partial, user_s, cpu_s, threads, utime_us,"
        " rss_kib, read_bytes, write_bytes"
    )
    told = (0.004001, 3, 4000, 30, 4096, None)
    for view, key in (("job_command_usage", "command = 'cc'"), ("job_user_usage", "uid = 5")):
        row = warehouse.row(f"select {columns} from {view} where {key}")
        assert tuple(row.values()) == (2, 0, 2, 1, 0.004, *told), view
    row = warehouse.row(f"select {columns} from unattributed_usage")
    assert tuple(row.values()) == (0, 2, 0, 0, 0.03, 0.03, None, None, None, None, None)
    rows = warehouse.rows(f"select {columns} from user_usage order by uid")
    assert tuple(rows[0].values()) == (2, 1, 2, 1, 0.024, 0.024001, *told[1:])
    assert tuple(rows[1].values())[:6] == (0, 1, 0, 0, 0.01, 0.01)


@pytest.mark.parametrize("rolled", [False, True], ids=["from processes", "from rollups"])
def test_process_that_ran_for_a_tick_is_not_sampled_though_less_was_left_at_its_end(
    warehouse: Warehouse, tmp_path: Path, rolled: bool
) -> None:
    warehouse.process(1, seconds=100)
    warehouse.interval(1, until=60, run_ns=50_000_000)
    warehouse.usage(1, run_ns=51_000_000)
    warehouse.process(2)
    warehouse.usage(2, run_ns=3_999_999)
    warehouse.process(3, seconds=100)  # in the job until its counters were read
    warehouse.read(3, at=50, run_ns=50_000_000)
    warehouse.usage(3, run_ns=50_500_000)
    warehouse.job(1, members=(1, 2))
    warehouse.stay(1, 3, until=50)
    if rolled:
        now_ns = REAL + 48 * HOUR_NS
        assert rollups.refresh(warehouse.connection, tmp_path / "elsa.db", now_ns)
    for view in (
        "command_usage",
        "user_usage",
        "job_usage",
        "job_command_usage",
        "job_user_usage",
    ):
        assert warehouse.row(f"select with_usage, sampled from {view}") == {
            "with_usage": 3,
            "sampled": 1,
        }, view


def test_what_ended_before_1970_by_its_clock_stays_in_the_sums_when_days_are_rolled_up(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    for number, btime in enumerate([(1 << 32) - 1, (1 << 32) - 30 * 3600, 0, 3600], start=1):
        warehouse.acct(number, None, btime=btime, etime=0.0, minflt=number)
    before = warehouse.rows("select * from command_usage")
    for _ in range(2):
        rollups.refresh(warehouse.connection, tmp_path / "elsa.db", REAL)
        assert warehouse.rows("select * from command_usage") == before
    assert warehouse.rows("select day from rollup_day") == [{"day": 0}]
    assert (before[0]["records"], before[0]["minflt"]) == (4, 10)
