"""BSD process accounting, version 3: decodes the records in the bytes of an accounting file.

A record is 64 bytes and has no checksum, so `plausible` checks all that the kernel guarantees about
a record. `walk` uses it to find the records in a chunk of a file, whatever is between them;
`decode_columns` decodes what `walk` found, many at a time.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cache
from itertools import chain
from math import frexp
from operator import sub
from typing import Any, Final, NamedTuple, TypeAlias

from elsa.decode.comm import escape_comm
from elsa.errors import DataError

# struct acct_v3, include/uapi/linux/acct.h (Linux 2.6.11 and later): flag, version, tty; exitcode,
# uid, gid, pid, ppid, btime, etime; utime, stime, mem, io, rw, minflt, majflt, swaps as comp_t;
# comm. Written in the byte order of the host, which ACCT_BYTEORDER shows.
_V3_LITTLE = struct.Struct("<2BH6If8H16s")
_V3_BIG = struct.Struct(">2BH6If8H16s")
RECORD_SIZE = 64

VERSION = 3
BIG_ENDIAN = 0x80
"""ACCT_BYTEORDER: the bit of the version byte that a big-endian kernel sets."""

# enum in include/uapi/linux/acct.h
AFORK = 0x01
"""Forked, but never executed a program."""
ASU = 0x02
"""Used superuser privilege."""
ACORE = 0x08
"""Dumped core."""
AXSIG = 0x10
"""Was killed by a signal."""
# ACOMPAT (0x04) and AGROUP (0x20) are defined too, though no kernel writes them here; nothing above
# is
_FLAGS_END = 0x40

EXACT_ETIME = 1 << 24
"""A float holds every whole number of 1/100 s up to this: 46 hours. What is longer is cut to 24
bits.
"""
CLOCK_SET = 1_104_537_600
"""Linux writes these records since 2005: an earlier time is that of a clock that nobody has set,
and may come again with every boot.
"""
WRAP = 1 << 32
YEAR_2106 = 4_291_747_200
"""From this second on a time cannot be told from one before 1970, which 32 bits without a sign turn
into it; no clock goes there.
"""
ETIME_END = 100 << 31
"""No process lives for this long, in 1/100 s: 68 years. Each time below it, its start and its end
fit into 64 bits of nanoseconds.
"""

COMP_EXACT = 1 << 13
"""A comp_t below this has no exponent."""
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


class AcctRecord(NamedTuple):
    """A process that ended, in the kernel's units and in the order of the columns of table acct."""

    flag: int
    """AFORK, ASU, ACORE, AXSIG."""
    version: int
    """3, with BIG_ENDIAN where the record was written so."""
    tty: int
    """Controlling terminal, major << 8 | minor; 0: none."""
    exitcode: int
    """Wait status of the group's leader, which is not always the process's."""
    uid: int
    """Real user id."""
    gid: int
    """Real group id."""
    pid: int
    """Thread group id, as seen from the pid namespace in which accounting was switched on."""
    ppid: int
    """The parent at the end, not at the fork; 0 if it is outside that namespace."""
    btime: int
    """Second of the end less the whole seconds elapsed: wrong by any step of the clock since the
    start.
    """
    etime: float
    """1/100 s elapsed on the monotonic clock; a whole number."""
    utime: int
    """1/100 s of user CPU time, rounded down: a short process reads 0."""
    stime: int
    """1/100 s of system CPU time, rounded down."""
    mem: int
    """KiB of virtual memory at the end; 0: a kernel thread, or `is_self_record`."""
    io: int
    """0, or what the kernel at hand keeps there: never characters."""
    rw: int
    """0."""
    minflt: int
    """Minor page faults."""
    majflt: int
    """Major page faults."""
    swaps: int
    """0."""
    comm: str
    """Command name, as `escape_comm` writes it."""


AcctRow: TypeAlias = tuple[
    int, int, int, int, int, int, int, int, int, float, int, int, int, int, int, int, int, int, str
]
"""The fields of an AcctRecord as a plain tuple, which is made faster; an AcctRecord is one too."""

# Positions of fields in an AcctRow.
FLAG: Final = 0
EXITCODE: Final = 3
UID: Final = 4
GID: Final = 5
PID: Final = 6
PPID: Final = 7
BTIME: Final = 8
ETIME: Final = 9
UTIME: Final = 10
STIME: Final = 11
MEM: Final = 12
MINFLT: Final = 15
MAJFLT: Final = 16
COMM: Final = 18
FIELDS: Final = 19


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


