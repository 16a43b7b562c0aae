"""Joins against the truth, through the warehouse: pids that come again within milliseconds, with
events and records lost.

What is joined exactly is right as long as every loss of events is known; lost records are not known
of at all.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.simulation import Lived, Machine, Spans, Warehouse, run

MS = 1_000_000
PassResult = Callable[..., Counter[str]]
chances = st.integers(0, 2**32).map(random.Random)
machines = st.builds(
    Machine,
    pids=st.integers(2, 60),
    processes=st.integers(1, 200),
    pause_ns=st.sampled_from([50_000, 1 * MS, 20 * MS]),
    life_ns=st.sampled_from([20_000, 2 * MS, 40 * MS]),
)
shares = st.sampled_from([0.0, 0.05, 0.5])


@pytest.fixture(scope="module")
def outcome(template: Path) -> Iterator[PassResult]:
    """A function that returns the result of joining with gaps and lost records, in an empty
    warehouse each time.

    Given `later_at_work`, a while later: with jobd still at work or not.
    """
    with closing(sqlite3.connect(template)) as empty:

        def count(
            history: list[Lived],
            gaps: Spans,
            lost: set[int],
            later_at_work: bool | None = None,
            scan_ns: int = 0,
        ) -> Counter[str]:
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                empty.backup(connection)
                warehouse = Warehouse(connection, history, gaps, lost, scan_ns=scan_ns)
                if later_at_work is not None:
                    warehouse.join_later(collector_running=later_at_work)
                return warehouse.count()

        yield count


def some(history: list[Lived], share: float, chance: random.Random) -> set[int]:
    return {one.number for one in history if chance.random() < share}


def torn(history: list[Lived], draw: random.Random, number: int, scan_ns: int = 0) -> Spans:
    """Times in which nothing is heard, from one lost fork to half a second; none begins before
    /proc has been read after the one before.
    """
    gaps: Spans = []
    for _ in range(number):
        from_ns = draw.choice(history).fork_ns - draw.randrange(60_000)
        span = (from_ns, from_ns + draw.choice([70_000, 50 * MS, 500 * MS]))
        if all(span[1] + scan_ns < first or last + scan_ns < span[0] for first, last in gaps):
            gaps.append(span)
    return sorted(gaps)


@settings(max_examples=100)
@given(machines, chances)
def test_with_nothing_lost_all_is_exact_and_right(
    outcome: PassResult, machine: Machine, chance: random.Random
) -> None:
    assert outcome(run(machine, chance), [], set()) == {"exact": machine.processes}


@settings(max_examples=200)
@given(machines, shares, chances)
def test_with_records_lost_and_nobody_knowing_no_pair_is_wrong(
    outcome: PassResult, machine: Machine, share: float, chance: random.Random
) -> None:
    history = run(machine, chance)
    lost = some(history, share, chance)
    counts = outcome(history, [], lost)
    assert counts.keys() <= {"exact", "pending"}
    assert counts.total() == machine.processes - len(lost)


@settings(max_examples=100)
@given(machines, shares, st.integers(1, 5), chances, st.sampled_from([0, MS, 300 * MS]))
def test_with_events_lost_too_no_pair_that_is_wrong_is_called_exact(
    outcome: PassResult,
    machine: Machine,
    share: float,
    holes: int,
    chance: random.Random,
    scan_ns: int,
) -> None:
    history = run(machine, chance)
    lost = some(history, share, chance)
    counts = outcome(history, torn(history, chance, holes, scan_ns), lost, scan_ns=scan_ns)
    assert counts["wrong exact"] == 0
    assert counts.total() - counts["wrong uncertain"] - counts[
        "known, but own"
    ] == machine.processes - len(lost)


@pytest.mark.parametrize("collector_running", [True, False])
def test_a_minute_later_no_record_waits_any_more_though_half_of_all_went_unheard(
    outcome: PassResult, collector_running: bool
) -> None:
    chance = random.Random(7)
    history = run(Machine(pids=5, processes=400), chance)
    gaps = [(one.fork_ns - 1, one.fork_ns + MS) for one in history[::4]]
    lost = some(history, 0.2, chance)
    soon, later = outcome(history, gaps, lost), outcome(history, gaps, lost, collector_running)
    assert soon["pending"] > 0
    assert later["pending"] == 0
    assert later["wrong exact"] == 0
    assert later.total() == soon.total()


def test_of_thousands_of_processes_under_few_pids_none_is_wrong_unsaid(outcome: PassResult) -> None:
    chance = random.Random(5)
    history = run(Machine(processes=4000, pause_ns=2 * MS), chance)
    lost = some(history, 0.05, chance)
    counts = outcome(history, [(history[1000].fork_ns, history[1200].fork_ns)], lost)
    assert counts["wrong exact"] == 0
    assert counts["exact"] > 0.6 * len(history)
    assert counts["uncertain"] > 0


@settings(max_examples=200)
@given(machines, chances, st.sampled_from([0, MS, 300 * MS]))
def test_no_record_from_before_jobd_first_ran_is_joined_exactly_to_a_later_process(
    template: Path, machine: Machine, chance: random.Random, scan_ns: int
) -> None:
    """The time before is no gap, but its records are read all the same."""
    history = run(machine, chance)
    first_ns = chance.choice(history).fork_ns
    heard_ns = first_ns + scan_ns + chance.choice([MS, 30 * MS, 5000 * MS])
    later = {one.number for one in history if one.write_ns > heard_ns}
    with (
        closing(sqlite3.connect(template)) as empty,
        closing(sqlite3.connect(":memory:", isolation_level=None)) as connection,
    ):
        empty.backup(connection)
        warehouse = Warehouse(
            connection, history, [], later, heard_ns, scan_ns=scan_ns, first_ns=first_ns
        )
        assert warehouse.count()["wrong exact"] == 0
