"""The usage of a job in the warehouse of a jobd. Clients read the warehouse directly, so that jobd
has no work with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from elsa.measures import LONGEST_TICK_NS, MEASURES
from elsa.report.query import warehouse
from elsa.run.usage_sums import TASKSTATS_COLUMNS, JobPeak, JobTotals, Member, TaskstatsSum, Usage
from elsa.state.codes import How
from elsa.store.aggregates import Aggregate, of_rows

_USED = ", ".join(f"u.{name}" for name in TASKSTATS_COLUMNS)
_MEMBERS = f"""
    select p.id, n.name, p.start_ns + p.elapsed_ns, u.process_id is not null, {_USED}
    from process p
    left join comm n on n.id = p.comm_id
    left join usage u on u.process_id = p.id
    where p.id in (select process_id from all_memberships where job_id = ?)
"""
_COMMAND = f"""
    select p.id, p.start_ns + p.elapsed_ns
    from membership m
    join process p on p.id = m.process_id
    where m.job_id = ? and m.how = {How.LAUNCHED:d}
"""
# Processes that were members for a part of their lifetime.
_PART_LIFE = """
    select m.process_id
    from membership m
    where m.job_id = :job and (m.since_ns <> 0 or m.until_ns is not null)
"""
_IO = ("read_chars", "write_chars", "read_bytes", "write_bytes")
_IO_SUMS = ", ".join(Aggregate("sum", f"u.{name}").sql for name in _IO)
_A_TICK = f"coalesce(b.tick_ns, {LONGEST_TICK_NS})"
# The rule for CPU time is that of sql/process/incarnation_usage.sql; the slower view itself is
# needed only for processes that were members for a part of their lifetime.
_ENDED_WHOLE = f"""
    select count(*), count(u.process_id),
    total(case
        when u.run_ns >= {_A_TICK} then u.run_ns
        else coalesce(
            max(u.run_ns, (u.utime_us + u.stime_us) * 1000), (u.utime_us + u.stime_us) * 1000
        )
    end) / 1e9,
    max(u.rss_kib),
    count(case when u.process_id is not null and coalesce(u.run_ns, 0) < {_A_TICK} then 1 end),
    coalesce(sum(case when u.run_ns >= {_A_TICK} then u.threads end), 0),
    {_IO_SUMS}
    from process p
    join boot b on b.id = p.boot_id
    left join usage u on u.process_id = p.id
    where p.id in (select process_id from all_memberships where job_id = :job)
    and p.elapsed_ns is not null
    and p.id not in ({_PART_LIFE})
"""
_ENDED_PART = f"""
    select count(*), count(u.cpu_s), total(u.cpu_s), max(u.rss_kib),
    {of_rows(MEASURES["sampled"])},
    coalesce(sum(case when u.run_ns >= u.tick_ns then coalesce(u.threads, 1) end), 0),
    {_IO_SUMS}
    from job_process_usage u
    where u.job_id = :job
    and u.process_id in ({_PART_LIFE})
    and (u.state = 'ended' or u.until_ns is not null)
"""
# What members had used when they joined, less what they used in earlier memberships: to be
# subtracted from what they have used by now. Unknown where the counters lacked it.
_BEFORE_COLUMNS = ", ".join(
    f"case when count({counter}) = count(*) then -sum(b.sign * {counter}) end"
    for counter in (
        "coalesce(b.run_ns, (b.utime_us + b.stime_us) * 1000)",
        *(f"b.{name}" for name in _IO),
    )
)
_BEFORE = f"""
    select b.process_id, {_BEFORE_COLUMNS}
    from job_edge b
    where b.job_id = :job
    group by b.process_id
    having count(*) = (
        select sum((m.since_ns <> 0) + (m.until_ns is not null))
        from membership m
        where m.job_id = :job and m.process_id = b.process_id
    )
"""
_ENDED_SINCE = """
    select p.id
    from process p
    where p.id in (select process_id from all_memberships where job_id = :job)
    and p.start_ns + p.elapsed_ns >= :since
