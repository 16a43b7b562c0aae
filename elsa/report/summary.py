"""The totals of a job as CSA's `ja` prints them: span, CPU time, memory, transfers, delays,
commands and billing units.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple, TextIO

from elsa.measures import DELAYS, OF_TASKSTATS_ALONE
from elsa.report import completeness, exactness
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, listed, select
from elsa.report.query.times import iso
from elsa.report.render import writer
from elsa.report.render.columns import OF_GROUP
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row

_FIGURES = (
    *(
        "user_s",
        "system_s",
        "cpu_s",
        "run_ns",
        "coremem_mb_s",
        "virtmem_mb_s",
        "rss_kib",
        "vm_kib",
        "minor_faults",
        "major_faults",
    ),
    *OF_TASKSTATS_ALONE,
    *(
        "processes",
        "with_usage",
        "with_ticks",
        "without_usage",
        "usage_partial",
        "sampled",
        "threads",
    ),
)
COLUMNS = (
    "job_id",
    "name",
    "owner",
    "started_at",
    "ended_at",
    "wall_s",
    *_FIGURES,
    *OF_GROUP,
    "sbu",
)
# People get notes instead; programs get these counts.
_HIDDEN = {
    "run_ns",
    "with_usage",
    "with_ticks",
    "without_usage",
    "usage_partial",
    "sampled",
    "threads",
}

# CSA lets a site choose weights for everything. This formula has what matters most on any host, and
# no hidden weights.
_SBU = "cpu_s + coremem_mb_s / 1024"
SBU_WORDS = (
    "1 sbu = 1 CPU second, or 1 GiB of memory resident for a CPU second: sbu = cpu + resident /"
    " 1024"
)
# When a process entered the job, in real time: at its start, or later.
_ENTERED_NS = "(u.started_ns + max(u.since_ns - u.start_ns, 0))"
_LEFT_NS = "case when u.process_id is not null then u.out_ns end"
_NOT_COUNTED = "not counted: kernel.task_delayacct is 0"
_NOT_BUILT_IN = "not counted by this kernel"


class Summary(NamedTuple):
    """The totals of a job."""

    row: Row
    words: list[str]


def summary(connection: sqlite3.Connection, selection: Selection) -> Summary:
    """The totals of a job; with a window, of its processes that ended in it."""
    row: Row = query(selection).run(connection).fetchone()
    words = (
        completeness.words(connection, selection)
        + exactness.measured(connection, COLUMNS, [row], ("cpu_s",))
        + exactness.estimate(connection, selection)
        + exactness.cut_intervals(connection, selection)
    )
    if not row[COLUMNS.index("processes")]:
        words.insert(0, completeness.nothing(connection, selection))
    return Summary(row, words)


def query(selection: Selection) -> Query:
    """The query for the totals of the single job of a selection."""
    if selection.window:
        sums = row_sums.sums(row_sums.share(selection.window) if selection.clip else None)
        columns = {
            "started_at": iso(f"min({_ENTERED_NS})"),
            "ended_at": iso(f"max({_LEFT_NS})"),
            "wall_s": f"(max({_LEFT_NS}) - min({_ENTERED_NS})) / 1e9",
        }
        columns |= {key: sums[key] for key in _FIGURES} | dict.fromkeys(OF_GROUP, "null")
        source = rows(selection, columns.values(), used=True)
        totals = Query(f"{select(columns)} {source.sql}", source.values)
    else:
        view = f"{rollup_source.job_usage(listed(selection.jobs or ()))} where job_id = ?"
        totals = Query(
            f"select {iso('started_ns')}, {iso('ended_ns')}, wall_s,"
            f" {', '.join((*_FIGURES, *OF_GROUP))} from {view}",
            (selection.job,),
        )
    owner = "owner_name(j.owner_uid, j.id)" if selection.apart else "user_name(j.owner_uid)"
    if selection.ids:
        owner = "j.owner_uid"
    text = f"""select j.id, j.name, {owner}, t.*, round({_SBU}, 6)
               from ({totals.sql}) as t join job as j on j.id = ?"""
    return Query(text, (*totals.values, selection.job))


def _why_unknown(row: Row) -> str:
    """Why a delay is unknown: where another one is known, delays were counted."""
    known = any(row[COLUMNS.index(key)] is not None for key in DELAYS)
    return _NOT_BUILT_IN if known else _NOT_COUNTED


def write(report: Summary, output: Output, out: TextIO) -> None:
    """Write lines of heading and value, and the formula of the billing units; for programs, an
    object or a row.
    """
    if output.form == "table":
        with_usage = report.row[COLUMNS.index("with_usage")]
        unknown = dict.fromkeys(DELAYS, _why_unknown(report.row)) if with_usage else {}
        values = dict(zip(COLUMNS, report.row, strict=True))
        hidden = _HIDDEN | {key for key in OF_GROUP if values[key] is None}
        shown = output.choose(COLUMNS, [key for key in COLUMNS if key not in hidden])
        out.write(
            writer.block(COLUMNS, report.row, shown, unknown, output.units) + f"\n{SBU_WORDS}\n"
        )
    elif output.form in ("json", "jsonl"):
        shown = output.choose(COLUMNS, COLUMNS)
        row = tuple(report.row[COLUMNS.index(key)] for key in shown)
        text = writer.as_json(
            writer.as_object(shown, row), indent=2 if output.form == "json" else None
        )
        out.write(text + "\n")
    else:
        writer.write(Report(COLUMNS, output.choose(COLUMNS, COLUMNS), [report.row]), output, out)
