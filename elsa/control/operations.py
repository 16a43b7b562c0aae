"""The operations that a client may request of jobd: their fields, and how jobd checks them.

To add one: a dataclass below, its line in REQUESTS, a check for each new field in FIELDS, a section
in docs/protocol.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from elsa.control.protocol import MAX_MEMBERS, MAX_PID, VERSION, JobRef, load
from elsa.errors import UsageError
from elsa.state import job_kinds
from elsa.state.criteria import Criteria
from elsa.state.job_names import MAX_NAME, MAX_TAG_KEY, MAX_TAG_VALUE

MAX_PIDS = 4096
MAX_ID = 2**63 - 1
MAX_UID = 2**32 - 2
MAX_STATUS = 0xFFFF
"""A wait status: the exit code in the upper byte; a signal and whether it left a core in the lower.
"""
MAX_COMMANDS = 64
"""Patterns of one `define`."""
MAX_WHERE = 4096
MAX_TAGS = 32
MAX_TAG_BYTES = 4096
"""UTF-8 bytes of all tags of a job together, so that a list of many jobs stays a list."""


@dataclass(frozen=True)
class Create:
    """Create a job and add processes to it."""

    name: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pids: tuple[int, ...] = ()
    launched: int | None = None
    """Which of `pids` was started as the job's command."""
    closes_itself: bool = False
    """Close the job when its last process has ended."""

    def __post_init__(self) -> None:
        if self.launched is not None and self.launched not in self.pids:
            raise UsageError(f"launched: {self.launched} is not among the pids")


@dataclass(frozen=True)
class Define:
    """Make a job of processes that are recorded, or with `dry_run` only look; see
    elsa.state.criteria.
    """

    name: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    root: int | None = None
    session: int | None = None
    at_ns: int | None = None
    commands: tuple[str, ...] = ()
    where: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    dry_run: bool = False

    @property
    def selection(self) -> Criteria:
        """What is asked for. Raises UsageError unless it is exactly one thing."""
        return Criteria(
            self.root,
            self.session,
            self.at_ns,
            self.commands,
            self.where,
            self.since_ns,
            self.until_ns,
        )


@dataclass(frozen=True)
class Reserve:
    """Make a closed job, to which the client adds members in the warehouse."""

    name: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    owner_uid: int = 0


@dataclass(frozen=True)
class Add:
    """Add processes to a job, with `tree` all their living descendants too."""

    job: JobRef
    pids: tuple[int, ...]
    tree: bool = False


@dataclass(frozen=True)
class Remove:
    """Remove processes from a job; processes that they have started remain members."""

    job: JobRef
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Ended:
    """A job's command has ended: its wait status, from the client that waited for it."""

    job: JobRef
    status: int


@dataclass(frozen=True)
class Close:
    """Close a job: its living members leave it, and it gets no new ones."""

    job: JobRef


@dataclass(frozen=True)
class List:
    """List the open jobs, or all; of some kinds (elsa.state.job_kinds.CHOICES), or of all."""

    all: bool = False
    kinds: tuple[str, ...] = ()

    @property
    def chosen_kinds(self) -> frozenset[str]:
        """The kinds that are asked for."""
        return job_kinds.chosen(self.kinds)


@dataclass(frozen=True)
class Show:
    """One job with its living members, at most `limit` of them."""

    job: JobRef
    limit: int = 1000


@dataclass(frozen=True)
class Of:
    """Which jobs a process is in."""

    pid: int


@dataclass(frozen=True)
class Status:
    """The state of the daemon."""


@dataclass(frozen=True)
class Sync:
    """Wait until all events that happened before the request are in the warehouse."""


@dataclass(frozen=True)
class Own:
    """Send a warehouse of the asker's own processes and jobs, behind the reply: elsa.store.
    own_records.
    """

    since_ns: int | None = None
    """Real time: leave out what ended before this hour."""


Request = (
    Create
    | Define
    | Reserve
    | Add
    | Remove
    | Ended
    | Close
    | List
    | Show
    | Of
    | Own
    | Status
    | Sync
)

REQUESTS: dict[str, type[Request]] = {
    "create": Create,
    "define": Define,
    "reserve": Reserve,
    "add": Add,
    "remove": Remove,
    "ended": Ended,
    "close": Close,
    "list": List,
    "show": Show,
    "of": Of,
    "own": Own,
    "status": Status,
    "sync": Sync,
}


# The fields that name processes by their pids.
PID_FIELDS = ("pid", "pids", "launched", "root", "session")


