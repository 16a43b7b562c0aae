"""The collector's third stream: what taskstats tells of every thread that ends, given to the
incarnation that it was part of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from elsa.decode import taskstats as decoding
from elsa.decode.taskstats import Message
from elsa.errors import DataError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.matching.taskstats import UsageMatcher
from elsa.state.clock import Clock
from elsa.state.process_table import Processes
from elsa.state.taskstats import ProcessSums

READ_CHUNK = 5_000
# Messages that wait until every event before them has been taken in; more than these are heard even
# so.
MOST_GATHERED = 250_000
# So many are heard in one go.
HEAR_MOST = 10_000


class Notes(Protocol):
    """What ears write down beside what they hear of processes: Storing for the warehouse, less
    where there is none.
    """

    events: int
    heard_ns: int

    def gap(
        self, kind: str, from_ns: int, to_ns: int, lost: int | None, note: str | None = None
    ) -> None:
        """A loss."""

    def clock(self, clock: Clock) -> None:
        """The offset between the clocks has changed."""


class Statistics:
    """Reads the socket, sums threads to processes and finds whose they are."""

    def __init__(
        self, socket: TaskstatsSocket, procfs: Procfs, processes: Processes, notes: Notes
    ) -> None:
        self._socket = socket
        self._procfs = procfs
        self._notes = notes
        self._sums = ProcessSums()
        self._matcher = UsageMatcher(processes, delays=self._delays_are_counted())
        self._gathered: list[Message] = []
        self._drops = 0
        self._read_ns = clocks.monotonic_ns()
        self.heard_ns = self._read_ns
        """Every message that was sent before has been taken in."""

    @property
    def waiting(self) -> bool:
        """Whether lives that have ended still wait for their message."""
        return self._matcher.waiting

    def _delays_are_counted(self) -> bool:
        return self._procfs.sysctl("kernel.task_delayacct") == "1"

    def gather(self) -> bool:
        """Read the messages that the kernel has queued, or very many; returns whether these were
        all.

        Often, since a message takes more of a receive buffer than an event.
        """
        began_ns = clocks.monotonic_ns()
        datagrams = self._socket.drain(READ_CHUNK)
        for datagram in datagrams:
            try:
                self._gathered += decoding.decode(datagram)
            except DataError:
                self._matcher.unmatched += 1
        drops = self._socket.drops()
        if drops != self._drops:
            self._notes.gap(
                "taskstats",
                self._read_ns,
                began_ns,
                (drops - self._drops) % 2**32,
                "statistics of threads were lost",
            )
            self._drops = drops
            self._sums.note_loss()
        if len(datagrams) == READ_CHUNK:
            return False
        self._read_ns = began_ns
        return True

    def ended_threads(self, tgid: int) -> Mapping[str, int]:
        """What the threads of a living process that have ended used."""
        return self._sums.ended_threads(tgid)

    def hear(self, *, up_to_date: bool) -> bool:
        """Give what was gathered to its lives, once every event that happened before it has been
        taken in.

        Or where too much waits for that. Returns whether nothing is left that could be heard now.
        """
        if not up_to_date and len(self._gathered) <= MOST_GATHERED:
            return True
        messages, self._gathered = self._gathered[:HEAR_MOST], self._gathered[HEAR_MOST:]
        self._matcher.add(self._sums.feed(messages), clocks.monotonic_ns())
        if self._gathered:
            return False
        self.heard_ns = self._read_ns
        return True

    def keep_house(self) -> None:
        """Give up on messages that have not come, and see whether delays are counted now."""
        self._matcher.drop_overdue(self.heard_ns)
        self._matcher.delays = self._delays_are_counted()
