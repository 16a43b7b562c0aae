"""Options that several commands share, each with one meaning everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def db(function: Function) -> Function:
    """--db PATH: the warehouse."""
    return click.option(
        "--db",
        type=click.Path(readable=False, path_type=Path),
        metavar="PATH",
        help="The warehouse.  [ELSA_DB; default: /var/lib/elsa/elsa.db]",
    )(function)


def socket(function: Function) -> Function:
    """--socket PATH: jobd's control socket."""
    return click.option(
        "--socket",
        type=click.Path(readable=False, path_type=Path),
        metavar="PATH",
        help="The control socket of jobd.  [ELSA_SOCKET; default: /run/elsa/jobd.sock]",
    )(function)
