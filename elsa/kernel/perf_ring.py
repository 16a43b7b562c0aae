"""The ring buffer of one CPU that perf events share: mapped, emptied, and asked what it lost.

The kernel writes records and moves the head; the reader moves the tail, and so gives room back.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import threading
from collections.abc import Sequence

# include/uapi/linux/perf_event.h: ioctl(2) of an event.
_ENABLE, _SET_OUTPUT, _GET_ID = 0x2400, 0x2405, 0x80082407
# struct perf_event_mmap_page: data_head at 1024 and data_tail at 1032, in words of 8 bytes. The
# ring itself starts on the next page.
_HEAD, _TAIL = 128, 129
# read(2) of an event: its count, for how long it was enabled, and since Linux 6.0 what it lost.
_READ_BYTES = 24
_ENABLED_NS, _LOST_RECORDS = slice(8, 16), slice(16, 24)


def close_all(events: list[int]) -> None:
    """Close events, and forget their descriptors."""
    while events:
        os.close(events.pop())


def event_id(event: int) -> int:
    """The identifier of an event, which its records have. Raises OSError if it is none."""
    return int.from_bytes(fcntl.ioctl(event, _GET_ID, bytes(8)), sys.byteorder)


class Ring:
    """The events of one CPU, and the ring buffer that they share. It closes them."""

    def __init__(self, events: list[int], names: Sequence[str], ring_bytes: int) -> None:
        self._events = events
        self._memory: mmap.mmap | None = None
        self._mask = ring_bytes - 1
        self._enabled_ns = 0
        try:
            ids = map(event_id, events)
            self.names = dict(zip(ids, names, strict=True))
            self._map(ring_bytes)
        except BaseException:
            self.close()
            raise

    def _map(self, ring_bytes: int) -> None:
        # Writable: only then the kernel waits for the tail and drops what has no room, instead of
        # writing over what was not read.
        self._memory = mmap.mmap(self.fileno(), mmap.PAGESIZE + ring_bytes, mmap.MAP_SHARED)
        self._words = memoryview(self._memory).cast("Q")
        self._tail = self._words[_TAIL]
        for event in self._events[1:]:
            fcntl.ioctl(event, _SET_OUTPUT, self.fileno())
        for event in self._events:
            fcntl.ioctl(event, _ENABLE, 0)

    def fileno(self) -> int:
        """The event that owns the ring: what poll(2) says of the others is nothing."""
        return self._events[0]

    def take(self) -> bytes:
        """All records that are there, and their room back to the kernel.

        One aligned load of the head and one aligned store of the tail, each 8 bytes: memoryview
        copies an item at once.
        """
        memory, head, tail = self._memory, self._words[_HEAD], self._tail
        if memory is None or head == tail:
            return b""
        _barrier()  # no record is read before the head that covers it
        start, end = mmap.PAGESIZE + (tail & self._mask), mmap.PAGESIZE + (head & self._mask)
        data = memory[start:end]
        if start >= end:  # around the end of the buffer
            data = memory[start:] + memory[mmap.PAGESIZE : end]
        _barrier()  # no room is given back before it was read
        self._words[_TAIL] = self._tail = head
        return data

    def lost(self) -> int:
        """How many records its events have dropped so far."""
        # A read is empty when the event is in an error state: that is 0.
        return sum(
            int.from_bytes(os.read(event, _READ_BYTES)[_LOST_RECORDS], sys.byteorder)
            for event in self._events
        )

    def dead(self) -> bool:
        """Whether its CPU went offline since the last call, and perhaps came back: the events do
        not come back with it, and the time for which they were enabled stands still.
        """
        enabled = int.from_bytes(os.read(self.fileno(), _READ_BYTES)[_ENABLED_NS], sys.byteorder)
        stands, self._enabled_ns = enabled == self._enabled_ns, enabled
        return stands

    def close(self) -> None:
        """Unmap and close. May be called twice."""
        if self._memory is not None:
            with contextlib.suppress(AttributeError):  # never got as far as that
                self._words.release()
            self._memory.close()
            self._memory = None
        close_all(self._events)


_lock = threading.Lock()


def _barrier() -> None:
    """Order the accesses to memory before it against those after it: what a lock does when it is
    released and taken again. x86 needs none between these; others do.
    """
    with _lock:
        pass
    with _lock:
        pass
