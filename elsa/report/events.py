"""`elsa report events`: forks, execs and exits as the kernel reported them, of the processes that
are selected, in the order in which they were reported.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial

from elsa.errors import UsageError
from elsa.formats import local_time
from elsa.report.query.choices import visible
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
KINDS = ("fork", "exec", "exit")
_PROCESS = "incarnation_usage as u"
_THAT_OF_EVENT = "u.process_id = e.process_id"
# A column of the process of an event.
_COLUMN = re.compile(r"\bu\.\w+")


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


def _chosen_kinds(kinds: Iterable[str]) -> Iterator[Condition]:
    """The condition that an event is of these kinds; none for all. Raises UsageError."""
    chosen = [kind.lower() for kind in kinds]
    for kind in chosen:
        if kind not in KINDS:
            raise UsageError(f"--event: write fork, exec or exit, not {visible(kind)}")
    if chosen:
        yield Condition(f"e.event in ({', '.join('?' for _ in chosen)})", tuple(chosen))


def _conditions(
    connection: sqlite3.Connection, selection: Selection, kinds: Iterable[str]
) -> Iterator[Condition]:
    """The conditions on an event: on its kind, its time and its process."""
    yield from _chosen_kinds(kinds)
    if selection.window:
        yield from _in_window(connection, selection.window)
    if selection.jobs is not None:
        members = f"select m.process_id from all_memberships as m where m.job_id in ({THESE})"
        yield Condition(f"e.process_id in ({members})", (json.dumps(selection.jobs),))
    yield from selection.choices


def query(
    connection: sqlite3.Connection,
    selection: Selection,
    output: Output,
    kinds: Iterable[str] = (),
) -> tuple[Query, tuple[str, ...]]:
    """The query for the events of the selected processes, and the columns to write. Without a
    choice these are all events, also those of processes that are not known. With a limit, it
    returns one row more, the newest first.
    """
    known = {key: f"e.{key}" for key in _OF_EVENT} | {"at": iso("e.real_ns")}
    known |= {"command": "u.command", "user": names(selection)["user"]}
    source = "event_log as e"
    if selection.choices:
        source += f"\ncross join {_PROCESS} on {_THAT_OF_EVENT}"
    else:
        # SQLite would make a table of the whole view for a left join; these look it up by key.
        column = rf"(select \g<0> from {_PROCESS} where {_THAT_OF_EVENT})"
        known = {key: _COLUMN.sub(column, text) for key, text in known.items()}
    shown = output.choose(known, ("host", *_SHOWN) if selection.apart else _SHOWN)
    order = output.order(known, f"e.event_id{'' if output.limit is None else ' desc'}")
    conditions = [*_conditions(connection, selection, kinds)]
    where = "\n    and ".join(condition.sql for condition in conditions) or "true"
    text = f"{select({key: known[key] for key in shown})}\nfrom {source}\nwhere {where}\n{order}"
    if output.limit is not None:
        text += f"\nlimit {output.limit + 1}"
    return Query(text, values_of(conditions)), shown


def _nothing(connection: sqlite3.Connection) -> str:
    """Why there are no events to show."""
    of_first = f"select {iso('real_ns')} from event_log order by event_id limit 1"
    first = connection.execute(of_first).fetchone()
    if first is None:
        return (
            "the warehouse has no events: jobd stores them, and `keep_events` in elsa.toml says for"
            " how long they are kept (with 0 it stores none)"
        )
    return f"no events match; the first that is kept is of {local_time(first[0])}"


def events(
    connection: sqlite3.Connection,
    selection: Selection,
    output: Output,
    kinds: Iterable[str] = (),
) -> Report:
    """The events of the selected processes, the newest last."""
    asked, shown = query(connection, selection, output, kinds)
    nothing = partial(_nothing, connection)
    found = asked.run(connection)
    if output.limit is None:
        return Report(shown, shown, found, nothing=nothing)
    newest = found.fetchall()
    words = []
    if len(newest) > output.limit:
        which = "the last" if output.sort is None else "the first"
        words.append(f"showing {which} {output.limit}; --limit or --all shows more")
    kept = newest[: output.limit][:: -1 if output.sort is None else 1]
    return Report(shown, shown, kept, words, nothing=nothing)
