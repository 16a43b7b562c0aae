"""The last run by name of services, cron jobs, sessions and other jobs, and how many runs there
were.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial

from elsa.report import completeness, exactness, jobs
from elsa.report.query import rollup_source
from elsa.report.query.choices import kind_conditions
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, select, values_of
from elsa.report.query.times import Window
from elsa.report.query.warehouse import of_fleet
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.text import counted

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


# Likewise of more runs.
_USUAL = {
    "cpu_usual_s": "c.value",
    "cpu_more_percent": "case when c.value > 0 then (u.cpu_s - c.value) * 100.0 / c.value end",
    "wall_usual_s": "w.value",
    "wall_more_percent": "case when w.value > 0 then (u.wall_s - w.value) * 100.0 / w.value end",
}
_MEDIANS = {"c": "cpu_s", "w": "wall_s"}
# As in the view job_usage.
_OF_EARLIER = {
    "cpu_s": rollup_source.sums("rollup_job")["cpu_s"],
    "wall_s": "case when sum(u.living) = 0 then (max(u.end_ns) - min(u.start_ns)) / 1e9 end",
}
# The runs that are compared with each other, as in elsa.report.query.selection.
_SERIES = "u.name, u.kind, u.owner_uid, b.host_id"
MOST_EARLIER = 20
"""Of how many runs before the last the usual figures are."""


def query(selection: Selection, output: Output) -> tuple[Query, tuple[str, ...]]:
    """The latest job of each name, kind, owner and host, most CPU first; and the columns to write.

    A job is in the window unless it was made after it or closed before it.
    """
    known = jobs.named({**jobs.OF_JOB, "runs": "r.runs", **_GROWN, **_USUAL}, selection, "u.job_id")
    usual = ("host", *_SHOWN) if selection.apart else _SHOWN
    shown = output.choose(known, usual)
    helpers = ("job_id", *exactness.OF_JOBS, *jobs.LOSSES)
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
    needed = " ".join((*chosen.values(), order))
    before = ""
    if any(text in needed for text in _GROWN.values()):
        ids = "select l.before_id from last_run as l where l.before_id is not null"
        before = f"\nleft join {rollup_source.job_usage(ids)} as v on v.job_id = r.before_id"
    medians = {of: key for of, key in _MEDIANS.items() if f"{of}.value" in needed}
    before += "".join(f"\nleft join usual_{of} as {of} on {of}.job_id = u.job_id" for of in medians)
    text = f"""with last_run as materialized (
    select
        max(n.job_id) as job_id,
        max(iif(n.back = 2, n.job_id, null)) as before_id,
        max(n.runs) as runs
    from (
        select
            u.job_id,
            count(*) over (partition by {_SERIES}) as runs,
            row_number() over (partition by {_SERIES} order by u.job_id desc) as back,
            {_SERIES}
        from (select j.id as job_id, j.* from job as j) as u
        join boot as b on b.id = u.boot_id{where}
    ) as n
    where n.back <= 2
    group by n.name, n.kind, n.owner_uid, n.host_id
){_usual(where, medians)}
{select(chosen)}
from {last} as u
join last_run as r on r.job_id = u.job_id{before}
{order}"""
    if output.limit is not None:
        text += f"\nlimit {output.limit + 1}"
    values = values_of(selection.job_conditions)
    return Query(text, values * 2 if medians else values), shown


def _usual(where: str, medians: Mapping[str, str]) -> str:
    """The common table expressions for medians over the runs before the last of each series."""
    if not medians:
        return ""
    # The sums of all jobs are read sooner than those of many single jobs.
    source = rollup_source.source("rollup_job", Window(), _OF_EARLIER.values(), days=True)
    sums = f"{select({'job_id': 'u.job_id'} | _OF_EARLIER)}\n{source.sql}\ngroup by u.job_id"
    text = f""", earlier as materialized (
    select n.job_id, n.last_id
    from (
        select
            u.job_id,
            first_value(u.job_id) over series as last_id,
            row_number() over series as back
        from (select j.id as job_id, j.* from job as j) as u
        join boot as b on b.id = u.boot_id{where}
        window series as (partition by {_SERIES} order by u.job_id desc)
    ) as n
    where n.back between 2 and {MOST_EARLIER + 1}
), of_earlier as materialized (
    select e.last_id, {", ".join(f"v.{key}" for key in medians.values())}
    from earlier as e
    join (
{sums}
    ) as v on v.job_id = e.job_id
)"""
    for of, key in medians.items():
        # The one in the middle, or the two.
        text += f""", usual_{of} as (
    select n.last_id as job_id, avg(n.{key}) as value
    from (
        select
            e.last_id,
            e.{key},
            row_number() over (partition by e.last_id order by e.{key}) as place,
            count(*) over (partition by e.last_id) as many
        from of_earlier as e
        where e.{key} is not null
    ) as n
    where n.place in ((n.many + 1) / 2, (n.many + 2) / 2)
    group by n.last_id
)"""
    return text


def runs(connection: sqlite3.Connection, selection: Selection, output: Output) -> Report:
    """One line per name, kind, owner and host."""
    asked, shown = query(selection, output)
    found = asked.run(connection)
    names = tuple(column[0] for column in found.description)
    rows = found.fetchall()
    kept = rows[: output.limit]
    words = []
    place = names.index("job_id")
    listed = Selection(jobs=tuple(row[place] for row in kept))
    if kept:
        places = [names.index(key) for key in jobs.LOSSES]
        losses = completeness.losses(sum(row[at] for row in kept for at in places), listed)
        words = completeness.words(connection, listed, losses, rollup="rollup_job")
        words += exactness.measured(connection, names, kept, shown, jobs=True)
        words += exactness.peaks(names, kept, shown)
    if len(rows) > len(kept):
        names_shown = counted(len(kept), "name")
        words.append(f"showing {names_shown}; --limit or --all shows more")
    return Report(
        names,
        shown,
        kept,
        words,
        nothing=partial(_nothing, connection, selection),
        completeness=partial(
            completeness.facts, connection, selection, "rollup_job", listed_jobs=listed
        ),
    )


def _nothing(connection: sqlite3.Connection, selection: Selection) -> str:
    # The copy of a fleet has the jobs that match.
    some = of_fleet(connection) or connection.execute("select 1 from job limit 1").fetchone()
    if not some:
        own = completeness.of_own("no job", connection, selection)
        return own or "there is no job yet: jobd makes automatic jobs while it runs (auto_jobs)"
    (automatic,) = kind_conditions({"kind": ("automatic",)})
    if automatic in selection.job_conditions:
        return "no automatic job matches; --kind manual lists manual jobs"
    return "no job matches"
