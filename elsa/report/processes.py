"""Single processes: what each one used, the one that ended last first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from elsa.report import completeness, usage
from elsa.report.render import Report, Row
from elsa.report.selection import Window

_COLUMNS = (
    "process_id",
    "acct_id",
    "host",
    "boot_id",
    "pid",
    "parent_process_id",
    "ppid",
    "command",
    "forked_only",
    "superuser",
    "dumped_core",
    "killed",
    "user",
    "uid",
    "gid",
    "tty",
    "started_at",
    "ended_at",
    "state",
    "elapsed_s",
    "etime_ticks",
    "utime_ticks",
    "stime_ticks",
    "user_s",
    "system_s",
    "cpu_s",
    "minflt",
    "majflt",
    "swaps",
    "mem_kib",
    "exit_status",
    "exit_code",
    "exit_signal",
    "origin",
    "end_how",
    "record",
)
_SHOWN = (
    "pid",
    "ppid",
    "command",
    "forked_only",
    "user",
    "started_at",
    "elapsed_s",
    "user_s",
    "system_s",
    "minflt",
    "majflt",
    "exit_status",
    "record",
)


def processes(connection: sqlite3.Connection, window: Window, job: int | None, limit: int | None) -> Report:
    """The processes of the host or of a job, and the accounting records that are joined to none; running ones first."""
    columns = {key: "user_name(u.uid)" if key == "user" else f"u.{key}" for key in _COLUMNS}
    if job is not None:
        columns |= {"how": "u.how", "part_life": "u.part_life"}
    shown = _SHOWN if job is None else (*_SHOWN, "how")
    query = f"{usage.select(columns)} {usage.source(window, job)} order by u.ended_ns is not null, u.ended_ns desc, u.process_id desc"
    if limit is not None:
        query += f" limit {limit + 1}"
    report = Report(tuple(columns), shown, (), nothing=completeness.nothing(connection, window, job))
    found = completeness.gaps(connection, window, job)
    report.rows = _counted(connection.execute(query), report, found, window, limit)
    return report


def _counted(rows: Iterator[Row], report: Report, gaps: int, window: Window, limit: int | None) -> Iterator[Row]:
    """Pass rows on and count what is doubtful in them; the words are complete when the last one has gone by."""
    place = {key: report.columns.index(key) for key in ("process_id", "acct_id", "state", "record")}
    sums = dict.fromkeys(completeness.COUNTS, 0)
    part_life = report.columns.index("part_life") if "part_life" in report.columns else None
    for number, row in enumerate(rows):
        if number == limit:
            report.words.append(f"showing the last {limit} to end; --limit shows more")
            break
        running = row[place["state"]] == "running"
        sums["running"] += running
        sums["without_record"] += not running and row[place["acct_id"]] is None
        sums["unjoined"] += row[place["process_id"]] is None
        sums["uncertain"] += row[place["record"]] == "uncertain"
        if part_life is not None:
            sums["part_life"] += row[part_life]
            sums["inferred"] += row[part_life - 1] == "inferred"
        yield row
    report.words[:0] = completeness.words(sums, gaps, window)
