"""Sums that PostgreSQL gives as numeric, so that they may have any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from elsa.store.sums import storable_rows


def storable(rows: Iterable[tuple[Any, ...]], keys: int) -> Iterator[tuple[Any, ...]]:
    """The same rows, of so many keys and then sums, with sums that fit into 64 bits.

    Where one does not, they are several rows of the key.
    """
    for row in rows:
        figures = [int(each) if isinstance(each, Decimal) else each for each in row[keys:]]
        yield from ((*row[:keys], *chunk) for chunk in storable_rows(figures))