"""


def job_totals(connection: sqlite3.Connection, job_id: int, ours_ns: int = 0) -> JobTotals:
    """All members of a job, added up; `ours_ns` of the CPU time of the command was not its own."""
    totals = JobTotals(_tick(connection, job_id))
    command, ended_ns = connection.execute(_COMMAND, (job_id,)).fetchone() or (None, None)
    rows = connection.execute(_MEMBERS, (job_id,))
    for process_id, name, end_ns, has_usage, *counters in rows:
        used = TaskstatsSum(*counters) if has_usage else None
        if used is not None and process_id == command:
            used.subtract_cpu(ours_ns)
        totals.add(Member(name, end_ns, used), ended_ns)
    totals.whole = whole_memory(connection, job_id)
    return totals


def whole_memory(connection: sqlite3.Connection, job_id: int) -> JobPeak | None:
    """The peak of all members together, as far as known."""
    select = "select whole_kib, whole_by from job_whole_memory where job_id = ?"
    row = connection.execute(select, (job_id,)).fetchone()
    return None if row is None or row[0] is None else JobPeak(*row)


def _tick(connection: sqlite3.Connection, job_id: int) -> int | None:
    """The tick of the kernel on which a job runs."""
    select = "select b.tick_ns from job j join boot b on b.id = j.boot_id where j.id = ?"
    (tick_ns,) = connection.execute(select, (job_id,)).fetchone() or (None,)
    return None if tick_ns is None else int(tick_ns)


class Precision(NamedTuple):
    """How precisely the CPU time of ended processes is known."""

    sampled: int
    """Processes shorter than a tick."""
    threads: int
    """Of the others: each may lack up to a tick."""
    tick_ns: int | None
    """The kernel's; None where it is not known."""


class EndedMembers(NamedTuple):
    """What the warehouse knows of the members of an open job that have ended or left."""

    usage: Usage
    without_usage: int
    """Ended members without statistics."""
    precision: Precision
    recent: Set[int] = frozenset()
    """The process ids of those that ended since the time that was asked for."""
    before: Mapping[int, Usage] = {}
    """By process id: what running members had used before they joined."""
    whole: JobPeak | None = None
    """The peak of all members together, those that run included."""


class _EndedRow(NamedTuple):
    """The columns of _ENDED_WHOLE and _ENDED_PART."""

    processes: int
    with_usage: int
    cpu_s: float
    rss_kib: int | None
    sampled: int
    threads: int
    read_chars: int | None
    write_chars: int | None
    read_bytes: int | None
    write_bytes: int | None


def ended_members(
    db: Path, jobs: Sequence[Mapping[str, Any]], since_ns: Sequence[int]
) -> list[EndedMembers]:
    """The members of jobs that have ended or left, and what distinguishes them from those that run:
    those that ended after `since_ns` (monotonic, of each job) among them.
    """
    oldest_ns = min(int(job["created_at_ns"]) for job in jobs)
    with warehouse.reading_allowed(db, oldest_ns) as connection:
        return [
            _ended_members(connection, int(job["id"]), after_ns)
            for job, after_ns in zip(jobs, since_ns, strict=True)
        ]


def _ended_members(connection: sqlite3.Connection, job_id: int, since_ns: int) -> EndedMembers:
    named = {"job": job_id, "since": since_ns}
    rows = [
        _EndedRow._make(connection.execute(select, named).fetchone())
        for select in (_ENDED_WHOLE, _ENDED_PART)
    ]
    precision = Precision(
        sum(row.sampled for row in rows),
        sum(row.threads for row in rows),
        _tick(connection, job_id),
    )
    recent = {process_id for (process_id,) in connection.execute(_ENDED_SINCE, named)}
    before = {
        process_id: Usage(1, None if cpu_ns is None else cpu_ns / 1e9, None, *io)
        for process_id, cpu_ns, *io in connection.execute(_BEFORE, named)
    }
    whole = whole_memory(connection, job_id)
    without_usage = sum(row.processes - row.with_usage for row in rows)
    return EndedMembers(_ended_usage(rows), without_usage, precision, recent, before, whole)


def _ended_usage(rows: Sequence[_EndedRow]) -> Usage:
    """0 as long as no member has ended, unknown if there are no statistics of those that have."""
    processes = sum(row.processes for row in rows)
    rows = [row for row in rows if row.with_usage]
    if not rows:
        nothing = None if processes else 0
        return Usage(processes, nothing, None, nothing, nothing, nothing, nothing)
    peaks = [row.rss_kib for row in rows if row.rss_kib is not None]
    io = (_sum(getattr(row, name) for row in rows) for name in _IO)
    return Usage(processes, sum(row.cpu_s for row in rows), max(peaks, default=None), *io)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
