"""The two witnesses compared: what the connector and accounting both saw, what only one of them
did, when, and the likely cause.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple, TextIO

from elsa.report import completeness
from elsa.report.collector_status import silence
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
from elsa.report.query.times import Window
from elsa.report.query.warehouse import several_hosts
from elsa.report.render import writer
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.store import sql_files
from elsa.store.rollups import CLASS

# The views audit, audit_period and audit_ticks are the same without a window; a test holds them
# equal.
_SUMS = ("processes", "records", "first_ns", "last_ns")
_COMPARED = ("compared", "compared_ns", "compared_ticks")
_CLASS_SHOWN = ("what", "processes", "records", "first_ended_at", "last_ended_at")
_CLASS_COLUMNS = ("class", *_CLASS_SHOWN)
_TIMES = {
    f"{edge}_ended_at": f"strftime('%Y-%m-%dT%H:%M:%fZ', u.{edge}_ns / 1e9, 'unixepoch')"
    for edge in ("first", "last")
}
_STRETCH = {
    "host": "h.name",
    "boot_id": "u.boot_id",
    "class": "u.class",
    "what": "c.what",
    "cause": "u.cause",
    "why": "k.why",
    "processes": "u.processes",
    "records": "u.records",
    **_TIMES,
}
_STRETCH_SHOWN = ("what", "first_ended_at", "last_ended_at", "processes", "why")
_TICKS = ("processes", "taskstats_s", "acct_s", "lost_s", "lost_percent")
_UNHEARD = Condition("u.before_first_start = 1")
_SELF_NS = "u.ended * 1000000000"


class Audit(NamedTuple):
    """The classes, the periods in which the doubtful ones cluster, and what ticks lost where both
    witnesses tell the CPU time.
    """

    classes: Report
    periods: Report
    ticks: Report
    words: list[str]


def queries(window: Window) -> dict[str, Query]:
    """The questions by the names of their answers; what still runs is in no window."""
    return {"classes": _classes(window), "periods": _periods(window)}


def audit(connection: sqlite3.Connection, window: Window, output: Output, now_ns: int) -> Audit:
    """The reconciliation of connector and accounting for what ended in a window."""
    asked = queries(window)
    found = asked["classes"].run(connection).fetchall()
    classes = _named(connection, window, found)
    periods: list[Row] = asked["periods"].run(connection).fetchall()
    gaps = completeness.gaps(connection, window)
    words = completeness.cut(len(periods), output.limit)
    if gaps:
        words.append(
            f"{completeness.count(gaps, 'gap')}{' in this window' if window else ''} (see: elsa"
            " report gaps)"
        )
    words += [
        *completeness.concluded(connection, window),
        *completeness.pruned(connection, Selection(window)),
    ]
    some = any(row[2] or row[3] for row in classes)
    words = (
        [*words, *silence(connection, window, now_ns)]
        if some
        else [completeness.nothing(connection, Selection(window)), *words]
    )
    shown = output.choose(_CLASS_COLUMNS, _CLASS_SHOWN)
    usual = ("host", *_STRETCH_SHOWN) if several_hosts(connection) else _STRETCH_SHOWN
    return Audit(
        Report(_CLASS_COLUMNS, shown, classes),
        Report(
            tuple(_STRETCH),
            usual if output.form == "table" else tuple(_STRETCH),
            periods[: output.limit],
        ),
        Report(_TICKS, _TICKS, [_ticks(found)]),
        words,
    )


def _summed(window: Window, keys: str, names: tuple[str, ...], *conditions: Condition) -> Query:
    """Sums over what ended in a window, by some keys."""
    sums = {name: rollup_source.sums(CLASS)[name] for name in names}
    source = rollup_source.source(CLASS, window, sums.values(), *conditions)
    listed = ", ".join((keys, *(f"{text} as {name}" for name, text in sums.items())))
    return Query(f"select {listed} {source.sql} group by {keys}", source.values)


def _classes(window: Window) -> Query:
    """A row per class that has anything in it: its name, first and last end in text, and what is
    compared.
    """
    summed = _summed(window, "u.class", (*_SUMS, *_COMPARED))
    own = " and ".join(["u.join_outcome = 3", *window.where(_SELF_NS)])
    times = f"min({_SELF_NS}) as first_ns, max({_SELF_NS}) as last_ns"
    union = (
        f"{summed.sql}\nunion all\nselect 'self', 0, count(*), {times}, 0, null, null from acct as"
        f" u where {own}"
    )
    listed = ", ".join(
        (
            "u.class",
            "u.processes",
            "u.records",
            *_TIMES.values(),
            *(f"u.{name}" for name in _COMPARED),
        )
    )
    return Query(f"select {listed} from ({union}) as u", summed.values)


def _named(connection: sqlite3.Connection, window: Window, found: list[Row]) -> list[Row]:
    sums = {row[0]: row[1:5] for row in found}
    names = connection.execute("select class, what from audit_class order by place").fetchall()
    return [
        (name, what, *sums.get(name, (0, 0, None, None)))
        for name, what in names
        if not (window and name == "running")
    ]


def _ticks(found: list[Row]) -> Row:
    processes, cpu_ns, ticks = (sum(row[place] or 0 for row in found) for place in (5, 6, 7))
    lost_ns = cpu_ns - ticks * 10_000_000
    return (
        processes,
        cpu_ns / 1e9,
        ticks / 100,
        lost_ns / 1e9,
        round(lost_ns * 100 / cpu_ns, 6) if cpu_ns else None,
    )


def _periods(window: Window) -> Query:
    """The periods of doubts that ended in a window, and for each boot what ended in it before
    anybody listened; the newest first.
    """
    sums = (
        "count(u.process_id) as processes, count(u.acct_id) as records, min(u.ended_ns) as"
        " first_ns, max(u.ended_ns) as last_ns"
    )
    conditions = window.where("u.ended_ns")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    keys = "u.boot_id, u.class, u.cause"
    doubts = f"select {keys}, {sums} from {_doubts(window)} as u{where} group by {keys}, u.period"
    before_first_start = _summed(window, "u.boot_id, u.class", _SUMS, _UNHEARD)
    before = "case when b.uuid is null then 'earlier_boot' else 'before' end"
    listed = ", ".join(f"u.{name}" for name in _SUMS)
    union = f"""{doubts}
