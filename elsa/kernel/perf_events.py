"""Tracepoints of the whole host through perf_event_open(2): one ring buffer per CPU, its records as
bytes.

    tracepoints = [Tracepoint("sched/sched_process_exec", raw=True, cgroup=True)]
    with PerfEvents(open_events(tracepoints)) as events:
        names, opened = events.names, events.opened  # what a decoder has to know
        selector.register(events.fileno(), ...)      # readable: a ring is an eighth full
        taken = events.drain()                       # call it on a timer too
        lost = events.lost()                         # since the last call, exact since Linux 6.0
        cpus = events.follow_cpus()                  # about once a second: rings for CPUs that came

To open them takes root (or CAP_PERFMON with kernel.perf_event_paranoid at most 2, and tracefs
readable). To read them takes none of it: the descriptors may come from another process, and rings
continue to deliver and to count losses after all privileges are dropped; only a CPU that comes
online later has no ring then. Nothing waits: when a ring is full, the kernel drops records and
counts them.

Records of one ring are in the order in which that CPU wrote them. Each has its time of
CLOCK_MONOTONIC, the time base of the process events. A record may be written up to some
microseconds after its time stamp was taken (milliseconds where a hypervisor stopped the CPU in
between), so whoever merges rings by time holds the last records back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import resource
import select
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from elsa.errors import DataError, ElsaError, PrivilegeError, UnavailableError
from elsa.kernel.perf_ring import Ring, close_all
from elsa.kernel.syscall import syscall
from elsa.kernel.tracefs import tracefs

# glibc has no function for it. asm/unistd.h; every machine of asm-generic has 241.
_PERF_EVENT_OPEN = {"x86_64": 298, "s390x": 331}
_PERF_EVENT_OPEN |= dict.fromkeys(("aarch64", "riscv64", "loongarch64"), 241)

# include/uapi/linux/perf_event.h. struct perf_event_attr up to clockid (PERF_ATTR_SIZE_VER3): type,
# size, config, sample_period, sample_type, read_format, flags, wakeup_watermark, ..., clockid.
_ATTR = struct.Struct("=2I5QI40xi")
_TYPE_TRACEPOINT = 2
_SAMPLE_TID, _SAMPLE_TIME, _SAMPLE_RAW = 1 << 1, 1 << 2, 1 << 10
_SAMPLE_IDENTIFIER, _SAMPLE_CGROUP = 1 << 16, 1 << 21
_FORMAT_TIME_ENABLED, _FORMAT_LOST = 1 << 0, 1 << 4  # the second since Linux 6.0
# Bit fields: disabled, watermark, sample_id_all, use_clockid.
_FLAG_BITS = (0, 14, 18, 25)
_FLAGS = sum(1 << (bit if sys.byteorder == "little" else 63 - bit) for bit in _FLAG_BITS)
_WATERMARK = 1 << (14 if sys.byteorder == "little" else 63 - 14)
_FD_CLOEXEC = 8
_SET_FILTER = 0x40082406

_SYS_CPU = Path("/sys/devices/system/cpu")
_RING_BYTES = 2 << 20
_NO_PRIVILEGE = (
    "tracepoints are opened by root, or with CAP_PERFMON where kernel.perf_event_paranoid is at"
    " most 2"
)
_TOO_OLD = "this kernel cannot report control groups with tracepoints; it needs Linux 5.7"
_NOT_BUILT = (
    "this kernel has no perf events or tracepoints (CONFIG_PERF_EVENTS, CONFIG_TRACEPOINTS)"
)


class Tracepoint(NamedTuple):
    """What to receive of a tracepoint. Each record also has a pid, a thread id and a time."""

    path: str
    """Below events/ of tracefs, such as sched/sched_process_exec."""
    raw: bool = True
    """With the tracepoint's own fields."""
    cgroup: bool = False
    """With the id of the control group of the process on the CPU."""
    filters: tuple[str, ...] = ("",)
    """Conditions on its fields, evaluated in the kernel: the first that the kernel accepts counts,
    as not every kernel has every field. Empty: everything.
    """
    optional: bool = False
    """Leave it out where the kernel does not have it."""
    wakes: bool = False
    """Each record makes the descriptor readable, not only every eighth of a ring."""

    @property
    def name(self) -> str:
        """Without the subsystem: sched_process_exec."""
        return self.path.rpartition("/")[2]


