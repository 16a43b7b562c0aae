"""What bisection says of the gaps of a boot is what a loop over all of them says."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from elsa.matching.gaps import Gap, Gaps

# Few different times, so that many of them coincide and most gaps overlap.
times = st.integers(0, 7)
some_gaps = st.lists(
    st.tuples(times, times, times).map(lambda three: Gap(*sorted(three))), max_size=5
)
examples = settings(max_examples=1000)


@examples
@given(some_gaps, times, times, times)
@example([Gap(0, 4, 5), Gap(1, 2, 7)], 3, 3, 6)  # within one another; neither hides it
def test_gaps_may_hide_what_one_of_them_may_hide(
    gaps: list[Gap], first: int, last: int, ended: int
) -> None:
    assert Gaps(gaps).may_hide(first, last, ended) == any(
        gap.from_ns <= last and first <= gap.heard_ns and ended <= gap.to_ns for gap in gaps
    )


@examples
@given(some_gaps, times, times)
def test_gaps_touch_what_one_of_them_touches(gaps: list[Gap], first: int, last: int) -> None:
    assert Gaps(gaps).touch(first, last) == any(
        gap.from_ns <= last and first <= gap.heard_ns for gap in gaps
    )


@examples
@given(some_gaps, times, times)
def test_the_earliest_time_in_gaps_is_the_earliest_in_any_of_them(
    gaps: list[Gap], first: int, before: int
) -> None:
    inside = [
        max(gap.from_ns, first) for gap in gaps if gap.from_ns < before and gap.heard_ns > first
    ]
    assert Gaps(gaps).earliest(first, before) == min(inside, default=None)
