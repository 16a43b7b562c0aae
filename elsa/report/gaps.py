"""Known losses: when something may have been missed, why, and how much."""

from __future__ import annotations

import sqlite3

from elsa.report import completeness
from elsa.report.columns import local_time
from elsa.report.output import Output
from elsa.report.query import Query, select
from elsa.report.render import Report, Row
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
# The collector notes at least this often that it still hears, also when nothing happens.
_SILENCE_NS = 20 * 1_000_000_000


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
        nothing=f"no gaps: no loss of events or records is known{place}",
    )


def silence(connection: sqlite3.Connection, window: Window, now_ns: int) -> list[str]:
    """Say that the collector does not hear now, or did not to the end of the window: only its next start puts that on record as a gap."""
    row = connection.execute(
        """select strftime('%Y-%m-%dT%H:%M:%SZ', (heard.heard_ns + k.offset_ns) / 1000000000, 'unixepoch'), heard.heard_ns + k.offset_ns
           from (select boot_id, heard_ns from collector order by id desc limit 1) as heard
           join clock as k on k.boot_id = heard.boot_id
           order by k.since_ns > heard.heard_ns, abs(heard.heard_ns - k.since_ns)
           limit 1"""
    ).fetchone()
    if row is None:
        return ["the collector was never started here; start it with: elsa jobd"]
    heard_at, heard_ns = row
    end_ns = now_ns if window.until is None else min(window.until, now_ns)
    if end_ns - heard_ns <= _SILENCE_NS:
        return []
    return [f"the collector has stored nothing since {local_time(heard_at)}: what happened later only accounting can tell"]
