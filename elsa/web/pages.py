"""All pages, and those that are not of jobs. Each takes its figures from a report of the command
line.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from flask import Flask, Response, abort, current_app, g, render_template, request, url_for

from elsa.errors import UsageError
from elsa.report import audit, collector_status, gaps, metrics, processes
from elsa.report.billing import bill
from elsa.report.query.options import asked_days, resolve
from elsa.report.query.selection import Selection
from elsa.report.render import openmetrics
from elsa.report.render.output import Output
from elsa.report.usage import told_apart
from elsa.web import asked, job_pages, progress, tables, usage_pages
from elsa.web.asked import Ask
from elsa.web.page import choices, download, of_fleet, opened, rows_by, shown
from elsa.web.reading import hosts_of_fleet
from elsa.web.tables import Links

_NAV = (
    ("today", "Today"),
    ("used", "Usage"),
    ("runs", "Jobs"),
    ("processes", "Who ran what"),
    ("bill", "Bill"),
    ("trust", "Trust"),
    ("hosts", "Hosts"),
)
_OF_PROCESSES = ("processes", "job_time", "job_tree", "flame")
"""Pages that need single processes, which a fleet does not have."""
_OF_FLEET = ("hosts",)
"""Pages that only a fleet has."""
_JOBS_TABS = (("runs", "Latest run of each name"), ("jobs", "All jobs"))
_JOB_TABS = (("job", "What it cost"), ("job_time", "Over time"), ("job_tree", "Processes"))


class NotOfFleetError(UsageError):
    """A page that a fleet does not have."""


def register(app: Flask) -> None:
    """Add the pages to the application."""
    views: tuple[tuple[str, str, progress.View], ...] = (
        ("/", "today", usage_pages.today),
        ("/usage", "used", usage_pages.used),
        ("/runs", "runs", job_pages.latest_runs),
        ("/jobs", "jobs", job_pages.all_jobs),
        ("/job/<int:job_id>", "job", job_pages.one_job),
        ("/job/<int:job_id>/time", "job_time", job_pages.job_over_time),
        ("/job/<int:job_id>/tree", "job_tree", job_pages.job_tree),
        ("/processes", "processes", who_ran_what),
        ("/bill", "bill", bills),
        ("/trust", "trust", trust),
        ("/hosts", "hosts", hosts),
    )
    for rule, name, function in (
        *((rule, name, progress.shown(view)) for rule, name, view in views),
        ("/job/<int:job_id>/flame.svg", "flame", job_pages.flame_graph),
        ("/metrics", "metrics", measured),
    ):
        app.add_url_rule(rule, name, function, methods=["GET"], provide_automatic_options=False)
    app.extensions["elsa_metrics"] = Scraped()


def require(name: str | None) -> None:
    """Raise NotOfFleetError, or an error of Flask, if a page is not there for a fleet or a host."""
    if name in _OF_FLEET and not of_fleet():
        abort(404)
    if of_fleet() and name in _OF_PROCESSES:
        raise NotOfFleetError(
            "this page needs single processes, and a fleet database has sums only; they are in the"
            " host's own warehouse: run elsa web or elsa report on that host"
        )


def nav() -> tuple[tuple[str, str], ...]:
    """The pages of the navigation, and their texts."""
    without = _OF_PROCESSES if of_fleet() else _OF_FLEET
    return tuple(each for each in _NAV if each[0] not in without)


def title() -> str:
    """The title of the requested page, as far as its address says."""
    parts = request.view_args or {}
    if "job_id" in parts:
        return f"Job {parts['job_id']}"
    if request.endpoint == "today" and usage_pages.times() != {"since": ("today",)}:
        return "Usage over time"
    return dict(_NAV).get("runs" if request.endpoint == "jobs" else request.endpoint or "", "ELSA")


def current() -> str:
    """Which page of the navigation this is, or belongs to."""
    endpoint = request.endpoint or ""
    if endpoint == "today":
        return "" if title() != "Today" else endpoint
    return "runs" if endpoint == "jobs" or "job_id" in (request.view_args or {}) else endpoint


def tabs() -> list[tuple[str, str, str]]:
    """The views beside the requested page: their addresses, names and texts."""
    parts = request.view_args or {}
    if "job_id" in parts:
        views = () if of_fleet() else _JOB_TABS
        return [(url_for(name, **parts), name, text) for name, text in views]
    if request.endpoint in dict(_JOBS_TABS):
        return [(url_for(name), name, text) for name, text in _JOBS_TABS]
    return []


def who_ran_what() -> str | Response:
    """Single processes, the newest first."""
    kinds_of = ("command", "user", "cmdline", "job", "exit", "state", "tty", "kind")
    chosen = asked.with_default(choices(*kinds_of), since="7d")
    ask = Ask("last", chosen, asked.output(request.args))
    with opened(ask) as page:
        selection = page.resolve(ask)
        running = chosen.get("state") == ("running",)
        report = processes.processes(
            page.connection, processes.LAST, selection, ask.output, everything=running
        )
        if ask.output.form != "table":
            return download(ask, report)
        made = page.table(ask, report, "Processes, the newest first")
        return shown(page, "table.html", selection.window, selection, table=made)


def bills() -> str | Response:
    """What a month cost."""
    by = rows_by()
    chosen = asked.with_default(choices("user"), month="this")
    each = of_fleet() and request.args.get("each") == "host"
    output = asked.output(request.args, columns="+host" if each else None)
    ask = Ask("bill", chosen, output, options=(("by", by),))
    with opened(ask) as page:
        selection = resolve(page.connection, chosen, asked.now())
        days = asked_days(chosen, asked.now())
        if days is not None:
            selection = replace(selection, window=bill.window(page.connection, days))
        selection = page.ready(selection)
        try:
            report = bill.bill(page.connection, by, selection, ask.output)
        except bill.NoTariffError as error:
            if ask.output.form != "table":
                raise
            return shown(page, "hint.html", selection.window, hint=str(error))
        if ask.output.form != "table":
            return download(ask, report)
        made = page.table(ask, report, f"By {by}", told=told_apart(report))
        return shown(page, "table.html", selection.window, table=made)


def trust() -> str | Response:
    """How well it is recorded: losses, what each source reported, and the warehouse."""
    chosen = asked.with_default(choices(), since="7d")
    ask = Ask("gaps", chosen, asked.output(request.args))
    with opened(ask) as page:
        window = page.resolve(ask).window
        lost = gaps.gaps(page.connection, window, ask.output, page.now_ns)
        if ask.output.form != "table":
            return download(ask, lost)
        losses = page.table(ask, lost, "Known losses", id="gaps", sortable=False)
        of_audit = Ask("audit", chosen, Output(limit=20), usual=20)
        with page.beside(of_audit) as sources:
            window = sources.resolve(of_audit).window
            found = audit.audit(sources.connection, window, of_audit.output, page.now_ns)
        parts = [
            page.part(of_audit, part, title, name)
            for name, part, title in (
                ("classes", found.classes, "What each source reported"),
                ("periods", found.periods, "Where they do not agree"),
                ("groups", found.groups, "Jobs against the counters of their control groups"),
            )
            if part.rows
        ]
        parts[0].notes.extend(tables.on_page(found.words))
        return shown(
            page,
            "trust.html",
            window,
            losses=losses,
            parts=parts,
            status=collector_status.late(page.connection, Selection(window), page.now_ns),
        )


def hosts() -> str:
    """The hosts of a fleet: until when their sums are here, and whether they record."""
    settings = current_app.config["SETTINGS"]
    output = asked.output(request.args)
    if output.form != "table":
        raise UsageError("the hosts as json are printed by: elsa fleet list --format json")
    links = Links(url_for, "hosts", request.args.items(multi=True), of_fleet=True)
    found = hosts_of_fleet(settings.db, g.deadline)
    made = tables.of_hosts(found, links, output, settings.command_db)
    return render_template("table.html", table=made)


class Scraped:
    """The metrics as they were served last: counters never fall."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text = ""

    def rising(self, families: list[openmetrics.Family]) -> list[openmetrics.Family]:
        """The metrics with no counter below what was served."""
        with self._lock:
            risen = list(openmetrics.never_below(families, self._text, metrics.SAME_COUNTERS))
            self._text = openmetrics.text(risen, "text")
        return risen


def measured() -> Response:
    """Metrics for Prometheus, for managers."""
    if of_fleet():
        abort(Response("metrics are of a host: run elsa web or elsa metrics on it\n", 404))
    if not g.reader.manages:
        abort(Response("metrics are of all users; only managers may read them\n", 403))
    with opened(Ask("metrics", {}, Output())) as page:
        since_ns = metrics.counted_since(page.settings.keep_rollups, page.now_ns)
        families = metrics.metrics(page.connection, page.now_ns, since_ns)
    risen = current_app.extensions["elsa_metrics"].rising(families)
    wanted = "application/openmetrics-text" in request.headers.get("Accept", "")
    form = "openmetrics" if wanted else "text"
    return Response(openmetrics.text(risen, form), content_type=openmetrics.CONTENT_TYPES[form])
