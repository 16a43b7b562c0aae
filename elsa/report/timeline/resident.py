"""Resident memory of living processes over time: the sum at each reading of their counters, where a
process that has not run since keeps the value of the reading before.

Processes that share pages count these several times, so that the sum is an upper bound. Processes
that lived between two readings are not in it.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from elsa.report.query.periods import Period
from elsa.report.query.process_rows import memberships, rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query
from elsa.report.query.times import Window
from elsa.store.process_lookup import lived
from elsa.units import HOUR_NS

Key = tuple[Any, ...]

_IDS = "select l.id from temp.living as l"
# The newest value of a process before the first reading of the window; the newest of all is where
# usage_so_far says.
_BEFORE = f"""select f.process_id, (
        select i.rss_kib
        from usage_reading as r
        cross join usage_interval as i
            on i.reading_id = r.id and i.process_id = f.process_id
        where r.hour between (p.start_ns + b.offset_ns) / {HOUR_NS}
                and min(:hour, (f.until_ns + b.offset_ns) / {HOUR_NS} + 1)
            and r.until_ns + b.offset_ns <= :since and i.rss_kib is not null
        order by r.hour desc, r.id desc limit 1
    )
    from temp.living as l
    join process as p on p.id = l.id
    join clock as b on b.id = p.clock_id
    join usage_so_far as f on f.process_id = l.id and f.edge_ns = 0
    where p.start_ns + b.offset_ns < :since"""
_ROWS = """select i.process_id, i.rss_kib from usage_interval as i
    where i.reading_id = ? and i.rss_kib is not null"""


class Lifetime(NamedTuple):
    """When a process counts for a key."""

    process_id: int
    since_ns: int
    until_ns: int | None
    key: Key


class Reading(NamedTuple):
    """A reading that the window has."""

    at_ns: int
    """The last nanosecond of its interval."""
    id: int


def find_living(connection: sqlite3.Connection, window: Window) -> None:
    """Write into temp.living the processes that may have lived in a window and were read."""
    since, until = window
    connection.execute("create temp table if not exists living (id integer primary key)")
    connection.execute("delete from temp.living")
    connection.execute(
        f"insert or ignore into temp.living select l.id from ({lived(since or 0, until)}) as l"
        " where exists ("
        "select 1 from usage_so_far as f where f.process_id = l.id and f.edge_ns = 0)"
    )


def lifetimes(
    connection: sqlite3.Connection, selection: Selection, keys: tuple[str, ...]
) -> list[Lifetime]:
    """When each of the living processes of a selection counts, by ids over rows `u`."""
    expressions = _expressions(keys)
    source = rows(
        replace(selection, window=Window(), clip=False),
        expressions,
        Condition(f"u.process_id in ({_IDS})"),
        lived=_IDS,
    )
    return _lifetimes(connection, expressions, source)


def in_jobs(
    connection: sqlite3.Connection, keys: tuple[str, ...], *conditions: Condition
) -> list[Lifetime]:
    """When each of the living processes was in each of its jobs."""
    expressions = _expressions(keys)
    return _lifetimes(connection, expressions, memberships(_IDS, expressions, *conditions))


def _expressions(keys: tuple[str, ...]) -> list[str]:
    return ["u.process_id", "u.entered_ns", "u.out_ns", *keys]


def _lifetimes(
    connection: sqlite3.Connection, expressions: list[str], source: Query
) -> list[Lifetime]:
    found = connection.execute(f"select {', '.join(expressions)} {source.sql}", source.values)
    return [
        Lifetime(process_id, since_ns, until_ns, tuple(key))
        for process_id, since_ns, until_ns, *key in found
        if since_ns is not None
    ]


def readings(connection: sqlite3.Connection, window: Window) -> list[Reading]:
    """The readings that end an interval in the window, in order."""
    since, until = window
    found = connection.execute(
        "select r.until_ns + c.offset_ns - 1 as at_ns, r.id from usage_reading as r"
        " join clock as c on c.id = r.clock_id where r.hour between ? and ? order by 1, 2",
        ((since or 0) // HOUR_NS, (until or 0) // HOUR_NS),
    )
    return [Reading(*row) for row in found if (since or 0) <= row[0] and row[0] < (until or 0)]


class Sampler:
    """The sums by key, and in each step those at the moment of the largest sum."""

    def __init__(self, rss: dict[int, int], steps: int) -> None:
        self._rss = rss
        self._now: dict[int, list[Key]] = defaultdict(list)
        """The keys that each process counts for."""
        self._sums: dict[Key, int] = defaultdict(int)
        self._most: list[int | None] = [None] * steps
        self.largest: list[dict[Key, int]] = [{} for _ in range(steps)]

    def start(self, process_id: int, key: Key) -> None:
        """A process counts for a key from now on."""
        self._now[process_id].append(key)
        self._sums[key] += self._rss.get(process_id, 0)

    def end(self, process_id: int, key: Key) -> None:
        """It does not any more."""
        if key in self._now[process_id]:
            self._now[process_id].remove(key)
            self._sums[key] -= self._rss.get(process_id, 0)

    def read(self, values: Iterable[tuple[int, int]]) -> None:
        """A reading of processes."""
        rss, now = self._rss, self._now
        for process_id, kib in values:
            more = kib - rss.get(process_id, 0)
            if more:
                rss[process_id] = kib
                for key in now.get(process_id, ()):
                    self._sums[key] += more

    def sample(self, step: int, total: Callable[[dict[Key, int]], int]) -> None:
        """Keep the sums, if they are the largest of a step; nothing is known before any reading."""
        if not self._rss:
            return
        now = total(self._sums)
        most = self._most[step]
        if most is None or now > most:
            self._most[step] = now
            self.largest[step] = dict(self._sums)

    def known(self, step: int) -> bool:
        """Whether there was a sample."""
        return self._most[step] is not None


_END, _START, _READING, _SAMPLE = range(4)


def over_time(
    connection: sqlite3.Connection,
    window: Window,
    laid: list[Period],
    lives: list[Lifetime],
    total: Callable[[dict[Key, int]], int],
    is_known: Callable[[int], bool],
) -> list[dict[Key, int] | None]:
    """The sums by key, in KiB, at the moment of each step at which `total` of them was largest;
    None where no moment of it was known. Moments are the start of the step, and readings.
    """
    found = readings(connection, window)
    since = window.since or 0
    asked = {"since": since, "hour": since // HOUR_NS}
    before = {
        process_id: kib
        for process_id, kib in (connection.execute(_BEFORE, asked) if lives else ())
        if kib is not None
    }
    sampler = Sampler(before, len(laid))
    starts = [step.since_ns for step in laid]
    for at_ns, what, payload in _events(lives, found, laid):
        if what == _START:
            sampler.start(payload.process_id, payload.key)
        elif what == _END:
            sampler.end(payload.process_id, payload.key)
        else:
            if what == _READING:
                sampler.read(connection.execute(_ROWS, (payload.id,)))
            step = bisect_right(starts, at_ns) - 1
            if step >= 0 and is_known(at_ns):
                sampler.sample(step, total)
    return [sums if sampler.known(step) else None for step, sums in enumerate(sampler.largest)]


def _events(
    lives: list[Lifetime], found: list[Reading], laid: list[Period]
) -> Iterator[tuple[int, int, Any]]:
    events: list[tuple[int, int, Any]] = []
    last_ns = laid[-1].until_ns
    for life in lives:
        if life.since_ns < min(last_ns, life.until_ns or last_ns):
            events.append((life.since_ns, _START, life))
            if life.until_ns is not None:
                events.append((life.until_ns, _END, life))
    events += [(reading.at_ns, _READING, reading) for reading in found]
    events += [(step.since_ns, _SAMPLE, None) for step in laid]
    events.sort(key=lambda event: event[:2])
    yield from events
