"""Reads taskstats messages for the collector, sums them over the threads of each process, and finds
the incarnation that each sum belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from elsa.decode import taskstats as decoding
from elsa.errors import DataError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.matching.usage_matcher import UsageMatcher
from elsa.state.clock import Clock
from elsa.state.process_sums import ProcessStats, ProcessSums
from elsa.state.process_table import Processes

READ_CHUNK = 5_000
# How many messages wait until every event before them has been read; if there are more, they are
# matched anyway.
MOST_GATHERED = 250_000
# How many are matched in one call.
MATCH_MOST = 10_000


class Recorder(Protocol):
    """What records losses and clocks: jobd's Batcher, or the collector of `elsa run`."""

    events: int
    heard_ns: int

    def gap(
        self, kind: str, from_ns: int, to_ns: int, lost: int | None, note: str | None = None
    ) -> None:
        """Record a loss. If the last one has the same kind and beginning, it goes on."""

    def clock(self, clock: Clock) -> None:
        """Record that the offset between real and monotonic time has changed."""


class TaskstatsReader:
    """Reads, sums and matches taskstats messages."""

    def __init__(
        self, socket: TaskstatsSocket, procfs: Procfs, processes: Processes, recorder: Recorder
    ) -> None:
        self._socket = socket
        self._procfs = procfs
        self._recorder = recorder
        self._sums = ProcessSums()
        self._matcher = UsageMatcher(processes, socket.since_ns, delays=self._delays_are_counted())
        self._gathered: list[bytes] = []
        self._drops = 0
        self._read_ns = socket.since_ns
        self.heard_ns = self._read_ns
        """Monotonic: all messages that were sent before have been matched."""

    @property
    def waiting(self) -> bool:
        """Whether processes that have ended still wait for their message."""
        return self._matcher.waiting

    def _delays_are_counted(self) -> bool:
        return self._procfs.sysctl("kernel.task_delayacct") == "1"

    def gather(self) -> bool:
        """Read the messages that the kernel has queued (or very many of them); returns whether
        these were all.

        Call it often: a message takes more of a receive buffer than an event.
        """
        started_ns = clocks.monotonic_ns()
        datagrams = self._socket.drain(READ_CHUNK)
        self._gathered += datagrams
        drops = self._socket.drops()
        if drops != self._drops:
            self._recorder.gap(
                "taskstats",
                self._read_ns,
                started_ns,
                (drops - self._drops) % 2**32,
                "statistics of threads were lost",
            )
            self._drops = drops
            self._sums.note_loss()
        if len(datagrams) == READ_CHUNK:
            return False
        self._read_ns = started_ns
        return True

    def ended_threads(self, tgid: int) -> Mapping[str, int]:
        """What the ended threads of a living process used."""
        return self._sums.ended_threads(tgid)

    def match(self, *, up_to_date: bool) -> bool:
        """Match the messages with incarnations if all events before them have been read
        (`up_to_date`), or if too many wait for that. Returns whether no more can be matched now.
        """
        if not up_to_date and len(self._gathered) <= MOST_GATHERED:
            return True
        datagrams, self._gathered = self._gathered[:MATCH_MOST], self._gathered[MATCH_MOST:]
        self._matcher.add(self._ended(datagrams), clocks.monotonic_ns(), self.heard_ns)
        if self._gathered:
            return False
        self.heard_ns = self._read_ns
        return True

    def _ended(self, datagrams: Iterable[bytes]) -> Iterator[ProcessStats]:
        """The processes that ended with these messages, one by one: a decoded message takes three
        times the memory.
        """
        for datagram in datagrams:
            try:
                messages = decoding.decode(datagram)
            except DataError:
                self._matcher.unmatched += 1
            else:
                yield from self._sums.feed(messages)

    def drop_overdue(self) -> None:
        """Stop waiting for overdue messages, and check whether delays are counted now."""
        self._matcher.drop_overdue(self.heard_ns)
        self._matcher.delays = self._delays_are_counted()
