"""reconciliation and unattributed_usage: jobs may overlap, and still "in some job" + "in none" =
all, to the tick.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.measures import OF_TASKSTATS_ALONE
from tests.support.given import Warehouse

MEASURES = {
    "records": None,
    "utime_ticks": "utime",
    "stime_ticks": "stime",
    "minflt": "minflt",
    "majflt": "majflt",
}
# The measures of taskstats, by their columns in table usage.
TOLD = ("threads", "run_ns", "utime_us", "stime_us", *OF_TASKSTATS_ALONE)


def figures(warehouse: Warehouse) -> dict[str, tuple[int | None, ...]]:
    rows = warehouse.rows("select * from reconciliation")
    return {
        row["measure"]: (row["in_all"], row["in_jobs"], row["in_none"], row["difference"])
        for row in rows
    }


def test_empty_warehouse_adds_up_to_nothing(warehouse: Warehouse) -> None:
    found = figures(warehouse)
    assert {name: row for name, row in found.items() if row[0] is not None} == dict.fromkeys(
        ("processes", "records", "with_usage"), (0,) * 4
    )
    assert set(found) == {"processes", "with_usage", *MEASURES, *TOLD}


def test_a_figure_without_any_source_is_unknown_and_otherwise_zero_elsewhere(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1)
    warehouse.usage(1, read_chars=4096, read_syscalls=0)
    found = figures(warehouse)
    assert found["read_chars"] == (4096, 0, 4096, 0)
    assert found["blkio_delay_ns"] == found["read_syscalls"] == (None,) * 4


def test_process_in_two_jobs_counts_once_and_a_record_without_a_process_is_in_none(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1)
    warehouse.acct(1, 1, utime=5)
    warehouse.process(2)
    warehouse.acct(2, None, utime=7, join=5)
    warehouse.acct(3, None, utime=1000, join=3)
    warehouse.job(1, members=(1,))
    warehouse.job(2, members=(1,))
    found = figures(warehouse)
    assert found["processes"] == (2, 1, 1, 0)
    assert found["records"] == (2, 1, 1, 0)
    assert found["utime_ticks"] == (12, 5, 7, 0)
    row = warehouse.row("select processes, records, utime_ticks, elapsed_s from unattributed_usage")
    assert row == {"processes": 1, "records": 1, "utime_ticks": 7, "elapsed_s": 2.0}


def test_record_that_points_to_a_process_that_is_gone_shows_as_a_difference(
    warehouse: Warehouse,
) -> None:
    warehouse.acct(1, 99, utime=5)
    assert figures(warehouse)["utime_ticks"] == (5, 0, 0, 5)


def fill(warehouse: Warehouse, seed: int) -> dict[int, dict[str, int]]:
    """A random warehouse with overlapping jobs; returns the counted records by id, as plain Python
    knows them.
    """
    dice = random.Random(seed)
    processes = dice.randrange(0, 40)
    counted: dict[int, dict[str, int]] = {}
    for number in range(1, processes + 1):
        warehouse.process(
            number, seconds=dice.choice([None, 0, 0.5, 100]), comm=dice.choice(["a", "b", None])
        )
        if dice.random() < 0.7:
            counters: dict[str, Any] = {
                name: dice.choice([None, 0, 1, 2**40]) for name in TOLD if name != "threads"
            }
            warehouse.usage(number, **counters)
    loose = [*range(1, processes + 1)]
    dice.shuffle(loose)
    for number in range(1, dice.randrange(1, 50)):
        join = dice.randrange(6) if loose else dice.choice([0, 3, 5])
        usage = {
            name: dice.choice([0, 1, 2**13, 2**40])
            for name in ("utime", "stime", "minflt", "majflt")
        }
        warehouse.acct(
            number,
            loose.pop() if join in {1, 2, 4} else None,
            join=join,
            comm=dice.choice("abc"),
            flag=dice.randrange(2),
            **usage,
        )
        if join != 3:
            counted[number] = usage
    for job_id in range(1, dice.randrange(1, 5)):
        warehouse.job(job_id, f"job{job_id}")
        for process_id in dice.sample(range(1, processes + 1), dice.randrange(processes + 1)):
            begins = sorted(dice.sample(range(100), dice.randrange(1, 4)))
            for since, following in zip(begins, [*begins[1:], None], strict=True):
                warehouse.stay(
                    job_id, process_id, since=since, until=following, how=dice.randrange(1, 5)
                )
    return counted


@pytest.mark.parametrize("seed", range(25))
def test_whatever_overlaps_jobs_and_the_rest_are_all_records_to_the_tick(
    warehouse: Warehouse, seed: int
) -> None:
    counted = fill(warehouse, seed)
    members = {row["process_id"] for row in warehouse.rows("select process_id from membership")}
    owner = {
        row["id"]: row["process_id"] for row in warehouse.rows("select id, process_id from acct")
    }
    found = figures(warehouse)
    for measure, field in MEASURES.items():
        if not counted and field:
            assert found[measure] == (None,) * 4
            continue
        worth = {number: usage[field] if field else 1 for number, usage in counted.items()}
        inside = sum(value for number, value in worth.items() if owner[number] in members)
        assert found[measure] == (sum(worth.values()), inside, sum(worth.values()) - inside, 0)
    for measure in TOLD:
        rows = warehouse.rows(
            f"select process_id, {measure} as worth from usage where {measure} is not null"
        )
        if not any(row["worth"] or "syscalls" not in measure for row in rows):
            assert found[measure] == (None,) * 4
            continue
        inside = sum(row["worth"] for row in rows if row["process_id"] in members)
        total = sum(row["worth"] for row in rows)
        assert found[measure] == (total, inside, total - inside, 0)
    for view in ("command_usage", "user_usage", "process_usage"):
        sums = warehouse.row(
            "select coalesce(sum(utime_ticks), 0) as utime, coalesce(sum(stime_ticks), 0) as stime"
            f" from {view}"
        )
        assert sums == {
            name: sum(usage[name] for usage in counted.values()) for name in ("utime", "stime")
        }


@pytest.mark.parametrize("seed", range(25))
def test_every_way_to_cut_a_job_adds_up_to_the_job(warehouse: Warehouse, seed: int) -> None:
    fill(warehouse, seed)
    columns = (
        "sum(processes), sum(running), sum(records), sum(utime_ticks), sum(stime_ticks),"
        " sum(minflt), sum(majflt)"
    )
    for job in warehouse.rows("select * from job_usage where processes > 0"):
        whole = tuple(
            job[name]
            for name in (
                "processes",
                "running",
                "records",
                "utime_ticks",
                "stime_ticks",
                "minflt",
                "majflt",
            )
        )
        for view in ("job_command_usage", "job_user_usage"):
            row = warehouse.row(f"select {columns} from {view} where job_id = ?", job["job_id"])
            assert tuple(row.values()) == whole


def test_views_only_read(warehouse: Warehouse, template: Path) -> None:
    """Every view can be read through a connection that may not write."""
    with closing(sqlite3.connect(f"file:{template}?mode=ro", uri=True)) as connection:
        for (name,) in connection.execute(
            "select name from sqlite_master where type = 'view'"
        ).fetchall():
            connection.execute(f'select * from "{name}"').fetchall()


def test_what_running_processes_have_used_so_far_is_in_all_of_it(warehouse: Warehouse) -> None:
    warehouse.process(71, seconds=None)
    warehouse.process(72, seconds=50)
    warehouse.job(9, members=(71,))
    warehouse.interval(71, until=20, run_ns=5_000_900, read_chars=4096, nvcsw=3)
    warehouse.interval(72, until=20, run_ns=7_000_000, read_chars=8192, nvcsw=5)
    # A message was lost: the intervals know more.
    warehouse.usage(72, run_ns=9_000_000, read_chars=1024, nvcsw=8)
    figures = {
        row["measure"]: (row["in_jobs"], row["in_none"], row["difference"])
        for row in warehouse.rows("select * from reconciliation")
    }
    assert figures["run_ns"] == (5_000_000, 9_000_000, 0)
    assert figures["read_chars"] == (4096, 8192, 0)
    assert figures["nvcsw"] == (3, 8, 0)
