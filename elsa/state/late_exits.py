"""Exits that come late, when the process is known to have ended and another may have its pid. Pure.

The exit of a process is in the queue up to 38 ms after the fork of the next process with its pid,
which another CPU reported. /proc may also have shown that next process before.
"""

from __future__ import annotations

from typing import NamedTuple

from elsa.decode.events import Event
from elsa.state.incarnation import Incarnation, started_after

# After this long an exit is not expected any more.
LATE_NS = 5_000_000_000


class PendingExit(NamedTuple):
    """A process that has ended and of which an exit may still be received."""

    life: Incarnation
    over_ns: int
    """By when it had ended."""
    due: bool
    """Its exit was not received and not lost, so it will come."""


class LateExits:
    """The processes of a boot that have ended and of which an exit may still be received."""

    def __init__(self) -> None:
        self.by_pid: dict[int, list[PendingExit]] = {}
        """Oldest first."""

    def expect(self, life: Incarnation, over_ns: int, *, due: bool) -> None:
        """A process had ended by `over_ns`, and its exit may still come."""
        self.by_pid.setdefault(life.pid, []).append(PendingExit(life, over_ns, due))

    def note_reuse(self, pid: int, time_ns: int) -> None:
        """A pid was used again: the process before had ended."""
        if pid in self.by_pid:
            before = self.by_pid[pid].pop()
            bounded = before._replace(over_ns=min(before.over_ns, time_ns))
            self.by_pid[pid].append(bounded)

    def is_of_earlier(self, event: Event, life: Incarnation | None) -> bool:
        """Whether this exit is of the earlier process of the pid whose exit is expected, and not of
        `life`, which has the pid now.

        The earlier process was reaped before its pid was used again, so its late exits name no
        parent or have an earlier time. Exits of threads never name a parent; if a thread exits
        while `life` has several, it is taken to be a thread of `life`.
        """
        late, _, due = self.by_pid[event.b][0]
        if event.time_ns - late.end_ns > LATE_NS:
            return False
        if life is None or started_after(life, event.time_ns):
            return True
        return due and event.e == 0 and (event.a == event.b or life.threads == 1)

    def received_all(self, pid: int) -> None:
        """The exits of the earliest process of a pid have been received."""
        del self.by_pid[pid][0]
        if not self.by_pid[pid]:
            del self.by_pid[pid]

    def drop_overdue(self, now_ns: int) -> None:
        """Stop waiting for exits that have not come."""
        for pid, pending in list(self.by_pid.items()):
            kept = [one for one in pending if now_ns - one.life.end_ns <= LATE_NS]
            if kept:
                self.by_pid[pid] = kept
            else:
                del self.by_pid[pid]
