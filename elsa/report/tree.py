"""Process trees: which process started which, with the usage of each process alone and together
with its descendants.

Trees may be 10,000 levels deep and have 100,000 processes. So no function here is recursive, and
processes are columns, in which each has its place: objects would take twice the time and memory.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress, islice, repeat
from typing import Any

from elsa.errors import UsageError
from elsa.report import completeness, exactness
from elsa.report.query.job_lookup import latest
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, select
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
    # A process is no parent of its own.
    "parent": "nullif(u.parent_process_id, u.process_id)",
    "pid": "u.pid",
    "command": "u.command",
    "cpu_ns": "u.user_ns + u.system_ns",
    "elapsed_ns": "u.elapsed_ns",
    "io_bytes": "u.read_bytes + u.write_bytes",
    "started_ns": "coalesce(u.in_ns, u.started_ns)",
    "ended_ns": "u.out_ns",
    "class": "u.class",
    "has_record": "u.acct_id is not null",
}
_KEPT = ("pid", "command", "cpu_ns", "elapsed_ns", "io_bytes", "started_ns", "ended_ns")
_BATCH = 1000
TOP = -1
"""The place above the roots: in columns that have it, the last."""
_IN = "select value from json_each(?)"


@dataclass(slots=True)
class Processes:
    """The processes of trees, each at one place of all columns. Unknown figures are None."""

    pid: Sequence[int]
    command: list[str]
    cpu_ns: list[int | None]
    elapsed_ns: list[int | None]
    io_bytes: list[int | None]
    started_ns: list[int | None]
    """Real time of the start."""
    ended_ns: list[int | None]
    """Real time of the end; None while it runs."""
    parent: Sequence[int]
    """The place of the parent; of a root TOP."""
    order: Sequence[int] = field(init=False)
    """The places, parents before children, and siblings as they are shown: the oldest first."""

    def __post_init__(self) -> None:
        self.order = _ordered(self.parent)


class Branches:
    """Trees with the totals of the branch below each process. Folded, siblings with the same
    command and equal trees of commands below them share a line, and so do their children. Trees are
    equal even if commands occur in different numbers.
    """

    def __init__(self, processes: Processes, *, folding: bool) -> None:
        self.of = processes
        self._total_cpu_ns = _added_up(processes.cpu_ns, processes)
        self._summed = (
            processes.cpu_ns,
            self._total_cpu_ns,
            processes.elapsed_ns,
            processes.io_bytes,
            _added_up(processes.io_bytes, processes),
            _added_up([1] * len(processes.parent), processes),
        )
        self._last_ns = _last_ends(processes)
        self._children: defaultdict[int, list[int]] = defaultdict(list)
        for place in processes.order:
            self._children[processes.parent[place]].append(place)
        self.lines = len(processes.order)
        """How many lines there are."""
        self._shape: Sequence[int] = range(len(processes.parent))
        """Equal at places that share a line if they are siblings."""
        if folding:
            self._shape, self.lines = self._shapes()

    def _shapes(self) -> tuple[list[int], int]:
        """The shape of each place, and how many lines there are then: trees of one shape become
        one tree, in which no two siblings have the same shape.
        """
        commands = self.of.command
        known: dict[Hashable, int] = {}
        for command in commands:
            known.setdefault(command, len(known))
        shapes = [known[command] for command in commands]
        lines = [1] * len(known)
        roots = frozenset[int]()
        for place in reversed(self._children):  # children before their parents
            below = frozenset([shapes[child] for child in self._children[place]])
            if place == TOP:
                roots = below
                continue
            shapes[place] = known.setdefault((commands[place], below), len(known))
            if shapes[place] == len(lines):
                lines.append(1 + sum([lines[shape] for shape in below]))
        return shapes, sum(lines[shape] for shape in roots)

    def below(self, line: list[int]) -> list[list[int]]:
        """The lines below a line, each as its places, most CPU first."""
        lines: defaultdict[int, list[int]] = defaultdict(list)
        for place in line:
            for child in self._children.get(place, ()):
                lines[self._shape[child]].append(child)
        return sorted(lines.values(), key=self._most_cpu_first)

    def _most_cpu_first(self, line: list[int]) -> int:
        return -(_sum(self._total_cpu_ns, line) or 0)

    def sums(self, line: list[int]) -> list[int | None]:
        """CPU time of a line and of its branch, its elapsed time, I/O of both, and the number of
        processes in the branch.
        """
        if len(line) == 1:
            place = line[0]
            return [column[place] for column in self._summed]
        return [_sum(column, line) for column in self._summed]

    def wall_ns(self, line: list[int]) -> int | None:
        """The time from the first start to the last end in the branch."""
        start, last = self.of.started_ns[line[0]], self._last_ns[line[0]]
        for place in line[1:]:
            other, end = self.of.started_ns[place], self._last_ns[place]
            if start is None or (other is not None and other < start):
                start = other
            if last is not None and (end is None or end > last):
                last = end
        return None if start is None or last is None else last - start


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
) -> tuple[Processes, dict[str, tuple[int, int]]]:
    """The processes of a selection, and the numbers of its processes and records by class. A
    process whose parent is not selected is a root.
    """
    classes: Counter[str] = Counter()
    records: Counter[str] = Counter()
    kept: dict[str, Any] = {name: [] for name in _KEPT}
    kept["pid"] = array("q")  # which is always known
    kept["parent"] = array("q")
    places: dict[int | None, int] = {}
    parent = kept["parent"]
    # Places of processes whose parents were not read before them, with the ids of these.
    waiting: list[tuple[int, int]] = []
    cursor = query(selection).run(connection)
    while batch := cursor.fetchmany(_BATCH):
        columns = _columns(batch)
        records.update(compress(columns["class"], columns["has_record"]))
        if None in columns["process_id"]:
            columns = _columns([row for row in batch if row[0] is not None])
        classes.update(columns["class"])
        # One string for all processes of a command.
        columns["command"] = [sys.intern(command or "?") for command in columns["command"]]
        for name in _KEPT:
            kept[name].extend(columns[name])
        new = range(len(parent), len(parent) + len(columns["parent"]))
        places.update(zip(columns["process_id"], new, strict=True))
        parent.extend(map(places.get, columns["parent"], repeat(TOP)))
        waiting += [
            (place, id_)
            for place, id_ in zip(new, columns["parent"], strict=True)
            if parent[place] == TOP and id_ is not None
        ]
    for place, id_ in waiting:
        parent[place] = places.get(id_, TOP)
    numbers = {of: (classes[of], records[of]) for of in sorted({*classes, *records})}
    return Processes(**kept), numbers


def _columns(batch: list[Row]) -> dict[str, Sequence[Any]]:
    columns = zip(*batch, strict=True) if batch else repeat(())
    return dict(zip(_FIGURES, columns, strict=False))


def _ordered(parent: Sequence[int]) -> Sequence[int]:
    """All places, parents before children. The ingester may give a parent a higher id than its
    child has, which is then behind its siblings.
    """
    late = {place for place, above in enumerate(parent) if above > place}
    if not late:
        return range(len(parent))
    children: defaultdict[int, list[int]] = defaultdict(list)
    for place in sorted(range(len(parent)), key=late.__contains__):
        children[parent[place]].append(place)
    order = children.pop(TOP, [])
    for place in order:  # grows while it is read
        order += children.pop(place, ())
    return order


def _added_up(figures: Sequence[int | None], processes: Processes) -> list[int | None]:
    """The sum of a figure over the branch of each place, and in the end over all."""
    sums = [*figures, None]
    parent = processes.parent
    for place in reversed(processes.order):
        added = sums[place]
        if added is not None:
            above = parent[place]
            sums[above] = added + (sums[above] or 0)
    return sums


def _last_ends(processes: Processes) -> list[int | None]:
    """The last end in the branch of each place; None while any of it runs."""
    last = [*processes.ended_ns, 0]
    parent = processes.parent
    for place in reversed(processes.order):
        end, other = last[place], last[parent[place]]
        if other is not None and (end is None or end > other):
            last[parent[place]] = end
    return last


def _sum(figures: Sequence[int | None], line: list[int]) -> int | None:
    """A figure of a line: the sum of what is known at its places."""
    if len(line) == 1:
        return figures[line[0]]
    known = [figure for figure in map(figures.__getitem__, line) if figure is not None]
    return sum(known) if known else None


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
    processes, classes = load(connection, selection)
    branches = Branches(processes, folding=folding)
    shown = output.choose(COLUMNS, SHOWN)
    words = completeness.words(connection, selection, found=classes)
    words += completeness.cut(branches.lines, output.limit)
    words += exactness.of_each(connection, shown)
    return Report(
        COLUMNS,
        shown,
        islice(lines(branches, blocks=blocks), output.limit),
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=partial(completeness.facts, connection, selection, found=classes),
    )


def lines(branches: Branches, *, blocks: bool) -> Iterator[Row]:
    """The rows of COLUMNS."""
    between, last, bar = ("├─ ", "└─ ", "│  ") if blocks else ("|- ", "`- ", "|  ")
    # What is still to be shown: a line, its depth, what is drawn before it for the levels above,
    # and whether it is the last below its parent.
    waiting = [(line, 0, "", True) for line in reversed(branches.below([TOP]))]
    while waiting:
        line, depth, above, is_last = waiting.pop()
        prefix = under = above
        if depth > _DEEPEST:
            prefix = f"{above}[{depth}] "
        elif depth:
            prefix += last if is_last else between
            under += "   " if is_last else bar
        below = branches.below(line)
        waiting += [(child, depth + 1, under, child is below[-1]) for child in reversed(below)]
        yield _row(branches, line, prefix, depth)


def _row(branches: Branches, line: list[int], prefix: str, depth: int) -> Row:
    command, times = branches.of.command[line[0]], len(line)
    cpu_ns, total_cpu_ns, elapsed_ns, io_bytes, total_io_bytes, processes = branches.sums(line)
    return (
        f"{prefix}{command}{f' x {times}' if times > 1 else ''}",
        depth,
        command,
        times,
        branches.of.pid[line[0]] if times == 1 else None,
        processes,
        _seconds(cpu_ns),
        _seconds(total_cpu_ns),
        _seconds(elapsed_ns),
        _seconds(branches.wall_ns(line)),
        io_bytes,
        total_io_bytes,
    )


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e9
