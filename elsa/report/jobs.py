"""The reports on jobs: a list of jobs with their usage, and a single job with its commands."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import NamedTuple, TextIO

from elsa.measures import OF_TASKSTATS_ALONE
from elsa.report import completeness, usage
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, columns_of, listed, rows, select
from elsa.report.query.times import Window
from elsa.report.render import writer
from elsa.report.render.columns import OF_GROUP
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row

COLUMNS = (
    "job_id",
    "name",
    "kind",
    "owner",
    "owner_uid",
    "state",
    "created_at",
    "closed_at",
    "close_reason",
    "started_at",
    "ended_at",
    "processes",
    "running",
    "records",
    "wall_s",
    "elapsed_s",
    "etime_ticks",
    "utime_ticks",
    "stime_ticks",
    "minflt",
    "majflt",
    "with_usage",
    "with_ticks",
    "without_usage",
    "usage_partial",
    "sampled",
    "user_s",
    "system_s",
    "cpu_s",
    "minor_faults",
    "major_faults",
    "threads",
    "run_ns",
    "utime_us",
    "stime_us",
    "rss_kib",
    "vm_kib",
    "coremem_mb_s",
    "virtmem_mb_s",
    *OF_TASKSTATS_ALONE,
    "exit_status",
    "exit_code",
    "exit_signal",
    "without_record",
    "uncertain",
    "inferred",
    "part_life",
    "part_life_whole",
    "gaps",
    "usage_gaps",
    "complete",
    "usage_complete",
    *OF_GROUP,
    "tags",
)
_SHOWN = (
    "job_id",
    "name",
    "kind",
    "owner",
    "state",
    "started_at",
    "processes",
    "running",
    "wall_s",
    "cpu_s",
    "rss_kib",
    "read_bytes",
    "write_bytes",
    "exit_status",
    "complete",
)
# Columns that repeat another line of the block, and columns for `--summary ja` and for programs.
_HIDDEN = {
    *(
        "minflt",
        "majflt",
        "owner_uid",
        "etime_ticks",
        "utime_ticks",
        "stime_ticks",
        "utime_us",
        "stime_us",
        "exit_code",
        "exit_signal",
    ),
    *("run_ns", "vm_kib", "coremem_mb_s", "virtmem_mb_s", *OF_TASKSTATS_ALONE),
} - {"read_bytes", "write_bytes"}
_NO_JOB = "there is no job yet; make one with: elsa job run --name NAME -- COMMAND"
_NO_SUCH_JOB = "no job matches"
_WITHOUT_WINDOW = {
    key: "user_name(u.owner_uid)" if key == "owner" else f"u.{key}" for key in COLUMNS
}

# With a window, the sums are over the processes that ended in it. The span and completeness of a
# job do not belong to a window.
_FACTS = {
    "job_id": "j.id",
    "name": "j.name",
    "kind": "j.kind",
    "owner": "user_name(j.owner_uid)",
    "owner_uid": "j.owner_uid",
    "state": "case when j.closed_at_ns is null then 'open' else 'closed' end",
}
_WINDOW_SHOWN = (
    "job_id",
    "name",
    "kind",
    "owner",
    "state",
    "processes",
    "elapsed_s",
    "cpu_s",
    "rss_kib",
    "read_bytes",
    "write_bytes",
)
_LOSSES = ("gaps", "usage_gaps")


class JobReport(NamedTuple):
    """A job and its commands."""

    columns: tuple[str, ...]
    row: Row
    commands: Report
    words: list[str]


def columns(window: Window, *, clip: bool = False) -> dict[str, str]:
    """Every column of jobs, with or without a window, with its expression."""
    if not window:
        return _WITHOUT_WINDOW
    shared = row_sums.sums(row_sums.share(window), members=True)
    if clip:
        return _FACTS | shared | {"estimate": "1"}
    sums = rollup_source.sums("rollup_job")
    return _FACTS | {key: sums[key] for key in shared}


def query(selection: Selection, output: Output) -> tuple[Query, tuple[str, ...]]:
    """The query for the jobs of a selection, newest first; and the columns to write.

    With a window: jobs of which a process ended in it, with the usage of those processes.
    """
    conditions = selection.job_conditions
    known = columns(selection.window, clip=selection.clip)
    usual = _WINDOW_SHOWN if selection.window else _SHOWN
    if selection.clip and selection.window:
        usual = (*usual, "estimate")
    known = named(known, selection, "j.id" if selection.window else "u.job_id")
    if selection.apart:
        usual = ("host", *usual)
    shown = output.choose(known, usual)
    helpers = ("job_id", *completeness.MEASURED, *(() if selection.window else _LOSSES))
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *helpers))}
    order = output.order(known, "job_id desc")
    # One more than is shown, to know whether there are more.
    limit = "" if output.limit is None else f"\nlimit {output.limit + 1}"
    where = "\nwhere " + " and ".join(each.sql for each in conditions) if conditions else ""
    values = tuple(value for each in conditions for value in each.values)
    # Which jobs are of a kind is known before anything is summed.
    by_kind = columns_of(each.sql for each in conditions) <= {"kind"}
    if not selection.window:
        view = "job_usage"
        if limit and by_kind and output.sort is None:
            # So are the newest.
            newest = f"select u.id from job as u{where}\norder by u.id desc{limit}"
            view = rollup_source.job_usage(newest)
        return Query(f"{select(chosen)}\nfrom {view} as u{where}\n{order}{limit}", values), shown
    jobs, before = None, ""
    if conditions:
        jobs = "select c.job_id from chosen as c"
        which = "u.id as job_id from job" if by_kind else "u.job_id from job_usage"
        before = f"with chosen as materialized (select {which} as u{where})\n"
    if selection.clip:
        among = [] if jobs is None else [Condition(f"u.job_id in ({jobs})")]
        source = rows(
            Selection(selection.window, selection.clip),
            [*chosen.values(), order, "u.job_id"],
            *among,
            members=True,
        )
    else:
        source = rollup_source.source(
            "rollup_job", selection.window, [*chosen.values(), order], days=True, jobs=jobs
        )
    text = (
        f"{before}{select(chosen)}\n{source.sql} join job as j on j.id = u.job_id\ngroup by"
        f" j.id\n{order}{limit}"
    )
    return Query(text, values + source.values), shown


def named(known: dict[str, str], selection: Selection, job: str) -> dict[str, str]:
    """The columns of jobs for a selection: with several hosts, the host of a job is a column, and
    its owner has the name that the uid has there.
    """
    uid = known["owner_uid"]
    if selection.apart:
        host = job if selection.ids else f"host_of_job({job})"
        known = {"host": host, **known, "owner": f"owner_name({uid}, {job})"}
    return known | {"owner": uid} if selection.ids else known


def jobs(connection: sqlite3.Connection, selection: Selection, output: Output) -> Report:
    """Jobs with their usage, newest first."""
    asked, shown = query(selection, output)
    cursor = asked.run(connection)
    names = tuple(column[0] for column in cursor.description)
    every = cursor.fetchall()
    kept = every[: output.limit]
    rollup = None if selection.clip else "rollup_job"
    words = []
    if selection.window and not kept:
        words = completeness.pruned(connection, selection, rollup)
    if kept:
        place = names.index("job_id")
        ids = tuple(row[place] for row in kept)
        losses = None if selection.window else _losses(names, kept)
        listed_jobs = Selection(selection.window, selection.clip, ids)
        words = completeness.words(connection, listed_jobs, losses, rollup=rollup)
        if rollup is not None:
            words += completeness.pruned_of_jobs(connection, listed_jobs)
        words += completeness.measured(connection, names, kept, shown, jobs=True)
        words += completeness.estimate(selection)
    if len(every) > len(kept):
        words.append(
            f"showing {'the newest ' if output.sort is None else ''}{output.limit} jobs; --limit"
            " shows more"
        )
    return Report(names, shown, kept, words, nothing=partial(_nothing, connection, selection))


def _nothing(connection: sqlite3.Connection, selection: Selection) -> str:
    if connection.execute("select 1 from job limit 1").fetchone() is None:
        return _NO_JOB
    if selection.job_conditions and not selection.window:
        return _NO_SUCH_JOB
    return completeness.nothing(connection, selection)


def _losses(names: tuple[str, ...], rows: list[Row]) -> str:
    """A note on the number of jobs that gaps touch."""
    places = [names.index(key) for key in _LOSSES]
    touched = sum(1 for row in rows if any(row[place] for place in places))
    return f"{touched} of these jobs touched by gaps (see: elsa report gaps)" if touched else ""


def job_query(selection: Selection) -> Query:
    """The query for a single job; with a window, for its processes that ended in it."""
    if not selection.window:
        known = named(_WITHOUT_WINDOW, selection, "u.job_id")
        return Query(
            f"{select(known)}\nfrom {rollup_source.job_usage(listed(selection.jobs or ()))} as"
            " u\nwhere u.job_id = ?",
            (selection.job,),
        )
    known = columns(selection.window, clip=selection.clip)
    sums = {key: expression for key, expression in known.items() if key not in _FACTS}
    if selection.clip:
        source = rows(selection, sums.values())
    else:
        source = rollup_source.source(
            "rollup_job",
            selection.window,
            sums.values(),
            days=True,
            jobs=listed(selection.jobs or ()),
        )
    facts = named(_FACTS, selection, "j.id")
    return Query(
        f"select *\nfrom ({select(facts)}\nfrom job as j where j.id = ?)"
        f"\ncross join (\n{select(sums)}\n{source.sql}\n)",
        (selection.job, *source.values),
    )


def job(connection: sqlite3.Connection, selection: Selection, output: Output) -> JobReport:
    """The single job of a selection, with its usage in all and by command."""
    known = tuple(columns(selection.window, clip=selection.clip))
    known = ("host", *known) if selection.apart else known
    row = job_query(selection).run(connection).fetchone()
    # Only json has every figure of the commands.
    as_json = output.form in ("json", "jsonl") and output.columns is None
    of_commands = Output("json" if as_json else "table", None, output.sort, output.limit)
    losses = None
    if not selection.window:
        losses = completeness.losses(sum(row[known.index(key)] for key in _LOSSES), selection)
    commands = usage.usage(
        connection, usage.COMMANDS, selection, of_commands, everything=True, losses=losses
    )
    words = [] if commands.rows or row[known.index("processes")] else [commands.nothing()]
    if selection.window and not selection.clip:
        words += completeness.pruned(connection, selection, "rollup_job")
    return JobReport(known, row, commands, words + commands.words)


def write_job(report: JobReport, output: Output, out: TextIO) -> None:
    """Write the job and its commands. Write only the job in formats of one table, and if the user
    chose columns.
    """
    values = dict(zip(report.columns, report.row, strict=True))
    hidden = _HIDDEN
    if output.form == "table":
        hidden = hidden | {key for key in OF_GROUP if values.get(key) is None}
    shown = output.choose(report.columns, [key for key in report.columns if key not in hidden])
    if output.form == "table":
        out.write(writer.block(report.columns, report.row, shown, units=output.units) + "\n")
        commands = list(report.commands.rows)
        if commands and output.columns is None:
            usual = tuple(
                key
                for key in (*usage.COMMANDS.shown, *usage.SHOWN)
                if key in report.commands.columns
            )
            out.write("\n")
            part = Report(report.commands.columns, usual, commands)
            writer.write(part, output, out)
            report.words.extend(part.words)
    elif output.form in ("json", "jsonl"):
        row = tuple(report.row[report.columns.index(key)] for key in shown)
        job_object = writer.as_object(shown, row)
        if output.columns is None:
            job_object["commands"] = [
                writer.as_object(report.commands.shown, command)
                for command in writer.written(report.commands)
            ]
        out.write(writer.as_json(job_object, indent=2 if output.form == "json" else None) + "\n")
    else:
        writer.write(Report(report.columns, shown, [report.row]), output, out)
