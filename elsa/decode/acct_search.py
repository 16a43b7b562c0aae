"""Finds accounting records among other bytes of a file.

A record is 64 bytes and has no checksum, so `plausible` checks all that the kernel guarantees about
a record. `walk` uses it to find the records in a chunk of a file, whatever is between them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from elsa.decode.acct import AFORK, BIG_ENDIAN, RECORD_SIZE, VERSION, Columns, decode_record, layout
from elsa.decode.acct_times import ETIME_END
from elsa.errors import DataError

# ACOMPAT (0x04) and AGROUP (0x20) are defined too, though no kernel writes them here; nothing above
# is
_FLAGS_END = 0x40
PID_END = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h: no pid reaches it
_STATUS_END = 1 << 16  # a wait status: exit code or signal, a byte each

# Enough to see what a file is; and where junk stands before the first record, so much is searched
# for one.
_SNIFFED = 4096
_SNIFFED_MOST = 1 << 20
_SQLITE = b"SQLite format 3\0"
"""Such a file may hold accounting records byte for byte, as ELSA's own warehouse does."""

LOOKAHEAD = 3 * RECORD_SIZE
"""`walk` decides about a byte when it has seen this many from it on; a piece of a file must be
longer.
"""


class Content(Enum):
    """What a file holds, by its first bytes."""

    EMPTY = "empty"
    LITTLE = "version 3, little-endian"
    BIG = "version 3, big-endian"


class Run(NamedTuple):
    """Bytes from start up to end of a buffer: whole records, or else bytes that belong to none."""

    start: int
    end: int
    records: bool


def plausible(buffer: bytes, offset: int = 0) -> bool:
    """Whether the kernel could have written these 64 bytes: it holds for every record, and by
    chance for one junk in about 2**60.

    btime is not looked at: a machine without a battery starts in 1970, and any 32 bits are a time.
    """
    if len(buffer) - offset < RECORD_SIZE or buffer[offset + 1] & ~BIG_ENDIAN != VERSION:
        return False
    flag, _, _, status, _, _, pid, ppid, _, etime, _, _, mem, *_, comm = layout(
        buffer[offset + 1]
    ).unpack_from(buffer, offset)
    return (
        flag < _FLAGS_END
        and 0 < pid < PID_END
        and ppid < PID_END
        # the kernel makes the float of a whole number of ticks; is_integer is false for infinities
        # and NaN
        and etime >= 0
        and etime.is_integer()
        # before Linux 5.17 a kernel thread ends with whatever its function returned, -EINTR say
        and (status < _STATUS_END or (mem == 0 and bool(flag & AFORK)))
        and _is_comm(comm)
    )


def _all_plausible(columns: Columns) -> bool:
    """Every record would pass `plausible`; the same tests, a column at a time."""
    etimes = columns.floats[7::16]
    return (
        max(columns.buffer[0::64]) < _FLAGS_END
        and max(columns.words[1::16]) < _STATUS_END
        and min(columns.words[4::16]) > 0
        and max(columns.words[4::16]) < PID_END
        and max(columns.words[5::16]) < PID_END
        and all(map(float.is_integer, etimes))
        and min(etimes) >= 0
        and all(map(_is_comm, set(columns.comms())))
    )


def _is_comm(comm: bytes) -> bool:
    """The kernel clears the record before it copies the name, so that nothing but NULs follows the
    first one.
    """
    return comm[-1] == 0 and 0 not in comm.rstrip(b"\0")


# What `plausible` demands of single bytes, in either byte order, to jump over junk quickly: flag,
# version, then the top byte of pid and ppid (little-endian at 19 and 23, big-endian at 16 and 20),
# and the NUL at the end of comm.
_CANDIDATE = re.compile(
    rb"(?=[\x00-\x3f](?:\x03.{17}\x00.{3}\x00|\x83.{14}\x00.{3}\x00.{3}).{39}\x00)", re.DOTALL
)


def walk(buffer: bytes, *, more: bool) -> list[Run]:
    """Separate records from other bytes in a chunk of a file that starts where the last walk ended.

    The runs follow each other from 0 on and alternate; the bytes after the last run are undecided
    and belong to the next chunk. With `more` (bytes of the file follow the buffer) these are less
    than LOOKAHEAD bytes, else less than a record: the kernel may be about to complete it.

    A plausible record is accepted if the next one is plausible too, or if the file ends there. If
    something else follows, it is accepted unless another record starts inside it: then it is a
    chimera, the torn head of a record completed with the first bytes of the next. All this uses no
    more than LOOKAHEAD bytes and keeps no state, so the result depends neither on how a file was
    divided into chunks nor on where reading was interrupted.
    """
    runs: list[Run] = []
    position = _leading_records(buffer)
    if position:
        runs.append(Run(0, position, records=True))
    end = len(buffer) - (LOOKAHEAD if more else RECORD_SIZE)
    while position <= end:
        if plausible(buffer, position) and not _is_chimera(buffer, position):
            _extend(runs, position, position + RECORD_SIZE, records=True)
        elif has_odd_etime(buffer, position) and not _is_chimera(buffer, position):
            _extend(runs, position, position + RECORD_SIZE, records=False)
        else:
            _extend(
                runs,
                position,
                min(_next_plausible(buffer, position + 1, len(buffer)), end + 1),
                records=False,
            )
        position = runs[-1].end
    return runs


