"""An accounting file piece by piece: which bytes are records, and which are none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from elsa.decode import acct
from elsa.decode.acct import ETIME_END, RECORD_SIZE, VERSION, AcctRow
from elsa.kernel import acct_file
from elsa.kernel.acct_file import MARK, AcctFile

NO_RECORD = "bytes that are no record"
ODD_ETIME = "a record whose elapsed time no process can have"


class ReplacedError(Exception):
    """The file was truncated, and perhaps written anew, while it was read: what stands in it now is
    another file's content.
    """


class Skipped(NamedTuple):
    """Bytes of a file, from first up to last, that hold no record that can be read, and what they
    are.
    """

    first: int
    last: int
    what: str


class Piece(NamedTuple):
    """What was found in the next bytes of a file."""

    rows: list[tuple[int, AcctRow]]
    """Position and record."""
    skipped: list[Skipped]
    end: int
    tail: bytes
    """The bytes before the end, by which the file is known again. They are those that were read: by
    now the file may be cut.
    """


def pieces(
    file: AcctFile, head: bytes, tail: bytes, start: int, size: int | None
) -> Iterator[Piece]:
    """Records and gaps of a file from a position on, in order. A torn record at the end is left for
    the next time.

    The file begins with `head`, and `tail` stands before the start. Raises ReplacedError when that
    is there no more.
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
        rows: list[tuple[int, AcctRow]] = []
        skipped: list[Skipped] = []
        for run in runs:
            if run.records:
                _take(position + run.start, data[run.start : run.end], rows, skipped)
            else:
                what = _what(data[run.start : max(run.end, run.start + RECORD_SIZE)])
                skipped.append(Skipped(position + run.start, position + run.end, what))
        before = before[: len(tail) + runs[-1].end]
        position, tail = position + runs[-1].end, before[-MARK:]
        yield Piece(rows, skipped, position, tail)
        if not more:
            break
    if size is None:
        file.read(
            position + RECORD_SIZE, 1
        )  # a compressed file that is damaged says so when it is asked for more


def _take(first: int, data: bytes, rows: list[tuple[int, AcctRow]], skipped: list[Skipped]) -> None:
    """Sort records into those that can be and those whose times the warehouse could not hold."""
    found = list(
        zip(range(first, first + len(data), RECORD_SIZE), acct.decode_rows(data), strict=True)
    )
    if max(row[9] for _, row in found) < ETIME_END:
        rows += found
        return
    rows += [(position, row) for position, row in found if row[9] < ETIME_END]
    skipped += [
        Skipped(position, position + RECORD_SIZE, ODD_ETIME)
        for position, row in found
        if row[9] >= ETIME_END
    ]


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
    """Ranges in order, those that touch made one, called by its beginning."""
    whole: list[Skipped] = []
    for one in ranges:
        if whole and whole[-1].last == one.first:
            whole[-1] = whole[-1]._replace(last=one.last)
        else:
            whole.append(one)
    return whole
