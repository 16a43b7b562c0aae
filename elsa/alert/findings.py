"""What went wrong: losses of data, jobs that failed, and jobs that used more than their earlier
runs or than their budget.
"""

from __future__ import annotations

import json
import signal
import sqlite3
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from elsa.alert.reported import Reported
from elsa.formats import local_time, signal_name
from elsa.report import compare, gates
from elsa.report.collector_status import still_open
from elsa.report.compare import COMPARED, Side
from elsa.report.gates import Gate
from elsa.report.query import rollup_source
from elsa.report.query.statement import listed, select
from elsa.report.query.times import Window, iso, reported
from elsa.run import budget
from elsa.run.budget import Limit
from elsa.text import printable
from elsa.units import SECOND_NS

# What a job used is stored shortly after it was closed.
SETTLE_NS = 10 * SECOND_NS
# How many earlier runs a job is compared with.
EARLIER_RUNS = 30
# How many jobs are judged with one query.
_AT_ONCE = 500
# Signals that end programs which run until they are stopped, as systemd has it; jobs of the other
# kinds run to their end.
_STOPS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE}
_RUN_TO_THEIR_END = {"manual", "cron", "ci", "slurm"}


class Rules(NamedTuple):
    """What is worth an alert."""

    kinds: frozenset[str]
    """Of these kinds jobs are judged."""
    growth: Sequence[Gate] = ()
    budgets: Sequence[tuple[str, list[Limit]]] = ()
    """Names or globs with limits; the first that matches a job counts."""


class Alert(NamedTuple):
    """One thing that went wrong."""

    kind: str
    """failed, growth, over budget, gap, silence, unit."""
    text: str
    """A line for people, which nothing in it can break."""
    facts: Mapping[str, Any]

    def as_object(self) -> dict[str, Any]:
        """What programs get."""
        return {"kind": self.kind, "text": self.text, **self.facts}


class Found(NamedTuple):
    """What went wrong, and what has been looked at by now."""

    alerts: list[Alert]
    reported: Reported


def find(
    connection: sqlite3.Connection,
    reported: Reported | None,
    rules: Rules,
    now_ns: int,
    since_ns: int | None = None,
) -> Found:
    """What went wrong and was not reported yet. Where nothing was reported before, or of another
    warehouse, it is what happened since `since_ns`, or since that report, or nothing.
    """
    if reported is not None and not _is_of(connection, reported):
        since_ns = reported.until_ns if since_ns is None else since_ns
        reported = None
    if since_ns is None and reported is None:
        since_ns = now_ns
    if since_ns is not None:
        reported = None
    jobs, is_open = _jobs(connection, rules.kinds, reported, now_ns, since_ns or 0)
    silent = still_open(connection, Window(), now_ns)
    last_job = connection.execute(
        "select id, created_at_ns from job order by id desc limit 1"
    ).fetchone()
    (last_gap,) = connection.execute("select coalesce(max(id), 0) from gap").fetchone()
    alerts = [
        *_gaps(connection, reported, since_ns or 0),
        *(
            alert
            for place in range(0, len(jobs), _AT_ONCE)
            for alert in _judged(connection, jobs[place : place + _AT_ONCE], rules)
        ),
    ]
    silent_since = None if silent is None else silent.since_at
    if silent is not None and (reported is None or silent_since != reported.silent_since):
        text = f"jobd does not run: it has stored nothing since {local_time(silent.since_at)}"
        facts = {"host": silent.host, "since": silent.since_at, "stopped": silent.stopped}
        alerts.append(Alert("silence", text, facts))
    last_id, created_at_ns = last_job or (0, 0)
    now = Reported(now_ns, last_id, created_at_ns, is_open, last_gap, silent_since)
    return Found(alerts, now)


