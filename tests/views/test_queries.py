"""The ready-made queries of sql/queries give the answers that they promise."""

from __future__ import annotations

import time
from typing import Any

from elsa.store import sql_files
from tests.support.given import Warehouse


def run(warehouse: Warehouse, name: str) -> list[tuple[Any, ...]]:
    text = (sql_files.folder("sql") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    return [tuple(row.values()) for row in warehouse.rows(text)]


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
