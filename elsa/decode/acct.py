"""BSD process accounting, version 3: decodes records, of which an accounting file consists.

acct_search.py finds them in a file, and acct_times.py says when the processes ended.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
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

COMP_EXACT = 1 << 13
"""A comp_t below this has no exponent."""


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
    fields = layout(buffer[offset + 1]).unpack_from(buffer, offset)
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
    columns = Columns.of(buffer)
    if columns is not None:
        return columns.decoded()
    offsets = range(0, len(buffer), RECORD_SIZE)
    return list(zip(*(decode_record(buffer, offset) for offset in offsets), strict=True))


def decode_rows(buffer: bytes) -> Iterator[AcctRow]:
    """The same records as plain tuples."""
    return zip(*decode_columns(buffer), strict=True)


def layout(version: int) -> struct.Struct:
    """How a record of a version byte lies in its bytes. Raises DataError."""
    if version == VERSION:
        return _V3_LITTLE
    if version == VERSION | BIG_ENDIAN:
        return _V3_BIG
    raise DataError(
        f"an accounting record of version {version & ~BIG_ENDIAN}, where only version {VERSION} is"
        " read"
    )


class Columns(NamedTuple):
    """The fields of many records, column by column, of one byte order."""

    buffer: bytes
    halves: array[int]
    words: array[int]
    floats: array[float]

    @classmethod
    def of(cls, buffer: bytes) -> Columns | None:
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
        """The columns of AcctRecords."""
        words = [self.words[index::16].tolist() for index in range(1, 7)]
        comp = [_from_comp(self.halves[index::32].tolist()) for index in range(16, 24)]
        first = (self.buffer[0::64], self.buffer[1::64], self.halves[1::32].tolist())
        names = list(self.comms())
        escaped = {name: escape_comm(name) for name in set(names)}
        comms = [escaped[name] for name in names]
        return [*first, *words, self.floats[7::16].tolist(), *comp, comms]

    def comms(self) -> Iterator[bytes]:
        """The command names as they lie there."""
        return chain.from_iterable(_COMM.iter_unpack(self.buffer))


def _from_comp(column: list[int]) -> list[int]:
    """The values of comp_t's; the smallest, which most columns have only, stand for themselves."""
    if max(column, default=0) < COMP_EXACT:
        return column
    return list(map(comp_table().__getitem__, column))


_COMM = struct.Struct("48x16s")


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
