"""The ready-made queries of sql/queries give the answers that they promise."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from elsa.store import sql_files
from tests.support.given import REAL, SECOND, Warehouse

QUERIES = sorted((sql_files.folder("sql") / "queries").glob("*.sql"))


def run(warehouse: Warehouse, name: str) -> list[tuple[Any, ...]]:
    """The rows of a query for job 1 and uid 1000."""
    text = (sql_files.folder("sql") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    rows = warehouse.connection.execute(text, {"job_id": 1, "uid": 1000})
    return rows.fetchall()


@pytest.mark.parametrize("name", [path.stem for path in QUERIES])
def test_each_runs_over_an_empty_warehouse(warehouse: Warehouse, name: str) -> None:
    assert run(warehouse, name) == []


def test_datasette_has_them_all() -> None:
    metadata = json.loads((sql_files.folder("sql") / "datasette.json").read_text(encoding="utf-8"))
    assert list(metadata["databases"]["elsa"]["queries"]) == [path.stem for path in QUERIES]


def test_job_tree_indents_children_and_shows_a_process_without_known_parent_as_a_second_tree(
    warehouse: Warehouse,
) -> None:
    for number, parent in ((1, None), (2, 1), (3, 2), (4, 1), (5, 99)):
        warehouse.process(number, comm=f"c{number}", parent_id=parent)
    warehouse.job(1, members=(1, 2, 3, 4, 5))
    assert [row[0] for row in run(warehouse, "job_tree")] == ["c1", "  c2", "    c3", "  c4", "c5"]


def test_top_jobs_by_cpu_are_sorted_by_most_cpu_first(warehouse: Warehouse) -> None:
    for number in (1, 2, 3):
        warehouse.process(number)
        warehouse.acct(number, number, utime=100 * (number % 3))
        warehouse.job(number, f"job{number}", members=(number,))
    assert [row[0] for row in run(warehouse, "top_jobs_by_cpu")] == [2, 1, 3]


def test_user_yesterday_shows_only_that_user_and_that_day(warehouse: Warehouse) -> None:
    now = time.localtime()
    midnight = int(time.mktime((now.tm_year, now.tm_mon, now.tm_mday, 0, 0, 0, 0, 0, -1)))
    for number, (uid, end) in enumerate(
        [(1000, midnight - 60), (1000, midnight + 60), (7, midnight - 60)], start=1
    ):
        warehouse.acct(number, None, uid=uid, btime=end, etime=0.0, utime=number)
    assert [row[:4] for row in run(warehouse, "user_yesterday")] == [("work", 1, 1, 0.01)]


def test_cron_last_night_and_failed_today_show_the_newest(warehouse: Warehouse) -> None:
    now_ns = time.time_ns()
    warehouse.insert("clock", id=2, boot_id=1, since_ns=100 * SECOND, offset_ns=now_ns)
    warehouse.process(1, start=0, seconds=0, clock_id=2, end_clock_id=2, exit_status=256)
    warehouse.process(2, start=0, seconds=0, clock_id=2, end_clock_id=2)
    warehouse.process(3)
    jobs = ((1, now_ns, "cron"), (2, REAL, "cron"), (3, now_ns, "service"))
    for number, created_ns, kind in jobs:
        warehouse.job(number, f"job{number}", created_at_ns=created_ns, kind=kind)
    assert [row[0] for row in run(warehouse, "cron_last_night")] == [1]
    assert [(row[2], row[4]) for row in run(warehouse, "failed_today")] == [(1001, 1)]
    assert [row[0] for row in run(warehouse, "services_by_memory")] == ["job3"]
