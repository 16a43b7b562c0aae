"""Hourly rollups: sums over what ended or was used in an hour, by command, user, job and class,
made from the views.

The sums of an hour are valid as long as its row in rollup_hour exists. Triggers
(rollup_triggers.py) delete the row when anything changes in the hour. The sums are computed outside
a transaction, so that no writer waits: the row is inserted first with ready = 0. If it is gone
afterwards, something changed meanwhile, and the hour is rolled up again later.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from elsa.errors import RetryError
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB, Measure
from elsa.progress import Progress, no_progress
from elsa.state.codes import How
from elsa.store import daily_rollups, database, job_members, locks
from elsa.store.aggregates import Aggregate, columns, of_parts, parts, reported
from elsa.store.database import transaction
from elsa.store.sums import summed
from elsa.units import HOUR_NS

# An hour that has just passed still changes: records are joined, taskstats messages arrive.
SETTLE_NS = 15 * 60 * 10**9
# RollupScheduler: how often it rolls up, and how many hours at once.
EVERY_S = 60.0
MOST_AT_A_TIME = 24


class Rollup(NamedTuple):
    """What a table of sums holds: sums over views, grouped by hour and keys."""

    source: str
    """A key of PARTS."""
    hour: str
    """The view's column of the hour."""
    keys: tuple[str, ...]
    """The view's columns of the keys."""
    stored: tuple[str, ...]
    """The table's columns of the keys."""
    measures: dict[str, Measure]


class Sums(NamedTuple):
    """Sums of an hour for a table."""

    names: tuple[str, ...]
    """The columns of the sums; all others are NULL."""
    rows: Sequence[tuple[object, ...]]
    """Stored keys and sums. A key may have several rows, which add up."""


PROCESSES, USED, USED_IN_JOBS = "processes", "used", "used in jobs"
END_IN_JOBS, IN_INTERVALS_OF_JOBS = "job_end_usage", "job_interval_usage"
PARTS = {
    PROCESSES: ("incarnation_usage", "unjoined_record_usage"),
    USED: ("end_usage", "unjoined_record_usage", "interval_usage"),
    USED_IN_JOBS: (END_IN_JOBS, IN_INTERVALS_OF_JOBS),
}
"""The views whose union are all processes and records, each whole; or what they used, each part of
it when it was used; or the same in jobs. They are queried one by one: in a union SQLite computes
every column, and does not push down conditions with a subquery.
"""
# in_job: 1 for processes that were ever in a job, 0 for others; so these sums also give what is in
# no job.
_OF_COMMAND = ("forked_only", "host_id")
_OF_USER = ("uid", "gid", "in_job", "host_id")
ROLLUPS = {
    "rollup_command": Rollup(
        USED, "ended_hour", ("command", *_OF_COMMAND), ("comm_id", *_OF_COMMAND), ROLLED
    ),
    "rollup_user": Rollup(USED, "ended_hour", _OF_USER, _OF_USER, ROLLED),
    "rollup_job": Rollup(USED_IN_JOBS, "out_hour", ("job_id",), ("job_id",), ROLLED_OF_JOB),
}

CLASS = "rollup_audit"
CLASSES = Rollup(
    PROCESSES,
    "ended_hour",
    ("boot_id", "class", "before_first_start"),
    ("boot_id", "class", "before_first_start"),
    OF_AUDIT,
)
"""What the audit counts. It covers only processes that exist, so pruning keeps nothing of it."""
# Processes that only one source reports, or whose join is uncertain. Only a record is normal for a
# process that ended before jobd first ran.
UNCONFIRMED = (
    "(class in ('uncertain', 'only_connector') or class = 'only_acct' and before_first_start = 0)"
)

# The tables that are summed from temp.gathered, which holds the processes of an hour.
_GATHERING = {table: rollup for table, rollup in ROLLUPS.items() if rollup.source == USED} | {
    CLASS: CLASSES
}
_OF_JOB = {key: measure for key, measure in ROLLED_OF_JOB.items() if key not in ROLLED}
_FACTS = ("process_id", "state", "start_ns", "end_ns", "started_ns", "ended_ns", "exit_status")
_KEYS = (*dict.fromkeys(key for rollup in _GATHERING.values() for key in rollup.keys), *_FACTS)
_ADDED = parts(ROLLED | OF_AUDIT)
_GATHERED = f"create temp table if not exists gathered ({', '.join((*_KEYS, *_ADDED))})"

# Whether taskstats reported a process that ended in an hour, or its counters or any in the hour
# were read.
_ANY_USAGE = """select exists (
    select 1 from process as p indexed by process_ended
    cross join usage as s on s.process_id = p.id where p.ended_hour = :hour)
    or exists (
        select 1 from process as p indexed by process_ended
        cross join usage_so_far as f on f.process_id = p.id where p.ended_hour = :hour)
    or exists (select 1 from usage_reading where hour = :hour)"""

