"""Pruning: delete old rows, each kind at its own age. Of pruned processes the hourly sums by
command, user and job are kept.

Pruning runs in short transactions, each of which leaves the warehouse consistent and every sum as
it was. So it may be stopped at any instant, and jobd, the ingester and readers run beside it. It
keeps what an open job needs and what other programs may still write about: records that wait for
their process, and the newest rows, whose ids would otherwise be given out again. It also keeps
names (comm, long_text), since jobd caches their ids, and the resume points of accounting files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from elsa.config import kept_ns
from elsa.progress import Progress
from elsa.store import intervals, job_members, job_memory, locks, process_lookup
from elsa.store.aggregates import columns, of_parts
from elsa.store.database import insert_rows, transaction
from elsa.store.rollups import PARTS, ROLLUPS, insert_into
from elsa.store.sums import summed
from elsa.units import HOUR_NS

# Rows and pages per transaction: others cannot write for about a tenth of a second.
PROCESSES_AT_ONCE = 1000
EVENTS = 20_000
PAGES = 2000

OF_PROCESS = ("membership", "usage_so_far", "usage", "program", "acct")
"""Tables whose rows are deleted with their process. Its events are as old and were pruned before.
"""

_IN_OPEN_JOB = """exists (
        select 1 from (
            select m.job_id from membership as m where m.process_id = {0}
            union all
            select i.inherited_job_id from process as i where i.id = {0}
        ) as s join job as j on j.id = s.job_id
        where j.closed_at_ns is null and j.kind = 'manual'
    )"""
_PENDING = """exists (
        select 1 from acct as a
        where a.process_id = p.id
            and (a.join_outcome = 0 or a.id = (select max(id) from acct))
    )"""
_RECORDED = "exists (select 1 from acct as a where a.process_id = p.id)"
_OLD_PROCESS = f"""from process as p
    where p.ended_hour = ? and p.id < (select max(id) from process)
        and not {_IN_OPEN_JOB.format("p.id")} and not {_PENDING}"""
_OLD_RECORD = """from acct as a
    where a.process_id is null and a.join_outcome = 5 and a.ended_hour = ?
        and a.id < (select max(id) from acct)"""
# The latest real time that an event may have by any clock of its boot.
_OLD_EVENT = f"""from event as e
    where e.id > ? and e.id <= ?
        and e.time_ns
            + (select max(c.offset_ns) from clock as c where c.boot_id = e.boot_id) < ?
        and not {_IN_OPEN_JOB.format("e.process_id")}"""

# Through the readings of the lifetime; what was used before jobd first ran counts where the process
# started.
_DOOMED_INTERVALS = f"""insert into doomed_interval
    select r.id, p.id
    from doomed as d
    join usage_so_far as f on f.process_id = d.id and f.edge_ns = 0
    join process as p on p.id = d.id
    join clock as c on c.id = p.clock_id
    join usage_reading as r on r.hour
        between (p.start_ns + c.offset_ns) / {HOUR_NS} and p.ended_hour"""
_OF_DOOMED_INTERVALS = """u.reading_id in (select reading_id from doomed_interval)
    and (u.reading_id, u.used_by) in (select reading_id, process_id from doomed_interval)"""


class Cutoffs(NamedTuple):
    """The real time (ns) before which each kind is deleted; None keeps all of it. Events of pruned
    processes are deleted too.
    """

    events_ns: int | None
    processes_ns: int | None
    rollups_ns: int | None
    intervals_ns: int | None = None
    """Intervals before are not deleted but merged into hours; of the memory of a job the greatest
    and the last reading of each hour are kept.
    """


class Pruned(NamedTuple):
    """How many rows of each kind were deleted, or would be."""

    events: int
    processes: int
    rollups: int
    intervals: int = 0


def cutoff(age: str, now_ns: int, name: str, *, may_be_0: bool = False) -> int | None:
    """The time before which a kind is deleted, by how long it is kept; None if it is kept forever.
    Raises ConfigError.
    """
    # An option may say older than -30d, as --since does; a setting that keeps for -30d is refused.
    length_ns = kept_ns(age.strip().removeprefix("-"), name, may_be_0=may_be_0)
    if length_ns is None:
        return None
    return max(now_ns - length_ns, -(2**63))  # the earliest time that a column can hold


def prune(
    connection: sqlite3.Connection,
    db: Path,
    cutoffs: Cutoffs,
    progress: Progress,
    *,
    dry_run: bool = False,
) -> Pruned:
    """Delete what is older than the cutoffs. Raises RetryError while another process prunes."""
    if cutoffs.processes_ns is not None:
        cutoffs = cutoffs._replace(events_ns=max(cutoffs.events_ns or 0, cutoffs.processes_ns))
    with locks.only(locks.PRUNE, db):
        connection.execute("create temp table if not exists doomed (id integer primary key)")
        connection.execute(
            "create temp table if not exists doomed_interval (reading_id, process_id)"
        )
        old = Pruned(
            _count_events(connection, cutoffs),
            _count_processes(connection, cutoffs),
            _count_rollups(connection, cutoffs),
            _count_intervals(connection, cutoffs),
        )
        if dry_run:
            return old
        total, done = sum(old), 0

        def step(rows: int) -> None:
            nonlocal done
            done += rows
            progress(min(done, total), total)

        pruned = Pruned(
            _prune_events(connection, cutoffs, step),
            _prune_processes(connection, db, cutoffs, step),
            _prune_rollups(connection, cutoffs, step),
            _prune_intervals(connection, cutoffs, step),
        )
        _free_space(connection)
        return pruned


# --- events


def _count_events(connection: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    if cutoffs.events_ns is None:
        return 0
    return int(
        connection.execute(
            f"select count(*) {_OLD_EVENT}", (-1, 2**62, cutoffs.events_ns)
        ).fetchone()[0]
    )


def _prune_events(
    connection: sqlite3.Connection, cutoffs: Cutoffs, step: Callable[[int], None]
) -> int:
    """Delete old events, one range of ids after the other."""
    if cutoffs.events_ns is None:
        return 0
    pruned, first = 0, -1
    while True:
        last_of_range = (
            "select max(id) from (select id from event where id > ? order by id limit ?)"
        )
        (last,) = connection.execute(last_of_range, (first, EVENTS)).fetchone()
        if last is None:
            return pruned
        with transaction(connection):
            rows = connection.execute(
                f"delete from event where id in (select e.id {_OLD_EVENT})",
                (first, last, cutoffs.events_ns),
            ).rowcount
        pruned, first = pruned + rows, last
        step(rows)


# --- processes


def _old_hours(connection: sqlite3.Connection, cutoffs: Cutoffs) -> list[int]:
    if cutoffs.processes_ns is None:
        return []
    rows = connection.execute(
        """with recursive ended (hour) as (
               select min(ended_hour) from process
               union all
               select (select min(ended_hour) from process where ended_hour > hour)
               from ended where hour is not null
           ), recorded (hour) as (
               select ended_hour from acct where process_id is null and join_outcome <> 3
           )
           select hour from ended where hour < :hour
           union
           select hour from recorded where hour < :hour
           order by 1""",
        {"hour": cutoffs.processes_ns // HOUR_NS},
    )
    return [hour for (hour,) in rows]


def _count_processes(connection: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    hours = _old_hours(connection, cutoffs)
    return sum(
        connection.execute(f"select count(*) {_OLD_PROCESS}", (hour,)).fetchone()[0]
        for hour in hours
    )


def _prune_processes(
    connection: sqlite3.Connection, db: Path, cutoffs: Cutoffs, step: Callable[[int], None]
) -> int:
    pruned = 0
    for hour in _old_hours(connection, cutoffs):
        while rows := _prune_chunk(connection, db, hour):
            pruned += rows
            step(rows)
        with transaction(connection):
            _prune_ambiguous_records(connection, hour)
            _merge_pruned_sums(connection, hour)
    with transaction(connection):
        process_lookup.delete_empty_blocks(connection)
        job_members.delete_empty_blocks(connection)
    return pruned


def _prune_chunk(connection: sqlite3.Connection, db: Path, hour: int) -> int:
    """Delete some processes of an hour with their rows in other tables, and keep their sums, in one
    transaction. Returns the number of processes.
    """
    with transaction(connection):
        # A running ingester may be joining a record to a process that has none yet.
        safe = f" and {_RECORDED}" if locks.held(locks.INGESTER, db) else ""
        connection.execute("delete from doomed")
        connection.execute(
            f"insert into doomed select p.id {_OLD_PROCESS}{safe} limit ?",
            (hour, PROCESSES_AT_ONCE),
        )
        if not connection.execute("select 1 from doomed").fetchone():
            return 0
        connection.execute("delete from doomed_interval")
        connection.execute(_DOOMED_INTERVALS)
        for table, rollup in ROLLUPS.items():
            ended, *_, in_intervals = PARTS[rollup.source]
            _keep_sums(connection, table, ended, "u.process_id in (select id from doomed)")
            _keep_sums(connection, table, in_intervals, _OF_DOOMED_INTERVALS)
        connection.execute(
            "delete from usage_interval where (reading_id, process_id) in"
            " (select reading_id, process_id from doomed_interval)"
        )
        for table in OF_PROCESS:
            connection.execute(f"delete from {table} where process_id in (select id from doomed)")
        return connection.execute(
            "delete from process where id in (select id from doomed)"
        ).rowcount


def _keep_sums(
    connection: sqlite3.Connection,
    table: str,
    view: str,
    where: str,
    values: tuple[int, ...] = (),
) -> None:
    """Store the sums over rows of one of a rollup's views as sums of pruned rows."""
    rollup = ROLLUPS[table]
    keys = [f"u.{key}" for key in rollup.keys]
    if rollup.stored[0] == "comm_id":
        keys[0] = f"(select id from comm where name = {keys[0]})"
    grouped = ", ".join(f"u.{key}" for key in (rollup.hour, *rollup.keys))
    source = f"from {view} as u where {where} group by {grouped}"
    stored = [f"u.{rollup.hour}", "1", *keys]
    sums = columns(rollup.measures)
    kept = summed(connection, stored, sums, source, values)
    insert_rows(connection, insert_into(table, sums), kept)


