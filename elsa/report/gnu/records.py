"""One stream of accounting records for the GNU programs: of files as they are, or of the warehouse in the order it read them.

Reading a file touches nothing else: no warehouse is opened, nothing is written. Memory is bounded whatever the size, but for a pipe or a
gzipped file that is wanted backwards: their records are held, 64 bytes each.
"""

from __future__ import annotations

import pwd
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from elsa.decode import acct
from elsa.decode.acct import AcctRecord, AcctRow
from elsa.errors import UsageError
from elsa.kernel.acctfile import CHUNK, AcctFile
from elsa.report import warehouse
from elsa.report.columns import printable
from elsa.report.selection import job_id
from elsa.report.times import Window

STDIN = "-"
# Enough to see what a file is, even if junk stands before the first record.
_SNIFF = 4096
_UIDS_END = 1 << 32
_MEMBERS = """
    select count(distinct m.process_id), count(distinct a.process_id)
    from membership as m
    left join acct as a
        on a.process_id = m.process_id
    where m.job_id = ?
"""


class Pick(NamedTuple):
    """Which records are wanted: what the originals cannot select."""

    job: str | None = None
    uid: int | None = None
    window: Window = Window()


class _Readable(Protocol):
    def read(self, position: int, size: int) -> bytes:
        """Bytes from a position on, fewer than size only at the end."""
        ...


@dataclass
class Records:
    """Records of these files, or without files of the warehouse; `words` says after the reading what was not a record."""

    files: Sequence[str]
    db: Path
    pick: Pick
    backwards: bool = False
    words: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[AcctRow]:
        """The records that are wanted. Raises UsageError, DataError, InputMissingError, ConfigError."""
        return chain.from_iterable(self._parts())  # no Python code runs per record

    def _parts(self) -> Iterator[Iterable[AcctRow]]:
        if not self.files:
            yield from self._stored()
            return
        if self.pick.job is not None:
            raise UsageError("--job needs the warehouse, as a file knows no jobs; read it with elsa ingest, then leave it out here")
        for name in self.files:
            yield from map(self._wanted, self._read(name))

    def _stored(self) -> Iterator[Iterable[AcctRow]]:
        with warehouse.reading(self.db) as connection:
            where = _conditions(self.pick)
            if self.pick.job is not None:
                job = job_id(connection, self.pick.job)
                where.append(f"a.process_id in (select m.process_id from membership as m where m.job_id = {job})")
                members, known = connection.execute(_MEMBERS, (job,)).fetchone()
                if known < members:
                    self.words.append(f"{members - known} of the job's {members} processes have no accounting record, so they are left out")
            columns = ", ".join("n.name" if column == "comm" else f"a.{column}" for column in AcctRecord._fields)
            query = f"select {columns} from acct as a join comm as n on n.id = a.comm_id"
            query += f" where {' and '.join(where)}" if where else ""
            yield connection.execute(f"{query} order by a.id{' desc' if self.backwards else ''}")

    def _wanted(self, rows: Iterable[AcctRow]) -> Iterable[AcctRow]:
        uid, (since, until) = self.pick.uid, self.pick.window
        if uid is not None:
            rows = (row for row in rows if row[4] == uid)
        if since is not None:
            rows = (row for row in rows if acct.exit_second(row) * 1_000_000_000 >= since)
        if until is not None:
            rows = (row for row in rows if acct.exit_second(row) * 1_000_000_000 < until)
        return rows

    def _read(self, name: str) -> Iterator[Iterable[AcctRow]]:
        with ExitStack() as stack:
            file: _Readable = _Pipe(sys.stdin.buffer) if name == STDIN else stack.enter_context(AcctFile(name))
            shown = "standard input" if name == STDIN else name
            acct.sniff(file.read(0, _SNIFF), shown)
            seekable = isinstance(file, AcctFile) and not file.compressed
            pieces = self._pieces(file, shown)
            if self.backwards:
                pieces = _reread(file, [(at, len(data)) for at, data in pieces]) if seekable else reversed(list(pieces))
            for _, data in pieces:
                rows = acct.decode_rows(data)
                yield reversed(list(rows)) if self.backwards else rows

    def _pieces(self, file: _Readable, name: str) -> Iterator[tuple[int, bytes]]:
        """Positions and bytes of whole records. A torn one at the end is none yet: the kernel may be writing it."""
        position = skipped = 0
        more = True
        while more:
            data = file.read(position, CHUNK)
            more = len(data) == CHUNK
            runs = acct.walk(data, more=more)
            for start, end, records in runs:
                if records:
                    yield position + start, data[start:end]
                else:
                    skipped += end - start
            position += runs[-1].end if runs else 0
        if skipped:
            self.words.append(f"{name}: {skipped} bytes that are no accounting records were skipped")


def _reread(file: _Readable, pieces: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """Pieces of a file from the last to the first."""
    return ((at, file.read(at, size)) for at, size in reversed(pieces))


def _conditions(pick: Pick) -> list[str]:
    """SQL for what the records themselves tell; plain integers of ours, so nothing to bind."""
    where = pick.window.where("(a.btime + cast(a.etime / 100 as integer)) * 1000000000")
    return where if pick.uid is None else [f"a.uid = {pick.uid}", *where]


def uid_of(text: str) -> int:
    """The uid that is meant by a name or a number. Raises UsageError."""
    if text.isascii() and text.isdigit() and int(text) < _UIDS_END:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise UsageError(f"no user of this host has the name {printable(text)}; a uid may be given instead") from None


class _Pipe:
    """Standard input, read forward; keeps the piece read last, of which the next one may want the end again."""

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
