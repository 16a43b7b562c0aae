"""Reads the counters of all living processes at the end of each interval, and of a process when it
enters or leaves a job.

Intervals end with the minutes of the clock (or as `interval_s` says), so every hour and day ends
with one. All processes are read in portions of some milliseconds, between which events are read. If
a reading takes more than 1 % of the time of one CPU, the intervals become longer; an hour still
ends with a reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from time import thread_time_ns

from elsa.kernel import clocks
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import IntervalRow, Shown, Used, before_first_run, reading
from elsa.state.process_table import Processes
from elsa.units import HOUR_NS, MS_NS, SECOND_NS

PORTION_NS = 5 * MS_NS
# A reading may take one part in so many of the time of a CPU.
SHARE = 100
# How long a reading waits for all events before its time, before it is made without them.
PATIENCE_NS = 5 * SECOND_NS
RETRY_NS = 20 * MS_NS
_HOUR_S = HOUR_NS // SECOND_NS


def periods(shortest_s: int) -> list[int]:
    """The lengths of intervals (ns) that divide an hour, from the shortest on."""
    return [
        length_s * SECOND_NS
        for length_s in range(shortest_s, _HOUR_S + 1, shortest_s)
        if _HOUR_S % length_s == 0
    ]


class IntervalReader:
    """Reads counters, and adds what was used since the readings before to the changes."""

    def __init__(
        self,
        processes: Processes,
        read: Callable[[Incarnation, bytes], Shown | None],
        interval_s: int,
        started_ns: int,
        read_before_ns: int | None,
    ) -> None:
        """`read` reads the counters of a process, unless it has not run since the reading with this
        fingerprint. `read_before_ns`: the end of the last run of jobd in this boot; None: it is the
        first.
        """
        self._processes = processes
        self._read = read
        self._periods = periods(interval_s)
        self._started_ns = started_ns
        # What processes had used before jobd first ran counts where they started, since it is not
        # known when it was used.
        self._old_before_ns = started_ns if read_before_ns is None else 0
        self._since_ns = read_before_ns or 0
        self._last_ns = started_ns
        """Monotonic: the end of the newest interval."""
        self.period_ns = self._periods[0]
        """The length of the intervals."""
        self._due_at_ns = 0
        """Real time: the end of the interval."""
        self._retry_ns = self._until_ns = 0
        self._left: Iterator[Incarnation] | None = None
        self._rows: list[IntervalRow] = []
        self._old: dict[tuple[int, int], list[IntervalRow]] = defaultdict(list)
        """By the hour of the start of a process, and its first reading."""
        self._took_ns = 0

    # --- memberships

    def edge(self, life: Incarnation, edge_ns: int) -> None:
        """A process enters or leaves a job. If it has ended already, what it had used by then is
        not known, and nothing is stored: each of the jobs is charged for its whole life.
        """
        shown = self._read(life, b"")
        if shown is None:
            return
        row = self._row(life, shown, edge_ns)
        self._store_old()
        self._processes.changes.readings.append(
            reading(self._processes.clocks.at(edge_ns), self._last_ns, edge_ns, [row], of_all=False)
        )

    def _row(self, life: Incarnation, shown: Shown, until_ns: int) -> IntervalRow:
        used = life.used
        if used is None:
            used = life.used = Used()
            if life.start_ns < self._old_before_ns:
                hour = self._processes.clocks.at(life.start_ns).hour(life.start_ns)
                old = _as_row(life, shown, used.advance(shown))
                self._old[hour, until_ns].append(old)
        row = _as_row(life, shown, used.advance(shown))
        used.until_ns, used.uid = max(used.until_ns, until_ns), life.uid
        return row

    def _store_old(self) -> None:
        for (hour, until_ns), rows in self._old.items():
            clock = self._processes.clocks.at(until_ns)
            self._processes.changes.readings.append(before_first_run(clock, until_ns, hour, rows))
        self._old.clear()

    # --- all processes

    def charge(self, took_ns: int) -> None:
        """Time on a CPU that other readings took, which leaves less for those of the intervals."""
        self._took_ns += took_ns

    def due_ns(self, now_ns: int) -> int:
        """When `tick` is to be called next."""
        if self._left is not None:
            return now_ns
        return max(self._monotonic_ns(self._due_at_ns), self._retry_ns)

    def is_due(self, now_ns: int) -> bool:
        """Whether an interval has ended and its reading has not begun."""
        return self._left is None and now_ns >= self.due_ns(now_ns)

    def tick(self, now_ns: int, heard_ns: int, *, wait: bool) -> None:
        """Read some processes if an interval has ended and all events before that were received.
        With `wait` no reading is begun: the warehouse cannot be written.
        """
        if self._left is not None:
            self._read_some()
            return
        if self._has_ended(now_ns):
            self._retry_ns = now_ns + RETRY_NS
            if not wait:
                self._begin(now_ns, heard_ns)

    def _has_ended(self, now_ns: int) -> bool:
        left_ns = self._due_at_ns - self._at_ns(now_ns)
        return left_ns <= 0 or left_ns > self.period_ns  # the clock was set back

    def _begin(self, now_ns: int, heard_ns: int) -> None:
        now_at_ns = self._at_ns(now_ns)
        until_ns = self._monotonic_ns(now_at_ns - now_at_ns % self.period_ns)
        if until_ns <= self._last_ns:  # jobd has just started, or the clock was set back
            until_ns = heard_ns
        if until_ns > self._last_ns and (heard_ns >= until_ns or now_ns - until_ns >= PATIENCE_NS):
            self._until_ns = until_ns
            self._left = iter(list(self._processes.living.values()))
            self._read_some()

    def _at_ns(self, now_ns: int) -> int:
        return now_ns + self._processes.clocks.current.offset_ns

    def _monotonic_ns(self, at_ns: int) -> int:
        return at_ns - self._processes.clocks.current.offset_ns

    def _read_some(self) -> None:
        started_ns, until_ns = thread_time_ns(), clocks.monotonic_ns() + PORTION_NS
        assert self._left is not None  # noqa: S101
        for life in self._left:
            self._read_one(life)
            if clocks.monotonic_ns() >= until_ns:
                self._took_ns += thread_time_ns() - started_ns
                return
        self._took_ns += thread_time_ns() - started_ns
        self._finish()

    def _read_one(self, life: Incarnation) -> None:
        used = life.used
        # One that started since used nothing then; one that was read for a job since counts there.
        if (
            life.elapsed_ns is not None
            or life.start_ns >= self._until_ns
            or (used is not None and used.until_ns >= self._until_ns)
        ):
            return
        shown = self._read(life, used.fingerprint if used is not None else b"")
        if shown is not None:
            self._rows.append(self._row(life, shown, self._until_ns))

    def _finish(self) -> None:
        self._store_old()
        self._processes.changes.readings.append(
            reading(
                self._processes.clocks.at(self._until_ns),
                self._since_ns,
                self._until_ns,
                self._rows,
            )
        )
        self._since_ns = self._last_ns = self._until_ns
        self._rows, self._left = [], None
        self._set_period()

    def _set_period(self) -> None:
        """Make the intervals so long that the next reading takes its share, if it takes as long."""
        least_ns = SHARE * self._took_ns
        self.period_ns = next(
            (period for period in self._periods if period >= least_ns), self._periods[-1]
        )
        self._took_ns = 0
        ended_at_ns = self._at_ns(self._until_ns)
        self._due_at_ns = ended_at_ns - ended_at_ns % self.period_ns + self.period_ns


def _as_row(life: Incarnation, shown: Shown, used: tuple[int | None, ...]) -> IntervalRow:
    return (life.id, shown.gid, shown.forked_only, shown.rss_kib, *used)