def _prune_ambiguous_records(connection: sqlite3.Connection, hour: int) -> None:
    """Delete records of an hour that fit several processes and will never be joined."""
    if not connection.execute(f"select 1 {_OLD_RECORD}", (hour,)).fetchone():
        return
    of_hour = f"u.ended_hour = ? and u.acct_id in (select a.id {_OLD_RECORD})"
    for table in ("rollup_command", "rollup_user"):
        _keep_sums(connection, table, "unjoined_record_usage", of_hour, (hour, hour))
    connection.execute(f"delete from acct where id in (select a.id {_OLD_RECORD})", (hour,))


def _merge_pruned_sums(connection: sqlite3.Connection, hour: int) -> None:
    """Merge the sums of the chunks that were pruned of an hour into one row for each key. Delete
    the sums of processes that exist if the hour is not rolled up: they are stale.
    """
    for table, rollup in ROLLUPS.items():
        source = f"from {table} where hour = ? and pruned = 1 group by {', '.join(rollup.stored)}"
        sums = of_parts(rollup.measures)
        merged = summed(connection, ["hour", "pruned", *rollup.stored], sums, source, (hour,))
        connection.execute(
            f"delete from {table} where hour = ? and (pruned = 1 or hour not in (select hour from"
            " rollup_hour))",
            (hour,),
        )
        insert_rows(connection, insert_into(table, sums), merged)


