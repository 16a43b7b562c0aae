"""`elsa db tariff`: what usage costs, in versions that are never changed."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import click

from elsa import config
from elsa.cli import options, tables
from elsa.cli.main import CONTEXT, Group, print_stderr
from elsa.errors import UsageError
from elsa.fleet_url import FleetUrl
from elsa.state.tariff import RATES, WEEKDAYS, Tariff
from elsa.text import printable
from elsa.units import SECOND_NS


@click.group(cls=Group, context_settings=CONTEXT)
def tariff() -> None:
    """What usage costs, for elsa report bill: versions, each valid from some time until the next.

    A version is never changed, so the bill of a past month stays the same: add another version,
    valid from now or later. A version with a mistake is withdrawn, and stays on record: elsa
    report bill --as-of TIME makes the bill as it was then.

    Bills of a fleet take the versions of the fleet database: --db postgresql://...

    \b
    Examples:
      elsa db tariff add --from 2026-11-01 --currency EUR --cpu-hour 0.04
      elsa db tariff add tariff.toml
      elsa db tariff list
    """


@contextmanager
def _tables(db: Path | FleetUrl | None, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The warehouse, or the tariffs of a fleet database."""
    fleet = config.fleet({"db": db})
    if fleet is not None:
        from elsa.fleet.tariffs import tariffs

        with tariffs(fleet, write=write) as connection:
            yield connection
        return
    from elsa.store import database

    path = config.load({"db": db}).db
    opened = database.open_for_writing if write else database.open_for_reading
    with database.translated(path), closing(opened(path)) as connection:
        yield connection


def _rate_options(function: Any) -> Any:  # noqa: ANN401 - as click decorates
    for rate in reversed(RATES):
        option = "--" + rate.replace("_", "-")
        function = click.option(
            option, metavar="PRICE", help=f"Price of {_WORDS[rate]}.  [default: 0]"
        )(function)
    return function


_WORDS = {
    "process": "a process that ended",
    "cpu_hour": "an hour of CPU time",
    "memory_gib_hour": "a GiB of resident memory for an hour of CPU time",
    "read_gib": "a GiB read from storage",
    "written_gib": "a GiB written to storage",
}


@tariff.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--from",
    "valid_from",
    metavar="TIME",
    help="When it starts to be valid: 2026-11-01 or 2026-11-01T06:00, in its zone.",
)
@click.option("--currency", metavar="TEXT", help="The currency, for example EUR.")
@click.option(
    "--zone",
    metavar="NAME",
    help="The time zone of its months, weekdays and hours.  [default: UTC]",
)
@click.option(
    "--decimals",
    type=int,
    metavar="N",
    help="Round charges to N decimal places.  [default: 2]",
)
@_rate_options
@click.option(
    "--factor",
    "factors",
    metavar="'DAYS HOURS FACTOR'",
    multiple=True,
    help="Prime time: 'mon-fri 8-18 1.5'; may be repeated.",
)
@click.option("--note", metavar="TEXT", help="Text that is stored with the version.")
@options.db_or_fleet
def add(
    file: Path | None,
    db: Path | FleetUrl | None,
    factors: Sequence[str],
    **given: Any,  # noqa: ANN401
) -> None:
    """Add a version, from a TOML FILE or from options, and print its number.

    All prices are multiplied by the factor of the hour in which a process ended; the factor is 1 if
    none is given. A file looks like this:

    \b
      valid_from = 2026-11-01
      currency = "EUR"
      zone = "Europe/Berlin"
      factors = [ { weekdays = "mon-fri", hours = "8-18", factor = 1.5 } ]
      [rates]
      cpu_hour = 0.04
      memory_gib_hour = 0.005
      read_gib = 0.001
      written_gib = 0.002
      process = 0

    \b
    Examples:
      elsa db tariff add tariff.toml
      elsa db tariff add --from 2026-11-01 --currency EUR --cpu-hour 0.04 \\
        --zone Europe/Berlin --factor 'mon-fri 8-18 1.5'
    """
    from elsa.store import tariffs

    fields = _fields(factors, given)
    if file is not None and fields:
        raise UsageError("give a file or options, not both")
    try:
        version = tariffs.draft(tariffs.read_file(file) if file is not None else fields)
    except UsageError as error:
        if file is None:
            raise UsageError(_in_options(str(error))) from None
        raise UsageError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None
    with _tables(db, write=True) as connection:
        number = tariffs.add(connection, version, time.time_ns())
    click.echo(number)


def _in_options(error: str) -> str:
    """An error that names the key of a file, naming the option instead."""
    key = re.match(r"\w*", error)[0]  # type: ignore[index]
    option = {
        "valid_from": "from",
        "weekdays": "factor",
        "hours": "factor",
        "factors": "factor",
    }.get(key, key)
    return f"--{option.replace('_', '-')}{error.removeprefix(key)}"


