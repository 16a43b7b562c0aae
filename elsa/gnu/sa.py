"""sa: accounting records summed up by command, user or group.

Every sum is a double to which the records are added one by one in file order, as the original does:
54 times 0.05 s is not 54 * 0.05 s, and on a screen of two decimals that shows.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from elsa.decode.acct import AFORK, COMM, FLAG, GID, UID, AcctRow
from elsa.gnu import hashtable, text

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024
_HZ = 100.0
_COMM_BYTES = 16
_NAME_BYTES = 32

_OTHER = b"***other"
_JUNK = b"**junk**"


class Stats:
    """What is known of some records: how many, and the sums in seconds, quarter KiB (where a page
    has 4 KiB) and counts.
    """

    __slots__ = ("calls", "elapsed", "io", "major", "mem", "minor", "swaps", "system", "user")

    def __init__(self) -> None:
        self.calls = 0
        self.user = self.system = self.elapsed = self.io = self.mem = self.minor = self.major = (
            self.swaps
        ) = 0.0

    def add(self, other: Stats) -> None:
        """Add the sums of others."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def cpu(self) -> float:
        """User and system time."""
        return self.user + self.system


class Shape(NamedTuple):
    """What to print, and in which order; the names are those of the options."""

    sort: str = "cpu"
    """cpu, calls, cpu_per_call, avio, tio, mem, ksec or real."""
    reverse: bool = False
    all_names: bool = False
    percentages: bool = False
    seconds: bool = False
    separate_times: bool = False
    ratio: bool = False
    total_io: bool = False
    ksec: bool = False
    paging: bool = False
    paging_mean: bool = False
    threshold: int = 0
    """Commands called so often or less may be junk; 0: none."""


_Key: TypeAlias = tuple[str, int]
Ask: TypeAlias = Callable[[bytes], bool]


def by_command(rows: Iterable[AcctRow], shape: Shape, ask: Ask) -> Iterator[bytes]:
    """A line per command, separately for commands that never called exec; commands that ran once or
    have an unprintable name are in ***other.

    ask(name) decides whether a command that was called no more than `threshold` times is **junk**.
    """
    total = Stats()
    groups: dict[_Key, Stats] = tally(rows, lambda row: (row[COMM], row[FLAG] & AFORK), total)
    names = {_command_key(text.command(comm), fork): (comm, fork) for comm, fork in groups}
    other, junk = _Lump(_OTHER), _Lump(_JUNK)
    single: list[tuple[bytes, Stats]] = []
    for key in hashtable.ordered(names):
        stats = groups[names[key]]
        name, fork = text.command(names[key][0]), names[key][1]
        if shape.all_names:
            lump = None
        elif stats.calls <= shape.threshold and ask(name):
            lump = junk
        else:
            lump = other if stats.calls == 1 or not text.printable(name) else None
        if lump is None:
            single.append((_starred(name, fork), stats))
        else:
            lump.add(stats, fork)
    if not single:
        return
    lumps = [
        (_starred(lump.name, lump.fork), lump.stats) for lump in (other, junk) if lump.stats.calls
    ]
    yield figures(total, total, shape) + b"\n"
    for name, stats in _sorted([*lumps, *single], shape):
        yield figures(stats, total, shape) + name + b"\n"


def by_owner(rows: Iterable[AcctRow], shape: Shape, *, groups: bool = False) -> Iterator[bytes]:
    """Lines by user or by group, the sum first, under a name of nobody."""
    total = Stats()
    name_of = (
        (lambda row: text.group(row[GID])[:_NAME_BYTES])
        if groups
        else (lambda row: text.user(row[UID])[:_NAME_BYTES])
    )
    found: dict[bytes, Stats] = tally(rows, name_of, total)
    if not found:
        return
    entries = _sorted([(name, found[name]) for name in hashtable.ordered(found)], shape)
    for name, stats in [(b"", total), *entries]:
        yield b"%-32.32s " % name + figures(stats, total, shape) + b"\n"


def each(rows: Iterable[AcctRow]) -> Iterator[bytes]:
    """A line per record: user, CPU seconds, memory, io, command."""
    for flag, _, _, _, uid, _, _, _, _, _, utime, stime, mem, io, _, _, _, _, comm in rows:
        cpu = utime / _HZ + stime / _HZ
        star = b"*" if flag & AFORK else b""
        name = text.command(comm)
        yield b"%-8.8s %6.2f cpu %8.0fk mem %6.0f io %-16.16s%b\n" % (
            text.user(uid),
            cpu,
            mem / _PAGE_KIB,
            io / _HZ,
            name,
            star,
        )


