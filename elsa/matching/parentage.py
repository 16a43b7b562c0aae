"""Infers parents that no event reported: of processes that are known from their records only, and
with the parents their jobs.

A record names the parent's pid at the process's end. That parent ends later, so the next record of
that pid in the file is the parent's own: the order of the file says more than its times, which are
seconds. But a process leaves its record a little before it gives up its children, and the init of a
pid namespace kills them in between. Where a record may be missing nothing is inferred.
"""

from __future__ import annotations

import signal
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from elsa.matching import record_order
from elsa.state.codes import How, Origin
from elsa.store import process_lookup
from elsa.units import HOUR_NS, SECOND_NS

# How long after a child's start its parent is still looked for.
ORPHAN_NS = 600 * SECOND_NS
# How many processes are tried at a time, the newest first: others wait to write meanwhile.
MOST_ORPHANS = 20_000
# An exit may be received this long after its record was written.
EXIT_LAG_NS = 200_000_000

# A process that gave up a child left its record at most so many records before the child's.
JUST_BEFORE = 16

# A recorded start or end may be about this much too early or too late.
NEAR_NS = SECOND_NS + EXIT_LAG_NS
# A start that is known to the second is moved by at most this when the parent is inferred
# (_start_after), and its end with it.
MOVED_NS = SECOND_NS

# Processes that have ended since then or still run: without these indexes SQLite would read all
# processes of the boot.
_STARTED_SINCE = """
    select id, parent_id
    from process indexed by process_ended
    where ended_hour >=
            (select (:since_ns + min(offset_ns)) / :hour_ns from clock where boot_id = :boot_id)
        and boot_id = :boot_id and parent_id is not null and start_ns > :since_ns
    union all
    select id, parent_id
    from process indexed by process_running
    where elapsed_ns is null and boot_id = :boot_id and parent_id is not null
        and start_ns > :since_ns"""


class MissingParent(NamedTuple):
    """A process without a parent."""

    id: int
    pid: int
    parent_pid: int
    start_ns: int
    elapsed_ns: int | None
    origin: int
    record_id: int | None
    exitcode: int | None
    """In its record."""

    @property
    def was_killed(self) -> bool:
        """Whether it may have been killed together with a pid namespace."""
        return self.exitcode == signal.SIGKILL

    @property
    def by_record(self) -> bool:
        """Whether the parent's pid comes from its record, which names the parent at the end, and
        not from its fork, which names the parent at the start.
        """
        return self.origin == Origin.ACCT

    @property
    def parent_seen_ns(self) -> int:
        """When the parent had `parent_pid`."""
        return self.start_ns + (self.elapsed_ns or 0) if self.by_record else self.start_ns


class ParentCandidate(NamedTuple):
    """A process that had the parent's pid at about that time."""

    id: int
    start_ns: int
    running: bool
    record_id: int | None


def infer_parents(connection: sqlite3.Connection, boot_id: int) -> None:
    """Infer parents, and with them jobs, of the incarnations of a boot that have no parent yet,
    where only one process can be the parent.

    The parent's own record comes later, perhaps in a later pass, so this is tried again as long as
    that is likely. The caller holds a transaction.
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
    attached, new_members = _attach_children(connection, boot_id)
    if attached:
        _update_descendants(connection, boot_id, attached, new_members, since_ns)


def _attach_children(connection: sqlite3.Connection, boot_id: int) -> tuple[list[int], set[int]]:
    """Attach processes to their parents, where these can be inferred. Returns the processes, and
    which of them have become members of jobs.
    """
    # The last processes first: parents before their children, so that children get their jobs.
    rows = connection.execute(
        """select process.id, process.pid, parent_pid, start_ns, elapsed_ns, origin, acct.id,
                  acct.exitcode
           from process left join acct on acct.process_id = process.id
           where boot_id = ? and parent_pid is not null order by process.id desc limit ?""",
        (boot_id, MOST_ORPHANS),
    )
    children = [MissingParent(*row) for row in rows]
    process_lookup.find_candidates(connection, boot_id, _moments(children))
    attached, new_members = [], set()
    for child in children:
        parent = _parent(connection, boot_id, child)
        if parent is not None:
            attached.append(child.id)
            if _attach(connection, child, parent):
                new_members.add(child.id)
    return attached, new_members


def _moments(children: Iterable[MissingParent]) -> list[process_lookup.Span]:
    """The parents' pids, and about when the parents had them."""
    return [
        (
            child.parent_pid,
            child.parent_seen_ns - NEAR_NS - MOVED_NS,
            child.parent_seen_ns + NEAR_NS,
        )
        for child in children
    ]


