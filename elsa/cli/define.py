"""`elsa job define`: a job of what was recorded, after the fact."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from elsa import config
from elsa.cli import options, progress
from elsa.cli.main import Command, tell
from elsa.errors import RetryError, UnavailableError, UsageError
from elsa.kernel.safe_paths import same_file
from elsa.state.criteria import Criteria
from elsa.text import printable

# How much longer than that to wait for jobd, which gives up by itself.
PATIENCE_S = 15
# Fewer are made members at once, so that a bar would only flash up.
WORTH_A_BAR = 50_000


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--root",
    metavar="PID[@TIME]",
    help="The process that bore PID then (without TIME: last), and all that descends from it.",
)
@click.option(
    "--session",
    metavar="PID[@TIME]",
    help="The processes of the session of which that process was the leader.",
)
@click.option(
    "--command",
    "commands",
    metavar="GLOB",
    multiple=True,
    help="Processes by command name, as a shell matches; may be repeated.",
)
@click.option(
    "--where",
    metavar="SQL",
    help="Processes by a condition on the columns of the view process_usage.",
)
@click.option("--since", metavar="TIME", help="Only what began then or later.")
@click.option("--until", metavar="TIME", help="Only what began before then.")
@click.option("--dry-run", is_flag=True, help="Only show what would be in it.")
@options.tags
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Output format.",
)
@options.db
@options.socket
def define(
    name: str,
    root: str | None,
    session: str | None,
    commands: Sequence[str],
    where: str | None,
    since: str | None,
    until: str | None,
    dry_run: bool,
    tags: dict[str, str],
    form: str,
    db: Path | None,
    socket: Path | None,
) -> None:
    """Make a job of processes that were recorded, as of any time in the past, and print its id.

    Each process is in it with its whole life, so one that runs on is charged to it until it ends. The job is closed from the start: what
    began by now, or before --until, is in it, and nothing that begins later. TIME is written as for elsa report (09:30, yesterday, ISO).
    A user who is neither root nor in the elsa group defines jobs of own processes; those of others are left out.

    \b
    Examples:
      elsa job define nightly --root 4711@02:00           what that process and its descendants did
      elsa job define login --session 3120 --tag who=ann  a whole login
      elsa job define compilers --command 'cc1*' --command ld --since yesterday --until today
      elsa job define hogs --where 'cpu_s > 60 and uid >= 1000' --dry-run
    """
    from elsa.control import protocol
    from elsa.report.query.selection import cut_commands
    from elsa.report.query.times import window

    now = datetime.now().astimezone()
    began = window(since, until, now)
    root_pid, root_at = _pid_at(root, now, "--root")
    session_pid, session_at = _pid_at(session, now, "--session")
    selection = Criteria(
        root_pid,
        session_pid,
        root_at or session_at,
        tuple(commands),
        where,
        began.since,
        began.until,
    )
    fields = {key: value for key, value in vars(selection).items() if value not in (None, ())}
    fields |= {"name": name, "tags": tags, "dry_run": dry_run}
    protocol.parse_request(
        protocol.encode_request("define", fields)
    )  # what jobd would refuse is refused without one too
    reply = _carry_out(
        config.load({"db": db, "socket": socket}), selection, fields, named=db is not None
    )
    for line in cut_commands(commands):
        tell(f"elsa-job: {line}")
    _print(reply, form)


def _pid_at(text: str | None, now: datetime, option: str) -> tuple[int | None, int | None]:
    """The two parts of PID@TIME."""
    from elsa.report.query.times import moment

    if text is None:
        return None, None
    pid, at, time = text.partition("@")
    if not (pid.isascii() and pid.isdigit()) or (at and not time):
        raise UsageError(f"{option}: {text!r} is neither a PID nor PID@TIME, as in 4711@09:30")
    return int(pid), moment(time, now, option) if at else None


def _carry_out(
    settings: config.Config, selection: Criteria, fields: dict[str, Any], *, named: bool
) -> dict[str, Any]:
    """Do it in this process where the files allow it, else have jobd do it."""
    from elsa.control.client import Client
    from elsa.jobd import define_job

    client = Client(settings.socket, settings.define_s + PATIENCE_S)
    kept, foreign = None, False
    try:
        status = client.request("status")
        kept, foreign = Path(status["db"]), status["pid"] is None
    except UnavailableError:
        pass
    db = settings.db if named or kept is None else kept
    asks = kept is not None and same_file(db, kept)
    if asks and foreign and (selection.root, selection.session) != (None, None):
        raise UsageError(define_job.FOREIGN)
    if asks and not os.access(db, os.R_OK if fields["dry_run"] else os.W_OK):
        return client.request("define", **fields)
    order = define_job.Order(
        db=str(db),
        socket=str(settings.socket) if asks else None,
        name=fields["name"],
        tags=fields["tags"],
        owner_uid=os.getuid(),
        only_uid=None,
        selection=selection,
        dry_run=fields["dry_run"],
        limit_s=settings.define_s,
    )
    with progress.bar("defining", from_total=WORTH_A_BAR) as show:
        return define_job.define(order, show)


def _print(reply: dict[str, Any], form: str) -> None:
    """The id of the job on stdout and a summary on stderr; of a dry run the summary on stdout."""
    job, found = reply["job"], reply["found"]
    if form == "json":
        click.echo(json.dumps(reply, indent=2))
    elif job is not None:
        click.echo(job["id"])
    if reply.get("committed") is False:
        raise RetryError(f"jobd holds this in memory only: {reply.get('why')}")
    if form != "json":
        for line in _summary(found):
            click.echo(printable(line), err=job is not None)


def _summary(found: dict[str, Any]) -> Iterator[str]:
    one = found["processes"] == 1
    running = f", {found['running']} of them running" if found["running"] else ""
    span = f"from {_local(found['started_at_ns'])} to {_local(found['ended_at_ns'])}"
    yield f"{found['processes']} process{'' if one else 'es'}{running}, {span}"
    if found["inferred"]:
        yield (
            f"{found['inferred']} of them by inference: their line or session was not heard, but"
            " concluded"
        )
    yield "commands: " + ", ".join(
        f"{command} ({count})" for command, count in found["commands"].items()
    )


def _local(at_ns: int | None) -> str:
    return (
        "-"
        if at_ns is None
        else datetime.fromtimestamp(at_ns // 1_000_000_000)
        .astimezone()
        .strftime("%Y-%m-%d %H:%M:%S")
    )
