"""A select statement with its bound values: to run, or to show (--explain)."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

THESE = "select value from json_each(?)"
"""The ids of a json list."""
# Keys that SQL wants in quotes.
_RESERVED = ("group",)


class Query(NamedTuple):
    """SQL and the values for its question marks."""

    sql: str
    values: tuple[object, ...] = ()

    def run(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        """Run it."""
        return connection.execute(self.sql, self.values)

    def readable(self) -> str:
        """The statement with its values in their places, as the sqlite3 shell takes it if the
        selection has `ids`. No SQL of ours has a question mark that is not a parameter.
        """
        first, *rest = self.sql.split("?")
        text = first + "".join(
            literal(value) + part for value, part in zip(self.values, rest, strict=True)
        )
        return text.strip() + ";"


class Condition(NamedTuple):
    """One condition on the rows, with the values for its question marks."""

    sql: str
    values: tuple[object, ...] = ()


def values_of(parts: Iterable[Query | Condition]) -> tuple[object, ...]:
    """The values for the question marks of several parts, one after the other."""
    return tuple(value for part in parts for value in part.values)


def literal(value: object) -> str:
    """A value as SQL text. Characters that cannot be printed are written as char(N)."""
    if value is None:
        return "null"
    if not isinstance(value, str):
        return str(value)
    parts = re.split(r"([^ -~])", value)
    quoted = [
        (
            f"char({ord(part)})"
            if len(part) == 1 and not " " <= part <= "~"
            else "'" + part.replace("'", "''") + "'"
        )
        for part in parts
    ]
    return " || ".join(part for part in quoted if part != "''") or "''"


def select(columns: Mapping[str, str]) -> str:
    """A select list, each column under its key."""
    names = {key: f'"{key}"' if key in _RESERVED else key for key in columns}
    listed = ",\n    ".join(
        expression if expression == key else f"{expression} as {names[key]}"
        for key, expression in columns.items()
    )
    return f"select\n    {listed}"


def listed(ids: Iterable[int]) -> str:
    """SQL that lists ids, of any number."""
    return f"select value from json_each('{json.dumps([int(id_) for id_ in ids])}')"
