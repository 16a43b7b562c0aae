"""Writes what living processes used in each interval, and what they have used so far: the sums of
the intervals, kept in the same transaction. Merges old intervals into those of an hour.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from elsa.measures import COUNTERS, IN_INTERVALS
from elsa.state.codes import EDGE, OF_ALL
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import Reading, Used
from elsa.store.database import transaction

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
    insert into usage_so_far (edge_ns, until_ns, {", ".join(_ROW)})
    values (0, ?, {", ".join("?" * len(_ROW))})
    on conflict (process_id, edge_ns) do update set
        until_ns = max(until_ns, excluded.until_ns),
        gid = coalesce(excluded.gid, gid),
        forked_only = coalesce(excluded.forked_only, forked_only),
        rss_kib = coalesce(max(rss_kib, excluded.rss_kib), rss_kib, excluded.rss_kib),
        {
    ", ".join(
        f"{name} = coalesce({name} + excluded.{name}, {name}, excluded.{name})" for name in _SUMS
    )
}"""
_COPY_AT_EDGE = f"""
    insert or replace into usage_so_far (edge_ns, until_ns, {", ".join(_ROW)})
    select ?, until_ns, {", ".join(_ROW[:4])},
        {", ".join(f"iif(? is null, null, {name})" for name in _SUMS)}
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
        if reading.of_all == EDGE:
            connection.executemany(_ADD, [(reading.until_ns, *row) for row in reading.rows])
            connection.executemany(
                _COPY_AT_EDGE, [(reading.until_ns, *row[4:], row[0]) for row in reading.rows]
            )
        elif rows:
            connection.executemany(_ADD, [(reading.until_ns, *row) for row in rows])


def restore(connection: sqlite3.Connection, lives: Iterable[Incarnation]) -> None:
    """Give living processes what their intervals add up to."""
    by_id = {life.id: life for life in lives}
    for process_id, until_ns, *sums in connection.execute(
        f"""select process_id, until_ns, gid, {", ".join(f"coalesce({name}, 0)" for name in _SUMS)}
            from usage_so_far
            where edge_ns = 0 and process_id in (select id from process where elapsed_ns is null)"""
    ):
        life = by_id.get(process_id)
        if life is not None:
            gid, user_us, system_us, *counters = sums
            life.used = Used(user_us, system_us, tuple(counters), until_ns, gid, life.uid)


# --- thinning

# The readings of all processes that are left of an hour and boot: the last, into which the others
# are merged. What was used before jobd first ran in a boot stays apart, as it is of a longer time.
_OF_HOUR = f"""from usage_reading as r
    join clock as c on c.id = r.clock_id
    where r.of_all = {OF_ALL}"""
_HOURS = f"""select r.hour, c.boot_id, max(r.id), min(r.since_ns), max(r.until_ns)
    {_OF_HOUR} and r.hour < ?
    group by r.hour, c.boot_id having count(*) > 1 order by 1, 2"""
# A process that entered or left a job in the hour keeps all its intervals, since a job has only
# some of them.
_WITHOUT_EDGE = """not exists (
        select 1 from usage_so_far as f
        where f.process_id = i.process_id and f.edge_ns > :since and f.edge_ns <= :until
    )"""
_READINGS = f"select r.id {_OF_HOUR} and r.hour = :hour and c.boot_id = :boot"
_MERGED = f"""from usage_interval as i
    where i.reading_id in ({_READINGS}) and {_WITHOUT_EDGE}"""
_SUMMED = ", ".join(f"sum(i.{name})" for name in _STORED[1:-1])


def count_old(connection: sqlite3.Connection, before_hour: int) -> int:
    """How many rows of intervals `merge_hours` would delete at most."""
    (rows,) = connection.execute(
        f"""select count(*) from usage_interval where reading_id in (
                select r.id {_OF_HOUR} and r.hour < ?
                    and r.id not in (select max(r.id) {_OF_HOUR} group by r.hour, c.boot_id))""",
        (before_hour,),
    ).fetchone()
    return int(rows)


def merge_hours(
    connection: sqlite3.Connection, before_hour: int, step: Callable[[int], None]
) -> int:
    """Keep one interval of each process and hour before an hour: their sum. Returns how many rows
    were deleted.
    """
    merged = 0
    for hour, boot_id, last, since_ns, until_ns in connection.execute(
        _HOURS, (before_hour,)
    ).fetchall():
        chosen = {"hour": hour, "boot": boot_id, "last": last, "since": since_ns, "until": until_ns}
        with transaction(connection):
            rows = _merge_hour(connection, chosen)
        merged += rows
        step(rows)
    return merged


def _merge_hour(connection: sqlite3.Connection, chosen: dict[str, int]) -> int:
    connection.execute(
        f"""insert or replace into usage_interval (reading_id, {", ".join(_STORED)})
            select :last, i.process_id, {_SUMMED}, max(i.rss_kib) {_MERGED}
            group by i.process_id""",
        chosen,
    )
    rows = connection.execute(
        f"""delete from usage_interval where reading_id <> :last and (reading_id, process_id) in (
                select i.reading_id, i.process_id {_MERGED})""",
        chosen,
    ).rowcount
    connection.execute(
        f"""delete from usage_reading where id <> :last and id in ({_READINGS}) and not exists (
                select 1 from usage_interval as i where i.reading_id = usage_reading.id)""",
        chosen,
    )
    connection.execute("update usage_reading set since_ns = :since where id = :last", chosen)
    return rows