# Most members are in their job from start to end, so the job is charged all that they used. Only
# for the others is the view job_end_usage needed.
HOW = " ".join(f"when {how:d} then '{how.name.lower()}'" for how in How)
OF_PART = "(s.since_ns <> 0 or s.until_ns is not null)"
"""The condition for memberships `s` that did not last from start to end."""
PART_OF_LIFE = f"select s.process_id from membership as s where {OF_PART}"
"""SQL for the processes that entered a job after their start or left it before their end."""
_IS_PART_MEMBER = f"{PART_OF_LIFE} and s.process_id = g.process_id"
_MEMBER = f"""
    select m.job_id, case m.how {HOW} end as how, 0 as since_ns, null as until_ns,
        0 as part_life, 0 as part_life_whole, g.*
    from temp.gathered as g cross join {{}} as m on m.process_id = g.process_id
    where g.in_job = 1 and not exists ({_IS_PART_MEMBER})"""
_MEMBERS = (
    f"({_MEMBER.format('membership')} union all {_MEMBER.format(f'({job_members.inherited()})')})"
)


def chosen(view: str, hours: str) -> list[str]:
    """Conditions for the rows `u` of a view of PARTS that belong to some hours. They use indexes,
    and each row meets at most one of them.
    """
    if view != END_IN_JOBS:
        return [f"u.ended_hour in ({hours})"]
    left = f"""u.process_id in (
        select m.process_id from membership as m
        where m.left_hour in ({hours})
    )
    and u.until_ns is not null
    and u.out_hour in ({hours})"""
    return [f"u.until_ns is null and u.ended_hour in ({hours})", left]


class RollupScheduler:
    """Rolls up now and then. Failure is ignored where it is temporary, since reports are right
    without rollups, only slower.
    """

    def __init__(self, db: Path) -> None:
        self._db = db
        self._last_s = -EVERY_S

    def roll_up_if_due(self) -> None:
        """Roll up some hours, if the last time was a while ago."""
        if time.monotonic() - self._last_s >= EVERY_S:
            self._last_s = time.monotonic()
            self.roll_up(most=MOST_AT_A_TIME)

    def roll_up(self, progress: Progress = no_progress, most: int | None = None) -> None:
        """Roll up all settled hours, unless another process does or the warehouse is locked."""
        with (
            suppress(RetryError),
            database.translated(self._db),
            closing(database.open_for_writing(self._db)) as connection,
        ):
            refresh(connection, self._db, time.time_ns(), progress, most)


def refresh(
    connection: sqlite3.Connection,
    db: Path,
    now_ns: int,
    progress: Progress = no_progress,
    most: int | None = None,
) -> int:
    """Roll up every settled hour that is not rolled up, newest first; return how many. Raises
    RetryError while another process rolls up.
    """
    with locks.only(locks.ROLLUP, db):
        # left by a process that was killed
        if connection.execute("select 1 from rollup_hour where ready = 0").fetchone():
            with transaction(connection):
                connection.execute("delete from rollup_hour where ready = 0")
        hours = stale_hours(connection, now_ns)[::-1][:most]
        done = 0
        for number, hour in enumerate(hours, start=1):
            done += _roll_up(connection, hour)
            progress(number, len(hours))
        daily_rollups.roll_up_days(connection, first_unsettled(now_ns))
        return done


def stale_hours(connection: sqlite3.Connection, now_ns: int) -> list[int]:
    """The settled hours in which something ended and that are not rolled up, oldest first."""
    rows = connection.execute(
        "select hour from hour_without_rollup where hour < ? order by hour",
        (first_unsettled(now_ns),),
    )
    return [hour for (hour,) in rows]


def first_unsettled(now_ns: int) -> int:
    """The first hour that is not settled."""
    return (now_ns - SETTLE_NS) // HOUR_NS


def _roll_up(connection: sqlite3.Connection, hour: int) -> bool:
    """Roll up an hour. Returns False if something changed in it meanwhile: it is stale again."""
    with transaction(connection):
        # it may have been rolled up meanwhile
        connection.execute(
            "insert into rollup_hour (hour, ready) values (?, 0) on conflict do nothing", (hour,)
        )
    sums = _sums(connection, hour)
    with transaction(connection):
        if not connection.execute(
            "update rollup_hour set ready = 1, made_at_ns = ? where hour = ? and ready = 0",
            (time.time_ns(), hour),
        ).rowcount:
            return False
        store(connection, hour, sums)
        connection.execute(
            "insert into rollup_unconfirmed"
            f" select ?, process_id from temp.gathered where {UNCONFIRMED}",
            (hour,),
        )
    return True


