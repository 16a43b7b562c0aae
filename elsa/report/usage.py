"""The reports on usage by command, user or group, and by hour, day or month: of the whole host or
of jobs, in a window or in all.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from elsa.measures import ROLLED
from elsa.report import completeness, exactness
from elsa.report.query import active, periods, rollup_source, row_sums
from elsa.report.query.process_rows import NAMES, columns_of, names, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, listed, select
from elsa.report.query.warehouse import of_fleet
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.store import aggregates
from elsa.units import HOUR_NS

SHOWN = (
    "processes",
    "records",
    "elapsed_s",
    "user_s",
    "system_s",
    "cpu_s",
    "rss_kib",
    "read_bytes",
    "write_bytes",
)
ACTIVE = "active"
"""How many processes lived: a column that is read only if it is asked for by name."""
HOST = "host"
"""A key of commands and periods, only if it is asked for by name; and of users and groups, which
may be different on each host.
"""
_HOST_OF_JOB = (
    "(select b.host_id from job as j join boot as b on b.id = j.boot_id where j.id = u.job_id)"
)
_IDS = {"user": "uid", "group": "gid"}
_OF_ITS_HOST = "a fleet database has the sums of a job as a whole; its host knows its commands"
# In a plot, up to this many consecutive empty periods have a line each.
MOST_EMPTY = 100
# Always selected, to decide which rows are left out, and for the notes.
_ALWAYS = ("processes", "running", "records", "unjoined", *exactness.MEASURED)


class By(NamedTuple):
    """What usage is summed by."""

    noun: str
    keys: dict[str, str]
    """The key columns and their expressions."""
    shown: tuple[str, ...]
    rollups: tuple[str, ...]
    """The rollups that have these keys."""
    period: str | None = None
    """The kind of period, if it is summed by time; the rows are then in the order of time."""
    apart: tuple[str, ...] = ()
    """Further keys, which are not shown."""
    by_name: tuple[str, ...] = (ACTIVE,)
    """The columns that it has only if they are asked for by name."""

    def of(self, selection: Selection, output: Output) -> By:
        """The same with the names of a selection. If it has several hosts, the host is a key of
        users and groups, since an id may be another user on each host, unless the site says
        otherwise; of everything else it is a key if the output asks for it.
        """
        named = names(selection)
        by = self._replace(keys={key: named.get(key, text) for key, text in self.keys.items()})
        if not selection.apart or HOST in by.keys:
            return by
        if by.noun in _IDS and not selection.same_users:
            by = by._replace(shown=(HOST, *by.shown))
        elif not output.asks_for(HOST):
            by = by._replace(by_name=(*by.by_name, HOST))
            if by.noun in _IDS and not selection.ids:
                unnamed = f"host_of_unnamed('{by.noun}', {by.keys[_IDS[by.noun]]}, u.host_id)"
                by = by._replace(apart=(unnamed,))
            return by
        # The sums of a job have no column of its host.
        host_id = _HOST_OF_JOB if rollup_of(by, selection) == "rollup_job" else "u.host_id"
        name = host_id if selection.ids else f"host_name({host_id})"
        return by._replace(keys={HOST: name, **by.keys}, apart=(host_id,))


COMMANDS = By(
    "command",
    {"command": "u.command", "forked_only": "u.forked_only"},
    ("command", "forked_only"),
    ("rollup_command",),
)
"""By command and whether it ever called exec, which is GNU sa's key."""
USERS = By("user", {"user": NAMES["user"], "uid": "u.uid"}, ("user",), ("rollup_user",))
"""By real uid."""
GROUPS = By("group", {"group": NAMES["group"], "gid": "u.gid"}, ("group",), ("rollup_user",))
"""By real gid, which is known from accounting records only."""
_OF_PERIODS = (rollup_source.ALL, "rollup_user", "rollup_command")
HOURS, DAYS, MONTHS = (
    By(kind, {kind: "p.label"}, (kind,), _OF_PERIODS, kind)
    for kind in (periods.HOUR, periods.DAY, periods.MONTH)
)
"""By the hour, day or month of this host's clock in which a process ended."""


