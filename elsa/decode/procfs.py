"""/proc/PID/stat and /proc/PID/status as records (pure)."""

from __future__ import annotations

import re
from typing import NamedTuple

from elsa.errors import DataError


class Stat(NamedTuple):
    """/proc/PID/stat, the fields that accounting needs (proc_pid_stat(5), numbered from 1)."""

    pid: int
    comm: bytes
    """The name between the first "(" and the last ")": up to 15 bytes of anything (63 for a kernel
    worker), parentheses included.
    """
    state: str
    """R, S, D, Z (ended, its parent has not asked yet) ..."""
    ppid: int
    session: int
    """Field 6: pid of the session's leader."""
    num_threads: int
    """Field 20."""
    starttime_ticks: int
    """Field 22: clock ticks (sysconf SC_CLK_TCK) after boot, on CLOCK_BOOTTIME."""
    minflt: int
    """Field 10, faults of all its threads."""
    majflt: int
    """Field 12."""
    utime_ticks: int
    """Field 14: user CPU time of all its threads, in clock ticks."""
    stime_ticks: int
    """Field 15."""
    forked_only: bool
    """It has not called exec since its fork (PF_FORKNOEXEC in field 9)."""
    rss_pages: int
    """Field 24: resident memory in pages."""
    exit_code: int | None
    """Field 52, in wait status encoding: 0 while it runs, and 0 as well to whom may not trace the
    process. None on old kernels.
    """

    @property
    def zombie(self) -> bool:
        """Whether the leader has exited."""
        return self.state in "ZX"

    @property
    def over(self) -> bool:
        """Whether the process has ended and only waits to be reaped."""
        return self.zombie and self.num_threads <= 1


_PSS = re.compile(rb"^Pss: +(\d{1,15}) kB$", re.MULTILINE)
# What SQLite holds, and how many clock ticks it holds as nanoseconds.
_MOST = (1 << 63) - 1
_MOST_TICKS = 1 << 39
_MOST_PAGES = 1 << 52
# include/linux/sched.h
_FORKNOEXEC = 0x40


def _number(digits: bytes, base: int = 10, most: int = _MOST) -> int:
    """A number that can be stored. Raises ValueError."""
    number = int(digits, base)
    if abs(number) > most:
        raise ValueError("a number is too large")
    return number


def parse_stat(data: bytes) -> Stat:
    """One /proc/PID/stat. Raises DataError."""
    # The name may hold spaces, parentheses and newlines; nothing behind it can hold a ")".
    opening, closing = data.find(b" ("), data.rfind(b") ")
    if opening < 0 or closing < opening:
        raise DataError("/proc/PID/stat has no name in parentheses")
    fields = data[closing + 2 :].split()
    try:
        return Stat(
            pid=_number(data[:opening]),
            comm=data[opening + 2 : closing],
            state=fields[0].decode("ascii"),
            ppid=_number(fields[1]),
            session=_number(fields[3]),
            num_threads=_number(fields[17]),
            starttime_ticks=_number(fields[19], most=_MOST_TICKS),
            minflt=_number(fields[7]),
            majflt=_number(fields[9]),
            utime_ticks=_number(fields[11], most=_MOST_TICKS),
            stime_ticks=_number(fields[12], most=_MOST_TICKS),
            forked_only=bool(_number(fields[6]) & _FORKNOEXEC),
            rss_pages=_number(fields[21], most=_MOST_PAGES),
            exit_code=_number(fields[49]) if len(fields) > 49 else None,
        )
    except (ValueError, IndexError) as error:
        raise DataError(f"/proc/PID/stat cannot be read: {error}") from None


class Io(NamedTuple):
    """/proc/PID/io: of all threads, dead ones too, and of every child that was waited for;
    /proc/PID/task/TID/io: of that thread alone.

    None where it may not be read.
    """

    rchar: int | None
    wchar: int | None
    syscr: int | None
    syscw: int | None
    read_bytes: int | None
    write_bytes: int | None
    cancelled_write_bytes: int | None


def parse_io(data: bytes | None) -> Io:
    """One /proc/PID/io; nothing known of None. Raises DataError."""
    if data is None:
        return Io(*[None] * 7)
    try:
        values = dict(line.split(b": ", 1) for line in data.splitlines())
        return Io(*(_number(values[name.encode()]) for name in Io._fields))
    except (ValueError, KeyError) as error:
        raise DataError(f"/proc/PID/io cannot be read: {error}") from None


def parse_memory(status: bytes) -> tuple[int, int] | None:
    """Resident memory now and at its peak, in KiB, from a /proc/PID/status; None of a kernel thread
    or a zombie. Raises DataError.
    """
    if b"\nVmRSS:" not in status:
        return None
    return _status_field(status, b"VmRSS:", base=10), _status_field(status, b"VmHWM:", base=10)


def parse_pss(rollup: bytes) -> int | None:
    """The proportional set size in KiB from a /proc/PID/smaps_rollup: memory that several processes
    share counts in equal parts for each. None if the process has no memory any more.
    """
    match = _PSS.search(rollup)
    return int(match[1]) if match else None


def parse_real_uid(status: bytes) -> int:
    """The real uid in a /proc/PID/status. Raises DataError."""
    return _status_field(status, b"Uid:", base=10)


def parse_real_gid(status: bytes) -> int:
    """The real gid in a /proc/PID/status. Raises DataError."""
    return _status_field(status, b"Gid:", base=10)


def parse_effective_capabilities(status: bytes) -> int:
    """The effective capabilities in a /proc/PID/status, one bit each (capabilities(7)). Raises
    DataError.
    """
    return _status_field(status, b"CapEff:", base=16)


def _status_field(status: bytes, name: bytes, base: int) -> int:
    # The kernel escapes newlines in Name:, so that no command can fake a line of its own.
    for line in status.split(b"\n"):
        if line.startswith(name):
            try:
                return _number(line.split()[1], base)
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"/proc/PID/status: {name.decode()} cannot be read: {error}"
                ) from None
    raise DataError(f"/proc/PID/status has no {name.decode()}")
