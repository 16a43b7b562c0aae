"""All that is known of a window: CPU time, memory and I/O of each series in each step."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from elsa import durations
from elsa.report.query.periods import Period
from elsa.report.query.selection import Selection
from elsa.report.timeline.asked import OTHER, Asked, Key
from elsa.report.timeline.coverage import readings_of, runs_of_jobd, silent_ns
from elsa.report.timeline.memory import Memory, memory_of
from elsa.report.timeline.parts import READ, SUMMED, SYSTEM, USER, WRITE, Sums, prepared
from elsa.report.timeline.usage import Used, add, used_in


@dataclass
class Series:
    """What is known of one key in each step."""

    key: Key
    sums: list[Sums]
    memory: list[int | None]
    """In KiB."""
    rank: int | None = None
    """By the metric, 1 is the most; None: of the others together."""

    def total(self, place: int) -> int | None:
        """The sum over all steps; None if nothing is known."""
        return sum_known(step[place] for step in self.sums)


@dataclass
class Timeline:
    """All that is known of a window."""

    steps: list[Period]
    length_s: int
    rollup: str | None
    silent_ns: list[int]
    """For how long jobd did not run in each step."""
    series: list[Series]
    columns: tuple[str, ...]
    """Those of the keys."""
    words: list[str] = field(default_factory=list)


def sum_known(values: Iterable[int | None]) -> int | None:
    """The sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def timeline(
    connection: sqlite3.Connection, selection: Selection, asked: Asked, *, memory: bool
) -> Timeline:
    """What was used in each step of the selection's window, with memory if it is wanted."""
    made = prepared(connection, selection, asked)
    by = made.by
    runs = runs_of_jobd(connection)
    readings = [] if selection.apart else readings_of(connection, selection.window)
    used = used_in(connection, made, readings)
    in_memory, memory_word = (
        memory_of(connection, by, selection, made.laid, runs) if memory else Memory({})
    )
    now_ns = time.time_ns()
    silent = silent_ns(made.laid, runs, now_ns)
    empty = [
        silent_ns >= min(step.until_ns, now_ns) - step.since_ns
        and all(value is None for sums in used.sums.values() for value in sums[place])
        for place, (step, silent_ns) in enumerate(zip(made.laid, silent, strict=True))
    ]
    keys = list(dict.fromkeys((*used.sums, *in_memory))) or ([()] if not by.columns else [])
    # Of a key without a process that was read, the memory is 0 where any is known.
    of_any = next(iter(in_memory.values()), [None] * len(made.laid))
    nothing = [None if value is None else 0 for value in of_any]
    series = [
        Series(
            key,
            _filled(used.sums.get(key, [[None] * len(SUMMED) for _ in made.laid]), empty),
            in_memory.get(key, nothing),
        )
        for key in keys
    ]
    ranked = _ranked(series, asked, len(by.columns))
    words = _words(used, silent, memory_word)
    return Timeline(made.laid, made.length_s, made.rollup, silent, ranked, by.columns, words)


def _filled(sums: list[Sums], empty: list[bool]) -> list[Sums]:
    """With 0 for what was not used, except where nothing can be known: in steps without jobd and
    without records, in those to come, and of measures that are not known of anything.
    """
    for place in range(len(SUMMED)):
        known = any(step[place] is not None for step in sums)
        any_part = any(value is not None for step in sums for value in step)
        if known or not any_part:
            for step, is_empty in zip(sums, empty, strict=True):
                if step[place] is None and not is_empty:
                    step[place] = 0
    return sums


def _ranked(series: list[Series], asked: Asked, columns: int) -> list[Series]:
    """The series with the most, in their order, and the others as one."""
    if asked.by is None:
        return series
    ordered = sorted(series, key=lambda one: (-weight(one, asked.metric), tuple(map(str, one.key))))
    for rank, one in enumerate(ordered, start=1):
        one.rank = rank
    kept, others = ordered[: asked.top], ordered[asked.top :]
    if len(others) > 1:
        key = (OTHER, *(None,) * (columns - 1))
        sums: list[Sums] = []
        for of_step in zip(*(one.sums for one in others), strict=True):
            total: Sums = [None] * len(SUMMED)
            for figures in of_step:
                add(total, figures)
            sums.append(total)
        memory = zip(*(one.memory for one in others), strict=True)
        return [*kept, Series(key, sums, [sum_known(of_step) for of_step in memory])]
    return ordered


def weight(one: Series, metric: str) -> int:
    """How much a series has of the metric by which series are ranked."""
    if metric == "memory":
        return max((value for value in one.memory if value is not None), default=0)
    places = (USER, SYSTEM) if metric == "cpu" else (READ, WRITE)
    return sum(one.total(place) or 0 for place in places)


def _words(used: Used, silent: list[int], memory_word: str | None) -> list[str]:
    words = []
    spread_ns = used.spread_read_ns + used.spread_unread_ns
    if _percent(spread_ns, used.cpu_ns):
        over = ["from one reading of a process to the next or to its end"] * bool(
            used.spread_read_ns
        )
        over += ["over the life of a process that was not read"] * bool(used.spread_unread_ns)
        words.append(
            f"{_percent(spread_ns, used.cpu_ns)} % of the CPU time was used across steps, and is"
            f" spread evenly: {', or '.join(over)}"
        )
    if used.outside_ns:
        words.append(
            f"{durations.text(used.outside_ns / 1e9)} of what is spread over the edges of this"
            " window is outside of it; other reports count it where the interval or process ended"
        )
    if _percent(used.unread_ns, used.cpu_ns):
        words.append(
            f"{durations.text(used.unread_ns / 1e9)} of CPU time counts where processes ended:"
            " their counters were not read in the hour before"
        )
    if memory_word:
        words.append(memory_word)
    if total_ns := sum(silent):
        words.append(
            f"jobd did not run for {durations.text(total_ns / 1e9)} of this window; steps without"
            " jobd and without records are empty"
        )
    return words


def _percent(part: int, whole: int) -> int:
    return 100 * part // whole if whole else 0
