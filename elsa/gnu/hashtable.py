"""The order in which the hash table of GNU acct gives its keys back.

sa sorts what it took from that table with a stable sort, so this order decides wherever all figures
of two commands are equal, and in which order ***other is added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

# hashtab.c: buckets at first, how much the table grows, and when (in tenths).
_BUCKETS = 7
_GROWTH = 4
_FULL_TENTHS = 6

_Table = defaultdict[int, list[tuple[int, bytes]]]


def ordered(keys: Iterable[bytes]) -> list[bytes]:
    """The keys, given once each in the order of their insertion, in the order of the table."""
    buckets = _BUCKETS
    table: _Table = defaultdict(list)
    for count, key in enumerate(keys, 1):
        value = _hash(key)
        table[value % buckets].append((value, key))
        if count > buckets * _FULL_TENTHS // 10:
            buckets *= _GROWTH
            grown: _Table = defaultdict(list)
            for value, moved in _walk(table):
                grown[value % buckets].append((value, moved))
            table = grown
    return [key for _, key in _walk(table)]


def _walk(table: _Table) -> Iterable[tuple[int, bytes]]:
    """A bucket is a list that new keys are put in front of, here appended: so each is read from its
    end.
    """
    return [entry for index in sorted(table) for entry in reversed(table[index])]


def _hash(key: bytes) -> int:
    """31 times what was so far, plus the byte as a signed char, in an unsigned long."""
    value = 0
    for byte in key:
        value = (31 * value + (byte - 256 if byte > 127 else byte)) & 0xFFFF_FFFF_FFFF_FFFF
    return value
