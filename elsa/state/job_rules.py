r"""Rules of automatic jobs: which job a process belongs to, from its control group and, where each
child of a daemon is a job of its own, from the daemon and the child. Pure.

The rules are asked about a path once (`Rules.decide`), and the answer holds for every process of
that group. Each rule is a pattern of paths; the first rule that matches decides. Its pattern may
match a group above: that one is then the job's own group, and all groups below are parts of it, so
that a process is in at most one automatic job.

A rule with `per = "child"` decides for single processes instead (`Decision.run`): each child of a
daemon is a job, with all that it starts (a run). What is no such child is decided by the rules
that come after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

from elsa.decode.command_name import LAUNCHERS, SHELLS, command_name
from elsa.names import maker_of_group
from elsa.state.group_pattern import GroupPattern, Values, expression
from elsa.state.job_kinds import AUTOMATIC
from elsa.state.job_names import MAX_TAG_KEY, Template, name_of, tag_value

PER = ("cgroup", "invocation", "child")
"""The unit of life: the group from mkdir to rmdir; one start of the unit that has the group, which
systemd marks by a new invocation id; a child of a daemon with all that it starts.
"""
KEYS = (
    *("cgroup", "parent", "command", "user"),
    *("name", "kind", "owner", "tags", "per", "skip"),
)
CHILD_FIELDS = frozenset(("user", "uid", "login", "command"))
"""What a name may say of a child beside the named groups."""
MOST_TAGS = 8
MOST_RULES = 200
MOST_DECISIONS = 2000
MOST_TEXT = 1000
_MOST_COMM = 64
_MAX_UID = 2**32 - 2

Made = TypeVar("Made")


class Process(NamedTuple):
    """What a rule may ask of a process that might be a run."""

    comm: str
    parent: str
    """The comm of its parent; of what it executes later the comm of the daemon, as before."""
    uid: int | None
    loginuid: int | None = None
    arguments: Sequence[str] = ()
    """Empty where they are not known."""


class AutomaticJob(NamedTuple):
    """A job as a rule describes it."""

    name: str
    kind: str
    """One of AUTOMATIC."""
    owner: int | str | None
    """Uid or name; None: the user of the first program that is executed in it."""
    tags: dict[str, str]
    per: str
    """One of PER."""
    group: str
    """The path of the job's own group; those below belong to it. Of a run: where it started."""
    rule: int
    """The rule that decided: its place in Rules.rules."""
    settled: bool = True
    """False: a run that has not executed its command yet, whose name may still change."""


@dataclass(frozen=True)
class Rule:
    """One rule; `rule_of` makes it of a table in the configuration."""

    patterns: tuple[GroupPattern, ...]
    """Of paths; none: any path."""
    parent: re.Pattern[str] | None = None
    command: re.Pattern[str] | None = None
    user: re.Pattern[str] | None = None
    name: Template | None = None
    """None: what matches gets no automatic job."""
    kind: str = "other"
    owner: Template | None = None
    tags: tuple[tuple[str, Template], ...] = ()
    per: str = "cgroup"

    def matches(self, names: tuple[str, ...]) -> tuple[int, Values] | None:
        """How many names of the path belong to the group that matches, with the named values."""
        if not self.patterns:
            return len(names), {}
        for pattern in self.patterns:
            found = pattern.outermost(names)
            if found is not None:
                return found
        return None

    def pattern_of(self, path: str) -> str | None:
        """The text of the pattern that matches a path."""
        names = names_of(path)
        return next((each.text for each in self.patterns if each.outermost(names)), None)

    def job(self, values: Values, group: str, rule: int, *, settled: bool = True) -> AutomaticJob:
        """The job with these values in its name and tags."""
        assert self.name is not None  # noqa: S101
        owner = self.owner.fill(values) if self.owner else ""
        tags = {key: tag_value(text.fill(values, readable=False)) for key, text in self.tags}
        return AutomaticJob(
            name_of(self.name.fill(values), self.kind),
            self.kind,
            _owner(owner),
            {key: value for key, value in tags.items() if value},
            self.per,
            group,
            rule,
            settled,
        )