def tally(
    rows: Iterable[AcctRow], key_of: Callable[[AcctRow], Any], total: Stats
) -> dict[Any, Stats]:
    """Sums by key, in the order in which the keys came up, and those of all records in `total`.

    Adding 0 changes no sum, and most figures of most records are 0, so that is left out.
    """
    found: dict[Any, Stats] = {}
    for row in rows:
        _, _, _, _, _, _, _, _, _, etime, utime, stime, mem, io, _, minflt, majflt, swaps, _ = row
        key = key_of(row)
        stats = found.get(key)
        if stats is None:
            stats = found[key] = Stats()
        stats.calls += 1
        total.calls += 1
        for into in (stats, total):
            if etime:
                into.elapsed += etime / _HZ
            if utime:
                into.user += utime / _HZ
            if stime:
                into.system += stime / _HZ
            if io:
                into.io += io / _HZ
            into.mem += mem / _PAGE_KIB
            into.minor += minflt
            if majflt or swaps:
                into.major += majflt
                into.swaps += swaps
    return found


class _Lump:
    """Several commands under one name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.fork = 0
        self.stats = Stats()

    def add(self, stats: Stats, fork: int) -> None:
        self.stats.add(stats)
        self.fork |= fork


def _command_key(name: bytes, fork: int) -> bytes:
    """The bytes that are hashed: char comm[16], short fork_flag."""
    return name.ljust(_COMM_BYTES, b"\0") + struct.pack("=h", fork)


def _starred(name: bytes, fork: int) -> bytes:
    """A name as it is printed after the figures: with a star if it never called exec, empty if
    there is no name.
    """
    return b"   " + name + (b"*" if fork else b"") if name else b""


_MEASURES: dict[str, Callable[[Stats], float]] = {
    "cpu": lambda stats: stats.cpu,
    "calls": lambda stats: stats.calls,
    "cpu_per_call": lambda stats: stats.cpu / stats.calls,
    "avio": lambda stats: stats.io / stats.calls,
    "tio": lambda stats: stats.io,
    "mem": lambda stats: stats.mem / stats.calls,
    "ksec": lambda stats: stats.cpu * stats.mem if stats.cpu else stats.mem,
    "real": lambda stats: stats.elapsed,
    "real_per_call": lambda stats: stats.elapsed / stats.calls,
}


def _sorted(entries: list[tuple[bytes, Stats]], shape: Shape) -> list[tuple[bytes, Stats]]:
    """Largest first, or smallest with `reverse`; ties as the table gave them, either way."""
    measure = _MEASURES["real_per_call" if shape.sort == "real" and shape.seconds else shape.sort]
    sign = 1 if shape.reverse else -1

    def key(stats: Stats) -> list[float]:
        ties = (stats.calls, stats.user, stats.system, stats.elapsed, stats.io, stats.mem)
        return [sign * value for value in (measure(stats), *ties)]

    return sorted(entries, key=lambda entry: key(entry[1]))


def figures(stats: Stats, total: Stats, shape: Shape) -> bytes:
    """The columns of one line, without a name."""
    parts = [b"%8d " % stats.calls]
    if shape.percentages:
        parts.append(b"%7.2f%% " % _percent(stats.calls, total.calls))
    parts += _times(stats, total, shape)
    if shape.ratio:
        parts.append(b"%8.1fre/cp" % (stats.elapsed / stats.cpu) if stats.cpu else b"*ignore*re/cp")
    parts += _paging(stats, mean=shape.paging_mean) if shape.paging else _storage(stats, shape)
    return b"".join(parts)


def _times(stats: Stats, total: Stats, shape: Shape) -> Iterator[bytes]:
    """Elapsed and CPU time in minutes, or in seconds per call; each with its part of the total if
    wanted.
    """
    unit = stats.calls if shape.seconds else 60.0
    cpu = [("user", b"u"), ("system", b"s")] if shape.separate_times else [("cpu", b"cp")]
    for place, (name, letter) in enumerate([("elapsed", b"re"), *cpu]):
        value = getattr(stats, name)
        yield (b" " if place else b"") + b"%10.2f%b" % (value / unit, letter)
        if shape.percentages:
            yield b" %7.2f%%" % _percent(value, getattr(total, name))


def _percent(value: float, total: float) -> float:
    return value / total * 100.0 if total else 0.0


def _storage(stats: Stats, shape: Shape) -> Iterator[bytes]:
    yield b"%10.0ftio " % stats.io if shape.total_io else b"%10.0favio " % (stats.io / stats.calls)
    if shape.ksec:
        yield b"%9.0fk*sec" % (stats.mem * stats.cpu / stats.calls if stats.cpu else stats.mem)
    else:
        yield b"%9.0fk" % (stats.mem / stats.calls)


def _paging(stats: Stats, *, mean: bool) -> Iterator[bytes]:
    for letters, value in ((b"min", stats.minor), (b"maj", stats.major), (b"swp", stats.swaps)):
        yield (
            b"%5.0f%b/c " % (value / stats.calls, letters)
            if mean
            else b"%10.0f%b " % (value, letters)
        )