def columns(by: By, selection: Selection, rollup: str | None = None) -> dict[str, str]:
    """Every column with its expression, over processes or over a rollup."""
    if rollup is not None:
        sums = rollup_source.sums(rollup)
        return by.keys | {key: sums[key] for key in row_sums.sums()}
    if not selection.clip:
        return by.keys | row_sums.sums(None)
    share = periods.SHARE if by.period else row_sums.share(selection.window)
    return by.keys | row_sums.sums(share) | {"estimate": "1"}


def rollup_of(by: By, selection: Selection) -> str | None:
    """The rollup that has all these sums, if any. rollup_job has the hours of a single job, but not
    its commands and users.
    """
    if by.period and selection.job is not None and not (selection.clip or selection.choices):
        return "rollup_job"
    return next(
        (
            table
            for table in by.rollups
            if rollup_source.suits(table, selection) and rollup_source.has(table, by.keys.values())
        ),
        None,
    )


def _rolled(by: By, rollup: str, selection: Selection, *expressions: str) -> Query:
    jobs = None if selection.jobs is None else listed(selection.jobs)
    return rollup_source.source(
        rollup, selection.window, expressions, *selection.choices, days=by.period is None, jobs=jobs
    )


def _rollup_used(by: By, selection: Selection, laid: list[periods.Period] | None) -> str | None:
    """The rollup that the sums are from, if any; periods that are not whole hours have none."""
    if laid is not None and not periods.are_whole_hours(laid):
        return None
    return rollup_of(by, selection)


def query(
    by: By,
    selection: Selection,
    output: Output,
    laid: list[periods.Period] | None = None,
    active_from_ns: int | None = None,
) -> tuple[Query, tuple[str, ...]]:
    """The query for the sums by key, most CPU first, or in the order of the periods `laid`; and the
    columns to write. `active_from_ns`: from when on it is known how many processes lived; None:
    always.
    """
    by = by.of(selection, output)
    rollup = _rollup_used(by, selection, laid)
    known = columns(by, selection, rollup)
    usual = [*by.shown, *SHOWN, *(["estimate"] if selection.clip else [])]
    shown = output.choose(known, usual, by_name=by.by_name)
    known[ACTIVE] = active.expression(selection, active_from_ns, by_period=by.period is not None)
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *_ALWAYS))}
    if by.noun in _IDS and not selection.ids:  # for told_apart
        chosen |= {_IDS[by.noun]: by.keys[_IDS[by.noun]]}
        if by.apart:
            chosen[HOST] = f"host_name({by.apart[0]})"
    if _has_classes(by, selection):
        chosen |= {
            key: aggregates.of_rows(measure)
            for key, measure in ROLLED.items()
            if key in completeness.CLASS_SUMS
        }
    keys = ", ".join((*by.keys.values(), *by.apart))
    usual_order = f"{known['cpu_s']} desc nulls last, processes desc, {keys}"
    if by.period:
        usual_order = ", ".join(["min(p.since_ns)", *([by.keys[HOST]] if HOST in by.keys else [])])
    order = output.order(known, usual_order)
    joined = ""
    if laid is not None:
        joined = "\n" + periods.join(laid, clip=selection.clip, rolled=rollup is not None)
    wanted = columns_of([*chosen.values(), keys, order, joined])
    needed = [f"u.{name}" for name in sorted(wanted - {active.LIVED})]
    source = rows(selection, needed, used=_is_used(by, selection))
    if rollup is not None:
        source = _rolled(by, rollup, selection, *needed)
    if active.LIVED in wanted:
        source = active.with_active(source, needed, keys, selection, laid)
    text = f"{select(chosen)}\n{source.sql}{joined}\ngroup by {keys}\n{order}"
    return Query(text, source.values), shown


