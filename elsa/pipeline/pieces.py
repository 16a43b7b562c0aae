"""An accounting file piece by piece: which bytes are records, and which are none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from elsa.decode import acct
from elsa.decode.acct import RECORD_SIZE, VERSION, AcctRow
from elsa.kernel import acctfile
from elsa.kernel.acctfile import AcctFile

NO_RECORD = "bytes that are no record"


class Skipped(NamedTuple):
    """Bytes of a file, from first up to last, that hold no record that can be read, and what they are."""

    first: int
    last: int
    what: str


class Piece(NamedTuple):
    """What was found in the next bytes of a file."""

    rows: list[tuple[int, AcctRow]]
    """Position and record."""
    skipped: list[Skipped]
    end: int


def pieces(file: AcctFile, start: int, size: int | None) -> Iterator[Piece]:
    """Records and gaps of a file from a position on, in order. A torn record at the end is left for the next time."""
    position = start
    while size is None or position < size:
        want = acctfile.CHUNK if size is None else min(acctfile.CHUNK, size - position)
        data = file.read(position, want)
        more = len(data) == want and (size is None or position + want < size)
        runs = acct.walk(data, more=more)
        if not runs:
            break
        rows: list[tuple[int, AcctRow]] = []
        skipped = []
        for run in runs:
            first, last = position + run.start, position + run.end
            if run.records:
                rows.extend(zip(range(first, last, RECORD_SIZE), acct.decode_rows(data[run.start : run.end]), strict=True))
            else:
                skipped.append(Skipped(first, last, _what(data[run.start : run.end])))
        position += runs[-1].end
        yield Piece(rows, skipped, position)
        if not more:
            break
    if size is None:
        file.read(position + RECORD_SIZE, 1)  # a compressed file that is damaged says so when it is asked for more


def _what(data: bytes) -> str:
    version = acct.foreign_version(data)
    if version is None:
        return NO_RECORD
    return f"bytes that begin with a record of version {version}, where only version {VERSION} is read"


def merged(ranges: Iterable[Skipped]) -> list[Skipped]:
    """Ranges in order, those that touch made one, called by its beginning."""
    whole: list[Skipped] = []
    for one in ranges:
        if whole and whole[-1].last == one.first:
            whole[-1] = whole[-1]._replace(last=one.last)
        else:
            whole.append(one)
    return whole
