"""Reads the counters of a living process from taskstats and /proc, as its last message will have
them when it ends: so what is read never exceeds that, and the rest is what it used since.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence

from elsa.decode import taskstats as decoding
from elsa.decode.procfs import Io, Stat, parse_io, parse_real_gid, parse_stat
from elsa.errors import DataError, ElsaError
from elsa.host.proc_scan import TICKS_PER_S, Monotonic, start_ns
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsQuery
from elsa.matching.usage_matcher import held, irq_delay_is_unknown
from elsa.measures import COUNTERS
from elsa.state.incarnation import Incarnation, same_start
from elsa.state.intervals import Shown

log = logging.getLogger(__name__)

_TICK_US = 1_000_000 // TICKS_PER_S
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
# The kernel rounds the I/O of each thread down to a multiple of this when it ends.
_ROUNDED = 1024
_IO_FIELDS = (
    "read_chars",
    "write_chars",
    "read_syscalls",
    "write_syscalls",
    "read_bytes",
    "write_bytes",
    "cancelled_write_bytes",
)


def _summed(threads: Sequence[Io]) -> tuple[int | None, ...]:
    """The sum over threads; unknown if no thread can be read."""
    if not threads:
        return (None,) * len(_IO_FIELDS)
    return tuple(
        None if None in column else sum(value - value % _ROUNDED for value in column)
        for column in zip(*threads, strict=True)
    )


class CounterReader:
    """Reads counters from taskstats, or if that is not available, from /proc."""

    def __init__(
        self, procfs: Procfs, ended_threads: Callable[[int], Mapping[str, int]], *, delays: bool
    ) -> None:
        """`ended_threads` returns what a process's ended threads used, by names of Taskstats."""
        self._procfs = procfs
        self.ended_threads = ended_threads
        self._group_fields = tuple(
            measure.field
            for measure in COUNTERS
            if measure.of_group and (delays or not measure.delay)
        )
        self._query: TaskstatsQuery | None = None
        try:
            self._query = TaskstatsQuery()
        except ElsaError as error:
            log.info("counters of living processes come from /proc alone: %s", error)

    def close(self) -> None:
        """Close the socket."""
        if self._query is not None:
            self._query.close()

    def read(
        self, life: Incarnation, monotonic: Monotonic, fingerprint: bytes = b""
    ) -> Shown | None:
        """The counters so far; None if the process has ended, or has not run since the reading with
        this `fingerprint`.

        taskstats has times and context switches of the whole process, but not its I/O and memory,
        so I/O and faults come from /proc. The I/O is added up over the threads that run now and
        those whose end was received: /proc's counters of the whole process include all children
        that it has reaped.
        """
        pid = life.pid
        answer = self._query.get_group(pid) if self._query is not None else None
        now = decoding.fingerprint(answer) if answer is not None else b""
        if now and now == fingerprint:
            return None
        data = self._procfs.read_stat(pid)
        try:
            stat = None if data is None else parse_stat(data)
            # It has ended, and perhaps its pid was reused. Of a zombie taskstats has zeros.
            if stat is None or stat.over or not same_start(life, start_ns(stat, monotonic)):
                return None
            counters = self._of_proc(stat)
        except DataError:
            return None
        if answer is not None:
            counters |= self._of_group(answer)
        # taskstats reports memory integrals at the end only.
        row = held(tuple(counters.get(measure.field) for measure in COUNTERS))
        rss_kib = stat.rss_pages * _PAGE_KIB
        return Shown(row, rss_kib, self._gid(life), int(stat.forked_only), now)

    def _of_proc(self, stat: Stat) -> dict[str, int | None]:
        threads = self._procfs.read_threads_io(stat.pid, only_leader=stat.num_threads == 1)
        sums = zip(_IO_FIELDS, _summed([parse_io(thread) for thread in threads]), strict=True)
        ended = self.ended_threads(stat.pid)
        return {
            "minflt": stat.minflt,
            "majflt": stat.majflt,
            "utime_us": stat.utime_ticks * _TICK_US,
            "stime_us": stat.stime_ticks * _TICK_US,
        } | {name: None if value is None else value + ended.get(name, 0) for name, value in sums}

    def _of_group(self, answer: bytes) -> dict[str, int | None]:
        messages = decoding.decode(answer)
        group = messages[0].group if messages else None
        if group is None:
            return {}
        counters = {name: getattr(group, name) for name in self._group_fields}
        if irq_delay_is_unknown(group):
            counters["irq_delay_ns"] = None
        return counters

    def _gid(self, life: Incarnation) -> int | None:
        """Its real gid, which is read again when its uid has changed."""
        used = life.used
        if used is not None and used.gid is not None and used.uid == life.uid:
            return used.gid
        status = self._procfs.read_status(life.pid)
        try:
            return None if status is None else parse_real_gid(status)
        except DataError:
            return None
