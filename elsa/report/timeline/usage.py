"""What was used in each step. Most parts of the usage are within a step. Parts that cross steps are
spread over the time since the reading before, in whole units, so that the steps add up to what
reports on the window count, to the last unit.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from elsa.report.render.writer import Row
from elsa.report.timeline.asked import By, Key, rest_of
from elsa.report.timeline.parts import (
    PROCESSES,
    SUMMED,
    SYSTEM,
    USER,
    Part,
    Prepared,
    Question,
    Sums,
)
from elsa.units import HOUR_NS

# How many columns a part has before its key.
_TIMES = 4


# A remainder over a longer time counts at its end.
LONGEST_NS = HOUR_NS


class Used(NamedTuple):
    """What was used, by key and step, with how much of the CPU time was spread."""

    sums: dict[Key, list[Sums]]
    cpu_ns: int
    spread_ns: int
    """What was spread over several steps."""
    unread_ns: int
    """What was used in over an hour without a reading and counts at the end."""


def used_in(connection: sqlite3.Connection, made: Prepared, readings: list[int]) -> Used:
    """What was used in each step; `readings`: when all living processes were read."""
    raw: dict[Part, Sums] = defaultdict(lambda: [None] * len(SUMMED))
    named = Names(connection, made.by)
    rest = None if made.jobs is None else rest_of(made.by)
    for *times, ids, figures in _rows_of(made.whole, connection):
        add(raw[Part(named(ids) if rest is None else rest, *times)], figures)
    if rest is not None and made.jobs is not None:
        for *times, ids, figures in _rows_of(made.jobs, connection):
            add(raw[Part(named(ids), *times)], figures)
            add(raw[Part(rest, *times)], [None if one is None else -one for one in figures])
    starts = [step.since_ns for step in made.laid]
    sums: dict[Key, list[Sums]] = {}
    cpu_ns = spread_ns = unread_ns = 0
    for part, figures in raw.items():
        if part.key not in sums:
            sums[part.key] = [[None] * len(SUMMED) for _ in starts]
        of_key = sums[part.key]
        cpu = (figures[USER] or 0) + (figures[SYSTEM] or 0)
        cpu_ns += cpu
        if part.since_ns is None:
            add(of_key[bisect_right(starts, part.step_ns) - 1], figures)
            continue
        shares = dict(_shares(part, starts, readings))
        spread_ns += cpu if len(shares) > 1 else 0
        unread_ns += cpu if _is_unread(part, readings) else 0
        for place, value in enumerate(figures):
            if value is not None:
                # Processes count where they ended.
                divided = {max(shares): value} if place == PROCESSES else _divided(value, shares)
                for step, share in divided.items():
                    of_key[step][place] = (of_key[step][place] or 0) + share
    return Used(sums, cpu_ns, spread_ns, unread_ns)


def _rows_of(question: Question, connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """The times of each part, the ids of its key, and its sums."""
    ids = len(question.keys) - _TIMES
    for row in question.run(connection):
        figures = [None if value is None else int(value) for value in row[_TIMES + ids :]]
        yield *row[:_TIMES], row[_TIMES : _TIMES + ids], figures


class Names:
    """The keys of ids, each looked up once."""

    def __init__(self, connection: sqlite3.Connection, by: By) -> None:
        self._connection = connection
        self._by = by
        self._known: dict[Row, Key] = {(): ()}

    def __call__(self, ids: Row) -> Key:
        """The key that some ids stand for."""
        if ids not in self._known:
            row = self._connection.execute(self._by.names, ids).fetchone()
            self._known[ids] = row or (None,) * len(self._by.columns)
        return self._known[ids]


def add(sums: Sums, more: Sums) -> None:
    """Add what is known."""
    for place, value in enumerate(more):
        if value is not None:
            sums[place] = (sums[place] or 0) + value


def _since(part: Part, readings: list[int]) -> int:
    """When the usage of a part across steps can have started: if the process was read before, not
    before the last reading, after which it had used nothing new.
    """
    assert part.since_ns is not None and part.until_ns is not None  # noqa: S101
    if not part.was_read:
        return part.since_ns
    before = bisect_right(readings, part.until_ns)
    return max(part.since_ns, readings[before - 1]) if before else part.since_ns


def _is_unread(part: Part, readings: list[int]) -> bool:
    """Whether what was used in over an hour without a reading counts at the end."""
    if part.since_ns is None or part.until_ns is None or part.was_read is None:
        return False
    return part.until_ns - _since(part, readings) > LONGEST_NS


def _shares(part: Part, starts: list[int], readings: list[int]) -> Iterator[tuple[int, int]]:
    """The steps in which a part was used, with for how long in each, at least 1."""
    if part.since_ns is None or part.until_ns is None or _is_unread(part, readings):
        yield bisect_right(starts, part.step_ns) - 1, 1
        return
    # A process that started just after the end of the interval may have been read with others.
    since = min(max(_since(part, readings), starts[0]), part.until_ns)
    end = part.until_ns + 1
    step = bisect_right(starts, since) - 1
    while since < end:
        until = min(end, starts[step + 1]) if step + 1 < len(starts) else end
        yield step, until - since
        since, step = until, step + 1


def _divided(value: int, shares: Mapping[int, int]) -> dict[int, int]:
    """A value in the proportion of shares, in integers that add up to it."""
    whole, before, done = sum(shares.values()), 0, 0
    divided = {}
    for step, share in shares.items():
        before += share
        upto = value * before // whole
        divided[step] = upto - done
        done = upto
    return divided
