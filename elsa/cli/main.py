"""The programs: `elsa` with every command below it, and elsa-job, elsa-report, elsa-ingest and
elsa-jobd.

Each command is in a file of its own, which is imported only when the command is called, since
imports take most of the time of a short command.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NoReturn

import click

from elsa import __version__
from elsa.errors import EXIT_FAILURE, EXIT_RETRY, ElsaError
from elsa.text import printable

# The name of a command, of its module in elsa.cli and of its function there, and the line that
# `elsa --help` shows.
COMMANDS = {
    "alert": "Report lost data, failed jobs and grown usage, each once, to your command.",
    "completion": "Print the script that lets a shell complete commands, jobs and columns.",
    "config": "Show every setting, its value and where it comes from.",
    "check": "Test whether ELSA works on this host, and say how to fix what does not.",
    "db": "Create, upgrade and maintain the warehouse.",
    "fleet": "The hosts of a fleet database: add, list, remove; delete old sums.",
    "ingest": "Read BSD accounting files into the warehouse.",
    "job": "Create jobs, add processes to them, run commands in them.",
    "jobd": "The collector daemon: records every fork, exec and exit.",
    "metrics": "Print counters of usage, and how well jobd records, for Prometheus.",
    "push": "Send sums, jobs and losses of this host to the fleet database.",
    "report": "What jobs, commands and users cost.",
    "setup": "Set ELSA up as services of this host, where no package did.",
    "run": "Run a command and print what it cost, with all that it started.",
    "web": "Serve the reports as pages for a browser.",
}
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


class Command(click.Command):
    """A click command whose text arguments are UTF-8 and whose paths have no NUL in them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse text that is not UTF-8, since neither SQLite nor JSON can store it. Paths and
        unprocessed arguments may be any bytes.
        """
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = _hint(error.option_name, {each.name for each in self.get_params(ctx)})
            raise click.NoSuchOption(
                error.option_name, error.message + hint, error.possibilities, ctx
            ) from None
        for parameter in () if ctx.resilient_parsing else self.get_params(ctx):
            for text in _texts(ctx.params.get(parameter.name or "")):
                if "\0" in text:
                    raise click.BadParameter(f"{printable(text)} has a NUL in it", ctx, parameter)
                if isinstance(parameter.type, click.types.StringParamType) and not _is_utf8(text):
                    raise click.BadParameter(f"{printable(text)} is not UTF-8", ctx, parameter)
        return rest


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def _hint(option: str, parameters: Collection[str | None]) -> str:
    """How to write what other programs have an option for, in a command with these parameters."""
    if option == "--summary" and "budget" in parameters:
        return " A summary for CI is: --format markdown."
    if option == "--run" and not {"job", "jobs"}.isdisjoint(parameters):
        return " One run of a job is named by its number, as in: nightly#-2."
    return ""


def _texts(value: object) -> Iterator[str]:
    """All text in the value of a parameter."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, dict):
        yield from (str(text) for pair in value.items() for text in pair)
    elif isinstance(value, tuple | list):
        for element in value:
            yield from _texts(element)


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


class LazyGroup(Group):
    """A group that imports a subcommand's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, without importing anything."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the help, again without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


def load(name: str) -> click.Command:
    """The click command of a name in COMMANDS."""
    command = getattr(importlib.import_module(f"elsa.cli.{name}"), name)
    assert isinstance(command, click.Command)  # noqa: S101
    return command


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="elsa")
def group() -> None:
    """Enhanced Linux System Accounting: what did this job, with every process it ever started,
    cost?

    \b
    Examples:
      elsa check                             does ELSA work on this host?
      elsa db upgrade                        create the warehouse
      elsa jobd &                            start the collector
      elsa job run --name build -- make -j8  run a command as a job
      elsa ingest                            read the accounting file
      elsa report job build                  what it cost
      elsa report                            which reports there are
    """


def run(command: click.Command, name: str) -> NoReturn:
    """Run a command. An ElsaError becomes one line on stderr and its exit code; a closed pipe is no
    error.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the locale cannot write is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # elsa.cli.entry set it
                signal.signal(signal.SIGINT, signal.default_int_handler)
            status = command.main(prog_name=name, standalone_mode=False)
        finally:
            sys.stdout.flush()
    except ElsaError as error:
        print_stderr(f"{name}: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        for line in shown.getvalue().rstrip("\n").split("\n"):
            print_stderr(line)
        sys.exit(error.exit_code)
    except click.Abort:
        print_stderr("Aborted!")
        sys.exit(EXIT_FAILURE)
    except BrokenPipeError:
        _forget_output()
        sys.exit(0)
    except SystemExit:
        # click has met a broken pipe, and would exit with 1.
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            sys.exit(0)
        raise
    except OSError as error:
        _forget_output()
        print_stderr(f"{name}: the output cannot be written: {error.strerror or error}")
        sys.exit(EXIT_RETRY)
    sys.exit(status if isinstance(status, int) else 0)


def print_stderr(line: str) -> None:
    """Print a line to stderr. No name in it can move the cursor."""
    click.echo(printable(line), err=True)


def _forget_output() -> None:
    """Drop what is left in the buffer, which the interpreter would try to write again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Open /dev/null for each standard stream that was closed before the program started, so that
    no other file gets its descriptor. For stdout it is open for reading only: to write there fails,
    as with other tools, and output is not lost in silence.
    """
    for name, mode, flags in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            stream = os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8")
            setattr(sys, name, stream)


def elsa() -> NoReturn:
    """Entry point of `elsa`."""
    run(group, "elsa")


def elsa_job() -> NoReturn:
    """Entry point of `elsa-job`."""
    run(load("job"), "elsa-job")


def elsa_jobd() -> NoReturn:
    """Entry point of `elsa-jobd`."""
    run(load("jobd"), "elsa-jobd")


def elsa_ingest() -> NoReturn:
    """Entry point of `elsa-ingest`."""
    run(load("ingest"), "elsa-ingest")


def elsa_report() -> NoReturn:
    """Entry point of `elsa-report`."""
    run(load("report"), "elsa-report")
