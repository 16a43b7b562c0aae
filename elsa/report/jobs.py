"""The reports on jobs: a list of jobs with their usage, and a single job with its commands."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TextIO

from elsa.measures import OF_TASKSTATS_ALONE
from elsa.report import completeness, exactness, usage
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.process_rows import columns_of, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, listed, select, values_of
from elsa.report.query.times import reported
from elsa.report.query.warehouse import of_fleet
from elsa.report.render import writer
from elsa.report.render.columns import OF_GROUP
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.text import counted

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
    "job_peak_kib",
    "job_peak_by",
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
    "job_peak_kib",
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
OF_JOB = {key: "user_name(u.owner_uid)" if key == "owner" else reported(key) for key in COLUMNS}
"""The expressions of a whole job's columns over rows `u` of job_usage."""

LOSSES = ("gaps", "usage_gaps")
# The columns of job_usage that table job has too.
_OF_TABLE = {"job_id", "kind", "name", "owner_uid"}
_TABLE = "(select j.id as job_id, j.kind, j.name, j.owner_uid from job as j)"
_OF_CHOSEN = "select c.job_id from chosen as c"


class JobReport(NamedTuple):
    """A job and its commands."""

    columns: tuple[str, ...]
    row: Row
    commands: Report
    words: list[str]


def _sums(selection: Selection) -> dict[str, str]:
    """The sums over the processes of a job that ended in the window, with their expressions. All
    other columns are of the whole job, and so is how many processes run.
    """
    every: Mapping[str, str]
    if selection.clip:
        every = row_sums.sums(row_sums.share(selection.window), members=True)
    else:
        every = rollup_source.sums("rollup_job")
    return {key: every[key] for key in COLUMNS if key in every and key != "running"}


def _columns(selection: Selection) -> dict[str, str]:
    """Every column of jobs with its expression: over rows `u` of job_usage, and with a window also
    over rows `w` of the sums in it.
    """
    if not selection.window:
        return OF_JOB
    whole = {key: text for key, text in OF_JOB.items() if key not in OF_GROUP}
    in_window = {key: f"w.{key}" for key in _sums(selection)}
    return whole | in_window | ({"estimate": "1"} if selection.clip else {})


def query(
    connection: sqlite3.Connection, selection: Selection, output: Output
) -> tuple[Query, tuple[str, ...]]:
    """The query for the jobs of a selection, newest first; and the columns to write.

    With a window: jobs of which a process ended in it, with the usage of those processes.
    """
    known = named(_columns(selection), selection, "u.job_id")
    usual = ("host", *_SHOWN) if selection.apart else _SHOWN
    if selection.clip and selection.window:
        usual = (*usual, "estimate")
    shown = output.choose(known, usual)
    helpers = ("job_id", *exactness.OF_JOBS, *(() if selection.window else LOSSES))
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *helpers))}
    # Ids of several hosts are in no order of time.
    usual_order = "u.created_at_ns desc, u.job_id desc" if selection.apart else "u.job_id desc"
    order = output.order(known, usual_order)
    # One more than is shown, to know whether there are more.
    limit = "" if output.limit is None else f"\nlimit {output.limit + 1}"
    newest = limit if output.sort is None and not selection.apart else ""
    # Which jobs are of a kind or an owner, and which are the newest, is known before anything is
    # summed; how they ended is known afterwards.
    early: list[Condition] = []
    late: list[Condition] = []
    for condition in selection.job_conditions:
        (early if columns_of([condition.sql]) <= _OF_TABLE else late).append(condition)
    if not selection.window:
        if late or not (newest or early):
            where, values = _where([*early, *late])
            text = f"{select(chosen)}\nfrom job_usage as u{where}\n{order}{limit}"
            return Query(text, values), shown
        where, values = _where(early)
        first = f"select u.job_id from {_TABLE} as u{where}"
        if newest:
            first += f"\norder by u.job_id desc{newest}"
        view = rollup_source.job_usage(_OF_CHOSEN)
        text = f"with chosen as materialized (\n{first}\n)\n{select(chosen)}\nfrom {view} as u"
        return Query(f"{text}\n{order}{limit}", values), shown
    ids = _in_window(connection, selection, early, "" if late else newest)
    needed = " ".join((*chosen.values(), order))
    sums = {key: text for key, text in _sums(selection).items() if f"w.{key}" in needed}
    source = _sums_source(selection, sums, _OF_CHOSEN)
    where, values = _where(late)
    text = f"""with chosen (job_id) as materialized ({listed(ids)}),
in_window as materialized (
{select({"job_id": "u.job_id"} | sums)}
{source.sql}
group by u.job_id
)
{select(chosen)}
from in_window as w join {rollup_source.job_usage(_OF_CHOSEN)} as u on u.job_id = w.job_id{where}
{order}{limit}"""
    return Query(text, source.values + values), shown


