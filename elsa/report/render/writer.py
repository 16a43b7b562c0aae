"""Write a report as a table for people, or as csv, tsv, json, jsonl or sacct's parsable for
programs.

Programs get raw values, and null or an empty field for unknown values. Control characters in names
are escaped, so that a name cannot control the reader's terminal.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from elsa.report.render import table
from elsa.report.render.columns import COLUMNS, Column
from elsa.report.render.output import Output
from elsa.text import printable

Row = tuple[Any, ...]
# Characters that start a formula in a spreadsheet, also in their full-width forms, and the quote
# that marks text.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")


@dataclass
class Report:
    """Rows, their columns, and notes on them."""

    columns: tuple[str, ...]
    """Keys of COLUMNS, in the order of the rows' values."""
    shown: tuple[str, ...]
    """The columns to write, in this order."""
    rows: Iterable[Row]
    """May be a cursor, which is then read while the rows are written."""
    words: list[str] = field(default_factory=list)
    """Notes on what is missing or uncertain; complete once the rows have been written."""
    nothing: Callable[[], str] = lambda: "nothing is recorded yet"
    """Returns the message to print if there are no rows; it may query the warehouse."""
    completeness: Callable[[], dict[str, Any]] = dict
    """Returns for programs what the notes say of completeness; it may query the warehouse."""
    sorted_by: tuple[str, ...] = ()
    """What the rows are sorted by without --sort, so that narrow terminals show it too."""


def write(report: Report, output: Output, out: TextIO) -> int:
    """Write a report; return the number of rows. If a narrow terminal hides columns, a note is
    added to the report.
    """
    rows = written(report)
    if output.form == "table":
        every = list(rows)
        if every:
            text, words = table.table(report.shown, every, output, report.sorted_by)
            out.write(text + "\n")
            report.words += words
        return len(every)
    writers = {"csv": _csv, "tsv": _lines, "parsable": _lines, "json": _json, "jsonl": _jsonl}
    return writers[output.form](report.shown, rows, output, out)


def written(report: Report) -> Iterable[Row]:
    """The rows with the values of the shown columns only."""
    if report.columns == report.shown:
        return report.rows
    places = [report.columns.index(key) for key in report.shown]
    return (tuple(row[place] for place in places) for row in report.rows)


def as_object(columns: Iterable[str], row: Row) -> dict[str, Any]:
    """A row as a json object."""
    return {
        key: None if value is None else COLUMNS[key].machine(value)
        for key, value in zip(columns, row, strict=True)
    }  # fmt: skip


def as_json(value: object, indent: int | None = None) -> str:
    """Json text without characters that control a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def write_parts(parts: Mapping[str, Report], output: Output, out: TextIO) -> None:
    """Write several reports as one json object, with every column."""
    rows = {
        name: [as_object(part.columns, row) for row in part.rows] for name, part in parts.items()
    }
    out.write(as_json(rows, indent=2 if output.form == "json" else None) + "\n")


def block(
    columns: tuple[str, ...],
    row: Row,
    shown: Collection[str],
    unknown: Mapping[str, str] | None = None,
    units: str = "auto",
) -> str:
    """A row as lines of heading and value. `unknown` has texts for values that are not known."""
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
    # Programs often read csv line by line, so control characters in names and tags are escaped, as
    # in a table.
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
    """Text for a spreadsheet. A quote before it keeps it from being run as a formula.

    Text that starts with a quote gets another, so that different texts stay different.
    """
    text = printable(value)
    return text if raw or not text.lstrip().startswith(_FORMULA) else f"'{text}"


def _lines(columns: tuple[str, ...], rows: Iterable[Row], output: Output, out: TextIO) -> int:
    """Write values separated by tabs, or by bars as `sacct --parsable2` does. Bars and tabs in
    values are escaped.
    """
    mark = "\t" if output.form == "tsv" else "|"
    if output.header:
        out.write(mark.join(columns) + "\n")
    formats = [COLUMNS[key] for key in columns]
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007
        cells = (
            "" if value is None else _parsable(column, value, output)
            for column, value in zip(formats, row, strict=True)
        )
        out.write(mark.join(cells) + "\n")
    return count


def _parsable(column: Column, value: Any, output: Output) -> str:  # noqa: ANN401
    """A known value: raw, but sizes in the unit that was asked for."""
    if column.size and output.units not in ("auto", "raw"):
        value = column.text(value, output.units)
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