class Opened(NamedTuple):
    """A tracepoint as it was opened."""

    format: bytes
    """The kernel's description of its fields."""
    filter: str
    """The condition that the kernel accepted."""


class Taken(NamedTuple):
    """What was drained."""

    time_ns: int
    """CLOCK_MONOTONIC before the first ring was read: records that were written earlier are in."""
    chunks: list[bytes]
    """Of each CPU that had any, all its new records, whole and in its order."""


class Followed(NamedTuple):
    """CPUs from which something was not received."""

    opened: list[int]
    """They have a ring now: nothing was received from when they came online, which was after the
    call before the last.
    """
    missing: list[int]
    """They are online and have no ring: nothing is received."""


class Plan(NamedTuple):
    """How to open a tracepoint on a CPU, and how to read it."""

    name: str
    attr: bytes
    """What perf_event_open(2) is called with."""
    filter: str
    """The condition that the kernel accepted."""
    counts_losses: bool
    format: bytes
    """The kernel's description of its fields."""


class OpenEvents(NamedTuple):
    """Events that are open and not yet read: no ring, and not enabled."""

    plans: list[Plan]
    ring_bytes: int
    by_cpu: dict[int, list[int]]
    """On each CPU, the descriptors of the events in the order of the plans."""

    def close(self) -> None:
        """Close what no ring has taken yet. May be called twice."""
        while self.by_cpu:
            close_all(self.by_cpu.popitem()[1])


def open_events(
    tracepoints: Sequence[Tracepoint], ring_bytes: int = _RING_BYTES, sys_cpu: Path = _SYS_CPU
) -> OpenEvents:
    """Tracepoints on every CPU that is online. This takes privileges; reading does not.

    Raises PrivilegeError, or UnavailableError with what to do about it.
    """
    # The last event of a tracepoint takes 30 ms to close: the first ones stay until all are open.
    with contextlib.ExitStack() as until_open:
        events = OpenEvents([], ring_bytes, {})
        try:
            events.plans.extend(_planned(tracepoints, ring_bytes, until_open))
            cpus = _online_cpus(sys_cpu)
            _allow_descriptors(len(cpus) * (len(events.plans) + 1))
            for cpu in cpus:
                try:
                    events.by_cpu[cpu] = _open_on(cpu, events.plans)
                except OSError as error:
                    if error.errno != errno.ENODEV:  # it went offline just now
                        raise
        except OSError as error:
            events.close()
            raise _explained(error) from None
        except BaseException:
            events.close()
            raise
        return events


def _planned(
    tracepoints: Sequence[Tracepoint], ring_bytes: int, until_open: contextlib.ExitStack
) -> Iterator[Plan]:
    """What to open on each CPU."""
    with tracefs() as root:
        for tracepoint in tracepoints:
            folder = root / "events" / tracepoint.path
            try:
                number = int((folder / "id").read_text(encoding="ascii"))
                described = (folder / "format").read_bytes()
            except FileNotFoundError:
                if tracepoint.optional:
                    continue
                raise UnavailableError(f"this kernel has no tracepoint {tracepoint.path}") from None
            yield _plan(tracepoint, number, described, ring_bytes, until_open)


def _open_on(cpu: int, plans: Sequence[Plan]) -> list[int]:
    """An event for each plan, with its filter. Raises OSError."""
    events: list[int] = []
    try:
        for plan in plans:
            events.append(_perf_event_open(plan.attr, -1, cpu))
            _set_filter(events[-1], plan.filter)
    except BaseException:
        close_all(events)
        raise
    return events


