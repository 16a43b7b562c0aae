"""What the automatic jobs of each kind used, and what is in no automatic job: lines that add up to
everything on the host, in all or in a window.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from elsa.measures import BY_USE, DIVIDED, ROLLED, ROLLED_OF_JOB
from elsa.report import completeness
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, select
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.store import aggregates, sql_files

NONE = "none"
"""The kind of what is in no automatic job."""
COLUMNS = (
    *("kind", "jobs", "processes", "running", "part_life_whole"),
    *(measure.name for measure in DIVIDED),
)
_SHOWN = (
    *("kind", "jobs", "processes", "running", "elapsed_s", "user_s", "system_s", "cpu_s"),
    *("read_bytes", "write_bytes"),
)
# Nothing runs in a window, and what counts when a process ends may have been used in another job.
_OF_WINDOW = (
    *("kind", "jobs", "processes", "part_life_whole"),
    *(measure.name for measure in BY_USE),
)


def query(selection: Selection, output: Output) -> tuple[Query, tuple[str, ...]]:
    """The kinds, most CPU first, what is in none last; and the columns to write."""
    known = {key: f"u.{key}" for key in (_OF_WINDOW if selection.window else COLUMNS)}
    shown = output.choose(known, [key for key in _SHOWN if key in known])
    chosen = {key: known[key] for key in dict.fromkeys((*shown, "part_life_whole"))}
    usual = f"u.kind = '{NONE}', u.cpu_s desc nulls last, u.kind"
    source = _source(selection)
    text = f"{select(chosen)}\nfrom {source.sql} as u\n{output.order(known, usual)}"
    return Query(text, source.values), shown


def _source(selection: Selection) -> Query:
    """The view kind_usage, or the same over what ended or was used in a window, and on some
    hosts.
    """
    window, hosts = selection.window, selection.choices
    if not window and not hosts:
        return Query("kind_usage")
    of_hosts = "".join(f" and {host.sql}" for host in hosts)
    theirs = (
        f"select j.id from main.job as j join boot as u on u.id = j.boot_id where true{of_hosts}"
    )
    of_jobs, everything = (
        rollup_source.source(
            table,
            window,
            [f"u.{name}" for name in aggregates.parts(measures)],
            *conditions,
            days=True,
            jobs=jobs,
        )
        for table, measures, conditions, jobs in (
            ("rollup_job", ROLLED_OF_JOB, (), theirs if hosts else None),
            ("rollup_user", ROLLED, hosts, None),
        )
    )
    rows = {"job_usage_part": f"select * {of_jobs.sql}"}
    jobs = theirs
    if window:
        jobs = "select p.job_id from job_usage_part as p"
        rows["job_process_usage"] = "select * from main.job_process_usage where false"
    rows["job"] = f"select j.* from main.job as j where j.id in ({jobs})"
    rows["user_usage_part"] = f"select * {everything.sql}"
    return Query(sql_files.over("kind_usage", **rows), of_jobs.values + everything.values)


def kinds(connection: sqlite3.Connection, selection: Selection, output: Output) -> Report:
    """One line per kind."""
    asked, shown = query(selection, output)
    found = asked.run(connection)
    names = tuple(column[0] for column in found.description)
    rows = found.fetchall()
    words = completeness.words(connection, selection, rollup="rollup_user")
    if selection.window and not selection.choices:
        words += completeness.inferred_ends(connection, selection.window)
        words += completeness.unread(connection, selection.window)
    words += completeness.cut_intervals(connection, selection)
    place = names.index("part_life_whole")
    whole = sum(row[place] or 0 for row in rows)
    if whole:
        words.append(
            f"{completeness.count(whole, 'membership')} charged for a whole process that changed"
            " its automatic job, as its counters were not read then: so much less is in none"
        )
    words += completeness.cut(len(rows), output.limit)
    return Report(
        names,
        shown,
        rows[: output.limit],
        words,
        completeness=partial(completeness.facts, connection, selection, "rollup_user"),
    )
