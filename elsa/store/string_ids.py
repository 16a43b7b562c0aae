"""Strings stored once and referred to by id: command names in the table `comm`, longer strings in
the table `long_text`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

# A hostile user can make up any number of names, so the caches of ids are bounded.
MOST_COMMS = 50_000
MOST_TEXTS = 2_000


class StringIds:
    """The ids of the strings of a table, cached between transactions."""

    def __init__(self, table: str, column: str, most: int) -> None:
        next_id = f"select coalesce(max(id), 0) + 1 from {table}"
        self._insert = (
            f"insert into {table} (id, {column}) values (({next_id}), ?) on conflict do nothing"
        )
        self._select = f"select id from {table} where {column} = ?"
        self._most = most
        self._ids: dict[str, int] = {}

    def ids(
        self, connection: sqlite3.Connection, names: Iterable[str | None]
    ) -> dict[str | None, int | None]:
        """The ids of these names (None for None). Inserts rows for new names; callers hold a
        transaction, and call `forget` if it is rolled back.
        """
        if len(self._ids) > self._most:
            self._ids.clear()
        wanted = set(names)
        for name in wanted:
            if name is not None and name not in self._ids:
                connection.execute(self._insert, (name,))
                self._ids[name] = connection.execute(self._select, (name,)).fetchone()[0]
        return {name: None if name is None else self._ids[name] for name in wanted}

    def forget(self) -> None:
        """Empty the cache, since a transaction was rolled back."""
        self._ids.clear()


def comms() -> StringIds:
    """Command names."""
    return StringIds("comm", "name", MOST_COMMS)


def texts() -> StringIds:
    """Arguments, paths and the like."""
    return StringIds("long_text", "value", MOST_TEXTS)
