r"""Patterns of control group paths: a regular expression for each name between two slashes.

`/batch\.slice/(?P<customer>.+)\.service` matches paths of two names. A part that ends in `**`
matches any number of names, none as well, and `**` alone any names at all: `**` or `/**` is any
path.

Whoever may make groups chooses their names. So no pattern is taken that could try for long: names
are short, each is matched once by each part, and a part with too many ways to match is refused.
"""

from __future__ import annotations

import re

# How Python itself reads an expression, private but the same in every version that we support.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from elsa.decode.regex import compiled

LONGEST_NAME = 255
"""Bytes of one name of a path: NAME_MAX (include/uapi/linux/limits.h)."""
DEEPEST = 32
"""Groups that lie deeper belong to the group at this depth."""
MOST_PARTS = 32
MOST_STEPS = 1_000_000
"""What a part may cost on the worst name, in steps of the matcher, a few ns each: two repetitions
without a bound are within it, three are not.
"""
_REPEATED = "**"
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_CAP = 10**9

Values = dict[str, str]
Parsed = Any
"""What re._parser makes of an expression: its types are nowhere declared."""


class _Part(NamedTuple):
    expression: re.Pattern[str]
    repeated: bool

    def fullmatch(self, name: str) -> re.Match[str] | None:
        """The match of a whole name, if it is no longer than a name can be."""
        return self.expression.fullmatch(name) if len(name) <= LONGEST_NAME else None


class GroupPattern:
    """A pattern of paths."""

    def __init__(self, text: str) -> None:
        """Raises ValueError where the text is no pattern, or a costly one."""
        self.text = text
        if text == _REPEATED:
            text = "/" + text
        if not text.startswith("/"):
            raise ValueError(f"{text!r} does not begin with a slash")
        texts = [] if text == "/" else _split(text[1:])
        if len(texts) > MOST_PARTS:
            raise ValueError(f"has more than {MOST_PARTS} parts")
        self._parts = [_part(each) for each in texts]
        last = self._parts[-1] if self._parts else None
        self._last = last.fullmatch if last and not last.repeated else None
        """Matches the last name of whatever the pattern matches, if it has to match a name."""
        names = [name for part in self._parts for name in part.expression.groupindex]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"the group name {min(twice)!r} is used twice")
        self.names = frozenset(names)

    def outermost(self, names: tuple[str, ...]) -> tuple[int, Values] | None:
        """How many names the shortest beginning of a path has that matches whole, and the values of
        the named groups; None where none does. Only a pattern without parts matches the root group.
        """
        names = names[:DEEPEST]
        if self._last is not None and not any(map(self._last, names)):
            return None  # few patterns of many match: the others are done with here
        reached = self._skip_repeated({0: {}})
        if not names:
            return (0, {}) if len(self._parts) in reached else None
        for depth, name in enumerate(names, start=1):
            reached = self._skip_repeated(self._step(reached, name))
            if len(self._parts) in reached:
                return depth, reached[len(self._parts)]
            if not reached:
                break
        return None

    def _step(self, reached: dict[int, Values], name: str) -> dict[int, Values]:
        """The parts that may come next after one more name, with the values gathered so far."""
        following: dict[int, Values] = {}
        for index, values in reached.items():
            if index == len(self._parts):
                continue
            part = self._parts[index]
            found = part.fullmatch(name)
            if found is not None:
                new = {key: value for key, value in found.groupdict().items() if value is not None}
                following.setdefault(index if part.repeated else index + 1, {**values, **new})
        return following

    def _skip_repeated(self, reached: dict[int, Values]) -> dict[int, Values]:
        """The same with the parts behind those that need not match anything more."""
        for index, values in list(reached.items()):
            following = index
            while following < len(self._parts) and self._parts[following].repeated:
                following += 1
                reached.setdefault(following, values)
        return reached


def expression(text: str, longest: int = LONGEST_NAME) -> re.Pattern[str]:
    """A regular expression for names of at most so many characters. Raises ValueError, also where
    it could take long on some name.
    """
    pattern = compiled(text)
    try:
        _, steps = _cost(parser.parse(text), longest)
    except RecursionError:
        raise ValueError(f"{text!r} is nested too deeply") from None
    if steps > MOST_STEPS:
        raise ValueError(
            f"{text!r} could try for long on a name made for that; bound its repetitions ({{1,30}}"
            " in place of +), or let them give nothing back (++ in place of +)"
        )
    return pattern


def _part(text: str) -> _Part:
    repeated = text.endswith(_REPEATED) and not text.endswith("\\" + _REPEATED)
    if not repeated:
        return _Part(expression(text), repeated=False)
    pattern = expression(text.removesuffix(_REPEATED) or ".+")
    if pattern.groupindex:
        raise ValueError(f"{text!r} matches many names, so it can have no named group")
    return _Part(pattern, repeated=True)


def _split(text: str) -> list[str]:
    """The parts between slashes; a slash in a set, as in [^/], is part of the set."""
    parts, start, in_set, position = [], 0, False, 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif in_set:
            in_set = character != "]"
        elif character == "[":
            in_set = True
            # A ] that comes first is a member of the set.
            position += len(re.match(r"\^?\]?", text[position + 1 :])[0])  # type: ignore[index]
        elif character == "/":
            parts.append(text[start:position])
            start = position + 1
        position += 1
    parts.append(text[start:])
    if not all(parts):
        raise ValueError("has a part without text: two slashes in a row, or one at the end")
    return parts


def _cost(items: Parsed, longest: int) -> tuple[int, int]:
    """In how many ways a sequence can match at one place of a name, and in how many steps the
    matcher finds out that no way leads on: bounds from above.
    """
    ways = 1
    steps = 0
    before = None
    for code, argument in items:
        # Literals in a row are compared until the first that differs.
        if not (code is op.LITERAL and before is op.LITERAL):
            own_ways, own_steps = _cost_of(code, argument, longest)
            steps = min(steps + ways * own_steps, _CAP)
            ways = min(ways * own_ways, _CAP)
        before = code
    return ways, steps


def _cost_of(code: Parsed, argument: Parsed, longest: int) -> tuple[int, int]:
    if code in _REPEATS:
        return _cost_of_repeat(code, argument, longest)
    if code in (op.BRANCH, op.GROUPREF_EXISTS):
        branches = argument[1] if code is op.BRANCH else argument[1:]
        costs = [_cost(branch or (), longest) for branch in branches]
        return sum(ways for ways, _ in costs), 1 + sum(steps for _, steps in costs)
    if code is op.SUBPATTERN:
        return _cost(argument[3], longest)
    if code in (op.ATOMIC_GROUP, op.ASSERT, op.ASSERT_NOT):
        ways, steps = _cost(argument if code is op.ATOMIC_GROUP else argument[1], longest)
        return 1, ways * steps
    return 1, longest if code is op.GROUPREF else 1


def _cost_of_repeat(code: Parsed, argument: Parsed, longest: int) -> tuple[int, int]:
    least, most, body = argument
    most = min(int(most), longest)
    ways, steps = _cost(body, longest)
    if code is op.POSSESSIVE_REPEAT:
        return 1, most * ways * steps
    rounds = min(ways ** min(most, 64), _CAP)
    return max(most - int(least) + 1, 1) * rounds, most * rounds * steps
