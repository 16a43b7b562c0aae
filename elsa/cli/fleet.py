"""`elsa fleet`: the hosts of a fleet database."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from elsa import config
from elsa.cli import complete, options, tables
from elsa.cli.main import CONTEXT, Group, print_stderr
from elsa.errors import UsageError
from elsa.fleet_url import FleetUrl
from elsa.units import HOUR_NS


@click.group(cls=Group, context_settings=CONTEXT)
def fleet() -> None:
    """The hosts of a fleet database: add, list and remove them, delete old sums, and settings.

    docs/fleet.md explains how to set the server up.

    \b
    Example:
      elsa fleet list --db postgresql://anna@db.example.org/elsa
    """


def _url(db: Path | FleetUrl | None) -> FleetUrl:
    url = config.fleet({"db": db})
    if url is None:
        raise UsageError("name the fleet database with --db postgresql://... or in ELSA_DB")
    return url


@fleet.command()
@click.argument("name")
@click.option(
    "--no-password", is_flag=True, help="For a login by certificate, Kerberos or another way."
)
@options.fleet_db
def add(*, name: str, no_password: bool, db: Path | FleetUrl | None) -> None:
    """Create the PostgreSQL role NAME, with which one host pushes, and print what to put on that
    host: the setting push_to, and the line of its password file.

    The password is made up, and shown this once.

    \b
    Example:
      elsa fleet add web1 --db postgresql://admin@db.example.org/elsa
    """
    from elsa.fleet import hosts

    url = _url(db)
    login = hosts.add(url, name, password=not no_password)
    click.echo(f'push_to = "{login.push_to}"')
    print_stderr(f"{url}: role {name} created; put the line push_to into /etc/elsa/elsa.toml")
    if login.passfile is not None:
        click.echo(login.passfile)
        print_stderr(
            "put the last line into /etc/elsa/pgpass, owned by the user elsa with mode 0600"
        )


@fleet.command("list")
@options.table_or_json
@options.fleet_db
def list_(*, form: str, db: Path | FleetUrl | None) -> None:
    """List the hosts: until when their sums are in the fleet, and whether that is late (over two
    hours), or whether their jobd has been silent or their accounting unread, as of the last push.

    \b
    Example:
      elsa fleet list --db postgresql://anna@db.example.org/elsa
    """
    from elsa.fleet import hosts

    found = hosts.listed(_url(db))
    if form == "json":
        click.echo(json.dumps([host._asdict() for host in found], indent=2))
        return
    rows = map(hosts.cells, found)
    click.echo("\n".join(tables.lines(hosts.HEADINGS, rows, right=("id", "gaps"))))


@fleet.command()
@click.option(
    "--same-users",
    type=click.Choice(["yes", "no"]),
    help=(
        "yes: a user or group with the same id and the same name on several hosts is the same, and"
        " has one row in reports and bills. no, if nothing was set: each host has its own."
    ),
)
@options.fleet_db
def settings(*, same_users: str | None, db: Path | FleetUrl | None) -> None:
    """Print what holds for the whole site, or change it, as the owner of the database.

    \b
    Examples:
      elsa fleet settings --db postgresql://anna@db.example.org/elsa
      elsa fleet settings --same-users yes --db postgresql://db.example.org/elsa
    """
    from elsa.fleet import settings as made

    url = _url(db)
    if same_users is not None:
        made.change(url, made.SAME_USERS, same_users)
        if same_users == "yes":
            print_stderr(
                f"{url}: from now on each host can charge users of the site; --columns +host shows"
                " where a sum comes from"
            )
    for name, value in made.settings(url).items():
        click.echo(f"{name} = {value}")


@fleet.command()
@click.option(
    "--hours",
    metavar="AGE",
    required=True,
    help="Delete sums by hour that are older than this, such as 90d or 2y; sums by day stay.",
)
@click.option("--dry-run", "-n", is_flag=True, help="Only print what would be deleted.")
@options.fleet_db
def prune(*, hours: str, dry_run: bool, db: Path | FleetUrl | None) -> None:
    """Delete old sums by hour of users and commands. Those of whole days stay, and so does all of
    jobs, of the audit and of the hosts' own warehouses.

    Corrections of hours that were deleted are not taken over any more. Reports that need them say
    so and leave them out: hours, windows that cut a day of UTC, days and months of another time
    zone, and bills whose prices change within a day of UTC.

    \b
    Example:
      elsa fleet prune --hours 1y --db postgresql://admin@db.example.org/elsa
    """
    from elsa.fleet import hosts
    from elsa.store import retention

    url = _url(db)
    cutoff_ns = retention.cutoff(hours, time.time_ns(), "--hours")
    if cutoff_ns is None:
        raise UsageError("--hours: name an age; `forever` deletes nothing")
    rows = hosts.prune(url, cutoff_ns // HOUR_NS, dry_run=dry_run)
    print_stderr(f"{url}: {rows} hourly sums {'would be deleted' if dry_run else 'deleted'}")


@fleet.command()
@click.argument("host", shell_complete=complete.hosts)
@options.fleet_db
def remove(*, host: str, db: Path | FleetUrl | None) -> None:
    """Delete everything that the fleet has of HOST (a name, id, machine id or role), and its role.

    The host's own warehouse is not touched.

    \b
    Example:
      elsa fleet remove web1 --db postgresql://admin@db.example.org/elsa
    """
    from elsa.fleet import hosts

    url = _url(db)
    removed, role_too = hosts.remove(url, host)
    what = f"host {removed.name} ({removed.id})" if removed.id is not None else "no host"
    role = f"role {removed.role} {'deleted' if role_too else 'kept'}"
    print_stderr(f"{url}: {what} deleted; {role}")
