"""Notes on how exact the figures of a report are, and when what they count was used."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from elsa import durations
from elsa.measures import LONGEST_TICK_NS, tick
from elsa.report.query import row_sums
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query
from elsa.report.query.times import Window
from elsa.report.render.writer import Row
from elsa.state import codes
from elsa.state.codes import BEFORE_FIRST_RUN
from elsa.text import counted
from elsa.units import HOUR_NS

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


def inferred_ends(connection: sqlite3.Connection, window: Window) -> list[str]:
    """A note on processes whose end is known only from a record with a cut elapsed time."""
    inferred = "u.late_s is not null and coalesce(p.end_source, 3) = 3"
    where = " and ".join([inferred, *window.where("u.ended_s * 1000000000")])
    (number,) = connection.execute(
        "select count(*) from acct as u left join process as p on p.id = u.process_id where"
        f" {where}"
    ).fetchone()
    if not number:
        return []
    return [
        f"the end of {counted(number, 'process')} that ran for over 46 hours is inferred to a few"
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
        f"{durations.text(cpu_s)} of CPU time that {counted(number, 'process')} used before jobd"
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
        f"what {counted(number, 'process')} of over an hour used counts in the hour of the end, as"
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
            f"in {counted(mixed, 'job')} memory and I/O are known for a part of the processes only"
        )
    elif mixed:
        words.append(
            f"memory and I/O are known for {known[0]} of {known[0] + unknown[0]} processes"
        )
    lossy = [figure["usage_partial"] for figure in figures if figure["usage_partial"]]
    if lossy:
        jobs_with = f"some processes of {counted(len(lossy), 'job')}"
        of = jobs_with if each else counted(lossy[0], "process")
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
        f"of {counted(ways[way], 'job')} {how}" if len(rows) > 1 else how
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
            f"CPU time of {up_to}{counted(threads, 'thread')}{of_each} is measured, except for the"
            f" last part of a tick ({tick_words}) of each: up to"
            f" {durations.at_most(threads * tick_s)} more was used"
        )
    if sampled := max(figure["sampled"] for figure in figures):
        share = ""
        if not each and not figures[0]["with_ticks"]:
            share = f" ({durations.text(max(figures[0]['cpu_s'] - figures[0]['run_ns'] / 1e9, 0))})"
        words.append(
            f"CPU time of {up_to}{counted(sampled, 'process')} shorter than a tick ({tick_words})"
            f"{of_each} is sampled{share}: right on average, and up to"
            f" {durations.at_most(sampled * tick_s)} more or less{in_all}"
        )
    # These include records without a process, which no job has.
    if records := max(figure["with_ticks"] for figure in figures):
        cut_s = max(_cut_s(figure) for figure in figures if figure["with_ticks"])
        words.append(
            f"CPU time of {up_to}{counted(records, 'record')}{of_each} is cut down to 1/100 s: up"
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
        words += f", assumed for {counted(unknown, 'boot')} whose tick is not known"
    return most / 1e9, words
