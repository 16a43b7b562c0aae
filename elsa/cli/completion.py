"""`elsa completion`: the script that lets a shell complete what elsa takes."""

from __future__ import annotations

import click

from elsa.cli import main

# elsa, and the programs that are parts of it.
PROGRAMS = ("elsa", "elsa-job", "elsa-report", "elsa-ingest", "elsa-jobd")


@click.command(cls=main.Command, context_settings=main.CONTEXT)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print a script for bash, zsh or fish that completes commands, options, and names of jobs,
    hosts, tags, commands and columns.

    Names come from the warehouse or fleet database, if you may read it.

    \b
    Examples:
      elsa completion bash > ~/.elsa-completion.bash
        and in ~/.bashrc: source ~/.elsa-completion.bash
      elsa completion zsh > ~/.elsa-completion.zsh
        and in ~/.zshrc, after compinit: source ~/.elsa-completion.zsh
      elsa completion fish > ~/.config/fish/conf.d/elsa.fish
      eval "$(elsa completion bash)"                     for this shell only
    """
    for program in PROGRAMS:
        click.echo(script(shell, program))


def script(shell: str, program: str) -> str:
    """The script for one program."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 (click has all three)
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return kind(main.group, {}, program, variable).source()
