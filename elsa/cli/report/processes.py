"""`elsa report processes` and `last`: single processes; `events`: what the kernel said of them."""

from __future__ import annotations

import click

from elsa.cli import complete
from elsa.cli.report.group import report
from elsa.cli.report.request import Request
from elsa.cli.report.shared_options import PROCESS_CHOICES, reports


def _show(request: Request, kind: str) -> None:
    from elsa.report import processes as made

    view = {"processes": made.PROCESSES, "last": made.LAST}[kind]
    request.show(
        lambda _, selection: [
            made.query(view, selection, request.output, everything=request.wants_running)[0]
        ],
        lambda connection, selection: made.processes(
            connection, view, selection, request.output, everything=request.wants_running
        ),
    )


@report.command()
@reports(*PROCESS_CHOICES, alive=True)
def processes(*, request: Request) -> None:
    """Single processes that ended, the newest last; with --all also those that still run.

    Processes are shown whole, also those that lived --at a moment. With --alive their usage is what
    they used in the window: what was read while they ran, each interval where it ended, and the
    rest where the process ended, so that they add up to the window in `elsa report hours`. Times,
    exit and elapsed time stay those of the whole process. A "-" is unknown: the process was not
    read in the window, or the figure is known only at the end of a process (waits, for example).

    \b
    Examples:
      elsa report processes --limit 20
      elsa report processes --at 'yesterday 23:10' --user anna
      elsa report processes --alive --since 03:00 --until 04:00 --sort cpu_s
      elsa report processes --job build --format csv
      elsa report processes --since 09:30 --until 10:00 --exit nonzero
      elsa report processes --job build --columns +cmdline --sort -cpu_s
    """
    _show(request, "processes")


@report.command()
@click.argument(
    "commands",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[COMMAND]...",
    shell_complete=complete.commands,
)
@reports(*PROCESS_CHOICES, alive=True)
def last(*, commands: tuple[str, ...], request: Request) -> None:
    """Who ran what, the newest first, as with lastcomm. COMMAND is the same as --command COMMAND.

    Processes are shown whole; with --alive, with what they used in the window.

    \b
    Examples:
      elsa report last --limit 20
      elsa report last --at 03:12
      elsa report last 'cc*' --user anna --since today
      elsa report last --tty pts/3 --exit signal
    """
    _show(request.choosing(command=commands), "last")


@report.command()
@reports("event", *PROCESS_CHOICES)
def events(*, request: Request) -> None:
    """Forks, execs and exits as the kernel reported them, the newest last.

    A thread has events of its own. The command and user are those at the end of the process. Here
    --since and --until are about the time of the event.

    \b
    Examples:
      elsa report events --limit 50
      elsa report events --job build --columns at,event,pid,tid,ppid,command
      elsa report events --since 03:10 --until 03:15 --user anna
      elsa report events --event exec,exit --since today
    """
    from elsa.report import events as made

    kinds, output = request.asked["event"], request.output
    request.show(
        lambda connection, selection: [made.query(connection, selection, output, kinds)[0]],
        lambda connection, selection: made.events(connection, selection, output, kinds),
    )