def _in_window(
    connection: sqlite3.Connection, selection: Selection, early: list[Condition], newest: str
) -> list[int]:
    """The jobs of which a process ended in the window, or the newest of them.

    They are listed first, since SQLite plans a common table expression anew wherever it is read:
    that of all sums in the window took longer to plan than to run.
    """
    where, values = _where(early)
    before, jobs = "", None
    if early:
        before = f"with chosen as materialized (select u.job_id from {_TABLE} as u{where})\n"
        jobs = _OF_CHOSEN
    source = _sums_source(selection, {}, jobs)
    text = f"{before}select u.job_id\n{source.sql}\ngroup by u.job_id"
    if newest:
        text += f"\norder by u.job_id desc{newest}"
    found = connection.execute(text, values + source.values)
    return [job_id for (job_id,) in found]


def _where(conditions: list[Condition]) -> tuple[str, tuple[object, ...]]:
    """The where clause, with the values that it needs."""
    if not conditions:
        return "", ()
    text = "\nwhere " + " and ".join(condition.sql for condition in conditions)
    return text, values_of(conditions)


def _sums_source(selection: Selection, sums: Mapping[str, str], jobs: str | None) -> Query:
    """The from clause for sums in the window, by job; `jobs` is SQL that lists jobs, if not all."""
    if not selection.clip:
        return rollup_source.source(
            "rollup_job", selection.window, sums.values(), days=True, jobs=jobs
        )
    among = [] if jobs is None else [Condition(f"u.job_id in ({jobs})")]
    return rows(
        Selection(selection.window, selection.clip),
        [*sums.values(), "u.job_id"],
        *among,
        members=True,
        used=True,
    )


def named(known: dict[str, str], selection: Selection, job: str) -> dict[str, str]:
    """The columns of jobs for a selection: with several hosts, the host of a job is a column, and
    its owner has the name that the uid has there.
    """
    uid = known["owner_uid"]
    if selection.apart:
        host = job if selection.ids else f"host_of_job({job})"
        known = {"host": host, **known, "owner": f"owner_name({uid}, {job})"}
    return known | {"owner": uid} if selection.ids else known


def _chosen(connection: sqlite3.Connection, selection: Selection) -> Selection:
    """The processes of all jobs that are chosen, whether they ended in the window or not."""
    conditions = selection.job_conditions
    if not conditions:
        return Selection(selection.window, selection.clip)
    found = connection.execute(
        "select u.job_id from job_usage as u where "
        + " and ".join(condition.sql for condition in conditions),
        values_of(conditions),
    )
    return Selection(selection.window, selection.clip, tuple(job_id for (job_id,) in found))


def jobs(connection: sqlite3.Connection, selection: Selection, output: Output) -> Report:
    """Jobs with their usage, newest first."""
    asked, shown = query(connection, selection, output)
    cursor = asked.run(connection)
    names = tuple(column[0] for column in cursor.description)
    every = cursor.fetchall()
    kept = every[: output.limit]
    rollup = None if selection.clip else "rollup_job"
    words = []
    if selection.window and not kept:
        words = completeness.pruned(connection, selection, rollup)
    place = names.index("job_id")
    ids = tuple(row[place] for row in kept)
    listed_jobs = Selection(selection.window, selection.clip, ids)
    if kept:
        losses = None if selection.window else _losses(names, kept)
        words = completeness.words(connection, listed_jobs, losses, rollup=rollup)
        if rollup is not None:
            words += completeness.pruned_of_jobs(connection, listed_jobs)
        words += exactness.measured(connection, names, kept, shown, jobs=True)
        words += exactness.peaks(names, kept, shown)
        words += exactness.estimate(connection, listed_jobs)
    if selection.window:
        words += exactness.cut_intervals(
            connection, listed_jobs if kept else _chosen(connection, selection)
        )
    if len(every) > len(kept):
        words.append(
            f"showing {'the newest ' if output.sort is None else ''}"
            f"{counted(len(kept), 'job')}; --limit or --all shows more"
        )
    return Report(
        names,
        shown,
        kept,
        words,
        nothing=partial(_nothing, connection, selection),
        completeness=partial(
            completeness.facts, connection, selection, rollup, listed_jobs=listed_jobs
        ),
    )


