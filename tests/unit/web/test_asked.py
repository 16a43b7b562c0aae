"""What is asked for in an address, and the command line that asks for the same."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from werkzeug.datastructures import MultiDict

from elsa.cli.report.shared_options import values
from elsa.report.render.output import Output
from elsa.web import asked
from elsa.web.asked import Ask


@pytest.mark.parametrize(
    "text", ["a", "a,b", "a\\\\,b", "a\\\\", ",", " a ", "-x", "a b", "'", "\\"]
)
def test_a_value_is_one_value_for_the_command_too(text: str) -> None:
    command = Ask("jobs", {"user": (text,)}, Output()).command()
    words = shlex.split(command)
    given = words[3:] if len(words) > 4 else words[3].split("=", 1)
    assert given[0] == "--user"
    assert values("user", (given[1],)) == (text,)


@pytest.mark.parametrize(
    "text",
    ["x\x1b[201~\nid >f\ny", "\r1", "a\u202eb\x7f", "\\'!\x9b", "\xa0ü", "\udcff0", "é'$(id)"],
)
def test_a_command_is_one_printable_line_that_a_shell_reads_as_it_was_meant(text: str) -> None:
    command = Ask("last", {"cmdline": (text,)}, Output()).command(text)
    assert command.isprintable()
    script = command.replace("elsa", "printf '%s\\0'", 1)
    read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    words = [word.decode("utf-8", "surrogateescape") for word in read.split(b"\0")]
    assert words == ["report", "last", "--cmdline", text, "--db", text, ""]


def test_times_and_texts_are_not_split_at_commas() -> None:
    ask = Ask("last", {"cmdline": ("a,b",), "since": ("1 Nov, 2026",)}, Output())
    assert shlex.split(ask.command()) == [
        *("elsa", "report", "last", "--cmdline", "a,b", "--since", "1 Nov, 2026"),
    ]


def test_the_usual_number_of_rows_is_not_written() -> None:
    assert Ask("last", {}, Output(limit=100)).command() == "elsa report last"
    assert Ask("last", {}, Output(limit=25)).command() == "elsa report last --limit 25"
    assert Ask("last", {}, Output("csv", limit=100)).command("a.db") == (
        "elsa report last --format csv --limit 100 --db a.db"
    )


@pytest.mark.parametrize(
    ("given", "limit"), [("", 25), ("50", 50), ("0", 1), ("x", 25), ("99999999", 1600), ("-1", 25)]
)
def test_a_page_has_as_many_rows_as_were_asked_for_within_bounds(given: str, limit: int) -> None:
    assert asked.output(MultiDict({"limit": given}), 25).limit == limit


def test_empty_fields_choose_nothing() -> None:
    arguments = MultiDict([("user", ""), ("user", " anna "), ("since", " "), ("kind", "cron")])
    assert asked.choices(arguments, ("user", "job")) == {"user": ("anna",)}
    assert asked.with_default({}, since="7d") == {"since": ("7d",)}
    assert asked.with_default({"month": ("last",)}, since="7d") == {"month": ("last",)}
