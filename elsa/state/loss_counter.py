"""How many process events were lost: each CPU numbers its events, so a number that is skipped is a
lost event. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from elsa.decode.events import Event

WRAP = 2**32
_SEQ_AND_CPU = itemgetter(Event._fields.index("seq"), Event._fields.index("cpu"))


class Sequence:
    """The next number expected of each CPU."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def missing(self, events: Iterable[Event]) -> int:
        """Take in events, in queue order; returns how many are missing before or among them.

        A CPU's first event may have any number. Acknowledgements, also those for other listeners,
        are numbered like events.
        """
        next_seq = self._next
        lost = 0
        for seq, cpu in map(_SEQ_AND_CPU, events):
            if next_seq.get(cpu, seq) != seq:
                lost += (seq - next_seq[cpu]) % WRAP
            next_seq[cpu] = seq + 1
        return lost


@dataclass
class Losses:
    """How many events were lost since the beginning, counted in two ways: numbers that were
    skipped, and the kernel's own counter.

    A number is noticed only with the CPU's next event, perhaps long after the kernel counted the
    loss, so the two are never added.
    """

    skipped: int = 0
    counted: int = 0
    _reported: int = 0
    _reported_counted: int = 0

    def take_new(self) -> tuple[str, int]:
        """The kind of gap, and how many events were lost since the last call."""
        kind = "overrun" if self.counted > self._reported_counted else "sequence"
        lost = max(self.counted, self.skipped)
        new, self._reported, self._reported_counted = lost - self._reported, lost, self.counted
        return kind, new
