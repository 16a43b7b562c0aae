"""`elsa report at`: what ran at a moment, and what was used around it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import click

from elsa.cli.report.group import report
from elsa.cli.report.request import Request
from elsa.cli.report.shared_options import PROCESS_CHOICES, reports
from elsa.units import HOUR_NS

if TYPE_CHECKING:
    import sqlite3

    from elsa.report.moment import Moment
    from elsa.report.query.selection import Selection

# How many rows a table has without --limit and --all: most processes are idle.
ROWS = 20
# How long before the moment its interval may have started, for a plain user's own records.
_LONGEST_NS = 24 * HOUR_NS


@report.command(name="at", context_settings={"ignore_unknown_options": True})
@click.argument("moment", nargs=-1, metavar="[TIME]")
@click.option(
    "--by",
    type=click.Choice(("command", "process", "job", "user")),
    default="command",
    show_default=True,
    help="What a row is of; `command`: of each command of a user in a job.",
)
@reports(*PROCESS_CHOICES, window=False, rows=ROWS)
def at(*, moment: tuple[str, ...], by: str, request: Request) -> None:
    """Who slowed the machine down at a moment? What ran then, in which jobs and how fast, and what
    everybody used around it, most CPU first. Without TIME it is about now.

    jobd reads what living processes use at the end of each minute (`interval_s`). The report is
    about the interval that holds the moment. Two groups of columns:

    \b
    alive, cpus, resident, read/s, written/s   of the processes that lived at that
                           moment; their rates are means over their time in the
                           interval: 0.28 cpus is 28 % of one CPU
    active, cpu, share, read, written   of all processes that lived in the
                           interval, so that thousands of short-lived processes
                           show too

    What was used adds up to the interval exactly. While that is not over, all
    figures are of the last one that is. If jobd did not read processes then, it is the
    minute of the clock, and figures are estimated from the processes that have ended.

    \b
    Examples:
      elsa report at 03:12
      elsa report at
      elsa report at yesterday 23:10 --by process --sort write_bytes_s
      elsa report at 03:12 --by job --kind cron
    """
    from elsa.report import moment as made
    from elsa.report.query import times

    for word in moment:  # -7d is a time
        if word.startswith("-") and not word[1:2].isdigit():
            raise click.NoSuchOption(word.partition("=")[0], ctx=click.get_current_context())
    when = " ".join(moment) or "now"
    times.at(when, datetime.now().astimezone(), "TIME")
    found: list[Moment] = []

    def choose(connection: sqlite3.Connection, selection: Selection) -> Selection:
        then, chosen = made.moment(connection, selection)
        found.append(then)
        return chosen

    replace(request, looks_back_ns=_LONGEST_NS).choosing(at=(when,)).show(
        lambda _, selection: [made.query(found[0], by, selection, request.output)[0]],
        lambda connection, selection: made.report(
            connection, found[0], by, selection, request.output
        ),
        choose=choose,
    )
