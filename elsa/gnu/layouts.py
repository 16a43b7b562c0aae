"""Accounting records as bytes again: version 3 as the kernel wrote them, or converted to versions 0
to 2 (dump-acct --raw --format).
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache

from elsa.decode.acct import BIG_ENDIAN, AcctRow
from elsa.gnu import text

VERSION = 3
HZ = 100
"""Ticks per second in a record of version 3, whatever the machine."""
# include/uapi/linux/acct.h. Version 3: see elsa.decode.acct. The older ones: flag, version, 16 bits
# of uid and of gid, tty, btime; utime, stime, etime, mem, io, rw, minflt, majflt, swaps as comp_t;
# ticks per second (not in version 1); exitcode, comm; etime as a comp2_t of 24 bits, the high 8
# first; uid, gid.
_LAYOUTS = {0: "2B3HI9HHI16sxBH2I", 1: "2B3HI9HI16sxBH2I", 2: "2B3HI9HHI16sxBH2I", 3: "2BH6If8H16s"}
# comp_t: 13 bits of mantissa, 3 of a base-8 exponent. comp2_t: 20 bits of mantissa, of which the
# leading one is implied, 5 of exponent.
_COMP_MANTISSA, _COMP_MOST = 13, 0xFFFF
_COMP2_MANTISSA, _COMP2_MOST = 20, 0xFF_FFFF
# More than either holds, and less than infinity.
_BEYOND = 2.0**64


def raw(
    rows: Iterable[AcctRow], version: int = VERSION, *, byteswap: bool = False, ahz: int = HZ
) -> Iterator[bytes]:
    """Records of a version from 0 to 3, in the byte order of this machine or in the other one.

    Of versions 0 and 2 CPU and elapsed time are in units of 1/ahz s. Ids have 16 bits only in
    version 0: what is above is lost there.
    """
    little = (sys.byteorder == "little") != byteswap
    layout = struct.Struct(("<" if little else ">") + _LAYOUTS[version])
    mark = version | (0 if little else BIG_ENDIAN)
    if version == VERSION:
        return (_newest(row, layout, mark) for row in rows)
    factor = ahz / HZ if version in {0, 2} else 1.0
    return (_older(row, layout, mark, factor) for row in rows)


def _newest(row: AcctRow, layout: struct.Struct, mark: int) -> bytes:
    flag, _, *head = row[:10]
    return layout.pack(flag, mark, *head, *map(comp, row[10:18]), text.command(row[18]))


def _older(row: AcctRow, layout: struct.Struct, mark: int, factor: float) -> bytes:
    flag, _, tty, status, uid, gid, _, _, btime, etime, utime, stime, *rest, comm = row
    elapsed = _single(etime * factor)
    times = (comp(utime * factor), comp(stime * factor), comp(elapsed))
    ticks = () if mark & ~BIG_ENDIAN == 1 else (HZ,)
    long = comp2(elapsed)
    head = (flag, mark, uid & 0xFFFF, gid & 0xFFFF, tty, btime, *times, *map(comp, rest), *ticks)
    return layout.pack(*head, status, text.command(comm), long >> 16, long & 0xFFFF, uid, gid)


@lru_cache(maxsize=65536)
def comp(value: float) -> int:
    """The comp_t nearest to a value of 0 or more, the largest one for what is too large."""
    value = min(value, _BEYOND)
    bits = math.frexp(value)[1]
    shift = max(0, bits - _COMP_MANTISSA + 2) // 3
    mantissa = int(math.ldexp(value, -3 * shift) + 0.5)
    if mantissa >> _COMP_MANTISSA:  # rounded up to one bit more
        mantissa >>= 3
        shift += 1
    return mantissa | shift << _COMP_MANTISSA if shift < 8 else _COMP_MOST


def comp2(value: float) -> int:
    """The comp2_t nearest to a value of 0 or more, the largest one for what is too large."""
    value = min(value, _BEYOND)
    shift = max(0, math.frexp(value)[1] - _COMP2_MANTISSA)
    mantissa = int(math.ldexp(value, -shift) + 0.5)
    if mantissa >> _COMP2_MANTISSA:
        mantissa >>= 1
        shift += 1
    if shift >= 31:
        return _COMP2_MOST
    implied = 1 << (_COMP2_MANTISSA - 1)
    return (
        (mantissa - implied | (shift + 1) << (_COMP2_MANTISSA - 1))
        if mantissa >= implied
        else mantissa
    )


def _single(value: float) -> float:
    """The value as a float of 32 bits."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