union all
select u.boot_id, u.class, {before}, {listed} from ({before_first_start.sql}) as u join boot as b on b.id = u.boot_id"""
    return Query(
        f"""{select(_STRETCH)}
from ({union}) as u
join audit_class as c on c.class = u.class
join audit_cause as k on k.cause = u.cause
join boot as b on b.id = u.boot_id
join host as h on h.id = b.host_id
order by u.last_ns desc, u.class""",
        before_first_start.values,
    )


def _doubts(window: Window) -> str:
    """The view audit_unconfirmed, where there is a window with the hours of that alone: a condition
    around the view comes too late.
    """
    hours = window.hours("u.ended_hour")
    if not hours:
        return "audit_unconfirmed"
    view = "audit_unconfirmed_process"
    theirs = f"select * from main.{view} as u where {' and '.join(hours)}"
    return sql_files.over("audit_unconfirmed", view, theirs)


def write(report: Audit, output: Output, out: TextIO) -> None:
    """Classes, periods, ticks; where one file is one table, the classes alone, and so with
    columns of one's own choice.
    """
    if output.form in ("json", "jsonl") and output.columns is None:
        parts = {"classes": report.classes, "periods": report.periods, "ticks": report.ticks}
        found = {
            name: [writer.as_object(part.columns, row) for row in part.rows]
            for name, part in parts.items()
        }
        out.write(writer.as_json(found, indent=2 if output.form == "json" else None) + "\n")
        return
    writer.write(report.classes, output, out)
    if output.form != "table" or output.columns is not None:
        return
    if report.periods.rows:
        out.write("\n")
        writer.write(report.periods, output, out)
        report.words.extend(report.periods.words)
    if any(row[0] for row in report.ticks.rows):
        out.write("\nCPU time lost by accounting, which cuts it down to ticks:\n")
        writer.write(report.ticks, output, out)
