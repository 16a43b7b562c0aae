"""Usage over time as stacked bars, for the templates to draw: without a script, and each step is a
link to what was used in it.

Widths are in percent and heights in pixels, so that a chart fits any screen and its texts keep
their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from elsa.formats import local_time
from elsa.report.render.columns import COLUMNS
from elsa.report.render.writer import Report
from elsa.text import printable

HEIGHT = 180
"""Of the bars, in pixels."""
_LABELS = 6
_KEYS = ("name", "kind", "user", "host", "command")


class Bar(NamedTuple):
    """A part of a step."""

    y: float
    height: float
    series: int


class Step(NamedTuple):
    """A step with its bars."""

    x: float
    width: float
    bars: list[Bar]
    title: str
    href: str | None


class Label(NamedTuple):
    """A time at the axis, so many percent from its start."""

    at: float
    text: str


class Chart(NamedTuple):
    """A chart with its legend."""

    title: str
    steps: list[Step]
    times: list[Label]
    values: list[str]
    """At the top, in the middle and at the bottom of the axis."""
    legend: list[str]
    height: int = HEIGHT


def chart(
    report: Report, key: str, title: str, link: Callable[[str, str], str] | None = None
) -> Chart | None:
    """The chart of a figure of the rows of a timeline; None if nothing is known of it. `link` gives
    the address for a step.
    """
    columns = report.columns
    since, until, value = (columns.index(name) for name in ("since_at", "until_at", key))
    places = [columns.index(name) for name in _KEYS if name in columns]
    rows = list(report.rows)
    names = list(dict.fromkeys(_name([row[place] for place in places]) for row in rows))
    steps = list(dict.fromkeys((row[since], row[until]) for row in rows))
    known: dict[tuple[str, str], float] = {}
    for row in rows:
        if row[value] is not None:
            known[row[since], _name([row[place] for place in places])] = row[value]
    if not known:
        return None
    totals = [sum(known.get((start, name), 0) for name in names) for start, _ in steps]
    most = max(totals) or 1
    text = COLUMNS[key].text
    drawn = [
        Step(
            round(100 * number / len(steps), 3),
            round(100 / len(steps), 3),
            _stacked([known.get((start, name), 0) for name in names], most),
            f"{local_time(start)} to {local_time(end)}: {text(total)}",
            None if link is None else link(start, end),
        )
        for number, ((start, end), total) in enumerate(zip(steps, totals, strict=True))
    ]
    return Chart(title, drawn, _times([start for start, _ in steps]), _values(most, text), names)


def _values(most: float, text: Callable[[float], str]) -> list[str]:
    """The values at the axis; those of small ones with as many digits as tell them apart."""
    marks = (most, most / 2, 0.0)
    values = [text(mark) for mark in marks]
    return values if len(set(values)) == len(values) else [f"{mark:.2g}" for mark in marks]


def _name(parts: Sequence[str | None]) -> str:
    first, *more = [None if part is None else printable(part) for part in parts] or [""]
    return " ".join([first or "-" if parts else "", *(f"({part})" for part in more if part)])


def _stacked(values: Sequence[float], most: float) -> list[Bar]:
    bars = []
    below = 0.0
    for series, value in enumerate(values):
        height = HEIGHT * value / most
        if height > 0:
            bars.append(Bar(round(HEIGHT - below - height, 2), round(height, 2), series))
        below += height
    return bars


def _times(starts: Sequence[str]) -> list[Label]:
    """Times at the axis: of the day if all steps are within two days."""
    apart = max(1, -(-len(starts) // _LABELS))
    texts = [local_time(start) for start in starts]
    days = {text[:10] for text in texts}
    part = slice(11, 16) if len(days) <= 2 else slice(5, 10)
    return [
        Label(round(100 * place / len(starts), 3), texts[place][part])
        for place in range(0, len(starts), apart)
    ]
