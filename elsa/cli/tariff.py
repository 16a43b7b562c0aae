"""`elsa db tariff`: what usage costs, in versions that are never altered."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import CONTEXT, Group, print_stderr
from elsa.errors import UsageError
from elsa.state.tariff import RATES, WEEKDAYS, Tariff
from elsa.text import printable


@click.group(cls=Group, context_settings=CONTEXT)
def tariff() -> None:
    """What usage costs, for elsa report bill: versions, each valid from some moment until the next.

    A version is never altered, so the bill of a past month stays the same: add another one, valid from now or later. One with a mistake is
    withdrawn, which leaves it on record: elsa report bill --as-of TIME makes the bill as it was then.

    \b
    Examples:
      elsa db tariff add --from 2026-11-01 --currency EUR --cpu-hour 0.04 --memory-gib-hour 0.005 --zone Europe/Berlin
      elsa db tariff add tariff.toml
      elsa db tariff list
    """


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
    help="From when it is valid: 2026-11-01 or 2026-11-01T06:00, in its zone.",
)
@click.option("--currency", metavar="TEXT", help="As in EUR.")
@click.option(
    "--zone",
    metavar="NAME",
    help="By whose clock months, weekdays and hours are meant.  [default: UTC]",
)
@click.option(
    "--decimals",
    type=int,
    metavar="N",
    help="To how many digits a charge is rounded.  [default: 2]",
)
@_rate_options
@click.option(
    "--factor",
    "factors",
    metavar="'DAYS HOURS FACTOR'",
    multiple=True,
    help="Prime time: 'mon-fri 8-18 1.5'; may be repeated.",
)
@click.option("--note", metavar="TEXT", help="Kept with it.")
@options.db
def add(file: Path | None, db: Path | None, factors: Sequence[str], **given: Any) -> None:  # noqa: ANN401
    """Add a version, from a TOML FILE or from options, and print its number.

    All prices are multiplied by the factor of the hour in which a process ended, 1 where there is
    none. A file looks like this:

    \b
      valid_from = 2026-11-01
      currency = "EUR"
      zone = "Europe/Berlin"
      rates = { cpu_hour = 0.04, memory_gib_hour = 0.005, read_gib = 0.001, written_gib = 0.002, process = 0 }
      factors = [ { weekdays = "mon-fri", hours = "8-18", factor = 1.5 } ]

    \b
    Examples:
      elsa db tariff add tariff.toml
      elsa db tariff add --from 2026-11-01 --currency EUR --cpu-hour 0.04 --factor 'mon-fri 8-18 1.5'
    """
    from elsa.store import database, tariffs

    fields = _fields(factors, given)
    if file is not None and fields:
        raise UsageError("give a file or options, not both")
    try:
        version = tariffs.draft(tariffs.read_file(file) if file is not None else fields)
    except UsageError as error:
        raise UsageError(
            _in_options(str(error))
            if file is None
            else f"{file}: {str(error).removeprefix(f'{file}: ')}"
        ) from None
    path = config.load({"db": db}).db
    with database.translated(path), closing(database.open_for_writing(path)) as connection:
        click.echo(tariffs.add(connection, version, time.time_ns()))


def _in_options(error: str) -> str:
    """What is wrong with a key of a file, said of the option that gave it."""
    key = re.match(r"\w*", error)[0]  # type: ignore[index]
    option = {
        "valid_from": "from",
        "weekdays": "factor",
        "hours": "factor",
        "factors": "factor",
    }.get(key, key)
    return f"--{option.replace('_', '-')}{error.removeprefix(key)}"


def _fields(factors: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as a file would."""
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
@click.option("--all", "every", is_flag=True, help="Also those that were withdrawn.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Output format.",
)
@options.db
def list_(*, every: bool, form: str, db: Path | None) -> None:
    """List the versions, the newest last.

    \b
    Example:
      elsa db tariff list --all
    """
    from tabulate import tabulate

    from elsa.store import database

    path = config.load({"db": db}).db
    with database.translated(path), closing(database.open_for_reading(path)) as connection:
        columns = ("id", "valid_from_at_ns", "withdrawn_at_ns", "currency", "zone", *RATES, "note")
        where = "" if every else "where withdrawn_at_ns is null"
        rows = connection.execute(
            f"select {', '.join(columns)} from tariff {where} order by valid_from_at_ns, id"
        ).fetchall()
    if form == "json":
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2))
    elif rows:
        cells = [
            (
                row[0],
                _time(row[1], row[4]),
                _time(row[2], row[4]),
                *(cell if cell is None else printable(cell) for cell in row[3:]),
            )
            for row in rows
        ]
        heads = ("id", "valid from", "withdrawn", *columns[3:])
        click.echo(tabulate(cells, heads, tablefmt="simple", disable_numparse=True))
    else:
        click.echo("no tariff yet; add one with: elsa db tariff add", err=True)


@tariff.command()
@click.argument("number", type=int)
@options.db
def show(number: int, db: Path | None) -> None:
    """Show a version as the TOML file that would add it again.

    \b
    Example:
      elsa db tariff show 2 > next.toml
    """
    from elsa.store import database, tariffs

    path = config.load({"db": db}).db
    with database.translated(path), closing(database.open_for_reading(path)) as connection:
        sys.stdout.write(_as_toml(tariffs.load_version(connection, number)))


def _as_toml(version: Tariff) -> str:
    moment = datetime.fromtimestamp(version.valid_from_at_ns // 1_000_000_000, UTC)
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
        for first, last, factor in _runs(
            {
                hour: version.factors[day, hour]
                for hour in range(24)
                if (day, hour) in version.factors
            }
        ):
            lines += [
                "",
                "[[factors]]",
                f'weekdays = "{WEEKDAYS[day]}"',
                f'hours = "{first}-{last}"',
                f"factor = {format(factor, 'f')}",
            ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML string: like one of JSON, but no half of a surrogate pair may be spelled out, and DEL
    must be.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _runs(factors: dict[int, Decimal]) -> list[tuple[int, int, Decimal]]:
    """Hours in a row with one factor: from, until before, factor."""
    runs: list[tuple[int, int, Decimal]] = []
    for hour, factor in sorted(factors.items()):
        if runs and runs[-1][1] == hour and runs[-1][2] == factor:
            runs[-1] = (runs[-1][0], hour + 1, factor)
        else:
            runs.append((hour, hour + 1, factor))
    return runs


@tariff.command()
@click.argument("number", type=int)
@options.db
def withdraw(number: int, db: Path | None) -> None:
    """Let a version hold no more, as if it had never been: for one with a mistake. It stays on
    record.

    \b
    Example:
      elsa db tariff withdraw 2
    """
    from elsa.store import database, tariffs

    path = config.load({"db": db}).db
    with database.translated(path), closing(database.open_for_writing(path)) as connection:
        tariffs.withdraw(connection, number, time.time_ns())
    print_stderr(f"tariff {number}: withdrawn")


def _time(at_ns: int | None, place: str) -> str:
    from elsa.state.tariff import zone

    return (
        ""
        if at_ns is None
        else datetime.fromtimestamp(at_ns // 1_000_000_000, zone(place)).strftime("%Y-%m-%d %H:%M")
    )
