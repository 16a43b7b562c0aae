"""The report on gaps, the known losses: when data may be missing, why, and how much."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from elsa.report import completeness
from elsa.report.collector_status import Silence, silence, silences, still_open
from elsa.report.query.statement import Query, select
from elsa.report.query.times import Window, iso, reported
from elsa.report.query.warehouse import several_hosts
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row

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
_SHOWN = (
    "started_at",
    "ended_at",
    "duration_s",
    "what",
    "lost",
    "path",
    "from_position",
    "to_position",
    "note",
)
SILENCE = "silence"
"""The kind of the gap that is still open."""
_STILL = "jobd has stored nothing since"
# Only losses in files have these.
_OF_FILES = ("path", "from_position", "to_position")


def query(
    window: Window, output: Output, hosts: Sequence[int] | None = None, *, apart: bool = False
) -> tuple[Query, tuple[str, ...]]:
    """The query for the gaps that touch a window, of some hosts or of all, newest first; and the
    columns to write.
    """
    known = {key: reported(key, "") for key in _COLUMNS}
    shown = output.choose(known, ("host", *_SHOWN) if apart else _SHOWN)
    order = output.order(known, "gap_id desc")
    of_hosts = "" if hosts is None else f" where host_id in ({', '.join(map(str, hosts))})"
    source = f"(select * from gaps{of_hosts}){completeness.touching(window)}"
    return Query(f"{select(known)}\nfrom {source}\n{order}"), shown


def gaps(
    connection: sqlite3.Connection,
    window: Window,
    output: Output,
    now_ns: int,
    hosts: Sequence[int] | None = None,
) -> Report:
    """The gaps that touch a window, of some hosts or of all, newest first."""
    asked, shown = query(window, output, hosts, apart=several_hosts(connection))
    rows: list[Row] = asked.run(connection).fetchall()
    still = [
        _open_gap(silent)
        for silent in silences(connection, window, now_ns)
        if hosts is None or silent.host_id in hosts
    ]
    if still:  # the newest gaps
        rows = output.ordered(_COLUMNS, [*still, *rows])
    path = _COLUMNS.index("path")
    if output.columns is None and output.form == "table" and all(row[path] is None for row in rows):
        shown = tuple(key for key in shown if key not in _OF_FILES)
    place = " in that window" if window else ""
    return Report(
        _COLUMNS,
        shown,
        rows[: output.limit],
        completeness.cut(len(rows), output.limit) + silence(connection, window, now_ns),
        nothing=lambda: f"no gaps: no loss of events or records is known{place}",
    )


def _open_gap(silent: Silence) -> Row:
    """The row of the gap that is still open. It has no id, no end and no duration yet."""
    known = {
        "host": silent.host,
        "boot_id": silent.boot_id,
        "kind": SILENCE,
        "what": _STILL,
        "started_at": silent.since_at,
    }
    note = "stopped" if silent.stopped else "without notice: killed, or it cannot write"
    return tuple((known | {"note": note}).get(key) for key in _COLUMNS)


class LossCount(NamedTuple):
    """The gaps of a kind."""

    what: str
    number: int
    last_at: str | None
    """When the last of them started; None if that is not known for any."""


def since(connection: sqlite3.Connection, since_ns: int, now_ns: int) -> list[LossCount]:
    """The gaps by kind that ended after a time, or that are in a file read after it, unless a
    record behind them shows that they are older.
    """
    text = f"""select g.what, count(*), {iso("max(g.started_ns)")}
        from gaps as g
        join gap as l on l.id = g.gap_id
        left join acct_file as f on f.id = l.acct_file_id
        where coalesce(g.ended_ns, f.read_at_ns, g.started_ns) > :since_ns and not exists (
            select 1 from acct as r where r.acct_file_id = l.acct_file_id
            and r.position >= l.to_position and r.ended_s < :since_ns / 1000000000)
        group by 1 order by 3"""
    counts = [LossCount(*row) for row in connection.execute(text, {"since_ns": since_ns})]
    silent = still_open(connection, Window(), now_ns)
    return counts if silent is None else [*counts, LossCount(_STILL, 1, silent.since_at)]
