"""taskstats: decodes the messages that the kernel sends when a thread ends, and its answers about
living processes.

A datagram holds generic netlink messages. Each has a struct taskstats about one thread, or about a
thread group (a process), or both: only the message of the last thread of a process that had several
carries the group's. The struct names its version; its size goes with the version, and what a
version lacks is None here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from elsa.errors import DataError

# struct taskstats, include/uapi/linux/taskstats.h. Every 64-bit field is aligned to 8 bytes on
# every machine, in the host's byte order. Here its pieces, to put the versions together from:
# fields are only ever added at the end, but for version 15.
_START = "=H2xIB7x"  # version at 0, ac_exitcode at 4, ac_flag at 8, ac_nice
_DELAY = "2Q"  # count, total
_PEAK = "16x"  # max, min: behind each delay in version 15, at the very end since
# run_real 64, run_virtual, comm 80, uid 120 .. btime 136, etime 144 .. nivcsw 280, scaled times
_RUN_TO_NIVCSW = "2Q32s8x5I4x18Q24x"
_TGID_TO_INODE = "I4x2Qq"  # ac_tgid 368, ac_tgetime 376, ac_exe_dev 384, ac_exe_inode 392
# Version 8, for many years: up to freepages_delay_total; 328 bytes.
_V8 = struct.Struct(_START + 3 * _DELAY + _RUN_TO_NIVCSW + _DELAY)
# Version 9: thrashing_count 328, thrashing_delay_total.
_V9 = struct.Struct(_V8.format + _DELAY)
# Version 10, in Linux 5.10: ac_btime64 344.
_V10 = struct.Struct(_V9.format + "Q")
# Version 11: compact_count 352, compact_delay_total.
_V11 = struct.Struct(_V10.format + _DELAY)
# Version 12: the thread group and the executable from 368 on; the flag AGROUP came with it.
_V12 = struct.Struct(_V11.format + _TGID_TO_INODE)
# Version 13, in Linux 6.1: wpcopy_count 400, wpcopy_delay_total.
_V13 = struct.Struct(_V12.format + _DELAY)
# Version 14: irq_count 416, irq_delay_total.
_V14 = struct.Struct(_V13.format + _DELAY)
# Version 15, in Linux 6.14 until a stable release took it back: a maximum and a minimum behind
# every delay, so that all else moved.
_V15 = struct.Struct(
    _START
    + 3 * (_DELAY + _PEAK)
    + _RUN_TO_NIVCSW
    + 2 * (_DELAY + _PEAK)
    + "Q"
    + _DELAY
    + _PEAK
    + _TGID_TO_INODE
    + 2 * (_DELAY + _PEAK)
)
# Version 16, in Linux 6.18: as version 14, then all maxima and minima from 432 on.
_V16 = struct.Struct(_V14.format + 8 * _PEAK)

_LAYOUTS = {8: _V8, 9: _V9, 10: _V10, 11: _V11, 12: _V12, 13: _V13, 14: _V14, 15: _V15, 16: _V16}
_NEWEST = max(_LAYOUTS)

# struct nlmsghdr: length, type (below 16: the protocol's own, such as an acknowledgement), flags,
# sequence number, port.
_MESSAGE = struct.Struct("=IH10x")
_FAMILIES = 16
# struct genlmsghdr: command, version, reserved.
_GENERIC = struct.Struct("=BBH")
_CMD_NEW = 2
# struct nlattr: length with these four bytes, type with two flags in its top bits. What follows is
# padded to 4 bytes.
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_BITS = 0x3FFF
_VERSION = struct.Struct("=H")

# The enums of taskstats.h. AGGR_PID holds PID and STATS, AGGR_TGID holds TGID and STATS; machines
# that must align add TYPE_NULL.
_TYPE_PID, _TYPE_TGID, _TYPE_STATS, _TYPE_AGGR_PID, _TYPE_AGGR_TGID = range(1, 6)

AGROUP = 0x20
"""The flag of the last thread of a process, include/uapi/linux/acct.h; since version 12. Those of
elsa.decode.acct hold here too.
"""


class Taskstats(NamedTuple):
    """A struct taskstats, in the kernel's units and order, of a thread or a thread group.

    A group's has delays, run times, utime, stime and context switches of all its threads, and 0 for
    the rest (its etime_us is a sum without meaning). The kernel rounds characters, system calls and
    bytes of every thread down to a multiple of 1024. A delay counts how often and how long the
    thread waited; all except the CPU's are 0 unless kernel.task_delayacct is 1.
    """

    version: int
    exitcode: int
    """Wait status of this thread."""
    flag: int
    """AFORK, ASU, ACORE, AXSIG (elsa.decode.acct), AGROUP."""
    cpu_count: int
    """How often it was put on a CPU: at least once. Of a group: the sum, which tells whether a
    thread's message is missing.
    """
    cpu_delay_ns: int
    """Ready to run, waiting for a CPU."""
    blkio_count: int
    blkio_delay_ns: int
    """Waiting for block I/O that it began itself."""
    swapin_count: int
    swapin_delay_ns: int
    cpu_run_real_ns: int
    """utime + stime, no finer than those."""
    cpu_run_virtual_ns: int
    """Measured time on a CPU, which getrusage splits into user and system time. It ends with the
    last tick or context switch before the message, so a thread that ran for less than a tick often
    has 0; and the work of exiting (freeing memory) is in none of the times.
    """
    comm: bytes
    """Its name, up to the first NUL (elsa.decode.comm.escape_comm)."""
    uid: int
    gid: int
    pid: int
    """The thread's id, in the first pid namespace."""
    ppid: int
    """The parent at the end."""
    btime: int
    """Second of its start: of the real time now, less the whole seconds elapsed."""
    etime_us: int
    """Elapsed since the thread's start, on the monotonic clock."""
    utime_us: int
    """User CPU time; where the kernel samples it at ticks (CONFIG_TICK_CPU_ACCOUNTING) a multiple
    of a tick, often 0.
    """
    stime_us: int
    """System CPU time, likewise."""
    minflt: int
    majflt: int
    coremem_mb_us: int
    """Resident memory of the process, summed over this thread's CPU time (not over elapsed time).
    """
    virtmem_mb_us: int
    """Virtual memory, likewise."""
    hiwater_rss_kib: int
    """Peak resident memory of the process so far."""
    hiwater_vm_kib: int
    read_chars: int
    """Bytes that reads returned, from anywhere; in multiples of 1024, as all down to
    cancelled_write_bytes.
    """
    write_chars: int
    read_syscalls: int
    write_syscalls: int
    read_bytes: int
    """Bytes that it made storage deliver."""
    write_bytes: int
    """Bytes that it made dirty, to be written to storage sooner or later."""
    cancelled_write_bytes: int
    """Bytes that it made others not write after all, by truncating."""
    nvcsw: int
    """Voluntary context switches."""
    nivcsw: int
    """Involuntary ones."""
    freepages_count: int
    freepages_delay_ns: int
    """Reclaiming memory."""
    thrashing_count: int | None
    thrashing_delay_ns: int | None
    btime64: int | None
    """btime, beyond 2106."""
    compact_count: int | None
    compact_delay_ns: int | None
    tgid: int | None
    """The process that the thread belonged to."""
    tgetime_us: int | None
    """Elapsed since the process's start."""
    exe_dev: int | None
    """Device of the executable, as stat() tells it; 0: none, a kernel thread."""
    exe_inode: int | None
    """Its inode number; from 2**63 on negative, as SQLite knows no larger integers."""
    wpcopy_count: int | None
    wpcopy_delay_ns: int | None
    """Copying pages shared until written to."""
    irq_count: int | None
    irq_delay_ns: int | None
    """Interrupted (CONFIG_IRQ_TIME_ACCOUNTING)."""


