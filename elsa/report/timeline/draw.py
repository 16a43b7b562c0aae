"""A timeline as a drawing: a panel for each metric over a common axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from elsa import durations
from elsa.errors import UsageError
from elsa.formats import local_time
from elsa.report.query import steps
from elsa.report.query.times import Window
from elsa.report.render import chart, envelope
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output
from elsa.report.timeline.asked import Key
from elsa.report.timeline.figures import Series, Timeline, sum_known, weight
from elsa.report.timeline.parts import READ, SYSTEM, USER, WRITE
from elsa.text import printable
from elsa.units import SECOND_NS


def check_room(found: Timeline, most: int) -> None:
    """Raises UsageError if a drawing of this width cannot have so many steps."""
    if len(found.steps) > most:
        window = Window(*_bounds(found))
        length_s = steps.fitting(window, most)
        longer = f"write at least --step {steps.name(length_s)}"
        if length_s == found.length_s:
            longer = "take a shorter window"
        raise UsageError(
            f"{len(found.steps)} steps do not fit this width: {longer}, or take --format csv"
        )


def draw(found: Timeline, metrics: Sequence[str], output: Output, *, blocks: bool) -> str:
    """A panel for each metric over a common axis of time; the series, if there are several."""
    stacked = bool(found.columns)
    width = output.width or chart.PLAIN_WIDTH
    style = chart.Style(width, blocks=blocks, colour=output.colour)
    panels = [panel for metric in metrics for panel in _panels(found, metric, output.units)]
    starts_s = [step.since_ns // SECOND_NS for step in found.steps]
    since, until = (local_time(envelope.time(ns) or "") for ns in _bounds(found))
    lines = [f"{since} to {until}, a column is {steps.name(found.length_s)}"]
    lines += chart.panels(panels, starts_s, found.length_s, style)
    if stacked:
        lines += ["", *_legend(found, metrics[0], style, output.units)]
    return "\n".join(lines)


def _bounds(found: Timeline) -> tuple[int, int]:
    return found.steps[0].since_ns, found.steps[-1].until_ns


def _panels(found: Timeline, metric: str, units: str) -> Iterator[chart.Panel]:
    seconds = [(step.until_ns - step.since_ns) / 1e9 for step in found.steps]

    def rates(series: Series, *places: int, scale: float = 1.0) -> list[float | None]:
        sums = (sum_known(step[place] for place in places) for step in series.sums)
        return [
            None if value is None else value * scale / length
            for value, length in zip(sums, seconds, strict=True)
        ]

    if metric == "cpu":
        values = [rates(one, USER, SYSTEM, scale=1e-9) for one in found.series]
        total = sum_known(one.total(place) for one in found.series for place in (USER, SYSTEM))
        whole = "" if total is None else f", {durations.text(total / 1e9)} in all"
        yield chart.Panel("CPUs used", values, _cpus, whole)
    elif metric == "memory":
        kib = [one.memory for one in found.series]
        text = partial(COLUMNS["resident_kib"].text, units=units)
        yield chart.Panel("memory", kib, text)
    else:
        for name, place, key in (
            ("read from storage", READ, "read_bytes"),
            ("written to storage", WRITE, "write_bytes"),
        ):
            values = [rates(one, place) for one in found.series]
            total = sum_known(one.total(place) for one in found.series)
            text = partial(COLUMNS[key].text, units=units)
            whole = "" if total is None else f", {text(total)} in all"
            yield chart.Panel(f"{name} per second", values, text, whole)


def _cpus(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _label(key: Key) -> str:
    """A key as people read it: nginx (service)."""
    first, *more = (None if part is None else printable(part) for part in key)
    return " ".join([first or "-", *(f"({part})" for part in more if part)])


def _legend(found: Timeline, metric: str, style: chart.Style, units: str) -> list[str]:
    """The name of each series, and how much it had of the metric by which they are ranked."""
    weights = [weight(one, metric) for one in found.series]
    whole = sum(weights) or 1
    texts = [_said(weight, metric, units) for weight in weights]
    labels = [_label(one.key) for one in found.series]
    widths = [max(map(len, column), default=0) for column in (labels, texts)]
    return [
        f"{chart.mark(number, style)}  {label:<{widths[0]}}  {text:>{widths[1]}}"
        + ("" if metric == "memory" else f"  {100 * weight / whole:3.0f} %")
        for number, (label, text, weight) in enumerate(zip(labels, texts, weights, strict=True))
    ]


def _said(weight: int, metric: str, units: str) -> str:
    if metric == "cpu":
        return durations.text(weight / 1e9)
    if metric == "memory":
        return f"most {COLUMNS['resident_kib'].text(weight, units)}"
    return COLUMNS["read_bytes"].text(weight, units)
