"""Reads an accounting file in chunks: which bytes are records, and which are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from operator import not_
from typing import Any, NamedTuple

from elsa.decode import acct, acct_search
from elsa.decode.acct import ETIME, RECORD_SIZE, VERSION, AcctRow
from elsa.decode.acct_search import Run
from elsa.decode.acct_times import ETIME_END
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

    positions: Sequence[int]
    """Of the records, in bytes."""
    columns: list[Sequence[Any]]
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
        runs = acct_search.walk(data, more=more)
        if not runs:
            break
        chunk = _chunk(runs, data, position, before[: len(tail) + runs[-1].end][-MARK:])
        position, tail = chunk.end, chunk.tail
        yield chunk
        if not more:
            break
    if size is None:
        # If a compressed file is damaged at its end, reading on raises the error.
        file.read(position + RECORD_SIZE, 1)


def _chunk(runs: Sequence[Run], data: bytes, position: int, tail: bytes) -> Chunk:
    """What these runs of the bytes from a position on hold. Records whose times the warehouse
    cannot hold are skipped.
    """
    held = [run for run in runs if run.records]
    skipped = [
        Skipped(
            position + run.start,
            position + run.end,
            _what(data[run.start : max(run.end, run.start + RECORD_SIZE)]),
        )
        for run in runs
        if not run.records
    ]
    columns = acct.decode_columns(b"".join(data[run.start : run.end] for run in held))
    starts = (range(position + run.start, position + run.end, RECORD_SIZE) for run in held)
    positions = list(chain.from_iterable(starts))
    if max(columns[ETIME], default=0) >= ETIME_END:
        is_held = [etime < ETIME_END for etime in columns[ETIME]]
        odd = compress(positions, map(not_, is_held))
        skipped += [Skipped(start, start + RECORD_SIZE, ODD_ETIME) for start in odd]
        positions = list(compress(positions, is_held))
        columns = [list(compress(column, is_held)) for column in columns]
    return Chunk(positions, columns, sorted(skipped), position + runs[-1].end, tail)


def _what(data: bytes) -> str:
    if acct_search.has_odd_etime(data):
        return ODD_ETIME
    version = acct_search.foreign_version(data)
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
