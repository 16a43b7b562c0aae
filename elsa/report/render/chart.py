"""Charts of series over time as text: panels of columns over one axis, in eighths of a character
or in plain ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

PLAIN_WIDTH = 80
"""The width where there is no terminal."""
_HEIGHT = 5
# Of stacked series, whose parts are whole characters.
_STACK_HEIGHT = 8
_MARGIN = 12
_LEAST_ROOM = 20
_EIGHTHS = "▁▂▃▄▅▆▇█"
_ASCII = ".:#"
_GAP, _ASCII_GAP = "░", "?"
# Marks and colours of stacked series, in their order.
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COLOURS = ("34", "32", "33", "35", "36", "31", "94", "92", "93", "95", "96", "91")
_REVERSE = "7;"
_BAR_COLOUR, _DIM = "32", "2"
_DAY_S, _WEEK_S = 86_400, 604_800
# Distances of the times on the axis. Steps of a day and longer are all named, if there is room.
_ROUND_S = (
    *(1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600 * hours for hours in (1, 2, 3, 4, 6, 12, 24)),
)
Values = Sequence[float | None]


class Style(NamedTuple):
    """How to draw."""

    width: int
    blocks: bool
    """Draw in eighths of a character and with lines, else in ASCII."""
    colour: bool = False


class Panel(NamedTuple):
    """One figure over time."""

    name: str
    series: Sequence[Values]
    """Stacked, the first at the bottom; None is drawn as a gap."""
    text: Callable[[float], str]
    """A value as people read it."""
    whole: str = ""
    """What is said of it after the most."""


def room(width: int) -> int:
    """How many columns a chart has at most."""
    return max(width - _MARGIN, _LEAST_ROOM)


def mark(number: int, style: Style) -> str:
    """What stands for a series in a stack."""
    return _coloured(_LETTERS[number % len(_LETTERS)], _colour(number), style)


def _colour(number: int) -> str:
    return _REVERSE + _COLOURS[number % len(_COLOURS)]


def panels(
    drawn: Sequence[Panel], starts_s: Sequence[int], length_s: int, style: Style
) -> list[str]:
    """The lines of the panels, and of the axis: starts of the steps in seconds since 1970."""
    labels = max(len(_most(panel)) for panel in drawn)
    wide = max((style.width - labels - 2) // len(starts_s), 1)
    lines: list[str] = []
    for panel in drawn:
        lines += _panel(panel, starts_s, length_s, wide, labels, style)
    corner, line = "└─" if style.blocks else "+-"
    lines.append(f"{'':>{labels}} {corner}{line * (wide * len(starts_s))}")
    return [*lines, f"{'':>{labels + 2}}{_times(starts_s, length_s, wide)}"]


def _panel(
    panel: Panel, starts_s: Sequence[int], length_s: int, wide: int, labels: int, style: Style
) -> list[str]:
    totals = _totals(panel)
    known = [value for value in totals if value is not None]
    if not known:
        return [_bold(f"{panel.name}: not known", style)]
    most = max(known)
    if most <= 0:
        return [_bold(f"{panel.name}: none", style)]
    at = f" at {_moment(starts_s[totals.index(most)], starts_s, length_s)}"
    said = f"most {panel.text(most)}{at}{panel.whole}"
    rows = (
        _bars(totals, most, style)
        if len(panel.series) == 1
        else _stack(panel.series, totals, most, style)
    )
    margin = [_most(panel), *[""] * (len(rows) - 2), "0"]
    bar = "│" if style.blocks else "|"
    lines = [
        f"{label:>{labels}} {bar}" + _joined(cells, wide, style)
        for label, cells in zip(margin, rows, strict=True)
    ]
    return [_bold(f"{panel.name}: {said}", style), *(line.rstrip() for line in lines)]


def _most(panel: Panel) -> str:
    known = [value for value in _totals(panel) if value is not None]
    return panel.text(max(known)) if known else "-"


def _totals(panel: Panel) -> list[float | None]:
    totals: list[float | None] = []
    for values in zip(*panel.series, strict=True):
        known = [value for value in values if value is not None]
        totals.append(sum(known) if known else None)
    return totals


Cells = list[tuple[str, str]]
"""Characters with their colours."""


def _bars(totals: Values, most: float, style: Style) -> list[Cells]:
    """One series; a value above 0 is always visible."""
    parts = _EIGHTHS if style.blocks else _ASCII
    rows: list[Cells] = []
    for row in reversed(range(_HEIGHT)):
        cells: Cells = []
        for value in totals:
            if value is None:
                cells.append(_gap(row, style))
                continue
            level = max(round(value / most * _HEIGHT * len(parts)), 1) if value > 0 else 0
            filled = min(max(level - row * len(parts), 0), len(parts))
            cells.append((parts[filled - 1] if filled else " ", _BAR_COLOUR))
        rows.append(cells)
    return rows


def _stack(series: Sequence[Values], totals: Values, most: float, style: Style) -> list[Cells]:
    """Each cell has the letter of the series at its middle. A value above 0 of which that leaves
    nothing is a small letter at the bottom.
    """
    rows: list[Cells] = []
    for row in reversed(range(_STACK_HEIGHT)):
        cells: Cells = []
        for place, total in enumerate(totals):
            if total is None:
                cells.append(_gap(row, style))
                continue
            values = [max(values[place] or 0, 0) for values in series]
            middle = (row + 0.5) / _STACK_HEIGHT * most
            number = _at(values, middle)
            text = " " if number is None else _LETTERS[number % len(_LETTERS)]
            if number is None and row == 0 and total > 0:
                number = values.index(max(values))
                text = _LETTERS[number % len(_LETTERS)].lower()
            cells.append((text, _colour(number or 0)))
        rows.append(cells)
    return rows


def _at(values: Sequence[float], height: float) -> int | None:
    """Which of stacked values is at a height."""
    below = 0.0
    for number, value in enumerate(values):
        below += value
        if height <= below and value > 0:
            return number
    return None


def _gap(row: int, style: Style) -> tuple[str, str]:
    if style.blocks:
        return _GAP, _DIM
    return (_ASCII_GAP if row == 0 else " "), _DIM


def _joined(cells: Cells, wide: int, style: Style) -> str:
    return "".join(
        _coloured("".join(text * wide for text, _ in group), colour, style)
        for colour, group in groupby(cells, key=itemgetter(1))
    )


def _coloured(text: str, colour: str, style: Style) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if style.colour and text.strip() else text


def _bold(text: str, style: Style) -> str:
    return f"\x1b[1m{text}\x1b[0m" if style.colour else text


def _time(at_s: int, length_s: int) -> str:
    """The start of a step on this host's clock."""
    at = datetime.fromtimestamp(at_s)
    if length_s > _WEEK_S:
        return f"{at:%Y-%m}"
    if length_s >= _DAY_S:
        return f"{at:%m-%d}"
    return f"{at:%H:%M:%S}" if at.second or length_s < 60 else f"{at:%H:%M}"