class _ChildRule(NamedTuple):
    rule: Rule
    number: int
    values: Values


class Decision(NamedTuple):
    """What the rules say of a path."""

    path: str
    job: AutomaticJob | None
    """The job of the group's processes, but for those in a run."""
    rule: int | None
    """The rule that decided, by its place; None: no rule matches."""
    children: tuple[_ChildRule, ...]
    user_name: Callable[[int], str]

    def has_runs_of(self, comm: str) -> bool:
        """Whether a child of a process with this comm may begin a run."""
        return any(
            rule.parent is None or (len(comm) <= _MOST_COMM and rule.parent.fullmatch(comm))
            for rule, *_ in self.children
        )

    def run(self, process: Process) -> AutomaticJob | None:
        """The run that a process begins; None: it begins none.

        To be asked when a process is forked or executes a program while it is in no run; and at
        each exec in a run that is not settled, with the daemon as parent: the answer then replaces
        name, kind, owner and tags.
        """
        for rule, number, values in self.children:
            if not _fits(rule, process, self.user_name):
                continue
            command = _command(rule, process)
            facts = {"command": command or ""}
            if process.uid is not None:
                login = process.uid if process.loginuid is None else process.loginuid
                facts["uid"] = str(process.uid)
                facts["user"] = self.user_name(process.uid)
                facts["login"] = self.user_name(login)
            group = self.job.group if self.job else self.path
            job = rule.job({**values, **facts}, group, number, settled=command is not None)
            return job if job.owner is not None else job._replace(owner=process.uid)
        return None

    def keeps(self, now: Decision) -> bool:
        """Whether a member of a run that started here stays in it in another group: in the same
        unit, in no unit, and in a session that PAM made for the run.
        """
        if now.job is None or now.job.kind == "session":
            return True
        return self.job is not None and self.job.group == now.job.group


class Rules:
    """The rules in their order."""

    def __init__(
        self, rules: Sequence[Rule], user_name: Callable[[int], str] = str, own: int = 0
    ) -> None:
        """`own` of them are the administrator's; the others are built in."""
        self.rules = tuple(rules)
        self.own = own
        self._user_name = user_name
        self.decide = lru_cache(MOST_DECISIONS)(self._decide)
        """What holds for the processes of a group, by its path in the hierarchy."""

    def _decide(self, path: str) -> Decision:
        names = names_of(path)
        children = []
        for number, rule in enumerate(self.rules):
            found = rule.matches(names)
            if found is None:
                continue
            depth, values = found
            if rule.per == "child":
                children.append(_ChildRule(rule, number, values))
                continue
            group = "/" + "/".join(names[:depth])
            job = rule.job(values, group, number) if rule.name else None
            return Decision(path, job, number, tuple(children), self._user_name)
        return Decision(path, None, None, tuple(children), self._user_name)


def names_of(path: str) -> tuple[str, ...]:
    """The names in a path from the root group, up to a group that `elsa run` made for a command:
    its processes belong to the job of the group above.
    """
    names = (name for name in path.split("/") if name)
    return tuple(takewhile(lambda name: maker_of_group(name) is None, names))


