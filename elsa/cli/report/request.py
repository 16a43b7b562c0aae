"""What was asked of a report on the command line, and its way from the warehouse to stdout."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from elsa import config
from elsa.cli.main import print_stderr
from elsa.errors import PrivilegeError
from elsa.report.render.output import ColumnsHelp, Output

if TYPE_CHECKING:
    import sqlite3

    from elsa.fleet_url import FleetUrl
    from elsa.report.query.selection import Selection
    from elsa.report.query.statement import Query
    from elsa.report.query.times import Window
    from elsa.report.render.writer import Report


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
    import shutil

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
