"""`elsa run --kill`: compare what a command uses with its budget while it runs, and end it with all
that it started as soon as it costs more.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from elsa.errors import DataError, ElsaError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.run import budget, live_usage
from elsa.run.budget import Limit
from elsa.run.command_group import CommandGroup
from elsa.run.end_processes import Ending
from elsa.run.usage_sums import Usage

# How often usage is read; and how much longer the pause is than the reading took.
PERIOD_S = 0.5
SPARING = 9


class Accountant(Protocol):
    """What is needed of an accountant."""

    def members(self) -> Sequence[Mapping[str, Any]]:
        """The living members."""

    def used_now(self) -> Usage:
        """What all members have used so far, or more."""


class BudgetWatch:
    """Watches one command in a thread of its own, from `start` to `finish`."""

    def __init__(self, limits: list[Limit], accountant: Accountant, group: CommandGroup) -> None:
        self._limits = limits
        self._accountant = accountant
        self._group = group
        self._started_s = 0.0
        self._command: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.killed: list[str] = []
        """Which limits were exceeded when the command was killed; empty if it was not."""
        self.notes: list[str] = []
        """What could not be killed, or watched."""

    def start(self, pid: int) -> None:
        """Watch a child of this process and all that it starts, if there are limits."""
        if not self._limits:
            return
        self._started_s = time.monotonic()
        self._command = os.pidfd_open(pid)
        self._thread.start()

    def finish(self) -> None:
        """Stop watching; if the command is being killed, wait until that is done."""
        self._over.set()
        if self._command is None:
            return
        self._thread.join()
        os.close(self._command)
        self._command = None

    def _watch(self) -> None:
        assert self._command is not None  # noqa: S101
        pause_s = 0.0
        while not self._over.wait(self._until_next(pause_s)):
            began_s = time.monotonic()
            over = budget.judge(self._limits, self._figures()).over
            if over:
                ending = Ending(self._command, self._accountant.members, self._group)
                notes = ending.end()
                if ending.signalled:
                    self.killed, self.notes = over, self.notes + notes
                return
            pause_s = max(PERIOD_S, SPARING * (time.monotonic() - began_s))

    def _until_next(self, pause_s: float) -> float:
        """The pause until the next reading; it ends when the wall time is over."""
        left = [
            self._started_s + limit.most - time.monotonic()
            for limit in self._limits
            if limit.name == budget.WALL
        ]
        return max(min([pause_s, *left]), 0.0)

    def _figures(self) -> dict[str, Any]:
        """As in a cost report. The control group has them exactly; without it they are those of the
        members, as far as known.
        """
        group = self._group.counters()
        figures: dict[str, Any] = {
            "cpu_s": None,
            "peak_rss_kib": None,
            "group": None if group is None else group._asdict(),
        }
        if group is not None and group.user_us is not None and group.system_us is not None:
            figures["cpu_s"] = (group.user_us + group.system_us) / 1e6
        known = {budget.CPU: figures["cpu_s"], budget.PEAK: group and group.memory_peak}
        if any(known.get(limit.name, 0) is None for limit in self._limits):
            with contextlib.suppress(ElsaError):
                used = self._accountant.used_now()
                figures["peak_rss_kib"] = used.peak_rss_kib
                peaks = [kib for kib in (used.peak_rss_kib, self._memory_kib()) if kib is not None]
                figures["job_peak_kib"] = max(peaks, default=None)
                if figures["cpu_s"] is None:
                    figures["cpu_s"] = used.cpu_s
        # Read last: the reading itself takes time.
        figures["wall_s"] = time.monotonic() - self._started_s
        return figures

    def _memory_kib(self) -> int | None:
        """The memory of all members together now, if there is a limit for it."""
        most = [limit.most / 1024 for limit in self._limits if limit.name == budget.PEAK]
        if not most:
            return None
        members = self._accountant.members()
        with contextlib.suppress(DataError):
            return live_usage.memory_kib(Procfs(), members, clocks.offsets(), min(most))
        return None
