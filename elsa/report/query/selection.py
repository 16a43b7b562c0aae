"""Which processes or jobs a report is about: a frozen Selection, which gives SQL conditions with
bound values.
"""

from __future__ import annotations

from dataclasses import dataclass

from elsa.report.query.statement import Condition
from elsa.report.query.times import Window
from elsa.store.process_lookup import lived

_ALWAYS = Window()


@dataclass(frozen=True)
class Selection:
    """The selected processes."""

    window: Window = _ALWAYS
    clip: bool = False
    """Take every process that ran in the window, for its part in it, instead of processes that
    ended in it.
    """
    jobs: tuple[int, ...] | None = None
    """Ids; None means all processes. A process in several of these jobs counts once: in the job
    where it was for its whole lifetime, else in the oldest.
    """
    choices: tuple[Condition, ...] = ()
    """All other conditions, on the columns of a process."""
    job_conditions: tuple[Condition, ...] = ()
    """In lists of jobs: conditions on the columns of job_usage."""
    apart: bool = False
    """The warehouse has several hosts: users of different hosts are different users."""
    same_users: bool = False
    """But they are the same where both the id and the name are the same."""
    ids: bool = False
    """Select ids instead of names: for SQL that is shown, since only ELSA has the functions that
    look names up.
    """
    words: tuple[str, ...] = ()
    """Notes on how the options were understood."""
    alive: bool = False
    """Take every process that lived at some time in the window, instead of processes that ended in
    it.
    """

    def __bool__(self) -> bool:
        """Whether anything is chosen at all."""
        return bool(self.window or self.jobs is not None or self.choices)

    @property
    def job(self) -> int | None:
        """The job, if there is exactly one."""
        return self.jobs[0] if self.jobs is not None and len(self.jobs) == 1 else None

    def conditions(self) -> list[Condition]:
        """All conditions on the rows of elsa.report.query.process_rows.rows, except on the jobs."""
        return [*(Condition(text) for text in self.of_window()), *self.choices]

    def of_window(self) -> list[str]:
        """The conditions of the window."""
        since, until = self.window
        if self.alive:
            return self._of_alive()
        if not self.clip:
            return self.window.where("u.out_ns")
        if not self.window:
            return ["u.out_ns is not null"]
        conditions = []
        if since is not None:
            # A lifetime without length is in the window in which it ended.
            conditions.append(
                f"(u.out_ns > {since} or (u.rest_ns = u.out_ns and u.out_ns = {since}))"
            )
        if until is not None:
            conditions.append(f"u.in_ns < {until}")
        return conditions

    def _of_alive(self) -> list[str]:
        # Also what ended in the first moment, since it counts in this window.
        since, until = self.window
        conditions = []
        if since is not None:
            conditions.append(f"(u.out_ns is null or u.out_ns >= {since})")
        if until is not None:
            conditions.append(f"u.entered_ns < {until}")
        return conditions

    def lived(self) -> str:
        """SQL that lists the processes that may have lived in the window; empty: all of them."""
        since, until = self.window
        return lived(since, until) if self.alive and since is not None else ""
