"""`elsa db`: create, upgrade and maintain the warehouse."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli import options, progress, tables
from elsa.cli.main import CONTEXT, Group, print_stderr
from elsa.cli.tariff import tariff
from elsa.errors import ConfigError, InputMissingError, PrivilegeError, UsageError
from elsa.text import counted, printable

if TYPE_CHECKING:
    from elsa.store.upgrade import Upgrade


@click.group(cls=Group, context_settings=CONTEXT)
def db() -> None:
    """Create, upgrade and maintain the warehouse."""


db.add_command(tariff)


@db.command()
@options.db_or_fleet
def upgrade(db: Path | None) -> None:
    """Create the warehouse, or upgrade an old warehouse to this version, in one transaction.

    All data is kept and every view is rebuilt. Safe to run at any time; a warehouse that is up to
    date is not changed. With the URL of a PostgreSQL database it does the same for the fleet
    database there, to which hosts push (elsa push).

    \b
    Examples:
      elsa db upgrade
      elsa db upgrade --db ./elsa.db
      elsa db upgrade --db postgresql://elsa@db.example.org/elsa
    """
    fleet = config.fleet({"db": db})
    if fleet is not None:
        from elsa.fleet.migrate import upgrade as bring_fleet_to_head

        print_stderr(f"{fleet}: {_upgraded(bring_fleet_to_head(fleet))}")
        return
    from elsa.store.upgrade import upgrade as bring_to_head

    path = config.load({"db": db}).db
    print_stderr(f"{path}: {_upgraded(bring_to_head(path))}")


def _upgraded(done: Upgrade) -> str:
    before, after, changed = done
    if before == after:
        return f"at revision {after}, {'views rebuilt' if changed else 'nothing to upgrade'}"
    if before is None:
        return f"created at revision {after}"
    return f"upgraded from {before} to revision {after}"


@db.command()
@options.db
def check(db: Path | None) -> None:
    """Read the whole warehouse and check whether it is sound: SQLite's own check, and the sums,
    which must agree.

    Takes a while if the warehouse is large; nothing is written. Exit code 78 if something is wrong.

    \b
    Example:
      elsa db check
    """
    from elsa.store.integrity import faults

    path = config.load({"db": db}).db
    found = faults(path)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"{path}: {found[0]}{more}")
    print_stderr(f"{path}: sound, and its sums agree")


@db.command()
@options.table_or_json
@options.db
def info(*, form: str, db: Path | None) -> None:
    """Show what the warehouse holds: since when, until when, how many rows, how large. Who may not
    read it is shown this of the copy of his own jobs and processes that jobd sends him.

    \b
    Examples:
      elsa db info
      elsa db info --format json
    """
    from elsa.formats import size
    from elsa.report.about_warehouse import info as known
    from elsa.report.query.warehouse import notes, reading_allowed

    path = config.load({"db": db}).db
    with reading_allowed(path) as connection:
        found = known(connection, path)
        for note in notes(connection):
            print_stderr(f"{path}: {note}")
    if form == "json":
        click.echo(json.dumps(found, indent=2))
        return
    rows = found.pop("rows")
    shown = {key.replace("_", " "): value for key, value in found.items() if "bytes" not in key}
    shown |= {f"rows of {table}": f"{count:,}" for table, count in rows.items()}
    shown |= {"size": size(found["bytes"]), "free in it": size(found["free_bytes"])}
    shown["hosts"] = ", ".join(map(printable, found["hosts"]))
    cells = [(key, "-" if value is None else str(value)) for key, value in shown.items()]
    click.echo("\n".join(tables.lines(("", ""), cells)))


@db.command()
@click.argument("name", required=False)
@options.table_or_json
@options.db
def schema(*, name: str | None, form: str, db: Path | None) -> None:
    """List the views and tables of the warehouse; with NAME the columns of one and what they mean.
    Without a warehouse that you may read, those of a new warehouse.

    The view column_doc has the same meanings inside the warehouse; docs/schema.md explains more.

    \b
    Examples:
      elsa db schema
      elsa db schema job_usage
    """
    from elsa.report import about_warehouse
    from elsa.report.query.warehouse import empty, reading

    path = config.load({"db": db}).db
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(reading(path))
        except (PrivilegeError, InputMissingError):
            connection = stack.enter_context(empty(path))
        found = (
            about_warehouse.listed(connection)
            if name is None
            else about_warehouse.columns(connection, name)
        )
    of_all, of_one = ("name", "kind", "meaning"), ("column", "unit", "meaning")
    headings = of_all if name is None else of_one
    if form == "json":
        keys = ("name", "kind" if name is None else "unit", "meaning")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in found], indent=2))
        return
    cells = [tuple(cell or "" for cell in row) for row in found]
    click.echo("\n".join(tables.lines(headings, cells, room=tables.terminal_width())))


@db.command()
@options.db
def rollup(db: Path | None) -> None:
    """Sum up the hours that are over, by command, user and job, so that reports over long windows
    are fast.

    `elsa ingest` does it too. Without it reports are correct, but slower. Safe to run at any time
    and to interrupt.

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
    print_stderr(f"{path}: {counted(hours, 'hour')} rolled up")


