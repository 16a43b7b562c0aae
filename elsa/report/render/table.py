"""Tables for people, of reports and of all other commands. To fit a terminal, the least important
columns are left out, then long texts are cut and marked by a +.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from elsa.formats import local_time
from elsa.report.render.columns import COLUMNS, Column
from elsa.report.render.output import Output

_GAP = 2
# Names are not cut shorter than this for the sake of other columns, and other texts not shorter
# than that.
_LEAST_NAME = 32
_LEAST_TEXT = 10
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_RULE = "-"
# Marks text that was cut, and headings where columns were left out.
_CUT = "+"

# What a report is about; besides, its first column and those it is sorted by are always shown: the
# latter first of all, where there is not even room for these.
_ALWAYS = {"name", "command", "what", "tree", "started_at", "at", "hour", "day", "month"}
# The least important first; what is not listed is more important.
_LEAST_IMPORTANT = (
    *("records", "running", "system_s", "user_s", "forked_only", "record", "how", "flags", "ppid"),
    *(
        "ended_at",
        "first_ended_at",
        "last_ended_at",
        "tty",
        "elapsed_s",
        "owner",
        "kind",
        *("write_bytes_s", "read_bytes_s", "resident_kib", "alive"),
        "write_bytes",
        "read_bytes",
        "complete",
    ),
    *("rss_kib", "processes", "state", "cpus"),
)


@dataclass
class Cells:
    """One column of a table as text."""

    heading: str
    texts: list[str]
    unit: str = ""
    left: bool = True
    """Text stands to the left, numbers to the right."""
    least: int | None = None
    """Texts may be cut to this width to make room; None means never."""
    importance: int = 0
    """The columns with the smallest are left out first."""
    width: int = 0
    """If not 0: this width, as was asked for."""

    @property
    def natural(self) -> int:
        """The width at which nothing is cut."""
        return self.width or max(map(len, (self.heading, self.unit, *self.texts)))

    @property
    def narrowest(self) -> int:
        """The width that the column needs at least."""
        return self.natural if self.least is None else min(self.natural, self.least)


def heading(key: str, units: str = "auto") -> tuple[str, str]:
    """A column's heading and unit; for raw values, the name that programs use."""
    return (key, "") if units == "raw" else (COLUMNS[key].heading, COLUMNS[key].heading_unit)


def table(
    shown: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    output: Output,
    sorted_by: Iterable[str] = (),
) -> tuple[str, list[str]]:
    """The table, and notes on columns that were left out. `sorted_by` is for reports without
    --sort.
    """
    asked = output.widths(shown)
    sorting = set(output.sorted_by(shown) or sorted_by)
    always = _ALWAYS | {shown[0], *sorting}
    # Column by column is faster, since there may be many rows but only few columns.
    cells = [
        _cells(
            COLUMNS[key],
            values,
            output,
            asked.get(key, 0),
            always=key in always,
            sorts=key in sorting,
        )
        for key, values in zip(shown, zip(*rows, strict=True), strict=True)
    ]
    room = None if output.columns is not None else output.width
    lines, left_out = lay_out(cells, room, header=output.header, colour=output.colour)
    if not left_out:
        return "\n".join(lines), []
    names = ", ".join(shown[place] for place in left_out)
    return "\n".join(lines), [
        f"the terminal is too narrow for {names}; --columns chooses what to show"
    ]


def _cells(
    column: Column,
    values: Iterable[Any],
    output: Output,
    width: int,
    *,
    always: bool,
    sorts: bool,
) -> Cells:
    name, unit = heading(column.key, output.units)
    importance = len(_LEAST_IMPORTANT)
    if always:
        importance += 2 if sorts else 1
    elif column.key in _LEAST_IMPORTANT:
        importance = _LEAST_IMPORTANT.index(column.key)
    least = None
    if not column.right and column.format is not local_time:
        least = _LEAST_NAME if always else _LEAST_TEXT
    return Cells(
        name,
        [column.text(value, output.units) for value in values],
        unit,
        not column.right if width >= 0 else True,
        least,
        importance,
        abs(width),
    )


def plain(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    room: int | None = None,
    least_important: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """The lines of a table of text, and the headings of columns that were left out."""
    columns = list(zip(*rows, strict=True)) or [()] * len(headings)
    cells = [
        Cells(
            name,
            list(texts),
            left=name not in right,
            least=None if name in right else _LEAST_NAME,
            importance=(*least_important, name).index(name),
        )
        for name, texts in zip(headings, columns, strict=True)
    ]
    lines, left_out = lay_out(cells, room, header=any(headings))
    return lines, [headings[place] for place in left_out]


def lay_out(
    cells: Sequence[Cells], room: int | None, *, header: bool = True, colour: bool = False
) -> tuple[list[str], list[int]]:
    """The lines of a table that fit into this room, and the places of columns that are left out."""
    kept, widths = _fit(cells, room)
    shown = [cells[place] for place in kept]
    top = _headings(shown, widths, cut=len(kept) < len(cells), colour=colour) if header else []
    lines = [*top, *_lines([column.texts for column in shown], shown, widths)]
    return lines, [place for place in range(len(cells)) if place not in kept]


def _fit(cells: Sequence[Cells], room: int | None) -> tuple[list[int], list[int]]:
    """The places of the columns that are shown, and their widths."""
    every = list(range(len(cells)))
    if room is None:
        return every, [column.natural for column in cells]
    mark = 0
    if sum(column.narrowest + _GAP for column in cells) - _GAP > room:
        mark = _GAP
    kept: list[int] = []
    total = mark - _GAP
    for place in sorted(every, key=lambda place: -cells[place].importance):
        width = cells[place].narrowest + _GAP
        if total + width <= room or not kept:
            kept.append(place)
            total += width
    kept.sort()
    shown = [cells[place] for place in kept]
    if len(shown) == 1 and shown[0].least is not None:
        return kept, [min(shown[0].natural, room - mark)]
    return kept, _cut(shown, room - mark)


def _cut(cells: Sequence[Cells], room: int) -> list[int]:
    """The widths of columns, the widest texts cut until all fit."""
    widths = [column.natural for column in cells]
    over = sum(widths) + _GAP * (len(cells) - 1) - room
    while over > 0:
        places = [place for place, width in enumerate(widths) if width > cells[place].narrowest]
        if not places:
            break
        widths[max(places, key=lambda place: widths[place])] -= 1
        over -= 1
    return widths


def _headings(cells: Sequence[Cells], widths: list[int], *, cut: bool, colour: bool) -> list[str]:
    lines = _lines([[column.heading] for column in cells], cells, widths)
    if cut:
        lines[0] += f" {_CUT}"
    if any(column.unit for column in cells):
        lines += _lines([[column.unit] for column in cells], cells, widths)
    if colour:
        lines = [f"{_BOLD}{line}{_PLAIN}" for line in lines]
    return [*lines, (" " * _GAP).join(_RULE * width for width in widths)]


def _lines(texts: Sequence[list[str]], cells: Sequence[Cells], widths: list[int]) -> list[str]:
    padded = [
        _padded(column, width, "<" if of.left else ">")
        for column, of, width in zip(texts, cells, widths, strict=True)
    ]
    return [line.rstrip() for line in map((" " * _GAP).join, zip(*padded, strict=True))]


def _padded(texts: list[str], width: int, side: str) -> list[str]:
    """Texts padded to a width, or cut to it and marked."""
    cell = f"{{:{side}{width}}}".format
    return [cell(text if len(text) <= width else text[: width - 1] + _CUT) for text in texts]
