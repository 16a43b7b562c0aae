"""The tariffs of a fleet database, through the same checks as those of a warehouse."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from elsa.fleet import database, schema
from elsa.fleet_url import FleetUrl
from elsa.store import statements


@contextmanager
def tariffs(url: FleetUrl, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A warehouse in memory with the tariffs of a fleet. With `write`, what changed in it by the
    end of the block is written to the fleet, in one transaction that locks out other writers.
    """
    with (
        database.translated(url),
        closing(database.connect(url)) as fleet,
        closing(sqlite3.connect(":memory:", isolation_level=None)) as copy,
        fleet.transaction(),
    ):
        for statement in statements.tables():
            copy.execute(statement)
        if write:
            fleet.execute("lock table elsa.tariff in share row exclusive mode")
        before = {}
        for table in schema.OF_TARIFFS:
            names = _names(table)
            rows = fleet.execute(f"select {', '.join(names)} from elsa.{table}").fetchall()
            places = ", ".join("?" * len(names))
            copy.executemany(f"insert into {table} ({', '.join(names)}) values ({places})", rows)
            before[table] = {*rows}
        yield copy
        for table in schema.OF_TARIFFS if write else ():
            names = _names(table)
            now = copy.execute(f"select {', '.join(names)} from {table}").fetchall()
            # A version is never changed but for being withdrawn.
            changed = "on conflict (id) do update set withdrawn_at_ns = excluded.withdrawn_at_ns"
            for row in now:
                if row not in before[table]:
                    fleet.execute(
                        f"insert into elsa.{table} ({', '.join(names)})"
                        f" values ({', '.join(['%s'] * len(names))})"
                        f" {changed if table == 'tariff' else ''}",
                        row,
                    )


def _names(table: str) -> list[str]:
    columns = schema.metadata.tables[f"{schema.SCHEMA}.{table}"].columns
    return [f'"{column.name}"' for column in columns]
