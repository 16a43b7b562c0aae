"""What `elsa job show` and `elsa run` read from the warehouse of a jobd."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.run import jobd_usage
from elsa.run.jobd_usage import Precision
from elsa.run.usage_sums import TASKSTATS_COLUMNS, Usage

JOB = {"id": 1, "created_at_ns": 0}


@pytest.mark.parametrize(
    ("tick_ns", "cpu_s", "precision"),
    [
        (1_000_000, 0.002 + 0.005 + 0.0135, Precision(0, 8, 1_000_000)),
        (4_000_000, 0.004 + 0.005 + 0.0135, Precision(1, 7, 4_000_000)),
        (10_000_000, 0.004 + 0.008 + 0.0135, Precision(2, 4, 10_000_000)),
        (None, 0.004 + 0.008 + 0.0135, Precision(2, 4, None)),
    ],
)
def test_the_tick_of_the_kernel_decides_what_of_finished_processes_is_sampled(
    reports: Any,
    tick_ns: int | None,
    cpu_s: float,
    precision: Precision,
) -> None:
    warehouse = reports.warehouse
    warehouse.connection.execute("update boot set tick_ns = ?", (tick_ns,))
    for number, run_ns, utime_us, threads in (
        (1, 2_000_000, 4000, 1),
        (2, 5_000_000, 8000, 3),
        (3, 14_000_000, 8000, 4),
    ):
        warehouse.process(number)
        counters = dict.fromkeys(TASKSTATS_COLUMNS, 0) | {
            "run_ns": run_ns,
            "utime_us": utime_us,
            "threads": threads,
            "complete": 1,
        }
        warehouse.usage(number, **counters)
    warehouse.job(1, members=(1, 2))
    warehouse.stay(1, 3, since=10.5)
    warehouse.read(3, at=10.5, run_ns=500_000, utime_us=0, stime_us=0)
    ended = jobd_usage.ended_members(reports.path, [JOB], [0])[0]
    assert ended.usage.cpu_s == pytest.approx(cpu_s)
    assert ended.precision == precision
    assert jobd_usage.job_totals(warehouse.connection, 1).tick_ns == tick_ns
    whole = warehouse.row("select cpu_s, sampled from job_usage where job_id = 1")
    assert whole == {
        "cpu_s": pytest.approx(cpu_s),
        "sampled": precision.sampled,
    }, "as the views have it"


def test_usage_of_finished_processes_is_0_as_long_as_none_ended_and_else_unknown(
    reports: Any,
) -> None:
    warehouse = reports.warehouse
    warehouse.job(1)
    assert jobd_usage.ended_members(reports.path, [JOB], [0])[0].usage == Usage(
        0, 0, None, 0, 0, 0, 0
    )
    warehouse.process(1)
    warehouse.stay(1, 1)
    ended = jobd_usage.ended_members(reports.path, [JOB], [0])[0]
    assert (ended.usage, ended.without_usage) == (Usage(1, *[None] * 6), 1)
