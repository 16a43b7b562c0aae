"""Pairs against the truth: many lives of one pid as the kernel would tell them twice, by events and
by records, with either torn.
"""

from __future__ import annotations

import random
import struct
from itertools import combinations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from elsa.matching import pairing
from elsa.matching.pairing import ACCT_TICK_NS, Candidate, Outcome, Record, alignments, pair
from elsa.units import SECOND_NS

MS = 1_000_000
REAL = 1_700_000_000 * SECOND_NS
STEPS = st.sampled_from([0, 0, 0, 3600 * SECOND_NS, -3600 * SECOND_NS, 700 * MS])


def float32(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def told_twice(
    id_: int, start_ns: int, elapsed_ns: int, lag_ns: int, code: int, offsets: tuple[int, ...]
) -> tuple[Candidate, Record]:
    """One life and its record, both under the same id. The record is written at the first of the
    offsets; the exit is heard later.
    """
    exit_ns = start_ns + elapsed_ns + offsets[0]
    etime, second = float32(elapsed_ns // ACCT_TICK_NS), exit_ns // SECOND_NS
    begin = second - elapsed_ns // SECOND_NS
    (record,) = pairing.columns([id_], [code], [None], [begin], [int(etime)], [second]).rows()
    end_ns = start_ns + elapsed_ns + lag_ns
    return (
        Candidate(300, id_, start_ns, end_ns, None, 1, code, None, 1, offsets),
        Record._make(record),
    )


@st.composite
def histories(draw: st.DrawFn, max_lives: int = 25) -> tuple[list[Candidate], list[Record]]:
    """The lives of one pid, one after the other, mostly short, some microseconds apart, with the
    clock stepped in between.
    """
    now_ns = draw(st.integers(0, 3 * SECOND_NS))
    offset = REAL + draw(st.integers(0, SECOND_NS))
    spans = st.one_of(
        st.integers(20_000, 200_000), st.integers(0, 30 * MS), st.integers(0, 4 * SECOND_NS)
    )
    lives, records = [], []
    for id_ in range(draw(st.integers(0, max_lives))):
        elapsed_ns, pause_ns, code = (
            draw(spans),
            draw(spans),
            draw(st.sampled_from([0, 0, 0, 256, 9])),
        )
        step_ns = draw(STEPS)
        offsets = (offset, offset + step_ns) if step_ns else (offset,)
        life, record = told_twice(
            id_,
            now_ns,
            elapsed_ns,
            draw(st.integers(0, 38 * MS)),
            code,
            tuple(draw(st.permutations(offsets))),
        )
        lives.append(life)
        records.append(record)
        offset += step_ns
        now_ns += elapsed_ns + pause_ns
    # Which of the two offsets the record was written at is not for the pairing to know.
    return [life._replace(offsets=tuple(sorted(life.offsets))) for life in lives], records


def without(data: st.DataObject, everything: list[Record]) -> list[Record]:
    kept = data.draw(st.lists(st.booleans(), min_size=len(everything), max_size=len(everything)))
    return [one for one, keep in zip(everything, kept, strict=True) if keep]


@given(histories(60))
def test_with_nothing_lost_every_record_is_paired_with_its_life(
    history: tuple[list[Candidate], list[Record]],
) -> None:
    lives, records = history
    outcome = pair(lives, records)
    assert (outcome.ambiguous, outcome.unpaired) == ([], [])
    assert [(one.record_id, one.process_id) for one in outcome.pairs] == [
        (life.id, life.id) for life in lives
    ]


@given(histories(), st.data())
def test_with_records_lost_no_pair_is_wrong(
    history: tuple[list[Candidate], list[Record]], data: st.DataObject
) -> None:
    lives, records = history
    kept = without(data, records)
    before_first_start = data.draw(st.sets(st.integers(0, 25)))
    lives = [
        life._replace(end_ns=None, code=None) if life.id in before_first_start else life
        for life in lives
    ]
    outcome = pair(lives, kept)
    assert all(one.record_id == one.process_id for one in outcome.pairs)
    assert outcome.unpaired == []
    assert sorted([one.record_id for one in outcome.pairs] + outcome.ambiguous) == [
        record.id for record in kept
    ]


@given(histories(), st.data())
def test_with_anything_lost_every_record_has_one_outcome_and_every_process_at_most_one_record(
    history: tuple[list[Candidate], list[Record]], data: st.DataObject
) -> None:
    lives, records = history
    kept = without(data, records)
    gone = data.draw(st.sets(st.integers(0, 25)))
    outcome = pair([life for life in lives if life.id not in gone], kept)
    fates = [one.record_id for one in outcome.pairs] + outcome.ambiguous + outcome.unpaired
    assert sorted(fates) == [record.id for record in kept]
    taken = [one.process_id for one in outcome.pairs]
    assert len(taken) == len(set(taken))
    fitting = {
        (life.id, record.id) for life in lives for record in kept if pairing.fits(life, record)
    }
    assert {(one.process_id, one.record_id) for one in outcome.pairs} <= fitting


# --- against brute force

tables = st.integers(0, 6).flatmap(
    lambda width: st.tuples(
        st.just(width),
        st.lists(
            st.sets(st.integers(0, max(width - 1, 0)), max_size=width).map(sorted), max_size=6
        ),
    )
)


def every_alignment(rows: list[list[int]], width: int) -> list[dict[int, int]]:
    """All ways to give rows columns without crossing, best or not."""
    ways: list[dict[int, int]] = []
    for size in range(min(len(rows), width) + 1):
        for chosen in combinations(range(len(rows)), size):
            some = (
                dict(zip(chosen, columns, strict=True))
                for columns in combinations(range(width), size)
            )
            ways.extend(
                way for way in some if all(column in rows[row] for row, column in way.items())
            )
    return ways


@settings(max_examples=200)
@given(tables)
def test_alignments_are_what_trying_everything_gives(table: tuple[int, list[list[int]]]) -> None:
    width, rows = table
    ways = every_alignment(rows, width)
    most = max(map(len, ways))
    best = [way for way in ways if len(way) == most]
    expected = [
        (sorted({way[row] for way in best if row in way}), any(row not in way for way in best))
        for row in range(len(rows))
    ]
    assert alignments(rows, width) == expected


@settings(max_examples=300)
@given(tables)
@example((1, [[0], [], [], [0]]))
def test_pairing_part_by_part_is_pairing_at_once(table: tuple[int, list[list[int]]]) -> None:
    width, rows = table
    lives = [
        Candidate(300, column, column, None, column, 1, None, None, 1, (0,))
        for column in range(width)
    ]
    none = [0] * len(rows)
    columns = pairing.columns(range(len(rows)), none, none, none, none, none)
    records = list(map(Record._make, columns.rows()))
    by_parts, at_once = Outcome([], [], []), Outcome([], [], [])
    parts = pairing._parts(rows)
    whole = [row for row, columns in enumerate(rows) if columns]
    assert sorted(row for part in parts for row in part) == whole
    for part in parts:
        pairing._pair_part(lives, records, rows, part, by_parts, 10**6)
    pairing._pair_part(lives, records, rows, whole, at_once, 10**6)
    # Part by part it is seen where all records have a life; at once a single one without casts
    # doubt on all.
    certain = {one for one in at_once.pairs if one.certain}
    assert certain <= set(by_parts.pairs)
    assert sorted(one[:2] for one in by_parts.pairs) == sorted(one[:2] for one in at_once.pairs)
    assert [sorted(fate) for fate in by_parts[1:]] == [sorted(fate) for fate in at_once[1:]]


def test_a_thousand_lives_with_losses_are_paired_without_a_wrong_one() -> None:
    """A pid that passes on four times a second for minutes: far too many for brute force, and every
    twentieth record is lost.
    """
    chance = random.Random(3)
    now_ns, both = 0, []
    for id_ in range(1000):
        elapsed_ns = chance.randrange(48_000, 60 * MS)
        both.append(
            told_twice(
                id_, now_ns, elapsed_ns, chance.randrange(38 * MS), chance.choice([0, 256]), (REAL,)
            )
        )
        now_ns += elapsed_ns + chance.randrange(400 * MS)
    outcome = pair(
        [life for life, _ in both], [record for _, record in both if chance.random() > 0.05]
    )
    assert all(one.record_id == one.process_id for one in outcome.pairs)
    assert len(outcome.pairs) > 500