def _is_of(connection: sqlite3.Connection, reported: Reported) -> bool:
    """Whether what was reported is of this warehouse, and of no older state of it."""
    known = connection.execute(
        "select (? = 0 or exists (select 1 from job where id = ? and created_at_ns = ?))"
        " and (select coalesce(max(id), 0) from gap) >= ?",
        (
            reported.last_job,
            reported.last_job,
            reported.last_job_created_at_ns,
            reported.last_gap,
        ),
    ).fetchone()[0]
    return bool(known)


class _Run(NamedTuple):
    """What the runs of a job have in common: nobody's runs count as those of another."""

    name: str
    kind: str
    host_id: int
    owner_uid: int


class _Job(NamedTuple):
    """A job that was closed."""

    job_id: int
    run: _Run


def _jobs(
    connection: sqlite3.Connection,
    kinds: frozenset[str],
    reported: Reported | None,
    now_ns: int,
    since_ns: int,
) -> tuple[list[_Job], tuple[int, ...]]:
    """The jobs that were closed and not looked at yet, and those that are to be looked at later."""
    which, values = "coalesce(j.closed_at_ns, ?) >= ?", [now_ns, since_ns]
    if reported is not None:
        which = f"(j.id > ? or j.id in ({listed(reported.open_jobs)}))"
        values = [reported.last_job]
    text = f"""
        select j.id, j.name, j.kind, b.host_id, j.owner_uid, j.closed_at_ns
        from job as j
        join boot as b on b.id = j.boot_id
        where j.kind in (select value from json_each(?))
        and {which}
        order by j.id"""
    jobs, is_open = [], []
    for *job, closed_at_ns in connection.execute(text, (json.dumps(sorted(kinds)), *values)):
        if closed_at_ns is None or 0 <= now_ns - closed_at_ns < SETTLE_NS:
            is_open.append(job[0])
        else:
            jobs.append(_Job(job[0], _Run(*job[1:])))
    return jobs, tuple(is_open)


def _judged(connection: sqlite3.Connection, jobs: Sequence[_Job], rules: Rules) -> Iterator[Alert]:
    """The alerts on some closed jobs."""
    earlier = _earlier_runs(connection, jobs) if rules.growth else {}
    needed = {job.job_id for job in jobs}.union(*earlier.values())
    figures = _figures(connection, needed)
    for job in jobs:
        row = figures[job.job_id]
        facts = {key: row[key] for key in ("job_id", "name", *_OF_JOB, *COMPARED)}
        name, kind, *_ = job.run
        who = f"job {job.job_id} {printable(name)} ({kind}, {printable(row['owner'])})"
        if why := _failure(kind, row):
            yield Alert("failed", f"{who} failed: {why}", facts)
        if before := earlier.get(job.job_id):
            base, new = Side("before", tuple(before)), Side("last", (job.job_id,))
            for each in gates.judge(rules.growth, base, new, figures).failed:
                yield Alert("growth", f"{who} used more than before: {each}", facts)
        for each in _over_budget(name, row, rules):
            yield Alert("over budget", f"{who}: {each}", facts)


_OF_JOB = {
    "job_kind": "u.kind",
    "owner": "owner_name(u.owner_uid, u.job_id)",
    "host": "h.name",
    "created_at": reported("created_at"),
    "closed_at": reported("closed_at"),
    "close_reason": "u.close_reason",
    "exit_code": "u.exit_code",
    "exit_signal": "u.exit_signal",
}


