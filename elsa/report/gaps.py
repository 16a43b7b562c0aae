"""Known losses: when something may have been missed, why, and how much."""

from __future__ import annotations

import sqlite3

from elsa.report import completeness
from elsa.report.output import Output
from elsa.report.query import Query, select
from elsa.report.render import Report, Row
from elsa.report.silence import silence
from elsa.report.times import Window

_COLUMNS = (
    "gap_id",
    "host",
    "boot_id",
    "kind",
    "what",
    "started_at",
    "ended_at",
    "duration_s",
    "lost",
    "path",
    "from_position",
    "to_position",
    "note",
)
_SHOWN = ("started_at", "ended_at", "duration_s", "what", "lost", "path", "from_position", "to_position", "note")
# Only losses in files have these.
_OF_FILES = ("path", "from_position", "to_position")


def query(window: Window, output: Output) -> tuple[Query, tuple[str, ...]]:
    """The known losses that touch a window, the newest first; and the columns to write."""
    known = {key: key for key in _COLUMNS}
    shown = output.choose(known, _SHOWN)
    order = output.order(known, "gap_id desc")
    return Query(f"{select(known)}\nfrom gaps{completeness.touching(window)}\n{order}"), shown


def gaps(connection: sqlite3.Connection, window: Window, output: Output, now_ns: int) -> Report:
    """The known losses that touch a window, the newest first."""
    asked, shown = query(window, output)
    rows: list[Row] = asked.run(connection).fetchall()
    if output.columns is None and output.form == "table" and all(row[_COLUMNS.index("path")] is None for row in rows):
        shown = tuple(key for key in shown if key not in _OF_FILES)
    place = " in that window" if window else ""
    return Report(
        _COLUMNS,
        shown,
        rows[: output.limit],
        completeness.cut(len(rows), output.limit) + silence(connection, window, now_ns),
        nothing=lambda: f"no gaps: no loss of events or records is known{place}",
    )
