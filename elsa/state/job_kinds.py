"""The kinds of jobs, and the words with which people choose among them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from elsa.errors import UsageError
from elsa.text import printable

MANUAL = "manual"
"""The kind of a job that a request made; every other kind is automatic."""
AUTOMATIC = (
    *("service", "scope", "session", "user", "cron", "container", "machine", "slurm", "ci"),
    "other",
)
KINDS = (MANUAL, *AUTOMATIC)
CHOICES = (*KINDS, "automatic", "all")
"""What may be chosen: a kind, every automatic kind, or every kind."""


def chosen(words: Iterable[str], option: str = "--kind") -> frozenset[str]:
    """The kinds that are meant by some of CHOICES; by none of them, all. Raises UsageError."""
    kinds: set[str] = set()
    for word in words:
        kind = word.strip().lower()
        if kind not in CHOICES:
            raise UsageError(
                f"{option}: no job is of kind {printable(word)}; write one of {', '.join(CHOICES)}"
            )
        kinds.update({"automatic": AUTOMATIC, "all": KINDS}.get(kind, (kind,)))
    return frozenset(kinds or KINDS)
