"""`elsa setup`: set ELSA up as services of this host."""

from __future__ import annotations

import click

from elsa.cli.check import check
from elsa.cli.main import CONTEXT, Command


@click.command(cls=Command, context_settings=CONTEXT)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--undo", is_flag=True, help="Stop the services and remove what this set up.")
@click.pass_context
def setup(context: click.Context, *, dry_run: bool, undo: bool) -> None:
    """Set ELSA up as services of this host, after an installation by pip, pipx or uv.

    Does what the packages do, with systemd: switches accounting on by the
    package of the distribution, makes the user elsa, its folders and
    /etc/elsa/elsa.toml, and starts jobd and the timers; then it runs elsa check.
    What is done already is left alone, so it may run again, and should after an
    upgrade of ELSA. --undo leaves the warehouse, the user, changed settings and
    accounting.

    \b
    Examples:
      elsa setup --dry-run
      elsa setup
      elsa setup --undo
    """
    from elsa.host import setup as host_setup

    place = host_setup.Place()
    host_setup.refuse(place)
    if undo and not dry_run:
        undone = [*host_setup.undo(place)]
        for text in undone:
            click.echo(f"undone: {text}")
        click.echo("the warehouse, the user elsa, changed settings and accounting stay")
        return
    for step in host_setup.steps(place):
        if undo:
            if step.undo is not None and step.is_done():
                click.echo(f"would undo: {step.text}")
        elif not step.is_done():
            click.echo(f"would do: {step.text}" if dry_run else step.text)
            if not dry_run:
                step.do()
    if not dry_run:
        # The gap of jobd's restart is known.
        context.invoke(check, db=None, socket=None, acct_file=None, since="now", form="table")
