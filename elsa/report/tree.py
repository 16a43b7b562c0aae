"""Process trees: which process started which, with the usage of each process alone and together
with its descendants.

Trees may be 10,000 levels deep and have 100,000 processes, so no function here is recursive: each
goes through a list of the nodes in which parents come before children.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from elsa.errors import UsageError
from elsa.report import completeness
from elsa.report.query.selection import Selection, latest
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
# Below this depth, lines have their depth as a number instead of more indentation.
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
    "class": "u.class",
    "has_record": "u.acct_id is not null",
}
_IN = "select value from json_each(?)"


@dataclass(slots=True)
class Node:
    """A process, or several equal processes under one parent. Unknown figures are None."""

    command: str
    pid: int | None
    cpu_ns: int | None
    elapsed_ns: int | None
    io_bytes: int | None
    started_ns: int | None
    """Real time of the first start."""
    ended_ns: int | None
    """Real time of the last end; None while any of them runs."""
    times: int = 1
    """How many processes it stands for."""
    children: list[Node] = field(default_factory=list)
    shape: int = 0
    """A number for its command and those below it, which equal trees have alike."""
    processes: int = 1
    """The number of processes in the subtree; the figures below are of the subtree too."""
    total_cpu_ns: int | None = None
    total_io_bytes: int | None = None
    last_ns: int | None = None
    depth: int = 0

    def take(self, other: Node) -> None:
        """Stand for the processes of another node too."""
        self.pid = None
        self.cpu_ns = _sum((self.cpu_ns, other.cpu_ns))
        self.elapsed_ns = _sum((self.elapsed_ns, other.elapsed_ns))
        self.io_bytes = _sum((self.io_bytes, other.io_bytes))
        self.started_ns = _first((self.started_ns, other.started_ns))
        self.ended_ns = _last((self.ended_ns, other.ended_ns))
        self.times += other.times
        self.children += other.children


def chosen(
    connection: sqlite3.Connection, text: str | None, selection: Selection
) -> tuple[Selection, list[str]]:
    """The processes of a selection that belong to a target, if one is given; and notes. Raises
    UsageError.
    """
    if text is None:
        if not selection:
            raise UsageError(
                "name a job or a pid, or choose processes, as in --since 03:00 --until 03:30"
            )
        return selection, list(selection.words)
    jobs, choices, words = _target(connection, text)
    both = replace(selection, jobs=jobs, choices=(*choices, *selection.choices))
    return both, [*selection.words, *words]


def _target(
    connection: sqlite3.Connection, text: str
) -> tuple[tuple[int, ...] | None, tuple[Condition, ...], list[str]]:
    """The job with an id or name, or the condition for the newest process with a pid and its
    descendants, given `pid:N`; and notes. Raises UsageError.
    """
    word = text.removeprefix("pid:")
    if text == word:
        try:
            job, words = latest(connection, text)
        except UsageError:
            if not (text.isascii() and text.isdigit()):
                raise
        else:
            return (job,), (), words
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise UsageError(
            f"{printable(text)} is neither a job nor a pid; write for example build, 12 or pid:4711"
        )
    row = connection.execute(
        "select id, boot_id, start_ns, count(*) over () from process where pid = ? order by boot_id"
        " desc, start_ns desc limit 1",
        (int(word),),
    ).fetchone()
    if row is None:
        raise UsageError(
            f"no job has id {word}, and no process has that pid; list jobs with: elsa report jobs"
        )
    root, boot, start_ns, uses = row
    ids = _descendants(connection, root, boot, start_ns)
    words = [f"{uses} processes had pid {word}; this is the newest"] if uses > 1 else []
    return None, (Condition(f"u.process_id in ({_IN})", (json.dumps(ids),)),), words


def title(connection: sqlite3.Connection, selection: Selection, text: str | None) -> str:
    """The title of a target: a job's name, or the command and pid of a process."""
    if selection.job is not None:
        (name,) = connection.execute(
            "select name from job where id = ?", (selection.job,)
        ).fetchone()
        return str(name)
    if text is None:
        return "chosen processes"
    pid = int(text.removeprefix("pid:"))
    root = (
        "select command from incarnation_usage where pid = ? order by boot_id desc, start_ns desc"
        " limit 1"
    )
    command = connection.execute(root, (pid,)).fetchone()[0]
    return f"pid {pid}" if command is None else f"{command} (pid {pid})"


def _descendants(connection: sqlite3.Connection, root: int, boot: int, start_ns: int) -> list[int]:
    children = defaultdict(list)
    # No child is older than its parent, so processes that started before the root are not read.
    query = (
        "select id, parent_id from process where boot_id = ? and start_ns >= ? and parent_id is not"
        " null"
    )
    for child, parent in connection.execute(query, (boot, start_ns)):
        children[parent].append(child)
    ids = [root]
    for parent in ids:  # grows while it is read
        ids += children.pop(parent, ())
    return ids


