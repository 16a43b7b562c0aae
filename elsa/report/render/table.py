"""Tables for people. To fit a terminal, long texts are cut and marked by a +; if that is not
enough, columns are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output

_GAP = 2
# To make room, texts are not cut shorter than this; shorter texts would be useless.
_LEAST = 10
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_RULE = "-"
# Marks text that was cut, and headings where columns were left out.
_CUT = "+"


def heading(key: str, units: str = "auto") -> tuple[str, str]:
    """A column's heading and unit; for raw values, the name that programs use."""
    return (key, "") if units == "raw" else (COLUMNS[key].heading, COLUMNS[key].heading_unit)


def table(
    shown: tuple[str, ...], rows: Sequence[tuple[Any, ...]], output: Output
) -> tuple[str, list[str]]:
    """The table, and notes on columns that were left out."""
    chosen = [COLUMNS[key] for key in shown]
    # Column by column is faster, since there may be many rows but only few columns.
    cells = [
        [column.text(value, output.units) for value in values]
        for column, values in zip(chosen, zip(*rows, strict=True), strict=True)
    ]
    headings = [heading(key, output.units) for key in shown]
    asked = output.widths()
    left = [not column.right if asked.get(column.key, 0) >= 0 else True for column in chosen]
    widths = [
        abs(asked.get(column.key, 0)) or max(map(len, (*heads, *texts)))
        for column, heads, texts in zip(chosen, headings, cells, strict=True)
    ]
    kept, words = len(widths), []
    if output.width is not None and output.columns is None:
        kept, widths = _fit(widths, left, output.width)
        if kept < len(shown):
            words = [
                f"the terminal is too narrow for {', '.join(shown[kept:])}; --columns chooses what"
                " to show"
            ]
    top = _headings(headings, widths[:kept], left, output) if output.header else []
    return "\n".join([*top, *_lines(cells, widths[:kept], left)]), words


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


def _headings(
    headings: Sequence[tuple[str, str]], widths: list[int], left: list[bool], output: Output
) -> list[str]:
    lines = [_line([name for name, _ in headings], widths, left)]
    if len(widths) < len(headings):
        lines[0] += f" {_CUT}"
    if any(unit for _, unit in headings[: len(widths)]):
        lines.append(_line([unit for _, unit in headings], widths, left))
    if output.colour:
        lines = [f"{_BOLD}{line}{_PLAIN}" for line in lines]
    return [*lines, (" " * _GAP).join(_RULE * width for width in widths)]


def _line(row: Sequence[str], widths: list[int], left: list[bool]) -> str:
    return _lines([[text] for text in row], widths, left)[0]


def _lines(columns: Sequence[list[str]], widths: list[int], left: list[bool]) -> list[str]:
    """A line for each row, with as many columns as there are widths."""
    padded = [
        _padded(texts, width, "<" if to_the_left else ">")
        for texts, width, to_the_left in zip(columns, widths, left, strict=False)
    ]
    return [line.rstrip() for line in map((" " * _GAP).join, zip(*padded, strict=True))]


def _padded(texts: list[str], width: int, side: str) -> list[str]:
    """Texts padded to a width, or cut to it and marked."""
    cell = f"{{:{side}{width}}}".format
    return [cell(text if len(text) <= width else text[: width - 1] + _CUT) for text in texts]
