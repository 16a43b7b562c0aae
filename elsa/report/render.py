"""Writing a report as a table for people, or as csv, json or jsonl for programs, which get raw values and null for unknown."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from elsa.report.columns import COLUMNS, printable

FORMATS = ("table", "csv", "json", "jsonl")
Row = tuple[Any, ...]


@dataclass
class Report:
    """Rows, what their columns are, and what must be said beside them."""

    columns: tuple[str, ...]
    """Keys of COLUMNS, in the order of the rows' values: what programs get."""
    shown: tuple[str, ...]
    """Those of them that a table shows."""
    rows: Iterable[Row]
    """May be a cursor: then it is read while it is written."""
    words: list[str] = field(default_factory=list)
    """What is missing or doubtful; complete only when the rows have been read."""
    nothing: str = "nothing is recorded yet"
    """What to say when there are no rows."""


def write(report: Report, form: str, out: TextIO) -> int:
    """Write a report in one of FORMATS; returns the number of rows."""
    writers = {"table": _table, "csv": _csv, "json": _json, "jsonl": _jsonl}
    return writers[form](report, out)


def as_object(columns: Iterable[str], row: Row) -> dict[str, Any]:
    """One row as json carries it."""
    return {
        key: None if value is None else COLUMNS[key].machine(value)
        for key, value in zip(columns, row, strict=True)
    }  # fmt: skip


def block(columns: tuple[str, ...], row: Row, shown: Collection[str], unknown: Mapping[str, str] | None = None) -> str:
    """One row as lines of heading and value; `unknown` has what to say of single values that are not known."""
    values = dict(zip(columns, row, strict=True))
    width = max(len(COLUMNS[key].heading) for key in shown)
    lines = []
    for key in shown:
        column = COLUMNS[key]
        unit = f" {column.unit}" if column.unit and values[key] is not None else ""
        text = (unknown or {}).get(key) if values[key] is None else None
        lines.append(f"{column.heading:<{width}}  {text or column.text(values[key])}{unit}".rstrip())
    return "\n".join(lines)


def _table(report: Report, out: TextIO) -> int:
    rows = list(report.rows)
    if rows:
        out.write(table(report.columns, report.shown, rows) + "\n")
    return len(rows)


def table(columns: tuple[str, ...], shown: tuple[str, ...], rows: Iterable[Row]) -> str:
    """Aligned text with headings and units."""
    import tabulate  # slow to import, and programs do not need it

    tabulate.PRESERVE_WHITESPACE = True
    places = [columns.index(key) for key in shown]
    chosen = [COLUMNS[key] for key in shown]
    cells = [[column.text(row[place]) for column, place in zip(chosen, places, strict=True)] for row in rows]
    units = any(column.unit for column in chosen)
    return tabulate.tabulate(
        cells,
        headers=[f"{column.heading}\n{column.unit}" if units else column.heading for column in chosen],
        tablefmt="simple",
        colalign=["right" if column.right else "left" for column in chosen],
        disable_numparse=True,
    )


def _csv(report: Report, out: TextIO) -> int:
    # What reads csv often reads it by lines, so a control character in a job's name or tag is spelled out, as in a table.
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(report.columns)
    count = 0
    for count, row in enumerate(report.rows, start=1):  # noqa: B007
        writer.writerow([printable(value) if isinstance(value, str) else value for value in row])
    return count


def _objects(report: Report) -> Iterator[Mapping[str, Any]]:
    for row in report.rows:
        yield as_object(report.columns, row)


def _json(report: Report, out: TextIO) -> int:
    count = 0
    out.write("[")
    for count, item in enumerate(_objects(report), start=1):
        out.write(("\n" if count == 1 else ",\n") + json.dumps(item, ensure_ascii=False))
    out.write("\n]\n" if count else "]\n")
    return count


def _jsonl(report: Report, out: TextIO) -> int:
    count = 0
    for count, item in enumerate(_objects(report), start=1):  # noqa: B007
        out.write(json.dumps(item, ensure_ascii=False) + "\n")
    return count
