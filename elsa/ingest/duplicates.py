"""Finds repeated records: records of a damaged copy that were already read from another file. They
must not count twice.

A sound copy is recognised by its first record and the bytes before the resume point
(elsa/ingest/resume.py). A copy that is cut, torn or has a hole is not recognised so; but its
records are byte for byte those that were read, in the same order. So each record is compared with
the stored ones.

A record counts unless it is certain to be repeated. Two boots of a host without a clock chip start
with equal records, too, but other records follow in each: that distinguishes them from copies.
Damage removes records, and a file that was cut grows by later records; neither puts other records
into the place and time of those that were read. A record with a time at which no clock was set
proves nothing.

Two processes may leave the same bytes: the same pid twice within a second, with the same figures.
Within a file both count. Two files are compared only if they have the same first record, or if both
were written during more than a common second, which rotation never causes.

Pruned records cannot be compared any more: in an hour of which records were pruned, all records of
a file that may be a copy are taken to be repeated.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from elsa.decode.acct import BTIME, AcctRow, decode_record
from elsa.decode.acct_search import plausible
from elsa.decode.acct_times import CLOCK_SET, exit_second
from elsa.ingest.resume import StoredFile

# How many records are compared at a time: each time all stored records of these files are read.
SEGMENT = 50_000
_FOREVER = 2**62

_STORED = """
    select acct.id, acct_file_id, flag, version, tty, exitcode, acct.uid, gid, pid, ppid, btime,
           etime, utime, stime, mem, io, rw, minflt, majflt, swaps, comm.name
    from acct join comm on comm.id = comm_id
    where acct_file_id in (select value from json_each(?)) and btime between ? and ?
    order by acct.id"""

Rows = Sequence[tuple[int, AcctRow]]
"""Position and record."""


@dataclass
class _Other:
    """A file that was read before, which the file that is read now may copy."""

    id: int
    first: float
    last: float
    """The seconds in which its first and last process ended."""
    same_head: bool
    """Both files have the same first record."""
    repeated: set[int] = field(default_factory=set)
    """Positions in the new file of records that are in this file, too."""
    proof: bool = False
    """A repeated record has a time at which a clock was set."""
    contradicted: bool = False
    """The new file has other records where this file has its own."""
    latest_id: int = 0
    """The id of this file's latest record that is repeated."""
    since: int | None = None
    """The first second in which a later record of the new file ended that is not in this file."""

    def is_original(self) -> bool:
        """Whether the new file is a copy of this one."""
        return self.proof and not self.contradicted


class Duplicates:
    """Compares a new file with the records that were read from other files of the host."""

    def __init__(self, connection: sqlite3.Connection, host_id: int, known: StoredFile) -> None:
        self._connection = connection
        # If the first record is damaged, it is not known how far back the file goes.
        first = _or_default(_second(known.head), -1)
        rows = connection.execute(
            "select id, head, tail, modified_at_ns from acct_file where host_id = ? and id <> ? and"
            " records > 0",
            (host_id, known.id),
        )
        others = [
            _Other(
                id_,
                _or_default(_second(head), -1),
                _or_default(_second(tail), modified_at_ns // 10**9 + 1),
                head == known.head,
            )
            for id_, head, tail, modified_at_ns in rows
        ]
        self._others = [other for other in others if other.same_head or first < other.last]

    @property
    def possible(self) -> bool:
        """Whether the file may repeat another; if not, it need not be compared."""
        return bool(self._others)

    def repeated(self, batches: Iterable[Rows]) -> set[int]:
        """The positions of records in the new file that were read from another file."""
        pruned: dict[int, list[_Other]] = {}
        for rows in _segments(batches):
            seconds = [exit_second(row) for _, row in rows]
            others = [
                other
                for other in self._others
                if min(seconds) <= other.last and other.first <= max(seconds)
            ]
            if others:
                pruned.update(self._pruned(rows, seconds, others))
                self._compare(rows, seconds, others, pruned)
        for other in self._others:
            self._check_between(other, _FOREVER)
        positions = {
            position
            for position, others in pruned.items()
            if not all(other.contradicted for other in others)
        }
        return positions.union(*(other.repeated for other in self._others if other.is_original()))

    def _compare(
        self,
        rows: Rows,
        seconds: Sequence[int],
        others: Sequence[_Other],
        pruned: dict[int, list[_Other]],
    ) -> None:
        stored = self._stored(rows, others)
        for (position, row), second in zip(rows, seconds, strict=True):
            for other in others:
                ids = stored.get((other.id, row), ())
                place = bisect_right(ids, other.latest_id)
                if place < len(ids):
                    self._check_between(other, ids[place])
                    other.latest_id = ids[place]
                    other.repeated.add(position)
                    other.proof |= second >= CLOCK_SET
                elif position not in pruned and (other.since is None or second < other.since):
                    other.since = second

    def _stored(self, rows: Rows, others: Sequence[_Other]) -> dict[tuple[int, AcctRow], list[int]]:
        """By file and record: the ids of stored records equal to a new one, in file order."""
        wanted = {row for _, row in rows}
        btimes = [row[BTIME] for _, row in rows]
        where = (json.dumps([other.id for other in others]), min(btimes), max(btimes))
        stored: dict[tuple[int, AcctRow], list[int]] = defaultdict(list)
        for id_, file_id, *values in self._connection.execute(_STORED, where):
            row: AcctRow = tuple(values)
            if row in wanted:
                stored[file_id, row].append(id_)
        return stored

    def _check_between(self, other: _Other, id_: int) -> None:
        """Check whether the new file has records of its own where the other file has records of its
        own that are no earlier: then it is no copy.
        """
        if other.since is None or (not other.latest_id and id_ == _FOREVER):
            return
        sql = """select 1 from acct
            where id > ? and id < ? and acct_file_id = ? and ended_s >= ? limit 1"""
        between = (other.latest_id, id_, other.id, other.since)
        other.contradicted |= self._connection.execute(sql, between).fetchone() is not None
        other.since = None

    def _pruned(
        self, rows: Rows, seconds: Sequence[int], others: Sequence[_Other]
    ) -> dict[int, list[_Other]]:
        """By position: records of hours of which something was pruned, and the files from which
        they may have been read.
        """
        hours = self._connection.execute(
            "select distinct hour from rollup_command where pruned = 1"
        )
        pruned_hours = {hour for (hour,) in hours}
        by_position = {}
        for (position, _), second in zip(rows, seconds, strict=True):
            if second // 3600 in pruned_hours:
                possible = [other for other in others if other.first <= second <= other.last]
                if possible:
                    by_position[position] = possible
        return by_position


def _segments(batches: Iterable[Rows]) -> Iterator[Rows]:
    """The rows in larger batches, so that memory is bounded."""
    rows: list[tuple[int, AcctRow]] = []
    for batch in batches:
        rows += batch
        if len(rows) >= SEGMENT:
            yield rows
            rows = []
    if rows:
        yield rows


def _second(record: bytes) -> int | None:
    """When the process of a record ended; None if these bytes are no record."""
    return exit_second(decode_record(record)) if plausible(record) else None


def _or_default(second: int | None, default: float) -> float:
    return default if second is None else second