# What stands for the fields that a version lacks, by how many it has. tuple.__new__ is several
# times as fast as filling in defaults.
_LACKING = [(None,) * (len(Taskstats._fields) - had) for had in range(len(Taskstats._fields) + 1)]
_new = tuple.__new__


class Message(NamedTuple):
    """What one message tells."""

    thread: Taskstats | None
    """None in an answer about a group."""
    group: Taskstats | None
    """In an answer about a group, and in the message of the last thread of a process that had
    several.
    """


# Where the struct stands when nothing is padded, and where in front of it the message and attribute
# headers are.
_STATS_AT = 36


# All that is the same in every datagram with one struct of a version: its length, the headers
# around the thread's id, and the version.
_CONSTANT = struct.Struct("=4s12x12s4x6s")


def _constant(version: int, size: int) -> tuple[bytes, ...]:
    aggregate = _ATTRIBUTE.pack(4 + 8 + 4 + size, _TYPE_AGGR_PID) + _ATTRIBUTE.pack(8, _TYPE_PID)
    stats = _ATTRIBUTE.pack(4 + size, _TYPE_STATS) + _VERSION.pack(version)
    return struct.pack("=I", _STATS_AT + size), _GENERIC.pack(_CMD_NEW, 1, 0) + aggregate, stats


