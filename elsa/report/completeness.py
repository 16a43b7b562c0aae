"""Notes on how complete a report is: which sources reported its processes, what is missing."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import datetime
from typing import Any

from elsa.report.collector_status import late, open_gaps
from elsa.report.query import rollup_source
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, listed, select, values_of
from elsa.report.query.times import Window
from elsa.report.query.warehouse import of_fleet, own_only
from elsa.report.render.writer import Row
from elsa.state.codes import How
from elsa.store import job_members, sql_files
from elsa.text import counted, was
from elsa.units import HOUR_NS

# Notes for one process, and for several, that are not members of their jobs from start to end.
_MEMBERS = {
    "inferred": (
        "the membership of 1 process was inferred: its fork was not received",
        "the membership of {} processes was inferred: their forks were not received",
    ),
    "part_life_unknown": (
        "1 process was in its job for a part of its lifetime only; what it used there is not known"
        " (it may still run)",
        "{} processes were in their jobs for a part of their lifetime only; what they used there is"
        " not known (they may still run)",
    ),
    "part_life": (
        "1 process was in its job for a part of its lifetime only, and is charged for that part",
        "{} processes were in their jobs for a part of their lifetime only, and are charged for"
        " that part",
    ),
    "part_life_whole": (
        "1 process was in its job for a part of its lifetime only; all of its usage is charged,"
        " since its counters were not read",
        "{} processes were in their jobs for a part of their lifetime only; all of their usage is"
        " charged, since their counters were not read",
    ),
}
# Classes of sql/audit/audit_class.sql that are accounting records without a process.
_UNJOINED = ("pending", "ambiguous")
# The classes of what nothing is missing of.
_WHOLE = {"both", "self"}
CLASS_SUMS = (
    "seen_by_both",
    "uncertain",
    "without_record",
    "only_by_acct",
    "still_running",
    "unjoined",
)
"""The sums that count processes and records by class."""


def words(
    connection: sqlite3.Connection,
    selection: Selection,
    losses: str | None = None,
    found: dict[str, tuple[int, int]] | None = None,
    rollup: str | None = None,
    lacking: list[str] | None = None,
) -> list[str]:
    """Notes on how complete a report on a selection is; none if both sources report everything.

    A caller that knows them already passes `losses`, the note on gaps, and `found`, the classes.
    `rollup` is the table of hourly sums that the report is from, if any. `lacking` replaces the
    notes on pruned processes.
    """
    if found is None:
        found = classes(connection, selection)
    if losses is None:
        losses = _losses(connection, selection)
    if lacking is None:
        lacking = pruned(connection, selection, rollup)
    line = _line(connection, selection, found, losses)
    members = _members(connection, selection) if selection.jobs is not None else []
    return [*([line] if line else []), *members, *lacking]


def facts(
    connection: sqlite3.Connection,
    selection: Selection,
    rollup: str | None = None,
    found: dict[str, tuple[int, int]] | None = None,
    listed_jobs: Selection | None = None,
) -> dict[str, Any]:
    """The same for programs: how many processes and records each source reported, how many gaps
    there are (those that are still open too), and whether nothing is missing or uncertain.

    `listed_jobs` are the rows of a list of jobs. Gaps are those of the selection, since whole jobs
    may be missing in the list.
    """
    now_ns = time.time_ns()
    of = selection if listed_jobs is None else listed_jobs
    if found is None:
        found = classes(connection, of)
    number = _number_of_gaps(connection, selection) + open_gaps(connection, selection, now_ns)
    missing = number or pruned(connection, of, rollup) or late(connection, selection, now_ns)
    missing = missing or _number_of_gaps(connection, of)
    whole: bool | None = not missing and found.keys() <= _WHOLE
    sources = {
        name: {"processes": processes, "records": records}
        for name, (processes, records) in found.items()
    }
    if of_fleet(connection) and of.jobs is not None:
        # It does not know the sources of each job's processes.
        return {"complete": None if whole else whole, "gaps": number, "sources": None}
    return {"complete": whole, "gaps": number, "sources": sources}


def classes(connection: sqlite3.Connection, selection: Selection) -> dict[str, tuple[int, int]]:
    """The numbers of processes and records by class. No running process is in a window; no record
    without a process is in a job.
    """
    for table in (rollup_source.ALL, "rollup_user"):
        if rollup_source.suits(table, selection):
            return _rolled_classes(connection, table, selection)
    if selection.choices or selection.clip or selection.alive:
        source = rows(selection, ["u.class", "u.process_id", "u.acct_id"])
        counts = Query(
            f"select u.class, count(u.process_id), count(u.acct_id) {source.sql} group by 1",
            source.values,
        ).run(connection)
    else:
        members = job_members.processes(listed(selection.jobs or ()))
        when = " and ".join([f"u.process_id in ({members})", *selection.window.where("u.ended_ns")])
        # The limit keeps this a query of its own: where rows are grouped, SQLite also looks up
        # tables of which no column is used.
        found = f"select u.class, u.acct_id from incarnation_usage as u where {when} limit -1"
        counts = connection.execute(
            f"select u.class, count(*), count(u.acct_id) from ({found}) as u group by 1"
        )
    return {name: (processes, records) for name, processes, records in counts}


def pruned(
    connection: sqlite3.Connection, selection: Selection, rollup: str | None = None
) -> list[str]:
    """A note on the pruned processes that a report lacks.

    A report from a table of hourly sums, `rollup`, lacks only those of hours that its window cuts;
    other reports lack all of them.
    """
    conditions = ["u.pruned = 1", *_hours(selection, cut=rollup is not None)]
    if rollup is not None and len(conditions) == 1:
        return []
    table = rollup or ("rollup_user" if selection.jobs is None else "rollup_job")
    choices: list[Condition] = []
    if selection.jobs is not None:
        choices.append(Condition(f"u.job_id in ({THESE})", (json.dumps(selection.jobs),)))
    if rollup_source.knows(table, selection.choices):
        choices += selection.choices
    where = " and ".join([*conditions, *(choice.sql for choice in choices)])
    number, last = connection.execute(
        f"select sum(u.processes), max(u.hour) from {rollup_source.by_hour(table)} as u"
        f" where {where}",
        values_of(choices),
    ).fetchone()
    if not number:
        return []
    until = datetime.fromtimestamp((last + 1) * 3600).astimezone().strftime("%Y-%m-%d %H:%M")
    # Sums do not show which processes several jobs have in common.
    several = table == "rollup_job" and len(selection.jobs or ()) != 1
    often = "; a process counts once for each job that it was in" if several else ""
    if rollup is not None:
        return [
            f"{counted(number, 'process')} {was(number)} pruned and not counted: the window cuts"
            f" hours of which only sums are left; take whole hours{often}"
        ]
    return [
        f"{counted(number, 'process')} that ended until {until} {was(number)} pruned: only hourly"
        f" sums by command, user, group and job are left{often}"
    ]


def pruned_of_jobs(connection: sqlite3.Connection, selection: Selection) -> list[str]:
    """A note that the figures of jobs include pruned processes, which the classes do not. Their
    number is not known, since jobs may overlap.
    """
    where = " and ".join(
        [
            "u.pruned = 1",
            f"u.job_id in ({THESE})",
            *rollup_source.whole_hours(selection.window).where("u.hour"),
        ]
    )
    text = f"select exists (select 1 from {rollup_source.by_hour('rollup_job')} as u where {where})"
    (some_pruned,) = connection.execute(text, (json.dumps(selection.jobs),)).fetchone()
    if not some_pruned or of_fleet(connection):
        return []
    return [
        "only sums are left of some processes of these jobs: the figures include them, but the"
        " numbers by source do not"
    ]


def without_name(pruned_processes: list[int]) -> list[str]:
    """A note that the line without a name is the sum over pruned processes."""
    number = sum(pruned_processes)
    if not number:
        return []
    return [
        f"only sums are left of {counted(number, 'process')}: the line without a name is the sum"
        " over them"
    ]


def _hours(selection: Selection, *, cut: bool) -> list[str]:
    """Conditions for the hours that a selection's window touches, or with `cut` for those that it
    cuts; none if it touches all hours, or cuts none.
    """
    since, until = selection.window
    if cut:
        hours = selection.window.cut_hours()
        return [f"u.hour in ({', '.join(map(str, hours))})"] if hours else []
    # With --clip and --alive, processes that run on after a window are in it too.
    runs_on = selection.clip or selection.alive
    return Window(
        None if since is None else since // HOUR_NS,
        None if until is None or runs_on else -(-until // HOUR_NS),
    ).where("u.hour")


def _rolled_classes(
    connection: sqlite3.Connection, table: str, selection: Selection
) -> dict[str, tuple[int, int]]:
    """The same from the hourly sums."""
    sums = rollup_source.sums(table)
    asked = [sums[name] for name in CLASS_SUMS]
    source = rollup_source.source(table, selection.window, asked, *selection.choices, days=True)
    row = Query(f"select {', '.join(asked)} {source.sql}", source.values).run(connection).fetchone()
    return classes_of(row)


def classes_of(sums: Row) -> dict[str, tuple[int, int]]:
    """The classes by sums in the order of CLASS_SUMS."""
    both, uncertain, unrecorded, recorded, running, unjoined = (number or 0 for number in sums)
    numbers = {
        "both": (both, both),
        "uncertain": (uncertain, uncertain),
        "only_connector": (unrecorded, 0),
        "only_acct": (recorded, recorded),
        "running": (running, 0),
        "pending": (0, unjoined),
    }
    return {name: of_class for name, of_class in numbers.items() if any(of_class)}


def _losses(connection: sqlite3.Connection, selection: Selection) -> str:
    return losses(_number_of_gaps(connection, selection), selection)


def _number_of_gaps(connection: sqlite3.Connection, selection: Selection) -> int:
    if selection.jobs is None or selection.window:
        return gaps(connection, selection.window)
    (number,) = connection.execute(
        f"select sum(gaps + usage_gaps) from {rollup_source.job_usage(listed(selection.jobs))}"
    ).fetchone()
    return number or 0


def losses(number: int, selection: Selection) -> str:
    """A note on the number of gaps that touch a window, or the time in which jobs ran."""
    if not number:
        return ""
    when = ""
    if selection.window:
        when = " in this window"
    elif selection.jobs is not None:
        when = " while this job ran" if selection.job is not None else " while these jobs ran"
    return f"{counted(number, 'gap')}{when} (see: elsa report gaps)"


def _line(
    connection: sqlite3.Connection,
    selection: Selection,
    found: dict[str, tuple[int, int]],
    losses: str,
) -> str:
    if not losses and found.keys() <= _WHOLE:
        return ""
    parts = []
    total = sum(processes for processes, _ in found.values())
    if total:
        what = connection.execute("select class, what from audit_class order by place")
        by_class = ", ".join(
            f"{found[name][0]} {text}" for name, text in what if found.get(name, (0, 0))[0]
        )
        parts.append(f"{counted(total, 'process')}: {by_class}")
    unjoined = sum(found.get(name, (0, 0))[1] for name in _UNJOINED)
    if unjoined:
        parts.append(f"{counted(unjoined, 'accounting record')} joined to no process")
    if losses:
        parts.append(losses)
    elif found.get("uncertain"):
        parts += _causes(connection, selection)
    return "; ".join(parts)


def _causes(connection: sqlite3.Connection, selection: Selection) -> list[str]:
    """A note on why joins are uncertain where no gap touches the time of a selection: records have
    whole seconds, so a gap near a process counts for its join. The audit has the rule.
    """
    if selection.jobs is None and not (selection.choices or selection.clip or selection.alive):
        ended = selection.window.where("u.ended_ns")
        source = Query(f"from {unconfirmed(selection.window)} as u")
    else:
        ended = []
        of = rows(selection, ["u.process_id"], Condition("u.class = 'uncertain'"))
        chosen = f"select u.process_id {of.sql}"
        view = sql_files.over("audit_unconfirmed", audit_unconfirmed_process=chosen)
        source = Query(f"from {view} as u", of.values)
    where = " and ".join(["u.class = 'uncertain'", *ended])
    why = dict(
        Query(
            f"select u.cause, u.why {source.sql} where {where} group by 1 order by count(*) desc",
            source.values,
        ).run(connection)
    )
    if not why:  # pruned processes, and those of a fleet, are known as sums only
        return []
    if why.keys() == {"unexplained"}:
        return ["no gap in that time explains why joins are uncertain (see: elsa report audit)"]
    some = "some " if why.pop("unexplained", None) else ""
    return [
        f"likely cause of {some}uncertain joins, a few seconds before or after:"
        f" {', or '.join(why.values())} (see: elsa report gaps)"
    ]


def unconfirmed(window: Window) -> str:
    """The view audit_unconfirmed; with a window, over the hours of that only. SQLite would not push
    a condition on the view down to its processes.
    """
    hours = window.hours("u.ended_hour")
    if not hours:
        return "audit_unconfirmed"
    of_window = f"select * from main.audit_unconfirmed_process as u where {' and '.join(hours)}"
    return sql_files.over("audit_unconfirmed", audit_unconfirmed_process=of_window)


def _members(connection: sqlite3.Connection, selection: Selection) -> list[str]:
    conditions = {
        "inferred": "u.how = 'inferred'",
        "part_life_unknown": "u.part_life = 1 and u.cpu_s is null",
        "part_life": "u.part_life = 1 and u.part_life_whole = 0 and u.cpu_s is not null",
        "part_life_whole": "u.part_life_whole = 1 and u.cpu_s is not null",
    }
    columns = {
        name: f"count(distinct case when {condition} then u.process_id end)"
        for name, condition in conditions.items()
    }
    # A process in several jobs counts once. Most processes are members from start to end and are
    # not read.
    source = rows(selection, columns.values(), members=True, whole=f"s.how = {How.INFERRED:d}")
    sums = Query(f"{select(columns)} {source.sql}", source.values).run(connection).fetchone()
    return [
        singular if number == 1 else plural.format(number)
        for number, (singular, plural) in zip(sums, _MEMBERS.values(), strict=True)
        if number
    ]


def touching(window: Window) -> str:
    """The where clause for gaps that touch a window; a gap at an unknown time may touch any."""
    conditions = []
    if window.until is not None:
        conditions.append(f"(started_ns is null or started_ns < {window.until})")
    if window.since is not None:
        conditions.append(f"(ended_ns is null or ended_ns >= {window.since})")
    return f" where {' and '.join(conditions)}" if conditions else ""


def gaps(connection: sqlite3.Connection, window: Window) -> int:
    """The number of gaps that touch a window."""
    return int(connection.execute(f"select count(*) from gaps{touching(window)}").fetchone()[0])


def cut(number: int, limit: int | None) -> list[str]:
    """A note that a limit hides rows."""
    if limit is None or number <= limit:
        return []
    return [f"showing {limit} of {number} rows; --limit or --all shows more"]


def left_out(number: int, noun: str) -> list[str]:
    """A note that rows were left out, since no process of them has ended yet."""
    if not number:
        return []
    return [f"{counted(number, noun)} left out, since all processes still run; --all shows them"]


def of_own(what: str, connection: sqlite3.Connection, selection: Selection) -> str | None:
    """That `what` of a plain user's is recorded: others may well have something."""
    if not own_only(connection):
        return None
    return f"{what} of yours is recorded{' in that window' if selection.window else ''}"


def nothing(connection: sqlite3.Connection, selection: Selection) -> str:
    """The message of a report without rows."""
    if (
        not of_fleet(connection)
        and not connection.execute(
            "select exists (select 1 from process) or exists (select 1 from acct)"
        ).fetchone()[0]
    ):
        return of_own("nothing", connection, selection) or (
            "nothing is recorded yet; start the collector with: elsa jobd, and read the accounting"
            " file with: elsa ingest"
        )
    if (selection.window.since or 0) > time.time_ns():
        return "the window starts in the future"
    of = ""
    if selection.jobs is not None:
        of = " of that job" if selection.job is not None else " of those jobs"
    when = " in that window" if selection.window else ""
    if not of_fleet(connection) and pruned(connection, selection):
        return f"no process{of} that ended{when} is left in the warehouse: all were pruned"
    ran = selection.clip or selection.alive
    if selection.choices:
        return f"no {'' if ran else 'ended '}process{of} matches{when}"
    if selection.window:
        return f"no process{of} {'ran' if ran else 'ended'}{when}"
    return f"no process{of} has ended yet"
