"""The audit: compare the connector with accounting. Which processes do both report, which only one
of them, when, and what is the likely cause?
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple, TextIO

from elsa.report import completeness, exactness
from elsa.report.collector_status import silence
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
from elsa.report.query.times import Window, iso, reported
from elsa.report.query.warehouse import of_fleet, several_hosts
from elsa.report.render import writer
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.store import sql_files
from elsa.store.rollups import CLASS

# The views audit, audit_period and audit_ticks are the same without a window; a test checks that.
_SUMS = ("processes", "records", "first_ns", "last_ns")
_COMPARED = ("compared", "compared_ns", "compared_ticks")
_CLASS_SHOWN = ("what", "processes", "records", "first_ended_at", "last_ended_at")
_CLASS_COLUMNS = ("class", *_CLASS_SHOWN)
_TIMES = {f"{which}_ended_at": iso(f"u.{which}_ns") for which in ("first", "last")}
_PERIOD = {
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
_PERIOD_SHOWN = ("what", "first_ended_at", "last_ended_at", "processes", "why")
_TICKS = ("processes", "taskstats_s", "acct_s", "lost_s", "lost_percent")
_GROUPS = (
    "job_id",
    "name",
    "ended_at",
    "processes",
    "group_cpu_s",
    "cpu_s",
    "difference_s",
    "not_compared",
)
# How many jobs are compared with their control groups if no limit was given.
_MOST_GROUPS = 20
_BEFORE_FIRST_START = Condition("u.before_first_start = 1")
_SELF_NS = "u.ended_s * 1000000000"


class ClassSums(NamedTuple):
    """A row of the query of classes."""

    class_: str
    processes: int
    records: int
    first_ended_at: str | None
    last_ended_at: str | None
    compared: int | None
    compared_ns: int | None
    compared_ticks: int | None


class Audit(NamedTuple):
    """The classes, the periods in which unconfirmed processes cluster, the CPU time that accounting
    lost to ticks, for processes of which taskstats reports it too, and jobs against what their
    control groups counted.
    """

    classes: Report
    periods: Report
    ticks: Report
    groups: Report
    words: list[str]

    def columns(self) -> list[str]:
        """All columns of all parts, each once and in their order."""
        parts = (self.classes, self.periods, self.ticks, self.groups)
        return list(dict.fromkeys(key for part in parts for key in part.shown))


def queries(window: Window) -> dict[str, Query]:
    """The queries of an audit by name. Processes that still run are in no window."""
    return {"classes": _classes(window), "periods": _periods(window)}


def audit(connection: sqlite3.Connection, window: Window, output: Output, now_ns: int) -> Audit:
    """The reconciliation of connector and accounting for what ended in a window."""
    asked = queries(window)
    sums = [ClassSums(*row) for row in asked["classes"].run(connection)]
    periods: list[Row] = asked["periods"].run(connection).fetchall()
    words = completeness.cut(len(periods), output.limit)
    if gaps := completeness.gaps(connection, window):
        words.append(completeness.losses(gaps, Selection(window)))
    words += [
        *exactness.inferred_ends(connection, window),
        *completeness.pruned(connection, Selection(window)),
    ]
    classes = _all_classes(connection, window, sums)
    if any(processes or records for _, _, processes, records, *_ in classes):
        words += silence(connection, window, now_ns)
    else:
        words.insert(0, completeness.nothing(connection, Selection(window)))
    columns = tuple(_PERIOD)
    shown = columns
    if output.form == "table":
        shown = ("host", *_PERIOD_SHOWN) if several_hosts(connection) else _PERIOD_SHOWN
    return Audit(
        Report(_CLASS_COLUMNS, output.choose(_CLASS_COLUMNS, _CLASS_SHOWN), classes),
        Report(columns, shown, periods[: output.limit]),
        Report(_TICKS, _TICKS, [_ticks(sums)]),
        Report(_GROUPS, _GROUPS, groups_query(window, output.limit).run(connection).fetchall()),
        words,
    )


def groups_query(window: Window, limit: int | None) -> Query:
    """The newest jobs that closed in a window and whose control groups were read."""
    conditions = window.where("j.closed_at_ns")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    newest = (
        f"select g.job_id from job_cgroup as g join job as j on j.id = g.job_id{where}"
        f" order by g.job_id desc limit {limit or _MOST_GROUPS}"
    )
    usage = f"select * from {rollup_source.job_usage(newest)}"
    view = sql_files.over("audit_group", job_usage=usage)
    columns = ", ".join(reported(key, "") for key in _GROUPS)
    return Query(f"select {columns} from {view} order by job_id desc")


def _summed(window: Window, keys: str, names: tuple[str, ...], *conditions: Condition) -> Query:
    """Sums over what ended in a window, by keys."""
    sums = {name: rollup_source.sums(CLASS)[name] for name in names}
    source = rollup_source.source(CLASS, window, sums.values(), *conditions)
    listed = ", ".join((keys, *(f"{text} as {name}" for name, text in sums.items())))
    return Query(f"select {listed} {source.sql} group by {keys}", source.values)


def _classes(window: Window) -> Query:
    """A ClassSums row for each class that is not empty."""
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


def _all_classes(
    connection: sqlite3.Connection, window: Window, sums: list[ClassSums]
) -> list[Row]:
    """The rows of the report on classes, with those that are empty."""
    of_class: dict[str, Row] = {
        row.class_: (row.processes, row.records, row.first_ended_at, row.last_ended_at)
        for row in sums
    }
    if of_fleet(connection):  # which has no processes, and no records of acct(2) itself
        of_class |= dict.fromkeys(("running", "self"), (None, None, None, None))
    names = connection.execute("select class, what from audit_class order by place").fetchall()
    return [
        (name, what, *of_class.get(name, (0, 0, None, None)))
        for name, what in names
        if not (window and name == "running")
    ]


def _ticks(sums: list[ClassSums]) -> Row:
    processes = sum(row.compared or 0 for row in sums)
    cpu_ns = sum(row.compared_ns or 0 for row in sums)
    ticks = sum(row.compared_ticks or 0 for row in sums)
    lost_ns = cpu_ns - ticks * 10_000_000
    lost_percent = round(lost_ns * 100 / cpu_ns, 6) if cpu_ns else None
    return (processes, cpu_ns / 1e9, ticks / 100, lost_ns / 1e9, lost_percent)


def _periods(window: Window) -> Query:
    """The periods of unconfirmed processes that ended in a window, and for each boot the processes
    that ended before jobd first ran; newest first.
    """
    sums = (
        "count(u.process_id) as processes, count(u.acct_id) as records, min(u.ended_ns) as"
        " first_ns, max(u.ended_ns) as last_ns"
    )
    conditions = window.where("u.ended_ns")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    keys = "u.boot_id, u.class, u.cause"
    unconfirmed = (
        f"select {keys}, {sums} from {completeness.unconfirmed(window)} as u{where}"
        f" group by {keys}, u.period"
    )
    before_first_start = _summed(window, "u.boot_id, u.class", _SUMS, _BEFORE_FIRST_START)
    before = "case when b.uuid is null then 'earlier_boot' else 'before' end"
    listed = ", ".join(f"u.{name}" for name in _SUMS)
    union = f"""{unconfirmed}