@cache
def comp_table() -> tuple[int, ...]:
    """The value of every comp_t: 13 bits of mantissa under 3 bits of base-8 exponent, so large ones
    were rounded down.

    Looking one of the 65,536 up is several times faster than working it out; made when first
    needed, as it takes 2 ms.
    """
    return tuple(
        chain.from_iterable(range(0, 8192 << shift, 1 << shift) for shift in range(0, 24, 3))
    )


def decode_record(buffer: bytes, offset: int = 0) -> AcctRecord:
    """The record that starts at this offset; DataError if it is cut short or not version 3."""
    if len(buffer) - offset < RECORD_SIZE:
        raise DataError(
            f"an accounting record has {RECORD_SIZE} bytes, not {max(0, len(buffer) - offset)}"
        )
    fields = _layout(buffer[offset + 1]).unpack_from(buffer, offset)
    return AcctRecord._make(
        (*fields[:10], *map(comp_table().__getitem__, fields[10:18]), escape_comm(fields[18]))
    )


def decode_columns(buffer: bytes) -> list[Sequence[Any]]:
    """The records of a buffer that holds nothing else, as columns: one for each field of an
    AcctRecord.

    No Python code runs per record: about four times as fast as unpacking each.
    """
    if len(buffer) % RECORD_SIZE:
        raise DataError(f"{len(buffer)} bytes are not a whole number of accounting records")
    columns = _Columns.of(buffer)
    if columns is not None:
        return columns.decoded()
    offsets = range(0, len(buffer), RECORD_SIZE)
    return list(zip(*(decode_record(buffer, offset) for offset in offsets), strict=True))


def decode_rows(buffer: bytes) -> Iterator[AcctRow]:
    """The same records as plain tuples."""
    return zip(*decode_columns(buffer), strict=True)


def _layout(version: int) -> struct.Struct:
    if version == VERSION:
        return _V3_LITTLE
    if version == VERSION | BIG_ENDIAN:
        return _V3_BIG
    raise DataError(
        f"an accounting record of version {version & ~BIG_ENDIAN}, where only version {VERSION} is"
        " read"
    )


class _Columns(NamedTuple):
    """The fields of many records, column by column, of one byte order."""

    buffer: bytes
    halves: array[int]
    words: array[int]
    floats: array[float]

    @classmethod
    def of(cls, buffer: bytes) -> _Columns | None:
        """The columns, or None where the records are not all version 3 of one byte order."""
        versions = set(buffer[1::RECORD_SIZE])
        if not versions <= {VERSION} and versions != {VERSION | BIG_ENDIAN}:
            return None
        columns = cls(buffer, array("H", buffer), array("I", buffer), array("f", buffer))
        if (VERSION in versions) != (sys.byteorder == "little"):
            for column in (columns.halves, columns.words, columns.floats):
                column.byteswap()
        return columns

    def decoded(self) -> list[Sequence[Any]]:
        words = [self.words[index::16].tolist() for index in range(1, 7)]
        comp = [_from_comp(self.halves[index::32].tolist()) for index in range(16, 24)]
        first = (self.buffer[0::64], self.buffer[1::64], self.halves[1::32].tolist())
        names = list(self.comms())
        escaped = {name: escape_comm(name) for name in set(names)}
        comms = [escaped[name] for name in names]
        return [*first, *words, self.floats[7::16].tolist(), *comp, comms]

    def comms(self) -> Iterator[bytes]:
        return chain.from_iterable(_COMM.iter_unpack(self.buffer))

    def plausible(self) -> bool:
        """Every record would pass `plausible`; the same tests, a column at a time."""
        etimes = self.floats[7::16]
        return (
            max(self.buffer[0::64]) < _FLAGS_END
            and max(self.words[1::16]) < _STATUS_END
            and min(self.words[4::16]) > 0
            and max(self.words[4::16]) < PID_END
            and max(self.words[5::16]) < PID_END
            and all(map(float.is_integer, etimes))
            and min(etimes) >= 0
            and all(map(_is_comm, set(self.comms())))
        )


def _from_comp(column: list[int]) -> list[int]:
    """The values of comp_t's; the smallest, which most columns have only, stand for themselves."""
    if max(column, default=0) < COMP_EXACT:
        return column
    return list(map(comp_table().__getitem__, column))