def _parent(
    connection: sqlite3.Connection, boot_id: int, child: MissingParent
) -> ParentCandidate | None:
    """The process that had the parent's pid then; None if that is not certain."""
    if _parent_record_pending(connection, child):
        return None
    seen_ns = child.parent_seen_ns
    rows = connection.execute(
        """select process.id, start_ns, elapsed_ns is null, acct.id
           from temp.candidate cross join process on process.id = candidate.id
           left join acct on acct.process_id = process.id
           where candidate.pid = ? and process.id <> ? and start_ns < ?
               and (elapsed_ns is null or start_ns + elapsed_ns > ?)
           order by start_ns, process.id limit 50""",
        (child.parent_pid, child.id, seen_ns + NEAR_NS, seen_ns - NEAR_NS),
    )
    # No parent started after its child, nor did a process that adopts orphans: it is an ancestor.
    latest_ns = child.start_ns + (SECOND_NS if child.by_record else 0)
    candidates = [
        candidate
        for candidate in (ParentCandidate(*row) for row in rows)
        if candidate.start_ns <= latest_ns
    ]
    if len(candidates) == 1 and candidates[0].record_id is None:
        return candidates[0]
    return _by_order(connection, boot_id, child, candidates)


def _parent_record_pending(connection: sqlite3.Connection, child: MissingParent) -> bool:
    """Whether a record that may be the parent's is still to be joined."""
    query = "select exists (select 1 from acct where join_outcome = 0 and pid = ? and id > ?)"
    return bool(connection.execute(query, (child.parent_pid, child.record_id or 0)).fetchone()[0])


def _by_order(
    connection: sqlite3.Connection,
    boot_id: int,
    child: MissingParent,
    candidates: list[ParentCandidate],
) -> ParentCandidate | None:
    """The candidate whose record is the next after that moment; or the one that still runs, if all
    others had ended before. None if the parent's record seems to come later, or if it may be the
    one just before too.
    """
    if any(candidate.record_id is None and not candidate.running for candidate in candidates):
        return None  # when it ended is not known
    recorded = sorted(
        (candidate for candidate in candidates if candidate.record_id is not None),
        key=lambda candidate: candidate.record_id or 0,
    )
    running = [candidate for candidate in candidates if candidate.record_id is None]
    if child.by_record:
        own = child.record_id or 0
        later = [*(one for one in recorded if (one.record_id or 0) > own), *running]
        before = [one for one in recorded if own - JUST_BEFORE <= (one.record_id or 0) < own]
        if not before or (later and not child.was_killed):
            return later[0] if later else None
        return None if later else before[-1]
    written = record_order.written_between(
        connection, boot_id, [candidate.record_id or 0 for candidate in recorded]
    )
    for candidate in recorded:
        after_ns, by_ns = written[candidate.record_id or 0]
        if after_ns is not None and after_ns >= child.start_ns:
            return candidate
        if by_ns is None or by_ns >= child.start_ns:
            is_last = candidate is recorded[-1] and not running
            return candidate if is_last else None
    return next(iter(running), None)


def _attach(connection: sqlite3.Connection, child: MissingParent, parent: ParentCandidate) -> bool:
    """Store a process's parent; returns whether it has become a member of a job by that."""
    connection.execute(
        "update process set parent_id = ?, parent_pid = null, parent_inferred = 1 where id = ?",
        (parent.id, child.id),
    )
    _start_after(connection, child.id, parent.id)
    return _inherit(connection, child.id, parent.id)


def _start_after(connection: sqlite3.Connection, child_id: int, parent_id: int) -> bool:
    """A process whose start is known to the second started no earlier than its parent: move its
    start if necessary. Returns whether it was moved.
    """
    moved = connection.execute(
        """update process set start_ns = parent.start_ns from process as parent
           where process.id = ? and parent.id = ? and process.origin = ?
               and process.start_ns < parent.start_ns""",
        (child_id, parent_id, Origin.ACCT),
    )
    return moved.rowcount > 0


def _update_descendants(
    connection: sqlite3.Connection,
    boot_id: int,
    attached: list[int],
    new_members: set[int],
    since_ns: int,
) -> None:
    """Move the starts of descendants of processes whose start was moved, and make descendants of
    new members members.
    """
    children = defaultdict(list)
    parameters = {"boot_id": boot_id, "since_ns": since_ns, "hour_ns": HOUR_NS}
    for child_id, parent_id in connection.execute(_STARTED_SINCE, parameters):
        children[parent_id].append(child_id)
    changed = list(attached)
    while changed:
        parent_id = changed.pop()
        for child_id in children[parent_id]:
            moved = _start_after(connection, child_id, parent_id)
            entered = parent_id in new_members and _inherit(connection, child_id, parent_id)
            if entered:
                new_members.add(child_id)
            if moved or entered:
                changed.append(child_id)


def _inherit(connection: sqlite3.Connection, child_id: int, parent_id: int) -> bool:
    """Make a child a member of the jobs in which its parent was when the child started; returns
    whether it entered one.

    A job that was defined after the fact is a selection, and gets no new members.
    """
    entered = connection.execute(
        """insert into membership (job_id, process_id, since_ns, until_ns, how)
           select job_id, ?, 0, null, ? from all_memberships
           where process_id = ? and since_ns <= (select start_ns from process where id = ?)
             and (until_ns is null or until_ns >= (select start_ns from process where id = ?))
             and job_id not in (select id from job where close_reason in ('defining', 'defined'))
           on conflict do nothing""",
        (child_id, How.INFERRED, parent_id, child_id, child_id),
    )
    return entered.rowcount > 0
