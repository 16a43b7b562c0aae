"""Lines of descent that no event told: whose child a process was of which only its record tells,
and with that its jobs.

A record names the parent at its end. That parent ends later, so the next record of the parent's pid
in the file is the parent's own: the order of the file tells more than its times, which are seconds.
Where a record may be missing nothing is concluded.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from elsa.matching import record_order
from elsa.state.clock import HOUR_NS
from elsa.state.codes import How, Origin
from elsa.store import process_lookup

SECOND_NS = 1_000_000_000
# A parent may outlive its child by this much and still be found.
ORPHAN_NS = 600 * SECOND_NS
# So many are tried at a time, the newest first: it is done while others wait to write.
MOST_ORPHANS = 20_000
# An exit may be heard this long after its record was written.
LAG_NS = 200_000_000

# About so long before or after a moment an end or a start may be told, and still be of that moment.
NEAR_NS = SECOND_NS + LAG_NS
# A start that is known to the second is moved by so much at most when its parent is found
# (_begin_after), and its end with it.
MOVED_NS = SECOND_NS

# By what ended since or runs: a search by the start alone would go through all of the boot.
_BEGUN_SINCE = """
    select id, parent_id
    from process indexed by process_ended
    where ended_hour >= (select (:since_ns + min(offset_ns)) / :hour_ns from clock where boot_id = :boot_id)
        and boot_id = :boot_id and parent_id is not null and start_ns > :since_ns
    union all
    select id, parent_id
    from process indexed by process_running
    where elapsed_ns is null and boot_id = :boot_id and parent_id is not null and start_ns > :since_ns"""


class MissingParent(NamedTuple):
    """A process without a parent."""

    id: int
    pid: int
    parent_pid: int
    start_ns: int
    elapsed_ns: int | None
    origin: int
    record_id: int | None

    @property
    def by_record(self) -> bool:
        """Only its record tells of it, and so of its parent at the end; else its fork does, and so
        of that at the beginning.
        """
        return self.origin == Origin.ACCT

    @property
    def told_ns(self) -> int:
        """When the parent had that pid."""
        return self.start_ns + (self.elapsed_ns or 0) if self.by_record else self.start_ns


class ParentCandidate(NamedTuple):
    """A process that had a pid about then."""

    id: int
    start_ns: int
    running: bool
    record_id: int | None


def trace(connection: sqlite3.Connection, boot_id: int) -> None:
    """Find parents for incarnations of a boot that have none yet, where only one process can be
    meant, and with them their jobs.

    The parent's own record comes later, perhaps in a later pass, so it is tried again as long as that is likely. The caller holds a
    transaction.
    """
    newest = connection.execute(
        "select max(start_ns) from process where boot_id = ? and parent_pid is not null", (boot_id,)
    ).fetchone()[0]
    if newest is None:
        return
    since_ns = newest - ORPHAN_NS
    connection.execute(
        "update process set parent_pid = null where boot_id = ? and parent_pid is not null and"
        " origin = ? and start_ns < ?",
        (boot_id, Origin.ACCT, since_ns),
    )
    attached, heirs = _find_parents(connection, boot_id)
    if attached:
        _pass_on(connection, boot_id, attached, heirs, since_ns)


def _find_parents(connection: sqlite3.Connection, boot_id: int) -> tuple[list[int], set[int]]:
    """Attach those whose parent can be told; returns them, and those of them that came into jobs by
    it.
    """
    # Last ones first: parents before their children, so that jobs come down the line.
    rows = connection.execute(
        """select process.id, process.pid, parent_pid, start_ns, elapsed_ns, origin, acct.id
           from process left join acct on acct.process_id = process.id
           where boot_id = ? and parent_pid is not null order by process.id desc limit ?""",
        (boot_id, MOST_ORPHANS),
    )
    children = [MissingParent(*row) for row in rows]
    process_lookup.gather_bearers(connection, boot_id, _moments(children))
    attached, heirs = [], set()
    for child in children:
        parent = _parent(connection, boot_id, child)
        if parent is not None:
            attached.append(child.id)
            if _attach(connection, child, parent):
                heirs.add(child.id)
    return attached, heirs


def _moments(children: Iterable[MissingParent]) -> dict[int, list[process_lookup.Span]]:
    """By the pids of their parents about when these had them."""
    found = defaultdict(list)
    for child in children:
        found[child.parent_pid].append(
            (child.told_ns - NEAR_NS - MOVED_NS, child.told_ns + NEAR_NS)
        )
    return found


def _parent(
    connection: sqlite3.Connection, boot_id: int, child: MissingParent
) -> ParentCandidate | None:
    """Who had the parent's pid then. Only one of the candidates can be meant, or none is."""
    if _is_waited_for(connection, child):
        return None
    rows = connection.execute(
        """select process.id, start_ns, elapsed_ns is null, acct.id
           from temp.bearer cross join process on process.id = bearer.id left join acct on acct.process_id = process.id
           where bearer.pid = ? and process.id <> ? and start_ns < ? and (elapsed_ns is null or start_ns + elapsed_ns > ?)
           order by start_ns, process.id limit 50""",
        (child.parent_pid, child.id, child.told_ns + NEAR_NS, child.told_ns - NEAR_NS),
    ).fetchall()
    # No parent is younger than its child, nor is one that takes in children: that is an ancestor
    # too.
    eldest_ns = child.start_ns + (SECOND_NS if child.by_record else 0)
    candidates = [ParentCandidate(*row) for row in rows if row[1] <= eldest_ns]
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    return _by_order(connection, boot_id, child, candidates)


