"""`elsa job`: create jobs, add processes to them, run commands in them. Each command is one request
to jobd.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from elsa import config
from elsa.cli import options
from elsa.cli.define import define
from elsa.cli.job_rules import rules
from elsa.cli.job_text import (
    MEMBER,
    JsonObject,
    client_of,
    complete_job,
    fields_of_kinds,
    job_title,
    member_cells,
    ref_of,
    time_text,
    user_text,
)
from elsa.cli.job_top import top
from elsa.cli.main import CONTEXT, Group
from elsa.control import protocol
from elsa.control.client import Client
from elsa.errors import ElsaError, UsageError
from elsa.text import cleaned, counted

# How long `run` waits until jobd has stored the usage of the command. It is short, since the
# warehouse may be locked.
STORING_TIMEOUT_S = 2.0


_job = click.argument("ref", metavar="JOB", callback=ref_of, shell_complete=complete_job)
_pid = click.IntRange(1, protocol.MAX_PID)
_pids = click.argument("pids", metavar="PID...", type=_pid, nargs=-1, required=True)


@click.group(cls=Group, context_settings=CONTEXT)
def job() -> None:
    """Create jobs, add processes to them, run commands in them.

    A job is a set of processes; what a member forks is a member too. JOB is the id of a job, or its
    name if only one open job has it; a manual job comes before an automatic job of that name, which
    service:nginx chooses.

    \b
    Examples:
      elsa job run --name build -- make -j8    run a command as a job of its own
      elsa job create night --tag host=web1    create an empty job; prints its id
      elsa job add night $(pidof cron) --tree  add processes and their descendants
      elsa job show night                      its members and what they use
      elsa job define late --root 4711@02:00   make a job afterwards
    """


job.add_command(define)
job.add_command(rules)
job.add_command(top)


@job.command()
@click.argument("name")
@options.tags
@options.socket
def create(name: str, tags: dict[str, str], socket: Path | None) -> None:
    """Create an empty job and print its id.

    \b
    Examples:
      elsa job create night
      JOB=$(elsa job create backup --tag customer=acme --tag level=full)
    """
    click.echo(_ask(socket, "create", name=name, tags=tags)["job"]["id"])


@job.command()
@_job
@_pids
@click.option(
    "--tree",
    is_flag=True,
    help=(
        "Also their living descendants that you may manage; without --tree, only what they fork"
        " from now on."
    ),
)
@options.socket
def add(ref: protocol.JobRef, pids: Sequence[int], tree: bool, socket: Path | None) -> None:
    """Add running processes to a job. A process may be in several jobs at once.

    \b
    Examples:
      elsa job add night 4711
      elsa job add 17 $(pidof sshd) --tree
    """
    reply = _ask(socket, "add", job=ref, pids=pids, tree=tree)
    already = f", {len(reply['already'])} already in it" if reply.get("already") else ""
    click.echo(f"{job_title(reply['job'])}: {_processes(reply['added'])} added{already}", err=True)


@job.command()
@_job
@_pids
@options.socket
def remove(ref: protocol.JobRef, pids: Sequence[int], socket: Path | None) -> None:
    """Remove processes from a job. What they used and started while they were in it stays in it.

    \b
    Example:
      elsa job remove night 4711
    """
    reply = _ask(socket, "remove", job=ref, pids=pids)
    click.echo(f"{job_title(reply['job'])}: {_processes(reply['removed'])} removed", err=True)


@job.command()
@_job
@options.socket
def close(ref: protocol.JobRef, socket: Path | None) -> None:
    """Close a job: its running processes leave it, and none can be added. Its accounting is kept.

    \b
    Example:
      elsa job close night
    """
    click.echo(f"{job_title(_ask(socket, 'close', job=ref)['job'])}: closed", err=True)


@job.command("list")
@click.option("--all", "every", is_flag=True, help="Also closed jobs: the newest 1000.")
@options.kinds
@click.option("--limit", type=click.IntRange(1), metavar="N", help="List only the newest N jobs.")
@options.table_or_json
@options.socket
def list_(
    every: bool, kinds: tuple[str, ...], limit: int | None, form: str, socket: Path | None
) -> None:
    """List the open jobs, manual and automatic.

    \b
    Examples:
      elsa job list
      elsa job list --kind manual
      elsa job list --all --kind service,cron --format json
    """
    reply = _ask(socket, "list", all=every, **fields_of_kinds(kinds))
    count = len(reply["jobs"])
    reply["jobs"] = reply["jobs"][-(limit or count) :]
    which = " of that kind" if kinds else ""
    nothing = (
        f"no jobs{which} yet; create one with: elsa job create NAME"
        if every
        else f"no open jobs{which}; --all shows closed jobs too"
    )
    _show(form, reply, _jobs_table, reply["jobs"], nothing)
    if len(reply["jobs"]) < count:
        click.echo(f"the newest {limit} of {count} jobs", err=True)


@job.command()
@_job
@click.option(
    "--limit",
    type=click.IntRange(0, protocol.MAX_MEMBERS),
    default=1000,
    show_default=True,
    help="How many members to list.",
)
@options.table_or_json
@options.socket
def show(ref: protocol.JobRef, limit: int, form: str, socket: Path | None) -> None:
    """Show a job, its living members and what they use, and what finished members used.

    This command reads running processes from /proc, and finished processes from the warehouse, if
    you may read them. Of a job that has ended it prints elsa report job.

    \b
    Examples:
      elsa job show night
      elsa job show 17 --format json
    """
    from elsa.cli import live
    from elsa.kernel.procfs import Procfs
    from elsa.run.live_usage import read_job

    client = client_of(socket)
    try:
        now = read_job(client, Procfs(), ref, limit)
    except UsageError as error:
        if not _show_ended(client, ref, form):
            raise error from None
        return
    if form == "json":
        click.echo(json.dumps(live.as_object(now), indent=2))
        return
    job = now.job
    kind = f", {job['kind']}" if "kind" in job else ""
    state = f"closed {time_text(job['closed_at_ns'])}" if job.get("closed_at_ns") else "open"
    tags = "".join(f", {key}={value}" for key, value in job.get("tags", {}).items())
    cut = f", of which {len(now.members)} shown" if len(now.members) < now.living else ""
    click.echo(
        cleaned(
            f"{job_title(job)} of {user_text(job['owner_uid'])}, created"
            f" {time_text(job['created_at_ns'])},"
            f" {state}{kind}{tags}"
        )
    )
    click.echo(f"{_processes(range(now.living))} alive{cut}")
    if now.members:
        click.echo(
            _table(
                MEMBER + live.USAGE,
                [(*member_cells(member), *live.usage_cells(used)) for member, used in now.members],
            )
        )
    click.echo("\n" + _table(live.SUMMARY, live.summary(now)))
    for note in live.notes(now):
        click.echo(f"note: {cleaned(note)}")


def _show_ended(client: Client, ref: protocol.JobRef, form: str) -> bool:
    """Print the report of a job that has ended, of a name the latest; whether there is one."""
    from elsa.cli.report import report
    from elsa.report.query.job_lookup import latest
    from elsa.report.query.warehouse import reading_allowed

    if any(ref in (job["id"], job["name"]) for job in client.request("list")["jobs"]):
        return False  # an open job, so something else is wrong
    path = client.warehouse()
    try:
        with reading_allowed(path) as connection:
            latest(connection, str(ref))
    except ElsaError:
        return False
    arguments = ["job", str(ref), "--format", form, "--db", str(path)]
    report.main(arguments, prog_name="elsa report", standalone_mode=False)
    click.echo(f"no open job is called {ref}; this is from elsa report job", err=True)
    return True


@job.command()
@click.argument("pid", type=_pid)
@options.table_or_json
@options.socket
def of(pid: int, form: str, socket: Path | None) -> None:
    """Show which jobs a process is in.

    \b
    Example:
      elsa job of $$
    """
    reply = _ask(socket, "of", pid=pid)
    _show(form, reply, _jobs_table, reply["jobs"], f"process {pid} is in no job")


@job.command()
@options.table_or_json
@options.socket
def status(form: str, socket: Path | None) -> None:
    """Show the state of jobd: since when it runs, received and lost events, and (to root and the
    elsa group) rows that wait to be written.

    \b
    Examples:
      elsa job status
      elsa job status --format json
    """
    reply = _ask(socket, "status")
    known = {key: value for key, value in reply.items() if value is not None}
    rows = [
        (key.removesuffix("_at_ns"), time_text(value) if key.endswith("_at_ns") else value)
        for key, value in known.items()
    ]
    _show(form, reply, _block, rows, "")


@job.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", help="Name of the job.  [default: name of the command]")
@options.tags
@options.socket
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    name: str | None, tags: dict[str, str], socket: Path | None, command: Sequence[str]
) -> None:
    """Run COMMAND in a job of its own, which closes when its last process has ended.

    The command is in the job before it starts, so nothing that it starts can be missed. Signals are
    passed on to the command, and its exit status is passed back: 127 if it was not found, 126 if it
    could not be executed. If jobd does not answer, the command is not run. The id of the job is
    printed to stderr.

    \b
    Examples:
      elsa job run -- make -j8
      elsa job run --name nightly --tag customer=acme -- ./backup.sh --full
    """
    from elsa.cli.run import command_group
    from elsa.run.launch import end_like, launch, title_of

    title = name if name is not None else title_of(command)

    made: list[int] = []

    def register(pid: int) -> None:
        group.add(pid)
        reply = _ask(
            socket, "create", name=title, tags=tags, pids=[pid], launched=pid, closes_itself=True
        )
        made.append(reply["job"]["id"])
        with contextlib.suppress(OSError):  # run the command also if stderr is closed
            click.echo(job_title(reply["job"]), err=True)

    with command_group() as group:
        status = launch(command, register)
        client = Client(config.load({"socket": socket}).socket, STORING_TIMEOUT_S)
        with contextlib.suppress(ElsaError):
            # Only here the wait status is certain: exits of threads may hide it from jobd.
            client.request("ended", job=made[0], status=status)
        # So that a report right after this is complete, and jobd has read the control group; unless
        # the warehouse is locked.
        with contextlib.suppress(ElsaError):
            client.request("sync")
        with contextlib.suppress(OSError):
            for note in group.kept():
                click.echo(note, err=True)
    end_like(status)


def _ask(socket: Path | None, op: str, **fields: object) -> dict[str, Any]:
    reply = client_of(socket).request(op, **fields)
    if reply.get("committed") is False:
        why = cleaned(str(reply.get("why", "no reason given")))
        with contextlib.suppress(OSError):
            click.echo(
                "warning: jobd holds this in memory only, the warehouse cannot be written yet:"
                f" {why}",
                err=True,
            )
    return reply


def _show(
    form: str, reply: JsonObject, table: Callable[[Any], str], rows: Sequence[Any], nothing: str
) -> None:
    """Print the whole reply as JSON, or its rows as a table, or `nothing` if there are none."""
    if form == "json":
        click.echo(json.dumps(reply, indent=2))
    elif rows:
        click.echo(table(rows))
    elif nothing:
        click.echo(nothing, err=True)


def _jobs_table(jobs: Iterable[JsonObject]) -> str:
    rows = [
        (
            job["id"],
            job["name"],
            job.get("kind"),
            user_text(job["owner_uid"]),
            time_text(job["created_at_ns"]),
            time_text(job.get("closed_at_ns")),
            job.get("living", ""),
            " ".join(f"{key}={value}" for key, value in job.get("tags", {}).items()),
        )
        for job in jobs
    ]
    return _table(("id", "name", "kind", "owner", "created", "closed", "alive", "tags"), rows)


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    from elsa.cli import live, tables

    return "\n".join(
        tables.lines(
            headers,
            rows,
            right=live.NUMBERS,
            room=tables.terminal_width(),
            least_important=("tags", "closed", *live.LEAST_IMPORTANT),
        )
    )


def _block(rows: Sequence[tuple[str, object]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {cleaned(str(value))}" for name, value in rows)


def _processes(pids: Sequence[int]) -> str:
    return counted(len(pids), "process")
