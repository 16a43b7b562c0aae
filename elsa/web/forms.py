"""The forms by which a reader chooses what a page shows: the same choices as the options of the
report.
"""

from __future__ import annotations

from typing import NamedTuple

from elsa.state import job_kinds

Choice = tuple[str, str]
"""A value, and its text."""


class Field(NamedTuple):
    """A field of a form, by the name of the option."""

    name: str
    label: str
    hint: str = ""
    choices: tuple[Choice, ...] = ()
    """Empty: free text."""


_KINDS = (
    ("", "any"),
    ("automatic", "automatic"),
    *((kind, kind) for kind in job_kinds.KINDS),
)
_SINCE = Field("since", "Since", "today, 7d, 2026-11-02 09:30")
_UNTIL = Field("until", "Until", "now, yesterday 18:00")
_USER = Field("user", "User", "name or uid")
_EXIT = Field("exit", "Exit", "0, 3, nonzero, SIGKILL")


def _one_of(*values: str) -> tuple[Choice, ...]:
    return (("", "any"), *((value, value) for value in values))


_FORMS: dict[str, tuple[Field, ...]] = {
    "today": (
        Field("by", "By", "", tuple((word, word) for word in ("kind", "job", "user", "command"))),
        _SINCE,
        _UNTIL,
    ),
    "used": (
        Field(
            "by",
            "By",
            "",
            tuple(
                (word, word)
                for word in ("user", "group", "command", "hour", "day", "month", "kind")
            ),
        ),
        _USER,
        Field("command", "Command", "cc1, or a glob: cc*"),
        _SINCE,
        _UNTIL,
    ),
    "runs": (
        Field("job", "Name", "nightly, or a glob: cron/*"),
        Field("kind", "Kind", "", (("", "automatic"), *_KINDS[2:])),
        _USER,
        _SINCE,
        _UNTIL,
    ),
    "jobs": (
        Field("job", "Name", "build, 12, night*"),
        Field("kind", "Kind", "", _KINDS),
        _USER,
        Field("state", "State", "", _one_of("open", "running", "completed", "failed")),
        _EXIT,
        _SINCE,
        _UNTIL,
    ),
    "processes": (
        Field("command", "Command", "cc1, or a glob: cc*"),
        _USER,
        Field("cmdline", "Command line", "part of it"),
        Field("job", "Job", "name or id"),
        _EXIT,
        Field("state", "State", "", _one_of("running", "completed", "failed")),
        _SINCE,
        _UNTIL,
    ),
    "bill": (
        Field("month", "Month", "last, november, 2026-11"),
        Field("by", "By", "user, group, job, tag, tag:KEY"),
        _USER,
    ),
    "trust": (_SINCE, _UNTIL),
}
# A field of a fleet's pages, and one of those whose rows are of all hosts together.
_HOST = Field("host", "Host", "web1, or a glob: web*")
_EACH = Field("each", "Hosts", "", (("", "together"), ("host", "each")))


def fields_of(page: str, *, of_fleet: bool) -> tuple[Field, ...]:
    """The fields of a page."""
    fields = _FORMS.get(page, ())
    if not fields or not of_fleet:
        return fields
    if page == "today":
        # What is summed up over time in a fleet is all usage.
        fields = tuple(field for field in fields if field.name != "by")
    first = 1 if fields[0].name == "by" else 0
    return (*fields[:first], _HOST, *([_EACH] if page == "used" else []), *fields[first:])
