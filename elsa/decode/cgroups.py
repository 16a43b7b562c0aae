"""Files of control groups to records: /proc/PID/cgroup, and the counters of a group (pure)."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from elsa.errors import DataError

# What SQLite holds.
_MOST = (1 << 63) - 1
# What the kernel appends to the path of a group that was removed while a zombie is in it.
_REMOVED = " (deleted)"


def path_of(data: bytes, hierarchy: int | None) -> str | None:
    """The path of a process's group in this hierarchy (0 is version 2; None: that of version 2, or
    else systemd's own), of a /proc/PID/cgroup; None where it is in none. Raises DataError.
    """
    systemds = None
    for line in data.removesuffix(b"\n").split(b"\n") if data else ():
        # A group's name may hold any character but a newline: no splitlines.
        number, controllers, path = (*line.split(b":", 2), b"", b"")[:3]
        if not number.isdigit() or not path.startswith(b"/"):
            raise DataError("/proc/PID/cgroup cannot be read")
        text = path.decode("utf-8", "surrogateescape").removesuffix(_REMOVED)
        if number == b"%d" % (hierarchy or 0):
            return text
        if controllers == b"name=systemd":
            systemds = text
    return systemds if hierarchy is None else None


class CpuTime(NamedTuple):
    """cpu.stat: the CPU time of all processes that were ever in the group or below, in
    microseconds.
    """

    usage_us: int
    user_us: int
    system_us: int


def parse_cpu_stat(data: bytes | None) -> CpuTime | None:
    """One cpu.stat; None of None. Raises DataError."""
    if data is None:
        return None
    try:
        values = dict(line.split(b" ", 1) for line in data.splitlines())
        names = (b"usage_usec", b"user_usec", b"system_usec")
        return CpuTime(*(_number(values[name]) for name in names))
    except (KeyError, ValueError):
        raise DataError("cpu.stat of a control group cannot be read") from None


class DiskIo(NamedTuple):
    """io.stat: what the group and those below it read and wrote, over all disks."""

    read_bytes: int
    write_bytes: int
    reads: int
    writes: int


def parse_io_stat(data: bytes | None) -> DiskIo | None:
    """One io.stat; None of None, and zeros of an empty one: no I/O yet. Raises DataError.

    A line is a disk's numbers and its counters: 8:0 rbytes=1 wbytes=2 rios=1 wios=1 ...
    """
    if data is None:
        return None
    sums = dict.fromkeys((b"rbytes", b"wbytes", b"rios", b"wios"), 0)
    try:
        for word in data.split():
            name, equals, value = word.partition(b"=")
            if equals and name in sums:
                sums[name] = _storable(sums[name] + _number(value))
    except ValueError:
        raise DataError("io.stat of a control group cannot be read") from None
    return DiskIo(*sums.values())


def parse_counter(data: bytes | None) -> int | None:
    """A file with one number: memory.peak, memory.current, pids.current. None of None, and of
    "max", which is no number. Raises DataError.
    """
    if data is None or data.strip() == b"max":
        return None
    try:
        return _number(data)
    except ValueError:
        raise DataError("a counter of a control group cannot be read") from None


class GroupCounters(NamedTuple):
    """What a group and those below it have used since it was made; None is unknown."""

    user_us: int | None
    system_us: int | None
    memory_peak: int | None
    """The most bytes at any moment, of all its processes together."""
    read_bytes: int | None
    write_bytes: int | None

    def since(self, before: GroupCounters) -> GroupCounters:
        """The same without what was counted before. A peak is known only if it was exceeded."""
        sums = [
            None if now is None or earlier is None else max(now - earlier, 0)
            for now, earlier in zip(self, before, strict=True)
        ]
        peak = self.memory_peak if sums[2] else None
        return GroupCounters(sums[0], sums[1], peak, sums[3], sums[4])


NOTHING_COUNTED = GroupCounters(0, 0, 0, 0, 0)
"""The counters of a group in which no process has run."""
COUNTER_FILES = ("cpu.stat", "memory.peak", "io.stat")


def parse_counters(cpu: bytes | None, peak: bytes | None, io: bytes | None) -> GroupCounters:
    """The counters of a group from COUNTER_FILES; a file that is missing or cannot be read leaves
    its counters unknown.
    """
    time = disk = memory = None
    with contextlib.suppress(DataError):
        time = parse_cpu_stat(cpu)
    with contextlib.suppress(DataError):
        memory = parse_counter(peak)
    with contextlib.suppress(DataError):
        disk = parse_io_stat(io)
    return GroupCounters(
        time and time.user_us,
        time and time.system_us,
        memory,
        disk and disk.read_bytes,
        disk and disk.write_bytes,
    )


def _number(digits: bytes) -> int:
    """A count that can be stored. Raises ValueError."""
    text = digits.strip()
    if not text.isdigit() or len(text) > 19:
        raise ValueError("no count")
    return _storable(int(text))


def _storable(number: int) -> int:
    if number > _MOST:
        raise ValueError("a count is too large")
    return number