def _figures(connection: sqlite3.Connection, jobs: Iterable[int]) -> dict[int, dict[str, Any]]:
    """What there is of jobs, by id."""
    columns = {
        **{key: f"u.{key}" for key in ("job_id", "name", "exit_status")},
        **_OF_JOB,
        **{key: f"u.{key}" for key in COMPARED},
    }
    rows = connection.execute(
        f"""{select(columns)}
        from {rollup_source.job_usage(listed(jobs))} as u
        join job as j on j.id = u.job_id
        join boot as b on b.id = j.boot_id
        join host as h on h.id = b.host_id"""
    )
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def _earlier_runs(connection: sqlite3.Connection, jobs: Sequence[_Job]) -> dict[int, list[int]]:
    """By job, its earlier closed runs, the oldest first; empty where they are too few to compare
    with.
    """
    judged: dict[_Run, list[int]] = defaultdict(list)
    for job in jobs:
        judged[job.run].append(job.job_id)
    values = {"names": json.dumps(sorted({run.name for run in judged})), "last": jobs[-1].job_id}
    earlier: dict[int, list[int]] = {}
    for *run, number in connection.execute(
        f"select j.name, j.kind, b.host_id, j.owner_uid, count(*) {_CLOSED_BEFORE}"
        " and j.name in (select value from json_each(:names)) group by 1, 2, 3, 4",
        values,
    ).fetchall():
        ids = judged.get(_Run(*run), [])
        if not ids or number <= compare.LEAST_RUNS:
            continue
        rows = connection.execute(
            f"select j.id {_CLOSED_BEFORE} and j.name = :name and j.kind = :kind"
            " and b.host_id = :host_id and j.owner_uid = :owner_uid order by j.id desc limit :most",
            values | _Run(*run)._asdict() | {"most": EARLIER_RUNS + len(ids)},
        )
        closed = [job_id for (job_id,) in rows][::-1]
        for job_id in ids:
            earlier[job_id] = closed[: bisect_left(closed, job_id)][-EARLIER_RUNS:]
    return earlier


# Of very many jobs the last million.
_CLOSED_BEFORE = """from job as j join boot as b on b.id = j.boot_id
    where j.id between :last - 1000000 and :last and j.closed_at_ns is not null"""


def _failure(kind: str, row: Mapping[str, Any]) -> str:
    """How a job failed; empty if it did not, or if that is not known."""
    if not row["exit_status"]:
        return ""
    if number := row["exit_signal"]:
        if kind not in _RUN_TO_THEIR_END and number in _STOPS:
            return ""
        return f"killed by signal {number} ({signal_name(number) or 'unknown'})"
    return f"exit status {row['exit_code']}"


def _over_budget(name: str, row: Mapping[str, Any], rules: Rules) -> list[str]:
    limits = next((limits for glob, limits in rules.budgets if fnmatchcase(name, glob)), None)
    if limits is None:
        return []
    values = {
        "cpu_s": row["cpu_s"],
        "wall_s": row["wall_s"],
        "peak_rss_kib": row["job_peak_kib"],
        "group": None,
    }
    return budget.judge(limits, values).over


def _gaps(
    connection: sqlite3.Connection, reported: Reported | None, since_ns: int
) -> Iterator[Alert]:
    """The known losses that were not reported yet."""
    if reported is None:
        where, value = "coalesce(g.ended_ns, f.read_at_ns, g.started_ns) >= ?", since_ns
    else:
        where, value = "g.gap_id > ?", reported.last_gap
    cursor = connection.execute(
        f"""select g.gap_id, g.host, g.kind as gap_kind, g.what,
            {iso("g.started_ns")} as started_at, {iso("g.ended_ns")} as ended_at,
            g.duration_s, g.lost, g.path, g.note
        from gaps as g
        join gap as l on l.id = g.gap_id
        left join acct_file as f on f.id = l.acct_file_id
        where {where}
        order by g.gap_id""",
        (value,),
    )
    names = [column[0] for column in cursor.description]
    for row in cursor:
        facts = dict(zip(names, row, strict=True))
        times = [local_time(facts[key]) for key in ("started_at", "ended_at") if facts[key]]
        parts = [
            facts["what"],
            " to ".join(times),
            facts["path"] or "",
            f"{facts['lost']} lost" if facts["lost"] else "",
            facts["note"] or "",
        ]
        text = ", ".join(printable(part) for part in parts if part)
        yield Alert("gap", f"data may be missing: {text}", facts)
