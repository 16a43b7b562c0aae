"""The options that all reports share: what is selected, and how the report is written."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from elsa.cli import complete, options, tables
from elsa.cli.options import Function
from elsa.cli.report.request import Request
from elsa.errors import UsageError
from elsa.fleet import REPORTS
from elsa.report.render.columns import UNITS
from elsa.report.render.output import FORMATS, Output

PROCESS_CHOICES = (
    "host",
    "job",
    "user",
    "group",
    "command",
    "tty",
    "pid",
    "exit",
    "state",
    "tag",
    "kind",
    "exe",
    "cmdline",
    "cgroup",
)
"""The choices of reports on processes."""
_SELECTING: dict[str, tuple[str, str]] = {
    "host": ("HOST", "Only this host, by name or glob, where the warehouse has several."),
    "job": (
        "JOB",
        (
            "Only processes that were ever in this job: its id, its name (all runs), nightly#-2"
            " (the run before the last), or a glob."
        ),
    ),
    "user": ("USER", "Only this real user, by name or uid; uid:N is never a name."),
    "group": ("GROUP", "Only this real group, by name or gid; gid:N is never a name."),
    "command": (
        "COMMAND",
        (
            "Only commands with this name, or that match a glob like 'cc*'. The kernel keeps 15"
            " bytes of a name."
        ),
    ),
    "tty": ("TTY", "Only this terminal: pts/3, tty1, none."),
    "pid": ("PID", "Only processes with this pid."),
    "exit": ("EXIT", "Only processes with this exit: 0, 3, nonzero, signal, SIGKILL, core."),
    "state": ("STATE", "Only what is running, ended, completed (exit 0) or failed."),
    "tag": (
        "TAG",
        "Only processes of jobs with this tag: KEY or KEY=VALUE. Repeated: with all of these tags.",
    ),
    "kind": (
        "KIND",
        "Only processes of jobs of this kind: manual, automatic, or a kind of these, such as"
        " service.",
    ),
    "exe": (
        "PATH",
        "Only processes that executed this file last: its path, its name or a glob, scripts too.",
    ),
    "cmdline": (
        "TEXT",
        (
            "Only processes with this text in their command line, or whose command line matches a"
            " glob like 'backup*', with or without the program's folder."
        ),
    ),
    "cgroup": (
        "GROUP",
        (
            "Only processes in this control group or below it: its path, a name in the path such as"
            " nginx.service, or a glob."
        ),
    ),
    "event": ("EVENT", "Only these events: fork, exec or exit."),
}
_OF_JOBS: dict[str, tuple[str, str]] = {
    "host": ("HOST", "Only jobs of this host, by name or glob, where the warehouse has several."),
    "job": ("JOB", "Only this job: its id, its name, nightly#-2, or a glob."),
    "user": ("USER", "Only jobs of this owner, by name or uid; uid:N is never a name."),
    "exit": (
        "EXIT",
        "Only jobs whose launched command had this exit: 0, 3, nonzero, signal, SIGKILL, core.",
    ),
    "state": (
        "STATE",
        "Only jobs that are open, closed, running, completed (closed, exit 0) or failed.",
    ),
    "tag": ("TAG", "Only jobs with this tag: KEY or KEY=VALUE. Repeated: with all of these tags."),
    "kind": (
        "KIND",
        "Only jobs of this kind: manual, automatic, or a kind of these, such as service.",
    ),
    "cgroup": (
        "GROUP",
        (
            "Only jobs of this control group or below it: its path, a name in the path such as"
            " nginx.service, or a glob."
        ),
    ),
}


def _times_of(ended: str, used: str) -> dict[str, tuple[str, str]]:
    return {
        "since": ("TIME", f"Only {used} then or later: 09:30, yesterday, 7d, 'last week'."),
        "until": ("TIME", f"Only {used} before then."),
        "day": ("DAY", f"Only {ended} on this day: yesterday, monday, 2026-11-02."),
        "week": ("WEEK", f"Only {ended} in this week: last, this, 2026-W48."),
        "month": ("MONTH", f"Only {ended} in this month: last, november, 2026-11."),
    }


_TIMES = _times_of("what ended", "what ended or was used")
_TIMES_OF_EVENTS = _times_of("what happened", "what happened")
ROWS = 100
"""How many rows a table has without --limit and --all."""
MOST_ROWS = 2**62
"""More rows than any report has; SQLite cannot count more than 2**63 - 1."""
# Values of these options are not split at commas.
_WHOLE = ("tag", "cmdline")
# Escaped characters while a value is split; no argument has a NUL in it.
_HIDDEN = {",": "\0c", " ": "\0b"}


def reports(
    *kinds: str,
    of_jobs: bool = False,
    window: bool = True,
    clip: bool = False,
    alive: bool = False,
    sort: bool = True,
    rows: int = ROWS,
) -> Callable[[Function], Function]:
    """Give a command the options that select and those for the output; the command gets them as one
    `request`. Without --limit and --all a table has that many rows.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(**given: Any) -> Any:  # noqa: ANN401
            request = _request(given, kinds, of_jobs=of_jobs, window=window, rows=rows)
            return function(request=request, **given)

        for add in reversed(
            [
                *selecting(kinds, of_jobs=of_jobs, window=window, clip=clip),
                *(_living() if alive else ()),
                *_writing(sort=sort, rows=rows),
                options.db_or_fleet if function.__name__ in REPORTS else options.db,
            ]
        ):
            command = add(command)
        return command  # type: ignore[return-value]

    return decorate


