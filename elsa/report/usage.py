"""What commands, users and groups used, on the whole host or in jobs, and in a window; and what was
used by the hour, day or month.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from elsa.measures import ROLLED
from elsa.report import completeness
from elsa.report.query import periods, rollup_source
from elsa.report.query import sums as measures
from elsa.report.query.selection import Selection
from elsa.report.query.statement import NAMES, NAMES_APART, Query, listed, rows, select
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.state.clock import HOUR_NS
from elsa.store import aggregates

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
# So many periods without anything have a line each in a plot.
MOST_EMPTY = 100
# Asked for whatever is shown: for what is left out, and for the words beside it.
_ALWAYS = ("processes", "running", "records", "unjoined", *completeness.MEASURED)


class By(NamedTuple):
    """What is summed by."""

    noun: str
    keys: dict[str, str]
    """The key columns and their expressions."""
    shown: tuple[str, ...]
    rollups: tuple[str, ...]
    """Which have the sums of long windows."""
    period: str | None = None
    """Which periods of time, where it is by them; then they come in their order."""
    apart: tuple[str, ...] = ()
    """What else tells one from another, and is not shown."""

    def of(self, selection: Selection) -> By:
        """The same with a line for each host, where ids mean others on each."""
        if not selection.apart or self.noun not in ("user", "group"):
            return self
        keys = {
            "host": "host_name(u.host_id)",
            **{key: NAMES_APART.get(key, text) for key, text in self.keys.items()},
        }
        return self._replace(keys=keys, shown=("host", *self.shown), apart=("u.host_id",))


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
"""By real gid, which only accounting records tell."""
_OF_PERIODS = (rollup_source.ALL, "rollup_user", "rollup_command")
HOURS, DAYS, MONTHS = (
    By(kind, {kind: "p.label"}, (kind,), _OF_PERIODS, kind)
    for kind in (periods.HOUR, periods.DAY, periods.MONTH)
)
"""By the hour, day or month of this host's clock in which a process ended."""


def columns(by: By, selection: Selection, rollup: str | None = None) -> dict[str, str]:
    """Every column that there is, with its expression, over processes or over a rollup."""
    if rollup is not None:
        sums = rollup_source.sums(rollup)
        return by.keys | {key: sums[key] for key in measures.sums()}
    part = None
    if selection.clip:
        part = periods.SHARE if by.period else measures.share(selection.window)
    marked = {"estimate": "1"} if selection.clip else {}
    return by.keys | measures.sums(part) | marked


def _rollup(by: By, selection: Selection) -> str | None:
    """The rollup that has it all, if one does; of a single job its own has the hours, but neither
    commands nor users.
    """
    if by.period and selection.job is not None and not (selection.clip or selection.choices):
        return "rollup_job"
    return next((table for table in by.rollups if rollup_source.suits(table, selection)), None)


def _rolled(by: By, rollup: str, selection: Selection, *expressions: str) -> Query:
    jobs = None if selection.jobs is None else listed(selection.jobs)
    return rollup_source.source(
        rollup, selection.window, expressions, *selection.choices, days=by.period is None, jobs=jobs
    )


def _used(by: By, selection: Selection, laid: list[periods.Period] | None) -> str | None:
    """The rollup that the sums are from, if they are; where the periods divide hours none can be."""
    return (
        None if laid is not None and not periods.are_whole_hours(laid) else _rollup(by, selection)
    )


def query(
    by: By, selection: Selection, output: Output, laid: list[periods.Period] | None = None
) -> tuple[Query, tuple[str, ...]]:
    """The sums by key, the dearest first, or in the order of the periods that were laid out; and
    the columns to write.
    """
    by = by.of(selection)
    rollup = _used(by, selection, laid)
    known = columns(by, selection, rollup)
    shown = output.choose(known, [*by.shown, *SHOWN, *(["estimate"] if selection.clip else [])])
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *_ALWAYS))}
    if _tells_seen(by, selection):
        chosen |= {
            key: aggregates.of_rows(measure)
            for key, measure in ROLLED.items()
            if key in completeness.WITNESSES
        }
    keys = ", ".join((*by.keys.values(), *by.apart))
    order = output.order(
        known,
        (
            "min(p.since_ns)"
            if by.period
            else f"{known['cpu_s']} desc nulls last, processes desc, {keys}"
        ),
    )
    joined = (
        ""
        if laid is None
        else "\n" + periods.join(laid, clip=selection.clip, rolled=rollup is not None)
    )
    needed = (*chosen.values(), keys, order, joined)
    source = (
        _rolled(by, rollup, selection, *needed) if rollup is not None else rows(selection, needed)
    )
    return (
        Query(f"{select(chosen)}\n{source.sql}{joined}\ngroup by {keys}\n{order}", source.values),
        shown,
    )


class Prepared(NamedTuple):
    """What a report asks the warehouse."""

    queries: list[Query]
    """All that is to be run, the sums last."""
    shown: tuple[str, ...]
    rollup: str | None
    """The hourly sums that they are from, if they are."""
    words: list[str]