union all
select u.boot_id, u.class, {before}, {listed}
from ({before_first_start.sql}) as u join boot as b on b.id = u.boot_id"""
    return Query(
        f"""{select(_PERIOD)}
from ({union}) as u
join audit_class as c on c.class = u.class
join audit_cause as k on k.cause = u.cause
join boot as b on b.id = u.boot_id
join host as h on h.id = b.host_id
order by u.last_ns desc, u.class""",
        before_first_start.values,
    )


def write(report: Audit, output: Output, out: TextIO) -> None:
    """Write classes, periods and ticks. Write only the classes in formats of one table, and if the
    user chose columns.
    """
    if output.form in ("json", "jsonl") and output.columns is None:
        parts = {
            "classes": report.classes,
            "periods": report.periods,
            "ticks": report.ticks,
            "groups": report.groups,
        }
        writer.write_parts(parts, output, out)
        return
    writer.write(report.classes, output, out)
    if output.form != "table" or output.columns is not None:
        return
    if report.periods.rows:
        out.write("\n")
        writer.write(report.periods, output, out)
        report.words.extend(report.periods.words)
    (ticks,) = report.ticks.rows
    if ticks[_TICKS.index("processes")]:
        out.write("\nCPU time lost by accounting, which cuts it down to ticks:\n")
        writer.write(report.ticks, output, out)
    if report.groups.rows:
        out.write("\nCPU time that control groups counted, against the sum over their processes:\n")
        writer.write(report.groups, output, out)
