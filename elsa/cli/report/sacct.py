"""`elsa report sacct`: jobs as Slurm's sacct prints them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from elsa import config
from elsa.cli import complete, options
from elsa.cli.report import request, shared_options
from elsa.cli.report.group import report

DEFAULT = "JobID,JobName,User,State,ExitCode,Start,Elapsed,TotalCPU,MaxRSS"


@report.command()
@click.option(
    "-S", "--starttime", metavar="TIME", help="Jobs that were there then or later.  [today]"
)
@click.option("-E", "--endtime", metavar="TIME", help="Jobs that were there before.  [now]")
@click.option(
    "-u", "--user", "users", multiple=True, metavar="USER", shell_complete=complete.users,
    help="Only jobs of these users.",
)  # fmt: skip
@click.option(
    "-j", "--jobs", "jobs", multiple=True, metavar="JOB", shell_complete=complete.jobs,
    help="Only these jobs, at any time unless -S says otherwise: ids, names or globs.",
)  # fmt: skip
@click.option(
    "-s", "--state", "states", multiple=True, metavar="STATE",
    help="Only jobs with this State: RUNNING, COMPLETED, FAILED, NODE_FAIL, CANCELLED, or R, CD...",
)  # fmt: skip
@click.option(
    "-o", "--format", "fields", default=DEFAULT, metavar="FIELDS", help="JobName%20,State"
)
@click.option("-e", "--helpformat", is_flag=True, help="List the fields.")
@click.option("-n", "--noheader", is_flag=True, help="Leave the headings out.")
@click.option("-P", "--parsable2", is_flag=True, help="Separated by |.")
@click.option("-p", "--parsable", is_flag=True, help="Separated by |, and one at the end.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.option("-X", "--allocations", is_flag=True, help="Accepted: there are no steps of jobs.")
@click.option("-a", "--allusers", is_flag=True, help="Accepted: as without -u.")
@options.db
def sacct(
    *,
    starttime: str | None,
    endtime: str | None,
    users: tuple[str, ...],
    jobs: tuple[str, ...],
    states: tuple[str, ...],
    fields: str,
    helpformat: bool,
    noheader: bool,
    parsable2: bool,
    parsable: bool,
    as_json: bool,
    allocations: bool,
    allusers: bool,
    db: Path | None,
) -> None:
    """Jobs as sacct of Slurm prints them: the options and fields that have a meaning here. Times
    are as everywhere in elsa report, those of sacct included.

    \b
    Examples:
      elsa report sacct -S yesterday
      elsa report sacct -u anna -S now-7days -o JobID,JobName%30,State,Elapsed
      elsa report sacct -j nightly -P -n
    """
    from elsa.report import sacct as made
    from elsa.report.query import warehouse
    from elsa.report.query.options import resolve_jobs
    from elsa.report.query.times import window

    if helpformat:
        click.echo("\n".join(field.name for field in made.FIELDS.values()))
        return
    chosen = made.chosen(fields)
    wanted = made.states(shared_options.values("state", states))
    now = datetime.now().astimezone()
    since = starttime or (None if jobs else "today")
    span = window(since, endtime, now, ("-S", "-E"))
    asked = {
        "user": shared_options.values("user", users),
        "job": shared_options.values("job", jobs),
    }
    with warehouse.reading_allowed(config.load({"db": db}).db) as connection:
        request.say(warehouse.notes(connection))
        selection = replace(resolve_jobs(connection, asked, now), window=span)
        found = made.jobs(connection, selection, wanted, now)
    if as_json:
        click.echo(made.as_json(found))
        return
    mark = "|" if parsable or parsable2 else None
    for line in made.lines(found, chosen, mark, header=not noheader):
        click.echo(line + ("|" if parsable else ""))
