"""The last run by name of services, cron jobs, sessions and other jobs, and how many runs there
were.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from elsa.report import completeness, jobs
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, select
from elsa.report.render.output import Output
from elsa.report.render.writer import Report

_SHOWN = (
    *("name", "kind", "runs", "job_id", "owner", "started_at", "wall_s", "state", "exit_status"),
    *("processes", "cpu_s", "job_peak_kib", "read_bytes", "write_bytes"),
)


# Only where they are asked for the runs before the last are read too.
_GROWN = {
    "rss_before_kib": "v.rss_kib",
    "rss_grown_kib": "(u.rss_kib - v.rss_kib)",
    "cpu_before_s": "v.cpu_s",
    "cpu_grown_s": "(u.cpu_s - v.cpu_s)",
}


def query(selection: Selection, output: Output) -> tuple[Query, tuple[str, ...]]:
    """The latest job of each name, kind and host, most CPU first; and the columns to write.

    A job is in the window unless it was made after it or closed before it.
    """
    known = jobs.named({**jobs.OF_JOB, "runs": "r.runs", **_GROWN}, selection, "u.job_id")
    usual = ("host", *_SHOWN) if selection.apart else _SHOWN
    shown = output.choose(known, usual)
    helpers = ("job_id", *completeness.OF_JOBS)
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *helpers))}
    since, until = selection.window
    conditions = [each.sql for each in selection.job_conditions]
    if since is not None:
        conditions.append(f"(u.closed_at_ns is null or u.closed_at_ns >= {since})")
    if until is not None:
        conditions.append(f"u.created_at_ns < {until}")
    where = "\n    where " + " and ".join(conditions) if conditions else ""
    last = rollup_source.job_usage("select l.job_id from last_run as l")
    order = output.order(known, "u.cpu_s desc nulls last, u.name, u.job_id")
    before = ""
    if any(text in " ".join((*chosen.values(), order)) for text in _GROWN.values()):
        ids = "select l.before_id from last_run as l where l.before_id is not null"
        before = f"\nleft join {rollup_source.job_usage(ids)} as v on v.job_id = r.before_id"
    text = f"""with last_run as materialized (
    select
        max(n.job_id) as job_id,
        max(iif(n.back = 2, n.job_id, null)) as before_id,
        max(n.runs) as runs
    from (
        select
            u.job_id,
            count(*) over (partition by u.name, u.kind, b.host_id) as runs,
            row_number() over (
                partition by u.name, u.kind, b.host_id order by u.job_id desc
            ) as back,
            u.name, u.kind, b.host_id
        from (select j.id as job_id, j.* from job as j) as u
        join boot as b on b.id = u.boot_id{where}
    ) as n
    where n.back <= 2
    group by n.name, n.kind, n.host_id
)
{select(chosen)}
from {last} as u
join last_run as r on r.job_id = u.job_id{before}
{order}"""
    if output.limit is not None:
        text += f"\nlimit {output.limit + 1}"
    values = tuple(value for each in selection.job_conditions for value in each.values)
    return Query(text, values), shown


def runs(connection: sqlite3.Connection, selection: Selection, output: Output) -> Report:
    """One line per name."""
    asked, shown = query(selection, output)
    found = asked.run(connection)
    names = tuple(column[0] for column in found.description)
    rows = found.fetchall()
    kept = rows[: output.limit]
    words = []
    place = names.index("job_id")
    listed = Selection(jobs=tuple(row[place] for row in kept))
    if kept:
        words = completeness.words(connection, listed, rollup="rollup_job")
        words += completeness.measured(connection, names, kept, shown, jobs=True)
        words += completeness.peaks(names, kept, shown)
    if len(rows) > len(kept):
        words.append(f"showing {output.limit} names; --limit or --all shows more")
    return Report(
        names,
        shown,
        kept,
        words,
        nothing=partial(_nothing, connection),
        completeness=partial(completeness.facts, connection, listed, "rollup_job"),
    )


def _nothing(connection: sqlite3.Connection) -> str:
    if connection.execute("select exists (select 1 from job)").fetchone()[0]:
        return "no job matches"
    return "there is no job yet: jobd makes automatic jobs while it runs (auto_jobs)"
