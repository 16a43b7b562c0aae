"""What the automatic jobs of each kind used, and what is in no automatic job: lines that add up to
everything on the host, in all or in a window.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial

from elsa.measures import BY_USE, DIVIDED, ROLLED, ROLLED_OF_JOB
from elsa.report import completeness, exactness
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.store import aggregates, sql_files
from elsa.text import counted

NONE = "none"
"""The kind of what is in no automatic job."""
_HOST = "host"
"""A column that is there only if it is asked for by name."""
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


# SQLite takes longer to prepare the query than to run it, so it is the same for each host, which
# stands in a temporary table.
_ONE_HOST = "(select t.id from temp.one_host as t)"
_ITS_JOBS = f"select t.id from temp.job_of_host as t where t.host_id = {_ONE_HOST}"
_PREPARE = (
    "create temp table if not exists one_host (id)",
    "create temp table if not exists job_of_host (host_id, id, primary key (host_id, id))"
    " without rowid",
    "delete from job_of_host",
    "insert into job_of_host"
    " select b.host_id, j.id from job as j join boot as b on b.id = j.boot_id",
)


def query(
    selection: Selection, output: Output, *, one_host: bool = False
) -> tuple[Query, tuple[str, ...]]:
    """The kinds, most CPU first, what is in none last; and the columns to write. With `one_host`
    those of the host in the temporary table.
    """
    known = {key: f"u.{key}" for key in (_OF_WINDOW if selection.window else COLUMNS)}
    usual = [key for key in _SHOWN if key in known]
    if one_host:
        known = {_HOST: _ONE_HOST if selection.ids else f"host_name({_ONE_HOST})", **known}
        usual.insert(0, _HOST)
        selection = replace(selection, choices=(Condition(f"u.host_id = {_ONE_HOST}"),))
    shown = output.choose(known, usual, by_name=(_HOST,))
    chosen = {key: known[key] for key in dict.fromkeys((*shown, "part_life_whole"))}
    order = f"u.kind = '{NONE}', u.cpu_s desc nulls last, u.kind"
    source = _source(selection, _ITS_JOBS if one_host else None)
    text = f"{select(chosen)}\nfrom {source.sql} as u\n{output.order(known, order)}"
    return Query(text, source.values), shown


def queries(
    connection: sqlite3.Connection, selection: Selection, output: Output
) -> tuple[list[Query], tuple[str, ...]]:
    """The queries to run for the kinds, for each host by itself if the output asks for the host;
    and the columns to write.
    """
    one_host = output.asks_for(_HOST)
    asked, shown = query(selection, output, one_host=one_host)
    if not one_host:
        return [asked], shown
    chosen = " and ".join(["true", *(host.sql for host in selection.choices)])
    hosts = connection.execute(
        f"select u.host_id from (select id as host_id, name from host) as u where {chosen}"
        " order by u.name, u.host_id"
    ).fetchall()
    run = [Query(text) for text in _PREPARE]
    for host in hosts or [(None,)]:
        run += [
            Query("delete from one_host"),
            Query("insert into one_host values (?)", host),
            asked,
        ]
    return run, shown


def _source(selection: Selection, its_jobs: str | None = None) -> Query:
    """The view kind_usage, or the same over what ended or was used in a window, and on some
    hosts, whose jobs `its_jobs` may list.
    """
    window, hosts = selection.window, selection.choices
    if not window and not hosts:
        return Query("kind_usage")
    of_hosts = "".join(f" and {host.sql}" for host in hosts)
    theirs = its_jobs or (
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
    """One line per kind, or per host and kind."""
    asked, shown = queries(connection, selection, output)
    rows: list[Row] = []
    for each in asked:
        found = each.run(connection)
        rows += found.fetchall()
    names = tuple(column[0] for column in found.description)
    rows = output.ordered(names, rows)
    words = completeness.words(connection, selection, rollup="rollup_user")
    if selection.window and not selection.choices:
        words += exactness.inferred_ends(connection, selection.window)
        words += exactness.unread(connection, selection.window)
    words += exactness.cut_intervals(connection, selection)
    place = names.index("part_life_whole")
    whole = sum(row[place] or 0 for row in rows)
    if whole:
        words.append(
            f"{counted(whole, 'membership')} charged for a whole process that changed"
            " its automatic job, as its counters were not read then: so much less is in none"
        )
    words += completeness.cut(len(rows), output.limit)
    return Report(
        names,
        shown,
        rows[: output.limit],
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=partial(completeness.facts, connection, selection, "rollup_user"),
    )
