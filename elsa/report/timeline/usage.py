"""What was used in each step. Most parts of the usage are within a step. Parts that cross steps are
spread over the time since the reading before, in whole units. Of those that cross an edge of the
window only the share inside counts, so that a step has the same usage in any window. Where none
does, the steps add up to what reports on the window count, to the last unit.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from elsa.report.query.periods import Period
from elsa.report.render.writer import Row
from elsa.report.timeline.asked import By, Key, rest_of
from elsa.report.timeline.parts import (
    LONGEST_NS,
    PROCESSES,
    SUMMED,
    SYSTEM,
    USER,
    Part,
    Prepared,
    Question,
    Sums,
)

# How many columns a part has before its key.
_TIMES = 4


class Used(NamedTuple):
    """What was used, by key and step, with how much of the CPU time was spread."""

    sums: dict[Key, list[Sums]]
    cpu_ns: int
    spread_read_ns: int
    """What was spread over several steps, from a reading on or in an interval."""
    spread_unread_ns: int
    """What was spread over several steps, of processes that were not read."""
    outside_ns: int
    """What parts that cross an edge of the window used outside of it."""
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
    inside = range(len(starts))
    sums: dict[Key, list[Sums]] = {}
    spread: Counter[str] = Counter()
    for part, figures in raw.items():
        if part.key not in sums:
            sums[part.key] = [[None] * len(SUMMED) for _ in starts]
        if part.since_ns is None:
            shares = {bisect_right(starts, part.step_ns) - 1: 1}
        else:
            shares = dict(_shares(part, made.laid, starts, readings))
        parted = _parted(figures, shares)
        within = {step: share for step, share in parted.items() if step in inside}
        for step, share in within.items():
            add(sums[part.key][step], share)
        cpu = sum(map(_cpu, within.values()))
        spread["all"] += cpu
        spread[_how(part, shares, readings)] += cpu
        if within:
            spread["outside"] += _cpu(figures) - cpu
    return Used(sums, *(spread[of] for of in ("all", "read", "unread", "outside", "at end")))


def _how(part: Part, shares: Mapping[int, int], readings: list[int]) -> str:
    """How a part is divided among steps."""
    if _is_unread(part, readings):
        return "at end"
    if len(shares) == 1:
        return "in a step"
    return "unread" if part.was_read == 0 else "read"


def _parted(figures: Sums, shares: Mapping[int, int]) -> dict[int, Sums]:
    """The figures of each step; processes count where they ended."""
    parted: dict[int, Sums] = {step: [None] * len(SUMMED) for step in shares}
    for place, value in enumerate(figures):
        if value is not None:
            divided = {max(shares): value} if place == PROCESSES else _divided(value, shares)
            for step, share in divided.items():
                parted[step][place] = share
    return parted


def _cpu(figures: Sums) -> int:
    return (figures[USER] or 0) + (figures[SYSTEM] or 0)


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
    before the last reading that is stored, by which it had used nothing new.
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


def _shares(
    part: Part, laid: list[Period], starts: list[int], readings: list[int]
) -> Iterator[tuple[int, int]]:
    """The steps in which a part was used, with for how long in each, at least 1; -1 stands for the
    time before the window, and the number of steps for the time after.
    """
    assert part.since_ns is not None and part.until_ns is not None  # noqa: S101
    bounds = [*starts, laid[-1].until_ns]
    if _is_unread(part, readings):
        yield bisect_right(bounds, part.until_ns) - 1, 1
        return
    # A process that started just after the end of the interval may have been read with others.
    since = min(_since(part, readings), part.until_ns)
    end = part.until_ns + 1
    step = bisect_right(bounds, since) - 1
    while since < end:
        until = min(end, bounds[step + 1]) if step + 1 < len(bounds) else end
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
