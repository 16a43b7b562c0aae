"""`elsa ingest`: BSD accounting files into the warehouse, once for cron or following."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli import options, progress
from elsa.cli.main import CONTEXT, Command, print_stderr
from elsa.text import counted, printable

if TYPE_CHECKING:
    from elsa.ingest.ingester import PassResult

# What is printed of each outcome of a join.
OUTCOMES = {
    "EXACT": "joined exactly",
    "UNCERTAIN": "joined near a gap, so uncertain",
    "OWN": "of processes that no event reported",
    "PENDING": "waiting for their events",
    "AMBIGUOUS": "fitting several processes equally well",
    "SELF": "written by acct(2) about its own caller, not counted",
}

# How many skipped places of files are printed.
SKIPPED_SHOWN = 5

# Fewer bytes are read too quickly for a progress bar.
BAR_FROM = 4 << 20


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("files", nargs=-1, type=click.Path(readable=False, path_type=Path))
@click.option(
    "--follow",
    "-f",
    is_flag=True,
    help="Keep reading new records, also after rotations, until TERM or INT.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look for new records.",
)
@click.option(
    "--host", metavar="NAME", help="The files come from another host, which gets this name."
)
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@options.db
@options.socket
def ingest(
    files: tuple[Path, ...],
    follow: bool,
    interval: float,
    host: str | None,
    quiet: bool,
    db: Path | None,
    socket: Path | None,
) -> None:
    """Read BSD accounting files into the warehouse and join the records to the processes that jobd
    recorded.

    The files are of acct v3, plain or compressed by gzip, bzip2, xz or zstd.

    Without FILES: the accounting file of this host and its rotated files. Every record is read
    exactly once, however often this runs: the resume point is stored with the rows. Records of
    processes that jobd has not stored yet are joined by a later run. Then the hours that are over
    are summed up, so that reports over long windows are fast.

    \b
    Examples:
      elsa ingest                          once, as cron does
      elsa ingest --follow                 all the time
      elsa ingest pacct.0 pacct            these files
      elsa ingest --host web1 web1.pacct   another machine's file
    """
    from elsa.ingest.ingester import Ingester
    from elsa.kernel.procfs import Procfs
    from elsa.store.rollups import RollupScheduler

    if host is not None and not host.strip():
        raise click.BadParameter("a name is needed", param_hint="--host")
    logging.basicConfig(level=logging.WARNING, format="elsa-ingest: %(message)s")
    settings = config.load({"db": db, "socket": socket})
    ingester, scheduler = Ingester(settings, Procfs(), host), RollupScheduler(settings.db)
    if follow:

        def after(outcome: PassResult) -> None:
            _print(outcome, quiet=quiet, following=True)
            scheduler.roll_up_if_due()

        stopping = _stop_on_signal()
        ingester.follow(files, interval, lambda: bool(stopping), after)
        return
    with progress.bar("reading", from_total=BAR_FROM, quiet=quiet) as show:
        outcome = ingester.run_once(files, show)
    _print(outcome, quiet=quiet, following=False)
    with progress.bar("rolling up", from_total=48, quiet=quiet) as show:
        scheduler.roll_up(show)
    if outcome.troubles:
        sys.exit(outcome.troubles[0].exit_code)


def _stop_on_signal() -> list[int]:
    """A list that is empty until TERM or INT is received."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: received.append(number))
    return received


def _print(outcome: PassResult, *, quiet: bool, following: bool) -> None:
    _print_troubles(outcome)
    if not quiet and (not following or outcome.records or outcome.settled_late):
        _print_joins(outcome)


def _print_troubles(outcome: PassResult) -> None:
    for trouble in outcome.troubles:
        print_stderr(f"elsa-ingest: {trouble}")
    for path, skipped in outcome.skipped[:SKIPPED_SHOWN]:
        print_stderr(
            f"elsa-ingest: {path}: skipped bytes {skipped.first} to {skipped.last}: {skipped.what}"
        )
    if len(outcome.skipped) > SKIPPED_SHOWN:
        print_stderr(
            f"elsa-ingest: {len(outcome.skipped) - SKIPPED_SHOWN} more places were skipped; see:"
            " elsa report gaps"
        )
    for path, count in outcome.repeated.items():
        print_stderr(
            f"elsa-ingest: {path}: {count} of its records repeat those of a file that was read"
            " before; they are not counted, unless other records follow in this file"
        )
    for path in outcome.unread:
        print_stderr(
            f"elsa-ingest: {path}: not read, as its name is not that of a rotated file; to read it:"
            f" elsa ingest {path}"
        )


def _print_joins(outcome: PassResult) -> None:
    for path, records in outcome.files.items():
        if records or len(outcome.files) == 1:
            click.echo(f"{printable(path)}: {counted(records, 'new record')}")
    if not outcome.records and not outcome.settled_late:
        if outcome.troubles:
            return
        waiting = f"; {outcome.waiting} earlier records wait for their events"
        click.echo(f"nothing new{waiting if outcome.waiting else ''}")
        return
    if outcome.settled_late:
        click.echo(f"{outcome.settled_late} earlier records settled")
    for how, count in sorted(outcome.joins.items()):
        if count > 0:
            click.echo(f"{count:>9} {OUTCOMES[how.name]}")