def _days(starts_s: Sequence[int]) -> set[date]:
    return {datetime.fromtimestamp(at_s).date() for at_s in starts_s}


def _moment(at_s: int, starts_s: Sequence[int], length_s: int) -> str:
    """The start of a step, with the date if there are several days."""
    text = _time(at_s, length_s)
    if length_s >= _DAY_S or len(_days(starts_s)) == 1:
        return text
    return f"{_time(at_s, _DAY_S)} {text}"


def _times(starts_s: Sequence[int], length_s: int, wide: int) -> str:
    """Round times below their columns; at midnight the date, if there are several days."""
    days = _days(starts_s)
    longest = len(_time(starts_s[0] // length_s * length_s, length_s)) + 2
    round_s = next(
        (
            distance_s
            for distance_s in _ROUND_S
            if distance_s % length_s == 0 and distance_s // length_s * wide >= longest
        ),
        _DAY_S,
    )
    line = ""
    for place, at_s in enumerate(starts_s):
        at = datetime.fromtimestamp(at_s)
        of_day_s = at.hour * 3600 + at.minute * 60 + at.second
        if length_s < _DAY_S and of_day_s % round_s:
            continue
        text = _time(at_s, length_s if of_day_s or len(days) == 1 else max(length_s, _DAY_S))
        if not line or place * wide >= len(line) + 2:
            line = f"{line:<{place * wide}}{text}"
    return line or _time(starts_s[0], length_s)
