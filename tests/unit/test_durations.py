"""Lengths of time, written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa import durations

UNIT_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    ("length_s", "text"),
    [
        (0, "0.00 s"),
        (0.377, "0.38 s"),
        (59.994, "59.99 s"),
        (59.996, "1m00s"),
        (60, "1m00s"),
        (754.4, "12m34s"),
        (3599.6, "1h00m00s"),
        (3725, "1h02m05s"),
        (86399.7, "1d00h00m"),
        (183_845, "2d03h04m"),
        (8_640_000, "100d00h00m"),
        (-754, "-12m34s"),
    ],
)
def test_a_length_is_shown_in_the_units_that_suit_it(length_s: float, text: str) -> None:
    assert durations.text(length_s) == text


@given(st.floats(60, 1e9))
def test_a_shown_length_is_the_length_to_the_second_or_minute(length_s: float) -> None:
    text, total_s = durations.text(length_s), 0
    for part in text.replace("d", "d ").replace("h", "h ").replace("m", "m ").split():
        total_s += int(part[:-1]) * UNIT_S[part[-1]]
    # Whole seconds are rounded; from a day on, seconds are left out.
    assert -60 < total_s - length_s <= 0.5 if "d" in text else abs(total_s - length_s) <= 0.5


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *(("90s", 90), ("5m", 300), ("36 hours", 129_600), ("2w", 1_209_600)),
        *(("1 month", 2_592_000), ("1.5h", 5400), ("a week", 604_800), ("an hour", 3600)),
        *(("1h02m05s", 3725), ("1 day 2 hours", 93_600), ("1s250ms", 1.25), ("1ms", 0.001)),
    ],
)
def test_a_length_is_read_in_short_and_in_full(written: str, seconds: float) -> None:
    assert durations.seconds(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "5", "d", "5 fortnights", "-5d", "5.5.5h", "5d ", "aweek", "a", "5d ago"],
)
def test_what_is_no_length_is_none(written: str) -> None:
    assert durations.seconds(written) is None


@pytest.mark.parametrize("written", ["30d", "-30d", "now-30d", "30 days ago", "last 30 days"])
def test_an_age_is_read_in_every_way_of_saying_it(written: str) -> None:
    assert durations.age(written) == 30 * 86400


@pytest.mark.parametrize("written", ["", "ago", "30", "--30d", "30d ago ago", "now+30d"])
def test_what_is_no_age_is_none(written: str) -> None:
    assert durations.age(written) is None
