"""Completion in the shell: names of jobs, hosts, tags, users and columns, of a warehouse or of a
fleet. After any error, nothing is offered and nothing is printed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import click

from elsa.state import job_kinds

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from elsa.fleet_url import FleetUrl

MOST = 200
_PATIENCE_S = 2
# Names with other characters would need quotes that differ from shell to shell.
_PLAIN = re.compile(r"[\w.+:@%/=-]+")


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names and ids of jobs, the newest first."""
    from elsa.fleet.ids import IDS_OF_HOST

    rows = _rows(
        ctx,
        incomplete,
        "select name, id, closed_at_ns is null from job order by id desc",
        "select j.name, i.id, j.closed_at_ns is null from elsa.job as j"
        f" cross join lateral (select j.host_id * {IDS_OF_HOST} + j.id as id) as i"
        " where j.name like %(start)s or i.id::text like %(start)s"
        " order by j.created_at_ns desc limit 1000",
    )
    names = dict.fromkeys(name for name, _, _ in rows)
    states = {
        str(number): f"{name}, {'open' if is_open else 'closed'}" for name, number, is_open in rows
    }
    wanted = [*names, *(states if incomplete[-1:].isdigit() else ())]
    return _offer(wanted, incomplete, states)


def tags(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tags of jobs."""
    rows = _rows(
        ctx,
        incomplete,
        "select distinct key, value from job_tag order by 1, 2",
        "select distinct t.key, t.value from elsa.job_tag as t"
        " where t.key || '=' || t.value like %(start)s order by 1, 2 limit 1000",
    )
    return _offer([f"{key}={value}" for key, value in rows], incomplete)


def hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of hosts."""
    from elsa.fleet.ids import HOSTS

    rows = _rows(
        ctx,
        incomplete,
        "select distinct name from host order by name",
        f"select h.name from ({HOSTS}) as h where h.name like %(start)s order by 1",
    )
    return _offer([name for (name,) in rows], incomplete)


def commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Command names."""
    rows = _rows(
        ctx,
        incomplete,
        "select name from comm order by name",
        "select distinct c.command from elsa.rollup_day_command as c"
        " where c.command like %(start)s and c.day >= current_date - date '1970-01-01' - 7"
        " order by 1 limit 1000",
    )
    return _offer([name for (name,) in rows], incomplete)


def users(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of this host's users, or of those of a fleet."""
    import pwd

    query = "select distinct a.name from elsa.account as a where a.kind = 'user'"
    names = [name for (name,) in _rows(ctx, incomplete, "", f"{query} and a.name like %(start)s")]
    return _offer(sorted(names or (user.pw_name for user in pwd.getpwall())), incomplete)


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


def events(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Kinds of events."""
    from elsa.report.events import KINDS

    return _offer(list(KINDS), incomplete)


def columns(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of columns."""
    from elsa.report.render.columns import COLUMNS

    return _offer(
        [*COLUMNS, "all", "help"], incomplete, {key: column.doc for key, column in COLUMNS.items()}
    )


BY_KIND: dict[str, Callable[..., list[CompletionItem]]] = {
    "host": hosts,
    "job": jobs,
    "tag": tags,
    "command": commands,
    "user": users,
    "state": states,
    "kind": kinds,
    "event": events,
}


def _offer(
    names: list[str], incomplete: str, helps: dict[str, str] | None = None
) -> list[CompletionItem]:
    """The names that complete the last item of a comma list, after the items before it."""
    from click.shell_completion import CompletionItem

    start = _last_item(incomplete)
    before, prefix = incomplete[:start], incomplete[start:]
    fitting = [name for name in names if name.startswith(prefix) and _PLAIN.fullmatch(name)]
    return [CompletionItem(before + name, help=(helps or {}).get(name)) for name in fitting[:MOST]]


def _last_item(incomplete: str) -> int:
    """Where the last item of a comma list begins."""
    start = max(incomplete.rfind(mark) for mark in ",+") + 1
    return start + incomplete[start:].startswith("-")


def _rows(ctx: click.Context, incomplete: str, query: str, of_fleet: str) -> list[Any]:
    """The rows of a query in the warehouse that the command would use, or of the other query in the
    fleet database; none after an error, or without a query.
    """
    with suppress(Exception):
        from elsa import config
        from elsa.store import database

        db = ctx.params.get("db") or None
        fleet = config.fleet({"db": db})
        if fleet is not None:
            return _rows_of_fleet(fleet, of_fleet, incomplete[_last_item(incomplete) :])
        if query:
            with closing(database.open_for_reading(config.load({"db": db}).db)) as connection:
                return connection.execute(query).fetchall()
    return []


def _rows_of_fleet(fleet: FleetUrl, query: str, start: str) -> list[Any]:
    """The rows that are there in time. Nobody waits for Tab longer, whatever the network does."""
    rows: list[Any] = []

    def read() -> None:
        with suppress(Exception):
            from elsa.fleet import database

            like = "".join(f"\\{char}" if char in "\\%_" else char for char in start) + "%"
            limits = {"lock_timeout": "1s", "statement_timeout": f"{_PATIENCE_S}s"}
            with closing(database.connect(fleet, settings=limits)) as server:
                rows.extend(server.execute(query, {"start": like}).fetchall())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(_PATIENCE_S)
    return list(rows)
