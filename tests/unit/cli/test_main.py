"""What every command has in common: how it begins and ends."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import elsa.cli.report
from elsa.cli.main import group, load
from elsa.errors import EXIT_RETRY

SAMPLE = Path(__file__).parents[2] / "data/sample.pacct"
REPORT = (sys.executable, "-c", "from elsa.cli.main import elsa_report; elsa_report()")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize(
    "arguments", [("dump-acct", str(SAMPLE)), ("sa", "-v3", str(SAMPLE)), ("sa", "-")]
)
def test_streams_that_were_closed_before_are_as_empty_ones(
    arguments: tuple[str, ...], closed: str
) -> None:
    done = _with_closed(closed, *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (arguments != ("sa", "-"))


def test_output_to_a_closed_stdout_is_an_error() -> None:
    done = _with_closed(">&-", "dump-acct", str(SAMPLE))
    text = b"elsa-report: the output cannot be written: Bad file descriptor\n"
    assert (done.returncode, done.stderr) == (EXIT_RETRY, text)
    assert _with_closed("<&- >&- 2>&-", "dump-acct", str(SAMPLE)).returncode == EXIT_RETRY


def test_a_closed_stdout_does_not_matter_where_there_is_no_output() -> None:
    done = _with_closed(">&-", "sa", "-")
    assert (done.returncode, done.stderr) == (0, b"")


def _with_closed(closed: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a report with closed standard streams."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *REPORT, *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    big = tmp_path / "pacct"
    big.write_bytes(SAMPLE.read_bytes() * 200)
    command = [
        "sh",
        "-c",
        '{ "$@"; echo "status $?" >&2; } | head -n 1',
        "sh",
        *REPORT,
        "dump-acct",
        str(big),
    ]
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == "status 0\n"


def test_ctrl_c_while_the_programs_are_imported_leaves_no_traceback() -> None:
    code = (
        "import importlib, os, signal; from elsa.cli import entry; there ="
        " importlib.import_module;importlib.import_module = lambda name: (os.kill(os.getpid(),"
        " signal.SIGINT), there(name))[1]; entry.elsa()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def _helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """The path of each command below this one, and its help for 80 columns."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            inner = click.Context(below, context, name, terminal_width=80)
            yield from _helps(below, inner)


def test_every_line_of_every_help_text_fits_80_columns() -> None:
    helps = dict(_helps(group, click.Context(group, info_name="elsa", terminal_width=80)))
    assert "elsa report job" in helps
    wide = [
        f"{path}: {line}"
        for path, text in helps.items()
        for line in text.splitlines()
        if len(line) > 80
    ]
    assert not wide


def test_every_report_is_found_in_the_file_that_defines_it() -> None:
    report = load("report")
    assert isinstance(report, click.Group)
    context = click.Context(report)
    names = {name: report.get_command(context, name) for name in report.list_commands(context)}
    for module in pkgutil.iter_modules(elsa.cli.report.__path__, "elsa.cli.report."):
        importlib.import_module(module.name)
    assert names == report.commands


def test_report_alone_prints_a_short_help_that_names_every_report() -> None:
    result = CliRunner().invoke(group, ["report"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    report = group.get_command(click.Context(group), "report")
    assert isinstance(report, click.Group)
    words = result.stdout.replace(",", " ").replace(".", " ").split()
    assert set(report.list_commands(click.Context(report))) <= set(words)
    # Each example has options that its report knows.
    for line in lines:
        if line.startswith("  elsa report "):
            words = line.strip().split("   ")[0].split()[2:]
            name, options = words[0], [word for word in words[1:] if word.startswith("--")]
            command = report.get_command(click.Context(report), name)
            assert command is not None
            known = {option for parameter in command.params for option in parameter.opts}
            assert set(options) <= known, line
