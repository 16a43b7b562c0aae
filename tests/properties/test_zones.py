"""Hours, days, months and written times in every time zone: those that skipped a day, changed by
half an hour, or by odd seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.report.query import periods, times

ZONES = (
    *(
        "Pacific/Apia",
        "Pacific/Kwajalein",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Africa/Monrovia",
        "America/St_Johns",
    ),
    *(
        "Asia/Kathmandu",
        "Asia/Pyongyang",
        "America/Caracas",
        "Pacific/Kiritimati",
        "America/Sao_Paulo",
        "Asia/Gaza",
        "Africa/Cairo",
    ),
    *(
        "Antarctica/Troll",
        "Europe/Dublin",
        "America/Scoresbysund",
        "Pacific/Chatham",
        "Asia/Tehran",
        "Africa/Juba",
        "UTC",
    ),
)
DAY = 86400
# From 1970 to 2037, so that 32-bit tables know it all.
MOMENTS = st.integers(0, 67 * 365 * DAY)
SOME = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@cache
def _changes(zone: str) -> list[int]:
    """The seconds in which the clock of a zone changes."""
    found = []
    for day in range(0, 67 * 365, 7):
        before, after = day * DAY, (day + 7) * DAY
        if times.offset(before) != times.offset(after):
            found.append(times.change(before, after))
    return found


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    if request.param != "UTC" and not _changes(request.param):
        pytest.skip(f"this host knows no time zone {request.param}")
    yield request.param
    monkeypatch.undo()
    time.tzset()


@st.composite
def moments(draw: st.DrawFn, zone: str) -> int:
    """Any second; mostly near a change of the clock."""
    changes = _changes(zone)
    if changes and draw(st.integers(0, 3)) > 0:
        return draw(st.sampled_from(changes)) + draw(st.integers(-2 * DAY, 2 * DAY))
    return draw(MOMENTS)


def _local(second: int) -> datetime:
    return datetime.fromtimestamp(second)


def test_periods_follow_each_other_and_bear_the_name_that_the_clock_gives_their_moments(
    zone: str,
) -> None:
    @SOME
    @given(moments(zone), st.integers(0, 3 * DAY), st.sampled_from(["hour", "day", "month"]))
    def holds(first: int, length: int, kind: str) -> None:
        laid = periods.lay(kind, first * 10**9, (first + length) * 10**9)
        assert laid[0].since_ns <= (first * 10**9)
        assert laid[-1].until_ns > (first + length) * 10**9
        assert all(one.until_ns == other.since_ns for one, other in pairwise(laid))
        assert all(period.since_ns < period.until_ns for period in laid)
        assert len({period.label for period in laid}) == len(laid)
        for period in laid:
            since, until = period.since_ns // 10**9, period.until_ns // 10**9
            if kind == "hour":
                assert until - since <= 3600
                named = datetime.fromisoformat(period.label)
                assert named == datetime.fromtimestamp(since, UTC)
                assert named.utcoffset() == timedelta(seconds=times.offset(since))
                assert _local(since).hour == _local(until - 1).hour
            else:
                # The clock has reached that day or month for the first time.
                assert f"{_local(since):%Y-%m-%d}".startswith(period.label)
                assert not f"{_local(since - 1):%Y-%m-%d}".startswith(period.label)

    holds()


def test_a_written_time_is_the_first_moment_at_which_the_clock_has_come_so_far(zone: str) -> None:
    @SOME
    @given(moments(zone), st.integers(-2 * DAY, 2 * DAY))
    def holds(around: int, distance: int) -> None:
        written = _local(around) + timedelta(seconds=distance)
        second, rest = divmod(times.moment(written.isoformat(), datetime.now().astimezone()), 10**9)
        assert rest == 0
        assert _local(second) >= written
        assert _local(second - 1) < written
        for text in (f"{written:%Y-%m-%d}", f"{written:%Y-%m}"):
            begun = times.moment(text, datetime.now().astimezone()) // 10**9
            assert f"{_local(begun):%Y-%m-%d}" >= text
            assert f"{_local(begun - 1):%Y-%m-%d}" < text

    holds()


def test_yesterday_today_and_tomorrow_are_in_order_on_any_day(zone: str) -> None:
    @SOME
    @given(moments(zone))
    def holds(now: int) -> None:
        clock = datetime.fromtimestamp(now, UTC)
        yesterday, today, tomorrow = (
            times.moment(word, clock) // 10**9 for word in ("yesterday", "today", "tomorrow")
        )
        assert yesterday < today <= now
        assert now < tomorrow or _local(now).fold  # midnight may come twice
        assert _local(today).date() == _local(now).date()
        assert _local(yesterday).date() == _local(today - 1).date()
        assert times.window("yesterday", "today", clock) == (yesterday * 10**9, today * 10**9)
        assert times.days("day", "yesterday", clock).window().since == yesterday * 10**9

    holds()


@pytest.mark.parametrize("kind", times.PERIODS)
def test_this_and_the_last_period_follow_each_other(zone: str, kind: str) -> None:
    @SOME
    @given(moments(zone))
    def holds(now: int) -> None:
        clock = datetime.fromtimestamp(now, UTC)
        last, this = (times.days(kind, word, clock) for word in ("last", "this"))
        assert this.first <= _local(now).date() < this.after
        assert last.window().until == this.window().since
        assert times.moment(f"last {kind}", clock) == last.window().since

    holds()
