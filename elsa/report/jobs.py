"""What jobs cost: the list of them, and one of them with its commands."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple, TextIO

from elsa.report import completeness, render, usage
from elsa.report.render import Report, Row
from elsa.report.selection import Jobs, Window

_COLUMNS = (
    "job_id",
    "name",
    "owner",
    "owner_uid",
    "state",
    "created_at",
    "closed_at",
    "close_how",
    "started_at",
    "ended_at",
    "processes",
    "running",
    "records",
    "wall_s",
    "elapsed_s",
    "etime_ticks",
    "utime_ticks",
    "stime_ticks",
    "minflt",
    "majflt",
    "with_usage",
    "with_ticks",
    "without_usage",
    "usage_partial",
    "user_s",
    "system_s",
    "cpu_s",
    "minor_faults",
    "major_faults",
    "threads",
    "run_ns",
    "utime_us",
    "stime_us",
    "rss_kib",
    "vm_kib",
    "coremem_mb_s",
    "virtmem_mb_s",
    *usage.COUNTERS,
    "exit_status",
    "exit_code",
    "exit_signal",
    "without_record",
    "uncertain",
    "inferred",
    "part_life",
    "part_life_whole",
    "gaps",
    "usage_gaps",
    "complete",
    "usage_complete",
    "tags",
)
_SHOWN = (
    "job_id",
    "name",
    "owner",
    "state",
    "started_at",
    "processes",
    "running",
    "wall_s",
    "cpu_s",
    "rss_kib",
    "read_bytes",
    "write_bytes",
    "exit_status",
    "complete",
)
# What says the same as another line of the block, and what is for `--summary ja` and for programs.
_HIDDEN = {
    *("minflt", "majflt", "owner_uid", "etime_ticks", "utime_ticks", "stime_ticks", "utime_us", "stime_us", "exit_code", "exit_signal"),
    *("run_ns", "vm_kib", "coremem_mb_s", "virtmem_mb_s", *usage.COUNTERS),
} - {"read_bytes", "write_bytes"}
_SELECT = "select " + ", ".join("user_name(owner_uid)" if key == "owner" else key for key in _COLUMNS) + " from job_usage"
_NO_JOB = "there is no job yet; make one with: elsa job run --name NAME -- COMMAND"

# In a window: the sums over the processes that ended in it; a job's own span and completeness are not a window's.
_FACTS = {
    "job_id": "j.id",
    "name": "j.name",
    "owner": "user_name(j.owner_uid)",
    "owner_uid": "j.owner_uid",
    "state": "case when j.closed_at_ns is null then 'open' else 'closed' end",
}
_SUMS = {
    **usage.MEASURES,
    "inferred": "count(case when u.how = 'inferred' then 1 end)",
    "part_life": "count(case when u.part_life = 1 then 1 end)",
    "part_life_whole": "count(case when u.part_life_whole = 1 then 1 end)",
}
_WINDOW = _FACTS | _SUMS
_WINDOW_SHOWN = ("job_id", "name", "owner", "state", "processes", "elapsed_s", "cpu_s", "rss_kib", "read_bytes", "write_bytes")


class JobReport(NamedTuple):
    """One job and its commands."""

    columns: tuple[str, ...]
    row: Row
    commands: Report
    words: list[str]


def jobs(connection: sqlite3.Connection, window: Window, limit: int | None) -> Report:
    """Every job, the newest first; in a window those of which a process ended in it, with what those processes used."""
    columns, shown = (tuple(_WINDOW), _WINDOW_SHOWN) if window else (_COLUMNS, _SHOWN)
    some = connection.execute("select exists (select 1 from job)").fetchone()[0]
    total = -1 if limit is None else limit + 1  # one more than is shown, to know that there is more
    if window:
        where = " and ".join(window.where("u.ended_ns"))
        members = "job as j join job_process_usage as u on u.job_id = j.id"
        query = f"{usage.select(_WINDOW)} from {members} where {where} group by j.id order by j.id desc limit {total}"
    else:
        query = f"{_SELECT} order by job_id desc limit {total}"
    rows = connection.execute(query).fetchall()
    kept = rows[:limit]
    words = completeness.words(connection, window, Jobs(kept[-1][0], kept[0][0]), _losses(window, kept)) if kept else []
    if len(rows) > len(kept):
        words.append(f"showing the newest {limit} jobs; --limit shows more")
    return Report(columns, shown, kept, words, nothing=completeness.nothing(connection, window) if some else _NO_JOB)


def _losses(window: Window, rows: list[Row]) -> str | None:
    """How many of these jobs a known loss touches, in words; of a window something else is said."""
    if window:
        return None
    gaps, usage_gaps = _COLUMNS.index("gaps"), _COLUMNS.index("usage_gaps")
    touched = sum(1 for row in rows if row[gaps] or row[usage_gaps])
    return f"{touched} of these jobs touched by gaps (see: elsa report gaps)" if touched else ""


def job(connection: sqlite3.Connection, job_id: int, window: Window, limit: int | None) -> JobReport:
    """One job, what it cost in all and by command; in a window what those of its processes cost that ended in it."""
    if window:
        columns = tuple(_WINDOW)
        facts: Row = connection.execute(f"{usage.select(_FACTS)} from job as j where j.id = ?", (job_id,)).fetchone()
        row = facts + connection.execute(f"{usage.select(_SUMS)} {usage.source(window, job_id)}").fetchone()
    else:
        columns = _COLUMNS
        row = connection.execute(f"{_SELECT} where job_id = ?", (job_id,)).fetchone()
    commands = usage.commands(connection, window, job_id, limit, everything=True)
    return JobReport(columns, row, commands, ([] if commands.rows else [commands.nothing]) + commands.words)


def write_job(report: JobReport, form: str, out: TextIO) -> None:
    """The summary and its commands; in csv the summary alone, since one csv file is one table."""
    if form == "table":
        shown = tuple(key for key in report.columns if key not in _HIDDEN)
        out.write(render.block(report.columns, report.row, shown) + "\n")
        rows = list(report.commands.rows)
        if rows:
            out.write("\n" + render.table(report.commands.columns, report.commands.shown, rows) + "\n")
        return
    if form == "csv":
        render.write(Report(report.columns, (), [report.row]), form, out)
        return
    found = render.as_object(report.columns, report.row)
    found["commands"] = [render.as_object(report.commands.columns, row) for row in report.commands.rows]
    out.write(json.dumps(found, ensure_ascii=False, indent=2 if form == "json" else None) + "\n")
