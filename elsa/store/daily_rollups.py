"""Daily rollups: the hourly sums added up by day, so that a report on a month reads thirty rows of
a command instead of seven hundred.

A day is rolled up when each of its hours is. Its sums are valid as long as its row in rollup_day
exists: triggers (rollup_triggers.py) delete that row, and the sums, as soon as one of the hours
becomes stale. Hours in which nothing ended are marked as rolled up too, so that the triggers also
notice what is added to them later.
"""

from __future__ import annotations

import sqlite3
import time
from functools import cache

from elsa.measures import ROLLED, ROLLED_OF_JOB, Measure
from elsa.store.aggregates import Aggregate, columns, of_parts, reported
from elsa.store.database import insert_rows, transaction
from elsa.store.sums import summed

HOURS_OF_DAY = 24

_FROM_TASKSTATS = ROLLED.keys() - reported(ROLLED, usage=False).keys()
# Whether the sums of some hours have any measure that only taskstats reports: of ended processes,
# or of intervals of living processes.
_ANY_USAGE = f"""select exists (
    select 1 from rollup_user where hour between ? and ?
        and coalesce({", ".join(sorted(ROLLED[key].rolled for key in _FROM_TASKSTATS))})
            is not null)"""


def roll_up_days(connection: sqlite3.Connection, before_hour: int) -> None:
    """Roll up every day since 1970, before an hour, that has hourly sums and no hour that is still
    to be rolled up.
    """
    days = connection.execute(
        """select distinct h.hour / 24 from hour_without_day as h
           where h.hour between 0 and ? - 1
               and h.hour / 24 not in (select u.hour / 24 from hour_without_rollup as u)
           order by 1 desc""",
        (before_hour // HOURS_OF_DAY * HOURS_OF_DAY,),
    ).fetchall()
    for (day,) in days:
        with transaction(connection):
            _roll_up_day(connection, day)


def _roll_up_day(connection: sqlite3.Connection, day: int) -> None:
    """Roll up a day, unless something has changed in it by now. Callers hold a transaction."""
    if hours_with_sums(connection, day) is None:
        return
    first, last = day * HOURS_OF_DAY, (day + 1) * HOURS_OF_DAY - 1
    usage = connection.execute(_ANY_USAGE, (first, last)).fetchone()[0] == 1
    for into, keys, summed_up, source in _sums(usage=usage):
        values = {"day": day, "first": first, "last": last}
        insert_rows(connection, into, summed(connection, keys, summed_up, source, values))
    connection.execute("insert into rollup_day values (?)", (day,))


def hours_with_sums(connection: sqlite3.Connection, day: int) -> set[int] | None:
    """The hours of a day that are rolled up; None if others are still to be. Marks as rolled up
    those in which nothing ended. Callers hold a transaction.
    """
    hours = range(day * HOURS_OF_DAY, (day + 1) * HOURS_OF_DAY)
    if connection.execute(
        "select 1 from hour_without_rollup where hour between ? and ?", (hours[0], hours[-1])
    ).fetchone():
        return None
    ready = {
        hour
        for (hour,) in connection.execute(
            "select hour from rollup_hour where hour between ? and ?", (hours[0], hours[-1])
        )
    }
    for hour in (hour for hour in hours if hour not in ready):
        for table in ("rollup_command", "rollup_user", "rollup_job"):
            # sums from before the hour became stale
            connection.execute(f"delete from {table} where hour = ? and pruned = 0", (hour,))
        connection.execute("insert into rollup_hour values (?, 1, ?)", (hour, time.time_ns()))
    return ready


@cache
def _sums(*, usage: bool) -> list[tuple[str, list[str], dict[str, Aggregate], str]]:
    rolled = reported(ROLLED, usage=usage)
    return [
        _sum(
            "rollup_day_command",
            [":day", "comm_id", "forked_only", "host_id"],
            "rollup_command",
            rolled,
        ),
        _sum("rollup_day_user", [":day", "uid", "gid", "in_job", "host_id"], "rollup_user", rolled),
        _sum("rollup_day_job", [":day", "job_id"], "rollup_job", ROLLED_OF_JOB),
        _sum("rollup_day_total", ["hour"], "rollup_user", rolled),
    ]


def _sum(
    into: str, keys: list[str], table: str, measures: dict[str, Measure]
) -> tuple[str, list[str], dict[str, Aggregate], str]:
    """An insert statement up to its values, then the arguments of `summed` that make the values."""
    names = ", ".join((*(key.removeprefix(":") for key in keys), *columns(measures)))
    source = f"from {table} where hour between :first and :last group by {', '.join(keys)}"
    return f"insert into {into} ({names})", keys, of_parts(measures), source
