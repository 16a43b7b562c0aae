"""Writing a report as a table for people, or as csv, tsv, json, jsonl or sacct's parsable for
programs.

Programs get raw values, and null or nothing for what is unknown. Whoever chose a name cannot move a
reader's cursor with it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from elsa.report.render import table
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output
from elsa.text import printable

Row = tuple[Any, ...]
# What a spreadsheet takes for the beginning of a formula, the wide forms of East Asia too, and the
# quote that makes text of it.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")


@dataclass
class Report:
    """Rows, what their columns are, and what must be said beside them."""

    columns: tuple[str, ...]
    """Keys of COLUMNS, in the order of the rows' values."""
    shown: tuple[str, ...]
    """Those of them that are written, in their order."""
    rows: Iterable[Row]
    """May be a cursor: then it is read while it is written."""
    words: list[str] = field(default_factory=list)
    """What is missing or doubtful; complete only when the rows have been written."""
    nothing: Callable[[], str] = lambda: "nothing is recorded yet"
    """Tells what to say when there are no rows; it may look that up."""


def write(report: Report, output: Output, out: TextIO) -> int:
    """Write a report; returns the number of rows. What a narrow terminal hides is added to its
    words.
    """
    rows = written(report)
    if output.form == "table":
        found = list(rows)
        if found:
            text, words = table.table(report.shown, found, output)
            out.write(text + "\n")
            report.words += words
        return len(found)
    writers = {"csv": _csv, "tsv": _lines, "parsable": _lines, "json": _json, "jsonl": _jsonl}
    return writers[output.form](report.shown, rows, output, out)


def written(report: Report) -> Iterable[Row]:
    """The rows with the values that are written, in their order."""
    if report.columns == report.shown:
        return report.rows
    places = [report.columns.index(key) for key in report.shown]
    return (tuple(row[place] for place in places) for row in report.rows)


def as_object(columns: Iterable[str], row: Row) -> dict[str, Any]:
    """One row as json carries it."""
    return {
        key: None if value is None else COLUMNS[key].machine(value)
        for key, value in zip(columns, row, strict=True)
    }  # fmt: skip


def as_json(value: object, indent: int | None = None) -> str:
    """Json in which no character can move the cursor of a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def block(
    columns: tuple[str, ...],
    row: Row,
    shown: Collection[str],
    unknown: Mapping[str, str] | None = None,
    units: str = "auto",
) -> str:
    """One row as lines of heading and value; `unknown` has what to say of single values that are
    not known.
    """
    values = dict(zip(columns, row, strict=True))
    headings = {key: table.heading(key, units) for key in shown}
    width = max(len(name) for name, _ in headings.values())
    lines = []
    for key, (name, unit) in headings.items():
        text = (unknown or {}).get(key) if values[key] is None else None
        after = f" {unit}" if unit and values[key] is not None else ""
        lines.append(
            f"{name:<{width}}  {text or COLUMNS[key].text(values[key], units)}{after}".rstrip()
        )
    return "\n".join(lines)


def _csv(columns: tuple[str, ...], rows: Iterable[Row], output: Output, out: TextIO) -> int:
    # What reads csv often reads it by lines, so a control character in a job's name or tag is
    # spelled out, as in a table.
    writer = csv.writer(out, lineterminator="\n")
    if output.header:
        writer.writerow(columns)
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007
        writer.writerow(
            [_cell(value, raw=output.raw) if isinstance(value, str) else value for value in row]
        )
    return count


def _cell(value: str, *, raw: bool) -> str:
    """Text for a spreadsheet, which would run it as a formula if it began so.

    One that begins with a quote gets another, so that no two texts become the same.
    """
    text = printable(value)
    return text if raw or not text.lstrip().startswith(_FORMULA) else f"'{text}"


def _lines(columns: tuple[str, ...], rows: Iterable[Row], output: Output, out: TextIO) -> int:
    """Values between tabs, or as `sacct --parsable2` between bars; a bar or tab inside a value is
    spelled out.
    """
    mark = "\t" if output.form == "tsv" else "|"
    if output.header:
        out.write(mark.join(columns) + "\n")
    formats = [COLUMNS[key] for key in columns]
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007
        cells = ("" if value is None else _raw(column.text(value, output.units) if _sized(column.size, output) else value)
                 for column, value in zip(formats, row, strict=True))  # fmt: skip
        out.write(mark.join(cells) + "\n")
    return count


def _sized(size: int, output: Output) -> bool:
    return bool(size) and output.units not in ("auto", "raw")


def _raw(value: object) -> str:
    return printable(value).replace("|", "\\x7c")


def _objects(columns: tuple[str, ...], rows: Iterable[Row]) -> Iterator[str]:
    return (as_json(as_object(columns, row)) for row in rows)


def _json(columns: tuple[str, ...], rows: Iterable[Row], _: Output, out: TextIO) -> int:
    count = 0
    out.write("[")
    for count, text in enumerate(_objects(columns, rows), start=1):
        out.write(("\n" if count == 1 else ",\n") + text)
    out.write("\n]\n" if count else "]\n")
    return count


def _jsonl(columns: tuple[str, ...], rows: Iterable[Row], _: Output, out: TextIO) -> int:
    count = 0
    for count, text in enumerate(_objects(columns, rows), start=1):  # noqa: B007
        out.write(text + "\n")
    return count