def pids_of(request: Request) -> list[int]:
    """Every pid that a request names."""
    named: list[int] = []
    for field in PID_FIELDS:
        value = getattr(request, field, None)
        named += value if isinstance(value, tuple) else [] if value is None else [value]
    return list(dict.fromkeys(named))


def with_pids(request: Request, others: Mapping[int, int]) -> Request:
    """The same request, with other pids for all that it names."""
    changes: dict[str, Any] = {}
    for field in PID_FIELDS:
        value = getattr(request, field, None)
        if value is not None:
            changes[field] = (
                tuple(others[pid] for pid in value) if isinstance(value, tuple) else others[value]
            )
    return dataclasses.replace(request, **changes)


def _text(value: object, longest: int, shortest: int = 1) -> str:
    if isinstance(value, str) and shortest <= len(value) <= longest and value.isprintable():
        return value
    raise UsageError(f"needs {shortest} to {longest} printable characters")


def _name(value: object) -> str:
    name = _text(value, MAX_NAME)
    if name.isdigit() or name != name.strip():
        raise UsageError("a job's name may not be a number, nor begin or end with a blank")
    return name


def _whole(value: object, lowest: int, highest: int) -> int:
    if (
        type(value) is int and lowest <= value <= highest
    ):  # type() and not isinstance(): true and false are no numbers
        return value
    raise UsageError(f"needs a whole number from {lowest} to {highest}")


def _pid(value: object) -> int:
    return _whole(value, 1, MAX_PID)


def _pids(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and len(value) <= MAX_PIDS:
        return tuple(dict.fromkeys(_pid(pid) for pid in value))
    raise UsageError(f"needs a list of at most {MAX_PIDS} pids")


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        raise UsageError(f"needs an object of at most {MAX_TAGS} tags")
    tags = {_text(key, MAX_TAG_KEY): _text(text, MAX_TAG_VALUE, 0) for key, text in value.items()}
    if sum(len(key.encode()) + len(text.encode()) for key, text in tags.items()) > MAX_TAG_BYTES:
        raise UsageError(f"longer than {MAX_TAG_BYTES} bytes together")
    return tags


def _commands(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and len(value) <= MAX_COMMANDS:
        return tuple(_text(pattern, MAX_NAME) for pattern in value)
    raise UsageError(f"needs a list of at most {MAX_COMMANDS} patterns")


def _kinds(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(kind in job_kinds.CHOICES for kind in value):
        return tuple(value)
    raise UsageError(f"needs a list of {', '.join(job_kinds.CHOICES)}")


def _at_ns(value: object) -> int:
    return _whole(value, 0, MAX_ID)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise UsageError("needs true or false")


def _job(value: object) -> JobRef:
    return _name(value) if isinstance(value, str) else _whole(value, 1, MAX_ID)


# A field means the same in every request that has it.
FIELDS: dict[str, Callable[[object], Any]] = {
    "name": _name,
    "tags": _tags,
    "pids": _pids,
    "launched": _pid,
    "closes_itself": _flag,
    "job": _job,
    "tree": _flag,
    "all": _flag,
    "kinds": _kinds,
    "limit": lambda value: _whole(value, 0, MAX_MEMBERS),
    "pid": _pid,
    "root": _pid,
    "session": _pid,
    "at_ns": _at_ns,
    "since_ns": _at_ns,
    "until_ns": _at_ns,
    "commands": _commands,
    "where": lambda value: _text(value, MAX_WHERE),
    "owner_uid": lambda value: _whole(value, 0, MAX_UID),
    "status": lambda value: _whole(value, 0, MAX_STATUS),
    "dry_run": _flag,
}


def parse_request(line: bytes) -> Request:
    """The request in a line. Whatever the bytes are, nothing but a UsageError is ever raised."""
    message = load(line)
    version, op = message.pop("elsa", None), message.pop("op", None)
    if type(version) is not int or version != VERSION:
        raise UsageError(
            f'this jobd speaks protocol {VERSION}: a request begins {{"elsa": {VERSION}, "op": ...'
        )
    kind = REQUESTS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise UsageError(f"unknown op; the ops are: {', '.join(REQUESTS)}")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in message:
            values[field.name] = _checked(field.name, message.pop(field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{op}: {field.name} is missing")
    if message:
        raise UsageError(f"{op}: unknown field {ascii(next(iter(message)))[:80]}")
    return kind(**values)


def _checked(name: str, value: object) -> object:
    try:
        return FIELDS[name](value)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
