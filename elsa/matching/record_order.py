"""When records were written, by the records near them in the file: a record itself has only the
second.

The kernel appends records in the order of time. A record that is joined exactly was written between
the fork and the exit event of its process. So all records before it were written before that exit,
and all records after it were written after that fork.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from elsa.state.codes import End, Join, Origin

# How many records before and after a record are read; and how many ids are read at a time.
REACH = 64
MOST = 20_000


class WrittenBetween(NamedTuple):
    """Monotonic times between which a record was written; None if not known."""

    after_ns: int | None = None
    by_ns: int | None = None


UNKNOWN = WrittenBetween()


def written_between(
    connection: sqlite3.Connection, boot_id: int, record_ids: Iterable[int]
) -> dict[int, WrittenBetween]:
    """When records of one boot were written."""
    wanted = sorted(record_ids)
    times: dict[int, WrittenBetween] = {}
    index = 0
    while index < len(wanted):
        first = last = index
        while (
            last + 1 < len(wanted)
            and wanted[last + 1] - wanted[last] <= 2 * REACH
            and wanted[last + 1] - wanted[first] < MOST
        ):
            last += 1
        times.update(_written_near(connection, boot_id, wanted[first : last + 1]))
        index = last + 1
    return times


def _written_near(
    connection: sqlite3.Connection, boot_id: int, wanted: list[int]
) -> dict[int, WrittenBetween]:
    """When records were written that are near each other in the file."""
    rows = connection.execute(
        """select acct.id, acct_file_id, start_ns, start_ns + elapsed_ns
           from acct
           left join process on process.id = process_id and boot_id = ? and join_outcome = ?
               and origin = ? and end_source = ?
           where acct.id between ? and ? order by acct.id""",
        (boot_id, Join.EXACT, Origin.FORK, End.EXIT, wanted[0] - REACH, wanted[-1] + REACH),
    ).fetchall()
    ids = set(wanted)
    after: dict[int, int | None] = {}
    latest_start: dict[int, int] = {}  # by file
    for id_, file_id, start_ns, _ in rows:
        if id_ in ids:
            after[id_] = latest_start.get(file_id)
        if start_ns is not None:
            latest_start[file_id] = max(start_ns, latest_start.get(file_id, start_ns))
    times = {}
    earliest_end: dict[int, int] = {}
    for id_, file_id, _, end_ns in reversed(rows):
        if id_ in ids:
            times[id_] = _consistent(after[id_], earliest_end.get(file_id))
        if end_ns is not None:
            earliest_end[file_id] = min(end_ns, earliest_end.get(file_id, end_ns))
    return times


def _consistent(after_ns: int | None, by_ns: int | None) -> WrittenBetween:
    """Times that contradict each other are not used."""
    if after_ns is not None and by_ns is not None and after_ns > by_ns:
        return UNKNOWN
    return WrittenBetween(after_ns, by_ns)
