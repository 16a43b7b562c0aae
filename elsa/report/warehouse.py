"""Opening the warehouse for reports: reading only, with the names of users and groups at hand."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from elsa.kernel import accounts
from elsa.store import database


@functools.cache
def user_name(uid: int | None) -> str | None:
    """Name of a uid on this host, or the number as text where it has none; None of an unknown uid."""
    return None if uid is None else accounts.user(uid)


@functools.cache
def group_name(gid: int | None) -> str | None:
    """Name of a gid on this host, or the number as text where it has none; None of an unknown gid."""
    return None if gid is None else accounts.group(gid)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reports, with user_name(uid) and group_name(gid) as SQL functions; what SQLite raises comes out as an ElsaError."""
    with database.translated(path), closing(database.open_for_reading(path)) as connection:
        connection.create_function("user_name", 1, user_name, deterministic=True)
        connection.create_function("group_name", 1, group_name, deterministic=True)
        # One report sees one state of the warehouse, whatever others write meanwhile.
        connection.execute("begin")
        yield connection
