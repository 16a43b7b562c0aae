"""Notes on how complete a report is: which sources reported its processes, what is missing."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from elsa import durations
from elsa.measures import LONGEST_TICK_NS, tick
from elsa.report.collector_status import late, open_gaps
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, listed, select
from elsa.report.query.times import Window
from elsa.report.query.warehouse import of_fleet, own_only
from elsa.report.render.writer import Row
from elsa.state import codes
from elsa.state.codes import How
from elsa.state.intervals import BEFORE_FIRST_RUN
from elsa.store import job_members
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
# A record cuts off at most this much CPU time: up to 1/100 s of user time and of system time.
_CUT_S = 0.02
_SHORT_NS = 24 * HOUR_NS
# The longest CPU time that a record holds exactly.
_EXACT_S = 81.91
# The columns that measured() reads.
MEASURED = ("with_usage", "with_ticks", "usage_partial", "sampled", "threads", "cpu_s", "run_ns")
# The same with the column that peaks() reads.
OF_JOBS = (*MEASURED, "job_peak_by")
_PEAKS = {
    codes.MEASURED: "measured by the control group",
    "sampled group": "measured by the control group up to a reading before the end",
    "sampled pss": "sampled",
    "sampled rss": "sampled, an upper bound: shared memory counts for each process",
    codes.LARGEST: "that of the largest process alone, a lower bound",
}
"""By job_peak_by."""
_CPU = {"user_s", "system_s", "cpu_s", "total_cpu_s", "run_ns", "cpu_hours", "sbu"}
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
    line = _line(connection, found, losses)
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


def count(number: int, noun: str) -> str:
    """A number with its noun, in singular or plural."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def was(number: int) -> str:
    """The verb for a number of things in the past."""
    return "was" if number == 1 else "were"


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
        tuple(value for choice in choices for value in choice.values),
    ).fetchone()
    if not number:
        return []
    until = datetime.fromtimestamp((last + 1) * 3600).astimezone().strftime("%Y-%m-%d %H:%M")
    # Sums do not show which processes several jobs have in common.
    several = table == "rollup_job" and len(selection.jobs or ()) != 1
    often = "; a process counts once for each job that it was in" if several else ""
    if rollup is not None:
        return [
            f"{count(number, 'process')} {was(number)} pruned and not counted: the window cuts"
            f" hours of which only sums are left; take whole hours{often}"
        ]
    return [
        f"{count(number, 'process')} that ended until {until} {was(number)} pruned: only hourly"
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
        f"only sums are left of {count(number, 'process')}: the line without a name is the sum over"
        " them"
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
    return f"{count(number, 'gap')}{when} (see: elsa report gaps)"


def _line(connection: sqlite3.Connection, found: dict[str, tuple[int, int]], losses: str) -> str:
    if not losses and found.keys() <= _WHOLE:
        return ""
    parts = []
    total = sum(processes for processes, _ in found.values())
    if total:
        what = connection.execute("select class, what from audit_class order by place")
        by_class = ", ".join(
            f"{found[name][0]} {text}" for name, text in what if found.get(name, (0, 0))[0]
        )
        parts.append(f"{count(total, 'process')}: {by_class}")
    unjoined = sum(found.get(name, (0, 0))[1] for name in _UNJOINED)
    if unjoined:
        parts.append(f"{count(unjoined, 'accounting record')} joined to no process")
    if losses:
        parts.append(losses)
    elif found.get("uncertain"):
        parts.append(
            "no gap in that time explains why joins are uncertain (see: elsa report audit)"
        )
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
    # A process in several jobs counts once. Most processes are members from start to end and are
    # not read.
    source = rows(selection, columns.values(), members=True, whole=f"s.how = {How.INFERRED:d}")
    sums = Query(f"{select(columns)} {source.sql}", source.values).run(connection).fetchone()
    return [
        singular if number == 1 else plural.format(number)
        for number, (singular, plural) in zip(sums, _MEMBERS.values(), strict=True)
        if number
    ]


def inferred_ends(connection: sqlite3.Connection, window: Window) -> list[str]:
    """A note on processes whose end is known only from a record with a cut elapsed time."""
    inferred = "u.late_s is not null and coalesce(p.end_source, 3) = 3"
    where = " and ".join([inferred, *window.where("u.ended * 1000000000")])
    (number,) = connection.execute(
        "select count(*) from acct as u left join process as p on p.id = u.process_id where"
        f" {where}"
    ).fetchone()
    if not number:
        return []
    return [
        f"the end of {count(number, 'process')} that ran for over 46 hours is inferred to a few"
        " seconds, from the position of the record in the file"
    ]


def estimate(connection: sqlite3.Connection, selection: Selection) -> list[str]:
    """A note on the share that was spread, if usage was clipped to the window."""
    if not selection.clip:
        return []
    share = row_sums.share(selection.window).of_rest
    cpu = f"(u.user_ns + u.system_ns) * {share}"
    sums = [f"total({cpu})", f"total(case when u.out_ns > u.rest_ns then {cpu} end)"]
    source = rows(selection, sums, used=True)
    whole, spread = (
        Query(f"select {', '.join(sums)} {source.sql}", source.values).run(connection).fetchone()
    )
    part = f"{100 * spread / whole:.0f} % of the CPU time" if whole else "usage"
    return [
        f"estimate: {part} was not read while it was used, and is spread evenly over the lifetime,"
        " or the time since the last reading; counts and peaks are not cut"
    ]


def unread(
    connection: sqlite3.Connection, window: Window, hint: str = " (--clip spreads it)"
) -> list[str]:
    """Notes on usage that was not read while it was used: of long processes all is counted where
    they ended, and what was used before jobd first ran where the process started.
    """
    return [*_read_late(connection, window), *_never_read(connection, window, hint)]


def _read_late(connection: sqlite3.Connection, window: Window) -> list[str]:
    where = " and ".join([f"r.of_all = {BEFORE_FIRST_RUN}", *window.hours("r.hour")])
    number, cpu_s = connection.execute(
        f"""select count(distinct i.process_id), total(i.user_us + i.system_us) / 1e6
            from usage_reading as r
            cross join usage_interval as i on i.reading_id = r.id where {where}"""
    ).fetchone()
    if not number:
        return []
    return [
        f"{durations.text(cpu_s)} of CPU time that {count(number, 'process')} used before jobd"
        " first ran counts in the hour of their start: when it was used is not known"
    ]


def _never_read(connection: sqlite3.Connection, window: Window, hint: str) -> list[str]:
    where = " and ".join(
        [
            f"p.elapsed_ns > {HOUR_NS}",
            *window.hours("p.ended_hour"),
            "not exists (select 1 from usage_so_far as f where f.process_id = p.id)",
        ]
    )
    # All that ended in a short window are fewer than all that ever ran for ten seconds.
    index = "process_ended"
    if window.since is None or (window.until or time.time_ns()) - window.since > _SHORT_NS:
        index, where = "process_lasting", f"p.elapsed_ns > 10000000000 and {where}"
    text = f"select count(*) from process as p indexed by {index} where {where}"
    (number,) = connection.execute(text).fetchone()
    if not number:
        return []
    return [
        f"what {count(number, 'process')} of over an hour used counts in the hour of the end, as"
        f" counters were not read meanwhile{hint}"
    ]


def cut_intervals(connection: sqlite3.Connection, selection: Selection) -> list[str]:
    """A note on intervals that cross an edge of the window, unless usage was cut to the window."""
    if selection.clip:
        return []
    since_ns, until_ns = selection.window
    # What crosses both edges ends after the window.
    since = _crossing_s(connection, selection, since_ns, until_ns)
    until = _crossing_s(connection, selection, until_ns)
    parts = [
        f"{durations.text(cpu_s)} of CPU time from across {words}"
        for cpu_s, words in (
            (since, "the start of this window is in it whole"),
            (until, "its end is left out" if since else "the end of this window is left out"),
        )
        if cpu_s
    ]
    if not parts:
        return []
    return [
        f"an interval counts where it ends: {', and '.join(parts)} (elsa report timeline spreads"
        " it)"
    ]


def _crossing_s(
    connection: sqlite3.Connection, selection: Selection, edge: int | None, end: int | None = None
) -> float | None:
    """The CPU time of intervals across a moment that end before `end`; None if there is none."""
    if edge is None:
        return None
    # Few readings are looked at, and no usage where none crosses the edge.
    (last,) = connection.execute(
        "select max(r.until_ns + c.offset_ns) from usage_reading as r join clock as c on c.id ="
        " r.clock_id where r.hour >= ? and r.since_ns + c.offset_ns < ? and r.until_ns +"
        " c.offset_ns > ?",
        (edge // HOUR_NS, edge, edge),
    ).fetchone()
    if last is None:
        return None
    window = Window(edge, last if end is None else min(last, end))
    crossing = Selection(window, jobs=selection.jobs, choices=selection.choices)
    cpu = "total(u.user_ns + u.system_ns)"
    source = rows(
        crossing,
        [cpu],
        Condition("u.read_ns is not null"),
        Condition(f"u.used_ns < {edge}"),
        used=True,
    )
    (cpu_ns,) = Query(f"select {cpu} {source.sql}", source.values).run(connection).fetchone()
    return float(cpu_ns) / 1e9 or None


def measured(
    connection: sqlite3.Connection,
    columns: tuple[str, ...],
    rows: list[Row],
    shown: Iterable[str],
    *,
    jobs: bool = False,
) -> list[str]:
    """Notes on how exact the shown CPU time is, and on figures that taskstats did not report.

    Rows of several `jobs` may share processes, which a sum over the rows would count repeatedly. So
    these notes give the largest number in any job instead of a sum.
    """
    keys = tuple(key for key in (*MEASURED, "unjoined") if key in columns)
    by_key = {key: [row[columns.index(key)] or 0 for row in rows] for key in keys}
    each = jobs and len(rows) > 1
    if each:
        figures = [dict(zip(keys, row, strict=True)) for row in zip(*by_key.values(), strict=True)]
    else:
        figures = [{key: sum(of_rows) for key, of_rows in by_key.items()}]
    words = _cpu_exactness(connection, figures, each=each) if _CPU & {*shown} else []
    known = [figure["with_usage"] for figure in figures]
    unknown = [figure["with_ticks"] - figure.get("unjoined", 0) for figure in figures]
    mixed = sum(1 for some, others in zip(known, unknown, strict=True) if some and others)
    if mixed and each:
        words.append(
            f"in {count(mixed, 'job')} memory and I/O are known for a part of the processes only"
        )
    elif mixed:
        words.append(
            f"memory and I/O are known for {known[0]} of {known[0] + unknown[0]} processes"
        )
    lossy = [figure["usage_partial"] for figure in figures if figure["usage_partial"]]
    if lossy:
        of = f"some processes of {count(len(lossy), 'job')}" if each else count(lossy[0], "process")
        words.append(
            f"statistics of threads of {of} were lost: memory, I/O and faults are lower bounds"
        )
    return words


def peaks(columns: tuple[str, ...], rows: list[Row], shown: Iterable[str]) -> list[str]:
    """A note on how the shown peaks of jobs are known, unless the kernel measured them all."""
    if "job_peak_kib" not in shown or "job_peak_by" in shown:
        return []
    place = columns.index("job_peak_by")
    ways = Counter(row[place] for row in rows if row[place] is not None)
    if set(ways) <= {codes.MEASURED}:
        return []
    parts = [
        f"of {count(ways[way], 'job')} {how}" if len(rows) > 1 else how
        for way, how in _PEAKS.items()
        if ways[way]
    ]
    return [f"job peak: {'; '.join(parts)}"]


def _cpu_exactness(
    connection: sqlite3.Connection, figures: list[dict[str, Any]], *, each: bool
) -> list[str]:
    """Notes on how exact CPU time is: in sum, or with `each` for each job."""
    up_to, of_each, in_all = ("up to ", " in each job", "") if each else ("", "", " in all")
    tick_s, tick_words = _tick(connection)
    words = []
    threads = max(figure["threads"] for figure in figures)
    if any(figure["with_usage"] > figure["sampled"] for figure in figures):
        words.append(
            f"CPU time of {up_to}{count(threads, 'thread')}{of_each} is measured, except for the"
            f" last part of a tick ({tick_words}) of each: up to"
            f" {durations.at_most(threads * tick_s)} more was used"
        )
    if sampled := max(figure["sampled"] for figure in figures):
        share = ""
        if not each and not figures[0]["with_ticks"]:
            share = f" ({durations.text(max(figures[0]['cpu_s'] - figures[0]['run_ns'] / 1e9, 0))})"
        words.append(
            f"CPU time of {up_to}{count(sampled, 'process')} shorter than a tick ({tick_words})"
            f"{of_each} is sampled{share}: right on average, and up to"
            f" {durations.at_most(sampled * tick_s)} more or less{in_all}"
        )
    # These include records without a process, which no job has.
    if records := max(figure["with_ticks"] for figure in figures):
        cut_s = max(_cut_s(figure) for figure in figures if figure["with_ticks"])
        words.append(
            f"CPU time of {up_to}{count(records, 'record')}{of_each} is cut down to 1/100 s: up"
            f" to {durations.at_most(cut_s)} more was used"
        )
    return words


def _cut_s(figure: dict[str, Any]) -> float:
    """How much CPU time accounting may have cut off. Longer times have 13 bits in a record."""
    rounding = figure["cpu_s"] / 1024 if figure["cpu_s"] > _EXACT_S else 0
    return float(figure["with_ticks"] * _CUT_S + rounding)


def of_each(connection: sqlite3.Connection, shown: Iterable[str]) -> list[str]:
    """The same for a report on single processes, if it shows CPU time."""
    if not _CPU & {*shown}:
        return []
    return [
        f"CPU time is measured up to a thread's last tick ({_tick(connection)[1]}), and sampled for"
        " a shorter process; from accounting only, it is cut down to 1/100 s: each time may be off"
        " by that much"
    ]


def _tick(connection: sqlite3.Connection) -> tuple[float, str]:
    """The longest tick of the kernels in a warehouse, in seconds and as text."""
    text = (
        f"select min(tick_ns), max(coalesce(tick_ns, {LONGEST_TICK_NS})), count(*) - count(tick_ns)"
        " from boot where uuid is not null"
    )
    least, most, unknown = connection.execute(text).fetchone()
    most = most or LONGEST_TICK_NS
    words = tick(most) if least == most else f"up to {tick(most)}"
    if unknown:
        words += f", assumed for {count(unknown, 'boot')} whose tick is not known"
    return most / 1e9, words


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
    return [f"{count(number, noun)} left out, since all processes still run; --all shows them"]


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
