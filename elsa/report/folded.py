"""Folded stacks for flamegraph.pl and speedscope: one line per path of commands, as in
`make;sh;cc1 1234`.

The weight of a path is what its processes used themselves: microseconds of CPU time, bytes of I/O,
or microseconds of wall time in which none of their children ran. So a waiting shell has weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from elsa.report.tree import Node, downwards
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


def frames(roots: list[Node], weight: str) -> Frame:
    """The root of all frames, whose name is empty."""
    top = Frame("", depth=-1)
    frame_above = {id(root): top for root in roots}
    for node in downwards(roots):
        above = frame_above.pop(id(node))
        name = printable(node.command).replace(";", ":")
        frame = above.below.get(name)
        if frame is None:
            frame = above.below[name] = Frame(name, depth=above.depth + 1)
        frame.own += _weight(node, weight)
        for child in node.children:
            frame_above[id(child)] = frame
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


def _weight(node: Node, weight: str) -> int:
    if weight == "cpu":
        return round((node.cpu_ns or 0) / 1000)
    if weight == "io":
        return node.io_bytes or 0
    return round(_alone_ns(node) / 1000)


def _alone_ns(node: Node) -> int:
    """How long the process ran while none of its children ran."""
    if node.started_ns is None or node.ended_ns is None:
        return 0
    end = node.ended_ns
    spans = sorted(
        (child.started_ns, child.ended_ns or end)
        for child in node.children
        if child.started_ns is not None
    )
    alone, until = 0, node.started_ns
    for started, ended in spans:
        alone += max(0, min(started, end) - until)
        until = max(until, min(ended, end))
    return alone + max(0, end - until)
