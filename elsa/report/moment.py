"""The report on a moment: which processes ran then, in which jobs, and at what rates; and what all
processes used in the interval between two readings that holds the moment, also those that lived
only before or after it.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from elsa import durations
from elsa.formats import local_time
from elsa.measures import MEASURES
from elsa.report import completeness
from elsa.report.query import row_sums
from elsa.report.query.moment import Interval, intervals, of_host, whole, within
from elsa.report.query.process_rows import columns_of, names, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
from elsa.report.query.times import Window, iso
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.store import aggregates
from elsa.text import counted, printable
from elsa.units import SECOND_NS

BY = {
    "command": ("job_ids", "command", "uid"),
    "process": ("whose_id",),
    "job": ("job_ids",),
    "user": ("uid",),
}
"""What a row can be of, with the keys that its processes have in common."""
_OF_JOBS = {"job_names": "", "job_ids": "u.job_ids"}
_OF_COMMAND = {"command": "u.command"}
_OF_USER = {"user": "", "uid": "u.uid"}
_OF_PROCESS = {
    "pid": "u.pid",
    "process_id": "u.process_id",
    "started_at": "u.started_at",
    "ended_at": "u.ended_at",
}
_OF = {
    "command": _OF_JOBS | _OF_COMMAND | _OF_USER,
    "process": _OF_PROCESS | _OF_COMMAND | _OF_USER | _OF_JOBS,
    "job": _OF_JOBS,
    "user": _OF_USER,
}
_THEN = ("alive", "cpus", "resident_kib", "read_bytes_s", "write_bytes_s")
_USED_SHOWN = ("cpu_s", "share_percent", "read_bytes", "write_bytes")
_FIGURES = (*_THEN, "active", *_USED_SHOWN)
_SHOWN = {
    "command": ("job_names", "command", "user", *_FIGURES),
    "process": ("pid", "command", "user", "job_names", *_THEN, *_USED_SHOWN),
    "job": ("job_names", *_FIGURES),
    "user": ("user", *_FIGURES),
}
# What is stored by interval, and so can be said of one.
_USED = (
    *("user_s", "system_s", "cpu_s", "minor_faults", "major_faults"),
    *("read_chars", "write_chars", "read_bytes", "write_bytes"),
)
# For the notes.
_ALWAYS = ("alive", "active", "cpu_s", "estimated_s", "without_usage")
# The row stands for a process, not for what one used in an interval.
_IS_WHOLE = "coalesce(u.process_id, u.acct_id) is not null"
# The jobs in which the process was at the moment; if it did not live then, at its start or end.
_THEN_NS = (
    "max(u.start_ns, min({at_ns} - (u.started_ns - u.start_ns), coalesce(u.end_ns, {at_ns})))"
)
_JOB_IDS = """(
            select group_concat(m.job_id, ',')
            from (
                select m.job_id
                from all_memberships as m
                where
                    m.process_id = u.process_id
                    and m.since_ns <= u.then_ns
                    and (m.until_ns is null or m.until_ns > u.then_ns)
                order by m.job_id
            ) as m
        )"""
_JOB_NAMES = """(
        select group_concat(j.name, ', ')
        from json_each('[' || u.job_ids || ']') as e
        join job as j
            on j.id = e.value
    )"""


@dataclass(frozen=True)
class Moment:
    """A moment, and the interval of each host that holds it."""

    at_ns: int
    intervals: list[Interval]

    def sql(self, name: str) -> str:
        """A field of the interval of the host of a row `u`."""
        return of_host(self.intervals, name)

    @property
    def is_read(self) -> str:
        """SQL: whether jobd reads the process of a row, or does if it lives long enough."""
        return f"u.boot_id = {self.sql('boot_id')} and u.origin <> 'acct'"

    @property
    def is_unread(self) -> str:
        """SQL: whether a row is of a process that was older than the first reading, which ends the
        interval: it had not been read before.
        """
        return f"({self.sql('is_first')} and u.since_start_ns < {self.sql('since_ns')})"

    @property
    def ended(self) -> str:
        """SQL: whether the process of a row ended in the interval."""
        since, until = self.sql("since_ns"), self.sql("until_ns")
        return f"coalesce(u.out_ns >= {since} and u.out_ns < {until}, 0)"


def moment(connection: sqlite3.Connection, selection: Selection) -> tuple[Moment, Selection]:
    """The moment that is the window of a selection, and the selection of what lived in its
    intervals.
    """
    at_ns = selection.window.since or 0
    found = intervals(connection, at_ns, time.time_ns(), selection.choices)
    return Moment(at_ns, found), replace(selection, window=whole(found), alive=True)


def query(
    then: Moment, by: str, selection: Selection, output: Output
) -> tuple[Query, tuple[str, ...]]:
    """The query for the rows, most CPU time first; and the columns to write."""
    known = _columns(by, selection)
    host = ("host",) if selection.apart else ()
    shown = output.choose(known, (*host, *_SHOWN[by]))
    order = output.order(known, "total(u.cpu_ns) desc, sum(u.alive) desc, min(u.whose_id)")
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *_ALWAYS))}
    chosen["perhaps_ended"] = "sum(u.perhaps_ended)"
    keys = ", ".join(f"u.{key}" for key in (*BY[by], *(["host_id"] if selection.apart else [])))
    each = _each_process(then, selection, columns_of([*chosen.values(), order, keys]))
    text = f"{select(chosen)}\nfrom (\n{each.sql}\n) as u\ngroup by {keys}\n{order}"
    return Query(text, each.values), shown


def _columns(by: str, selection: Selection) -> dict[str, str]:
    """Every column with its expression over the processes `u` of a row."""
    rates = {
        "cpus": "u.cpu_ns * 1.0 / u.lived_ns",
        "read_bytes_s": "u.read_bytes * 1e9 / u.lived_ns",
        "write_bytes_s": "u.write_bytes * 1e9 / u.lived_ns",
    }
    found = {key: text or names(selection).get(key, _JOB_NAMES) for key, text in _OF[by].items()}
    if selection.apart:
        found["host"] = "u.host_id" if selection.ids else "host_name(u.host_id)"
    return (
        found
        | {"alive": "sum(u.alive)"}
        | {key: f"sum(case when u.alive then {text} end)" for key, text in rates.items()}
        | {
            "resident_kib": "sum(case when u.alive then u.resident_kib end)",
            "active": "nullif(count(*) - sum(u.perhaps_ended), 0)",
        }
        | {key: aggregates.scaled(MEASURES[key], _sum(MEASURES[key].rolled)) for key in _USED}
        | {
            "share_percent": "100 * total(u.cpu_ns) / nullif(sum(total(u.cpu_ns)) over (), 0)",
            "estimated_s": "total(u.estimated_ns) / 1e9",
            "without_usage": "sum(u.cpu_ns is null)",
        }
    )


def _sum(column: str) -> str:
    return aggregates.Aggregate("sum", f"u.{column}").sql


def _each_process(then: Moment, selection: Selection, wanted: set[str]) -> Query:
    """One row per process, and per record without one, that lived in the interval, with what it
    used there.
    """
    of_whole = ("process_id", "pid", "command", "uid", "host_id", "started_at", "ended_at")
    columns = {"whose_id": "u.whose_id"}
    columns |= {key: f"max(iif(u.is_whole, u.{key}, null))" for key in of_whole}
    columns |= {
        "job_ids": f"max(iif(u.is_whole, {_JOB_IDS}, null))",
        "alive": "max(iif(u.is_whole, u.alive, null))",
        "perhaps_ended": "max(iif(u.is_whole, u.perhaps_ended, null))",
        "lived_ns": "max(iif(u.is_whole, nullif(max(u.lived_ns, 0), 0), null))",
        # what was resident at the reading; else the most that is known of the process
        "resident_kib": (
            "coalesce(max(iif(u.is_whole, null, u.rss_kib)), max(iif(u.is_whole, u.rss_kib, null)))"
        ),
        "estimated_ns": "sum(iif(u.share > 0 and u.share < 1, (u.cpu_ns) * u.share, 0))",
    }
    for key in _USED:
        name = MEASURES[key].rolled
        columns[name] = aggregates.Aggregate("sum", _of_share(f"u.{name}")).sql
    listed = {key: text for key, text in columns.items() if key in {*wanted, "whose_id"}}
    parts = _parts(then, selection, columns_of([*listed.values(), "u.is_whole"]))
    text = f"{select(listed)}\nfrom (\n{parts.sql}\n) as u\ngroup by u.whose_id"
    return Query(f"{text}\nhaving max(u.is_whole)", parts.values)


def _of_share(column: str) -> str:
    """The share of a figure, exact where it is all or nothing."""
    rounded = f"cast(round({column} * u.share) as integer)"
    return f"case u.share when 1 then {column} when 0 then {column} * 0 else {rounded} end"


def _parts(then: Moment, selection: Selection, wanted: set[str]) -> Query:
    """The parts of which the usage of each process is made, and which share of each falls into the
    interval.

    Of a process that jobd reads that is all or nothing. What else is known only at the end of a
    process is spread over its lifetime, or over the time since it was read last.
    """
    since, until = (then.sql(name) for name in ("since_ns", "until_ns"))
    spread = row_sums.overlap(since, until).of_rest
    runs_at_end = f"{then.is_read} and not ({then.ended})"
    perhaps_ended = f"(u.out_ns is null and not {then.sql('ends_known')})"
    lived = " and ".join(replace(selection, window=Window(then.at_ns, then.at_ns + 1)).of_window())
    columns = {
        key: f"u.{key}"
        for key in (
            *("whose_id", "process_id", "pid", "command", "uid", "host_id", "rss_kib"),
            *(MEASURES[key].rolled for key in _USED if key not in ("user_s", "system_s", "cpu_s")),
        )
    }
    columns |= {
        "user_ns": "u.user_ns",
        "system_ns": "u.system_ns",
        "cpu_ns": "u.user_ns + u.system_ns",
        "started_at": iso("u.started_ns"),
        "ended_at": iso("u.ended_ns"),
        "is_whole": _IS_WHOLE,
        "then_ns": _THEN_NS.format(at_ns=then.at_ns),
        "alive": f"case when not {perhaps_ended} then {lived} end",
        "perhaps_ended": perhaps_ended,
        "lived_ns": f"min(coalesce(u.out_ns, {until}), {until}) - max(u.entered_ns, {since})",
        "share": f"""case
        when {then.is_unread} then null
        when not ({_IS_WHOLE}) then 1
        when {then.is_read} and {then.ended} then 1
        when {runs_at_end} then iif({then.sql("is_over")}, 0, null)
        when u.out_ns is not null then {spread}
    end""",
    }
    listed = {key: text for key, text in columns.items() if key in wanted}
    # What a process used in an interval is chosen with the process.
    choices = [
        Condition(f"(not ({_IS_WHOLE}) or {choice.sql})", choice.values)
        for choice in selection.choices
    ]
    source = rows(
        replace(selection, choices=()),
        listed.values(),
        *within(then.intervals),
        *choices,
        used=True,
    )
    return Query(f"{select(listed)}\n{source.sql}", source.values)


def report(
    connection: sqlite3.Connection, then: Moment, by: str, selection: Selection, output: Output
) -> Report:
    """What ran at a moment, and what was used in its interval, by command, process, job or user."""
    asked, shown = query(then, by, selection, output)
    cursor = asked.run(connection)
    columns = tuple(column[0] for column in cursor.description)
    found = cursor.fetchall()
    words = [*_of_intervals(then), *_of_figures(then, columns, found)]
    # Not of all that lived in the intervals of other hosts.
    lived = replace(selection, choices=(*selection.choices, *within(then.intervals)))
    classes = completeness.classes(connection, lived)
    words += completeness.words(connection, selection, found=classes)
    words += completeness.cut(len(found), output.limit)
    return Report(
        columns,
        shown,
        found[: output.limit],
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=lambda: {
            "at": _utc(then.at_ns),
            **completeness.facts(connection, selection, found=classes),
        },
        sorted_by=("cpu_s",),
    )


def _of_intervals(then: Moment) -> list[str]:
    """Notes on the time that the figures are of, by host if there are several."""
    several = len(then.intervals) > 1
    return [
        f"{printable(each.host)}: {_of_interval(then, each)}"
        if several
        else _of_interval(then, each)
        for each in then.intervals
    ]


def _of_interval(then: Moment, interval: Interval) -> str:
    at = _clock(then.at_ns)
    since, until = (_clock(ns, then.at_ns) for ns in (interval.since_ns, interval.until_ns))
    length = durations.text((interval.until_ns - interval.since_ns) / SECOND_NS)
    if interval.is_over and interval.until_ns <= then.at_ns:
        return (
            f"the interval of {at} is not over: all figures are of the last one that is, from"
            f" {since} to {until} ({length}), and what started later is left out"
        )
    if interval.is_over:
        return f"{at} is in the interval from {since} to {until} ({length})"
    if interval.boot_id is not None:
        return (
            f"jobd was not listening any more at the end of the interval of {at}: figures are of"
            f" what ended from {since} to {until}, and of what ran on nothing is known"
        )
    return (
        f"jobd read no living process around {at}: figures are of the time from {since} to {until},"
        " and of what still runs nothing is known"
    )


def _rate(then: Moment, cpu_s: float) -> str:
    """How many CPUs that is, if all figures are of one interval."""
    interval = then.intervals[0]
    if len(then.intervals) > 1 or not interval.is_over:
        return ""
    cpus = cpu_s * SECOND_NS / (interval.until_ns - interval.since_ns)
    return f", {cpus:.2f} CPUs on average"


def _of_figures(then: Moment, columns: tuple[str, ...], found: list[Row]) -> list[str]:
    """Notes on how many processes there were, and on what is estimated or unknown of them."""
    alive, active, cpu_s, estimated_s, unknown, perhaps_ended = (
        sum(row[columns.index(key)] or 0 for row in found) for key in (*_ALWAYS, "perhaps_ended")
    )
    words = []
    if active:
        known = any(row[columns.index("cpu_s")] is not None for row in found)
        usage = (
            f" and used {durations.text(cpu_s)} of CPU time{_rate(then, cpu_s)}" if known else ""
        )
        words.append(
            f"{counted(active, 'process')} lived in it{usage}; {alive} of them lived at that moment"
        )
    if perhaps_ended:
        words.append(
            f"{counted(perhaps_ended, 'process')} had started before and may have lived"
            " in it: jobd did not run then, so an end is not known"
        )
    if estimated_s:
        words.append(
            f"{100 * estimated_s / cpu_s:.0f} % of the CPU time is estimated: it was not read while"
            " it was used, and is spread evenly over the lifetime, or the time since the last"
            " reading"
        )
    unknown -= perhaps_ended
    if unknown:
        words.append(f"what {counted(unknown, 'process')} used in that time is not known")
    return words


def _clock(ns: int, near_ns: int | None = None) -> str:
    """A time on this host's clock; without its date, if that is the date of another time."""
    text = local_time(_utc(ns))
    day, _, clock = text.partition(" ")
    return clock if near_ns is not None and local_time(_utc(near_ns)).startswith(day) else text


def _utc(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC).isoformat()
