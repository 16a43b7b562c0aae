"""Names as small numbers: command names in the table `comm`, longer strings in the table `text`,
once each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

# A hostile user can make up names without end; what is remembered of them is bounded.
MOST_COMMS = 50_000
MOST_TEXTS = 2_000


class Names:
    """Ids of the strings of one table, remembered between transactions."""

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
        """The ids of these names (None stays None), making rows for new ones. Callers hold a
        transaction.

        The answer is good for this transaction; call `forget` if it is rolled back.
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
        """Drop what was learnt in a transaction that was rolled back."""
        self._ids.clear()


def comms() -> Names:
    """Command names."""
    return Names("comm", "name", MOST_COMMS)


def texts() -> Names:
    """Arguments, paths and the like."""
    return Names("long_text", "value", MOST_TEXTS)
