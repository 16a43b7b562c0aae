"""`elsa job define`: make a job of processes that were recorded, after the fact."""

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
from elsa.cli.main import Command, print_stderr
from elsa.errors import RetryError, UnavailableError, UsageError
from elsa.formats import local_time_ns
from elsa.kernel.safe_paths import same_file
from elsa.state.criteria import Criteria
from elsa.text import counted, printable

# How much longer than its own time limit (define_s) to wait for the answer of jobd, which lets a
# request wait up to 60 s for another of the same user.
JOBD_MARGIN_S = 75
# Fewer processes are made members too quickly for a progress bar.
BAR_FROM = 50_000


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--root",
    metavar="PID[@TIME]",
    help="The process that had PID then (without TIME: last), and all its descendants.",
)
@click.option(
    "--session",
    metavar="PID[@TIME]",
    help="The processes of the session that this process led.",
)
@click.option(
    "--command",
    "commands",
    metavar="GLOB",
    multiple=True,
    help="Processes by command name, as a glob of the shell; may be repeated.",
)
@click.option(
    "--where",
    metavar="SQL",
    help="Processes by a condition on the columns of the view process_usage.",
)
@click.option("--since", metavar="TIME", help="Only processes that started then or later.")
@click.option("--until", metavar="TIME", help="Only processes that started before then.")
@click.option("--dry-run", is_flag=True, help="Only show what would be in the job.")
@options.tags
@options.table_or_json
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
    """Make a job of processes that were recorded at any time in the past, and print its id.

    Each process is a member for its whole lifetime: if it still runs, the job is charged for it
    until it ends. The job is closed at once: processes that start later than now, or than --until,
    are not in it. TIME is written as for elsa report (09:30, yesterday, ISO). A user who is
    neither root nor in the elsa group can define jobs of own processes; processes of other users
    are left out. After a job of many processes over many days, reports on these days are slower
    until the next elsa ingest, or elsa db rollup, has summed up their hours again.

    \b
    Examples:
      elsa job define nightly --root 4711@02:00   that process and its descendants
      elsa job define login --session 3120 --tag who=ann            a whole login
      elsa job define compilers --command 'cc1*' --command ld --since yesterday
      elsa job define hogs --where 'cpu_s > 60 and uid >= 1000' --dry-run
    """
    from elsa.control import operations, protocol
    from elsa.report.query.choices import cut_commands
    from elsa.report.query.times import window

    now = datetime.now().astimezone()
    started = window(since, until, now)
    root_pid, root_at = _pid_at(root, now, "--root")
    session_pid, session_at = _pid_at(session, now, "--session")
    selection = Criteria(
        root_pid,
        session_pid,
        root_at or session_at,
        tuple(commands),
        where,
        started.since,
        started.until,
    )
    fields = {key: value for key, value in vars(selection).items() if value not in (None, ())}
    fields |= {"name": name, "tags": tags, "dry_run": dry_run}
    # What jobd would refuse is refused without jobd too.
    operations.parse_request(protocol.encode_request("define", fields))
    reply = _carry_out(
        config.load({"db": db, "socket": socket}), selection, fields, named=db is not None
    )
    for line in cut_commands(commands):
        print_stderr(f"elsa-job: {line}")
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
    """Define the job in this process if it may write the warehouse, else let jobd do it."""
    from elsa.control.client import Client
    from elsa.jobd import define_job

    client = Client(settings.socket, settings.define_s + JOBD_MARGIN_S)
    jobd_db, foreign = None, False
    try:
        status = client.request("status")
        jobd_db, foreign = Path(status["db"]), status["pid"] is None
    except UnavailableError:
        pass
    db = settings.db if named or jobd_db is None else jobd_db
    through_jobd = jobd_db is not None and same_file(db, jobd_db)
    by_pid = selection.root is not None or selection.session is not None
    if through_jobd and foreign and by_pid:
        raise UsageError(define_job.FOREIGN)
    if through_jobd and not os.access(db, os.R_OK if fields["dry_run"] else os.W_OK):
        return client.request("define", **fields)
    order = define_job.Order(
        db=str(db),
        socket=str(settings.socket) if through_jobd else None,
        name=fields["name"],
        tags=fields["tags"],
        owner_uid=os.getuid(),
        only_uid=None,
        selection=selection,
        dry_run=fields["dry_run"],
        limit_s=settings.define_s,
    )
    with progress.bar("defining", from_total=BAR_FROM) as show:
        return define_job.define(order, show)


def _print(reply: dict[str, Any], form: str) -> None:
    """Print the id of the job to stdout and a summary to stderr; for a dry run, the summary to
    stdout.
    """
    job, matched = reply["job"], reply["found"]
    if form == "json":
        click.echo(json.dumps(reply, indent=2))
    elif job is not None:
        click.echo(job["id"])
    if reply.get("committed") is False:
        raise RetryError(f"jobd holds this in memory only: {reply.get('why')}")
    if form != "json":
        for line in _summary(matched):
            click.echo(printable(line), err=job is not None)


def _summary(matched: dict[str, Any]) -> Iterator[str]:
    processes = counted(matched["processes"], "process")
    running = f", {matched['running']} of them running" if matched["running"] else ""
    span = f"from {_local(matched['started_at_ns'])} to {_local(matched['ended_at_ns'])}"
    yield f"{processes}{running}, {span}"
    if matched["inferred"]:
        yield (
            f"{matched['inferred']} of them by inference: their ancestry or session was not"
            " received from the kernel"
        )
    yield "commands: " + ", ".join(
        f"{command} ({count})" for command, count in matched["commands"].items()
    )


def _local(at_ns: int | None) -> str:
    return "-" if at_ns is None else local_time_ns(at_ns)
