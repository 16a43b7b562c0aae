"""Sums for the rollup tables: exact, whatever their size. A sum that exceeds a 64-bit integer is
stored in several rows of its key, which add up to it.

Readers sum the rows of a key in any case, since pruned processes have a row of their own. Such
sums occur if more than 292 years of CPU time are used in an hour or a day, and with forged
accounting records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elsa.store.aggregates import Aggregate

Row = tuple[Any, ...]
Values = Sequence[object] | Mapping[str, object]
_MOST = 2**63 - 1


def summed(
    connection: sqlite3.Connection,
    keys: Sequence[str],
    sums: Mapping[str, Aggregate],
    source: str,
    values: Values = (),
) -> list[Row]:
    """The rows to store: keys and sums over a source, which is SQL from its `from` on. There may be
    several rows of a key.
    """
    listed = ", ".join((*keys, *(sum_.plain for sum_ in sums.values())))
    try:
        return connection.execute(f"select {listed} {source}", values).fetchall()
    except sqlite3.OperationalError as error:
        if "integer overflow" not in str(error):
            raise
    return list(_exact(connection, keys, sums, source, values))


def _exact(
    connection: sqlite3.Connection,
    keys: Sequence[str],
    sums: Mapping[str, Aggregate],
    source: str,
    values: Values,
) -> Iterator[Row]:
    """The same rows, with sums that SQLite computes in halves and Python combines."""
    columns = [
        sum_.halves if sum_.fold == "sum" else (sum_.plain, "null") for sum_ in sums.values()
    ]
    listed = ", ".join((*keys, *(text for pair in columns for text in pair)))
    for row in connection.execute(f"select {listed} {source}", values):
        key, halves = row[: len(keys)], row[len(keys) :]
        figures = list(map(combined, halves[::2], halves[1::2]))
        yield from ((*key, *chunk) for chunk in storable_rows(figures))


def combined(high: Any, low: int | None) -> Any:  # noqa: ANN401 (what SQLite gives)
    """A sum from its halves. Without a low half, `high` is the whole sum."""
    return high if low is None else (high << 32) + low


def storable_rows(figures: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The sums of a key as rows that SQLite can store; nearly always one row."""
    while any(isinstance(figure, int) and figure > _MOST for figure in figures):
        rest = [
            figure - _MOST if isinstance(figure, int) and figure > _MOST else None
            for figure in figures
        ]
        yield [
            figure if more is None else _MOST for figure, more in zip(figures, rest, strict=True)
        ]
        figures = rest
    yield figures
