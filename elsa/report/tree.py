"""Process trees: who started whom, with what each process used itself and what it cost with all
below it.

Trees may be 10,000 levels deep and have 100,000 processes, so nothing here calls itself: all is
done along one order, parents before children.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from elsa.errors import UsageError
from elsa.report import completeness
from elsa.report.query.selection import Selection, job_id
from elsa.report.query.statement import Condition, Query, rows, select
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.text import printable

COLUMNS = (
    "tree",
    "depth",
    "command",
    "times",
    "pid",
    "processes",
    "cpu_s",
    "total_cpu_s",
    "elapsed_s",
    "wall_s",
    "io_bytes",
    "total_io_bytes",
)
SHOWN = ("tree", "pid", "processes", "cpu_s", "total_cpu_s", "wall_s", "io_bytes", "total_io_bytes")
# Below this depth lines are no longer indented, but bear their depth as a number.
_DEEPEST = 24
_FIGURES = {
    "process_id": "u.process_id",
    "parent": "u.parent_process_id",
    "pid": "u.pid",
    "command": "u.command",
    "cpu_ns": "u.user_ns + u.system_ns",
    "elapsed_ns": "u.elapsed_ns",
    "io_bytes": "u.read_bytes + u.write_bytes",
    "in_ns": "coalesce(u.in_ns, u.started_ns)",
    "out_ns": "u.out_ns",
}
_IN = "select value from json_each(?)"


@dataclass(slots=True)
class Node:
    """A process, or several like each other under one parent. Of what is unknown there is None."""

    command: str
    pid: int | None
    cpu_ns: int | None
    elapsed_ns: int | None
    io_bytes: int | None
    began_ns: int | None
    """Real times: of the first to begin ..."""
    ended_ns: int | None
    """... and of the last to end; None while any runs."""
    times: int = 1
    children: list[Node] = field(default_factory=list)
    processes: int = 1
    """In the subtree, as are the totals."""
    total_cpu_ns: int | None = None
    total_io_bytes: int | None = None
    last_ns: int | None = None
    depth: int = 0


def target(connection: sqlite3.Connection, text: str) -> tuple[Selection, list[str]]:
    """The processes of a job, by its id or name, or of `pid:N`: the newest process with that pid
    and its descendants. Raises UsageError.
    """
    word = text.removeprefix("pid:")
    if text == word:
        try:
            return Selection(jobs=(job_id(connection, text),)), []
        except UsageError:
            if not (text.isascii() and text.isdigit()):
                raise
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise UsageError(
            f"{printable(text)} is neither a job nor a pid; write for example build, 12 or pid:4711"
        )
    found = connection.execute(
        "select id, boot_id, start_ns, count(*) over () from process where pid = ? order by boot_id"
        " desc, start_ns desc limit 1",
        (int(word),),
    ).fetchone()
    if found is None:
        raise UsageError(
            f"no job has the id {word}, and no process the pid; see jobs with: elsa report jobs"
        )
    root, boot, start_ns, lives = found
    ids = _descendants(connection, root, boot, start_ns)
    words = [f"pid {word} was used {lives} times; this is the newest"] if lives > 1 else []
    return Selection(choices=(Condition(f"u.process_id in ({_IN})", (json.dumps(ids),)),)), words


def title(connection: sqlite3.Connection, selection: Selection, text: str) -> str:
    """What to call a target: the job by its name, a process by its command and pid."""
    if selection.job is not None:
        return str(
            connection.execute("select name from job where id = ?", (selection.job,)).fetchone()[0]
        )
    pid = int(text.removeprefix("pid:"))
    root = (
        "select command from incarnation_usage where pid = ? order by boot_id desc, start_ns desc"
        " limit 1"
    )
    command = connection.execute(root, (pid,)).fetchone()[0]
    return f"pid {pid}" if command is None else f"{command} (pid {pid})"


def _descendants(connection: sqlite3.Connection, root: int, boot: int, start_ns: int) -> list[int]:
    children = defaultdict(list)
    # No child is older than its parent, so that what began before the root is not looked at.
    query = (
        "select id, parent_id from process where boot_id = ? and start_ns >= ? and parent_id is not"
        " null"
    )
    for child, parent in connection.execute(query, (boot, start_ns)):
        children[parent].append(child)
    found = [root]
    for one in found:  # grows while it is read
        found += children.pop(one, ())
    return found


def query(selection: Selection) -> Query:
    """The processes, the oldest first."""
    source = rows(selection, _FIGURES.values())
    return Query(f"{select(_FIGURES)}\n{source.sql}\norder by 1", source.values)


def load(connection: sqlite3.Connection, selection: Selection) -> list[Node]:
    """The trees of a selection; a process whose parent is not in it is a root."""
    nodes: dict[int, Node] = {}
    parents: dict[int, int | None] = {}
    for process_id, parent, pid, command, *figures in query(selection).run(connection):
        if process_id is not None:
            nodes[process_id] = Node(command or "?", pid, *figures)
            parents[process_id] = parent
    roots = []
    for process_id, node in nodes.items():
        parent = parents[process_id]
        if parent in nodes and parent != process_id:
            nodes[parent].children.append(node)
        else:
            roots.append(node)
    return roots


def downwards(roots: Iterable[Node]) -> list[Node]:
    """Every node, each before its children and with its depth, as the tree is read from top to
    bottom.
    """
    order = []
    waiting = list(roots)[::-1]
    for root in waiting:
        root.depth = 0
    while waiting:
        node = waiting.pop()
        order.append(node)
        for child in reversed(node.children):
            child.depth = node.depth + 1
            waiting.append(child)
    return order


def add_up(roots: list[Node]) -> None:
    """Give every node its totals, and put the dearest children first."""
    for node in reversed(downwards(roots)):
        below = node.children
        node.processes, node.total_cpu_ns, node.total_io_bytes, node.last_ns = (
            node.times,
            node.cpu_ns,
            node.io_bytes,
            node.ended_ns,
        )
        if not below:
            continue
        node.processes += sum([child.processes for child in below])
        node.total_cpu_ns = _sum([node.cpu_ns, *[child.total_cpu_ns for child in below]])
        node.total_io_bytes = _sum([node.io_bytes, *[child.total_io_bytes for child in below]])
        node.last_ns = _last([node.ended_ns, *[child.last_ns for child in below]])
        below.sort(key=_dearness)
    roots.sort(key=_dearness)


def _dearness(node: Node) -> int:
    return -(node.total_cpu_ns or 0)


def fold(roots: list[Node]) -> list[Node]:
    """One node for siblings of one command under which everything is alike, but for how often."""
    shapes: dict[tuple[str, tuple[int, ...]], int] = {}
    shape_of: dict[int, int] = {}
    for node in reversed(downwards(roots)):
        below = (
            tuple(sorted({shape_of[id(child)] for child in node.children})) if node.children else ()
        )
        shape_of[id(node)] = shapes.setdefault((node.command, below), len(shapes))
    top: list[Node] = []
    families = [(roots, top)]
    for members, folded in families:  # grows while it is read: parents before children
        alike: defaultdict[int, list[Node]] = defaultdict(list)
        for child in members:
            alike[shape_of[id(child)]].append(child)
        for found in alike.values():
            one = _merged(found)
            folded.append(one)
            if found[0].children:  # then all of them have some
                families.append(
                    ([child for member in found for child in member.children], one.children)
                )
    return top


def _merged(members: list[Node]) -> Node:
    first = members[0]
    if len(members) == 1:
        return Node(
            first.command,
            first.pid,
            first.cpu_ns,
            first.elapsed_ns,
            first.io_bytes,
            first.began_ns,
            first.ended_ns,
            first.times,
        )
    return Node(
        first.command,
        None,
        _sum(node.cpu_ns for node in members),
        _sum(node.elapsed_ns for node in members),
        _sum(node.io_bytes for node in members),
        min((node.began_ns for node in members if node.began_ns is not None), default=None),
        _last([node.ended_ns for node in members]),
        sum(node.times for node in members),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _last(ends: list[int | None]) -> int | None:
    """The last end; None while there is one that did not end."""
    return max(end for end in ends if end is not None) if None not in ends else None


def tree(
    connection: sqlite3.Connection,
    selection: Selection,
    output: Output,
    *,
    folding: bool,
    blocks: bool,
) -> Report:
    """The tree as rows: a line drawn for people, depth and command for programs; the dearest
    branches first.
    """
    roots = load(connection, selection)
    if folding:
        roots = fold(roots)
    add_up(roots)
    shown = output.choose(COLUMNS, SHOWN)
    lines: list[Row] = list(_lines(roots, blocks=blocks))
    words = completeness.words(connection, selection) + completeness.cut(len(lines), output.limit)
    words += completeness.of_each(connection, shown)
    return Report(
        COLUMNS,
        shown,
        lines[: output.limit],
        words,
        nothing=partial(completeness.nothing, connection, selection),
    )


def _lines(roots: list[Node], *, blocks: bool) -> Iterator[Row]:
    between, last, bar = ("├─ ", "└─ ", "│  ") if blocks else ("|- ", "`- ", "|  ")
    order = downwards(roots)
    last_child = {id(node.children[-1]) for node in order if node.children}
    # Which of the levels above go on below this line.
    trail: list[bool] = []
    for node in order:
        depth = node.depth
        del trail[min(max(depth - 1, 0), _DEEPEST) :]
        is_last = id(node) in last_child
        prefix = "".join(bar if goes_on else "   " for goes_on in trail[:_DEEPEST])
        if depth > _DEEPEST:
            prefix += f"[{depth}] "
        elif depth:
            prefix += last if is_last else between
        if 0 < depth <= _DEEPEST:
            trail.append(not is_last)
        yield (
            f"{prefix}{node.command}{f' x {node.times}' if node.times > 1 else ''}",
            depth,
            node.command,
            node.times,
            node.pid,
            node.processes,
            _per(node.cpu_ns, 1e9),
            _per(node.total_cpu_ns, 1e9),
            _per(node.elapsed_ns, 1e9),
            (
                None
                if node.last_ns is None or node.began_ns is None
                else (node.last_ns - node.began_ns) / 1e9
            ),
            node.io_bytes,
            node.total_io_bytes,
        )


def _per(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit
