"""`elsa report bill`: what usage cost by the tariff."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import click

from elsa.cli.report.group import report
from elsa.cli.report.request import Request
from elsa.cli.report.shared_options import PROCESS_CHOICES, reports

if TYPE_CHECKING:
    import sqlite3

    from elsa.report.query.selection import Selection


@report.command()
@click.option(
    "--by",
    default="user",
    show_default=True,
    metavar="user|group|job|tag[:KEY]",
    help="One line per user, group, job or tag.",
)
@click.option(
    "--as-of",
    metavar="TIME",
    help="By the tariffs as they were then: what the bill was at that time.",
)
@reports(*PROCESS_CHOICES)
def bill(*, request: Request, by: str, as_of: str | None) -> None:
    """What processes cost, by the tariff that was valid when each of them ended. Tariffs are
    managed with elsa db tariff. --day, --week and --month are those of the tariff's time zone.

    Each line is rounded once, and the total is the sum of the lines. If processes are in several
    jobs, the total counts each process once, and a note gives the sum of the lines. Usage that is
    not known is not charged, but counted.

    \b
    Examples:
      elsa report bill --month 2026-11
      elsa report bill --by tag:customer --month 2026-11 --format csv > bill.csv
      elsa report bill --by job --user anna --since yesterday
      elsa report bill --by job --kind service --month 2026-11
    """
    from elsa.report.billing import bill as made
    from elsa.report.billing import units
    from elsa.report.query.options import asked_days

    as_of_ns = _moment(as_of)
    request = replace(request, by=by, as_of_ns=as_of_ns)

    def chosen(connection: sqlite3.Connection, selection: Selection) -> Selection:
        days = asked_days(request.asked, datetime.now().astimezone())
        return (
            selection
            if days is None
            else replace(selection, window=made.window(connection, days, as_of_ns))
        )

    request.show(
        lambda _, selection: [units.query(by, selection)],
        lambda connection, selection: request.told_apart(
            made.bill(connection, by, selection, request.output, as_of_ns)
        ),
        choose=chosen,
    )


def _moment(text: str | None) -> int | None:
    from elsa.report.query.times import moment

    return None if text is None else moment(text, datetime.now().astimezone(), "--as-of")