def query(selection: Selection) -> Query:
    """The query for the processes, oldest first."""
    source = rows(selection, _FIGURES.values())
    return Query(f"{select(_FIGURES)}\n{source.sql}\norder by 1", source.values)


def load(
    connection: sqlite3.Connection, selection: Selection
) -> tuple[list[Node], dict[str, tuple[int, int]]]:
    """The roots of the trees of a selection, and the numbers of its processes and records by class.
    A process whose parent is not selected is a root.
    """
    nodes: dict[int, Node] = {}
    # Those whose parent has a higher id, or is not selected.
    others: list[tuple[Node, int | None]] = []
    processes: defaultdict[str, int] = defaultdict(int)
    records: defaultdict[str, int] = defaultdict(int)
    for row in query(selection).run(connection):
        process_id, parent, pid, command, cpu, elapsed, io, started, ended, of, recorded = row
        records[of] += recorded
        if process_id is None:
            continue
        processes[of] += 1
        # One string for all processes of a command.
        node = Node(sys.intern(command or "?"), pid, cpu, elapsed, io, started, ended)
        if parent in nodes:
            nodes[parent].children.append(node)
        else:
            others.append((node, parent))
        nodes[process_id] = node
    roots = []
    for node, parent in others:
        if parent in nodes and nodes[parent] is not node:
            nodes[parent].children.append(node)
        else:
            roots.append(node)
    return roots, {of: (processes[of], records[of]) for of in sorted(records)}


def downwards(roots: Iterable[Node]) -> list[Node]:
    """Every node in the order in which trees are printed, parents before children. Sets `depth`."""
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
    """Compute the totals of every node, and sort children by CPU time, most first."""
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
        below.sort(key=_most_cpu_first)
    roots.sort(key=_most_cpu_first)


def _most_cpu_first(node: Node) -> int:
    return -(node.total_cpu_ns or 0)


def fold(roots: list[Node]) -> list[Node]:
    """Merge siblings that have the same command and equal trees of commands below them, into the
    first of them. Trees are equal even if commands occur in different numbers.
    """
    shapes: dict[tuple[str, tuple[int, ...]], int] = {}
    for node in reversed(downwards(roots)):
        below = tuple(sorted({child.shape for child in node.children})) if node.children else ()
        node.shape = shapes.setdefault((node.command, below), len(shapes))
    top = _merged(roots)
    parents = [node for node in top if node.children]
    for node in parents:  # grows while it is read
        node.children = _merged(node.children)
        parents += [child for child in node.children if child.children]
    return top


def _merged(siblings: list[Node]) -> list[Node]:
    """The first node of each shape, with the figures and children of the others added to it."""
    first: dict[int, Node] = {}
    for node in siblings:
        same = first.setdefault(node.shape, node)
        if same is not node:
            same.take(node)
    return list(first.values())


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _first(starts: Iterable[int | None]) -> int | None:
    """The first start that is known."""
    return min((start for start in starts if start is not None), default=None)


def _last(ends: Collection[int | None]) -> int | None:
    """The last end; None if there is a process that has not ended."""
    return max(end for end in ends if end is not None) if None not in ends else None


def tree(
    connection: sqlite3.Connection,
    selection: Selection,
    output: Output,
    *,
    folding: bool,
    blocks: bool,
) -> Report:
    """The tree as rows, most CPU first: with a drawn line for people, and depth and command for
    programs.
    """
    roots, classes = load(connection, selection)
    if folding:
        roots = fold(roots)
    add_up(roots)
    shown = output.choose(COLUMNS, SHOWN)
    order = downwards(roots)
    lines: list[Row] = list(islice(_lines(order, blocks=blocks), output.limit))
    words = completeness.words(connection, selection, found=classes)
    words += completeness.cut(len(order), output.limit)
    words += completeness.of_each(connection, shown)
    return Report(
        COLUMNS,
        shown,
        lines,
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=partial(completeness.facts, connection, selection, found=classes),
    )


def _lines(order: list[Node], *, blocks: bool) -> Iterator[Row]:
    between, last, bar = ("├─ ", "└─ ", "│  ") if blocks else ("|- ", "`- ", "|  ")
    last_child = {id(node.children[-1]) for node in order if node.children}
    # Which of the levels above have more lines below this line.
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
        wall_ns = None
        if node.last_ns is not None and node.started_ns is not None:
            wall_ns = node.last_ns - node.started_ns
        yield (
            f"{prefix}{node.command}{f' x {node.times}' if node.times > 1 else ''}",
            depth,
            node.command,
            node.times,
            node.pid,
            node.processes,
            _seconds(node.cpu_ns),
            _seconds(node.total_cpu_ns),
            _seconds(node.elapsed_ns),
            _seconds(wall_ns),
            node.io_bytes,
            node.total_io_bytes,
        )


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e9
