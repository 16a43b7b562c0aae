"""When jobd ran, and when it read all living processes."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from typing import NamedTuple

from elsa.report.query.periods import Period
from elsa.report.query.times import Window
from elsa.report.timeline.window import hours_of
from elsa.units import SECOND_NS

# jobd may have received events up to so long after it last stored them.
_UNSTORED_NS = 20 * SECOND_NS


class Span(NamedTuple):
    """A half-open span of real time in ns."""

    since_ns: int
    until_ns: int


# By the clock at their start; of the rows of a run, max() chooses the one whose columns count.
_RUNS = """select r.since_ns + r.offset_ns, coalesce(r.stopped_ns, r.heard_ns) + r.offset_ns,
        r.stopped_ns is null and r.id = (select max(n.id) from collector as n)
    from (
        select c.*, k.offset_ns, max(iif(k.since_ns <= c.since_ns, k.since_ns, -1))
        from collector as c join clock as k on k.boot_id = c.boot_id
        group by c.id
    ) as r
    order by 1"""


def runs_of_jobd(connection: sqlite3.Connection) -> list[Span]:
    """When jobd ran, in order and without overlaps."""
    merged: list[Span] = []
    for since_ns, until_ns, is_running in connection.execute(_RUNS):
        last_ns = until_ns + (_UNSTORED_NS if is_running else 0)
        if merged and since_ns <= merged[-1].until_ns:
            merged[-1] = Span(merged[-1].since_ns, max(merged[-1].until_ns, last_ns))
        else:
            merged.append(Span(since_ns, last_ns))
    return merged


def silent_ns(laid: list[Period], runs: list[Span], now_ns: int) -> list[int]:
    """For how long jobd did not run in each step, as far as it is past; never where it never ran at
    all, since then only accounting is used.
    """
    if not runs:
        return [0] * len(laid)
    ends = [run.until_ns for run in runs]
    silent = []
    for since, end, _ in laid:
        until = max(since, min(end, now_ns))
        left = until - since
        for run in runs[bisect_right(ends, since) :]:
            if run.since_ns >= until:
                break
            left -= min(until, run.until_ns) - max(since, run.since_ns)
        silent.append(left)
    return silent


def readings_of(connection: sqlite3.Connection, window: Window) -> list[int]:
    """When all were read, in real time, from an hour before a window to the hour after it."""
    hours = hours_of(window)
    # A reading as an hour begins is of the hour before.
    return [
        at_ns
        for (at_ns,) in connection.execute(
            "select r.until_ns + c.offset_ns from usage_reading as r join clock as c on c.id ="
            " r.clock_id where r.of_all = 1 and r.hour between ? and ? order by 1",
            (hours[0] - 2, hours[-1] + 1),
        )
    ]
