"""Which recorded processes somebody means: what a job that is defined after the fact is made of."""

from __future__ import annotations

from dataclasses import dataclass

from elsa.errors import UsageError


@dataclass(frozen=True)
class Selection:
    """Which recorded processes: exactly one of root, session, commands and where, and when they
    began.
    """

    root: int | None = None
    """Pid: this process and all that descends from it."""
    session: int | None = None
    """Pid of a session's leader: the processes of that session."""
    at_ns: int | None = None
    """Real time at which `root` or `session` bore that pid; None: the last one that did."""
    commands: tuple[str, ...] = ()
    """Patterns as of a shell; one of them fits."""
    where: str | None = None
    """SQL condition on the columns of process_usage."""
    since_ns: int | None = None
    """Real time: only those that began then or later, ..."""
    until_ns: int | None = None
    """... and before then."""

    def __post_init__(self) -> None:
        if (
            sum(
                (
                    self.root is not None,
                    self.session is not None,
                    bool(self.commands),
                    self.where is not None,
                )
            )
            != 1
        ):
            raise UsageError("name exactly one of --root, --session, --command and --where")
