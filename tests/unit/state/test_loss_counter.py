"""Loss is counted to the event, per CPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.decode import events as ev
from elsa.decode.events import Event
from elsa.state.loss_counter import WRAP, Losses, Sequence
from tests.support.events import event


def numbered(*numbers: int, cpu: int = 0) -> list[Event]:
    return [event(ev.EXEC, 0, seq=number % WRAP, cpu=cpu) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((), 0),
        ((5,), 0),
        ((5, 6, 7), 0),
        ((5, 7), 1),
        ((5, 105, 106, 108), 99 + 1),
        ((WRAP - 2, WRAP - 1, WRAP, WRAP + 1), 0),
        ((WRAP - 2, WRAP + 2), 3),
    ],
)
def test_skipped_numbers_are_missing_events(numbers: tuple[int, ...], missing: int) -> None:
    assert Sequence().missing(numbered(*numbers)) == missing


def test_a_gap_between_two_batches_is_seen() -> None:
    sequence = Sequence()
    assert [
        sequence.missing(numbered(1, 2)),
        sequence.missing(numbered(3)),
        sequence.missing(numbered(6)),
    ] == [0, 0, 2]


def test_every_cpu_counts_for_itself() -> None:
    sequence = Sequence()
    one, two = numbered(10, 11, 13), numbered(500, 501, 502, cpu=1)
    mixed = [two[0], one[0], two[1], one[1], one[2], two[2]]
    assert sequence.missing(mixed) == 1


def test_acknowledgements_take_part_in_the_numbering() -> None:
    acknowledged = event(ev.NONE, 0, seq=2)
    assert Sequence().missing([*numbered(1), acknowledged, *numbered(3)]) == 0


@given(
    st.lists(st.integers(0, 3), max_size=60), st.sets(st.integers(0, 59)), st.integers(0, WRAP - 1)
)
def test_events_lost_between_received_events_of_a_cpu_are_counted_exactly(
    cpus: list[int], dropped: set[int], first: int
) -> None:
    owed = dict.fromkeys(range(4), first)
    events = []
    for cpu in cpus:
        events.append(event(ev.EXEC, 0, seq=owed[cpu] % WRAP, cpu=cpu))
        owed[cpu] += 1
    heard = [one for index, one in enumerate(events) if index not in dropped]
    lost = 0
    for cpu in range(4):
        places = [index for index, one in enumerate(events) if one.cpu == cpu]
        kept = [place for place, index in enumerate(places) if index not in dropped]
        lost += kept[-1] - kept[0] + 1 - len(kept) if kept else 0
    assert Sequence().missing(heard) == lost


def test_losses_that_the_kernel_counted_are_not_counted_again_when_an_idle_cpu_continues() -> None:
    losses = Losses()
    losses.counted = 5
    assert losses.take_new() == ("overrun", 5)
    losses.skipped = 5  # the next event of the CPU that lost them
    assert losses.take_new() == ("sequence", 0)
    losses.skipped = 8  # reported early, ...
    assert losses.take_new() == ("sequence", 3)
    losses.counted = 9  # ... and then exactly
    assert losses.take_new() == ("overrun", 1)
    losses.skipped = 9
    assert losses.take_new() == ("sequence", 0)
