"""What commands and users used, on the whole host or in one job, and in a window. One list of measures serves every such sum.

The views command_usage, user_usage, job_command_usage and job_user_usage are the same sums without a window; a test holds them equal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from elsa.report import completeness
from elsa.report.render import Report, Row
from elsa.report.selection import Jobs, Window

COUNTERS = (
    *("read_chars", "write_chars", "read_syscalls", "write_syscalls", "read_bytes", "write_bytes", "cancelled_write_bytes"),
    *("nvcsw", "nivcsw"),
    *("cpu_delay_ns", "blkio_delay_ns", "swapin_delay_ns", "reclaim_delay_ns", "thrashing_delay_ns", "compact_delay_ns"),
)
"""What taskstats counts beside CPU time and memory."""
MEASURES = {
    "processes": "count(u.process_id)",
    "running": "count(case when u.state = 'running' then 1 end)",
    "records": "count(u.acct_id)",
    "without_record": "count(case when u.state = 'ended' and u.acct_id is null then 1 end)",
    "uncertain": "count(case when u.record = 'uncertain' then 1 end)",
    "unjoined": "count(u.acct_id) - count(case when u.process_id is not null then u.acct_id end)",
    "elapsed_s": "sum(u.elapsed_ns) / 1e9",
    "etime_ticks": "sum(u.etime_ticks)",
    "utime_ticks": "sum(u.utime_ticks)",
    "stime_ticks": "sum(u.stime_ticks)",
    "minflt": "sum(u.minflt)",
    "majflt": "sum(u.majflt)",
    "with_usage": "count(case when u.provenance = 'taskstats' then 1 end)",
    "with_ticks": "count(u.provenance) - count(case when u.provenance = 'taskstats' then 1 end)",
    "without_usage": "count(*) - count(u.provenance)",
    "usage_partial": "count(case when u.usage_complete = 0 then 1 end)",
    "user_s": "round(sum(u.user_ns) / 1e9, 6)",
    "system_s": "round(sum(u.system_ns) / 1e9, 6)",
    "cpu_s": "round((sum(u.user_ns) + sum(u.system_ns)) / 1e9, 6)",
    **{key: f"sum(u.{key})" for key in ("minor_faults", "major_faults", "threads", "run_ns", "utime_us", "stime_us")},
    **{key: f"max(u.{key})" for key in ("rss_kib", "vm_kib")},
    **{f"{key}_mb_s": f"round(sum(u.{key}_mb_us * 1.0) / 1e6, 6)" for key in ("coremem", "virtmem")},
    **{key: f"sum(u.{key})" for key in COUNTERS},
}
_SHOWN = ("processes", "records", "elapsed_s", "user_s", "system_s", "cpu_s", "rss_kib", "read_bytes", "write_bytes")


def commands(connection: sqlite3.Connection, window: Window, job: int | None, limit: int | None, *, everything: bool = False) -> Report:
    """By command and whether it ever called exec, which is GNU sa's key; the dearest first."""
    keys = {"command": "u.command", "forked_only": "u.forked_only"}
    return _usage(connection, keys, ("command", "forked_only"), "command", window, job, limit, everything=everything)


def users(connection: sqlite3.Connection, window: Window, job: int | None, limit: int | None, *, everything: bool = False) -> Report:
    """By real uid; the dearest first."""
    keys = {"user": "user_name(u.uid)", "uid": "u.uid"}
    return _usage(connection, keys, ("user",), "user", window, job, limit, everything=everything)


def source(window: Window, job: int | None, *more: str) -> str:
    """The rows that a report is about: the from and where clauses, with the alias `u`."""
    conditions = [*window.where("u.ended_ns"), *more]
    if job is not None:
        conditions.insert(0, f"u.job_id = {job}")
    view = "process_usage" if job is None else "job_process_usage"
    return f"from {view} as u" + (f" where {' and '.join(conditions)}" if conditions else "")


def select(columns: dict[str, str]) -> str:
    """A select list, each column under its key."""
    return "select " + ", ".join(f"{expression} as {key}" for key, expression in columns.items())


def _usage(
    connection: sqlite3.Connection,
    keys: dict[str, str],
    shown: Sequence[str],
    noun: str,
    window: Window,
    job: int | None,
    limit: int | None,
    *,
    everything: bool,
) -> Report:
    """Sums by key. Unless `everything`, those are left out of which nothing is known yet, since all of their processes still run."""
    columns = keys | MEASURES
    names = ", ".join(keys)
    query = f"{select(columns)} {source(window, job)} group by {names} order by cpu_s is null, cpu_s desc, processes desc, {names}"
    rows: list[Row] = connection.execute(query).fetchall()  # the groups are few
    processes, running, records = (tuple(columns).index(key) for key in ("processes", "running", "records"))
    kept = [row for row in rows if everything or row[records] or row[processes] > row[running]]
    words = completeness.words(connection, window, None if job is None else Jobs(job, job))
    words += completeness.measured(tuple(columns), rows)
    return Report(
        tuple(columns),
        (*shown, *_SHOWN),
        kept[:limit],
        words + completeness.left_out(len(rows) - len(kept), noun) + completeness.cut(len(kept), limit),
        nothing=completeness.nothing(connection, window, job),
    )
