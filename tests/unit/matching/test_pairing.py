"""Which record may be that of which life: start window, exit code, duration, moments known to be
alive, the rounding of floats.
"""

from __future__ import annotations

import struct

import pytest

from elsa.matching import pairing
from elsa.matching.pairing import (
    ACCT_TICK_NS,
    Candidate,
    Outcome,
    Pair,
    Record,
    alignments,
    fits,
    float_slack_ns,
    pair,
)
from elsa.units import SECOND_NS

MS = 1_000_000
REAL = 1_700_000_000 * SECOND_NS


def life(
    start_ns: int = 10 * SECOND_NS,
    end_ns: int | None = 10 * SECOND_NS + 250 * MS,
    *,
    id: int = 2,  # noqa: A002
    alive_ns: int | None = None,
    exact: bool = True,
    code: int | None = 0,
    offsets: tuple[int, ...] = (REAL,),
) -> Candidate:
    return Candidate(300, id, start_ns, end_ns, alive_ns, int(exact), code, None, 1, offsets)


def record(
    start_ns: int = 10 * SECOND_NS,
    elapsed_ns: int = 250 * MS,
    *,
    id: int = 1,  # noqa: A002
    code: int = 0,
    offset: int = REAL,
) -> Record:
    """The record that the kernel writes of a life."""
    etime = struct.unpack("f", struct.pack("f", elapsed_ns // ACCT_TICK_NS))[0]
    begin = (start_ns + elapsed_ns + offset) // SECOND_NS - elapsed_ns // SECOND_NS
    return stated(begin, etime, code, id)


def stated(begin: int, etime: float, code: int = 0, id_: int = 1) -> Record:
    second = begin + int(etime) // 100
    (one,) = pairing.columns([id_], [code], [None], [begin], [int(etime)], [second]).rows()
    return Record._make(one)


def test_a_record_fits_its_own_life() -> None:
    assert fits(life(), record())


@pytest.mark.parametrize("start_ns", range(10 * SECOND_NS, 12 * SECOND_NS, 83 * MS))
@pytest.mark.parametrize(
    "elapsed_ns", [0, 48_000, 9_999_999, 990 * MS, 1000 * MS, 3_754_321_000, 10**15]
)
def test_a_record_fits_its_life_wherever_in_the_second_that_began_and_ended(
    start_ns: int, elapsed_ns: int
) -> None:
    assert fits(life(start_ns, start_ns + elapsed_ns), record(start_ns, elapsed_ns))


def test_a_record_with_a_cut_elapsed_time_fits_a_process_that_ran_at_its_stated_end() -> None:
    elapsed_ns = (400 * 86_400 * 100 + 255) * ACCT_TICK_NS  # 2.55 s of it are cut
    end_ns = 10 * SECOND_NS + elapsed_ns
    etime = float(elapsed_ns // (256 * ACCT_TICK_NS) * 256)
    cut = stated((end_ns + REAL) // SECOND_NS - elapsed_ns // SECOND_NS, etime)
    assert fits(life(10 * SECOND_NS, None, alive_ns=end_ns - MS), cut)
    assert not fits(life(10 * SECOND_NS, None, alive_ns=end_ns + 9 * SECOND_NS), cut)


def test_the_start_window_is_a_second_and_what_was_cut_off_elapsed_time() -> None:
    *_, first, last, _, _, _, _, _ = stated(100, 325.0)
    assert (first, last) == (100 * SECOND_NS - 250 * MS - ACCT_TICK_NS, 101 * SECOND_NS + 4 * MS)


@pytest.mark.parametrize(
    ("away_ns", "fit"),
    [(0, True), (-2 * SECOND_NS, False), (2 * SECOND_NS, False), (-3600 * SECOND_NS, False)],
)
def test_a_life_that_began_outside_the_window_does_not_fit(away_ns: int, fit: bool) -> None:
    start_ns = 10 * SECOND_NS + away_ns
    assert fits(life(start_ns, start_ns + 250 * MS), record()) is fit


@pytest.mark.parametrize(("code", "fit"), [(0, True), (None, True), (256, False)])
def test_an_exit_code_must_agree_where_it_is_known(code: int | None, fit: bool) -> None:
    assert fits(life(code=code), record()) is fit


def test_a_process_is_no_shorter_than_its_record_but_its_exit_may_arrive_later() -> None:
    start_ns = 10 * SECOND_NS
    assert not fits(life(start_ns, start_ns + 240 * MS), record())
    assert fits(life(start_ns, start_ns + 249 * MS), record())
    assert fits(life(start_ns, start_ns + 400 * MS), record())


def test_a_life_that_was_seen_alive_after_the_exit_does_not_fit() -> None:
    running = life(end_ns=None, alive_ns=12 * SECOND_NS)
    assert not fits(running, record())
    assert fits(running._replace(alive_ns=10 * SECOND_NS + 200 * MS), record())


def test_a_start_that_was_cut_to_a_tick_may_lie_that_much_before_the_window() -> None:
    second = record(10 * SECOND_NS, 0)
    early_ns = second.first_ns - REAL - pairing.SLACK_NS - 5 * MS
    assert not fits(life(early_ns, None), second)
    assert fits(life(early_ns, None, exact=False), second)


@pytest.mark.parametrize("step_ns", [3600 * SECOND_NS, -3600 * SECOND_NS, 5 * SECOND_NS])
def test_around_a_step_of_the_clock_either_offset_will_do(step_ns: int) -> None:
    one = life(offsets=tuple(sorted((REAL, REAL + step_ns))))
    assert fits(one, record())
    assert fits(one, record(offset=REAL + step_ns))
    assert not fits(one, record(offset=REAL + 2 * step_ns))
    assert not fits(life(), record(offset=REAL + step_ns))


def test_elapsed_time_is_exact_for_46_hours_and_then_within_the_rounding_of_a_float() -> None:
    assert float_slack_ns(2**24) == 0
    year_ns = 365 * 86_400 * SECOND_NS + 7 * ACCT_TICK_NS
    assert 0 < float_slack_ns(year_ns // ACCT_TICK_NS) < 10 * SECOND_NS
    assert fits(life(0, year_ns), record(0, year_ns))


# --- bringing many together


def burst(count: int) -> tuple[list[Candidate], list[Record]]:
    """Many lives of one pid within the same second, some microseconds each, and their records."""
    starts = [10 * SECOND_NS + n * 100_000 for n in range(count)]
    return [life(start, start + 48_000, id=2 * n) for n, start in enumerate(starts)], [
        record(start, 48_000, id=n) for n, start in enumerate(starts)
    ]


def test_with_nothing_lost_the_kth_is_the_kth() -> None:
    lives, records = burst(500)
    assert pair(lives, records) == Outcome([Pair(n, 2 * n) for n in range(500)], [], [])


def test_the_life_that_still_runs_needs_no_record() -> None:
    lives, records = burst(20)
    running = life(11 * SECOND_NS, None, id=99, alive_ns=12 * SECOND_NS, code=None)
    assert pair([*lives, running], records) == pair(lives, records)


def test_the_life_that_seems_to_run_may_have_ended_by_now_so_a_lost_record_shifts_nothing() -> None:
    lives, records = burst(3)
    lives[-1] = lives[-1]._replace(end_ns=None, code=None)
    assert pair(lives, records[1:]) == Outcome([], [1, 2], [])
    assert pair(lives, records) == Outcome([Pair(0, 0), Pair(1, 2), Pair(2, 4)], [], [])


def test_a_burst_with_a_lost_record_is_ambiguous_and_never_shifted() -> None:
    lives, records = burst(5)
    del records[2]
    assert pair(lives, records) == Outcome([], [0, 1, 3, 4], [])


def test_a_lost_record_does_no_harm_if_the_exit_codes_differ() -> None:
    lives, records = burst(4)
    lives = [one._replace(code=n) for n, one in enumerate(lives)]
    records = [one._replace(exitcode=n) for n, one in enumerate(records)]
    del records[1]
    assert pair(lives, records) == Outcome([Pair(0, 0), Pair(2, 4), Pair(3, 6)], [], [])


def test_a_process_whose_exit_was_missed_may_have_a_record_too() -> None:
    # The record of the second life is lost, the end of the first was not heard: by number alone
    # they would be taken for one.
    first = life(10 * SECOND_NS, None, id=2, code=None)
    second = life(10 * SECOND_NS + 100 * MS, 12 * SECOND_NS, id=4)
    outcome = pair([first, second], [record(10 * SECOND_NS, 50 * MS)])
    assert outcome == Outcome([], [1], [])
    outcome = pair(
        [second, life(12 * SECOND_NS + MS, None, id=6, code=None)],
        [record(12 * SECOND_NS + MS, 50 * MS)],
    )
    assert outcome == Outcome([Pair(1, 6)], [], [])


def test_a_record_that_fits_no_life_stands_alone() -> None:
    assert pair([life()], [record(50 * SECOND_NS)]) == Outcome([], [], [1])
    assert pair([], [record()]) == Outcome([], [], [1])
    assert pair([life()], []) == Outcome([], [], [])


def test_more_records_than_lives_leave_no_wrong_pair() -> None:
    lives, records = burst(3)
    del lives[1]
    assert pair(lives, records) == Outcome([], [0, 1, 2], [])


def test_what_needs_too_large_a_table_is_called_ambiguous() -> None:
    lives, records = burst(10)
    del records[0]
    assert pair(lives, records, max_cells=50) == Outcome([], list(range(1, 10)), [])


@pytest.mark.parametrize(
    ("rows", "width", "expected"),
    [
        ([], 0, []),
        ([[]], 0, [([], True)]),
        ([[0]], 1, [([0], False)]),
        ([[0, 1]], 2, [([0, 1], False)]),
        ([[0, 1], [0, 1]], 2, [([0], False), ([1], False)]),
        ([[1], [0]], 2, [([1], True), ([0], True)]),
        ([[0], [0]], 1, [([0], True), ([0], True)]),
        ([[0, 2], [1], [2]], 3, [([0], False), ([1], False), ([2], False)]),
    ],
)
def test_alignments_list_every_best_pairing_and_what_may_be_left_out(
    rows: list[list[int]], width: int, expected: list[tuple[list[int], bool]]
) -> None:
    assert alignments(rows, width) == expected
