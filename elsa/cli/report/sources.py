"""`elsa report gaps` and `audit`: what may have been missed, and what each source reported; and
`connect`: who was logged in.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli.report.group import report
from elsa.cli.report.request import Request, say
from elsa.cli.report.shared_options import reports
from elsa.errors import UsageError
from elsa.report.render.output import ColumnsHelp

if TYPE_CHECKING:
    import sqlite3


@report.command()
@reports("host")
def gaps(*, request: Request) -> None:
    """Known losses of events and records, the newest first: from when to when, why, and how much.

    With --since or --until: the losses that touch that window. A loss at an unknown time, as in a
    file, may touch any window.

    \b
    Examples:
      elsa report gaps
      elsa report gaps --since yesterday --format json
    """
    from elsa.report import gaps as made
    from elsa.report.query.choices import host_ids

    def hosts(connection: sqlite3.Connection) -> list[int] | None:
        return host_ids(connection, request.asked["host"]) if request.asked["host"] else None

    request.show(
        lambda connection, selection: [
            made.query(selection.window, request.output, hosts(connection))[0]
        ],
        lambda connection, selection: made.gaps(
            connection, selection.window, request.output, time.time_ns(), hosts(connection)
        ),
    )


@report.command()
@reports("host", sort=False, rows=20)
def audit(*, request: Request) -> None:
    """Compare the sources: the kernel's process events (the connector) and its accounting records.

    The report has three parts: how many processes and records both sources reported, or only one
    of them; the periods in which they do not agree, the newest first, with the likely cause; and
    the CPU time that accounting lost by cutting it to ticks, where taskstats reported it too.
    csv, tsv, parsable and --columns have the first part only; --limit is for the second.

    \b
    Examples:
      elsa report audit
      elsa report audit --since yesterday --until today
      elsa report audit --format json
    """
    from elsa.report import audit as made

    words: list[str] = []
    with request.printing() as (connection, out):
        _refuse_some_hosts(connection, request)
        window = request.ready(connection, request.selection(connection)).window
        if request.explain:
            out.write(
                "\n\n".join(
                    f"-- {name}\n{query.readable()}" for name, query in made.queries(window).items()
                )
                + "\n"
            )
            return
        found = made.audit(connection, window, request.output, time.time_ns())
        words = found.words
        key = "rows" if request.output.columns else "audit"
        facts = request.facts(connection, dict)
        with request.json_object(out, window, words, found.columns(), facts, key):
            made.write(found, request.output, out)
    say(words)


def _refuse_some_hosts(connection: sqlite3.Connection, request: Request) -> None:
    """Raise UsageError for some of the hosts of a warehouse: it has the classes of all together."""
    from elsa.report.query.choices import host_ids

    if not request.asked["host"] or request.is_of_fleet(connection):
        return
    (number,) = connection.execute("select count(*) from host").fetchone()
    if len(host_ids(connection, request.asked["host"])) < number:
        raise UsageError("--host: audit is of all hosts of a warehouse together; leave --host out")


@report.command()
@click.option(
    "--by",
    type=click.Choice(["user", "day"]),
    default="user",
    show_default=True,
    help="Add up by user or by day.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Read this file of wtmp or wtmpdb; repeated: several.",
)
@click.option("--user", "users", multiple=True, metavar="USER", help="Only this user, or a glob.")
@reports()
def connect(*, request: Request, by: str, files: tuple[Path, ...], users: tuple[str, ...]) -> None:
    """How long users were logged in, as with GNU ac: from wtmpdb, or else from wtmp.

    Here --since and --until cut what lies outside. Who is still logged in counts up to now. A login
    without a logout counts up to the next boot, or the next login on its line.

    \b
    Examples:
      elsa report connect
      elsa report connect --by day --week last --user anna
      elsa report connect --file /var/log/wtmp.1 --file /var/log/wtmp
    """
    from elsa.report import connect as made
    from elsa.report.render import writer

    if request.explain:
        raise UsageError("connect reads no warehouse, so there is no SQL to explain")
    fleet = config.fleet({"db": request.db})
    if fleet is not None and not files:
        raise UsageError(
            f"{fleet} has no logins; elsa report connect reads those of the host that it runs on:"
            " run it there without --db and ELSA_DB, or name a file with --file"
        )
    logins, words = made.read(files)
    try:
        found = made.connect(logins, by, users, request.window, request.output, time.time_ns())
    except ColumnsHelp as text:
        click.echo(str(text))
        return
    words += found.words
    with request.json_object(sys.stdout, request.window, words, found.shown):
        if not writer.write(found, request.output, sys.stdout):
            words.insert(0, found.nothing())
    say(words)
