"""What intervals hold: differences that add up to the newest counters, whatever is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elsa.measures import COUNTERS
from elsa.state.clock import Clock
from elsa.state.intervals import Shown, Used, reading
from elsa.units import HOUR_NS

COLUMNS = [measure.column for measure in COUNTERS]
small = st.one_of(st.none(), st.integers(0, 10**7))


def shown(**counters: int | None) -> Shown:
    return Shown(tuple(counters.get(column) for column in COLUMNS), 1, 100, 0, b"")


@given(st.lists(st.lists(small, min_size=len(COLUMNS), max_size=len(COLUMNS)), max_size=20))
def test_intervals_add_up_to_the_largest_counters_and_are_never_below_0(
    readings: list[list[int | None]],
) -> None:
    used = Used()
    rows = [used.advance(Shown(tuple(counters), None, None, None, b"")) for counters in readings]
    assert all(value is None or value >= 0 for row in rows for value in row)
    for place in range(len(COLUMNS)):
        largest = max((counters[place] or 0 for counters in readings), default=0)
        assert sum(row[2 + place] or 0 for row in rows) == largest
    assert sum(row[0] or 0 for row in rows) == used.user_us
    assert sum(row[1] or 0 for row in rows) == used.system_us


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 9), st.integers(0, 9)), max_size=20)
)
def test_user_and_system_time_add_up_to_the_time_on_a_cpu(
    steps: list[tuple[int, int, int]],
) -> None:
    used, run_ns, utime_us, stime_us = Used(), 0, 0, 0
    for more_ns, user_ticks, system_ticks in steps:
        run_ns += more_ns
        utime_us += 4000 * user_ticks
        stime_us += 4000 * system_ticks
        used.advance(shown(run_ns=run_ns, utime_us=utime_us, stime_us=stime_us))
        assert used.user_us + used.system_us == run_ns // 1000


def test_time_on_a_cpu_is_divided_as_the_sampled_times_are() -> None:
    used = Used()
    row = used.advance(shown(run_ns=10_000_000, utime_us=4000, stime_us=12_000))
    assert row[:2] == (2500, 7500)
    row = used.advance(shown(run_ns=12_000_000, utime_us=4000, stime_us=12_000))
    assert row[:2] == (500, 1500)


def test_without_a_measured_time_the_sampled_times_count() -> None:
    assert Used().advance(shown(utime_us=4000, stime_us=12_000))[:2] == (4000, 12_000)


def test_counter_that_fell_counts_again_when_it_is_above_what_was_stored() -> None:
    used = Used()
    place = 2 + COLUMNS.index("read_chars")
    rows = [
        used.advance(shown(read_chars=value))[place] for value in (5000, 2000, None, 4000, 7000)
    ]
    assert rows == [5000, 0, None, 0, 2000]


def test_interval_that_ends_with_an_hour_counts_in_that_hour() -> None:
    clock = Clock(1, 0, 5 * HOUR_NS, 0)
    assert [reading(clock, 0, HOUR_NS + late_ns, []).hour for late_ns in (0, 1)] == [5, 6]
