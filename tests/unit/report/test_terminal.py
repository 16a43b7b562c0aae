"""What a person at a terminal gets: as wide as it is, through a pager when it is longer, in colour
unless NO_COLOR says no.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.support.reports import Reports

ELSA_REPORT = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from elsa.cli.main import elsa_report; elsa_report()",
]


def on_terminal(reports: Reports, *arguments: str, **environment: str) -> str:
    """What stands on a terminal of 8 lines and 60 columns after a report, stderr left out."""
    ours, theirs = pty.openpty()
    shell = {"TERM": "xterm", "LINES": "8", "COLUMNS": "60", "PAGER": "sed s/^/PAGED:/"}
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "LESS")}
    command = [*ELSA_REPORT, *arguments, "--db", str(reports.path)]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=clean | shell | environment,
    )
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


@pytest.fixture
def long(filled: Reports) -> Reports:
    for number in range(100, 120):
        filled.warehouse.process(number, comm=f"long-{number}")
    return filled


def test_table_fits_the_terminal_and_has_bold_headings(filled: Reports) -> None:
    lines = on_terminal(filled, "commands", "--limit", "2").splitlines()
    assert lines[0].startswith("\x1b[1mcommand")
    assert lines[0].endswith(" +\x1b[0m")
    assert max(len(line) for line in lines[2:]) <= 60
    assert "\x1b" not in on_terminal(filled, "commands", "--limit", "2", NO_COLOR="1")


def test_pager_shows_what_is_longer_than_the_screen_and_only_that(long: Reports) -> None:
    assert on_terminal(long, "commands").count("PAGED:") > 20
    assert "PAGED:" not in on_terminal(long, "commands", "--limit", "2")
    assert "PAGED:" not in on_terminal(long, "commands", "--no-pager")
    assert "PAGED:" not in on_terminal(long, "commands", "--format", "csv")
    assert "cpu" in on_terminal(long, "hours", "--plot", "--no-pager")


def test_name_that_would_move_the_cursor_reaches_no_terminal(filled: Reports) -> None:
    for form in ("table", "csv", "json", "parsable"):
        shown = on_terminal(
            filled, "jobs", "--columns", "name,tags", "--format", form, NO_COLOR="1"
        )
        assert "x1b[31m" in shown or "u001b[31m" in shown
        assert "\x1b" not in shown


def test_name_and_tree_that_the_locale_cannot_write_are_written_in_ascii(filled: Reports) -> None:
    filled.warehouse.job(7, "größe", members=(1, 2))
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments, expected in (
        (["jobs", "--columns", "name"], "gr\\xf6\\xdfe"),
        (["tree", "7"], "`- cc"),
    ):
        command = [*ELSA_REPORT, *arguments, "--db", str(filled.path)]
        done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
        assert expected in done.stdout
