"""What a timeline is asked for: its steps, and the series that it is divided into."""

from __future__ import annotations

from typing import NamedTuple

from elsa.report import kinds
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition
from elsa.state import job_kinds

OTHER = "other"


METRICS = ("cpu", "memory", "io")


Key = tuple[str | None, ...]


class By(NamedTuple):
    """What series there are."""

    columns: tuple[str, ...]
    """The columns of the key."""
    keys: tuple[str, ...]
    """SQL for the ids that it follows from, over rows `u`."""
    names: str
    """SQL for it, with these ids as values."""
    rollup: str
    """The hourly sums that have this key."""
    of_jobs: bool = False
    """The series are of the automatic jobs, of which a process is in one at a time; what is in none
    is a series too."""


BY = {
    "job": By(
        ("name", "kind"),
        ("u.job_id",),
        "select j.name, j.kind from job as j where j.id = ?",
        "rollup_job",
        of_jobs=True,
    ),
    "kind": By(
        ("kind",),
        ("u.job_id",),
        "select j.kind from job as j where j.id = ?",
        "rollup_job",
        of_jobs=True,
    ),
    "user": By(("user",), ("u.uid",), "select user_name(?)", "rollup_user"),
    "command": By(("command",), ("u.command",), "select ?", "rollup_command"),
}
"""By job: runs of a name are one series."""


_USER_OF_HOST = By(
    ("user", "host"),
    ("u.uid", "u.host_id"),
    "select user_name(?1, ?2), host_name(?2)",
    "rollup_user",
)


ALL = By((), (), "", rollup_source.ALL)


KINDS = ", ".join(f"'{kind}'" for kind in job_kinds.AUTOMATIC)


OF_KINDS = Condition(f"u.job_id in (select j.id from job as j where j.kind in ({KINDS}))")


class Asked(NamedTuple):
    """What a timeline is asked for, besides the processes."""

    by: str | None = None
    top: int = 5
    """How many series there are, besides the others together."""
    step_s: int | None = None
    """The length of a step; None: so that `most` steps are enough."""
    most: int = 72
    metric: str = "cpu"
    """By which the series are ranked."""


def by_of(asked: Asked, selection: Selection) -> By:
    """What series there are; users of several hosts are told apart."""
    if asked.by is None:
        return ALL
    return _USER_OF_HOST if asked.by == "user" and selection.apart else BY[asked.by]


def rest_of(by: By) -> Key:
    """The key of what is in no automatic job."""
    return (kinds.NONE, *(None,) * (len(by.columns) - 1))
