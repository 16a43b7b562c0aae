"""Records of a file that were read before from another one, of which this is a damaged copy: they must not count twice.

A sound copy is known by its first record and the bytes before the resume point (elsa/store/acctfiles.py). One that is cut, torn or has a
hole is not; but its records are byte for byte those that were read, so each is compared with what is there.

Two processes may leave the same bytes: the same pid twice within a second, with the same figures. Within one file both count. Two
files are only compared where they overlap by more than a second in which both were written, which rotation never makes, or begin alike.

What was pruned cannot be compared any more: of an hour of which something was, all that such a file repeats is taken for read.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from elsa.decode.acct import AcctRow, decode_record, exit_second, plausible
from elsa.store.acctfiles import Known

_BTIME = 8

_STORED = """select flag, version, tty, exitcode, acct.uid, gid, pid, ppid, btime, etime, utime, stime, mem, io, rw, minflt, majflt, swaps,
                    comm.name
             from acct join comm on comm.id = comm_id
             where acct_file_id in (select value from json_each(?)) and btime between ? and ?"""


class _Other(NamedTuple):
    """A file that was read: the seconds in which its first and last process ended."""

    id: int
    first: float
    last: float
    begins_alike: bool


class Copies:
    """What other files of the host told before, for one file that is being read."""

    def __init__(self, connection: sqlite3.Connection, host_id: int, known: Known) -> None:
        self._connection = connection
        self._first = _second(known.head)
        rows = connection.execute(
            "select id, head, tail, modified_at_ns from acct_file where host_id = ? and id <> ? and records > 0", (host_id, known.id)
        )
        self._others = [
            _Other(id_, _known(_second(head), -1), _known(_second(tail), modified_at_ns // 10**9 + 1), head == known.head)
            for id_, head, tail, modified_at_ns in rows
        ]

    def repeated(self, rows: Sequence[tuple[int, AcctRow]]) -> set[int]:
        """Which of these records (by position) are there already."""
        if not rows or not self._others:
            return set()
        seconds = [exit_second(row) for _, row in rows]
        least, most = min(seconds), max(seconds)
        first = _known(self._first, -1)  # of a file whose first record is damaged nobody knows how far back it goes
        others = [
            other for other in self._others if least <= other.last and other.first <= most and (other.begins_alike or first < other.last)
        ]
        if not others:
            return set()
        found = self._gone(rows, seconds, others)
        wanted = {row for _, row in rows}
        begun = [row[_BTIME] for _, row in rows]
        where = (json.dumps([other.id for other in others]), min(begun), max(begun))
        there = Counter(row for row in self._connection.execute(_STORED, where) if row in wanted)
        for position, row in rows:
            if there[row] > 0:
                there[row] -= 1
                found.add(position)
        return found

    def _gone(self, rows: Sequence[tuple[int, AcctRow]], seconds: Sequence[int], others: Sequence[_Other]) -> set[int]:
        """Which of these were read from another file, if at all, in an hour of which something was pruned since."""
        pruned = {hour for (hour,) in self._connection.execute("select distinct hour from rollup_command where pruned = 1")}
        return {
            position
            for (position, _), second in zip(rows, seconds, strict=True)
            if second // 3600 in pruned and any(other.first <= second <= other.last for other in others)
        }


def _second(record: bytes) -> int | None:
    """When the process of a record ended; None if these bytes are no record."""
    return exit_second(decode_record(record)) if plausible(record) else None


def _known(second: int | None, otherwise: float) -> float:
    return otherwise if second is None else second
