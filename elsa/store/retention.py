"""Pruning: what is old goes, each kind at its own age; of processes the hourly sums stay, by
command, user and job.

One short transaction after the other, each of which leaves the warehouse whole and every sum as it
was, so that it may be stopped at any instant, and jobd, the ingester and readers go on beside it.
What an open job needs stays, and so does what another may still write about: records that wait for
their process, and the newest rows, whose ids would else be given out again. Names (comm, text)
stay, since jobd remembers their ids, and so do the resume points of accounting files.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from elsa.errors import ConfigError
from elsa.state.clock import HOUR_NS
from elsa.store import locks, process_lookup
from elsa.store.aggregates import columns, of_parts
from elsa.store.database import insert_rows, transaction
from elsa.store.rollups import ROLLUPS, into
from elsa.store.sums import summed

# So many at once: about a tenth of a second in which others cannot write.
PROCESSES = 1000
EVENTS = 20_000
PAGES = 2000

# What has just ended may still be told of.
LEAST_NS = 24 * HOUR_NS
_AGE = re.compile(r"(\d{1,6})\s*(h|d|w|y|(?:hour|day|week|year)s?)")
_UNITS = {"h": HOUR_NS, "d": 24 * HOUR_NS, "w": 7 * 24 * HOUR_NS, "y": 365 * 24 * HOUR_NS}

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to do."""

OF_PROCESS = ("membership", "counter_snapshot", "usage", "program", "acct")
"""The tables whose rows go with their process; its events are as old as it is and have gone before.
"""

_OPEN = (
    "exists (select 1 from membership as m join job as j on j.id = m.job_id where m.process_id = {}"
    " and j.closed_at_ns is null)"
)
_PENDING = (
    "exists (select 1 from acct as a where a.process_id = p.id and (a.join_outcome = 0 or a.id ="
    " (select max(id) from acct)))"
)
_RECORDED = "exists (select 1 from acct as a where a.process_id = p.id)"
_OLD_PROCESS = f"""from process as p
    where p.ended_hour = ? and p.id < (select max(id) from process) and not {_OPEN.format("p.id")} and not {_PENDING}"""
_OLD_RECORD = """from acct as a
    where a.process_id is null and a.join_outcome = 5 and a.ended_hour = ?
        and a.id < (select max(id) from acct)"""
# An event's real time, by that clock of its boot which makes it youngest.
_OLD_EVENT = f"""from event as e
    where e.id > ? and e.id <= ? and e.time_ns + (select max(c.offset_ns) from clock as c where c.boot_id = e.boot_id) < ?
        and not {_OPEN.format("e.process_id")}"""


class Cutoffs(NamedTuple):
    """Before which real time (ns) each kind goes; None keeps all of it. With processes their events
    go too.
    """

    events_ns: int | None
    processes_ns: int | None
    rollups_ns: int | None


class Pruned(NamedTuple):
    """How many rows of each kind went, or would go."""

    events: int
    processes: int
    rollups: int


def cutoff(age: str, now_ns: int, name: str) -> int | None:
    """Before when a kind goes, by how long it is kept; None if forever. Raises ConfigError."""
    text = age.strip().lower()
    if text == "forever":
        return None
    found = _AGE.fullmatch(text)
    length_ns = int(found[1]) * _UNITS[found[2][0]] if found else 0
    if length_ns < LEAST_NS:
        raise ConfigError(
            f"{name}: cannot keep for {age!r}; write for example 36 hours, 30 days, 8 weeks, 2"
            " years (a day at least) or forever"
        )
    return max(now_ns - length_ns, -(2**63))  # no column goes further back


