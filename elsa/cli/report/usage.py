"""`elsa report commands`, `users` and `groups`: what each used; `hours`, `days` and `months`: what
was used in each period.
"""

from __future__ import annotations

from dataclasses import replace

import click

from elsa.cli import complete
from elsa.cli.options import Function
from elsa.cli.report.group import report
from elsa.cli.report.request import Request, blocks
from elsa.cli.report.shared_options import PROCESS_CHOICES, reports
from elsa.errors import UsageError


def plot_option(function: Function) -> Function:
    """--plot [KEY]."""
    text = "Draw this figure as bars instead of printing a table.  [default KEY: cpu_s]"
    return click.option(
        "--plot",
        is_flag=False,
        flag_value="cpu_s",
        metavar="[KEY]",
        help=text,
        shell_complete=complete.columns,
    )(function)


def _show(request: Request, kind: str) -> None:
    from elsa.report import usage as made

    by = {"commands": made.COMMANDS, "users": made.USERS, "groups": made.GROUPS}[kind]
    request.show(
        lambda connection, selection: made.prepared(connection, by, selection, request.output)[0],
        lambda connection, selection: request.told_apart(
            made.usage(connection, by, selection, request.output, everything=request.wants_running)
        ),
    )


def _over_time(request: Request, kind: str, plot: str | None) -> None:
    from elsa.report import usage as made
    from elsa.report.query.selection import Selection
    from elsa.report.render.output import known

    by = {"hours": made.HOURS, "days": made.DAYS, "months": made.MONTHS}[kind]
    output = request.output
    if plot is not None:
        if output.form != "table" or output.sort is not None:
            raise UsageError("--plot draws periods in their order; leave --format and --sort out")
        plot = known(plot, (*made.columns(by, Selection()), made.ACTIVE), "--plot")
        if plot in by.keys:
            raise UsageError(f"--plot wants a figure such as cpu_s, not {plot}")
        output = replace(output, columns=f"{by.noun},{plot}")
    request.show(
        lambda connection, selection: made.prepared(connection, by, selection, output)[0],
        lambda connection, selection: made.usage(
            connection, by, selection, output, everything=True
        ),
        (
            None
            if plot is None
            else lambda connection, report: made.plot(
                connection, report, by, plot, output, blocks=blocks()
            )
        ),
    )


@report.command()
@reports(*PROCESS_CHOICES, clip=True)
def commands(*, request: Request) -> None:
    """What each command used, most CPU first; * marks processes that never called exec, as in sa.

    \b
    Examples:
      elsa report commands --since today --limit 10
      elsa report commands --job build --sort -rss_kib
    """
    _show(request, "commands")


@report.command()
@reports(*PROCESS_CHOICES, clip=True)
def users(*, request: Request) -> None:
    """What each user used, most CPU first.

    \b
    Examples:
      elsa report users --since yesterday --until today
      elsa report users --job build --all
      elsa report users --since 09:00 --until 10:00 --columns +active
    """
    _show(request, "users")


@report.command()
@reports(*PROCESS_CHOICES, clip=True)
def groups(*, request: Request) -> None:
    """What each group used, by the real gid of accounting records, most CPU first.

    \b
    Examples:
      elsa report groups --since 2026-11 --until 2026-12
      elsa report groups --command 'cc*' --format csv
    """
    _show(request, "groups")


@report.command()
@reports(*PROCESS_CHOICES, clip=True)
@plot_option
def hours(*, request: Request, plot: str | None) -> None:
    """What was used in each hour of this host's clock. A process belongs to the hour in which it
    ended, so the hours add up to the whole.

    With --clip the usage of each process is spread over its lifetime, so a long process counts in
    every hour in which it ran.

    \b
    Examples:
      elsa report hours --since yesterday --plot
      elsa report hours --job build --columns hour,cpu_s,rss_kib
      elsa report hours --day yesterday --columns +active
    """
    _over_time(request, "hours", plot)


@report.command()
@reports(*PROCESS_CHOICES, clip=True)
@plot_option
def days(*, request: Request, plot: str | None) -> None:
    """What was used in each day of this host's clock. A process belongs to the day in which it
    ended, so the days add up to the whole.

    With --clip the usage of each process is spread over its lifetime, so a long process counts in
    every day in which it ran.

    \b
    Examples:
      elsa report days --since 2026-11
      elsa report days --user anna --plot read_bytes
      elsa report days --job night --clip --format csv
    """
    _over_time(request, "days", plot)


@report.command()
@reports(*PROCESS_CHOICES, clip=True)
@plot_option
def months(*, request: Request, plot: str | None) -> None:
    """What was used in each month of this host's clock. A process belongs to the month in which it
    ended, so the months add up to the whole.

    With --clip the usage of each process is spread over its lifetime, so a long process counts in
    every month in which it ran.

    \b
    Examples:
      elsa report months
      elsa report months --group 100 --format csv --columns month,cpu_s
    """
    _over_time(request, "months", plot)
