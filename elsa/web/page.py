"""A page that is being made: its warehouse, its tables, and how complete its figures are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from flask import Response, current_app, g, render_template, request, url_for

from elsa.errors import UsageError
from elsa.fleet import reports
from elsa.fleet.copy import Copy, Wanted
from elsa.fleet_url import FleetUrl
from elsa.report import collector_status, completeness
from elsa.report.query import warehouse
from elsa.report.query.options import asked_window, resolve, resolve_jobs
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.text import counted, printable
from elsa.web import asked, forms, tables
from elsa.web.asked import Ask
from elsa.web.reading import reading, reading_fleet
from elsa.web.settings import Settings
from elsa.web.tables import Links, Table

_TYPES = {"csv": "text/csv", "json": "application/json"}
_MOST_SUGGESTED = 1000
STEPS = 48
"""How many steps a chart has at most: a bar should have some pixels."""


class Page(NamedTuple):
    """A page that is being made."""

    connection: sqlite3.Connection
    settings: Settings
    links: Links
    now_ns: int
    said: list[str]
    """Notes on what was asked for, and on hosts of a fleet of which something is missing."""

    @contextmanager
    def beside(self, ask: Ask) -> Iterator[Page]:
        """The page for another report that stands on it: of a fleet each has a copy of its own."""
        if not of_fleet():
            yield self
            return
        with _opened(ask) as connection:
            yield self._replace(connection=connection)

    def table(self, ask: Ask, report: Report, title: str, **more: Any) -> Table:  # noqa: ANN401
        """A report as a table, with the command that prints it."""
        if isinstance(self.connection, Copy) and ask.report != "job":
            nothing = partial(self.connection.hosts.nothing, report.nothing)
            report = replace(report, nothing=nothing)
        command = ask.command(self.settings.command_db)
        return tables.table(report, ask.output, self.links, command, title, **more)

    def part(
        self,
        ask: Ask,
        report: Report,
        title: str,
        id_: str,
        **more: Any,  # noqa: ANN401
    ) -> Table:
        """A report that is one of several on a page: it is neither sorted nor downloaded."""
        return self.table(ask, report, title, id=id_, sortable=False, downloads=False, **more)

    def steps(self, ask: Ask, made: Report, title: str) -> Table:
        """The rows of a timeline with the command that prints them instead of a chart, but without
        empty ones, which a chart has no bars for.
        """
        rows = list(made.rows)
        output = Output(columns=",".join(made.shown), limit=max(len(rows), asked.ROWS))
        place = made.columns.index("cpu_s")
        used = replace(made, rows=[row for row in rows if row[place]])
        return self.part(replace(ask, output=output), used, title, "steps")

    def resolve(self, ask: Ask) -> Selection:
        """The processes that are asked for."""
        return self.ready(resolve(self.connection, ask.asked, asked.now()))

    def resolve_jobs(self, ask: Ask) -> Selection:
        """The jobs that are asked for."""
        return self.ready(resolve_jobs(self.connection, ask.asked, asked.now()))

    def ready(self, selection: Selection) -> Selection:
        """The selection as the report is made of it: of a fleet by whole hours, when its sums were
        fetched.
        """
        words: list[str] = []
        if isinstance(self.connection, Copy):
            selection = reports.fetch(self.connection, selection)
            words = self.connection.hosts.words()
        words = [printable(line) for line in (*words, *selection.words)]
        self.said.extend(line for line in words if line not in self.said)
        return selection

    def late(self, selection: Selection) -> list[str]:
        """That jobd does not run, or which hosts of a fleet are late or do not record."""
        if not isinstance(self.connection, Copy):
            return collector_status.late(self.connection, selection, self.now_ns)[:1]
        hosts = self.connection.hosts
        silent = {each.host for each in hosts.silent} | {each.host for each in hosts.unread}
        of = counted(hosts.number, "host")
        return [
            f"{len(some)} of {of} {one if len(some) == 1 else more}"
            for some, one, more in (
                (hosts.late, "is late", "are late"),
                (silent, "does not record", "do not record"),
            )
            if some
        ]


def of_fleet() -> bool:
    """Whether the pages are of a fleet."""
    return isinstance(current_app.config["SETTINGS"].db, FleetUrl)


def rows_by() -> str:
    """What the rows of the requested page are by, where it offers to choose. Raises UsageError if
    something was chosen of which there are no such sums.
    """
    by = request.args.get("by", "").strip() or "user"
    for name in forms.unsuited(request.endpoint or "", by, of_fleet=of_fleet()):
        if request.args.get(name, "").strip():
            one = "each host: choose one" if name == "each" else f"one {name}: leave the {name} out"
            raise UsageError(f"there are no sums by {by} of {one}")
    return by


def choices(*kinds: str) -> dict[str, tuple[str, ...]]:
    """The choices of these kinds and of time that the request makes; of a fleet of hosts too."""
    return asked.choices(request.args, (*(["host"] if of_fleet() else []), *kinds))


@contextmanager
def opened(ask: Ask) -> Iterator[Page]:
    """The page that the request is for, with the warehouse as its reader may see it, from the time
    on that was chosen; or with the copy of a fleet for a report.
    """
    settings: Settings = current_app.config["SETTINGS"]
    kept = {name: text for name in ("host", *asked.TIMES) for text in ask.asked.get(name, ())}
    arguments = request.args.items(multi=True)
    links = Links(url_for, request.endpoint or "", arguments, kept, of_fleet=of_fleet())
    with _opened(ask) as connection:
        yield Page(connection, settings, links, time.time_ns(), [])


@contextmanager
def _opened(ask: Ask) -> Iterator[sqlite3.Connection]:
    settings: Settings = current_app.config["SETTINGS"]
    if isinstance(settings.db, FleetUrl):
        by = dict(ask.options).get("by")
        wanted = Wanted(ask.report, ask.asked, ask.output, by, next(iter(ask.arguments), None))
        with reading_fleet(settings.db, wanted, g.deadline) as copy:
            yield copy
        return
    copies = current_app.config["COPIES"]
    since_ns = asked_window(ask.asked, asked.now()).since
    with reading(settings.db, g.reader, copies, g.deadline, since_ns) as connection:
        yield connection


def shown(
    page: Page,
    template: str,
    window: Window,
    selection: Selection | None = None,
    lost: int | None = None,
    **more: Any,  # noqa: ANN401
) -> str:
    """The page, with how complete its figures are; `lost` is the number of losses that touch them,
    if it is not that of the window.
    """
    late = page.late(selection or Selection(window))
    number = completeness.gaps(page.connection, window) if lost is None else lost
    losses = f"{counted(number, 'known loss')}" if number else ""
    return render_template(
        template,
        badge=[*late, *([losses] if losses else [])],
        words=[*warehouse.notes(page.connection), *page.said],
        host_names=_suggested(page.connection),
        **more,
    )


def _suggested(connection: sqlite3.Connection) -> list[str]:
    """What may be written into the field for hosts."""
    names = connection.host_names[:_MOST_SUGGESTED] if isinstance(connection, Copy) else []
    return [asked.just(name) for name in names if name.isprintable()]


def download(ask: Ask, report: Report) -> Response:
    """The rows as a file."""
    form = ask.output.form
    answer = Response(tables.download(report, ask.output), mimetype=_TYPES[form])
    answer.headers["Content-Disposition"] = f'attachment; filename="elsa-{ask.report}.{form}"'
    return answer
