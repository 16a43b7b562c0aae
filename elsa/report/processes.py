"""The reports on single processes with their usage: in the order in which they ended, or newest
first as in lastcomm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from elsa.measures import MEASURES, OF_TASKSTATS_ALONE
from elsa.report import completeness, exactness
from elsa.report.query.process_rows import names, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
from elsa.report.query.times import reported
from elsa.report.query.window_usage import NO_USAGE, window_usage
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.store.aggregates import scaled
from elsa.units import HOUR_NS

COLUMNS = (
    "process_id",
    "acct_id",
    "host",
    "boot_id",
    "pid",
    "parent_process_id",
    "ppid",
    "command",
    "forked_only",
    "superuser",
    "dumped_core",
    "killed",
    "flags",
    "user",
    "uid",
    "group",
    "gid",
    "tty",
    "started_at",
    "ended_at",
    "state",
    "elapsed_s",
    "etime_ticks",
    "utime_ticks",
    "stime_ticks",
    "user_s",
    "system_s",
    "cpu_s",
    "provenance",
    "minflt",
    "majflt",
    "swaps",
    "mem_kib",
    "minor_faults",
    "major_faults",
    "threads",
    "usage_complete",
    "run_ns",
    "utime_us",
    "stime_us",
    "rss_kib",
    "vm_kib",
    "coremem_mb_s",
    "virtmem_mb_s",
    *OF_TASKSTATS_ALONE,
    "exe_dev",
    "exe_inode",
    "exit_status",
    "exit_code",
    "exit_signal",
    "origin",
    "end_source",
    "ended_inferred",
    "record",
)
_FIGURES = ("rss_kib", "read_bytes", "write_bytes", "exit_status", "record")


class View(NamedTuple):
    """The columns of processes that are shown, and their order."""

    shown: tuple[str, ...]
    newest_first: bool


PROCESSES = View(
    (
        "pid",
        "ppid",
        "command",
        "forked_only",
        "user",
        "started_at",
        "elapsed_s",
        "cpu_s",
        *_FIGURES,
    ),
    False,
)
LAST = View(
    (
        "command",
        "flags",
        "user",
        "tty",
        "pid",
        "cpu_s",
        "elapsed_s",
        "started_at",
        "ended_at",
        "exit_status",
    ),
    True,
)
"""The columns of lastcomm, with its flags."""

# Looked up by key for each row, since a join would read the whole view process_program first.
_PROGRAM = ("cmdline", "exe", "cwd", "cgroup", "loginuid", "session")
# lastcomm's letters; NULL if the flags are not known
_FLAGS = (
    "iif(u.superuser, 'S', '') || iif(u.forked_only, 'F', '') || iif(u.dumped_core, 'D', '') ||"
    " iif(u.killed, 'X', '')"
)
_OF_JOBS = ("job_id", "how", "part_life", "part_life_whole")


def columns(selection: Selection) -> dict[str, str]:
    """Every column with its expression."""
    special = names(selection) | {"flags": _FLAGS}
    known = {key: special.get(key, reported(key)) for key in COLUMNS}
    known |= {
        key: f"(select x.{key} from process_program as x where x.process_id = u.process_id)"
        for key in _PROGRAM
    }
    return known if selection.jobs is None else known | {key: f"u.{key}" for key in _OF_JOBS}


def query(
    view: View, selection: Selection, output: Output, *more: Condition, everything: bool = False
) -> tuple[Query, tuple[str, ...]]:
    """The query for processes and for records without a process; and the columns to write.

    With a limit, it returns one row more, to know whether there are more; in the order of ends, it
    then starts with the last end.
    """
    known = columns(selection)
    sorted_by = (key for key, _ in output.sorting(tuple(known)))
    usual = ("host", *view.shown) if selection.apart else view.shown
    shown = output.choose(known, usual if selection.jobs is None else (*usual, "how"))
    usage = NO_USAGE
    if selection.alive and not selection.window.is_moment:
        usage = window_usage(selection, {*shown, *sorted_by})
        known |= {key: scaled(MEASURES[key], text) for key, text in usage.columns.items()}
    backwards = view.newest_first or output.limit is not None
    by_end = (
        "u.out_ns desc nulls first, u.process_id desc"
        if backwards
        else "u.out_ns nulls last, u.process_id"
    )
    order = output.order(known, by_end)
    chosen = {key: known[key] for key in shown}
    conditions = list(more)
    if not (everything or selection.alive):
        ended = "u.state = 'ended' or u.acct_id is not null"
        if selection.jobs is not None:
            ended += " or u.until_ns is not null"
        conditions.insert(0, Condition(f"({ended})"))
    source = rows(selection, [*chosen.values(), order, *usage.needed], *conditions)
    limit = "" if output.limit is None else f"\nlimit {output.limit + 1}"
    text = f"{select(chosen)}\n{source.sql}{usage.join.sql}\n{order}{limit}"
    return Query(text, source.values + usage.join.values), shown


def processes(
    connection: sqlite3.Connection,
    view: View,
    selection: Selection,
    output: Output,
    *,
    everything: bool = False,
) -> Report:
    """The processes of the host or of jobs. Running processes are included with `everything`, or if
    the selection is of processes that lived at some time.
    """
    shown, found = _found(connection, view, selection, output, everything=everything)
    classes = completeness.classes(connection, selection)
    words = completeness.words(connection, selection, found=classes)
    if not (everything or selection.alive):
        running, _ = classes.get("running", (0, 0))
        if running:
            words.append(f"{running} of them left out, since they still run; --all shows them")
    if output.limit is not None:
        last = list(found)
        reverse = not view.newest_first and output.sort is None
        found = last[: output.limit][:: -1 if reverse else 1]
        if len(last) > output.limit:
            which = "the last" if output.sort is None else "the first"
            words.append(f"showing {which} {output.limit}; --limit or --all shows more")
    if selection.jobs is None and not (selection.choices or selection.alive):
        words += exactness.inferred_ends(connection, selection.window)
    words += exactness.of_each(connection, shown)
    return Report(
        shown,
        shown,
        found,
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=partial(completeness.facts, connection, selection),
    )


def _found(
    connection: sqlite3.Connection,
    view: View,
    selection: Selection,
    output: Output,
    *,
    everything: bool,
) -> tuple[tuple[str, ...], Iterable[Row]]:
    """The columns and the rows. With a limit, it searches from the last hour back, so that it need
    not read every process.
    """
    asked, shown = query(view, selection, output, everything=everything)
    apart = selection.jobs is not None or selection.alive or everything
    if output.limit is None or output.sort is not None or apart:
        return shown, asked.run(connection)  # read while it is written
    # In separate queries SQLite finds min and max by an index, but not both in one query.
    ends = [
        f"(select {end}(ended_hour) from {part})"
        for part in ("incarnation_usage", "unjoined_record_usage")
        for end in ("min", "max")
    ]
    hours = [
        hour
        for hour in connection.execute(f"select {', '.join(ends)}").fetchone()
        if hour is not None
    ]
    oldest, newest = min(hours, default=0), max(hours, default=None)
    if selection.window.until is not None and newest is not None:
        newest = min(newest, selection.window.until // HOUR_NS)
    span = 1
    while newest is not None and newest - span > oldest:
        since = Condition(f"u.ended_hour > {newest - span}")
        newest_asked, _ = query(view, selection, output, since, everything=everything)
        newest_rows = newest_asked.run(connection).fetchall()
        if len(newest_rows) > output.limit:
            return shown, newest_rows
        span *= 4
    return shown, asked.run(connection)
