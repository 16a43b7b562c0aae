"""A page that is being made: its warehouse, its tables, and how complete its figures are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Response, current_app, g, render_template, request, url_for

from elsa.report import collector_status, completeness
from elsa.report.query import warehouse
from elsa.report.query.selection import Asked, Selection, asked_window, resolve, resolve_jobs
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.web import asked, tables
from elsa.web.asked import Ask
from elsa.web.reading import reading
from elsa.web.tables import Links, Table

if TYPE_CHECKING:
    from elsa.web.app import Settings

_TYPES = {"csv": "text/csv", "json": "application/json"}
STEPS = 48
"""How many steps a chart has at most: a bar should have some pixels."""


class Page(NamedTuple):
    """A page that is being made."""

    connection: sqlite3.Connection
    settings: Settings
    links: Links
    now_ns: int

    def table(self, ask: Ask, report: Report, title: str, **more: Any) -> Table:  # noqa: ANN401
        """A report as a table, with the command that prints it."""
        command = ask.command(self.settings.command_db)
        return tables.table(report, ask.output, self.links, command, title, **more)

    def part(self, ask: Ask, report: Report, title: str, id_: str) -> Table:
        """A report that is one of several on a page: it is neither sorted nor downloaded."""
        return self.table(ask, report, title, id=id_, sortable=False, downloads=False)

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
        return resolve(self.connection, ask.asked, asked.now())

    def resolve_jobs(self, ask: Ask) -> Selection:
        """The jobs that are asked for."""
        return resolve_jobs(self.connection, ask.asked, asked.now())


@contextmanager
def opened(chosen: Asked = MappingProxyType({})) -> Iterator[Page]:
    """The page that the request is for, with the warehouse as its reader may see it, from the time
    on that was chosen.
    """
    settings: Settings = current_app.config["SETTINGS"]
    copies = current_app.config["COPIES"]
    times = {name: text for name in asked.TIMES for text in chosen.get(name, ())}
    links = Links(url_for, request.endpoint or "", request.args.items(multi=True), times)
    since_ns = asked_window(chosen, asked.now()).since
    with reading(settings.db, g.reader, copies, g.deadline, since_ns) as connection:
        yield Page(connection, settings, links, time.time_ns())


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
    silent = collector_status.late(page.connection, selection or Selection(window), page.now_ns)
    number = completeness.gaps(page.connection, window) if lost is None else lost
    losses = f"{completeness.count(number, 'known loss')}" if number else ""
    return render_template(
        template,
        badge=[*silent[:1], *([losses] if losses else [])],
        words=warehouse.notes(page.connection),
        **more,
    )


def download(ask: Ask, report: Report) -> Response:
    """The rows as a file."""
    form = ask.output.form
    answer = Response(tables.download(report, ask.output), mimetype=_TYPES[form])
    answer.headers["Content-Disposition"] = f'attachment; filename="elsa-{ask.report}.{form}"'
    return answer
