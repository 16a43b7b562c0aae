"""When records were written, told by their neighbours in the file: a record itself tells only the
second.

The kernel appends records in the order of time. A record that is joined exactly was written between
the fork and the exit of its process, as they were heard; so what stands before it was written
before that exit, and what stands after it after that fork.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from elsa.state.codes import End, Join, Origin

# So many records before and after one are looked at; and of many together, so many at a time.
REACH = 64
MOST = 20_000


class WrittenBetween(NamedTuple):
    """Monotonic times between which a record was written; None where no neighbour tells."""

    after_ns: int | None = None
    by_ns: int | None = None


NOWHERE = WrittenBetween()


def brackets(
    connection: sqlite3.Connection, boot_id: int, record_ids: Iterable[int]
) -> dict[int, WrittenBetween]:
    """Brackets of records of one boot."""
    wanted = sorted(record_ids)
    found: dict[int, WrittenBetween] = {}
    index = 0
    while index < len(wanted):
        first = last = index
        while (
            last + 1 < len(wanted)
            and wanted[last + 1] - wanted[last] <= 2 * REACH
            and wanted[last + 1] - wanted[first] < MOST
        ):
            last += 1
        found.update(_within(connection, boot_id, wanted[first : last + 1]))
        index = last + 1
    return found


def _within(
    connection: sqlite3.Connection, boot_id: int, wanted: list[int]
) -> dict[int, WrittenBetween]:
    """Brackets of records that stand near each other."""
    rows = connection.execute(
        """select acct.id, acct_file_id, start_ns, start_ns + elapsed_ns
           from acct left join process on process.id = process_id and boot_id = ? and join_outcome = ? and origin = ? and end_source = ?
           where acct.id between ? and ? order by acct.id""",
        (boot_id, Join.EXACT, Origin.FORK, End.EXIT, wanted[0] - REACH, wanted[-1] + REACH),
    ).fetchall()
    asked = set(wanted)
    after: dict[int, int | None] = {}
    latest: dict[
        int, int
    ] = {}  # by file: names and inode numbers are used again, but not within one
    for id_, file_id, start_ns, _ in rows:
        if id_ in asked:
            after[id_] = latest.get(file_id)
        if start_ns is not None:
            latest[file_id] = max(start_ns, latest.get(file_id, start_ns))
    found = {}
    earliest: dict[int, int] = {}
    for id_, file_id, _, end_ns in reversed(rows):
        if id_ in asked:
            found[id_] = _consistent(after[id_], earliest.get(file_id))
        if end_ns is not None:
            earliest[file_id] = min(end_ns, earliest.get(file_id, end_ns))
    return found


def _consistent(after_ns: int | None, by_ns: int | None) -> WrittenBetween:
    """Neighbours that contradict each other tell nothing."""
    return (
        NOWHERE
        if after_ns is not None and by_ns is not None and after_ns > by_ns
        else WrittenBetween(after_ns, by_ns)
    )
