"""When a process ended according to its accounting record, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp
from operator import sub
from typing import Any, NamedTuple

from elsa.decode.acct import BTIME, ETIME, AcctRow

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
