"""`elsa jobd`: run the collector daemon in the foreground, as service managers expect."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import CONTEXT, Command

# sd-daemon(3): the journal reads the priority from the beginning of a line.
PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class Formatter(logging.Formatter):
    """Format a line with its priority for the journal, which adds the time itself; elsewhere with
    the time.
    """

    def __init__(self) -> None:
        self._journal = "JOURNAL_STREAM" in os.environ
        super().__init__(
            "%(message)s" if self._journal else "%(asctime)s %(levelname)s %(message)s"
        )

    def format(self, record: logging.LogRecord) -> str:
        """One line of the log."""
        text = super().format(record)
        return f"<{PRIORITIES.get(record.levelno, 6)}>{text}" if self._journal else text


@click.command(cls=Command, context_settings=CONTEXT)
@options.db
@options.socket
@click.option(
    "--user",
    metavar="NAME",
    help="After a start as root: become this user when all that needs root is open.",
)
@click.option(
    "--upgrade",
    is_flag=True,
    help="Create or upgrade the warehouse first, as `elsa db upgrade` does.",
)
@click.option(
    "--open-events",
    is_flag=True,
    help="Open what takes root's rights, leave it with systemd for jobd, and end.",
)
@click.option("--verbose", "-v", is_flag=True, help="Print more.")
def jobd(
    db: Path | None,
    socket: Path | None,
    user: str | None,
    *,
    upgrade: bool,
    open_events: bool,
    verbose: bool,
) -> None:
    """Record every fork, exec and exit on this host, and the processes of jobs. Runs in the
    foreground until TERM or INT.

    Needs root at the start (with --user, later only CAP_NET_ADMIN and CAP_SYS_PTRACE), the host's
    own namespaces, and a warehouse. Logs to stderr. Its systemd unit starts it without root, after
    --open-events.

    \b
    Examples:
      elsa jobd
      elsa jobd --db ./elsa.db --socket ./jobd.sock
      elsa jobd --user elsa --upgrade
      systemctl start elsa-jobd
    """
    settings = config.load({"db": db, "socket": socket})
    if open_events:
        from elsa.jobd import stored_events

        if settings.auto_jobs:
            stored_events.store()
        return

    from elsa.jobd.main import collect

    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    collect(settings, user, upgrades=upgrade)
