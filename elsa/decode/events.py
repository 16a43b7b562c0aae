"""Process events: the datagrams of the kernel's process events connector to tuples
(include/uapi/linux/cn_proc.h).

One datagram holds one event of one thread. Every kind has the same 76 bytes, so one struct reads
them all.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

# struct nlmsghdr (16 bytes), struct cn_msg (20: seq at 24), struct proc_event (40: what at 36, cpu,
# timestamp_ns unaligned at 44, six words of data at 52). The layout is that of Linux 4.18 and
# later, where EXIT carries its parent.
_EVENT = struct.Struct("=24xI8xIIq6I")
SIZE = _EVENT.size
_COMM = struct.Struct("=4I")

# enum proc_cn_event
NONE = 0x00000000
FORK = 0x00000001
EXEC = 0x00000002
UID = 0x00000004
GID = 0x00000040
SID = 0x00000080
PTRACE = 0x00000100
COMM = 0x00000200
COREDUMP = 0x40000000
EXIT = 0x80000000


class Event(NamedTuple):
    """One event of one thread. What the six words mean depends on `what`.

    FORK   parent_pid, parent_tgid, child_pid, child_tgid
    EXEC   pid, tgid
    UID    pid, tgid, real uid, effective uid
    COMM   pid, tgid, comm (four words hold its 16 bytes)
    EXIT   pid, tgid, wait status, signal, parent_pid, parent_tgid (both 0 if it was already reaped)
    """

    seq: int
    """Counts the events of one CPU, for all listeners together; gapless when nothing is lost or
    filtered; wraps at 2**32.
    """
    what: int
    cpu: int
    time_ns: int
    """CLOCK_MONOTONIC, which has a sign. Across CPUs the order of the queue is the truth, not this.
    """
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int


# Event._make is a Python function, and takes three times as long.
_make = partial(tuple.__new__, Event)


def decode(datagrams: Sequence[bytes]) -> list[Event]:
    """The events of some datagrams, in order. A datagram of another size is no event and is passed
    over.
    """
    if any(map(SIZE.__ne__, map(len, datagrams))):
        datagrams = [datagram for datagram in datagrams if len(datagram) == SIZE]
    return list(map(_make, _EVENT.iter_unpack(b"".join(datagrams))))


def comm_of(event: Event) -> bytes:
    """The new name in a COMM event: up to 15 bytes, any but NUL."""
    return _COMM.pack(event.c, event.d, event.e, event.f).split(b"\0", 1)[0]
