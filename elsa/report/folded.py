"""Folded stacks for flamegraph.pl and speedscope: one line per path of commands, as in
`make;sh;cc1 1234`.

The weight of a path is what its processes used themselves: microseconds of CPU time, bytes of I/O,
or microseconds of wall time in which none of their children ran. So a waiting shell has weight 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from elsa.report.tree import TOP, Processes
from elsa.text import printable

WEIGHTS = {"cpu": "us", "io": "bytes", "wall": "us"}
"""The kinds of weight, with their units."""


@dataclass(slots=True)
class Frame:
    """All processes with one path of commands."""

    name: str
    own: int = 0
    total: int = 0
    depth: int = 0
    below: dict[str, Frame] = field(default_factory=dict)


def frames(processes: Processes, weight: str) -> Frame:
    """The root of all frames, whose name is empty."""
    top = Frame("", depth=-1)
    frame_of = {TOP: top}
    weights = _WEIGHED[weight](processes)
    for place in processes.order:
        above = frame_of[processes.parent[place]]
        name = printable(processes.command[place]).replace(";", ":")
        frame = above.below.get(name)
        if frame is None:
            frame = above.below[name] = Frame(name, depth=above.depth + 1)
        frame.own += weights[place]
        frame_of[place] = frame
    for frame in reversed(list(walk(top))):
        frame.total = frame.own + sum(below.total for below in frame.below.values())
    return top


def walk(top: Frame) -> Iterator[Frame]:
    """Every frame, each before the frames below it, in the order of their names."""
    waiting = [top]
    while waiting:
        frame = waiting.pop()
        yield frame
        waiting += [frame.below[name] for name in sorted(frame.below, reverse=True)]


def lines(top: Frame) -> Iterator[str]:
    """The folded stacks."""
    path: list[str] = []
    for frame in walk(top):
        if frame.depth >= 0:
            del path[frame.depth :]
            path.append(frame.name)
        if frame.own:
            yield f"{';'.join(path)} {frame.own}"


def _cpu_us(processes: Processes) -> list[int]:
    return [round((used or 0) / 1000) for used in processes.cpu_ns]


def _io_bytes(processes: Processes) -> list[int]:
    return [used or 0 for used in processes.io_bytes]


def _alone_us(processes: Processes) -> list[int]:
    """How long each process ran while none of its children ran."""
    times = list(zip(processes.started_ns, processes.ended_ns, strict=True))
    children = defaultdict(list)
    for parent, (started, ended) in zip(processes.parent, times, strict=True):
        if started is not None:
            children[parent].append((started, ended))
    return [
        round(_alone_ns(started, ended, children.get(place, [])) / 1000)
        for place, (started, ended) in enumerate(times)
    ]


def _alone_ns(started: int | None, end: int | None, children: list[tuple[int, int | None]]) -> int:
    if started is None or end is None:
        return 0
    alone, until = 0, started
    for since, ended in sorted((since, ended or end) for since, ended in children):
        alone += max(0, min(since, end) - until)
        until = max(until, min(ended, end))
    return alone + max(0, end - until)


_WEIGHED = {"cpu": _cpu_us, "io": _io_bytes, "wall": _alone_us}
