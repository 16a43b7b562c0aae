"""What became of accounting records: which process each was joined to, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from elsa.state.codes import Join
from elsa.store.plain_sums import Plain

PENDING, EXACT, UNCERTAIN, OWN, AMBIGUOUS = map(
    int, (Join.PENDING, Join.EXACT, Join.UNCERTAIN, Join.OWN, Join.AMBIGUOUS)
)


class Joins(NamedTuple):
    """What became of records: columns, in the order of the records."""

    record_ids: Sequence[int]
    process_ids: list[int | None]
    outcomes: list[int]
    """codes.Join"""
    plain: Plain

    @classmethod
    def unjoined(cls, record_ids: Sequence[int], outcome: int) -> Joins:
        """Records that are joined to no process."""
        number = len(record_ids)
        return cls(record_ids, [None] * number, [outcome] * number, Plain.none(number))

    def settled(self) -> list[tuple[int | None, int, int]]:
        """Process id, outcome and record id of those that are not pending."""
        rows = zip(self.process_ids, self.outcomes, self.record_ids, strict=True)
        return [row for row in rows if row[1] != PENDING]

    def lists(self) -> list[list[Any]]:
        """The columns, except the ids."""
        return [self.process_ids, self.outcomes, *self.plain]

    def split(self, number: int) -> tuple[Joins, Joins]:
        """Of the first records, so many, and of the others."""
        return self._part(slice(number)), self._part(slice(number, None))

    def _part(self, some: slice) -> Joins:
        ids, process_ids, outcomes, plain = self
        return Joins(ids[some], process_ids[some], outcomes[some], plain.part(some))