# --- rollups


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


def _prune_rollups(
    connection: sqlite3.Connection, cutoffs: Cutoffs, step: Callable[[int], None]
) -> int:
    """Delete old sums of pruned processes: the last that was kept of them."""
    if cutoffs.rollups_ns is None:
        return 0
    pruned = 0
    for table in ROLLUPS:
        for (hour,) in connection.execute(
            f"select distinct hour from {table} where pruned = 1 and hour < ? order by hour",
            (cutoffs.rollups_ns // HOUR_NS,),
        ).fetchall():
            with transaction(connection):
                connection.execute("delete from rollup_day where day = ? / 24", (hour,))
                connection.execute("insert or ignore into rollup_pruned values (?)", (hour,))
                rows = connection.execute(
                    f"delete from {table} where hour = ? and pruned = 1", (hour,)
                ).rowcount
            pruned += rows
            step(rows)
    return pruned


# --- intervals


def _count_intervals(connection: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    if cutoffs.intervals_ns is None:
        return 0
    before_hour = cutoffs.intervals_ns // HOUR_NS
    return intervals.count_old(connection, before_hour) + job_memory.count_old(
        connection, before_hour
    )


def _prune_intervals(
    connection: sqlite3.Connection, cutoffs: Cutoffs, step: Callable[[int], None]
) -> int:
    if cutoffs.intervals_ns is None:
        return 0
    before_hour = cutoffs.intervals_ns // HOUR_NS
    thinned = job_memory.thin_hours(connection, before_hour, step)
    return thinned + intervals.merge_hours(connection, before_hour, step)


# --- space


def _free_space(connection: sqlite3.Connection) -> None:
    """Return free pages to the file system, some at a time. A warehouse without incremental vacuum
    keeps them for new rows.
    """
    if connection.execute("pragma auto_vacuum").fetchone()[0] == 2:
        while connection.execute("pragma freelist_count").fetchone()[0]:
            connection.execute(f"pragma incremental_vacuum({PAGES})").fetchall()
    connection.execute("pragma wal_checkpoint(passive)")
