"""Folded stacks: `make;sh;cc1 1234`, one line per path of commands, as flamegraph.pl and speedscope
read them.

A weight is what the processes of a path used themselves: microseconds of CPU time, bytes of I/O, or
microseconds of wall time in which none of their children ran (so a shell that waits weighs
nothing).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from elsa.report.tree import Node, downwards
from elsa.text import printable

WEIGHTS = {"cpu": "us", "io": "bytes", "wall": "us"}
"""What a stack may weigh, and in which unit."""


@dataclass(slots=True)
class Frame:
    """All processes with one path of commands."""

    name: str
    own: int = 0
    total: int = 0
    depth: int = 0
    below: dict[str, Frame] = field(default_factory=dict)


def frames(roots: list[Node], weight: str) -> Frame:
    """The root of all paths; its own name is empty."""
    top = Frame("", depth=-1)
    place = {id(root): top for root in roots}
    for node in downwards(roots):
        above = place.pop(id(node))
        name = printable(node.command).replace(";", ":")
        frame = above.below.get(name)
        if frame is None:
            frame = above.below[name] = Frame(name, depth=above.depth + 1)
        frame.own += _weight(node, weight)
        for child in node.children:
            place[id(child)] = frame
    for frame in reversed(list(walk(top))):
        frame.total = frame.own + sum(below.total for below in frame.below.values())
    return top


def walk(top: Frame) -> Iterator[Frame]:
    """Every frame, each before those below it, in the order of names."""
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
    """How long it lived without a living child."""
    if node.began_ns is None or node.ended_ns is None:
        return 0
    born, died = node.began_ns, node.ended_ns
    spans = sorted(
        (child.began_ns, child.ended_ns or died)
        for child in node.children
        if child.began_ns is not None
    )
    alone, until = 0, born
    for began, ended in spans:
        alone += max(0, min(began, died) - until)
        until = max(until, min(ended, died))
    return alone + max(0, died - until)
