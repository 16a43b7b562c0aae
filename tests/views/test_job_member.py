"""job_member: one row per job and incarnation. job_membership: one per stay. job_process_usage: the
first, with what was used.
"""

from __future__ import annotations

from typing import Any

from tests.support.given import Warehouse


def test_a_membership_from_fork_to_end_is_the_whole_lifetime(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.job(1, members=(1,))
    row = warehouse.row("select * from job_member")
    assert row == {
        "job_id": 1,
        "process_id": 1,
        "how": "inherited",
        "since_ns": 0,
        "until_ns": None,
        "memberships": 1,
        "part_life": 0,
    }


def test_several_memberships_are_one_row_from_the_first_to_the_last(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=50)
    warehouse.job(1)
    warehouse.stay(1, 1, since=20, until=30, how=1)
    warehouse.stay(1, 1, since=40, until=50, how=4)
    row = warehouse.row("select * from job_member")
    assert (row["how"], row["since_ns"], row["until_ns"], row["memberships"]) == (
        "added",
        20 * 10**9,
        50 * 10**9,
        2,
    )
    assert row["part_life"] == 1


def test_a_last_membership_until_the_end_leaves_until_null_and_part_life_set(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, seconds=50)
    warehouse.job(1)
    warehouse.stay(1, 1, since=0, until=30)
    warehouse.stay(1, 1, since=40)
    row = warehouse.row("select until_ns, part_life from job_member")
    assert row == {"until_ns": None, "part_life": 1}


def test_process_in_two_jobs_has_its_usage_in_each(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, utime=5)
    warehouse.job(1, members=(1,))
    warehouse.job(2, members=(1,))
    rows = warehouse.rows(
        "select job_id, process_id, how, utime_ticks from job_process_usage order by job_id"
    )
    assert rows == [
        {"job_id": 1, "process_id": 1, "how": "inherited", "utime_ticks": 5},
        {"job_id": 2, "process_id": 1, "how": "inherited", "utime_ticks": 5},
    ]


def test_job_membership_shows_every_membership_in_words_and_real_times(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=10, seconds=50, comm="sshd")
    warehouse.job(1, "night")
    warehouse.stay(1, 1, since=0, until=30, how=3)
    warehouse.stay(1, 1, since=40, how=1)
    first, second = warehouse.rows("select * from job_membership order by since_ns")
    assert (first["name"], first["command"], first["pid"], first["how"]) == (
        "night",
        "sshd",
        1001,
        "launched",
    )
    assert (first["since_at"], first["until_at"]) == (
        "2026-01-02 03:04:15",
        "2026-01-02 03:04:35",
    )
    assert (second["how"], second["since_at"], second["until_at"]) == (
        "added",
        "2026-01-02 03:04:45",
        None,
    )


# The walks from hour to hour in hour_without_rollup.
WALKS = ("ended", "recorded", "left_job", "was_read", "known")


def test_question_about_one_job_reads_only_that_job(warehouse: Warehouse) -> None:
    for view in (
        "job_member",
        "job_process_usage",
        "job_command_usage",
        "job_user_usage",
        "job_usage_part",
    ):
        plan = warehouse.plan(f"select * from {view} where job_id = 1")
        scans = [
            line
            for line in plan.splitlines()
            if line.startswith("SCAN")
            and line.split()[1] not in {view, "u", "g", *WALKS}
            # entry and leave, and json_each over the counters of one member
            and line.split()[1] not in {"e", "CONSTANT"}
            and not line.startswith("SCAN c VIRTUAL TABLE")
            and line != "SCAN CONSTANT ROW"
        ]
        assert scans == [], f"{view}: {plan}"


def charged(
    warehouse: Warehouse, columns: str = "run_ns, read_chars, part_life_whole"
) -> tuple[Any, ...]:
    """The charge of the only job, which is the same by process, command and user and in total."""
    (row,) = {
        tuple(
            warehouse.row(f"select {columns.replace(', part_life_whole', '')} from {view}").values()
        )
        for view in ("job_process_usage", "job_command_usage", "job_user_usage", "job_usage")
    }
    return (*row, warehouse.row("select part_life_whole from job_usage")["part_life_whole"])


def test_process_that_was_added_is_charged_from_then_on(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=50)
    warehouse.acct(1, 1, utime=7)
    warehouse.usage(
        1,
        run_ns=4_000_000_000,
        read_chars=5000,
        utime_us=3_000_000,
        stime_us=1_000_000,
        coremem_mb_us=4_000_000,
        minflt=9,
    )
    warehouse.job(1)
    warehouse.stay(1, 1, since=20, how=1)
    warehouse.read(
        1,
        at=20,
        run_ns=1_000_000_000,
        read_chars=6000,
        utime_us=1_000_000,
        stime_us=0,
        coremem_mb_us=1_500_000,
        minflt=4,
    )
    assert charged(warehouse) == (3_000_000_000, 0, 0)
    row = warehouse.row("select * from job_process_usage")
    assert (row["user_s"], row["system_s"], row["cpu_s"], row["utime_us"], row["coremem_mb_s"]) == (
        2.0,
        1.0,
        3.0,
        2_000_000,
        2.5,
    )
    assert (row["utime_ticks"], row["minor_faults"], row["part_life"], row["provenance"]) == (
        7,
        5,
        1,
        "taskstats",
    )
    assert warehouse.row("select run_ns from process_usage") == {"run_ns": 4_000_000_000}
    figures = warehouse.row(
        "select in_all, in_jobs, difference from reconciliation where measure = 'run_ns'"
    )
    assert figures == {"in_all": 4_000_000_000, "in_jobs": 4_000_000_000, "difference": 0}


def test_process_that_left_is_charged_until_then_even_while_it_runs(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=None)
    warehouse.job(1)
    warehouse.stay(1, 1, until=30)
    warehouse.read(1, at=30, run_ns=10_000_000, utime_us=12_000, stime_us=0)
    assert charged(warehouse) == (10_000_000, None, 0)
    assert warehouse.row("select cpu_s, provenance from job_process_usage") == {
        "cpu_s": 0.01,
        "provenance": "taskstats",
    }
    assert warehouse.row("select cpu_s, with_usage from job_usage") == {
        "cpu_s": 0.01,
        "with_usage": 1,
    }


def test_several_stays_add_up(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=50)
    warehouse.usage(1, run_ns=1_000_000, read_chars=1000)
    warehouse.job(1)
    warehouse.stay(1, 1, since=20, until=30, how=1)
    warehouse.stay(1, 1, since=40, how=1)
    for at, run_ns in ((20, 100), (30, 300), (40, 900)):
        warehouse.read(1, at=at, run_ns=1000 * run_ns, read_chars=run_ns)
    assert charged(warehouse) == (300_000, 300, 0)


def test_the_whole_is_charged_where_an_edge_was_not_read_and_that_is_said(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, seconds=50)
    warehouse.usage(1, run_ns=1_000_000, read_chars=1000)
    warehouse.job(1)
    warehouse.stay(1, 1, since=20, until=30, how=1)
    assert charged(warehouse) == (1_000_000, 1000, 1)
    warehouse.read(1, at=20, run_ns=100_000, read_chars=100)
    assert charged(warehouse) == (1_000_000, 1000, 1)
    warehouse.read(1, at=30, run_ns=300_000)
    assert charged(warehouse) == (200_000, None, 0)


def test_an_end_known_only_from_the_record_is_charged_less_the_baseline(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, seconds=50)
    warehouse.acct(1, 1, utime=300, stime=0)
    warehouse.job(1)
    warehouse.stay(1, 1, since=20, how=1)
    warehouse.read(1, at=20, utime_us=1_004_000, stime_us=0, run_ns=1_000_000_000)
    row = warehouse.row(
        "select user_s, cpu_s, run_ns, utime_ticks, provenance from job_process_usage"
    )
    assert row == {
        "user_s": 2.0,
        "cpu_s": 2.0,
        "run_ns": 0,
        "utime_ticks": 300,
        "provenance": "acct",
    }
