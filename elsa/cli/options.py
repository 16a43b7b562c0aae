"""Options that several commands share, with the same meaning everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from elsa.cli import complete
from elsa.fleet_url import FleetUrl, is_url, refused
from elsa.state import job_kinds

Function = TypeVar("Function", bound=Callable[..., Any])


class Place(click.Path):
    """The path of a warehouse, or the URL of a fleet database, which is no path: config.load
    refuses it, and commands that can work on a fleet ask config.fleet first.
    """

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 (as click has it)
        """A Path, or a FleetUrl."""
        why = refused(value)
        if why is not None:
            self.fail(why, param, ctx)
        return FleetUrl(value) if is_url(value) else super().convert(value, param, ctx)


def db(function: Function) -> Function:
    """--db PATH: the warehouse."""
    return click.option(
        "--db",
        type=Place(),
        metavar="PATH",
        help="The warehouse.  [ELSA_DB; default: /var/lib/elsa/elsa.db]",
    )(function)


def db_or_fleet(function: Function) -> Function:
    """--db PATH: the warehouse, or the URL of a fleet database."""
    return click.option(
        "--db",
        type=Place(),
        metavar="PATH|URL",
        help=(
            "The warehouse, or a fleet database: postgresql://...  [ELSA_DB; default:"
            " /var/lib/elsa/elsa.db]"
        ),
    )(function)


def fleet_db(function: Function) -> Function:
    """--db URL: the fleet database."""
    return click.option(
        "--db",
        type=Place(),
        metavar="URL",
        help="The fleet database: postgresql://...  [ELSA_DB]",
    )(function)


def socket(function: Function) -> Function:
    """--socket PATH: jobd's control socket."""
    return click.option(
        "--socket",
        type=click.Path(readable=False, path_type=Path),
        metavar="PATH",
        help="The control socket of jobd.  [ELSA_SOCKET; default: /run/elsa/jobd.sock]",
    )(function)


def table_or_json(function: Function) -> Function:
    """--format table|json, as `form`."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Output format.",
    )(function)


def read_kinds(
    _ctx: click.Context, _param: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """The values of --kind: several times, or several with commas. Raises UsageError."""
    words = tuple(word.strip().lower() for value in values for word in value.split(","))
    job_kinds.chosen(words)
    return words


def kinds(function: Function) -> Function:
    """--kind KIND, as `kinds`."""
    return click.option(
        "--kind",
        "kinds",
        metavar="KIND",
        multiple=True,
        callback=read_kinds,
        shell_complete=complete.kinds,
        help="Only jobs of this kind: manual, automatic, or a kind of these, such as service.",
    )(function)


def read_tags(
    _ctx: click.Context, _param: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    """The values of --tag as a dictionary; a callback of click."""
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE")
    keys = [value.split("=", 1)[0] for value in values]
    if len(set(keys)) < len(keys):
        raise click.BadParameter("a key is given twice")
    return dict(value.split("=", 1) for value in values)


def tags(function: Function) -> Function:
    """--tag KEY=VALUE, as `tags`."""
    return click.option(
        "--tag",
        "tags",
        metavar="KEY=VALUE",
        multiple=True,
        callback=read_tags,
        help="Free text kept with the job; may be repeated.",
    )(function)
