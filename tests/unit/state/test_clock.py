"""The clocks of a boot: a step or a suspend makes a new one, and every moment has the one that held
then.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.state.clock import STEP_NS, Clock, Clocks

STEPPED = Clocks([Clock(4, 300, 30, 3), Clock(0, 100, 10, 1), Clock(2, 200, 20, 2)])


def test_the_first_reading_makes_the_first_clock() -> None:
    clocks = Clocks()
    clock = clocks.observe(2, 100, 10**18, 5)
    assert clock == Clock(2, 100, 10**18, 5) == clocks.current


@pytest.mark.parametrize("drift", [0, STEP_NS - 1, 1 - STEP_NS])
def test_the_jitter_of_a_reading_is_no_step(drift: int) -> None:
    clocks = Clocks([Clock(2, 100, 10**18, 5)])
    assert clocks.observe(4, 200, 10**18 + drift, 5 + drift) is None
    assert clocks.current.id == 2


@pytest.mark.parametrize(
    ("real", "boot"),
    [(STEP_NS, 0), (-STEP_NS, 0), (0, STEP_NS), (-3_600_000_000_000, 0), (10**12, 10**12)],
)
def test_a_step_and_a_suspend_make_a_new_clock(real: int, boot: int) -> None:
    clocks = Clocks([Clock(2, 100, 10**18, 5)])
    assert (
        clocks.observe(4, 200, 10**18 + real, 5 + boot)
        == Clock(4, 200, 10**18 + real, 5 + boot)
        == clocks.current
    )
    assert clocks.at(199).id == 2


def test_small_steps_in_the_same_direction_add_up_to_a_new_clock() -> None:
    clocks = Clocks([Clock(2, 100, 0, 0)])
    assert [clocks.observe(4, 200 + n, n * STEP_NS // 2, 0) is None for n in range(1, 3)] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("time_ns", "clock_id"),
    [(-1, 0), (0, 0), (100, 0), (199, 0), (200, 2), (299, 2), (300, 4), (10**9, 4)],
)
def test_a_moment_has_the_newest_clock_that_began_before_it(time_ns: int, clock_id: int) -> None:
    assert STEPPED.at(time_ns).id == clock_id


@given(st.integers(0, 500), st.integers(0, 200))
def test_around_a_moment_are_the_clocks_of_all_moments_near_it(
    time_ns: int, margin_ns: int
) -> None:
    near = {STEPPED.at(moment).id for moment in range(time_ns - margin_ns, time_ns + margin_ns + 1)}
    assert [clock.id for clock in STEPPED.around(time_ns, margin_ns)] == sorted(near)


def test_a_real_time_is_found_again_on_the_monotonic_clock_by_the_offset_that_held() -> None:
    clocks = Clocks([Clock(0, 100, 1000, 0), Clock(2, 200, 5000, 0), Clock(4, 300, 4950, 0)])
    assert [clocks.monotonic_ns(at_ns) for at_ns in (1050, 1150, 5210, 5260, 5400)] == [
        50,
        150,
        210,
        310,
        450,
    ]


def test_a_start_in_proc_is_the_same_monotonic_time_before_and_after_the_machine_slept() -> None:
    """Awake until 100, then asleep for 1000, which is noticed at 105."""
    awake = Clocks([Clock(0, 10, 0, 0)])
    slept = Clocks([Clock(0, 10, 0, 0), Clock(2, 105, 0, 1000)])
    for before in (5, 40, 99):
        assert slept.from_boottime_ns(before) == awake.from_boottime_ns(before) == before
    for after in (100, 103, 105, 300):
        assert slept.from_boottime_ns(after + 1000) == after


def test_a_step_of_the_wall_clock_moves_no_start() -> None:
    stepped = Clocks([Clock(0, 10, 0, 7), Clock(2, 105, 5_000_000, 7)])
    assert [stepped.from_boottime_ns(time_ns + 7) for time_ns in (0, 50, 105, 200)] == [
        0,
        50,
        105,
        200,
    ]
