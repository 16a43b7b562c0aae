"""The processes that ended last, for records that arrive a little after the exit event. Pure."""

from __future__ import annotations

from elsa.state.incarnation import Incarnation

# Some tenths of a second of the most processes that a host can end; records are milliseconds late.
MOST_ENDED = 2_000


class RecentlyEnded:
    """The last processes that ended; of each pid the last one."""

    def __init__(self) -> None:
        self._by_pid: dict[int, Incarnation] = {}

    def add(self, life: Incarnation) -> None:
        """A process has ended."""
        self._by_pid.pop(life.pid, None)
        self._by_pid[life.pid] = life
        if len(self._by_pid) > MOST_ENDED:
            del self._by_pid[next(iter(self._by_pid))]

    def find(self, pid: int, time_ns: int) -> Incarnation | None:
        """The process that had this pid and had started at this time (monotonic)."""
        life = self._by_pid.get(pid)
        return life if life is not None and life.start_ns <= time_ns else None
