"""What a warehouse holds and how large it is (`elsa db info`), what its tables and views are
(`elsa db schema`), and which warehouse it is.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.store import database
from elsa.text import printable

_COUNTED = ("process", "acct", "usage", "event", "job", "gap")
# SQLite finds min and max by an index if they are asked for one by one.
_FIRST_AND_LAST = """
    select
        strftime('%Y-%m-%dT%H:%M:%SZ', min(first) * 3600, 'unixepoch'),
        strftime('%Y-%m-%dT%H:%M:%SZ', max(last) * 3600 + 3600, 'unixepoch')
    from (
        select (select min(ended_hour) from process) as first,
            (select max(ended_hour) from process) as last
        union all
        select (select min(hour) from rollup_user), (select max(hour) from rollup_user)
    )"""
_STORED_UNTIL = """
    select strftime('%Y-%m-%dT%H:%M:%SZ', (k.heard_ns + c.offset_ns) / 1000000000, 'unixepoch')
    from collector as k
    join clock as c on c.boot_id = k.boot_id and c.since_ns <= k.heard_ns
    order by k.id desc, c.since_ns desc
    limit 1"""


def identity(connection: sqlite3.Connection) -> str:
    """What no other warehouse has, and prune and upgrades keep: the boot and the clock, to the
    nanosecond, when it was first written. Empty if nothing is recorded yet.
    """
    row = connection.execute(
        "select b.uuid, c.since_ns, c.offset_ns from clock as c join boot as b on b.id = c.boot_id"
        " order by c.id limit 1"
    ).fetchone()
    return hashlib.sha256(repr(row).encode()).hexdigest()[:16] if row else ""


def info(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """What is in a warehouse, with times in UTC and sizes in bytes."""
    first, last = connection.execute(_FIRST_AND_LAST).fetchone()
    stored = connection.execute(_STORED_UNTIL).fetchone()
    pages, page_bytes, free = (
        connection.execute(f"pragma {name}").fetchone()[0]
        for name in ("page_count", "page_size", "freelist_count")
    )
    return {
        "path": str(path),
        "revision": database.revision(connection),
        "hosts": [name for (name,) in connection.execute("select name from host order by id")],
        "boots": _value(connection, "select count(*) from boot"),
        "first_hour": first,
        "last_hour": last,
        "events_stored_until": None if stored is None else stored[0],
        "records_read_at": _value(
            connection,
            "select strftime('%Y-%m-%dT%H:%M:%SZ', max(read_at_ns) / 1000000000, 'unixepoch')"
            " from acct_file",
        ),
        "rows": {table: _value(connection, f"select count(*) from {table}") for table in _COUNTED},
        "rolled_up_hours": _value(connection, "select count(*) from rollup_hour where ready = 1"),
        "bytes": pages * page_bytes,
        "free_bytes": free * page_bytes,
    }


def _value(connection: sqlite3.Connection, query: str) -> Any:  # noqa: ANN401
    return connection.execute(query).fetchone()[0]


class Described(NamedTuple):
    """A table or view, or a column of one."""

    name: str
    kind: str
    """table or view; of a column its unit."""
    meaning: str | None


def listed(connection: sqlite3.Connection) -> list[Described]:
    """Every view and table, views first."""
    rows = connection.execute(
        "select name, type, sql from sqlite_master where type in ('view', 'table')"
        " and name <> 'alembic_version' order by type desc, name"
    )
    return [Described(name, kind, _grain(sql)) for name, kind, sql in rows]


def _grain(sql: str) -> str | None:
    """The first sentence of the comment at the beginning of a view."""
    comment = re.match(r"create view \w+ as\s+((?:--[^\n]*\n)+)", sql, flags=re.IGNORECASE)
    if comment is None:
        return None
    text = " ".join(line.removeprefix("--").strip() for line in comment[1].splitlines())
    return re.split(r"(?<=[.:])\s", text.removeprefix("Grain: "))[0].rstrip(".:")


def columns(connection: sqlite3.Connection, name: str) -> list[Described]:
    """The columns of a table or view, with their units and meanings, where these are known. Raises
    UsageError if there is no such table.
    """
    if name not in {each.name for each in listed(connection)}:
        raise UsageError(f"no table or view {printable(name)}; see them with: elsa db schema")
    known = {
        key: (unit, meaning)
        for key, unit, meaning in connection.execute("select name, unit, meaning from column_doc")
    }
    names = [row[1] for row in connection.execute(f'pragma table_xinfo("{name}")')]
    return [Described(key, *known.get(key, ("", None))) for key in names]
