"""The pages on usage: over time, and by user, group, command, period or kind of job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import Response, request

from elsa.errors import UsageError
from elsa.formats import utc_time
from elsa.report import kinds, usage
from elsa.report.query import periods, steps
from elsa.report.query.options import asked_window
from elsa.report.query.times import PERIODS, Window
from elsa.report.query.warehouse import same_users
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.report.timeline import report as timeline
from elsa.report.timeline.asked import BY, Asked
from elsa.report.timeline.window import with_window
from elsa.units import HOUR_NS, SECOND_NS
from elsa.web import asked, charts
from elsa.web.asked import ROWS, Ask
from elsa.web.charts import Chart
from elsa.web.page import STEPS, Page, choices, download, of_fleet, opened, rows_by, shown
from elsa.web.tables import Table

_SERIES = 6
_TOP = 10
_SUMS = "cpu_s,processes,rss_kib,read_bytes,write_bytes"
_USED = {
    "user": usage.USERS,
    "group": usage.GROUPS,
    "command": usage.COMMANDS,
    "hour": usage.HOURS,
    "day": usage.DAYS,
    "month": usage.MONTHS,
}
_KIND = "kind"
# What a bar of a period leads to.
_WITHIN = {"month": "day", "day": "hour", "hour": "user"}
_MOST_BARS = 200
# Up to these windows Today of a fleet has hours, and days.
_HOURS_NS, _DAYS_NS = 50 * HOUR_NS, 62 * 24 * HOUR_NS


def times() -> dict[str, tuple[str, ...]]:
    """What Today shows: this day, unless another time was chosen."""
    return asked.with_default(choices(), since="today")


def today() -> str:
    """Usage over time, and who used it."""
    return _today_of_fleet() if of_fleet() else _today_of_host()


def _today_of_host() -> str:
    by = request.args.get("by", "kind") or "kind"
    if by not in BY:
        raise UsageError(f"by: write one of {', '.join(BY)}")
    chosen = times()
    ask = Ask("timeline", chosen, Output())
    with opened(ask) as page:
        query = Asked(by, _SERIES, None, STEPS)
        selection = with_window(page.connection, page.resolve(ask), query, page.now_ns, whole=False)
        made, drawn = timeline.report(page.connection, selection, query, Output(), memory=False)
        step = steps.name(drawn.length_s)
        ask = replace(ask, options=(("by", by), ("top", str(_SERIES)), ("step", step)))
        chart = charts.chart(made, "cpus", "CPUs in use", _leading(page))
        return shown(
            page,
            "today.html",
            selection.window,
            chart=chart,
            steps=page.steps(ask, made, "Steps"),
            tops=_tops(page, chosen),
        )


def _today_of_fleet() -> str:
    """The same by hour, day or month, which is what a fleet has sums of."""
    chosen = times()
    by = _period(asked_window(chosen, asked.now()))
    ask = Ask(f"{by.noun}s", chosen, Output(limit=ROWS))
    with opened(ask) as page:
        selection = page.resolve(ask)
        report = usage.usage(page.connection, by, selection, ask.output, everything=True)
        return shown(
            page,
            "today.html",
            selection.window,
            chart=_over_periods(page, by, report, ask.output, selection.window, _leading(page)),
            steps=page.part(ask, report, "Steps", "steps"),
            tops=_tops(page, chosen),
        )


def _period(window: Window) -> usage.By:
    """The periods of which a window has some, but not too many for a chart."""
    until = int(asked.now().timestamp()) * SECOND_NS if window.until is None else window.until
    length = until - (window.since or 0)
    if length <= _HOURS_NS:
        return usage.HOURS
    return usage.DAYS if length <= _DAYS_NS else usage.MONTHS


def _leading(page: Page, by: str | None = None) -> Callable[[str, str], str]:
    """A step of a chart leads to the same page of its time, or to what is in it by something."""
    replaced = dict.fromkeys(PERIODS)
    return lambda since, until: page.links.changed(
        **(replaced | ({} if by is None else {"by": by})), since=since, until=until
    )


def _over_periods(
    page: Page,
    by: usage.By,
    report: Report,
    output: Output,
    window: Window,
    link: Callable[[str, str], str],
) -> Chart | None:
    """The CPU time of the periods of a table as a chart; None if they are too many, do not follow
    each other, or nothing is known.
    """
    label, value = (report.columns.index(name) for name in (by.noun, "cpu_s"))
    used = {row[label]: row[value] for row in report.rows}
    laid = periods.cut(periods.prepared(page.connection), window)
    if len(used) == output.limit:
        # The table may lack others: without --sort the older ones.
        first = next((place for place, each in enumerate(laid) if each.label in used), 0)
        laid = [] if output.sort else laid[first:]
    if not 0 < len(laid) <= _MOST_BARS:
        return None
    rows = [
        (utc_time(each.since_ns), utc_time(each.until_ns), used.get(each.label)) for each in laid
    ]
    columns = ("since_at", "until_at", "cpu_s")
    made = replace(report, columns=columns, shown=columns, rows=rows)
    return charts.chart(made, "cpu_s", f"CPU time by {by.noun}", link)


def _tops(page: Page, chosen: dict[str, tuple[str, ...]]) -> list[Table]:
    """Who used most, and with which commands."""
    tops = []
    for name, grouped, title in (
        ("users", usage.USERS, "Users"),
        ("commands", usage.COMMANDS, "Commands"),
    ):
        apart = of_fleet() and name == "users" and not same_users(page.connection)
        keys = f"host,{grouped.noun}" if apart else grouped.noun
        top = Ask(name, chosen, Output(columns=f"{keys},{_SUMS}", limit=_TOP))
        with page.beside(top) as beside:
            selection = beside.resolve(top)
            report = usage.usage(beside.connection, grouped, selection, top.output)
            told = usage.told_apart(report)
            tops.append(page.part(top, report, title, name, told=told))
    return tops


def used() -> str | Response:
    """What was used by each user, group, command or kind of job, or in each period."""
    by = rows_by()
    if by not in (*_USED, _KIND):
        raise UsageError(f"by: write one of {', '.join((*_USED, _KIND))}")
    chosen = asked.with_default(choices("user", "command"), since="7d")
    if of_fleet() and {"user", "command"} <= chosen.keys():
        raise UsageError(
            "a fleet has sums by user and sums by command, but none by both: leave one of them out"
        )
    each = request.args.get("each") == "host"
    period = by in _WITHIN
    limit = _MOST_BARS if period else ROWS
    output = asked.output(request.args, limit, "+host" if each else None)
    ask = Ask(f"{by}s", chosen, output)
    with opened(ask) as page:
        selection = page.resolve(ask)
        if by == _KIND:
            report = kinds.kinds(page.connection, selection, output)
        else:
            report = usage.usage(page.connection, _USED[by], selection, output, everything=period)
        if output.form != "table":
            return download(ask, report)
        chart = None
        if period and not each:
            link = _leading(page, _WITHIN[by])
            chart = _over_periods(page, _USED[by], report, output, selection.window, link)
        made = page.table(ask, report, f"By {by}", told=usage.told_apart(report))
        return shown(page, "usage.html", selection.window, table=made, chart=chart)