def prune(
    connection: sqlite3.Connection,
    db: Path,
    cutoffs: Cutoffs,
    progress: Progress,
    *,
    dry_run: bool = False,
) -> Pruned:
    """Let go of what is old. Raises RetryError while another one does it."""
    if cutoffs.processes_ns is not None:
        cutoffs = cutoffs._replace(events_ns=max(cutoffs.events_ns or 0, cutoffs.processes_ns))
    with locks.only(locks.PRUNE, db):
        connection.execute("create temp table if not exists doomed (id integer primary key)")
        found = Pruned(
            _count_events(connection, cutoffs),
            _count_processes(connection, cutoffs),
            _count_rollups(connection, cutoffs),
        )
        if dry_run:
            return found
        total, done = sum(found), 0

        def step(rows: int) -> None:
            nonlocal done
            done += rows
            progress(min(done, total), total)

        gone = Pruned(
            _events(connection, cutoffs, step),
            _processes(connection, db, cutoffs, step),
            _rollups(connection, cutoffs, step),
        )
        _give_back(connection)
        return gone


# --- events
# -----------------------------------------------------------------------------------------------------------------------


def _count_events(connection: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    if cutoffs.events_ns is None:
        return 0
    return int(
        connection.execute(
            f"select count(*) {_OLD_EVENT}", (-1, 2**62, cutoffs.events_ns)
        ).fetchone()[0]
    )


def _events(connection: sqlite3.Connection, cutoffs: Cutoffs, step: Callable[[int], None]) -> int:
    """Stretch by stretch of ids, which are in the order of time but for what lived long."""
    if cutoffs.events_ns is None:
        return 0
    gone, first = 0, -1
    while True:
        stretch = "select max(id) from (select id from event where id > ? order by id limit ?)"
        last = connection.execute(stretch, (first, EVENTS)).fetchone()[0]
        if last is None:
            return gone
        with transaction(connection):
            rows = connection.execute(
                f"delete from event where id in (select e.id {_OLD_EVENT})",
                (first, last, cutoffs.events_ns),
            ).rowcount
        gone, first = gone + rows, last
        step(rows)


# --- processes
# --------------------------------------------------------------------------------------------------------------------


def _old_hours(connection: sqlite3.Connection, cutoffs: Cutoffs) -> list[int]:
    if cutoffs.processes_ns is None:
        return []
    found = connection.execute(
        """with recursive ended (hour) as (
               select min(ended_hour) from process
               union all select (select min(ended_hour) from process where ended_hour > hour) from ended where hour is not null
           ), recorded (hour) as (
               select ended_hour from acct where process_id is null and join_outcome <> 3
           )
           select hour from ended where hour < :hour union select hour from recorded where hour < :hour order by 1""",
        {"hour": cutoffs.processes_ns // HOUR_NS},
    )
    return [hour for (hour,) in found]


def _count_processes(connection: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    hours = _old_hours(connection, cutoffs)
    return sum(
        connection.execute(f"select count(*) {_OLD_PROCESS}", (hour,)).fetchone()[0]
        for hour in hours
    )


def _processes(
    connection: sqlite3.Connection, db: Path, cutoffs: Cutoffs, step: Callable[[int], None]
) -> int:
    gone = 0
    for hour in _old_hours(connection, cutoffs):
        while rows := _some(connection, db, hour):
            gone += rows
            step(rows)
        with transaction(connection):
            _forget_records(connection, hour)
            _merge(connection, hour)
    with transaction(connection):
        process_lookup.forget_emptied(connection)
    return gone


def _some(connection: sqlite3.Connection, db: Path, hour: int) -> int:
    """Some processes of an hour, with all that is known of them alone: their sums are kept in the
    same transaction.
    """
    with transaction(connection):
        # To a process that has no record yet, an ingester may be joining one just now.
        safe = f" and {_RECORDED}" if locks.held(locks.INGESTER, db) else ""
        connection.execute("delete from doomed")
        connection.execute(
            f"insert into doomed select p.id {_OLD_PROCESS}{safe} limit ?", (hour, PROCESSES)
        )
        if not connection.execute("select 1 from doomed").fetchone():
            return 0
        for table in ROLLUPS:
            _keep_sums(
                connection, table, "incarnation_usage", "u.process_id in (select id from doomed)"
            )
        for table in OF_PROCESS:
            connection.execute(f"delete from {table} where process_id in (select id from doomed)")
        return connection.execute(
            "delete from process where id in (select id from doomed)"
        ).rowcount


def _keep_sums(connection: sqlite3.Connection, table: str, part: str, where: str) -> None:
    """Add the sums over rows of a rollup's view, or of one part of process_usage, to what is kept
    of pruned ones.
    """
    rollup = ROLLUPS[table]
    view = part if rollup.view == "process_usage" else rollup.view
    keys = [f"u.{key}" for key in rollup.keys]
    if rollup.stored[0] == "comm_id":
        keys[0] = f"(select id from comm where name = {keys[0]})"
    grouped = ", ".join(f"u.{key}" for key in (rollup.hour, *rollup.keys))
    source = f"from {view} as u where {where} group by {grouped}"
    kept = summed(connection, [f"u.{rollup.hour}", "1", *keys], columns(rollup.measures), source)
    insert_rows(connection, into(table), kept)


def _forget_records(connection: sqlite3.Connection, hour: int) -> None:
    """Records that fit several processes and will never be joined to one."""
    if not connection.execute(f"select 1 {_OLD_RECORD}", (hour,)).fetchone():
        return
    of_hour = (
        f"u.ended_hour = {hour} and u.acct_id in (select a.id"
        f" {_OLD_RECORD.replace('?', str(hour))})"
    )
    for table in ("rollup_command", "rollup_user"):
        _keep_sums(connection, table, "unjoined_record_usage", of_hour)
    connection.execute(f"delete from acct where id in (select a.id {_OLD_RECORD})", (hour,))


def _merge(connection: sqlite3.Connection, hour: int) -> None:
    """One row for each key of what was pruned in some steps, and none of an hour of which nothing
    else is left.
    """
    for table, rollup in ROLLUPS.items():
        source = f"from {table} where hour = ? and pruned = 1 group by {', '.join(rollup.stored)}"
        merged = summed(
            connection,
            ["hour", "pruned", *rollup.stored],
            of_parts(rollup.measures),
            source,
            (hour,),
        )
        connection.execute(
            f"delete from {table} where hour = ? and (pruned = 1 or hour not in (select hour from"
            " rollup_hour))",
            (hour,),
        )
        insert_rows(connection, into(table), merged)


# --- rollups
# ----------------------------------------------------------------------------------------------------------------------


def _count_rollups(connection: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    if cutoffs.rollups_ns is None:
        return 0
    old = (cutoffs.rollups_ns // HOUR_NS,)
    return sum(
        connection.execute(
            f"select count(*) from {table} where pruned = 1 and hour < ?", old
        ).fetchone()[0]
        for table in ROLLUPS
    )


def _rollups(connection: sqlite3.Connection, cutoffs: Cutoffs, step: Callable[[int], None]) -> int:
    """The sums of what was pruned: after that nothing is left of it. Sums of what is there go with
    it.
    """
    if cutoffs.rollups_ns is None:
        return 0
    gone = 0
    for table in ROLLUPS:
        for (hour,) in connection.execute(
            f"select distinct hour from {table} where pruned = 1 and hour < ? order by hour",
            (cutoffs.rollups_ns // HOUR_NS,),
        ).fetchall():
            with transaction(connection):
                connection.execute("delete from rollup_day where day = ? / 24", (hour,))
                rows = connection.execute(
                    f"delete from {table} where hour = ? and pruned = 1", (hour,)
                ).rowcount
            gone += rows
            step(rows)
    return gone


# --- space
# ------------------------------------------------------------------------------------------------------------------------


def _give_back(connection: sqlite3.Connection) -> None:
    """Free pages to the file system, some at a time; an older warehouse keeps them for new rows
    until it is vacuumed.
    """
    if connection.execute("pragma auto_vacuum").fetchone()[0] == 2:
        while connection.execute("pragma freelist_count").fetchone()[0]:
            connection.execute(f"pragma incremental_vacuum({PAGES})").fetchall()
    connection.execute("pragma wal_checkpoint(passive)")
