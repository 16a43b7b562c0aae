"""A command is killed as soon as a reading shows that it exceeds its budget, and not before."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from elsa.errors import UnavailableError
from elsa.kernel import own_group
from elsa.kernel.own_group import OwnGroup
from elsa.run import budget, live_usage, watch_budget
from elsa.run.command_group import CommandGroup
from elsa.run.usage_sums import NOTHING, Usage
from elsa.run.watch_budget import BudgetWatch
from tests.unit.run.test_end_processes import member


class Accountant:
    """Reports what the test says; None: it does not answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.used: Usage | None = NOTHING
        self.readings = 0
        self._member = member(process)

    def members(self) -> Sequence[Mapping[str, Any]]:
        return [] if self.process.poll() is not None else [self._member]

    def used_now(self) -> Usage:
        self.readings += 1
        if self.used is None:
            raise UnavailableError("jobd does not answer")
        return self.used


@pytest.fixture
def accountant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accountant]:
    def refused() -> OwnGroup:
        raise UnavailableError("none here")

    monkeypatch.setattr(own_group, "make", refused)
    monkeypatch.setattr(watch_budget, "PERIOD_S", 0.02)
    process = subprocess.Popen(["sleep", "60"], text=True)
    yield Accountant(process)
    process.kill()
    process.wait()


def watch(accountant: Accountant, limits: str) -> BudgetWatch:
    watching = BudgetWatch(budget.limits(limits), accountant, CommandGroup())
    watching.start(accountant.process.pid)
    return watching


def test_a_command_within_its_budget_is_left_alone(accountant: Accountant) -> None:
    watching = watch(accountant, "cpu=60s,peak=1G,wall=1h")
    while accountant.readings < 3:
        time.sleep(0.01)
    watching.finish()
    watching.finish()
    assert (watching.killed, accountant.process.poll()) == ([], None)


def test_it_is_killed_when_a_reading_exceeds_a_limit(accountant: Accountant) -> None:
    watching = watch(accountant, "cpu=60s,peak=1G,wall=1h")
    accountant.used = NOTHING._replace(cpu_s=75.0, peak_rss_kib=1024)
    assert accountant.process.wait(timeout=10) == -signal.SIGTERM
    watching.finish()
    assert watching.killed == ["cpu 1m15s is over the budget of 1m00s, by 15.00 s"]


def test_all_processes_together_are_compared_with_a_limit_of_memory(
    accountant: Accountant, monkeypatch: pytest.MonkeyPatch
) -> None:
    accountant.used = NOTHING._replace(peak_rss_kib=1024)
    monkeypatch.setattr(live_usage, "memory_kib", lambda *_: 3072)
    watching = watch(accountant, "peak=2M")
    assert accountant.process.wait(timeout=10) == -signal.SIGTERM
    watching.finish()
    assert watching.killed == ["peak 3.0 MiB is over the budget of 2.0 MiB, by 1.0 MiB"]


def test_wall_time_is_exact_however_long_a_reading_takes(
    accountant: Accountant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_budget, "PERIOD_S", 60)
    started_s = time.monotonic()
    watching = watch(accountant, "cpu=60s,wall=1s")
    assert accountant.process.wait(timeout=10) == -signal.SIGTERM
    assert 1 <= time.monotonic() - started_s < 5
    watching.finish()
    assert watching.killed[0].startswith("wall 1.0")


def test_a_budget_of_nothing_is_exceeded_at_once(accountant: Accountant) -> None:
    watching = watch(accountant, "wall=0s")
    assert accountant.process.wait(timeout=10) == -signal.SIGTERM
    watching.finish()
    assert watching.killed


def test_what_is_not_known_kills_nobody(accountant: Accountant) -> None:
    accountant.used = None
    watching = watch(accountant, "cpu=0s,peak=0")
    while accountant.readings < 3:
        time.sleep(0.01)
    watching.finish()
    assert (watching.killed, accountant.process.poll()) == ([], None)


def test_without_limits_nothing_is_watched(accountant: Accountant) -> None:
    watching = BudgetWatch([], accountant, CommandGroup())
    watching.start(accountant.process.pid)
    time.sleep(0.1)
    watching.finish()
    assert (accountant.readings, watching.killed) == (0, [])
