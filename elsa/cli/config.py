"""`elsa config`: every setting, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from elsa import config as settings
from elsa.cli import options, tables
from elsa.cli.main import CONTEXT, Command
from elsa.fleet_url import FleetUrl, is_url
from elsa.text import counted


@click.command(cls=Command, context_settings=CONTEXT)
@options.table_or_json
def config(*, form: str) -> None:
    """Show every setting, its value and where it comes from: the default, the
    file /etc/elsa/elsa.toml (or the one that ELSA_CONFIG names) or the
    environment. A running jobd has the settings of its start.

    \b
    Examples:
      elsa config
      ELSA_DB=./elsa.db elsa config --format json
    """
    settled = settings.settle()
    if form == "json":
        listed = {
            name: {"value": _plain(name, setting.value), "source": setting.source}
            for name, setting in settled.items()
        }
        click.echo(json.dumps(listed, indent=2))
        return
    rows = [
        (name, setting.source, _in_file(_plain(name, setting.value)))
        for name, setting in settled.items()
    ]
    click.echo("\n".join(tables.lines(("setting", "from", "value"), rows)))


def _plain(name: str, value: Any) -> object:  # noqa: ANN401
    if name == "job_rule":
        return f"{counted(len(value), 'rule')} (see: elsa job rules)"
    if name == "alert_budget":
        return dict(value)
    if is_url(value):
        return str(FleetUrl(value))
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path | FleetUrl) else value


def _in_file(value: object) -> str:
    """A value as the file has it, where text needs no quotes to be read by people."""
    return str(value).lower() if isinstance(value, bool) else str(value)