def store(connection: sqlite3.Connection, hour: int, sums: Mapping[str, Sums]) -> None:
    """Store the sums of an hour, by table, in place of those from before it became stale. The
    caller holds a transaction.
    """
    delete_sums(connection, hour)
    for table, (names, rows) in sums.items():
        known = (hour,) if table == CLASS else (hour, 0)
        stored = [(*known, *row) for row in rows]
        database.insert_rows(connection, insert_into(table, names), stored)


def delete_sums(connection: sqlite3.Connection, hour: int) -> None:
    """Delete the sums of an hour from before it became stale."""
    for table in ROLLUPS:
        connection.execute(f"delete from {table} where hour = ? and pruned = 0", (hour,))


def _sums(connection: sqlite3.Connection, hour: int) -> dict[str, Sums]:
    """The sums of each table for one hour.

    What the processes used is read once, into temp.gathered, and then summed in four ways. The
    statements are the same for every hour, since SQLite takes longer to prepare a statement than to
    sum some hundred processes.
    """
    connection.execute(_GATHERED)
    connection.execute("delete from temp.gathered")
    usage = bool(connection.execute(_ANY_USAGE, {"hour": hour}).fetchone()[0])
    for query in _gather(usage=usage):
        connection.execute(query, (hour,))
    sums = {}
    for table in _GATHERING:
        keys, summed_up, source = _fold(table, usage=usage)
        sums[table] = Sums(tuple(summed_up), summed(connection, keys, summed_up, source))
    of_jobs = [row for query in _of_jobs() for row in summed(connection, *query, {"hour": hour})]
    return sums | {"rollup_job": Sums(tuple(columns(ROLLED_OF_JOB)), of_jobs)}


# What a process `u` of the view end_usage had used in intervals, in ns.
_BEFORE_THE_END = """coalesce((
    select (f.user_us + f.system_us) * 1000 from usage_so_far as f
    where f.process_id = u.process_id and f.edge_ns = 0), 0)"""


@cache
def _gather(*, usage: bool) -> list[str]:
    added = parts(reported(ROLLED | OF_AUDIT, usage=usage))
    end, *others = PARTS[USED]
    of_end = dict(added)
    if "compared_ns" in added:
        # The audit compares a record with all that its process used, and not with the remainder.
        of_end["compared_ns"] += f" + {_BEFORE_THE_END}"
    by_part = {end: of_end} | dict.fromkeys(others, added)
    return [
        f"insert into gathered ({', '.join((*_KEYS, *used))}) select"
        f" {', '.join((*(f'u.{key}' for key in _KEYS), *used.values()))}"
        f" from {part} as u where u.ended_hour = ?"
        for part, used in by_part.items()
    ]


@cache
def _fold(table: str, *, usage: bool) -> tuple[list[str], dict[str, Aggregate], str]:
    rollup = _GATHERING[table]
    stored = [
        "(select id from comm where name = command)" if key == "command" else key
        for key in rollup.keys
    ]
    sums = of_parts(reported(rollup.measures, usage=usage))
    # What was used in an interval has no class: the audit counts processes and records.
    which = " where class is not null" if table == CLASS else ""
    return stored, sums, f"from gathered{which} group by {', '.join(rollup.keys)}"


@cache
def _of_jobs() -> list[tuple[list[str], dict[str, Aggregate], str]]:
    """Arguments of `summed` for rollup_job: first for members that were in their job from start to
    end, then for other members that were in it to their end, then for members that left it, then
    for what was used in intervals.
    """
    end, intervals = PARTS[USED_IN_JOBS]
    part = columns(ROLLUPS["rollup_job"].measures)
    stayed, left = chosen(end, ":hour")
    part_members = (
        "u.process_id in"
        f" (select g.process_id from temp.gathered as g where exists ({_IS_PART_MEMBER}))"
    )
    return [
        (
            ["u.job_id"],
            of_parts(ROLLED) | columns(_OF_JOB),
            f"from {_MEMBERS} as u group by u.job_id",
        ),
        (
            ["u.job_id"],
            part,
            f"from {end} as u where {part_members} and {stayed} group by u.job_id",
        ),
        (["u.job_id"], part, f"from {end} as u where {left} group by u.job_id"),
        (["u.job_id"], part, f"from {intervals} as u where u.ended_hour = :hour group by u.job_id"),
    ]


def insert_into(table: str, names: Iterable[str]) -> str:
    """An insert statement for rows of a table up to their values: hour, pruned (not in the table of
    classes), the stored keys, and the sums of these names.
    """
    keys = (
        ("hour", *CLASSES.stored) if table == CLASS else ("hour", "pruned", *ROLLUPS[table].stored)
    )
    return f"insert into {table} ({', '.join((*keys, *names))})"
