"""`elsa alert`: report what went wrong since the last time, to a command of the administrator."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import CONTEXT, Command
from elsa.config import Config
from elsa.errors import ConfigError, UsageError
from elsa.kernel.procfs import Procfs

if TYPE_CHECKING:
    from elsa.alert.findings import Alert, Rules


@click.command(cls=Command, context_settings=CONTEXT)
@options.db
@click.option(
    "--since",
    metavar="TIME",
    help="Report what happened since TIME, even if it was reported already.",
)
@click.option(
    "--print",
    "dry_run",
    is_flag=True,
    help="Print the alerts, run no command, and remember nothing.",
)
@click.option(
    "--unit", metavar="NAME", help="Report that this systemd unit failed, and nothing else."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=(
        "Where to remember what was reported.  [default: beside the warehouse, or"
        " ~/.local/state/elsa/alerts.json]"
    ),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format in which alerts are printed.",
)
def alert(
    db: Path | None,
    since: str | None,
    dry_run: bool,
    unit: str | None,
    state: Path | None,
    form: str,
) -> None:
    """Report once what went wrong: data that was lost, jobd that does not run,
    jobs that failed, that used more than their earlier runs, or than their
    budget (settings alert_kinds, alert_growth, alert_budget).

    The first call remembers where the warehouse stands and reports nothing.
    Each later call hands what is new to `alert_command`: JSON on stdin, the
    text in ELSA_SUMMARY and ELSA_TEXT. If that fails, or takes more than a
    minute, the exit code is 75 and all of it is reported next time. Without
    such a command the alerts are printed, which cron mails. A plain user's
    alerts are on his own jobs.

    \b
    Examples:
      elsa alert                                for a timer or cron
      elsa alert --print --since yesterday
      elsa alert --print --since 7d --format json | jq '.alerts[].text'
      elsa alert --unit elsa-jobd.service       for OnFailure= of systemd
    """
    from elsa.alert import findings, reported
    from elsa.report.query import warehouse
    from elsa.report.query.times import moment

    settings = config.load({"db": db})
    host = Procfs().hostname()
    command = () if dry_run else settings.alert_command
    if unit is not None:
        _report(command, [_failed_unit(unit)], host, form)
        return
    rules = _rules(settings)
    since_ns = None if since is None else moment(since, datetime.now().astimezone(), "--since")
    path = state or reported.path_for(settings.db)
    if dry_run:
        known = reported.read(path)
        with warehouse.reading_allowed(settings.db) as connection:
            found = findings.find(connection, known, rules, time.time_ns(), since_ns)
        _report((), found.alerts, host, form)
        return
    with reported.only(path):
        known = reported.read(path)
        with warehouse.reading_allowed(settings.db) as connection:
            found = findings.find(connection, known, rules, time.time_ns(), since_ns)
        with reported.replacing(path, found.reported):
            _report(command, found.alerts, host, form)


def _report(command: tuple[str, ...], alerts: list[Alert], host: str, form: str) -> None:
    from elsa.alert import hook

    if not alerts:
        return
    if command:
        hook.run(command, alerts, host)
    else:
        made = hook.as_json if form == "json" else hook.text
        click.echo(made(alerts, host), nl=False)


def _rules(settings: Config) -> Rules:
    """The rules that are set. Raises ConfigError."""
    from elsa.alert.findings import Rules
    from elsa.report import gates
    from elsa.run import budget
    from elsa.state import job_kinds

    try:
        kinds = job_kinds.chosen(settings.alert_kinds.split(","), "alert_kinds")
        never = settings.alert_growth == "never"
        growth = () if never else gates.gates([settings.alert_growth], "alert_growth")
        budgets = [
            (name, budget.limits(text, f"alert_budget {name}"))
            for name, text in settings.alert_budget
        ]
    except UsageError as error:
        raise ConfigError(str(error)) from None
    return Rules(kinds, growth, budgets)


def _failed_unit(unit: str) -> Alert:
    """An alert that a unit failed; systemd says in the environment why."""
    from elsa.alert.findings import Alert
    from elsa.text import printable

    why = {
        key: os.environ.get(f"MONITOR_{key.upper()}")
        for key in ("service_result", "exit_code", "exit_status")
    }
    words = f" ({', '.join(filter(None, why.values()))})" if any(why.values()) else ""
    return Alert("unit", printable(f"unit {unit} failed{words}"), {"unit": unit, **why})