def _online_cpus(sys_cpu: Path) -> list[int]:
    """The CPUs that are online: "0-3,8" in sysfs."""
    online = sys_cpu / "online"
    try:
        text = online.read_text(encoding="ascii").strip()
        spans = [part.partition("-") for part in text.split(",")]
        return [cpu for low, _, high in spans for cpu in range(int(low), int(high or low) + 1)]
    except OSError as error:
        raise UnavailableError(f"{online}: {error.strerror}; is /sys mounted?") from None
    except ValueError:
        raise DataError(f"{online}: a list of CPUs is expected there") from None


class PerfEvents:
    """Open events with a ring for each CPU; they report from the moment this exists.

    Kernel memory is `ring_bytes` (a power of two) for each CPU; a fork with exec and exit takes
    about 150 bytes of it. The events are closed with this, and if it cannot be made. Raises
    PrivilegeError or UnavailableError.
    """

    def __init__(self, events: OpenEvents, sys_cpu: Path = _SYS_CPU) -> None:
        self.names: dict[int, str] = {}
        """From the identifier in a record to the name of its tracepoint; grows with the CPUs."""
        self.opened = {plan.name: Opened(plan.format, plan.filter) for plan in events.plans}
        """By name, each tracepoint that the kernel has."""
        self._plans = events.plans
        self._ring_bytes = events.ring_bytes
        self._sys_cpu = sys_cpu
        self._rings: dict[int, Ring] = {}
        self._left: list[bytes] = []
        self._lost_with_rings = 0
        self._lost_reported = 0
        self._poll = select.epoll()
        try:
            for cpu in sorted(events.by_cpu):
                self._add_ring(cpu, events.by_cpu.pop(cpu))
        except BaseException as error:
            events.close()
            self.close()
            if isinstance(error, OSError):
                raise _explained(error) from None
            raise

    def _add_ring(self, cpu: int, events: list[int]) -> None:
        ring = Ring(events, [plan.name for plan in self._plans], self._ring_bytes)
        self._rings[cpu] = ring
        self.names.update(ring.names)
        self._poll.register(ring.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """For select and poll: readable once each time that a ring has filled by another eighth.

        Drain on a timer too: fewer records wake nobody.
        """
        return self._poll.fileno()

    def drain(self) -> Taken:
        """All records that are there, without waiting. The rings are empty afterwards."""
        now = time.monotonic_ns()
        chunks, self._left = self._left, []
        chunks += [chunk for ring in self._rings.values() if (chunk := ring.take())]
        return Taken(now, chunks)

    def lost(self) -> int | None:
        """How many records the kernel dropped for lack of room since the last call, exact; None
        where it does not count them (before Linux 6.0: then the records of loss among the others
        are all there is, and the last loss is reported when a ring has room again).

        Each call interrupts every CPU once for each tracepoint, so call it when a record of loss
        was drained, and every few seconds.
        """
        if not _counts_losses(self._plans):
            return None
        total = self._lost_with_rings + sum(ring.lost() for ring in self._rings.values())
        new, self._lost_reported = total - self._lost_reported, total
        return new

    def follow_cpus(self) -> Followed:
        """Open a ring for each CPU that came online since, and close those of CPUs that went
        offline; what these hold comes with the next drain.

        A CPU that went and came back meanwhile is noticed at the second call.
        """
        online = _online_cpus(self._sys_cpu)
        for cpu in [cpu for cpu, ring in self._rings.items() if cpu not in online or ring.dead()]:
            self._retire(cpu)
        followed = Followed([], [])
        for cpu in online:
            if cpu not in self._rings:
                try:
                    self._add_ring(cpu, _open_on(cpu, self._plans))
                    followed.opened.append(cpu)
                except OSError:  # without the privileges of the start
                    followed.missing.append(cpu)
        return followed

    def _retire(self, cpu: int) -> None:
        ring = self._rings.pop(cpu)
        if chunk := ring.take():
            self._left.append(chunk)
        if _counts_losses(self._plans):
            self._lost_with_rings += ring.lost()
        self._poll.unregister(ring.fileno())
        ring.close()

    def close(self) -> None:
        """Close every event and unmap every ring. May be called twice."""
        while self._rings:
            self._rings.popitem()[1].close()
        self._poll.close()

    def __enter__(self) -> PerfEvents:
        """For `with`."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()


def _plan(
    tracepoint: Tracepoint,
    number: int,
    described: bytes,
    ring_bytes: int,
    until_open: contextlib.ExitStack,
) -> Plan:
    """The attributes and the filter that this kernel accepts, found out with an event on this very
    process that is never enabled.
    """
    counts_losses = True
    try:
        event = _perf_event_open(_attr(tracepoint, number, ring_bytes, counts_losses), 0, -1)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        counts_losses = False
        event = _perf_event_open(_attr(tracepoint, number, ring_bytes, counts_losses), 0, -1)
    until_open.callback(os.close, event)
    accepted = _accepted(event, tracepoint.filters)
    if accepted is None:
        raise UnavailableError(
            f"tracepoint {tracepoint.path}: this kernel refuses the filter {tracepoint.filters[-1]}"
        )
    attr = _attr(tracepoint, number, ring_bytes, counts_losses)
    return Plan(tracepoint.name, attr, accepted, counts_losses, described)


def _accepted(event: int, filters: Sequence[str]) -> str | None:
    for text in filters:
        try:
            _set_filter(event, text)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return text
    return None


def _set_filter(event: int, text: str) -> None:
    if text:
        fcntl.ioctl(event, _SET_FILTER, text.encode("ascii") + b"\0")


def _counts_losses(plans: Sequence[Plan]) -> bool:
    return all(plan.counts_losses for plan in plans)


def _attr(tracepoint: Tracepoint, number: int, ring_bytes: int, counts_losses: bool) -> bytes:
    sample = _SAMPLE_IDENTIFIER | _SAMPLE_TID | _SAMPLE_TIME
    if tracepoint.raw:
        sample |= _SAMPLE_RAW
    if tracepoint.cgroup:
        sample |= _SAMPLE_CGROUP
    return _ATTR.pack(
        _TYPE_TRACEPOINT,
        _ATTR.size,
        number,
        1,  # every one
        sample,
        _FORMAT_TIME_ENABLED | (_FORMAT_LOST if counts_losses else 0),
        _FLAGS & ~_WATERMARK if tracepoint.wakes else _FLAGS,
        1 if tracepoint.wakes else ring_bytes // 8,
        time.CLOCK_MONOTONIC,
    )


def _perf_event_open(attr: bytes, pid: int, cpu: int) -> int:
    """perf_event_open(2) for a process or a CPU (the other is -1). Raises OSError."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise UnavailableError(f"tracepoints cannot be opened on {platform.machine()} yet")
    no_group, flags = ctypes.c_int(-1), ctypes.c_ulong(_FD_CLOEXEC)
    return syscall(number, attr, ctypes.c_int(pid), ctypes.c_int(cpu), no_group, flags)


def _allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files by what is needed, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256  # the rest of the program
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _explained(error: OSError) -> ElsaError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PrivilegeError(_NO_PRIVILEGE)
    if error.errno in (errno.ENOSYS, errno.ENOENT, errno.EOPNOTSUPP):
        return UnavailableError(_NOT_BUILT)
    if error.errno == errno.EINVAL:
        return UnavailableError(_TOO_OLD)
    if error.errno == errno.EMFILE:
        return UnavailableError("tracepoints: too many open files; raise LimitNOFILE")
    return UnavailableError(f"tracepoints: {error.strerror}")