def measures(by: By, selection: Selection, output: Output) -> set[str]:
    """What `usage` reads of the measures."""
    known = columns(by, selection)
    shown = output.choose(known, [*by.shown, *SHOWN], by_name=by.by_name)
    sorting = (key for key, _ in output.sorting((*known, *by.by_name)))
    return {*shown, *sorting, *_ALWAYS, *completeness.CLASS_SUMS}


def _is_used(by: By, selection: Selection) -> bool:
    """Whether usage counts when it was used, not with the process as a whole: the same sums, except
    that a process may have changed its user or command. A whole job is summed by process, which
    takes less time.
    """
    return bool(by.period or selection.window or selection.clip or selection.jobs is None)


class Prepared(NamedTuple):
    """What a report asks the warehouse."""

    queries: list[Query]
    """All queries to run, the sums last."""
    shown: tuple[str, ...]
    rollup: str | None
    """The rollup that the sums are from, if any."""
    words: list[str]


def prepared(
    connection: sqlite3.Connection, by: By, selection: Selection, output: Output
) -> Prepared:
    """The queries to run, with notes."""
    by = by.of(selection, output)
    laid: list[periods.Period] | None = None
    words: list[str] = []
    if by.period is not None:
        rollup = rollup_of(by, selection)
        source = None if rollup is None else _rolled(by, rollup, selection)
        laid, words = periods.of(connection, by.period, selection, source)
    asked, shown = query(by, selection, output, laid, active.known_from(connection, selection))
    before = [] if laid is None else periods.prepare(laid)
    return Prepared([*before, asked], shown, _rollup_used(by, selection, laid), words)


def usage(
    connection: sqlite3.Connection,
    by: By,
    selection: Selection,
    output: Output,
    *,
    everything: bool = False,
    losses: str | None = None,
) -> Report:
    """Sums by key, most CPU first. Unless `everything`, keys whose processes all still run are left
    out.

    A caller that has counted the gaps already passes `losses`, the note on them.
    """
    by = by.of(selection, output)
    (*before, asked), shown, rollup, words = prepared(connection, by, selection, output)
    for statement in before:
        statement.run(connection)
    cursor = asked.run(connection)
    names = tuple(column[0] for column in cursor.description)
    groups = cursor.fetchall()  # the groups are few
    pruned = _pruned(connection, by, selection, names)
    groups += pruned
    fleet = of_fleet(connection)
    processes, running, records, cpu = (
        names.index(key) for key in ("processes", "running", "records", "cpu_s")
    )
    # A running process that left a job has figures for its time in the job.
    kept = [
        row
        for row in groups
        if everything
        or row[records]
        or row[processes] > row[running]
        or row[cpu] is not None
        or (ACTIVE in names and row[names.index(ACTIVE)])
    ]
    classes = _classes(by, selection, names, groups)
    if rollup is None and _keeps_pruned(by, selection):
        rollup = "rollup_job"
    words += [
        *completeness.words(connection, selection, losses, classes, rollup),
        *([] if fleet else completeness.without_name([row[processes] for row in pruned])),
        *exactness.measured(connection, names, groups, shown),
        *exactness.estimate(connection, selection),
    ]
    if (by.period or selection.window) and selection.jobs is None and not selection.choices:
        words += exactness.inferred_ends(connection, selection.window)
        if not selection.clip:
            words += exactness.unread(connection, selection.window)
    nothing = partial(completeness.nothing, connection, selection)
    if pruned and fleet:
        kept, nothing = [], partial(str, _OF_ITS_HOST)
    words += exactness.cut_intervals(connection, selection)
    words += completeness.left_out(len(groups) - len(kept), by.noun)
    words += completeness.cut(len(kept), output.limit)
    # A limit keeps the newest periods.
    newest = by.period is not None and output.sort is None and output.limit is not None
    kept = kept[-(output.limit or 0) :] if newest else kept[: output.limit]
    return Report(
        names,
        shown,
        kept,
        words,
        nothing=nothing,
        completeness=partial(completeness.facts, connection, selection, rollup),
    )


