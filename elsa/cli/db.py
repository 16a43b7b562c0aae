"""`elsa db`: create, upgrade and look after the warehouse."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from elsa import config
from elsa.cli import options, progress
from elsa.cli.main import CONTEXT
from elsa.cli.tariff import tariff
from elsa.errors import ConfigError


@click.group(context_settings=CONTEXT)
def db() -> None:
    """Create, upgrade and look after the warehouse."""


db.add_command(tariff)


@db.command()
@options.db
def upgrade(db: Path | None) -> None:
    """Create the warehouse, or bring an old one to this version, in one transaction.

    All data is kept and every view is rebuilt. Safe to run at any time; a warehouse that is up to date only gets its views anew.

    \b
    Examples:
      elsa db upgrade
      elsa db upgrade --db ./elsa.db
    """
    from elsa.store.upgrade import upgrade as bring_to_head

    path = config.load({"db": db}).db
    before, after = bring_to_head(path)
    if before == after:
        click.echo(f"{path}: at revision {after}, nothing to upgrade; views rebuilt", err=True)
    else:
        click.echo(f"{path}: {'created at' if before is None else f'upgraded from {before} to'} revision {after}", err=True)


@db.command()
@options.db
def check(db: Path | None) -> None:
    """Read the whole warehouse and see whether it is sound: SQLite's own check, and the books, which must balance.

    Takes a while on a large one; nothing is written. Exit code 78 if something is wrong.

    \b
    Example:
      elsa db check
    """
    from elsa.store.soundness import faults

    path = config.load({"db": db}).db
    found = faults(path)
    if found:
        raise ConfigError(f"{path}: {found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""))
    click.echo(f"{path}: sound, and its books balance", err=True)


@db.command()
@options.db
def rollup(db: Path | None) -> None:
    """Sum up the hours that are over, by command, user and job, so that reports over long windows are quick.

    `elsa ingest` does it too; reports are right without it, only slower. Safe to run at any time and to interrupt.

    \b
    Example:
      elsa db rollup
    """
    from elsa.store import database, rollups

    path = config.load({"db": db}).db
    with (
        database.translated(path),
        closing(database.open_for_writing(path)) as connection,
        progress.bar("rolling up", from_total=48) as show,
    ):
        hours = rollups.refresh(connection, path, time.time_ns(), show)
    click.echo(f"{path}: {hours} hour{'' if hours == 1 else 's'} rolled up", err=True)
