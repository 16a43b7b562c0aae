"""Loss in the stream of process events: each CPU numbers its events, so a number that is skipped is
an event that was lost. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from elsa.decode.events import Event

WRAP = 2**32


class Sequence:
    """The next number that each CPU owes."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def missing(self, events: Iterable[Event]) -> int:
        """Take in events, in queue order; returns how many are missing before or among them.

        A CPU's first event is taken as it is. Acknowledgements are numbered like events, those of
        other listeners too.
        """
        owed = self._next
        lost = 0
        for event in events:
            seq, cpu = event.seq, event.cpu
            expected = owed.get(cpu, seq)
            if seq != expected:
                lost += (seq - expected) % WRAP
            owed[cpu] = (seq + 1) % WRAP
        return lost


@dataclass
class Losses:
    """How many events were lost since the beginning, by both who tell of it: a CPU's next number,
    and the kernel's own counter.

    A CPU that is silent for long tells late what was counted long ago, so the two are never added.
    """

    skipped: int = 0
    counted: int = 0
    _told: int = 0
    _counted_told: int = 0

    def tell(self) -> tuple[str, int]:
        """The kind of gap, and how many of the lost have not been told before."""
        kind = "overrun" if self.counted > self._counted_told else "sequence"
        lost = max(self.counted, self.skipped)
        new, self._told, self._counted_told = lost - self._told, lost, self.counted
        return kind, new
