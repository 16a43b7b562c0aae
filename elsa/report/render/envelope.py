"""The json object around the rows of a report, with all that a table says in notes: which window,
how complete, in what units.

The rows come first, since there may be many, and the notes are known when they have been written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

from elsa.report.query.times import Window
from elsa.report.render import writer
from elsa.report.render.columns import COLUMNS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def begin(out: TextIO, report: str, window: Window, key: str) -> None:
    """Start the object; the rows, or what else the report has, are written next under `key`."""
    since, until = map(time, window)
    head = {"report": report, "window": {"since": since, "until": until}}
    out.write(f'{json.dumps(head)[:-1]},\n"{key}": ')


def end(
    out: TextIO, columns: Iterable[str], notes: Sequence[str], completeness: Mapping[str, Any]
) -> None:
    """Finish the object."""
    units = {key: unit for key in columns if (unit := COLUMNS[key].machine_unit)}
    tail = {**completeness, "units": units, "notes": notes}
    out.write(f", {writer.as_json(tail)[1:-1]}}}\n")


def time(at_ns: int | None) -> str | None:
    """A time in UTC, as views have it."""
    if at_ns is None:
        return None
    at = _EPOCH + timedelta(microseconds=at_ns // 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
