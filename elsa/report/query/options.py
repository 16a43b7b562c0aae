"""From the options of a report to its Selection. All reports select by the same options: jobs,
users, commands, exits, states, and a window of time.

The values of the options (`Asked`) are resolved once, with the warehouse and the names of this
host. Values of one option are alternatives, except tags; conditions of different options must all
hold.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from elsa.errors import UsageError
from elsa.report.query.choices import Asked, cut_commands, job_conditions, process_conditions
from elsa.report.query.job_lookup import job_ids, jobs_of, jobs_with_tags, several_runs
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition
from elsa.report.query.times import PERIODS, Days, Window, at, days, window
from elsa.report.query.warehouse import same_users, several_hosts


def resolve(
    connection: sqlite3.Connection, asked: Asked, now: datetime, *, clip: bool = False
) -> Selection:
    """The processes that the options select. Raises UsageError."""
    choices = process_conditions(connection, asked)
    words = (
        *cut_commands(asked.get("command", ())),
        *several_runs(connection, asked.get("job", ())),
    )
    return Selection(
        asked_window(asked, now),
        clip,
        jobs_of(connection, asked),
        tuple(choices),
        apart=several_hosts(connection),
        same_users=same_users(connection),
        words=words,
    )


def resolve_jobs(
    connection: sqlite3.Connection, asked: Asked, now: datetime, *, clip: bool = False
) -> Selection:
    """The jobs that the options select for a list of jobs, where a name means every job that has
    it; the window is for their processes. Raises UsageError.
    """
    listed = []
    if asked.get("job"):
        listed.append({number for text in asked["job"] for number in job_ids(connection, text)})
    if asked.get("tag"):
        listed.append(jobs_with_tags(connection, asked["tag"]))
    chosen = [Condition(f"u.job_id in ({THESE})", (json.dumps(sorted(ids)),)) for ids in listed]
    return Selection(
        asked_window(asked, now),
        clip,
        job_conditions=(*chosen, *job_conditions(connection, asked)),
        apart=several_hosts(connection),
    )


def asked_window(asked: Asked, now: datetime) -> Window:
    """The window of --since and --until, of --day, --week or --month, or the moment of --at. Raises
    UsageError.
    """
    for text in asked.get("at", ()):
        others = [name for name in ("since", "until", *PERIODS) if asked.get(name)]
        if others:
            raise UsageError(f"--at is a moment; leave out --{' and --'.join(others)}")
        return at(text, now)
    days = asked_days(asked, now)
    if days is not None:
        return days.window()
    since, until = (next(iter(asked.get(name, ())), None) for name in ("since", "until"))
    return window(since, until, now)


def asked_days(asked: Asked, now: datetime) -> Days | None:
    """The days of --day, --week or --month; None without these. Raises UsageError."""
    given = [kind for kind in PERIODS if asked.get(kind)]
    if not given:
        return None
    others = [name for name in ("since", "until", *given[1:]) if asked.get(name)]
    if others:
        leave_out = " and ".join(f"--{name}" for name in others)
        raise UsageError(f"--{given[0]} is a window of its own; leave out {leave_out}")
    (text,) = asked[given[0]]
    return days(given[0], text, now)
