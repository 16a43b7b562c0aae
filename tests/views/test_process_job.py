"""process_job: one row per job and incarnation. job_stay: one per stay. job_process_usage: the first, with what was used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from given import Warehouse


def test_stay_from_birth_to_end_is_the_whole_life(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.job(1, members=(1,))
    row = warehouse.row("select * from process_job")
    assert row == {"job_id": 1, "process_id": 1, "how": "inherited", "since_ns": 0, "until_ns": None, "stays": 1, "part_life": 0}


def test_several_stays_are_one_row_from_the_first_to_the_last(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=50)
    warehouse.job(1)
    warehouse.stay(1, 1, since=20, until=30, how=1)
    warehouse.stay(1, 1, since=40, until=50, how=4)
    row = warehouse.row("select * from process_job")
    assert (row["how"], row["since_ns"], row["until_ns"], row["stays"]) == ("added", 20 * 10**9, 50 * 10**9, 2)
    assert row["part_life"] == 1


def test_last_stay_to_the_end_leaves_until_null_and_part_life_set(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=50)
    warehouse.job(1)
    warehouse.stay(1, 1, since=0, until=30)
    warehouse.stay(1, 1, since=40)
    row = warehouse.row("select until_ns, part_life from process_job")
    assert row == {"until_ns": None, "part_life": 1}


def test_process_in_two_jobs_has_its_usage_in_each(warehouse: Warehouse) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, utime=5)
    warehouse.job(1, members=(1,))
    warehouse.job(2, members=(1,))
    rows = warehouse.rows("select job_id, process_id, how, utime_ticks from job_process_usage order by job_id")
    assert rows == [
        {"job_id": 1, "process_id": 1, "how": "inherited", "utime_ticks": 5},
        {"job_id": 2, "process_id": 1, "how": "inherited", "utime_ticks": 5},
    ]


def test_job_stay_tells_every_stay_in_words_and_real_times(warehouse: Warehouse) -> None:
    warehouse.process(1, start=10, seconds=50, comm="sshd")
    warehouse.job(1, "night")
    warehouse.stay(1, 1, since=0, until=30, how=3)
    warehouse.stay(1, 1, since=40, how=1)
    first, second = warehouse.rows("select * from job_stay order by since_ns")
    assert (first["name"], first["command"], first["pid"], first["how"]) == ("night", "sshd", 1001, "launched")
    assert (first["since_at"], first["until_at"]) == ("2026-01-02T03:04:15.000Z", "2026-01-02T03:04:35.000Z")
    assert (second["how"], second["since_at"], second["until_at"]) == ("added", "2026-01-02T03:04:45.000Z", None)


def test_question_about_one_job_reads_only_that_job(warehouse: Warehouse) -> None:
    for view in ("process_job", "job_process_usage", "job_command_usage", "job_user_usage", "job_usage"):
        plan = warehouse.plan(f"select * from {view} where job_id = 1")
        scans = [line for line in plan.splitlines() if line.startswith("SCAN") and line.split()[1] not in {view, "total", "g"}]
        assert scans == [], f"{view}: {plan}"
