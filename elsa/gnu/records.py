"""The accounting records for the GNU programs: of files, or of the warehouse in the order in which
it read them.

To read a file, no warehouse is opened and nothing is written. Memory is bounded whatever the size,
except for a pipe or a compressed file that is read backwards: their records are held, 64 bytes
each.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from elsa.decode import acct, acct_search, acct_times
from elsa.decode.acct import AFORK, AcctRecord, AcctRow
from elsa.errors import UsageError
from elsa.gnu.sa import (
    COMMAND,
    GROUP,
    HZ,
    PAGE_KIB,
    USER,
    By,
    Faults,
    Figures,
    Tally,
    faults_aside,
    figures_of,
    tally,
)
from elsa.kernel.acct_file import CHUNK, AcctFile
from elsa.report import completeness
from elsa.report.query import warehouse
from elsa.report.query.job_lookup import jobs_of
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window

STDIN = "-"
_EVER = (-inf, inf)

_Chunk = tuple[int, bytes, int | None]
"""Position and bytes of whole records, and the second in which the record before them was written,
if known.
"""
_MEMBERS = """
    select count(distinct m.process_id), count(distinct a.process_id)
    from all_memberships as m
    left join acct as a
        on a.process_id = m.process_id
"""
# Integers that say whose a record is; of a command its id and AFORK.
_WHOSE = {COMMAND: f"a.comm_id * 2 + (a.flag & {AFORK})", USER: "a.uid", GROUP: "a.gid"}


class Pick(NamedTuple):
    """Which records are selected, by conditions that the GNU programs do not have."""

    jobs: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    window: Window = Window()


class _Readable(Protocol):
    def read(self, position: int, size: int) -> bytes:
        """Bytes from a position on, fewer than size only at the end."""
        ...


@dataclass
class Records:
    """Records of these files, or without files of the warehouse; `words` says after the reading
    what was not a record.
    """

    files: Sequence[str]
    db: Path
    pick: Pick
    backwards: bool = False
    words: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[AcctRow]:
        """The records that are wanted. Raises UsageError, DataError, InputMissingError,
        ConfigError.
        """
        return chain.from_iterable(self._parts())  # no Python code runs per record

    def _parts(self) -> Iterator[Iterable[AcctRow]]:
        if not self.files:
            yield from self._stored()
            return
        if self.pick.jobs:
            raise UsageError(
                "--job needs the warehouse, as a file knows no jobs; read it with elsa ingest, then"
                " leave it out here"
            )
        for name in self.files:
            yield from self._read(name)

    def tallied(self, by: By, *, paging: bool) -> Tally:
        """The records summed up for sa; page faults and swaps only with `paging`."""
        faults: Faults = {}
        if self.files:
            return tally(figures_of(self, by, faults if paging else None), by.key, faults)
        more = ", a.minflt, a.majflt, a.swaps" if paging else ""
        with self._opened() as (connection, where):
            names: dict[int, str] = dict(connection.execute("select id, name from comm"))
            # Divided here, where it takes least, by the same division of doubles. What is handed
            # over takes longest, so it is as few columns as can be, with NULL for 0.
            rows: Iterable[Figures] = connection.execute(
                f"select {_WHOSE[by]}, a.etime / {HZ}, nullif(a.utime, 0) / {HZ},"
                f" nullif(a.stime, 0) / {HZ}, nullif(a.io, 0) / {HZ}, a.mem / {PAGE_KIB}{more}"
                f" from acct as a{where} order by a.id"
            )
            if paging:
                rows = faults_aside(rows, faults)
            if by is COMMAND:
                return tally(rows, lambda it: by.key((names[it >> 1], it & AFORK)), faults)
            return tally(rows, by.key, faults)

    def _stored(self) -> Iterator[Iterable[AcctRow]]:
        columns = ", ".join(
            "n.name" if column == "comm" else f"a.{column}" for column in AcctRecord._fields
        )
        with self._opened() as (connection, where):
            yield connection.execute(
                f"select {columns} from acct as a join comm as n on n.id = a.comm_id{where}"
                f" order by a.id{' desc' if self.backwards else ''}"
            )

    @contextmanager
    def _opened(self) -> Iterator[tuple[sqlite3.Connection, str]]:
        """The warehouse, and what selects the records `a`."""
        with warehouse.reading_allowed(self.db) as connection:
            self.words += warehouse.notes(connection)
            where = _conditions(self.pick)
            jobs = jobs_of(connection, {"job": self.pick.jobs})
            if jobs is not None:
                chosen = f"m.job_id in ({_listed(jobs)})"
                where.append(
                    "a.process_id in"
                    f" (select m.process_id from all_memberships as m where {chosen})"
                )
                members, known = connection.execute(f"{_MEMBERS} where {chosen}").fetchone()
                if known < members:
                    whose = "the job's" if len(jobs) == 1 else "the jobs'"
                    self.words.append(
                        f"{members - known} of {whose} {members} processes have no accounting"
                        " record, so they are left out"
                    )
            self.words += completeness.pruned(connection, Selection(self.pick.window, jobs=jobs))
            yield connection, f" where {' and '.join(where)}" if where else ""

    def _wanted(self, data: bytes, before: int | None) -> Iterable[AcctRow]:
        """The selected records of these; `before` is when the record before them was written."""
        columns = acct.decode_columns(data)
        rows: Iterable[AcctRow] = zip(*columns, strict=True)
        uids = frozenset(self.pick.uids)
        if self._by_time():
            since, until = (
                limit if limit is not None else otherwise
                for limit, otherwise in zip(self.pick.window, _EVER, strict=True)
            )
            ends = _end_seconds(columns, before)
            rows = [
                row
                for row, end in zip(rows, ends, strict=True)
                if since <= end * 1_000_000_000 < until
            ]
        return (row for row in rows if row[acct.UID] in uids) if uids else rows

    def _by_time(self) -> bool:
        return any(limit is not None for limit in self.pick.window)

    def _read(self, name: str) -> Iterator[Iterable[AcctRow]]:
        with ExitStack() as stack:
            file: _Readable = (
                _Pipe(sys.stdin.buffer) if name == STDIN else stack.enter_context(AcctFile(name))
            )
            shown = "standard input" if name == STDIN else name
            acct_search.content(file.read, shown)
            seekable = isinstance(file, AcctFile) and not file.compressed
            chunks = self._timed(self._chunks(file, shown))
            if self.backwards:
                chunks = (
                    _reread(file, [(at, len(data), before) for at, data, before in chunks])
                    if seekable
                    else reversed(list(chunks))
                )
            for _, data, before in chunks:
                rows = self._wanted(data, before)
                yield reversed(list(rows)) if self.backwards else rows

    def _timed(self, chunks: Iterator[tuple[int, bytes]]) -> Iterator[_Chunk]:
        """Add when the record before each chunk was written, if times are selected."""
        before: int | None = None
        for at, data in chunks:
            yield at, data, before
            if self._by_time():
                before = _end_seconds(acct.decode_columns(data), before)[-1]

    def _chunks(self, file: _Readable, name: str) -> Iterator[tuple[int, bytes]]:
        """Positions and bytes of whole records. A torn record at the end is left out: the kernel
        may be writing it.
        """
        position = skipped = 0
        more = True
        while more:
            data = file.read(position, CHUNK)
            more = len(data) == CHUNK
            runs = acct_search.walk(data, more=more)
            for start, end, records in runs:
                if records:
                    yield position + start, data[start:end]
                else:
                    skipped += end - start
            position += runs[-1].end if runs else 0
        if skipped:
            self.words.append(
                f"{name}: {skipped} bytes that are no accounting records were skipped"
            )


def _end_seconds(columns: Sequence[Sequence[Any]], before: int | None) -> list[int]:
    """The seconds in which the processes of these records ended, at least one."""
    return acct_times.Times.of(columns, before).ends


def _reread(file: _Readable, chunks: list[tuple[int, int, int | None]]) -> Iterator[_Chunk]:
    """Chunks of a file from the last to the first."""
    return ((at, file.read(at, size), before) for at, size, before in reversed(chunks))


def _conditions(pick: Pick) -> list[str]:
    """SQL conditions on the records themselves; only integers, so nothing has to be bound."""
    where = pick.window.where("a.ended_s * 1000000000")
    return [f"a.uid in ({_listed(pick.uids)})", *where] if pick.uids else where


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


class _Pipe:
    """Standard input, read forward; keeps the bytes read last, since the next read may need their
    end again.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._start = 0
        self._window = b""

    def read(self, position: int, size: int) -> bytes:
        if position > self._start:
            self._window = self._window[position - self._start :]
            self._start = position
        missing = size - len(self._window)
        if missing > 0:
            self._window += self._stream.read(missing)
        return self._window[:size]
