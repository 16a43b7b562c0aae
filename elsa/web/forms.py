"""The forms by which a reader chooses what a page shows: the same choices as the options of the
report.
"""

from __future__ import annotations

from collections.abc import Container
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


# What cannot be chosen, by what the rows of a page are by: of anything, and of a fleet, whose sums
# are by user or by command.
_NOT_OF = {("used", "kind"): ("user", "command")}
_NOT_OF_FLEET = {
    ("used", "user"): ("command",),
    ("used", "group"): ("command",),
    ("used", "command"): ("user",),
    ("bill", "job"): ("user",),
    ("bill", "tag"): ("user", "each"),
}


def unsuited(page: str, by: str, *, of_fleet: bool) -> tuple[str, ...]:
    """The fields that a page whose rows are by something cannot have."""
    key = (page, by.partition(":")[0])
    return (*_NOT_OF.get(key, ()), *(_NOT_OF_FLEET.get(key, ()) if of_fleet else ()))


def fields_of(
    page: str, *, of_fleet: bool, by: str = "", given: Container[str] = ()
) -> tuple[Field, ...]:
    """The fields of a page whose rows are by something: those that it cannot have only if they are
    given, so that a reader can take them back.
    """
    fields = _FORMS.get(page, ())
    if fields and of_fleet:
        if page == "today":
            # What is summed up over time in a fleet is all usage.
            fields = tuple(field for field in fields if field.name != "by")
        first = 1 if fields[0].name == "by" else 0
        each = [_EACH] if page in ("used", "bill") else []
        fields = (*fields[:first], _HOST, *each, *fields[first:])
    without = unsuited(page, by, of_fleet=of_fleet)
    return tuple(field for field in fields if field.name in given or field.name not in without)
