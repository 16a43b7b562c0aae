"""The processes that ended last, for records that arrive a little after the exit event. Pure."""

from __future__ import annotations

from elsa.state.incarnation import Incarnation

# Some tenths of a second of the most processes that a host can end; records are milliseconds late.
ENDED = 1_000


class RecentlyEnded:
    """The last ENDED processes that ended, and up to as many before them."""

    def __init__(self) -> None:
        # Two generations: to delete the oldest entries of a dict one by one takes longer the more
        # of them were deleted before.
        self._newer: dict[int, Incarnation] = {}
        self._older: dict[int, Incarnation] = {}

    def add(self, life: Incarnation) -> None:
        """A process has ended."""
        self._newer[life.pid] = life
        if len(self._newer) >= ENDED:
            self._older, self._newer = self._newer, {}

    def find(self, pid: int, time_ns: int) -> Incarnation | None:
        """The process that had this pid and had started at this time (monotonic)."""
        for generation in (self._newer, self._older):
            life = generation.get(pid)
            if life is not None and life.start_ns <= time_ns:
                return life
        return None