def prepared(
    connection: sqlite3.Connection, by: By, selection: Selection, output: Output
) -> Prepared:
    """All that is to be run, and what must be said of it."""
    rollup = _rollup(by, selection)
    source = None if rollup is None else _rolled(by, rollup, selection)
    laid, words = (
        (None, []) if by.period is None else periods.of(connection, by.period, selection, source)
    )
    asked, shown = query(by, selection, output, laid)
    return Prepared(
        [*([] if laid is None else periods.prepare(laid)), asked],
        shown,
        _used(by, selection, laid),
        words,
    )


def usage(
    connection: sqlite3.Connection,
    by: By,
    selection: Selection,
    output: Output,
    *,
    everything: bool = False,
    losses: str | None = None,
) -> Report:
    """Sums by key, the dearest first. Unless `everything`, those are left out of which nothing is
    known yet, since all still run.

    `losses` is to be said of known losses, where somebody has counted them already.
    """
    (*before, asked), shown, rollup, said = prepared(connection, by, selection, output)
    for statement in before:
        statement.run(connection)
    found = asked.run(connection)
    names = tuple(column[0] for column in found.description)
    groups = found.fetchall()  # the groups are few
    gone = _pruned(connection, by, selection, names)
    groups += gone
    processes, running, records, cpu = (
        names.index(key) for key in ("processes", "running", "records", "cpu_s")
    )
    # What runs on after it was taken out of a job is known of as far as it was in it.
    kept = [
        row
        for row in groups
        if everything or row[records] or row[processes] > row[running] or row[cpu] is not None
    ]
    words = (
        said
        + completeness.words(
            connection,
            selection,
            losses,
            _seen(by, selection, names, groups),
            rollup or ("rollup_job" if _keeps_pruned(by, selection) else None),
        )
        + completeness.without_name([row[processes] for row in gone])
        + completeness.measured(connection, names, groups, shown)
        + completeness.estimate(selection)
    )
    if (by.period or selection.window) and selection.jobs is None and not selection.choices:
        words += completeness.concluded(connection, selection.window)
    words += completeness.left_out(len(groups) - len(kept), by.noun) + completeness.cut(
        len(kept), output.limit
    )
    # Of periods the newest are kept, since a limit there means how far back.
    newest = by.period is not None and output.sort is None and output.limit is not None
    kept = kept[-(output.limit or 0) :] if newest else kept[: output.limit]
    return Report(
        names, shown, kept, words, nothing=partial(completeness.nothing, connection, selection)
    )


def _keeps_pruned(by: By, selection: Selection) -> bool:
    """Whether what was pruned is a row of its own: what is asked is of one job, whose sums are
    known, but not by whom or what.
    """
    return (
        by.period is None
        and selection.job is not None
        and not (selection.clip or selection.choices)
    )


def _pruned(
    connection: sqlite3.Connection, by: By, selection: Selection, names: tuple[str, ...]
) -> list[Row]:
    """That row, without keys, as in the views job_command_usage and job_user_usage; none if nothing
    was pruned.
    """
    if not _keeps_pruned(by, selection):
        return []
    columns = {
        name: "null" if name in by.keys else rollup_source.sums("rollup_job")[name]
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


def _seen(
    by: By, selection: Selection, names: tuple[str, ...], groups: list[Row]
) -> dict[str, tuple[int, int]] | None:
    """Who saw the processes, from the same look at them; None where it is known otherwise, or these
    were not all.
    """
    if not _tells_seen(by, selection):
        return None
    processes, *sums = (
        sum(row[names.index(key)] for row in groups)
        for key in ("processes", *completeness.WITNESSES)
    )
    found = completeness.told_by(tuple(sums))
    return found if sum(number for number, _ in found.values()) == processes else None


def _tells_seen(by: By, selection: Selection) -> bool:
    """Whether the sums are over just those processes whose witnesses are told of: no period leaves
    out what runs, no window cuts.
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
    """One figure of each period as a bar; periods between them in which nothing ended stand empty,
    or are told in one line.
    """
    from elsa.report.render.columns import COLUMNS
    from elsa.report.render.plot import bars

    label, value = (report.columns.index(name) for name in (by.noun, key))
    values = {row[label]: row[value] for row in report.rows}
    laid = connection.execute(
        "select label, since_ns, until_ns from period order by since_ns"
    ).fetchall()
    present = [place for place, (name, *_) in enumerate(laid) if name in values]
    points: list[tuple[str, float | None]] = []
    # Between them a line for each period without anything; one for all of a long time.
    for before, place in pairwise([present[0], *present] if present else []):
        last, this = laid[before], laid[place]
        hours = (this[1] - last[2]) // HOUR_NS
        if place - before > MOST_EMPTY or (place - before == 1 and hours > 0):
            points.append((f"{hours} h without any", None))
        else:
            points += [(name, None) for name, *_ in laid[before + 1 : place]]
        points.append((this[0], values[this[0]]))
    return bars(points, COLUMNS[key], output.width, blocks=blocks, units=output.units)
