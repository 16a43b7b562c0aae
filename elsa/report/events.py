"""`elsa report events`: forks, execs and exits as the kernel reported them, of the processes that
are selected, in the order in which they were reported.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

from elsa.report.query.process_rows import names
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, select, values_of
from elsa.report.query.times import Window, iso
from elsa.report.render.output import Output
from elsa.report.render.writer import Report

_OF_EVENT = (
    *("event_id", "host", "boot_id", "at", "event", "pid", "tid", "ppid", "cpu", "exit_status"),
    "process_id",
)
_SHOWN = ("at", "event", "pid", "tid", "ppid", "command", "user", "exit_status")
_NO_EVENTS = (
    "no events match, or none are kept: `keep_events` in elsa.toml says for how long, 0 for never"
)


def _in_window(connection: sqlite3.Connection, window: Window) -> Iterator[Condition]:
    """The events of a window. SQLite compares the monotonic times first, by the least and the
    greatest offset of each boot, since the real time of each event takes longer to find.
    """
    spans = []
    for boot_id, least_ns, most_ns in connection.execute(
        "select boot_id, min(offset_ns), max(offset_ns) from clock group by boot_id"
    ):
        bounds = [
            f"e.boot_id = {boot_id}",
            f"e.time_ns >= {window.since - most_ns}" if window.since is not None else "true",
            f"e.time_ns < {window.until - least_ns}" if window.until is not None else "true",
        ]
        spans.append(f"({' and '.join(bounds)})")
    yield Condition(f"({' or '.join(spans) or 'false'})")
    yield from map(Condition, window.where("e.real_ns"))


def query(
    connection: sqlite3.Connection, selection: Selection, output: Output
) -> tuple[Query, tuple[str, ...]]:
    """The query for the events of the selected processes, and the columns to write. Without a
    choice these are all events, also those of processes that are not known. With a limit, it
    returns one row more, the newest first.
    """
    known = {key: f"e.{key}" for key in _OF_EVENT} | {"at": iso("e.real_ns")}
    known |= {"command": "u.command", "user": names(selection)["user"]}
    shown = output.choose(known, ("host", *_SHOWN) if selection.apart else _SHOWN)
    order = output.order(known, f"e.event_id{'' if output.limit is None else ' desc'}")
    conditions = [*selection.choices]
    if selection.jobs is not None:
        members = f"select m.process_id from all_memberships as m where m.job_id in ({THESE})"
        conditions.append(Condition(f"e.process_id in ({members})", (json.dumps(selection.jobs),)))
    if selection.window:
        conditions += _in_window(connection, selection.window)
    join = "join" if selection.choices else "left join"
    where = " and ".join(condition.sql for condition in conditions) or "true"
    text = (
        f"{select({key: known[key] for key in shown})}\nfrom event_log as e\n{join}"
        f" incarnation_usage as u on u.process_id = e.process_id\nwhere {where}\n{order}"
    )
    if output.limit is not None:
        text += f"\nlimit {output.limit + 1}"
    return Query(text, values_of(conditions)), shown


def events(connection: sqlite3.Connection, selection: Selection, output: Output) -> Report:
    """The events of the selected processes, the newest last."""
    asked, shown = query(connection, selection, output)
    found = asked.run(connection)
    if output.limit is None:
        return Report(shown, shown, found, nothing=lambda: _NO_EVENTS)
    newest = found.fetchall()
    words = []
    if len(newest) > output.limit:
        which = "the last" if output.sort is None else "the first"
        words.append(f"showing {which} {output.limit}; --limit or --all shows more")
    kept = newest[: output.limit][:: -1 if output.sort is None else 1]
    return Report(shown, shown, kept, words, nothing=lambda: _NO_EVENTS)
