"""sa: accounting records summed up by command, user or group.

Every sum is a double to which the records are added one by one in file order, as the original does:
54 times 0.05 s is not 54 * 0.05 s, and on a screen of two decimals that shows.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from elsa.decode.acct import AFORK, COMM, ETIME, FLAG, GID, UID, AcctRow
from elsa.gnu import hashtable, text

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024
HZ = 100.0
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


Key: TypeAlias = Any
"""Of a command its name, escaped as in AcctRecord.comm, and AFORK or 0; else a name."""
Ask: TypeAlias = Callable[[bytes], bool]
Figures: TypeAlias = tuple[Any, float, float | None, float | None, float | None, float]
"""Of a record: whose it is, and what Stats adds up: elapsed, user, system, io, mem. User, system
and io may be None for 0.
"""
Faults: TypeAlias = dict[Any, list[int]]
"""The sums of minor and major faults and swaps, by whose they are: whole numbers, whose order does
not matter.
"""


class By(NamedTuple):
    """What records are summed up by."""

    whose: Callable[[AcctRow], Any]
    """What a record has of it ..."""
    key: Callable[[Any], Key]
    """... and the key that it is summed up under: users may have a name in common."""


COMMAND = By(lambda row: (row[COMM], row[FLAG] & AFORK), lambda command: command)
USER = By(itemgetter(UID), lambda uid: text.user(uid)[:_NAME_BYTES])
GROUP = By(itemgetter(GID), lambda gid: text.group(gid)[:_NAME_BYTES])


class Tally(NamedTuple):
    """Sums by key, in the order in which the keys came up, and those of all records."""

    groups: dict[Key, Stats]
    total: Stats


def figures_of(rows: Iterable[AcctRow], by: By, faults: Faults | None = None) -> Iterator[Figures]:
    """What is added up of each record; page faults and swaps are added to others on the way."""
    for row in rows:
        etime, utime, stime, mem, io, _, *other, _ = row[ETIME:]
        whose = by.whose(row)
        if faults is not None:
            _add_faults(faults, whose, *other)
        yield whose, etime / HZ, utime / HZ, stime / HZ, io / HZ, mem / PAGE_KIB


def faults_aside(rows: Iterable[tuple[Any, ...]], faults: Faults) -> Iterator[Figures]:
    """The figures of rows that also have page faults and swaps, which are added to others on the
    way: few print them, and in `tally` they would take a fifth of its time.
    """
    for whose, elapsed, user, system, io, mem, *other in rows:
        _add_faults(faults, whose, *other)
        yield whose, elapsed, user, system, io, mem


def _add_faults(faults: Faults, whose: object, minor: int, major: int, swaps: int) -> None:
    sums = faults.setdefault(whose, [0, 0, 0])
    sums[0] += minor
    sums[1] += major
    sums[2] += swaps


def tally(
    rows: Iterable[Figures], key_of: Callable[[Any], Key], faults: Faults | None = None
) -> Tally:
    """Add up the records, and then the faults, which may be complete only now. This runs for each
    record, so it does little.

    Adding 0 changes no sum, and most figures of most records are 0, so that is left out.
    """
    groups: dict[Key, Stats] = {}
    of: dict[Any, Stats] = {}
    total = Stats()
    all_elapsed = all_user = all_system = all_io = all_mem = 0.0
    for whose, elapsed, user, system, io, mem in rows:
        try:
            stats = of[whose]
        except KeyError:
            stats = of[whose] = groups.setdefault(key_of(whose), Stats())
        stats.calls += 1
        stats.elapsed += elapsed
        all_elapsed += elapsed
        if user:
            stats.user += user
            all_user += user
        if system:
            stats.system += system
            all_system += system
        stats.mem += mem
        all_mem += mem
        if io:
            stats.io += io
            all_io += io
    for whose, (minor, major, swaps) in (faults or {}).items():
        of[whose].minor += minor
        of[whose].major += major
        of[whose].swaps += swaps
    for stats in groups.values():  # of whole numbers, whose order does not matter
        total.calls += stats.calls
        total.minor += stats.minor
        total.major += stats.major
        total.swaps += stats.swaps
    total.elapsed, total.user, total.system = all_elapsed, all_user, all_system
    total.io, total.mem = all_io, all_mem
    return Tally(groups, total)


def by_command(tallied: Tally, shape: Shape, ask: Ask) -> Iterator[bytes]:
    """A line per command, separately for commands that never called exec; commands that ran once or
    have an unprintable name are in ***other. They are tallied by COMMAND.

    ask(name) decides whether a command that was called no more than `threshold` times is **junk**.
    """
    groups, total = tallied
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


def by_owner(tallied: Tally, shape: Shape) -> Iterator[bytes]:
    """Lines by user or by group, whatever they are tallied by, the sum first, under a name of
    nobody.
    """
    groups, total = tallied
    if not groups:
        return
    entries = _sorted([(name, groups[name]) for name in hashtable.ordered(groups)], shape)
    for name, stats in [(b"", total), *entries]:
        yield b"%-32.32s " % name + figures(stats, total, shape) + b"\n"


def each(rows: Iterable[AcctRow]) -> Iterator[bytes]:
    """A line per record: user, CPU seconds, memory, io, command."""
    for flag, _, _, _, uid, _, _, _, _, _, utime, stime, mem, io, _, _, _, _, comm in rows:
        cpu = utime / HZ + stime / HZ
        star = b"*" if flag & AFORK else b""
        name = text.command(comm)
        yield b"%-8.8s %6.2f cpu %8.0fk mem %6.0f io %-16.16s%b\n" % (
            text.user(uid),
            cpu,
            mem / PAGE_KIB,
            io / HZ,
            name,
            star,
        )


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
