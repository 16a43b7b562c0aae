"""Thins old readings of the memory of jobs: of each hour the reading with the most and the last one
are kept. Since an equal reading has no row, the last row says what held until the next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from elsa.store.database import transaction
from elsa.units import HOUR_NS

_HOUR = f"""(m.read_ns + (
        select max(c.offset_ns) from clock as c where c.boot_id = j.boot_id
    )) / {HOUR_NS}"""
_OLD = f"""from (
        select
            m.job_id,
            m.read_ns,
            row_number() over (of_hour order by m.memory_kib desc, m.read_ns) as by_size,
            row_number() over (of_hour order by m.read_ns desc) as by_age
        from job_memory as m
        join job as j on j.id = m.job_id
        where j.id = ? and {_HOUR} < ?
        window of_hour as (partition by {_HOUR})
    )
    where by_size > 1 and by_age > 1"""
_JOBS = "select distinct job_id from job_memory"


def count_old(connection: sqlite3.Connection, before_hour: int) -> int:
    """How many rows `thin_hours` would delete."""
    return sum(
        connection.execute(f"select count(*) {_OLD}", (job_id, before_hour)).fetchone()[0]
        for (job_id,) in connection.execute(_JOBS).fetchall()
    )


def thin_hours(
    connection: sqlite3.Connection, before_hour: int, step: Callable[[int], None]
) -> int:
    """Thin the readings before an hour, one job after the other. Returns how many were deleted."""
    deleted = 0
    for (job_id,) in connection.execute(_JOBS).fetchall():
        with transaction(connection):
            rows = connection.execute(
                "delete from job_memory"
                f" where (job_id, read_ns) in (select job_id, read_ns {_OLD})",
                (job_id, before_hour),
            ).rowcount
        deleted += rows
        step(rows)
    return deleted
