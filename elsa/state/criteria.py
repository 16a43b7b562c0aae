"""Which recorded processes a job that is defined after the fact selects."""

from __future__ import annotations

from dataclasses import dataclass

from elsa.errors import UsageError


@dataclass(frozen=True)
class Criteria:
    """Exactly one of root, session, commands and where; and when the processes started."""

    root: int | None = None
    """A pid: this process and all its descendants."""
    session: int | None = None
    """The pid of a session's leader: the processes of that session."""
    at_ns: int | None = None
    """Real time at which a process had the pid `root` or `session`; None: the last that had it."""
    commands: tuple[str, ...] = ()
    """Shell patterns, of which the command has to match one."""
    where: str | None = None
    """SQL condition on the columns of process_usage."""
    since_ns: int | None = None
    """Real time: only processes that started then or later, ..."""
    until_ns: int | None = None
    """... and before this."""

    def __post_init__(self) -> None:
        criteria = (self.root, self.session, self.commands or None, self.where)
        if sum(criterion is not None for criterion in criteria) != 1:
            raise UsageError("name exactly one of --root, --session, --command and --where")
