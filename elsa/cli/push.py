"""`elsa push`: send what is new in the warehouse to the fleet database."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli import options, progress
from elsa.cli.main import CONTEXT, Command, print_stderr
from elsa.errors import UsageError
from elsa.fleet_url import FleetUrl
from elsa.formats import local_time_ns
from elsa.text import counted
from elsa.units import HOUR_NS

if TYPE_CHECKING:
    from elsa.fleet.push import History, Pushed


@click.command(cls=Command, context_settings=CONTEXT)
@click.option(
    "--to",
    "to",
    type=options.Place(),
    metavar="URL",
    help="The fleet database, postgresql://...  [ELSA_PUSH_TO; default: none]",
)
@click.option(
    "--history",
    type=click.Choice(["keep", "forget"]),
    help=(
        "The fleet has another warehouse of this machine id: keep what it has as a host of its own"
        " (web1#3), or forget it; then push all of this warehouse."
    ),
)
@click.option("--dry-run", "-n", is_flag=True, help="Only print what would be sent.")
@options.db
def push(
    *, to: Path | FleetUrl | None, history: History | None, dry_run: bool, db: Path | None
) -> None:
    """Send the sums of the hours that are rolled up, jobs and losses to the fleet database.

    Only what differs is sent, in batches of which each is whole or not at all: it may be
    interrupted, run twice or after weeks offline, and the fleet has what the host has. While the
    server does not answer the exit code is 75, and nothing is lost. Without the setting push_to
    it does nothing. docs/fleet.md explains how to set the server up.

    \b
    Examples:
      elsa push
      elsa push --dry-run
      elsa push --to postgresql://web1@db.example.org/elsa
    """
    from elsa.fleet.push import push as send

    if to is not None and not isinstance(to, FleetUrl):
        raise UsageError("--to: a URL that begins with postgresql:// is needed")
    settings = config.load({"db": db})
    if to is None and settings.push_to == "none":
        print_stderr("push_to is not set, so there is nowhere to push to; see docs/fleet.md")
        return
    url = to or FleetUrl(settings.push_to)
    with progress.bar("pushing hours", from_total=48) as show:
        done = send(
            settings.db,
            url,
            time.time_ns(),
            show,
            history=history,
            dry_run=dry_run,
        )
    print_stderr(f"{url}: {_told(done, dry_run=dry_run)}")
    if done.ahead > 1:
        print_stderr(
            f"{url}: the clock of this host is about {done.ahead} hours ahead of the server's, and"
            " so are its hours"
        )


def _told(done: Pushed, *, dry_run: bool) -> str:
    until = local_time_ns(done.until_hour * HOUR_NS)
    counts = [
        counted(count, name)
        for count, name in ((done.hours, "hour"), (done.jobs, "job"), (done.others, "other row"))
        if count
    ]
    if not counts:
        return f"up to date until {until}, nothing {'would be' if dry_run else 'was'} sent"
    return f"{', '.join(counts)} {'would be sent' if dry_run else f'sent, until {until}'}"