# That, to what unpacks the struct: a look-up instead of a walk for nearly every message.
_SIMPLE = {_constant(version, layout.size): layout for version, layout in _LAYOUTS.items()}


def decode(datagram: bytes) -> list[Message]:
    """The taskstats messages of a datagram, in order; other messages are skipped. DataError if
    lengths contradict each other.
    """
    if len(datagram) > _CONSTANT.size:
        layout = _SIMPLE.get(_CONSTANT.unpack_from(datagram))
        if layout is not None and len(datagram) == _STATS_AT + layout.size:
            return [_new(Message, (_named(layout.unpack_from(datagram, _STATS_AT)), None))]
    return [_message(attributes) for attributes in _messages(datagram)]


def fingerprint(datagram: bytes) -> bytes:
    """Of an answer about a group: the part that changes whenever one of its threads runs, which are
    how often and how long they were on a CPU. It is there in every version of the struct.
    """
    return datagram[_STATS_AT + 16 : _STATS_AT + 128]


def _named(fields: tuple[Any, ...]) -> Taskstats:
    return _new(Taskstats, fields + _LACKING[len(fields)])


def _messages(datagram: bytes) -> Iterator[bytes]:
    """The attributes of each message about statistics."""
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _MESSAGE.size:
            raise DataError(f"{len(datagram) - offset} bytes, where a netlink message begins")
        length, kind = _MESSAGE.unpack_from(datagram, offset)
        if not _MESSAGE.size <= length <= len(datagram) - offset:
            raise DataError(f"a netlink message of {length} bytes in {len(datagram) - offset}")
        body = datagram[offset + _MESSAGE.size : offset + length]
        if kind >= _FAMILIES and len(body) >= _GENERIC.size and body[0] == _CMD_NEW:
            yield body[_GENERIC.size :]
        offset += _aligned(length)


def _message(attributes: bytes) -> Message:
    thread = group = None
    for kind, payload in _attributes(attributes):
        if kind == _TYPE_AGGR_PID:
            thread = _stats(payload)
        elif kind == _TYPE_AGGR_TGID:
            group = _stats(payload)
    if thread is None and group is None:
        raise DataError("a taskstats message without statistics")
    return Message(thread, group)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while len(data) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise DataError(f"a netlink attribute of {length} bytes in {len(data) - offset}")
        yield kind & _TYPE_BITS, data[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _stats(aggregate: bytes) -> Taskstats:
    for kind, payload in _attributes(aggregate):
        if kind == _TYPE_STATS:
            return _named(_layout(payload).unpack_from(payload))
    raise DataError("a taskstats message without statistics")


def _layout(stats: bytes) -> struct.Struct:
    """The layout of a struct by its version and length: a version has one length, but for those to
    come, which go on at the end.
    """
    version = _VERSION.unpack_from(stats)[0] if len(stats) >= _VERSION.size else 0
    layout = _LAYOUTS.get(version)
    if layout is not None and layout.size == len(stats):
        return layout
    if version > _NEWEST and len(stats) >= _V14.size:
        return _V14
    raise DataError(
        f"taskstats of version {version} in {len(stats)} bytes, which is none of the known layouts"
    )