def _owner(text: str) -> int | str | None:
    """A uid or a user's name; None for nothing, and for a number that no uid can be."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) < 11 and int(text) <= _MAX_UID else None
    return text or None


def _fits(rule: Rule, process: Process, user_name: Callable[[int], str]) -> bool:
    user = "" if process.uid is None else user_name(process.uid)
    asked = ((rule.parent, process.parent), (rule.command, process.comm), (rule.user, user))
    return all(
        pattern is None or (len(text) <= _MOST_COMM and pattern.fullmatch(text))
        for pattern, text in asked
    )


def _command(rule: Rule, process: Process) -> str | None:
    """What the run executes; None as long as it is still the daemon's own program, or a shell that
    says nothing of what it will execute.
    """
    if process.comm == process.parent or (rule.parent and rule.parent.fullmatch(process.comm)):
        return None
    if process.arguments:
        return command_name(process.arguments)
    return None if process.comm in SHELLS or process.comm in LAUNCHERS else process.comm


def rule_of(table: Mapping[str, Any]) -> Rule:
    """A rule as the configuration has it. Raises ValueError with what is wrong."""
    for key in table:
        if key not in KEYS:
            raise ValueError(f"unknown key {key!r}; the keys are: {', '.join(KEYS)}")
    patterns = tuple(_checked("cgroup", GroupPattern, text) for text in _texts(table, "cgroup"))
    conditions = {
        key: _checked(key, lambda text: expression(text, _MOST_COMM), table[key])
        for key in ("parent", "command", "user")
        if key in table
    }
    if not patterns and not conditions:
        raise ValueError("says of no process that it matches: cgroup, parent, command or user")
    if table.get("skip", False) is True:
        _refuse_beside_skip(table)
        return Rule(patterns)
    if table.get("skip", False) is not False:
        raise ValueError(f"skip: true or false is needed, not {table['skip']!r}")
    per = _choice(table, "per", PER, "cgroup")
    if per != "child" and (conditions or not patterns):
        raise ValueError(
            f'{", ".join(conditions)} choose children of a daemon: this needs per = "child"'
        )
    fields = {name for pattern in patterns for name in pattern.names}
    if per == "child":
        taken = fields & CHILD_FIELDS
        if taken:
            raise ValueError(f"cgroup: {min(taken)!r} means the child's own; name the group else")
        fields |= CHILD_FIELDS
    if "name" not in table:
        raise ValueError('has no name, such as name = "backup/{customer}"; or skip = true')
    return Rule(
        patterns,
        **conditions,
        name=_template("name", table["name"], fields),
        kind=_choice(table, "kind", AUTOMATIC, "other"),
        owner=_owner_template(table["owner"], fields) if "owner" in table else None,
        tags=_tags(table.get("tags", {}), fields),
        per=per,
    )


def _refuse_beside_skip(table: Mapping[str, Any]) -> None:
    beside = [key for key in table if key not in ("cgroup", "skip")]
    if beside:
        raise ValueError(f"{beside[0]} makes no sense beside skip = true, which takes cgroup alone")


def _texts(table: Mapping[str, Any], key: str) -> Iterable[object]:
    value = table.get(key, [])
    return value if isinstance(value, list) else [value]


def _checked(key: str, made: Callable[[str], Made], text: object) -> Made:
    if not isinstance(text, str) or not 0 < len(text) <= MOST_TEXT:
        raise ValueError(f"{key}: a text of 1 to {MOST_TEXT} characters is needed, not {text!r}")
    try:
        return made(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _choice(table: Mapping[str, Any], key: str, choices: Sequence[str], default: str) -> str:
    value = table.get(key, default)
    if value in choices:
        return str(value)
    raise ValueError(f"{key}: {value!r} is none of {', '.join(choices)}")


def _template(key: str, text: object, fields: Iterable[str]) -> Template:
    template = _checked(key, Template, text)
    unknown = template.fields - set(fields)
    if unknown:
        known = ", ".join(sorted(fields)) or "none"
        raise ValueError(f"{key}: no group is named {min(unknown)!r}; the names are: {known}")
    return template


def _owner_template(owner: object, fields: Iterable[str]) -> Template:
    """A name with fields, or a uid, also as a number."""
    if isinstance(owner, int) and not isinstance(owner, bool):
        if not 0 <= owner <= _MAX_UID:
            raise ValueError(f"owner: {owner} is no uid")
        owner = str(owner)
    return _template("owner", owner, fields)


def _tags(table: object, fields: Iterable[str]) -> tuple[tuple[str, Template], ...]:
    if not isinstance(table, Mapping) or len(table) > MOST_TAGS:
        raise ValueError(f"tags: a table of at most {MOST_TAGS} texts is needed")
    for key in table:
        if not 0 < len(key) <= MAX_TAG_KEY or not key.isprintable():
            raise ValueError(f"tags: {key!r}: 1 to {MAX_TAG_KEY} printable characters are needed")
    return tuple((key, _template(f"tags: {key}", text, fields)) for key, text in table.items())
