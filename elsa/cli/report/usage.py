"""`elsa report commands`, `users` and `groups`: what they used."""

from __future__ import annotations

from elsa.cli.report.group import report
from elsa.cli.report.request import PROCESSES, Request, everything_option, reports


def _show(request: Request, kind: str, *, everything: bool) -> None:
    from elsa.report import usage as made

    by = {"commands": made.COMMANDS, "users": made.USERS, "groups": made.GROUPS}[kind]
    everything = everything or request.wants_running
    request.show(
        lambda _, selection: made.query(by, selection, request.output),
        lambda connection, selection: made.usage(connection, by, selection, request.output, everything=everything),
    )


@report.command()
@reports(*PROCESSES, clip=True)
@everything_option
def commands(*, request: Request, everything: bool) -> None:
    """What each command used, the dearest first; * marks processes that never called exec, as in sa.

    \b
    Examples:
      elsa report commands --since today --limit 10
      elsa report commands --job build --sort -rss_kib
    """
    _show(request, "commands", everything=everything)


@report.command()
@reports(*PROCESSES, clip=True)
@everything_option
def users(*, request: Request, everything: bool) -> None:
    """What each user used, the dearest first.

    \b
    Examples:
      elsa report users --since yesterday --until today
      elsa report users --job build --all
    """
    _show(request, "users", everything=everything)


@report.command()
@reports(*PROCESSES, clip=True)
@everything_option
def groups(*, request: Request, everything: bool) -> None:
    """What each group used, by the real gid of accounting records, the dearest first.

    \b
    Examples:
      elsa report groups --since 2026-11 --until 2026-12
      elsa report groups --command 'cc*' --format csv
    """
    _show(request, "groups", everything=everything)
