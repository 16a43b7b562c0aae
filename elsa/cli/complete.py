"""Completion in the shell: names of jobs, tags, users and columns. After any error, nothing is
offered and nothing is printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from elsa.state import job_kinds

MOST = 200
# Names with other characters would need quotes that differ from shell to shell.
_PLAIN = re.compile(r"[\w.+:@%/=-]+")


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names and ids of jobs, the newest first."""
    rows = _rows(ctx, "select name, id, closed_at_ns is null from job order by id desc")
    names = dict.fromkeys(name for name, _, _ in rows)
    states = {
        str(number): f"{name}, {'open' if is_open else 'closed'}" for name, number, is_open in rows
    }
    wanted = [*names, *(states if incomplete[-1:].isdigit() else ())]
    return _offer(wanted, incomplete, states)


def tags(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tags of jobs."""
    return _offer(
        [
            f"{key}={value}"
            for key, value in _rows(ctx, "select distinct key, value from job_tag order by 1, 2")
        ],
        incomplete,
    )


def commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Command names."""
    return _offer(
        [name for (name,) in _rows(ctx, "select name from comm order by name")], incomplete
    )


def users(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of this host's users."""
    import pwd

    return _offer(sorted(user.pw_name for user in pwd.getpwall()), incomplete)


def states(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """States, including those of sacct."""
    of_jobs = ctx.command.name == "jobs"
    return _offer(
        ["open", "closed"] * of_jobs
        + ["running", "completed", "failed"]
        + ["ended"] * (not of_jobs),
        incomplete,
    )


def kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Kinds of jobs."""
    return _offer(list(job_kinds.CHOICES), incomplete)


def columns(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of columns."""
    from elsa.report.render.columns import COLUMNS

    return _offer(
        [*COLUMNS, "all", "help"], incomplete, {key: column.doc for key, column in COLUMNS.items()}
    )


BY_KIND: dict[str, Callable[..., list[CompletionItem]]] = {
    "job": jobs,
    "tag": tags,
    "command": commands,
    "user": users,
    "state": states,
    "kind": kinds,
}


def _offer(
    names: list[str], incomplete: str, helps: dict[str, str] | None = None
) -> list[CompletionItem]:
    """The names that complete the last item of a comma list, after the items before it."""
    start = max(incomplete.rfind(mark) for mark in ",+") + 1
    if incomplete[start:].startswith("-"):
        start += 1
    before, prefix = incomplete[:start], incomplete[start:]
    fitting = [name for name in names if name.startswith(prefix) and _PLAIN.fullmatch(name)]
    return [CompletionItem(before + name, help=(helps or {}).get(name)) for name in fitting[:MOST]]


def _rows(ctx: click.Context, query: str) -> list[Any]:
    """The rows of a query in the warehouse that the command would use; none after an error."""
    with suppress(Exception):
        from elsa import config
        from elsa.store import database

        db = ctx.params.get("db")
        path = config.load({"db": Path(db) if db else None}).db
        with closing(database.open_for_reading(path)) as connection:
            return connection.execute(query).fetchall()
    return []
