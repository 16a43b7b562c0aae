"""The options that all reports share: which processes are selected, and how the report is written;
and its way to stdout.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from elsa import config
from elsa.cli import complete, options
from elsa.cli.main import print_stderr
from elsa.cli.options import Function
from elsa.errors import PrivilegeError, UsageError
from elsa.fleet import REPORTS
from elsa.report.render.columns import UNITS
from elsa.report.render.output import FORMATS, ColumnsHelp, Output

if TYPE_CHECKING:
    import sqlite3

    from elsa.fleet_url import FleetUrl
    from elsa.report.query.selection import Selection
    from elsa.report.query.statement import Query
    from elsa.report.query.times import Window
    from elsa.report.render.writer import Report

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
_TIMES = {
    "since": (
        "TIME",
        "Only what ended or was used then or later: 09:30, yesterday, 7d, 'last week'.",
    ),
    "until": ("TIME", "Only what ended or was used before then."),
    "day": ("DAY", "Only what ended on this day: yesterday, monday, 2026-11-02."),
    "week": ("WEEK", "Only what ended in this week: last, this, 2026-W48."),
    "month": ("MONTH", "Only what ended in this month: last, november, 2026-11."),
}
ROWS = 100
"""How many rows a table has without --limit and --all."""
MOST_ROWS = 2**62
"""More rows than any report has; SQLite cannot count more than 2**63 - 1."""
# Values of these options are not split at commas.
_WHOLE = ("tag", "cmdline")


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    report: str
    """The report's name."""
    asked: dict[str, tuple[str, ...]]
    of_jobs: bool
    """The choices are of jobs, not of processes."""
    clip: bool
    alive: bool
    """Processes that lived in the window, not those that ended in it."""
    output: Output
    explain: bool
    everything: bool
    """All rows, and also what still runs."""
    pager: bool
    db: Path | None
    looks_back_ns: int = 0
    """How long before its window the report looks."""
    by: str | None = None
    """What a bill has lines by."""
    job: str | None = None
    """The job that it is about, by id or name."""
    as_of_ns: int | None = None
    """The time as of which tariffs count."""
    first_notes: list[str] = field(default_factory=list)
    """Notes on what can be read at all."""

    @property
    def path(self) -> Path:
        """The warehouse."""
        return config.load({"db": self.db}).db

    @contextmanager
    def warehouse(self) -> Iterator[sqlite3.Connection]:
        """The warehouse, open for reading; of a fleet the copy that `ready` fills."""
        from elsa.report.query import warehouse

        fleet = config.fleet({"db": self.db})
        if fleet is not None:
            with self._fleet(fleet) as copy:
                yield copy
            return
        since_ns = self.window.since
        if since_ns is not None:
            since_ns -= self.looks_back_ns
        with ExitStack() as stack:
            try:
                allowed = warehouse.reading_allowed(self.path, since_ns)
                connection = stack.enter_context(allowed)
            except PrivilegeError as error:
                if not self.explain:
                    raise
                connection = stack.enter_context(warehouse.empty(self.path))
                self.first_notes.append(f"names of jobs are not known here, as {error}")
            self.first_notes.extend(warehouse.notes(connection))
            say(self.first_notes)
            yield connection

    @contextmanager
    def _fleet(self, fleet: FleetUrl) -> Iterator[sqlite3.Connection]:
        from elsa.fleet import reports
        from elsa.fleet.copy import Wanted

        wanted = Wanted(
            self.report,
            self.asked,
            self.output,
            self.by,
            self.job,
            as_of_ns=self.as_of_ns,
            clip=self.clip,
            explain=self.explain,
        )
        with reports.reading(fleet, wanted) as copy:
            yield copy

    def ready(self, connection: sqlite3.Connection, selection: Selection) -> Selection:
        """The selection as the report is made of it: of a fleet by whole hours, when its sums were
        fetched.
        """
        if not self.is_of_fleet(connection):
            return selection
        from elsa.fleet import reports

        selection = reports.fetch(connection, selection)  # type: ignore[arg-type]
        self.first_notes[:] = connection.hosts.words()  # type: ignore[attr-defined]
        if not self.explain:
            say(self.first_notes)
        return selection

    @staticmethod
    def is_of_fleet(connection: sqlite3.Connection) -> bool:
        """Whether the report is on a fleet."""
        from elsa.report.query.warehouse import of_fleet

        return of_fleet(connection)

    @property
    def window(self) -> Window:
        """The window of the options of time."""
        from datetime import datetime

        from elsa.report.query.options import asked_window

        return asked_window(self.asked, datetime.now().astimezone())

    @property
    def wants_running(self) -> bool:
        """Whether what still runs was asked for, by --all or by name."""
        return self.everything or any(
            text.lower() in ("running", "r") for text in self.asked.get("state", ())
        )

    def selection(self, connection: sqlite3.Connection) -> Selection:
        """The processes or jobs that the options select."""
        from datetime import datetime

        from elsa.report.query.options import resolve, resolve_jobs

        resolved = resolve_jobs if self.of_jobs else resolve
        now = datetime.now().astimezone()
        selection = resolved(connection, self.asked, now, clip=self.clip)
        return replace(selection, ids=self.explain, alive=self.alive)

    def choosing(self, **more: tuple[str, ...]) -> Request:
        """The same request with further choices."""
        chosen = {kind: self.asked.get(kind, ()) + values for kind, values in more.items()}
        return replace(self, asked=self.asked | chosen)

    def show(
        self,
        ask: Callable[[sqlite3.Connection, Selection], Sequence[Query]],
        make: Callable[[sqlite3.Connection, Selection], Report],
        draw: Callable[[sqlite3.Connection, Report], str] | None = None,
        choose: Callable[[sqlite3.Connection, Selection], Selection] = lambda _, chosen: chosen,
    ) -> None:
        """Print a report, or a drawing of it, and then its notes; with --explain, its SQL."""
        from elsa.report.collector_status import late
        from elsa.report.render import writer

        words: list[str] = []
        with self.printing() as (connection, out):
            selection = self.ready(connection, choose(connection, self.selection(connection)))
            if self.explain:
                self.write_sql(connection, out, ask(connection, selection))
                return
            made = make(connection, selection)
            facts = self.facts(connection, made.completeness)
            with self.json_object(out, selection.window, words, made.shown, facts):
                if draw is not None and made.rows:
                    out.write(draw(connection, made) + "\n")
                    count = 1
                else:
                    count = writer.write(made, self.output, out)
                if not count:
                    words.append(self.nothing(connection, made))
                words[:0] = selection.words
                words += made.words
                silent = late(connection, selection, time.time_ns())
                words += [line for line in silent if line not in words]
        say(words)

    def write_sql(
        self, connection: sqlite3.Connection, out: TextIO, queries: Sequence[Query]
    ) -> None:
        """Write the SQL of a report; of a fleet first that of PostgreSQL."""
        if self.is_of_fleet(connection):
            fetched = connection.explained  # type: ignore[attr-defined]
            out.write("-- in PostgreSQL:\n" + "\n".join(fetched) + "\n-- over these rows:\n")
        out.write("\n".join(query.readable() for query in queries) + "\n")

    def told_apart(self, made: Report) -> Report:
        """A report on users or groups, whose names are told apart in tables."""
        from elsa.report.usage import told_apart

        return told_apart(made) if self.output.form == "table" else made

    def nothing(self, connection: sqlite3.Connection, made: Report) -> str:
        """The message of a report without rows; of a fleet with how far it is known."""
        if not self.is_of_fleet(connection):
            return made.nothing()
        said: str = connection.hosts.nothing(made.nothing)  # type: ignore[attr-defined]
        return said

    def facts(
        self, connection: sqlite3.Connection, completeness: Callable[[], dict[str, Any]]
    ) -> Callable[[], dict[str, Any]]:
        """How complete a report is, for programs; of a fleet with the hosts that lack something."""
        if not self.is_of_fleet(connection):
            return completeness

        def with_hosts() -> dict[str, Any]:
            hosts, facts = connection.hosts, completeness()  # type: ignore[attr-defined]
            return facts | {"complete": hosts.whole(facts), "hosts": hosts.facts()}

        return with_hosts

    @contextmanager
    def json_object(
        self,
        out: TextIO,
        window: Window,
        words: list[str],
        columns: Iterable[str],
        completeness: Callable[[], dict[str, Any]] = dict,
        key: str = "rows",
    ) -> Iterator[None]:
        """Write with --format json the object around what is written meanwhile, which stands in it
        under `key`. `words` are the notes, complete at the end.
        """
        if self.output.form != "json":
            yield
            return
        from elsa.report.render import envelope

        envelope.begin(out, self.report, window, key)
        yield
        envelope.end(out, columns, [*self.first_notes, *words], completeness())

    @contextmanager
    def printing(self) -> Iterator[tuple[sqlite3.Connection, TextIO]]:
        """The warehouse and where to write: stdout, or a pager for long text on a terminal. The
        pager starts when the warehouse is closed.
        """
        on_terminal = self.output.width is not None
        paged = (
            io.StringIO() if self.pager and on_terminal and self.output.form == "table" else None
        )
        with self.warehouse() as connection:
            try:
                yield connection, paged or sys.stdout
            except ColumnsHelp as text:
                click.echo(str(text))
        if paged is not None:
            page(paged.getvalue())


def page(text: str) -> None:
    """Show a text on a terminal, with $PAGER or less if it is longer than the screen."""
    if text.count("\n") < shutil.get_terminal_size().lines:
        click.echo(text, nl=False)
        return
    os.environ.setdefault("LESS", "FRSX")
    click.echo_via_pager(text.rstrip("\n"), color=True)


def blocks() -> bool:
    """Whether stdout takes UTF-8."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def say(words: list[str]) -> None:
    """Print the notes of a report to stderr."""
    for line in words:
        print_stderr(f"elsa-report: {line}")


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
        for name, (metavar, text) in _TIMES.items():
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
        "Which columns, by name or heading, with an optional width: name,tags%20. +NAME adds to the"
        " default columns; `help` lists all."
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
        width=shutil.get_terminal_size().columns if terminal else None,
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


# Escaped characters while a value is split; no argument has a NUL in it.
_HIDDEN = {",": "\0c", " ": "\0b"}
