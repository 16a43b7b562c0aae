"""`elsa report`: what jobs, commands and users cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from elsa import config
from elsa.cli import gnu, options
from elsa.cli.main import CONTEXT
from elsa.errors import ElsaError

if TYPE_CHECKING:
    import sqlite3

    from elsa.report.render import Report
    from elsa.report.selection import Window

Function = TypeVar("Function", bound=Callable[..., Any])
# As in elsa.report.render, which is not imported for the sake of --help.
FORMATS = ("table", "csv", "json", "jsonl")
# Live usage is asked of jobd: not for long, and not of more members than a report is worth.
LIVE_TIMEOUT_S = 3.0
MOST_LIVE = 1000


def output_options(function: Function) -> Function:
    """--format, --limit and --db."""
    function = options.db(function)
    function = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show at most N rows.")(function)
    return click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print it.")(
        function
    )


def window_options(function: Function) -> Function:
    """--since and --until."""
    function = click.option("--until", metavar="TIME", help="Only what ended before then.")(function)
    return click.option("--since", metavar="TIME", help="Only what ended then or later.")(function)


def job_option(function: Function) -> Function:
    """--job JOB."""
    return click.option("--job", metavar="JOB", help="Only processes that were ever in this job (its id or name).")(function)


def all_option(function: Function) -> Function:
    """--all."""
    return click.option("--all", "everything", is_flag=True, help="Also that of which nothing is known yet, since it still runs.")(function)


@click.group(context_settings=CONTEXT)
def report() -> None:
    """What jobs, commands and users cost.

    Data goes to stdout; on stderr stands how complete it is, unless both witnesses, the kernel's events and its accounting records, saw
    every process. Tables show local times and "-" for what is unknown;
    csv, json and jsonl carry UTC times, raw values and empty or null for what is unknown.

    \b
    TIME is one of:
      2026-11-02   2026-11-02T09:30   2026-11-02T09:30+01:00   09:30
      today   yesterday   midnight   noon   now   now-2hours   now-30minutes   now-1day
    A process belongs to the window in which it ended: from --since on, before --until. So days add up to the month.

    \b
    Examples:
      elsa report jobs                                    every job
      elsa report job build                               one job and its commands
      elsa report job build --since today                 what it cost today
      elsa report commands --since today                  what commands used today, the dearest first
      elsa report users --since yesterday --until today   what each user used yesterday
      elsa report processes --job build --format csv      a spreadsheet of every process of a job
      elsa report processes --limit 20                    the last 20 to end
      elsa report gaps                                    when something may have been missed
      elsa report audit --since yesterday                 who saw what: are the figures complete, and if not, why?
    """


@report.command()
@window_options
@output_options
def jobs(*, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """Every job with what it cost, the newest first.

    With --since or --until: the jobs of which processes ended in that window, with what those processes used.

    \b
    Examples:
      elsa report jobs --limit 10
      elsa report jobs --since today --format json
    """
    from elsa.report.jobs import jobs as make

    _print(db, form, lambda connection: make(connection, _window(since, until), limit))


@report.command()
@click.argument("job")
@click.option("--summary", type=click.Choice(["ja"]), help="Totals only: those of CSA's ja.")
@window_options
@output_options
def job(*, job: str, summary: str | None, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """One job, by its id or name: what it cost in all and by command (csv: in all only).

    Of several jobs with one name the only open one is meant. With --since or --until: what those of its processes cost that ended then.
    With --summary ja: span, CPU time, memory integrals and peaks, transfers, delays and billing units.

    \b
    Examples:
      elsa report job build
      elsa report job build --summary ja
      elsa report job 12 --format json
      elsa report job build --since yesterday --until today
    """
    from elsa.report import jobs, selection, warehouse
    from elsa.report import summary as totals

    path = config.load({"db": db}).db
    window = _window(since, until)
    with warehouse.reading(path) as connection:
        if summary:
            total = totals.summary(connection, selection.job_id(connection, job), window)
            totals.write(total, form, sys.stdout)
            _say(total.words)
            return
        found = jobs.job(connection, selection.job_id(connection, job), window, limit)
    jobs.write_job(found, form, sys.stdout)
    _say(found.words)
    values = dict(zip(found.columns, found.row, strict=True))
    if form == "table" and not window and values["running"] and values["state"] == "open":
        _show_live(path, int(values["job_id"]))


@report.command()
@job_option
@window_options
@all_option
@output_options
def processes(
    *, job: str | None, since: str | None, until: str | None, everything: bool, form: str, limit: int | None, db: Path | None
) -> None:
    """Single processes that ended, the newest last; with --all also those that still run.

    \b
    Examples:
      elsa report processes --limit 20
      elsa report processes --job build --format csv
      elsa report processes --since 09:30 --until 10:00
    """
    from elsa.report.processes import processes as make

    _print(db, form, lambda connection: make(connection, _window(since, until), _job(connection, job), limit, everything=everything))


@report.command()
@job_option
@window_options
@all_option
@output_options
def commands(
    *, job: str | None, since: str | None, until: str | None, everything: bool, form: str, limit: int | None, db: Path | None
) -> None:
    """What each command used, the dearest first; * marks processes that never called exec, as in sa.

    \b
    Examples:
      elsa report commands --since today --limit 10
      elsa report commands --job build
    """
    from elsa.report.usage import commands as make

    _print(db, form, lambda connection: make(connection, _window(since, until), _job(connection, job), limit, everything=everything))


@report.command()
@job_option
@window_options
@all_option
@output_options
def users(
    *, job: str | None, since: str | None, until: str | None, everything: bool, form: str, limit: int | None, db: Path | None
) -> None:
    """What each user used, the dearest first.

    \b
    Examples:
      elsa report users --since yesterday --until today
      elsa report users --job build --all
    """
    from elsa.report.usage import users as make

    _print(db, form, lambda connection: make(connection, _window(since, until), _job(connection, job), limit, everything=everything))


@report.command()
@window_options
@output_options
def gaps(*, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """Known losses of events and records, the newest first: from when to when, why, and how much.

    With --since or --until: those that touch that window. A loss at an unknown time, as in a file, may touch any.

    \b
    Examples:
      elsa report gaps
      elsa report gaps --since yesterday --format json
    """
    from elsa.report.gaps import gaps as make

    _print(db, form, lambda connection: make(connection, _window(since, until), limit, time.time_ns()))


@report.command()
@window_options
@output_options
def audit(*, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """Who saw what: the kernel's process events (the connector) compared with its accounting records.

    First how many processes and records both, or only one of them, tell of; then the stretches of time in which they do not agree, the
    newest first, with the likely cause; then what accounting lost by cutting CPU time down to ticks, where taskstats tells it better.
    csv has the first part only; --limit is for the second.

    \b
    Examples:
      elsa report audit
      elsa report audit --since yesterday --until today
      elsa report audit --format json
    """
    from elsa.report import audit as made
    from elsa.report import warehouse

    path = config.load({"db": db}).db
    window = _window(since, until)
    with warehouse.reading(path) as connection:
        found = made.audit(connection, window, limit, time.time_ns())
    made.write(found, form, sys.stdout)
    _say(found.words)


def _print(db: Path | None, form: str, make: Callable[[sqlite3.Connection], Report]) -> None:
    """Make a report and print it, its words after its rows."""
    from elsa.report import render, warehouse

    path = config.load({"db": db}).db
    with warehouse.reading(path) as connection:
        made = make(connection)
        count = render.write(made, form, sys.stdout)
    _say(made.words if count else [made.nothing, *made.words])


def _show_live(path: Path, job_id: int) -> None:
    """What the members that still run use so far, told apart from the finished; nothing where jobd does not answer."""
    from tabulate import tabulate

    from elsa.cli import live as show
    from elsa.control.client import Client
    from elsa.kernel.procfs import Procfs
    from elsa.pipeline.live import look

    client = Client(config.load().socket, LIVE_TIMEOUT_S)
    try:
        if not path.samefile(client.request("status")["db"]):
            return  # that jobd keeps another warehouse, with other jobs under these ids
        now = look(client, Procfs(), job_id, MOST_LIVE)
    except ElsaError as error:
        _say([f"what the running processes use so far is unknown: {error}"])
        return
    align = ("left", *["right"] * (len(show.SUMMARY) - 1))
    click.echo("\n" + tabulate(show.summary(now), show.SUMMARY, tablefmt="simple", colalign=align, disable_numparse=True))
    _say(show.words(now))


def _say(words: list[str]) -> None:
    for line in words:
        click.echo(f"elsa-report: {line}", err=True)


def _window(since: str | None, until: str | None) -> Window:
    from datetime import datetime

    from elsa.report.selection import window

    return window(since, until, datetime.now().astimezone())


def _job(connection: sqlite3.Connection, job: str | None) -> int | None:
    from elsa.report.selection import job_id

    return None if job is None else job_id(connection, job)


for _command in gnu.COMMANDS:
    report.add_command(_command)
