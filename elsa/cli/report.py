"""`elsa report`: what jobs, commands and users cost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import CONTEXT

if TYPE_CHECKING:
    import sqlite3

    from elsa.report.render import Report
    from elsa.report.selection import Window

Function = TypeVar("Function", bound=Callable[..., Any])
# As in elsa.report.render, which is not imported for the sake of --help.
FORMATS = ("table", "csv", "json", "jsonl")


def output_options(function: Function) -> Function:
    """--format, --limit and --db."""
    function = options.db(function)
    function = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show at most N rows.")(function)
    return click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print it.")(
        function
    )


def window_options(function: Function) -> Function:
    """--since and --until."""
    function = click.option("--until", metavar="TIME", help="Only processes that ended before then.")(function)
    return click.option("--since", metavar="TIME", help="Only processes that ended then or later.")(function)


def job_option(function: Function) -> Function:
    """--job JOB."""
    return click.option("--job", metavar="JOB", help="Only processes that were ever in this job (its id or name).")(function)


@click.group(context_settings=CONTEXT)
def report() -> None:
    """What jobs, commands and users cost.

    Data goes to stdout; what is missing or doubtful in it is said on stderr. Tables show local times and "-" for what is unknown;
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
      elsa report commands --since today                  what commands used today, the dearest first
      elsa report users --since yesterday --until today   what each user used yesterday
      elsa report processes --job build --format csv      a spreadsheet of every process of a job
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
@output_options
def job(*, job: str, form: str, limit: int | None, db: Path | None) -> None:
    """One job, by its id or name: what it cost in all and by command (csv: in all only).

    Of several jobs with one name the only open one is meant.

    \b
    Examples:
      elsa report job build
      elsa report job 12 --format json
    """
    from elsa.report import jobs, selection, warehouse

    path = config.load({"db": db}).db
    with warehouse.reading(path) as connection:
        found = jobs.job(connection, selection.job_id(connection, job), limit)
    jobs.write_job(found, form, sys.stdout)
    _say(found.words)


@report.command()
@job_option
@window_options
@output_options
def processes(*, job: str | None, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """Single processes, running ones first, then the one that ended last.

    \b
    Examples:
      elsa report processes --limit 20
      elsa report processes --job build --format csv
      elsa report processes --since 09:30 --until 10:00
    """
    from elsa.report.processes import processes as make

    _print(db, form, lambda connection: make(connection, _window(since, until), _job(connection, job), limit))


@report.command()
@job_option
@window_options
@output_options
def commands(*, job: str | None, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """What each command used, the dearest first; * marks processes that never called exec, as in sa.

    \b
    Examples:
      elsa report commands --since today --limit 10
      elsa report commands --job build
    """
    from elsa.report.usage import commands as make

    _print(db, form, lambda connection: make(connection, _window(since, until), _job(connection, job), limit))


@report.command()
@job_option
@window_options
@output_options
def users(*, job: str | None, since: str | None, until: str | None, form: str, limit: int | None, db: Path | None) -> None:
    """What each user used, the dearest first.

    \b
    Examples:
      elsa report users --since yesterday --until today
      elsa report users --job build
    """
    from elsa.report.usage import users as make

    _print(db, form, lambda connection: make(connection, _window(since, until), _job(connection, job), limit))


def _print(db: Path | None, form: str, make: Callable[[sqlite3.Connection], Report]) -> None:
    """Make a report and print it, its words after its rows."""
    from elsa.report import render, warehouse

    path = config.load({"db": db}).db
    with warehouse.reading(path) as connection:
        made = make(connection)
        count = render.write(made, form, sys.stdout)
    _say(made.words if count else [made.nothing, *made.words])


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
