"""`elsa check`: does ELSA work on this host?"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import CONTEXT, Command
from elsa.errors import UnavailableError
from elsa.text import printable

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=Command, context_settings=CONTEXT)
@options.db
@options.socket
@click.option(
    "--acct-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The accounting file.  [ELSA_ACCT_FILE; default: /var/log/account/pacct]",
)
@click.option(
    "--since",
    metavar="TIME",
    help="Fail if elsa report gaps lists a gap since then.  [default: now-1day]",
)
@options.table_or_json
def check(
    db: Path | None, socket: Path | None, acct_file: Path | None, since: str | None, form: str
) -> None:
    """Test whether ELSA works on this host, and say how to fix what does not.

    A process is started, and what the kernel reports of it must arrive: every "ok" was tested.
    Nothing on the host is changed. The exit code is 0 if everything that ELSA needs works
    (warnings may remain) and nothing was missed since --since, and 69 otherwise. What only root
    may test is a warning for other users.

    \b
    Examples:
      elsa check
      elsa check --since 09:30            gaps before 09:30 do not matter
      elsa check --format json
    """
    from elsa.host import checks
    from elsa.report.query.times import moment

    settings = config.load({"db": db, "socket": socket, "acct_file": acct_file})
    since_ns = None if since is None else moment(since, datetime.now().astimezone(), "--since")
    results = checks.run(checks.Place(settings, since_ns=since_ns))
    failed = [result.name for result in results if result.status is checks.Level.FAIL]
    if form == "json":
        click.echo(
            json.dumps(
                {"works": not failed, "checks": [result._asdict() for result in results]}, indent=2
            )
        )
    else:
        for result in results:
            _print(result.name, result.status, result.found, result.mend)
    if failed:
        raise UnavailableError(
            f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}"
        )


def _print(name: str, status: str, found: str, mend: str) -> None:
    """Print one line per check, and the remedy below it. click leaves the colours out where the
    output is not a terminal.
    """
    click.echo(f"{click.style(f'{status:<4}', fg=COLOURS[status])}  {name:<10}  {printable(found)}")
    if mend:
        click.echo(f"{'':18}-> {printable(mend)}")
