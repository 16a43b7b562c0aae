"""Budgets of commands: written, and compared with what a command cost."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.errors import UsageError
from elsa.run import budget

COST: dict[str, Any] = {"cpu_s": 75.0, "wall_s": 30.0, "peak_rss_kib": 2048, "group": None}


def test_what_is_over_the_budget_is_said_with_both_figures() -> None:
    limits = budget.limits("cpu=60s, wall=1m,peak=1.5M")
    assert budget.judge(limits, COST) == (
        [
            "cpu 1m15s is over the budget of 1m00s, by 15.00 s",
            "peak 2.0 MiB is over the budget of 1.5 MiB, by 0.5 MiB",
        ],
        [],
    )
    assert budget.judge(budget.limits("cpu=75s,wall=30s,peak=2MiB"), COST) == ([], [])
    assert budget.judge(budget.limits("cpu=1ms"), {**COST, "cpu_s": 0.0245}).over == [
        "cpu 24.5 ms is over the budget of 1.0 ms, by 23.5 ms"
    ]


def test_the_peak_of_all_together_counts_where_the_control_group_has_it() -> None:
    limits = budget.limits("peak=4g")
    together = {**COST, "group": {"memory_peak": 5 << 30}}
    assert budget.judge(limits, together).over == [
        "peak 5120.0 MiB is over the budget of 4096.0 MiB, by 1024.0 MiB"
    ]
    assert budget.judge(limits, {**COST, "group": {"memory_peak": None}}) == ([], [])
    sampled = {**COST, "job_peak_kib": 5 << 20, "group": {"memory_peak": None}}
    assert len(budget.judge(limits, sampled).over) == 1
    assert budget.judge(limits, {**sampled, "group": {"memory_peak": 4 << 30}}) == ([], [])
    assert budget.judge(budget.limits("cpu=0s"), {**COST, "cpu_s": 0.0}) == ([], [])
    assert budget.judge(budget.limits("cpu=0s"), {**COST, "cpu_s": None}).unknown == [
        "whether cpu is within 0.00 s is not known"
    ]
    unknown = budget.judge(limits, {**COST, "peak_rss_kib": None})
    assert unknown == ([], ["whether peak is within 4096.0 MiB is not known"])


@pytest.mark.parametrize(
    "text", ["", "cpu", "cpu=", "cpu=60", "cpu=2G", "peak=60s", "peak=-1", "rss=5M", "cpu=1s,,"]
)
def test_a_budget_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--budget: cannot read .*; write for example cpu=60s"):
        budget.limits(text)
