"""Saying in words how complete a report is: who saw its processes, and which known losses touch it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime

from elsa.measures import LONGEST_TICK_NS, tick
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, listed, rows, select
from elsa.report.query.times import Window
from elsa.report.render.writer import Row
from elsa.state.clock import HOUR_NS
from elsa.state.codes import How

# What to say of one, or of several, processes that are in their jobs by more or less than birth.
_MEMBERS = {
    "inferred": (
        "1 process was put in its job by inference: its line to a member was not heard",
        "{} processes were put in their jobs by inference: their lines to a member were not heard",
    ),
    "part_life_unknown": (
        (
            "1 process was in its job for a part of its life only; what it used there is not known"
            " (it may still run)"
        ),
        (
            "{} processes were in their jobs for a part of their life only; what they used there is"
            " not known (they may still run)"
        ),
    ),
    "part_life": (
        "1 process was in its job for a part of its life only, and is charged for that part",
        (
            "{} processes were in their jobs for a part of their life only, and are charged for"
            " that part"
        ),
    ),
    "part_life_whole": (
        (
            "1 process was in its job for a part of its life only; all of its usage is charged, as"
            " its counters were not read"
        ),
        (
            "{} processes were in their jobs for a part of their life only; all of their usage is"
            " charged, as their counters were not read"
        ),
    ),
}
# What accounting cuts off of a process's CPU time at most: of user and of system time up to 1/100 s
# each.
_CUT_S = 0.02
_FINE_S = 81.91
# What measured() wants to know.
MEASURED = ("with_usage", "with_ticks", "usage_partial", "sampled", "threads", "cpu_s", "run_ns")
_CPU = {"user_s", "system_s", "cpu_s", "total_cpu_s", "run_ns", "cpu_hours", "sbu"}
# Classes of sql/audit/audit_class.sql that are accounting records without a process.
_LOOSE = ("pending", "ambiguous")
WITNESSES = (
    "seen_by_both",
    "uncertain",
    "without_record",
    "only_by_acct",
    "still_running",
    "unjoined",
)
"""The sums that tell the classes of all processes and records."""


def words(
    connection: sqlite3.Connection,
    selection: Selection,
    losses: str | None = None,
    found: dict[str, tuple[int, int]] | None = None,
    rollup: str | None = None,
    lacking: list[str] | None = None,
) -> list[str]:
    """How complete a report on a selection is; nothing where both witnesses saw everything.

    `losses` is to be said of known losses, if somebody knows it already; `found` are its classes, where they were counted already;
    `rollup` is the table of hourly sums that the report is from, if it is from one; `lacking` says what it lacks of pruned processes, if it
    knows better.
    """
    found = classes(connection, selection) if found is None else found
    line = _line(connection, found, _losses(connection, selection) if losses is None else losses)
    members = _members(connection, selection) if selection.jobs is not None else []
    return (
        ([line] if line else [])
        + members
        + (pruned(connection, selection, rollup) if lacking is None else lacking)
    )


def count(number: int, noun: str) -> str:
    """So many of something."""
    return (
        f"{number} {noun}"
        if number == 1
        else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"
    )


def classes(connection: sqlite3.Connection, selection: Selection) -> dict[str, tuple[int, int]]:
    """Processes and records by class: who saw them. Nothing that still runs is in a window; a
    record without a process is in no job.
    """
    for table in (rollup_source.ALL, "rollup_user"):
        if rollup_source.suits(table, selection):
            return _rolled_classes(connection, table, selection)
    if selection.choices or selection.clip:
        source = rows(selection, ["u.class", "u.process_id", "u.acct_id"])
        found = Query(
            f"select u.class, count(u.process_id), count(u.acct_id) {source.sql} group by 1",
            source.values,
        ).run(connection)
    else:
        member = (
            "u.process_id in (select m.process_id from membership as m where m.job_id in"
            f" ({THESE}))"
        )
        when = " and ".join([member, *selection.window.where("u.ended_ns")])
        text = (
            f"select u.class, count(*), count(u.acct_id) from incarnation_usage as u where {when}"
            " group by 1"
        )
        found = connection.execute(text, (json.dumps(selection.jobs),))
    return {name: (processes, records) for name, processes, records in found}


def pruned(
    connection: sqlite3.Connection, selection: Selection, rollup: str | None = None
) -> list[str]:
    """Say of which processes a report would show more if they had not been pruned.

    A report from a table of hourly sums, `rollup`, lacks only those of hours that its window cuts;
    any other lacks them all.
    """
    conditions = ["u.pruned = 1", *_hours(selection, cut=rollup is not None)]
    if rollup is not None and len(conditions) == 1:
        return []
    table = rollup or ("rollup_user" if selection.jobs is None else "rollup_job")
    of_jobs = (
        []
        if selection.jobs is None
        else [Condition(f"u.job_id in ({THESE})", (json.dumps(selection.jobs),))]
    )
    choices = [
        *of_jobs,
        *(selection.choices if rollup_source.knows(table, selection.choices) else ()),
    ]
    where = " and ".join([*conditions, *(choice.sql for choice in choices)])
    text = (
        f"select sum(u.processes), max(u.hour) from {rollup_source.by_hour(table)} as u where"
        f" {where}"
    )
    number, last = (
        Query(text, tuple(value for choice in choices for value in choice.values))
        .run(connection)
        .fetchone()
    )
    if not number:
        return []
    until = datetime.fromtimestamp((last + 1) * 3600).astimezone().strftime("%Y-%m-%d %H:%M")
    were = "was" if number == 1 else "were"
    # What jobs had in common is not known of sums.
    several = table == "rollup_job" and len(selection.jobs or ()) != 1
    often = "; a process counts once for each job that it was in" if several else ""
    if rollup is not None:
        return [
            f"{count(number, 'process')} {were} pruned and not counted: the window cuts"
            f" hours of which only sums are left; take whole hours{often}"
        ]
    return [
        f"{count(number, 'process')} that ended until {until} {were} pruned: only hourly"
        f" sums by command, user, group and job are left{often}"
    ]


def pruned_of_jobs(connection: sqlite3.Connection, selection: Selection) -> list[str]:
    """Say that the figures of jobs have pruned processes in them, which no count of witnesses has:
    how many they were in all is not known, as jobs may overlap.
    """
    where = " and ".join(
        [
            "u.pruned = 1",
            f"u.job_id in ({THESE})",
            *rollup_source.whole_hours(selection.window).where("u.hour"),
        ]
    )
    text = f"select exists (select 1 from {rollup_source.by_hour('rollup_job')} as u where {where})"
    (found,) = connection.execute(text, (json.dumps(selection.jobs),)).fetchone()
    return (
        [
            "of some processes of these jobs only sums are left: they are in the figures, and not in"
            " the counts of who saw them"
        ]
        if found
        else []
    )


def without_name(gone: list[int]) -> list[str]:
    """Say that the line without a name is of so many processes that were pruned."""
    number = sum(gone)
    were = "was" if number == 1 else "were"
    return (
        [
            f"{count(number, 'process')} {were} pruned: what is left of them is the sum in the line"
            " without a name"
        ]
        if number
        else []
    )


def _hours(selection: Selection, *, cut: bool) -> list[str]:
    """Conditions for the hours that a selection's window touches, or cuts; none if it is all hours,
    or cuts none.
    """
    since, until = selection.window
    if cut:
        edges = selection.window.cut_hours()
        return [f"u.hour in ({', '.join(map(str, edges))})"] if edges else []
    # What lives on after a window is in it, too, where each process is spread over its life.
    return Window(
        None if since is None else since // HOUR_NS,
        None if until is None or selection.clip else -(-until // HOUR_NS),
    ).where("u.hour")


def _rolled_classes(
    connection: sqlite3.Connection, table: str, selection: Selection
) -> dict[str, tuple[int, int]]:
    """The same from the hourly sums."""
    sums = rollup_source.sums(table)
    asked = [sums[name] for name in WITNESSES]
    source = rollup_source.source(table, selection.window, asked, *selection.choices, days=True)
    row = Query(f"select {', '.join(asked)} {source.sql}", source.values).run(connection).fetchone()
    return told_by(row)


def told_by(sums: Row) -> dict[str, tuple[int, int]]:
    """The classes that sums in the order of WITNESSES tell of."""
    both, uncertain, unrecorded, recorded, running, loose = (number or 0 for number in sums)
    found = {
        "both": (both, both),
        "uncertain": (uncertain, uncertain),
        "only_connector": (unrecorded, 0),
        "only_acct": (recorded, recorded),
        "running": (running, 0),
        "pending": (0, loose),
    }
    return {name: numbers for name, numbers in found.items() if any(numbers)}


def _losses(connection: sqlite3.Connection, selection: Selection) -> str:
    if selection.jobs is None or selection.window:
        return losses(gaps(connection, selection.window), selection)
    found = connection.execute(
        f"select sum(gaps + usage_gaps) from {rollup_source.job_usage(listed(selection.jobs))}"
    ).fetchone()[0]
    return losses(found, selection)


def losses(found: int, selection: Selection) -> str:
    """Say how many known losses touch a window, or the life of jobs."""
    of_jobs = (
        ""
        if selection.jobs is None
        else f" while {'this job' if selection.job is not None else 'these jobs'} lived"
    )
    when = " in this window" if selection.window else of_jobs
    return f"{count(found, 'gap')}{when} (see: elsa report gaps)" if found else ""


def _line(connection: sqlite3.Connection, found: dict[str, tuple[int, int]], losses: str) -> str:
    if not losses and found.keys() <= {"both", "self"}:
        return ""
    parts = []
    total = sum(processes for processes, _ in found.values())
    if total:
        what = connection.execute("select class, what from audit_class order by place")
        seen = ", ".join(
            f"{found[name][0]} {text}" for name, text in what if found.get(name, (0, 0))[0]
        )
        parts.append(f"{count(total, 'process')}: {seen}")
    loose = sum(found.get(name, (0, 0))[1] for name in _LOOSE)
    if loose:
        parts.append(f"{count(loose, 'accounting record')} joined to no process")
    if losses:
        parts.append(losses)
    elif found.get("uncertain"):
        parts.append("no loss in that time itself explains the doubt (see: elsa report audit)")
    return "; ".join(parts)


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
    # A process may be in several jobs, and counts once. Most were born in them and stayed: those
    # need not be looked at.
    source = rows(selection, columns.values(), members=True, whole=f"s.how = {How.INFERRED:d}")
    sums = Query(f"{select(columns)} {source.sql}", source.values).run(connection).fetchone()
    return [
        one if number == 1 else several.format(number)
        for number, (one, several) in zip(sums, _MEMBERS.values(), strict=True)
        if number
    ]


def concluded(connection: sqlite3.Connection, window: Window) -> list[str]:
    """Say how many ends only a record tells whose elapsed time was cut."""
    told = "u.late_s is not null and coalesce(p.end_source, 3) = 3"
    where = " and ".join([told, *window.where("u.ended * 1000000000")])
    count = connection.execute(
        "select count(*) from acct as u left join process as p on p.id = u.process_id where"
        f" {where}"
    ).fetchone()[0]
    whose = "1 process that lived" if count == 1 else f"{count} processes that lived"
    return (
        [
            f"the end of {whose} for over 46 hours is inferred to a few seconds, from where its"
            " record stands in the file"
        ]
        if count
        else []
    )


def estimate(selection: Selection) -> list[str]:
    """Say that the figures of a window were cut by time, if they were."""
    if not selection.clip:
        return []
    return [
        "estimate: what a process used is spread evenly over its life, and cut to the window;"
        " counts and peaks are not cut"
    ]


def measured(
    connection: sqlite3.Connection,
    columns: tuple[str, ...],
    rows: list[Row],
    shown: Iterable[str],
    *,
    jobs: bool = False,
) -> list[str]:
    """What of the CPU time that is shown was measured and what sampled, and how far it may be off;
    and that taskstats did not tell all. Rows of several `jobs` may share processes, so that their
    sum would count one of them more than once: each is spoken of by itself, by the most in any.
    """
    keys = tuple(key for key in (*MEASURED, "unjoined") if key in columns)
    figures = [{key: row[columns.index(key)] or 0 for key in keys} for row in rows]
    each = jobs and len(rows) > 1
    if not each:
        figures = [{key: sum(figure[key] for figure in figures) for key in keys}]
    most, of_each, in_all = ("up to ", " in each job", "") if each else ("", "", " in all")
    words = []
    if _CPU & {*shown}:
        tick_s, a_tick = _tick(connection)
        threads = max(figure["threads"] for figure in figures)
        if any(figure["with_usage"] > figure["sampled"] for figure in figures):
            words.append(
                f"CPU time of {most}{count(threads, 'thread')}{of_each} is measured, but for the"
                f" last part of a tick ({a_tick}) of each: up to {threads * tick_s:.2f} s more was"
                " used"
            )
        if sampled := max(figure["sampled"] for figure in figures):
            (whole,) = figures if not each else (None,)
            share = (
                f" ({max(whole['cpu_s'] - whole['run_ns'] / 1e9, 0):.2f} s)"
                if whole and not whole["with_ticks"]
                else ""
            )
            words.append(
                f"CPU time of {most}{count(sampled, 'process')} shorter than a tick ({a_tick})"
                f"{of_each} is sampled{share}: right on average, and up to"
                f" {sampled * tick_s:.2f} s more or less{in_all}"
            )
        # Records of no known process too, of which a job has none.
        if records := max(figure["with_ticks"] for figure in figures):
            most_s = max(
                # What is longer has 13 bits in the record.
                figure["with_ticks"] * _CUT_S
                + (figure["cpu_s"] / 1024 if figure["cpu_s"] > _FINE_S else 0)
                for figure in figures
                if figure["with_ticks"]
            )
            words.append(
                f"CPU time of {most}{count(records, 'record')}{of_each} is cut down to 1/100 s: up"
                f" to {most_s:.2f} s more was used"
            )
    ticks = [figure["with_ticks"] - figure.get("unjoined", 0) for figure in figures]
    told = [figure["with_usage"] for figure in figures]
    mixed = sum(1 for known, unknown in zip(told, ticks, strict=True) if known and unknown)
    if mixed:
        words.append(
            f"memory and I/O are known of a part of the processes only in {count(mixed, 'job')}"
            if each
            else f"memory and I/O are known of {told[0]} of {told[0] + ticks[0]} processes"
        )
    lossy = [figure["usage_partial"] for figure in figures if figure["usage_partial"]]
    if lossy:
        of = f"some processes of {count(len(lossy), 'job')}" if each else count(lossy[0], "process")
        words.append(
            f"of {of} statistics of threads were lost: memory, I/O and faults are at least so much"
        )
    return words


def of_each(connection: sqlite3.Connection, shown: Iterable[str]) -> list[str]:
    """The same of single processes, where CPU time is among what is shown."""
    if not _CPU & {*shown}:
        return []
    return [
        f"CPU time is measured to a thread's last tick ({_tick(connection)[1]}), and sampled where"
        " a process is shorter; where only accounting tells it is cut down to 1/100 s: each may be"
        " off by so much"
    ]


def _tick(connection: sqlite3.Connection) -> tuple[float, str]:
    """The longest tick of the kernels of a warehouse, in seconds and in words."""
    text = (
        f"select min(tick_ns), max(coalesce(tick_ns, {LONGEST_TICK_NS})), count(*) - count(tick_ns)"
        " from boot where uuid is not null"
    )
    least, most, unknown = connection.execute(text).fetchone()
    most = most or LONGEST_TICK_NS
    words = tick(most) if least == most else f"up to {tick(most)}"
    if unknown:
        words += (
            f", assumed for {unknown} boot{'' if unknown == 1 else 's'} of which it is not known"
        )
    return most / 1e9, words


def touching(window: Window) -> str:
    """The where clause for the known losses that touch a window; one at an unknown time may touch
    any.
    """
    conditions = []
    if window.until is not None:
        conditions.append(f"(started_ns is null or started_ns < {window.until})")
    if window.since is not None:
        conditions.append(f"(ended_ns is null or ended_ns >= {window.since})")
    return f" where {' and '.join(conditions)}" if conditions else ""


def gaps(connection: sqlite3.Connection, window: Window) -> int:
    """How many known losses touch a window; without one, all of them."""
    return int(connection.execute(f"select count(*) from gaps{touching(window)}").fetchone()[0])


def cut(found: int, limit: int | None) -> list[str]:
    """Say that a limit hid rows."""
    return (
        [f"showing {limit} of {found} rows; --limit shows more"]
        if limit is not None and found > limit
        else []
    )


def left_out(number: int, noun: str) -> list[str]:
    """Say that rows were left out of which nothing is known yet."""
    return (
        [f"{count(number, noun)} left out, of which all processes still run; --all shows them"]
        if number
        else []
    )


def nothing(connection: sqlite3.Connection, selection: Selection) -> str:
    """Why a report has no rows."""
    if not connection.execute(
        "select exists (select 1 from process) or exists (select 1 from acct)"
    ).fetchone()[0]:
        return (
            "nothing is recorded yet; start the collector with: elsa jobd, and read the accounting"
            " file with: elsa ingest"
        )
    of = (
        ""
        if selection.jobs is None
        else " of that job"
        if selection.job is not None
        else " of those jobs"
    )
    if selection.choices:
        of += " that was asked for"
    if pruned(connection, selection):
        return (
            f"no process{of}{' of that window' if selection.window else ''} is left in the"
            " warehouse"
        )
    if selection.window:
        return f"no process{of} {'lived' if selection.clip else 'ended'} in that window"
    return f"no process{of} has ended yet"
