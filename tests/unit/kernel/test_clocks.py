"""The clocks of the kernel."""

from __future__ import annotations

import time

import pytest

from elsa.kernel import clocks


@pytest.mark.parametrize(
    ("resolution_s", "tick_ns"),
    [
        (0.004, 4_000_000),
        (0.01, 10_000_000),
        (0.003333333, 3_333_333),
        (0.001, 1_000_000),
        (1e-9, None),
        (1.0, None),
    ],
)
def test_the_tick_is_how_fine_the_coarse_clocks_are(
    monkeypatch: pytest.MonkeyPatch, resolution_s: float, tick_ns: int | None
) -> None:
    monkeypatch.setattr(time, "clock_getres", {6: resolution_s}.__getitem__)
    assert clocks.tick_ns() == tick_ns


def test_the_tick_of_a_kernel_without_such_a_clock_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(clock: int) -> float:
        raise OSError(clock)

    monkeypatch.setattr(time, "clock_getres", refused)
    assert clocks.tick_ns() is None
