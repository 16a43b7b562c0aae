"""Reads an accounting file in chunks: which bytes are records, and which are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

from elsa.decode import acct
from elsa.decode.acct import ETIME, ETIME_END, FIELDS, RECORD_SIZE, VERSION, AcctRow
from elsa.kernel import acct_file
from elsa.kernel.acct_file import MARK, AcctFile

NO_RECORD = "bytes that are no record"
ODD_ETIME = "a record whose elapsed time no process can have"


class ReplacedError(Exception):
    """The file was truncated, and perhaps written again, while it was read: it has other content
    now.
    """


class Skipped(NamedTuple):
    """Bytes of a file, from first up to last, that hold no record that can be read."""

    first: int
    last: int
    what: str
    """What they are."""


class Chunk(NamedTuple):
    """The records in the next bytes of a file."""

    positions: list[int]
    """Of the records, in bytes."""
    columns: list[list[Any]]
    """The fields of the records (elsa/decode/acct.py), as columns."""
    skipped: list[Skipped]
    end: int
    tail: bytes
    """The bytes before the end, by which the file is recognised later. They are as they were read:
    the file may have been truncated since.
    """

    @property
    def rows(self) -> list[tuple[int, AcctRow]]:
        """Position and record."""
        return list(zip(self.positions, zip(*self.columns, strict=True), strict=True))


def chunks(
    file: AcctFile, head: bytes, tail: bytes, start: int, size: int | None
) -> Iterator[Chunk]:
    """Records and skipped bytes of a file from `start` on, in order. A torn record at the end is
    left for the next time.

    `head` is the start of the file, and `tail` are the bytes before `start`. Raises ReplacedError
    if the file does not have these any more.
    """
    position = start
    while size is None or position < size:
        want = acct_file.CHUNK if size is None else min(acct_file.CHUNK, size - position)
        data = file.read(position - len(tail), len(tail) + want)
        if not data.startswith(tail or head) or (size is not None and len(data) < len(tail) + want):
            raise ReplacedError
        before, data = data, data[len(tail) :]
        more = len(data) == want and (size is None or position + want < size)
        runs = acct.walk(data, more=more)
        if not runs:
            break
        before = before[: len(tail) + runs[-1].end]
        chunk = Chunk([], [[] for _ in range(FIELDS)], [], position + runs[-1].end, before[-MARK:])
        for run in runs:
            if run.records:
                _take(chunk, position + run.start, data[run.start : run.end])
            else:
                what = _what(data[run.start : max(run.end, run.start + RECORD_SIZE)])
                chunk.skipped.append(Skipped(position + run.start, position + run.end, what))
        position, tail = chunk.end, chunk.tail
        yield chunk
        if not more:
            break
    if size is None:
        # If a compressed file is damaged at its end, reading on raises the error.
        file.read(position + RECORD_SIZE, 1)


def _take(chunk: Chunk, first: int, data: bytes) -> None:
    """Add the records in these bytes to a chunk; those whose times the warehouse cannot hold are
    skipped.
    """
    positions: Sequence[int] = range(first, first + len(data), RECORD_SIZE)
    columns = acct.decode_columns(data)
    if max(columns[ETIME]) >= ETIME_END:
        held = [etime < ETIME_END for etime in columns[ETIME]]
        chunk.skipped.extend(
            Skipped(position, position + RECORD_SIZE, ODD_ETIME)
            for position, is_held in zip(positions, held, strict=True)
            if not is_held
        )
        positions = list(compress(positions, held))
        columns = [list(compress(column, held)) for column in columns]
    chunk.positions.extend(positions)
    for whole, column in zip(chunk.columns, columns, strict=True):
        whole.extend(column)


def _what(data: bytes) -> str:
    if acct.has_odd_etime(data):
        return ODD_ETIME
    version = acct.foreign_version(data)
    if version is None:
        return NO_RECORD
    return (
        f"bytes that begin with a record of version {version}, where only version {VERSION} is read"
    )


def merged(ranges: Iterable[Skipped]) -> list[Skipped]:
    """The ranges in order; adjacent ranges become one, with what the first of them is."""
    result: list[Skipped] = []
    for skipped in ranges:
        if result and result[-1].last == skipped.first:
            result[-1] = result[-1]._replace(last=skipped.last)
        else:
            result.append(skipped)
    return result
