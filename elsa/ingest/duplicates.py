"""Records of a file that were read before from another one, of which this is a damaged copy: they
must not count twice.

A sound copy is known by its first record and the bytes before the resume point
(elsa/ingest/resume.py). One that is cut, torn or has a hole is not; but its records are byte for
byte those that were read, in the same order, so each is compared with what is there.

A record counts unless it is proven to be the same. Two boots of a host without a clock chip begin
with equal records, too: what tells them from a copy is that each goes on by itself. Damage takes
records away, and a file that was cut grows by later ones; neither puts other records into the place
and time of those that were read. And a record of a clock that was never set proves nothing.

Two processes may leave the same bytes: the same pid twice within a second, with the same figures.
Within one file both count. Two files are only compared where they overlap by more than a second in
which both were written, which rotation never makes, or begin alike.

What was pruned cannot be compared any more: of an hour of which something was, all that such a file
repeats is taken for read.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from elsa.decode.acct import CLOCK_SET, AcctRow, decode_record, exit_second, plausible
from elsa.ingest.resume import StoredFile

# So many records are compared at a time: each time all that is stored is walked through.
SEGMENT = 50_000
_BTIME = 8
_FOREVER = 2**62

_STORED = """select acct.id, acct_file_id, flag, version, tty, exitcode, acct.uid, gid, pid, ppid, btime, etime, utime, stime, mem, io, rw,
                    minflt, majflt, swaps, comm.name
             from acct join comm on comm.id = comm_id
             where acct_file_id in (select value from json_each(?)) and btime between ? and ? order by acct.id"""

Rows = Sequence[tuple[int, AcctRow]]
"""Position and record."""


@dataclass
class _Other:
    """A file that was read, and how far the one at hand is a copy of it."""

    id: int
    first: float
    last: float
    """The seconds in which its first and last process ended."""
    begins_alike: bool
    repeated: set[int] = field(default_factory=set)
    """The positions of records that stand in it."""
    proof: bool = False
    """One of them tells a time that a clock was set to."""
    contradicted: bool = False
    """Other records stand in the place of its own."""
    latest_id: int = 0
    """Of its record that was found last."""
    since: int | None = None
    """The first second in which a record since then ended that does not stand in it."""

    def is_original(self) -> bool:
        """Whether the file at hand is a copy of this one."""
        return self.proof and not self.contradicted


class Copies:
    """What other files of the host told before, for one file that is being read."""

    def __init__(self, connection: sqlite3.Connection, host_id: int, known: StoredFile) -> None:
        self._connection = connection
        # Of a file whose first record is damaged nobody knows how far back it goes.
        first = _known(_second(known.head), -1)
        rows = connection.execute(
            "select id, head, tail, modified_at_ns from acct_file where host_id = ? and id <> ? and"
            " records > 0",
            (host_id, known.id),
        )
        others = [
            _Other(
                id_,
                _known(_second(head), -1),
                _known(_second(tail), modified_at_ns // 10**9 + 1),
                head == known.head,
            )
            for id_, head, tail, modified_at_ns in rows
        ]
        self._others = [other for other in others if other.begins_alike or first < other.last]

    @property
    def possible(self) -> bool:
        """Whether the file may repeat another; if not, it need not be looked through."""
        return bool(self._others)

    def repeated(self, batches: Iterable[Rows]) -> set[int]:
        """The positions of those of a file's records that were read from another one."""
        gone: dict[int, list[_Other]] = {}
        for rows in _segments(batches):
            seconds = [exit_second(row) for _, row in rows]
            others = [
                other
                for other in self._others
                if min(seconds) <= other.last and other.first <= max(seconds)
            ]
            if others:
                gone.update(self._gone(rows, seconds, others))
                self._compare(rows, seconds, others, gone)
        for other in self._others:
            self._look_between(other, _FOREVER)
        found = {
            position
            for position, others in gone.items()
            if not all(other.contradicted for other in others)
        }
        return found.union(*(other.repeated for other in self._others if other.is_original()))

    def _compare(
        self,
        rows: Rows,
        seconds: Sequence[int],
        others: Sequence[_Other],
        gone: dict[int, list[_Other]],
    ) -> None:
        there = self._stored(rows, others)
        for (position, row), second in zip(rows, seconds, strict=True):
            for other in others:
                ids = there.get((other.id, row), ())
                place = bisect_right(ids, other.latest_id)
                if place < len(ids):
                    self._look_between(other, ids[place])
                    other.latest_id = ids[place]
                    other.repeated.add(position)
                    other.proof |= second >= CLOCK_SET
                elif position not in gone and (other.since is None or second < other.since):
                    other.since = second

    def _stored(self, rows: Rows, others: Sequence[_Other]) -> dict[tuple[int, AcctRow], list[int]]:
        """By file and record the ids of those that are equal to one of these, in file order."""
        wanted = {row for _, row in rows}
        begun = [row[_BTIME] for _, row in rows]
        where = (json.dumps([other.id for other in others]), min(begun), max(begun))
        there: dict[tuple[int, AcctRow], list[int]] = defaultdict(list)
        for id_, file_id, *values in self._connection.execute(_STORED, where):
            row: AcctRow = tuple(values)
            if row in wanted:
                there[file_id, row].append(id_)
        return there

    def _look_between(self, other: _Other, id_: int) -> None:
        """Whether records that only the file at hand has stand where the other has records of its
        own, and are no later than these.
        """
        if other.since is None or (not other.latest_id and id_ == _FOREVER):
            return
        sql = (
            "select 1 from acct where id > ? and id < ? and acct_file_id = ? and ended >= ? limit 1"
        )
        between = (other.latest_id, id_, other.id, other.since)
        other.contradicted |= self._connection.execute(sql, between).fetchone() is not None
        other.since = None

    def _gone(
        self, rows: Rows, seconds: Sequence[int], others: Sequence[_Other]
    ) -> dict[int, list[_Other]]:
        """Those of these that were read, if at all, in an hour of which something was pruned since,
        and from which files.
        """
        pruned = {
            hour
            for (hour,) in self._connection.execute(
                "select distinct hour from rollup_command where pruned = 1"
            )
        }
        found = {}
        for (position, _), second in zip(rows, seconds, strict=True):
            if second // 3600 in pruned:
                theirs = [other for other in others if other.first <= second <= other.last]
                if theirs:
                    found[position] = theirs
        return found


def _segments(batches: Iterable[Rows]) -> Iterator[Rows]:
    """Some at a time, so that memory is bounded."""
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


def _known(second: int | None, otherwise: float) -> float:
    return otherwise if second is None else second
