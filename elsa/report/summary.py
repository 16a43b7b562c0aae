"""The totals of a job in the manner of CSA's `ja`: span, CPU time, memory, transfers, delays, commands and billing units."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple, TextIO

from elsa.report import completeness, render, usage
from elsa.report.render import Report, Row
from elsa.report.selection import Jobs, Window

_FIGURES = (
    *("user_s", "system_s", "cpu_s", "run_ns", "coremem_mb_s", "virtmem_mb_s", "rss_kib", "vm_kib", "minor_faults", "major_faults"),
    *usage.COUNTERS,
    *("processes", "with_usage", "with_ticks", "without_usage", "usage_partial"),
)
_COLUMNS = ("job_id", "name", "owner", "started_at", "ended_at", "wall_s", *_FIGURES, "sbu")
# Words for those who look at it; programs get the counts.
_HIDDEN = {"run_ns", "with_usage", "with_ticks", "without_usage", "usage_partial"}

# CSA lets a site weigh everything; this is what costs most anywhere, and no weight is hidden.
_SBU = "cpu_s + coremem_mb_s / 1024"
SBU_WORDS = "1 sbu = 1 CPU second, or 1 GiB of memory resident for a CPU second: sbu = cpu + resident / 1024"
# Counted only if somebody wants them, since that costs every switch a little.
_OPTIONAL = ("blkio_delay_ns", "swapin_delay_ns", "reclaim_delay_ns", "thrashing_delay_ns", "compact_delay_ns")
# When a process came into the job, in real time: at its birth, or later.
_CAME_NS = "(u.started_ns + max(u.since_ns - u.start_ns, 0))"
_NOT_COUNTED = "not counted: kernel.task_delayacct is 0"


class Summary(NamedTuple):
    """One job's totals."""

    row: Row
    words: list[str]


def summary(connection: sqlite3.Connection, job_id: int, window: Window) -> Summary:
    """The totals of a job; in a window those of its processes that ended in it."""
    row: Row = connection.execute(_query(job_id, window)).fetchone()
    words = completeness.words(connection, window, Jobs(job_id, job_id)) + completeness.measured(_COLUMNS, [row])
    if not row[_COLUMNS.index("processes")]:
        words.insert(0, completeness.nothing(connection, window, job_id))
    return Summary(row, words)


def _query(job_id: int, window: Window) -> str:
    if window:
        span = {
            "started_at": f"strftime('%Y-%m-%dT%H:%M:%fZ', min({_CAME_NS}) / 1e9, 'unixepoch')",
            "ended_at": "max(u.ended_at)",
            "wall_s": f"(max(u.ended_ns) - min({_CAME_NS})) / 1e9",
        }
        sums = span | {key: usage.MEASURES[key] for key in _FIGURES}
        totals = f"{usage.select(sums)} {usage.source(window, job_id)}"
    else:
        totals = f"select started_at, ended_at, wall_s, {', '.join(_FIGURES)} from job_usage where job_id = {job_id}"
    return f"""select j.id, j.name, user_name(j.owner_uid), t.*, round({_SBU}, 6)
               from ({totals}) as t join job as j on j.id = {job_id}"""


def write(report: Summary, form: str, out: TextIO) -> None:
    """Lines of heading and value, with the formula of the billing units; for programs one object or row."""
    if form == "table":
        told = report.row[_COLUMNS.index("with_usage")]
        unknown = dict.fromkeys(_OPTIONAL, _NOT_COUNTED) if told else {}
        out.write(render.block(_COLUMNS, report.row, [key for key in _COLUMNS if key not in _HIDDEN], unknown) + f"\n{SBU_WORDS}\n")
    elif form == "csv":
        render.write(Report(_COLUMNS, (), [report.row]), form, out)
    else:
        found = render.as_object(_COLUMNS, report.row)
        out.write(json.dumps(found, ensure_ascii=False, indent=2 if form == "json" else None) + "\n")
