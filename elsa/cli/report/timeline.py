"""`elsa report timeline`: CPU, memory and I/O over time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from elsa.cli.report.group import report
from elsa.cli.report.request import Request, blocks
from elsa.cli.report.shared_options import PROCESS_CHOICES, reports
from elsa.errors import UsageError

if TYPE_CHECKING:
    import sqlite3

    from elsa.report.query.selection import Selection
    from elsa.report.query.statement import Query
    from elsa.report.render.writer import Report
    from elsa.report.timeline.figures import Timeline

_METRICS = ("cpu", "memory", "io")
# Series that have a mark of their own.
_MOST_SERIES = 25


@report.command()
@click.option(
    "--by",
    type=click.Choice(["job", "kind", "user", "command"]),
    help="One series each, stacked: automatic jobs by name (with --kind manual: other jobs), kinds"
    " of jobs, users or commands.",
)
@click.option(
    "--top",
    type=click.IntRange(1, _MOST_SERIES),
    default=5,
    show_default=True,
    metavar="N",
    help="With --by: the series with the most, and all others as one.",
)
@click.option(
    "--step",
    metavar="LENGTH",
    help="How long a step is: 30s, 5m, 1h, 1d, week, month.  [default: as fits the width]",
)
@click.option(
    "--metric",
    metavar="LIST",
    default=",".join(_METRICS),
    show_default=True,
    help="What to draw. With --by the first ranks the series.",
)
@reports(*PROCESS_CHOICES)
def timeline(*, request: Request, by: str | None, top: int, step: str | None, metric: str) -> None:
    """CPU, memory and I/O over time, drawn; with --format or --columns, a row for each step.

    By default the last 24 hours of the host; with --job or --tag, the time of the jobs. Usage
    counts in the steps in which it was used: what was used between two readings of a living
    process, or after the last, is spread over that time. Steps add up to the reports on the window,
    except for what crosses its edges: of that only the share inside counts here.

    Times without jobd are drawn as gaps; in rows they are empty, unless records fill them.

    \b
    Examples:
      elsa report timeline                            the host since yesterday
      elsa report timeline --job nightly#-1           a job, as it ran
      elsa report timeline --since 03:00 --until 04:00 --by job
      elsa report timeline --week last --by user --metric cpu
      elsa report timeline --command 'cc*' --step 15m --format csv
    """
    from elsa.report.query import steps
    from elsa.report.render import chart
    from elsa.report.timeline import draw as drawing
    from elsa.report.timeline import report as made
    from elsa.report.timeline.asked import Asked
    from elsa.report.timeline.parts import prepared
    from elsa.report.timeline.window import with_window

    metrics = _metrics(metric)
    output = request.output
    drawn = output.form == "table" and output.columns is None
    if drawn and output.sort is not None:
        raise UsageError("a drawing is in the order of time; leave --sort out, or add --columns")
    if drawn:
        request = replace(request, output=replace(output, limit=None))
        output = request.output
    most = chart.room(output.width or chart.PLAIN_WIDTH)
    asked = Asked(by, top, None if step is None else steps.read(step), most, metrics[0])
    found: list[Timeline] = []

    def chosen(connection: sqlite3.Connection, selection: Selection) -> Selection:
        whole = bool(request.asked["job"] or request.asked["tag"])
        return with_window(connection, selection, asked, time.time_ns(), whole=whole)

    def queries(connection: sqlite3.Connection, selection: Selection) -> list[Query]:
        return prepared(connection, selection, asked).queries()

    def rows(connection: sqlite3.Connection, selection: Selection) -> Report:
        memory = "memory" in metrics if drawn else None
        report, timeline = made.report(connection, selection, asked, output, memory=memory)
        if drawn:
            drawing.check_room(timeline, most)
        found.append(timeline)
        return report

    def draw(_connection: sqlite3.Connection, _report: Report) -> str:
        return drawing.draw(found[0], metrics, output, blocks=blocks())

    request.show(queries, rows, draw if drawn else None, chosen)


def _metrics(text: str) -> list[str]:
    metrics = list(dict.fromkeys(word.strip().lower() for word in text.split(",")))
    for word in metrics:
        if word not in _METRICS:
            raise UsageError(f"--metric: cannot read {word!r}; write one of {', '.join(_METRICS)}")
    return metrics