def begins_with_record(buffer: bytes) -> bool:
    """Whether bytes in the middle of a file (LOOKAHEAD and a record of them) begin with a record of
    a time that can be.
    """
    runs = walk(buffer, more=False)
    return bool(runs) and runs[0].records and decode_record(buffer).etime < ETIME_END


def _leading_records(buffer: bytes) -> int:
    """The fast way through what is nearly always there: nothing but records. The end of all but the
    last one, whose next is unknown.
    """
    whole = len(buffer) - len(buffer) % RECORD_SIZE
    if whole <= RECORD_SIZE:
        return 0
    columns = Columns.of(buffer[:whole])
    return whole - RECORD_SIZE if columns is not None and _all_plausible(columns) else 0


def _is_chimera(buffer: bytes, position: int) -> bool:
    following = position + RECORD_SIZE
    if following == len(buffer) or plausible(buffer, following):
        return False
    return _next_plausible(buffer, position + 1, following) < following


def _next_plausible(buffer: bytes, start: int, stop: int) -> int:
    """The first offset from start on, before stop, where a record is plausible; else stop."""
    for match in _CANDIDATE.finditer(buffer, start, min(len(buffer), stop + RECORD_SIZE)):
        if match.start() >= stop:
            break
        if plausible(buffer, match.start()):
            return match.start()
    return stop


def _extend(runs: list[Run], start: int, end: int, *, records: bool) -> None:
    if runs and runs[-1].records == records:
        runs[-1] = runs[-1]._replace(end=end)
    else:
        runs.append(Run(start, end, records))


def content(read: Callable[[int, int], bytes], name: str) -> Content:
    """What kind of file it is of which `read` gives the bytes: from a position on, at most so many.

    DataError, with the name in front, if no record of version 3 lies within its first MiB; or if it
    begins with none and from the first one on, most bytes are none: by chance any large file holds
    what looks like a record somewhere.
    """
    try:
        kind = sniff(start := read(0, _SNIFFED), name)
    except DataError:
        kind = sniff(start := read(0, _SNIFFED_MOST), name)
    if kind is not Content.EMPTY and not plausible(start):
        _refuse_chance(read, name)
    return kind


def _refuse_chance(read: Callable[[int, int], bytes], name: str) -> None:
    start = read(0, _SNIFFED_MOST)
    found = _next_plausible(start, 0, len(start))
    # From the beginning again, since a pipe gives nothing back of what it was read past.
    rest = read(0, found + _SNIFFED_MOST)[found:]
    held = sum(run.end - run.start for run in walk(rest, more=False) if run.records)
    if start.startswith(_SQLITE) or 2 * held < len(rest):
        raise DataError(f"{name}: not an accounting file")


def sniff(start: bytes, name: str) -> Content:
    """What kind of file starts with these bytes (give some thousands, since junk may precede the
    first record).

    DataError, with the name in front, if there is not one version 3 record in them.
    """
    if not start:
        return Content.EMPTY
    found = _next_plausible(start, 0, len(start))
    if found < len(start):
        return Content.BIG if start[found + 1] & BIG_ENDIAN else Content.LITTLE
    other = foreign_version(start)
    if other is None:
        raise DataError(f"{name}: not an accounting file")
    if other < VERSION:
        raise DataError(
            f"{name}: acct version {other} records carry no pid and cannot be joined to a job; only"
            f" version {VERSION} is read"
        )
    raise DataError(f"{name}: acct version {other} records; only version {VERSION} is read")


def has_odd_etime(buffer: bytes, offset: int = 0) -> bool:
    """Whether these 64 bytes would be a record, were its elapsed time not negative, broken,
    infinite or NaN.
    """
    as_none = buffer[offset : offset + 28] + bytes(4) + buffer[offset + 32 : offset + RECORD_SIZE]
    return plausible(as_none) and not plausible(buffer, offset)


def foreign_version(buffer: bytes) -> int | None:
    """The version of the record that a buffer begins with, if it looks like one of another version
    than is read here; else None.
    """
    if len(buffer) < RECORD_SIZE or buffer[1] & ~BIG_ENDIAN == VERSION:
        return None
    as_ours = bytes((buffer[0], VERSION | buffer[1] & BIG_ENDIAN)) + buffer[2:RECORD_SIZE]
    return buffer[1] & ~BIG_ENDIAN if plausible(as_ours) else _old_version(buffer[:RECORD_SIZE])


def _old_version(start: bytes) -> int | None:
    """0 to 2 if a record looks like struct acct of include/uapi/linux/acct.h: version@1, btime@8,
    exitcode@32, comm[17]@36.
    """
    flag, version, comm = start[0], start[1] & ~BIG_ENDIAN, start[36:53]
    order = ">" if start[1] & BIG_ENDIAN else "<"
    (btime,) = struct.unpack_from(f"{order}I", start, 8)
    (status,) = struct.unpack_from(f"{order}I", start, 32)
    if (
        version >= VERSION
        or flag >= _FLAGS_END
        or status >= _STATUS_END
        or btime == 0
        or not _is_comm(comm)
    ):
        return None
    return version