@db.command()
@click.option(
    "--events",
    metavar="AGE",
    help="Delete fork, exec and exit events older than this.  [ELSA_KEEP_EVENTS; default: 90 days]",
)
@click.option(
    "--intervals",
    metavar="AGE",
    help=(
        "Merge what processes used while they ran, before this, into one row an hour. "
        " [ELSA_KEEP_INTERVALS; default: 7 days]"
    ),
)
@click.option(
    "--processes",
    metavar="AGE",
    help=(
        "Delete processes that ended before this, with their records; sums stay. "
        " [ELSA_KEEP_PROCESSES; default: forever]"
    ),
)
@click.option(
    "--rollups",
    metavar="AGE",
    help=(
        "Delete the sums of pruned processes that are older than this. "
        " [ELSA_KEEP_ROLLUPS; default: forever]"
    ),
)
@click.option("--dry-run", "-n", is_flag=True, help="Only print what would be deleted.")
@options.db
def prune(
    events: str | None,
    intervals: str | None,
    processes: str | None,
    rollups: str | None,
    dry_run: bool,
    db: Path | None,
) -> None:
    """Delete what is old: events, processes with their records, and at last the hourly sums of
    these.

    AGE is a time of hours, days, weeks, months or years (`30 days`, `2y`), or `forever`. Sums by
    command, user and job stay exact; the single processes are deleted. What an open job needs is
    kept, no accounting file is read again, and space is given back. Safe to interrupt at any
    moment, and to run while jobd and the ingester run.

    \b
    Examples:
      elsa db prune --dry-run
      elsa db prune --events 30d --processes '1 year'
    """
    from elsa.store import database, retention

    settings = config.load({"db": db})
    now_ns = time.time_ns()

    def cutoff(name: str, option: str | None) -> int | None:
        source = f"keep_{name}" if option is None else f"--{name}"
        age = getattr(settings, f"keep_{name}") if option is None else option
        return retention.cutoff(age, now_ns, source, may_be_0=name == "events")

    cutoffs = retention.Cutoffs(
        cutoff("events", events),
        cutoff("processes", processes),
        cutoff("rollups", rollups),
        cutoff("intervals", intervals),
    )
    path = settings.db
    with (
        database.translated(path),
        closing(database.open_for_writing(path)) as connection,
        progress.bar("pruning", from_total=50_000) as show,
    ):
        pruned = retention.prune(connection, path, cutoffs, show, dry_run=dry_run)
    counts = (
        f"{pruned.events} events, {pruned.intervals} intervals, {pruned.processes} processes,"
        f" {pruned.rollups} hourly sums"
    )
    print_stderr(f"{path}: {counts} {'would be deleted' if dry_run else 'pruned'}")


@db.command()
@click.argument("folder")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "jsonl"]),
    default="parquet",
    show_default=True,
    help="Format of the files; parquet needs pyarrow.",
)
@click.option("--since", metavar="TIME", help="Only days that start then or later.")
@click.option("--until", metavar="TIME", help="Only days that end then or before.")
@click.option("--again", is_flag=True, help="Write files again that exist already.")
@click.option(
    "--partition",
    is_flag=True,
    help=(
        "Write a lake: Parquet by day and host, for many hosts in one folder or object store"
        " (s3://...); a rerun replaces what has changed."
    ),
)
@click.option(
    "--unfinished",
    is_flag=True,
    help="With --partition: also what still runs and the day that is not over, with day NULL.",
)
@options.db
def export(
    folder: str,
    form: str,
    since: str | None,
    until: str | None,
    again: bool,
    partition: bool,
    unfinished: bool,
    db: Path | None,
) -> None:
    """Write processes and memberships into files by day of end (UTC), and jobs, for other tools.

    Hive, DuckDB, Spark and similar tools can read the names of the folders. Only days that are
    over are written, each file whole or not at all. Files that exist already are kept, so an
    export may be interrupted, and may run every day. With --partition the files hold exact
    integers, and `elsa db lake` prints views over them.

    \b
    Examples:
      elsa db export /srv/export
      elsa db export --format jsonl --since 2026-11 /srv/export
      elsa db export --partition --since 7d s3://history/elsa
    """
    from elsa.report.query.times import window
    from elsa.report.query.warehouse import reading

    if unfinished and not partition:
        raise UsageError("--unfinished goes with --partition")
    if partition and (again or form != "parquet"):
        raise UsageError(
            "--partition writes Parquet and replaces what has changed: leave out --again and"
            " --format"
        )
    if "://" in folder and not partition:
        raise UsageError("only --partition writes to a URI; name a folder")
    chosen = window(since, until, datetime.now().astimezone())
    path = config.load({"db": db}).db
    with reading(path) as connection, progress.bar("exporting", from_total=4) as show:
        if partition:
            from elsa.report.lake import partitions
            from elsa.report.lake.target import Target, shown

            folder, place = shown(folder), folder
            done = partitions.export(
                connection, Target(place), chosen, time.time_ns(), show, unfinished=unfinished
            ).words
        else:
            from elsa.report.export import export as write

            done = write(
                connection, Path(folder), form, chosen, time.time_ns(), show, again=again
            ).words
    print_stderr(f"{folder}: {done}")


@db.command()
@click.argument("engine", type=click.Choice(["duckdb", "spark"]))
@click.argument("folder")
def lake(engine: str, folder: str) -> None:
    """Print the SQL that makes views over what `elsa db export --partition` wrote, for DuckDB or
    Spark: what users, commands and jobs used, by day and in all.

    FOLDER is a path or a URI, as the engine is to read it. docs/lake.md explains the views.

    \b
    Examples:
      elsa db lake duckdb /srv/lake > views.sql
      duckdb -init views.sql -c 'select host, uid, cpu_s from user_usage'
      elsa db lake spark s3a://history/elsa
    """
    from elsa.report.lake import views

    if "://" not in folder and not Path(folder).is_dir():
        # It may be one where the engine runs.
        print_stderr(
            f"{folder}: there is no such folder here; elsa db export --partition makes one"
        )
    click.echo(";\n\n".join(views.statements(engine, folder)) + ";")