_COMM = struct.Struct("48x16s")


def plausible(buffer: bytes, offset: int = 0) -> bool:
    """Whether the kernel could have written these 64 bytes: it holds for every record, and by
    chance for one junk in about 2**60.

    btime is not looked at: a machine without a battery starts in 1970, and any 32 bits are a time.
    """
    if len(buffer) - offset < RECORD_SIZE or buffer[offset + 1] & ~BIG_ENDIAN != VERSION:
        return False
    flag, _, _, status, _, _, pid, ppid, _, etime, _, _, mem, *_, comm = _layout(
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
    columns = _Columns.of(buffer[:whole])
    return whole - RECORD_SIZE if columns is not None and columns.plausible() else 0


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


def exit_second(record: AcctRow) -> int:
    """The second, since 1970, in which the process ended: right even if the clock was set during
    its lifetime, unlike btime. Too early by up to `late_most` if etime was cut.
    """
    second = record[BTIME] + int(record[ETIME]) // 100
    return second - WRAP if second >= YEAR_2106 else second


class Times(NamedTuple):
    """When the processes of records, in file order, started and ended: columns."""

    ticks: list[int]
    """etime as a whole number."""
    begins: list[int]
    """btime with its sign: before 1970 where the unsigned field went below 0, as a clock that was
    set back during the process's lifetime makes it.
    """
    late: list[int | None]
    """`late_seconds`"""
    ends: list[int]
    """The second of the end: `exit_second`, and so much later."""

    @classmethod
    def of(cls, columns: Sequence[Sequence[Any]], before: int | None) -> Times:
        """Of records after one of the second `before` (as in `late_seconds`)."""
        btimes, etimes = columns[BTIME], columns[ETIME]
        ticks = list(map(int, etimes))
        ends = [btime + tick // 100 for btime, tick in zip(btimes, ticks, strict=True)]
        begins = list(btimes)
        if max(ends, default=0) >= YEAR_2106:
            wraps = [WRAP if end >= YEAR_2106 else 0 for end in ends]
            begins, ends = list(map(sub, btimes, wraps)), list(map(sub, ends, wraps))
        late = late_seconds(ends, etimes, before)
        if any(late):
            ends = [end + (late_s or 0) for end, late_s in zip(ends, late, strict=True)]
        return cls(ticks, begins, late, ends)


def late_most(etime: float) -> int:
    """How many seconds later than `exit_second` the process may have ended: etime is a float of 24
    bits, exact for 46 hours only.
    """
    if etime <= EXACT_ETIME:
        return 0
    most = int(etime) + (1 << frexp(etime)[1] - 24) - 1
    return most // 100 - int(etime) // 100


def late_seconds(
    seconds: Sequence[int], etimes: Sequence[float], before: int | None
) -> list[int | None]:
    """How many seconds later than its `exit_second` each of these records, in file order, was
    written; None if etime is exact.

    The kernel appends in the order of time, so no record was written before the one in front of it.
    If the clock was set in between, that one's second is out of the possible range and not used.
    `before` is the exit second of the record before these, None if there is none.
    """
    late: list[int | None] = [None] * len(seconds)
    if max(etimes, default=0) > EXACT_ETIME:
        for index, (second, etime) in enumerate(zip(seconds, etimes, strict=True)):
            if etime > EXACT_ETIME:
                in_range = before is not None and second < before <= second + late_most(etime)
                late[index] = before - second if in_range and before is not None else 0
            before = second + (late[index] or 0)
    return late


def is_self_record(record: AcctRow) -> bool:
    """Whether acct(2) or umount wrote this about its own caller, which goes on running: it is not
    the end of a process, and not counted.

    The kernel fills in memory, status and AFORK only at the end, so here they are 0. A process that
    has ended has memory; a kernel thread has none, but has AFORK, as it never executed a program.
    Page faults and CPU times prove nothing: they are filled in if other threads of the caller have
    ended.
    """
    return record[MEM] == 0 and record[EXITCODE] == 0 and not record[FLAG] & ~ASU


def self_records(columns: Sequence[Sequence[Any]]) -> list[int]:
    """Which of the records in these columns are self records, by index."""
    flags, exitcodes = columns[FLAG], columns[EXITCODE]
    return [
        index
        for index, mem in enumerate(columns[MEM])
        if mem == 0 and exitcodes[index] == 0 and not flags[index] & ~ASU
    ]
