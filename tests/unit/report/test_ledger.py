"""What `elsa job show` and `elsa run` read from the warehouse of a jobd."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.run import jobd_usage
from elsa.run.jobd_usage import Fineness
from elsa.run.usage_sums import Used


@pytest.mark.parametrize(
    ("tick_ns", "cpu_s", "fineness"),
    [
        (1_000_000, 0.002 + 0.005 + 0.0135, Fineness(0, 8, 1_000_000)),
        (4_000_000, 0.004 + 0.005 + 0.0135, Fineness(1, 7, 4_000_000)),
        (10_000_000, 0.004 + 0.008 + 0.0135, Fineness(2, 4, 10_000_000)),
        (None, 0.004 + 0.008 + 0.0135, Fineness(2, 4, None)),
    ],
)
def test_what_is_sampled_of_the_finished_ones_is_by_the_tick_of_the_kernel(
    reports: Any,
    tick_ns: int | None,
    cpu_s: float,
    fineness: Fineness,
) -> None:
    warehouse = reports.warehouse
    warehouse.connection.execute("update boot set tick_ns = ?", (tick_ns,))
    for number, run_ns, utime_us, threads in (
        (1, 2_000_000, 4000, 1),
        (2, 5_000_000, 8000, 3),
        (3, 14_000_000, 8000, 4),
    ):
        warehouse.process(number)
        told = dict.fromkeys(Used._fields, 0) | {
            "run_ns": run_ns,
            "utime_us": utime_us,
            "threads": threads,
            "complete": 1,
        }
        warehouse.usage(number, **told)
    warehouse.job(1, members=(1, 2))
    warehouse.stay(1, 3, since=10.5)
    warehouse.counter_snapshot(1, 3, since=10.5, run_ns=500_000, utime_us=0, stime_us=0)
    known = jobd_usage.known(reports.path, 1, 0)
    assert known.cpu_s == pytest.approx(cpu_s)
    assert known.fineness == fineness
    assert jobd_usage.tally(reports.path, 1).tick_ns == tick_ns
    whole = warehouse.row("select cpu_s, sampled from job_usage where job_id = 1")
    assert whole == {
        "cpu_s": pytest.approx(cpu_s),
        "sampled": fineness.sampled,
    }, "as the views have it"
