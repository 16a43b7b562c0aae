"""End a command with all that it started: TERM to every process, and after a grace time KILL, until
none is left.

No signal goes to a process that has the pid of a member by now: each is sent through a pidfd, after
the process behind it was seen to be a member.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from elsa.errors import ElsaError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.run import live_usage
from elsa.run.command_group import CommandGroup
from elsa.text import counted

# How long processes have to end after TERM, and how long KILL is repeated.
GRACE_S = 5.0
PATIENCE_S = 10.0
PAUSE_S = 0.02
# Processes may be forking as fast as they are killed.
SHORT_PAUSE_S = 0.002

Members = Callable[[], Sequence[Mapping[str, Any]]]
"""The living members, as `live_usage.running` takes them. Raises an ElsaError where nobody knows
them at this moment.
"""


class Ending:
    """Ends the processes of one command; its own pidfd is `command`."""

    def __init__(self, command: int, members: Members, group: CommandGroup) -> None:
        self._command = command
        self._members = members
        self._group = group
        self.signalled = 0
        """How many signals reached a process."""
        self._refused: set[int] = set()
        self._why_unknown = ""

    def end(self) -> list[str]:
        """End them all. Returns what to say of those that could not be ended."""
        self._signal_all(signal.SIGTERM, signal.SIGCONT)  # a stopped process acts on no TERM
        until_s = time.monotonic() + GRACE_S
        while self._living() and time.monotonic() < until_s:
            time.sleep(PAUSE_S)
        until_s = time.monotonic() + PATIENCE_S
        while self._living() and time.monotonic() < until_s:
            self._group.kill()
            self._signal_all(signal.SIGKILL)
            time.sleep(SHORT_PAUSE_S)
        return self._left()

    def _living(self) -> int:
        # Of a member in another pid namespace the pid is not known.
        return len({int(member["pid"] or 0) for member in self._known()} | self._group.pids())

    def _known(self) -> Sequence[Mapping[str, Any]]:
        try:
            members = self._members()
        except ElsaError as error:
            self._why_unknown = str(error)
            return ()
        self._why_unknown = ""
        return members

    def _signal_all(self, *numbers: int) -> None:
        procfs, offsets = Procfs(), clocks.offsets()
        members = [member for member in self._known() if member["pid"] is not None]
        if self._why_unknown:
            self._send(self._command, 0, numbers)
        for member in members:
            with _pidfd(int(member["pid"])) as pidfd:
                if pidfd is not None and live_usage.still_is(procfs, member, offsets):
                    self._send(pidfd, int(member["pid"]), numbers)
        others = self._group.pids() - {int(member["pid"]) for member in members}
        for pid in others:
            with _pidfd(pid) as pidfd:
                # Whose pid is in the group after it was opened cannot have passed it on before.
                if pidfd is not None and pid in self._group.pids():
                    self._send(pidfd, pid, numbers)

    def _send(self, pidfd: int, pid: int, numbers: Sequence[int]) -> None:
        try:
            for number in numbers:
                signal.pidfd_send_signal(pidfd, number)
        except PermissionError:
            self._refused.add(pid)
        except OSError:
            pass  # it has ended
        else:
            self.signalled += 1

    def _left(self) -> list[str]:
        """Notes on what could not be ended."""
        if left := self._living():
            refused = "; this user may not signal all of them" if self._refused else ""
            return [f"{counted(left, 'process')} could not be killed{refused}"]
        if self._why_unknown:
            return [f"whether all processes were killed is not known: {self._why_unknown}"]
        return []


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """A handle of the process that has this pid now; None if there is none."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield pidfd
    finally:
        os.close(pidfd)
