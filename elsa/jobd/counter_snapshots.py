"""The counters of a living process, read when it enters a job or leaves it: the job is charged for
the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from elsa.decode import taskstats as decoding
from elsa.decode.procfs import Io, parse_io, parse_stat
from elsa.decode.taskstats import Taskstats
from elsa.errors import DataError, ElsaError
from elsa.host.proc_scan import TICKS_PER_S, Monotonic, start_ns
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsQuery
from elsa.matching.usage_matcher import held, known_delays
from elsa.measures import COUNTERS
from elsa.state.incarnation import Incarnation, same_start

log = logging.getLogger(__name__)

CounterRow = tuple[int | None, ...]
NO_USAGE: CounterRow = (0,) * len(COUNTERS)
"""The counters of a process that has used nothing."""
_TICK_US = 1_000_000 // TICKS_PER_S


def _summed(threads: Sequence[Io]) -> Io:
    """The sum over threads; unknown if no thread can be read."""
    if not threads:
        return parse_io(None)
    columns = zip(*threads, strict=True)
    return Io(*(None if None in column else sum(column) for column in columns))


class CounterReader:
    """Reads counters from taskstats, or if that is not available, from /proc."""

    def __init__(
        self, procfs: Procfs, ended_threads: Callable[[int], Mapping[str, int]], *, delays: bool
    ) -> None:
        """`ended_threads` returns what a process's ended threads used, by names of Taskstats."""
        self._procfs = procfs
        self.ended_threads = ended_threads
        self._delays = delays
        self._query: TaskstatsQuery | None = None
        try:
            self._query = TaskstatsQuery()
        except ElsaError as error:
            log.info("counters of living processes come from /proc alone: %s", error)

    def close(self) -> None:
        """Close the socket."""
        if self._query is not None:
            self._query.close()

    def read(self, life: Incarnation, monotonic: Monotonic) -> CounterRow | None:
        """The counters so far, in the order of the columns of table counter_snapshot; None if the
        process has ended.

        taskstats has times and context switches of the whole process, but not its I/O and memory,
        so I/O and faults come from /proc. The I/O is added up over the threads that run now and
        those whose end was received: /proc's counters of the whole process include all children
        that it has reaped.
        """
        pid = life.pid
        threads = self._procfs.read_threads_io(pid)
        data = self._procfs.read_stat(pid)
        if data is None:
            return None
        try:
            stat, io = parse_stat(data), _summed([parse_io(thread) for thread in threads])
        except DataError:
            return None
        if not same_start(life, start_ns(stat, monotonic)):
            return None  # its pid was reused
        alive = {
            "read_chars": io.rchar,
            "write_chars": io.wchar,
            "read_syscalls": io.syscr,
            "write_syscalls": io.syscw,
            "read_bytes": io.read_bytes,
            "write_bytes": io.write_bytes,
            "cancelled_write_bytes": io.cancelled_write_bytes,
        }
        ended = self.ended_threads(pid)
        counters = {
            "minflt": stat.minflt,
            "majflt": stat.majflt,
            "utime_us": stat.utime_ticks * _TICK_US,
            "stime_us": stat.stime_ticks * _TICK_US,
        } | {
            name: None if value is None else value + ended.get(name, 0)
            for name, value in alive.items()
        }
        group = self._group(pid)
        if group is not None:
            counters |= {
                measure.field: getattr(group, measure.field)
                for measure in COUNTERS
                if measure.of_group and (self._delays or not measure.delay)
            }
        # taskstats reports memory integrals at the end only.
        return held(tuple(counters.get(measure.field) for measure in COUNTERS))

    def _group(self, pid: int) -> Taskstats | None:
        answer = self._query.get(pid) if self._query is not None else None
        if answer is None:
            return None
        messages = decoding.decode(answer[1])
        group = messages[0].group if messages else None
        return known_delays(group) if group is not None else None