def _is_waited_for(connection: sqlite3.Connection, child: MissingParent) -> bool:
    """Whether a record that may be the parent's is still to be joined."""
    query = "select exists (select 1 from acct where join_outcome = 0 and pid = ? and id > ?)"
    return bool(connection.execute(query, (child.parent_pid, child.record_id or 0)).fetchone()[0])


def _by_order(
    connection: sqlite3.Connection,
    boot_id: int,
    child: MissingParent,
    candidates: list[ParentCandidate],
) -> ParentCandidate | None:
    """Of several the one whose record is the next after that moment; or that runs on, if all others
    have ended before.
    """
    if any(candidate.record_id is None and not candidate.running for candidate in candidates):
        return None  # nobody knows when it ended
    recorded = sorted(
        (candidate for candidate in candidates if candidate.record_id is not None),
        key=lambda candidate: candidate.record_id or 0,
    )
    running = [candidate for candidate in candidates if candidate.record_id is None]
    if child.by_record:
        later = [
            candidate
            for candidate in recorded
            if child.record_id is None or (candidate.record_id or 0) > child.record_id
        ]
        return next(iter([*later, *running]), None)
    brackets = record_order.brackets(
        connection, boot_id, [candidate.record_id or 0 for candidate in recorded]
    )
    for candidate in recorded:
        after_ns, by_ns = brackets[candidate.record_id or 0]
        if after_ns is not None and after_ns >= child.start_ns:
            return candidate
        if by_ns is None or by_ns >= child.start_ns:
            return (
                None if len(recorded) + len(running) > recorded.index(candidate) + 1 else candidate
            )
    return next(iter(running), None)


def _attach(connection: sqlite3.Connection, child: MissingParent, parent: ParentCandidate) -> bool:
    """Now it has a parent; whether it came into a job by that."""
    connection.execute(
        "update process set parent_id = ?, parent_pid = null, parent_inferred = 1 where id = ?",
        (parent.id, child.id),
    )
    _begin_after(connection, child.id, parent.id)
    return _inherit(connection, child.id, parent.id)


def _begin_after(connection: sqlite3.Connection, child_id: int, parent_id: int) -> bool:
    """What only its record tells of, known to the second, began no earlier than its parent; whether
    its start had to be moved.
    """
    moved = connection.execute(
        """update process set start_ns = parent.start_ns from process as parent
           where process.id = ? and parent.id = ? and process.origin = ? and process.start_ns < parent.start_ns""",
        (child_id, parent_id, Origin.ACCT),
    )
    return moved.rowcount > 0


def _pass_on(
    connection: sqlite3.Connection,
    boot_id: int,
    attached: list[int],
    heirs: set[int],
    since_ns: int,
) -> None:
    """What begins later now, or has come into jobs, has children that do so too."""
    children = defaultdict(list)
    told = {"boot_id": boot_id, "since_ns": since_ns, "hour_ns": HOUR_NS}
    for child_id, parent_id in connection.execute(_BEGUN_SINCE, told):
        children[parent_id].append(child_id)
    line = list(attached)
    while line:
        parent_id = line.pop()
        for child_id in children[parent_id]:
            moved = _begin_after(connection, child_id, parent_id)
            came = parent_id in heirs and _inherit(connection, child_id, parent_id)
            if came:
                heirs.add(child_id)
            if moved or came:
                line.append(child_id)


def _inherit(connection: sqlite3.Connection, child_id: int, parent_id: int) -> bool:
    """A child of a member that began after the member came in, and before it left, is in the
    member's job; whether it came into one.

    A job that was defined after the fact is a selection, and takes no more.
    """
    entered = connection.execute(
        """insert into membership (job_id, process_id, since_ns, until_ns, how)
           select job_id, ?, 0, null, ? from membership
           where process_id = ? and since_ns <= (select start_ns from process where id = ?)
             and (until_ns is null or until_ns >= (select start_ns from process where id = ?))
             and job_id not in (select id from job where close_reason in ('defining', 'defined'))
           on conflict do nothing""",
        (child_id, How.INFERRED, parent_id, child_id, child_id),
    )
    return entered.rowcount > 0
