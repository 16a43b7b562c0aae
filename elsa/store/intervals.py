"""Writes what living processes used in each interval, and what they have used so far: the sums of
the intervals, kept in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from elsa.measures import COUNTERS, IN_INTERVALS
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import Reading, Used

_COUNTERS = tuple(measure.column for measure in COUNTERS)
_SUMS = ("user_us", "system_us", *_COUNTERS)
_ROW = ("process_id", "gid", "forked_only", "rss_kib", *_SUMS)
_STORED = ("process_id", "user_us", "system_us", *(m.column for m in IN_INTERVALS), "rss_kib")
_PLACES = tuple(_ROW.index(name) for name in _STORED)
_INSERT_READING = (
    "insert into usage_reading (clock_id, since_ns, until_ns, hour, of_all) values (?, ?, ?, ?, ?)"
)
_INSERT_INTERVAL = (
    f"insert into usage_interval (reading_id, {', '.join(_STORED)})"
    f" values ({', '.join('?' * (1 + len(_STORED)))})"
)
_ADD = f"""
    insert into usage_so_far (edge_ns, {", ".join(_ROW)})
    values (0, {", ".join("?" * len(_ROW))})
    on conflict (process_id, edge_ns) do update set
        gid = coalesce(excluded.gid, gid),
        forked_only = coalesce(excluded.forked_only, forked_only),
        rss_kib = coalesce(max(rss_kib, excluded.rss_kib), rss_kib, excluded.rss_kib),
        {
    ", ".join(
        f"{name} = coalesce({name} + excluded.{name}, {name}, excluded.{name})" for name in _SUMS
    )
}"""
_COPY_AT_EDGE = f"""
    insert or replace into usage_so_far (edge_ns, {", ".join(_ROW)})
    select ?, {", ".join(_ROW[:4])}, {", ".join(f"iif(? is null, null, {name})" for name in _SUMS)}
    from usage_so_far where edge_ns = 0 and process_id = ?"""


def write(connection: sqlite3.Connection, readings: Iterable[Reading]) -> None:
    """Write readings with their rows. Callers hold a transaction.

    A process that used nothing in the interval has no row for it. At the edge of a membership also
    what had been used by then is stored, of counters that could be read.
    """
    for reading in readings:
        rows = [row for row in reading.rows if any(row[4:])]
        if rows:
            reading_id = connection.execute(_INSERT_READING, reading[:5]).lastrowid
            connection.executemany(
                _INSERT_INTERVAL, [(reading_id, *[row[place] for place in _PLACES]) for row in rows]
            )
        if not reading.of_all:
            connection.executemany(_ADD, reading.rows)
            connection.executemany(
                _COPY_AT_EDGE, [(reading.until_ns, *row[4:], row[0]) for row in reading.rows]
            )
        elif rows:
            connection.executemany(_ADD, rows)


def restore(connection: sqlite3.Connection, lives: Iterable[Incarnation]) -> None:
    """Give living processes what their intervals add up to."""
    by_id = {life.id: life for life in lives}
    for process_id, until_ns, *sums in connection.execute(
        f"""select process_id, 0, gid, {", ".join(f"coalesce({name}, 0)" for name in _SUMS)}
            from usage_so_far
            where edge_ns = 0 and process_id in (select id from process where elapsed_ns is null)"""
    ):
        life = by_id.get(process_id)
        if life is not None:
            gid, user_us, system_us, *counters = sums
            life.used = Used(user_us, system_us, tuple(counters), until_ns, gid, life.uid)