def told_apart(report: Report) -> Report:
    """The same for readers: a name that stands in several rows has the id behind it, or the host if
    that is shown nowhere else.
    """
    for name, id_ in _IDS.items():
        if name in report.shown and id_ in report.columns:
            return replace(report, rows=_told_apart(report, name, id_))
    return report


def _told_apart(report: Report, name: str, id_: str) -> list[Row]:
    rows = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
    keys = [key for key in (HOST, name) if key in report.shown]
    number = Counter(tuple(row[key] for key in keys) for row in rows)
    for row in rows:
        if number[tuple(row[key] for key in keys)] > 1 and row[name] is not None:
            host = None if HOST in keys else row.get(HOST)
            row[name] = f"{row[name]} ({row[id_] if host is None else host})"
    return [tuple(row.values()) for row in rows]


def _keeps_pruned(by: By, selection: Selection) -> bool:
    """Whether pruned processes have a row of their own: for a single job their sums are kept, but
    not by command or user.
    """
    return (
        by.period is None
        and selection.job is not None
        and not (selection.clip or selection.choices)
    )


def _pruned(
    connection: sqlite3.Connection, by: By, selection: Selection, names: tuple[str, ...]
) -> list[Row]:
    """The row of pruned processes, without keys, as in the views job_command_usage and
    job_user_usage; empty if none was pruned.
    """
    if not _keeps_pruned(by, selection):
        return []
    columns = {
        name: "null" if name in (*by.keys, ACTIVE) else rollup_source.sums("rollup_job")[name]
        for name in names
    }
    where = " and ".join(
        [
            "u.pruned = 1",
            "u.job_id = ?",
            *rollup_source.whole_hours(selection.window).where("u.hour"),
        ]
    )
    text = (
        f"{select(columns)}\nfrom {rollup_source.by_hour('rollup_job')} as u where {where} having"
        " count(*) > 0"
    )
    return connection.execute(text, (selection.job,)).fetchall()


def _classes(
    by: By, selection: Selection, names: tuple[str, ...], groups: list[Row]
) -> dict[str, tuple[int, int]] | None:
    """The classes of the processes, from the same query; None if the query does not have them, or
    the groups are not all processes.
    """
    if not _has_classes(by, selection):
        return None
    processes, *sums = (
        sum(row[names.index(key)] for row in groups)
        for key in ("processes", *completeness.CLASS_SUMS)
    )
    classes = completeness.classes_of(tuple(sums))
    return classes if sum(number for number, _ in classes.values()) == processes else None


def _has_classes(by: By, selection: Selection) -> bool:
    """Whether the query also sums the classes: if its groups are all processes of the selection, so
    without periods, which leave out running processes, and without a window.
    """
    return (
        by.period is None
        and selection.jobs is not None
        and not (selection.window or selection.clip)
    )


def plot(
    connection: sqlite3.Connection,
    report: Report,
    by: By,
    key: str,
    output: Output,
    *,
    blocks: bool,
) -> str:
    """A bar for each period. Empty periods between them have a line each, or a common line if there
    are many.
    """
    from elsa.report.render.columns import COLUMNS
    from elsa.report.render.plot import bars

    label, value = (report.columns.index(name) for name in (by.noun, key))
    values = {row[label]: row[value] for row in report.rows}
    laid = periods.prepared(connection)
    present = [place for place, period in enumerate(laid) if period.label in values]
    points: list[tuple[str, float | None]] = []
    for before, place in pairwise([present[0], *present] if present else []):
        this = laid[place]
        hours = (this.since_ns - laid[before].until_ns) // HOUR_NS
        if place - before > MOST_EMPTY or (place - before == 1 and hours > 0):
            points.append((f"{hours} h without any", None))
        else:
            points += [(period.label, None) for period in laid[before + 1 : place]]
        points.append((this.label, values[this.label]))
    return bars(points, COLUMNS[key], output.width, blocks=blocks, units=output.units)
