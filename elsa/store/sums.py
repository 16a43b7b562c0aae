"""Sums as they are stored: exact, whatever their size. One that no 64-bit integer holds is kept in
several rows of its key, which add up.

So does whoever reads them: rows of one key are summed in any case, since what was pruned has a row
of its own. There are such sums on hosts that use more than 292 years of CPU time in an hour or a
day, and where somebody forges accounting records.
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
    """The rows to be stored: keys and sums over a source, which is SQL from its `from` on. Of one
    key there may be several.
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
    """The same once more, put together from their halves by Python, whose integers have no end."""
    columns = [
        sum_.halves if sum_.fold == "sum" else (sum_.plain, "null") for sum_ in sums.values()
    ]
    listed = ", ".join((*keys, *(text for pair in columns for text in pair)))
    for row in connection.execute(f"select {listed} {source}", values):
        key, halves = row[: len(keys)], row[len(keys) :]
        yield from ((*key, *piece) for piece in pieces(list(map(whole, halves[::2], halves[1::2]))))


def whole(high: Any, low: int | None) -> Any:  # noqa: ANN401 (what SQLite gives)
    """A sum from its halves; what has no other half is whole already."""
    return high if low is None else (high << 32) + low


def pieces(figures: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The figures of one key in rows that SQLite can hold: nearly always one."""
    while True:
        rest = [
            figure - _MOST if isinstance(figure, int) and figure > _MOST else None
            for figure in figures
        ]
        yield [
            figure if more is None else _MOST for figure, more in zip(figures, rest, strict=True)
        ]
        if not any(rest):
            return
        figures = rest
