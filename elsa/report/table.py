"""Aligned text for people, as wide as it is, or made to fit a terminal: texts are cut, marked by a +, before columns are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elsa.report.columns import COLUMNS
from elsa.report.output import Output

_GAP = 2
# No text is cut shorter than this to make room; below it, what was cut says nothing any more.
_LEAST = 10
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_RULE = "-"
# Stands where text was cut, and at the end of the headings where columns were left out.
_CUT = "+"


def heading(key: str, units: str = "auto") -> tuple[str, str]:
    """A column's heading and unit; raw values stand under the name that programs know."""
    return (key, "") if units == "raw" else (COLUMNS[key].heading, COLUMNS[key].unit)


def table(shown: tuple[str, ...], rows: Sequence[tuple[Any, ...]], output: Output) -> tuple[str, list[str]]:
    """The table, and what to say of columns that are not in it."""
    chosen = [COLUMNS[key] for key in shown]
    cells = [[column.text(value, output.units) for column, value in zip(chosen, row, strict=True)] for row in rows]
    headings = [heading(key, output.units) for key in shown]
    asked = output.widths()
    left = [not column.right if asked.get(column.key, 0) >= 0 else True for column in chosen]
    widths = [
        abs(asked.get(column.key, 0)) or max(len(text) for text in (*headings[place], *(row[place] for row in cells)))
        for place, column in enumerate(chosen)
    ]
    kept, words = len(widths), []
    if output.width is not None and output.columns is None:
        kept, widths = _fit(widths, left, output.width)
        if kept < len(shown):
            words = [f"the terminal is too narrow for {', '.join(shown[kept:])}; --columns chooses what to show"]
    top = _headings(headings, widths[:kept], left, output) if output.header else []
    return "\n".join([*top, *(_line(row, widths[:kept], left) for row in cells)]), words


def _fit(widths: list[int], flexible: list[bool], room: int) -> tuple[int, list[int]]:
    """How many columns fit, and how wide each is then."""
    for kept in range(len(widths), 0, -1):
        cut = widths[:kept]
        mark = 0 if kept == len(widths) else _GAP
        over = sum(cut) + _GAP * (kept - 1) + mark - room
        while over > 0:
            places = [place for place in range(kept) if flexible[place] and cut[place] > _LEAST]
            if not places:
                break
            cut[max(places, key=lambda place: cut[place])] -= 1
            over -= 1
        if over <= 0 or kept == 1:
            return kept, cut
    return 0, []


def _headings(headings: Sequence[tuple[str, str]], widths: list[int], left: list[bool], output: Output) -> list[str]:
    lines = [_line([name for name, _ in headings], widths, left)]
    if len(widths) < len(headings):
        lines[0] += f" {_CUT}"
    if any(unit for _, unit in headings[: len(widths)]):
        lines.append(_line([unit for _, unit in headings], widths, left))
    if output.colour:
        lines = [f"{_BOLD}{line}{_PLAIN}" for line in lines]
    return [*lines, (" " * _GAP).join(_RULE * width for width in widths)]


def _line(row: Sequence[str], widths: list[int], left: list[bool]) -> str:
    parts = []
    for text, width, to_the_left in zip(row, widths, left, strict=False):
        shown = text if len(text) <= width else text[: width - 1] + _CUT
        parts.append(shown.ljust(width) if to_the_left else shown.rjust(width))
    return (" " * _GAP).join(parts).rstrip()
