"""Command names as small numbers, once each in the table `comm`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

# A hostile user can make up names without end; what is remembered of them is bounded.
MAX_CACHED = 50_000


class Comms:
    """Ids of command names, remembered between transactions."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def ids(self, connection: sqlite3.Connection, names: Iterable[str | None]) -> dict[str | None, int | None]:
        """The ids of these names (None stays None), making rows for new ones. Callers hold a transaction.

        The answer is good for this transaction; call `forget` if it is rolled back.
        """
        if len(self._ids) > MAX_CACHED:
            self._ids.clear()
        wanted = set(names)
        for name in wanted:
            if name is not None and name not in self._ids:
                connection.execute(
                    "insert into comm (id, name) values ((select coalesce(max(id), 0) + 1 from comm), ?) on conflict do nothing", (name,)
                )
                self._ids[name] = connection.execute("select id from comm where name = ?", (name,)).fetchone()[0]
        return {name: None if name is None else self._ids[name] for name in wanted}

    def forget(self) -> None:
        """Drop what was learnt in a transaction that was rolled back."""
        self._ids.clear()