def _fields(factors: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    """The options as the keys of a file."""
    rates = {rate: given.pop(rate) for rate in RATES if given[rate] is not None}
    fields = {key: value for key, value in given.items() if value is not None and key not in RATES}
    parts = [factor.split() for factor in factors]
    if any(len(part) != 3 for part in parts):
        raise UsageError("--factor needs days, hours and a factor, as in 'mon-fri 8-18 1.5'")
    if rates or fields:
        fields["rates"] = rates
    if parts:
        fields["factors"] = [
            {"weekdays": days, "hours": hours, "factor": factor} for days, hours, factor in parts
        ]
    return fields


@tariff.command("list")
@click.option("--all", "every", is_flag=True, help="Also versions that were withdrawn.")
@options.table_or_json
@options.db_or_fleet
def list_(*, every: bool, form: str, db: Path | FleetUrl | None) -> None:
    """List the versions, the newest last.

    \b
    Example:
      elsa db tariff list --all
    """
    with _tables(db) as connection:
        rest = ("currency", "zone", *RATES, "note")
        columns = ("id", "valid_from_at_ns", "withdrawn_at_ns", *rest)
        where = "" if every else "where withdrawn_at_ns is null"
        rows = connection.execute(
            f"select {', '.join(columns)} from tariff {where} order by valid_from_at_ns, id"
        )
        versions = [dict(zip(columns, row, strict=True)) for row in rows]
    if form == "json":
        click.echo(json.dumps(versions, indent=2))
        return
    if not versions:
        click.echo("no tariff yet; add one with: elsa db tariff add", err=True)
        return
    cells = [
        (
            version["id"],
            _time(version["valid_from_at_ns"], version["zone"]),
            _time(version["withdrawn_at_ns"], version["zone"]),
            *(None if version[key] is None else printable(version[key]) for key in rest),
        )
        for version in versions
    ]
    headings = ("id", "valid from", "withdrawn", *rest)
    click.echo("\n".join(tables.lines(headings, cells, right=("id", *RATES))))


@tariff.command()
@click.argument("number", type=int)
@options.db_or_fleet
def show(number: int, db: Path | FleetUrl | None) -> None:
    """Show a version as the TOML file that would add it again.

    \b
    Example:
      elsa db tariff show 2 > next.toml
    """
    from elsa.store import tariffs

    with _tables(db) as connection:
        sys.stdout.write(_as_toml(tariffs.load_version(connection, number)))


def _as_toml(version: Tariff) -> str:
    moment = datetime.fromtimestamp(version.valid_from_at_ns // SECOND_NS, UTC)
    lines = [
        f"valid_from = {moment:%Y-%m-%dT%H:%M:%SZ}",
        f"currency = {_quoted(version.currency)}",
        f"zone = {_quoted(version.zone)}",
        f"decimals = {version.decimals}",
        *([f"note = {_quoted(version.note)}"] if version.note is not None else []),
        "",
        "[rates]",
        *(f"{rate} = {format(version.rates[rate], 'f')}" for rate in RATES),
    ]
    for day in range(7):
        by_hour = {hour: factor for (of, hour), factor in version.factors.items() if of == day}
        for run in _runs(by_hour):
            lines += [
                "",
                "[[factors]]",
                f'weekdays = "{WEEKDAYS[day]}"',
                f'hours = "{run.first}-{run.until}"',
                f"factor = {format(run.factor, 'f')}",
            ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML string. It is like a JSON string, except that surrogates may not be escaped, and DEL
    must be.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Run(NamedTuple):
    """Consecutive hours with the same factor: from `first`, before `until`."""

    first: int
    until: int
    factor: Decimal


def _runs(factors: dict[int, Decimal]) -> list[_Run]:
    runs: list[_Run] = []
    for hour, factor in sorted(factors.items()):
        if runs and runs[-1].until == hour and runs[-1].factor == factor:
            runs[-1] = runs[-1]._replace(until=hour + 1)
        else:
            runs.append(_Run(hour, hour + 1, factor))
    return runs


@tariff.command()
@click.argument("number", type=int)
@options.db_or_fleet
def withdraw(number: int, db: Path | FleetUrl | None) -> None:
    """Withdraw a version that has a mistake: bills are made without it. It stays on record.

    \b
    Example:
      elsa db tariff withdraw 2
    """
    from elsa.store import tariffs

    with _tables(db, write=True) as connection:
        tariffs.withdraw(connection, number, time.time_ns())
    print_stderr(f"tariff {number}: withdrawn")


def _time(at_ns: int | None, place: str) -> str:
    from elsa.state.tariff import zone

    if at_ns is None:
        return ""
    return datetime.fromtimestamp(at_ns // SECOND_NS, zone(place)).strftime("%Y-%m-%d %H:%M")