def _nothing(connection: sqlite3.Connection, selection: Selection) -> str:
    some = connection.execute("select 1 from job limit 1").fetchone()
    if some is None and not of_fleet(connection):  # the copy of a fleet has the jobs that match
        return completeness.of_own("no job", connection, selection) or _NO_JOB
    if not selection.window and (some is None or selection.job_conditions):
        return _NO_SUCH_JOB
    return completeness.nothing(connection, selection)


def _losses(names: tuple[str, ...], rows: list[Row]) -> str:
    """A note on the number of jobs that gaps touch."""
    places = [names.index(key) for key in LOSSES]
    touched = sum(1 for row in rows if any(row[place] for place in places))
    return f"{touched} of these jobs touched by gaps (see: elsa report gaps)" if touched else ""


def job_query(selection: Selection) -> Query:
    """The query for a single job; with a window, for its processes that ended in it."""
    known = named(_columns(selection), selection, "u.job_id")
    whole = rollup_source.job_usage(listed(selection.jobs or ()))
    if not selection.window:
        return Query(f"{select(known)}\nfrom {whole} as u\nwhere u.job_id = ?", (selection.job,))
    sums = _sums(selection)
    source = _sums_source(selection, sums, listed(selection.jobs or ()))
    return Query(
        f"{select(known)}\nfrom {whole} as u\ncross join (\n{select(sums)}\n{source.sql}\n) as w"
        "\nwhere u.job_id = ?",
        (*source.values, selection.job),
    )


def job(connection: sqlite3.Connection, selection: Selection, output: Output) -> JobReport:
    """The single job of a selection, with its usage in all and by command."""
    known = tuple(_columns(selection))
    known = ("host", *known) if selection.apart else known
    row = job_query(selection).run(connection).fetchone()
    # Only json has every figure of the commands.
    as_json = output.form in ("json", "jsonl") and output.columns is None
    of_commands = Output("json" if as_json else "table", None, output.sort, output.limit)
    losses = None
    if not selection.window:
        losses = completeness.losses(sum(row[known.index(key)] for key in LOSSES), selection)
    commands = usage.usage(
        connection, usage.COMMANDS, selection, of_commands, everything=True, losses=losses
    )
    words = []
    if not commands.rows and (of_fleet(connection) or not row[known.index("processes")]):
        words.append(commands.nothing())
    if selection.window and not selection.clip:
        words += completeness.pruned(connection, selection, "rollup_job")
    return JobReport(known, row, commands, words + commands.words)


def shown_of_job(report: JobReport, *, table: bool = True) -> list[str]:
    """The columns of the job that are written, unless others were chosen."""
    values = dict(zip(report.columns, report.row, strict=True))
    hidden = _HIDDEN
    if table:
        hidden = hidden | {key for key in OF_GROUP if values.get(key) is None}
    return [key for key in report.columns if key not in hidden]


def commands_shown(report: JobReport) -> tuple[str, ...]:
    """The columns of its commands that a table has."""
    usual = (*usage.COMMANDS.shown, *usage.SHOWN)
    return tuple(key for key in usual if key in report.commands.columns)


def write_job(report: JobReport, output: Output, out: TextIO) -> None:
    """Write the job and its commands. Write only the job in formats of one table, and if the user
    chose columns.
    """
    shown = output.choose(report.columns, shown_of_job(report, table=output.form == "table"))
    if output.form == "table":
        out.write(writer.block(report.columns, report.row, shown, units=output.units) + "\n")
        commands = list(report.commands.rows)
        if commands and output.columns is None:
            out.write("\n")
            part = Report(report.commands.columns, commands_shown(report), commands)
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
