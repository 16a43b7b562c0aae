"""The two witnesses compared: what the connector and accounting both saw, what only one of them did, when, and the likely cause."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple, TextIO

from elsa.report import completeness, render
from elsa.report.output import Output
from elsa.report.query import Query, select
from elsa.report.render import Report, Row
from elsa.report.selection import Selection
from elsa.report.silence import silence
from elsa.report.times import Window


def _at(function: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {function}(u.ended_ns) / 1e9, 'unixepoch')"


# The views audit and audit_stretch are the same without a window; a test holds them equal.
_SUMS = {
    "processes": "count(u.process_id)",
    "records": "count(u.acct_id)",
    "first_ended_at": _at("min"),
    "last_ended_at": _at("max"),
}
_CLASS = {"class": "u.class"} | _SUMS
_CLASS_COLUMNS = ("class", "what", *_SUMS)
_CLASS_SHOWN = ("what", *_SUMS)
_CLUSTER = {"host": "u.host", "boot_id": "u.boot_id", "class": "u.class", "what": "k.what", "cause": "u.cause", "why": "u.why"}
_STRETCH = _CLUSTER | _SUMS
_STRETCH_SHOWN = ("what", "first_ended_at", "last_ended_at", "processes", "why")


# The view audit_ticks, likewise.
_LOST = "sum(u.cpu_s) - sum(u.utime_ticks + u.stime_ticks) / 100.0"
_TICKS = {
    "processes": "count(*)",
    "taskstats_s": "round(coalesce(sum(u.cpu_s), 0), 6)",
    "acct_s": "coalesce(sum(u.utime_ticks + u.stime_ticks), 0) / 100.0",
    "lost_s": f"round(coalesce({_LOST}, 0), 6)",
    "lost_percent": f"round(({_LOST}) * 100 / nullif(sum(u.cpu_s), 0), 6)",
}


class Audit(NamedTuple):
    """The classes, the stretches in which the doubtful ones cluster, and what ticks lost where both witnesses tell the CPU time."""

    classes: Report
    stretches: Report
    ticks: Report
    words: list[str]


def queries(window: Window) -> dict[str, Query]:
    """The questions by the names of their answers; what still runs is in no window."""
    conditions = window.where("u.ended_ns")
    where = f"\nwhere {' and '.join(conditions)}" if conditions else ""
    known = " and ".join(["u.provenance = 'taskstats'", "u.acct_id is not null", *conditions])
    clusters = ", ".join(_CLUSTER.values())
    return {
        "classes": Query(f"{select(_CLASS)}\nfrom audit_row as u{where}\ngroup by u.class"),
        "stretches": Query(
            f"{select(_STRETCH)}\nfrom audit_doubt as u join audit_class as k on k.class = u.class{where}\n"
            f"group by {clusters}, u.stretch\norder by max(u.ended_ns) desc, u.class"
        ),
        "ticks": Query(f"{select(_TICKS)}\nfrom incarnation_usage as u\nwhere {known}"),
    }


def audit(connection: sqlite3.Connection, window: Window, output: Output, now_ns: int) -> Audit:
    """The reconciliation of connector and accounting for what ended in a window."""
    asked = queries(window)
    classes = _classes(connection, window, asked["classes"])
    stretches: list[Row] = asked["stretches"].run(connection).fetchall()
    found = completeness.gaps(connection, window)
    words = completeness.cut(len(stretches), output.limit)
    if found:
        words.append(f"{completeness.count(found, 'gap')}{' in this window' if window else ''} (see: elsa report gaps)")
    words += completeness.pruned(connection, Selection(window))
    some = any(row[2] or row[3] for row in classes)
    words = [*words, *silence(connection, window, now_ns)] if some else [completeness.nothing(connection, Selection(window)), *words]
    shown = output.choose(_CLASS_COLUMNS, _CLASS_SHOWN)
    return Audit(
        Report(_CLASS_COLUMNS, shown, classes),
        Report(tuple(_STRETCH), _STRETCH_SHOWN if output.form == "table" else tuple(_STRETCH), stretches[: output.limit]),
        Report(tuple(_TICKS), tuple(_TICKS), asked["ticks"].run(connection).fetchall()),
        words,
    )


def _classes(connection: sqlite3.Connection, window: Window, asked: Query) -> list[Row]:
    found = {row[0]: row[1:] for row in asked.run(connection)}
    names = connection.execute("select class, what from audit_class order by place").fetchall()
    return [(name, what, *found.get(name, (0, 0, None, None))) for name, what in names if not (window and name == "running")]


def write(report: Audit, output: Output, out: TextIO) -> None:
    """Classes, stretches, ticks; where one file is one table, the classes alone, and so with columns of one's own choice."""
    if output.form in ("json", "jsonl") and output.columns is None:
        parts = {"classes": report.classes, "stretches": report.stretches, "ticks": report.ticks}
        found = {name: [render.as_object(part.columns, row) for row in part.rows] for name, part in parts.items()}
        out.write(render.as_json(found, indent=2 if output.form == "json" else None) + "\n")
        return
    render.write(report.classes, output, out)
    if output.form != "table" or output.columns is not None:
        return
    if report.stretches.rows:
        out.write("\n")
        render.write(report.stretches, output, out)
        report.words.extend(report.stretches.words)
    if any(row[0] for row in report.ticks.rows):
        out.write("\nCPU time lost by accounting, which cuts it down to ticks:\n")
        render.write(report.ticks, output, out)
