"""The control group of its own that a command gets where that is possible: what the group counts is
exact, for processes of any length. Where it is not possible the command runs without.
"""

from __future__ import annotations

from elsa.decode.cgroups import COUNTER_FILES, GroupCounters, parse_counters
from elsa.errors import ElsaError
from elsa.kernel import own_group
from elsa.kernel.own_group import OwnGroup


class CommandGroup:
    """A control group for one command, or none."""

    def __init__(self) -> None:
        self.why_none = ""
        self._group: OwnGroup | None = None
        try:
            self._group = own_group.make()
        except ElsaError as error:
            self.why_none = str(error)

    def add(self, pid: int) -> None:
        """Move the command's process, which waits, into the group."""
        if self._group is None:
            return
        try:
            self._group.add(pid)
        except ElsaError as error:
            self.why_none = str(error)
            self.close()

    def counters(self) -> GroupCounters | None:
        """What the command and all that it started have used; None without a group."""
        files = None if self._group is None else self._group.read(COUNTER_FILES)
        return None if files is None else parse_counters(*files)

    def pids(self) -> set[int]:
        """The processes that are in the group now; none without a group."""
        return set() if self._group is None else set(self._group.pids()) - {0}

    def kill(self) -> bool:
        """Kill all that is in the group, in one step that no fork escapes; False if impossible."""
        return self._group is not None and self._group.kill()

    def kept(self) -> list[str]:
        """What to say if the group cannot be removed yet."""
        if self._group is None or not self._group.processes():
            return []
        return [f"control group {self._group.path} is kept: processes still run in it"]

    def close(self) -> None:
        """Remove the group, if no process is in it."""
        group, self._group = self._group, None
        if group is not None:
            group.remove()