def selecting(
    kinds: tuple[str, ...], *, of_jobs: bool = False, window: bool = True, clip: bool = False
) -> Iterator[Callable[[Any], Any]]:
    """The options that select, of these kinds."""
    texts = _OF_JOBS if of_jobs else _SELECTING
    for kind in kinds:
        name, text = texts[kind]
        # A command name may be any bytes.
        type_ = click.UNPROCESSED if kind == "command" else None
        yield click.option(
            f"--{kind}",
            multiple=True,
            type=type_,
            metavar=name,
            help=text,
            shell_complete=complete.BY_KIND.get(kind),
        )
    if window:
        for name, (metavar, text) in (_TIMES_OF_EVENTS if "event" in kinds else _TIMES).items():
            yield click.option(f"--{name}", metavar=metavar, help=text)
    if clip:
        text = (
            "Count processes that ran in the window, for their part in it (an estimate), instead of"
            " those that ended in it."
        )
        yield click.option("--clip", is_flag=True, help=text)


def _living() -> Iterator[Callable[[Any], Any]]:
    """The options that select processes by when they lived."""
    text = "Only processes that lived at this moment, whole, also those that still run."
    yield click.option("--at", metavar="TIME", help=text)
    text = (
        "Processes that lived at any time in the window, also those that still run, with what they"
        " used in it, instead of those that ended in it."
    )
    yield click.option("--alive", is_flag=True, help=text)


def _writing(*, sort: bool, rows: int) -> Iterator[Callable[[Any], Any]]:
    yield click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="Output format.",
    )
    text = (
        "Which columns, by name or heading, with an optional width: name,tags%20. +NAME,+NAME adds"
        " to the default columns; `help` lists all."
    )
    yield click.option("--columns", metavar="LIST", help=text, shell_complete=complete.columns)
    text = (
        "Sort by these columns: the largest figures first, other values in their order; - or +"
        " before a name: the largest or the smallest first."
    )
    if sort:
        yield click.option(
            "--sort", metavar="KEY[,-KEY]", help=text, shell_complete=complete.columns
        )
    yield click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"Show at most N rows.  [default: {rows} in tables]",
    )
    yield click.option(
        "--all",
        "everything",
        is_flag=True,
        help="Show all rows, and also what still runs.",
    )
    text = "Units of sizes; raw: every value as in csv."
    yield click.option(
        "--units", type=click.Choice(UNITS), default="auto", show_default=True, help=text
    )
    text = (
        "csv: leave text unchanged; without --raw, text that a spreadsheet would take for a formula"
        " is written with a quote (') before it."
    )
    yield click.option("--raw", is_flag=True, help=text)
    yield click.option("--no-header", is_flag=True, help="Leave the headings out.")
    yield click.option("--no-pager", is_flag=True, help="Do not use a pager.")
    yield click.option("--explain", is_flag=True, help="Print the SQL instead of running it.")


def _request(
    given: dict[str, Any], kinds: tuple[str, ...], *, of_jobs: bool, window: bool, rows: int
) -> Request:
    """Take the shared options out of the arguments of a command."""
    asked = choices(given, kinds, window=window)
    form, limit = given.pop("form"), given.pop("limit")
    explain, everything = given.pop("explain"), given.pop("everything")
    at, alive = given.pop("at", None), given.pop("alive", False)
    if at is not None:
        asked["at"] = (at,)
    if alive and not any(asked[name] for name in _TIMES):
        raise UsageError("--alive is about a window; add --since, --day or the like, or use --at")
    if limit is None and form == "table" and not (everything or explain or given.get("plot")):
        limit = rows
    terminal = sys.stdout.isatty()
    output = Output(
        form,
        given.pop("columns"),
        given.pop("sort", None),
        None if limit is None else min(limit, MOST_ROWS),
        given.pop("units"),
        header=not given.pop("no_header"),
        width=tables.terminal_width(),
        raw=given.pop("raw"),
        colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
    )
    return Request(
        click.get_current_context().command.name or "",
        asked,
        of_jobs,
        given.pop("clip", False),
        alive or at is not None,
        output,
        explain,
        everything,
        not given.pop("no_pager"),
        given.pop("db"),
    )


def choices(
    given: dict[str, Any], kinds: tuple[str, ...], *, window: bool = True
) -> dict[str, tuple[str, ...]]:
    """Take the options of `selecting` out of the arguments of a command."""
    chosen = {kind: values(kind, given.pop(kind)) for kind in kinds}
    return chosen | times(given) if window else chosen


def times(given: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Take the options of time out of the arguments of a command."""
    found = {name: given.pop(name) for name in _TIMES}
    return {name: () if value is None else (value,) for name, value in found.items()}


def values(kind: str, given: tuple[str, ...]) -> tuple[str, ...]:
    r"""The values of an option, which may be repeated, and have several values with commas. `\,` is
    a comma in a value, and `\ ` a blank at its end.
    """
    if kind in _WHOLE:
        return given
    # Two backslashes are one in a stored name, and do not escape a comma.
    hidden = (
        re.sub(r"\\\\|\\([, ])", lambda match: _HIDDEN.get(match[1], match[0]), text)
        for text in given
    )
    parts = (part.strip() for text in hidden for part in text.split(","))
    return tuple(
        functools.reduce(lambda part, pair: part.replace(pair[1], pair[0]), _HIDDEN.items(), part)
        for part in parts
    )
