"""Jobs after the fact: finding recorded processes by descent, session, command or condition, and
making them the members of a job.

What is found gathers in the temporary table `chosen` of the connection, which SQLite keeps on disk,
so memory is bounded however many they are. Finding needs no transaction; members are written so
many at a time, so that no other writer waits for long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from elsa.decode import comm
from elsa.errors import PrivilegeError, UnavailableError, UsageError
from elsa.state.codes import How
from elsa.state.criteria import Selection
from elsa.store import collector_runs, locks, where
from elsa.store.database import transaction

SECOND_NS = 1_000_000_000
# Members are written so many in one transaction, which takes some hundredths of a second.
CHUNK = 10_000
LIMIT_S = 300.0
# Instructions of SQLite after which it lets Python look whether it was told to stop; some
# milliseconds.
LOOK_UP = 1_000_000
# How many commands a summary names.
COMMANDS_SHOWN = 10

DEFINED, DEFINING, FAILED = "defined", "defining", "failed"
"""What job.close_reason says of a job made after the fact: it is whole; it is being filled, or was
broken off; it could not be filled.
"""

Progress = Callable[[int, int], None]
"""Called with how many members are written, and of how many."""


class Candidate(NamedTuple):
    """An incarnation that a selection begins from. Times with `_at_ns` are real."""

    id: int
    boot_id: int
    pid: int
    uid: int | None
    start_ns: int
    started_at_ns: int
    ended_at_ns: int | None


class ProcSnapshot(NamedTuple):
    """What a selection holds."""

    boot_id: int
    processes: int
    running: int
    inferred: int
    """Of these, those whose line or session was concluded, not heard."""
    started_at_ns: int
    ended_at_ns: int | None
    """End of the last that has ended."""
    commands: dict[str, int]
    """How many of the most frequent commands."""


def find(
    connection: sqlite3.Connection,
    db: Path,
    selection: Selection,
    only_uid: int | None,
    limit_s: float = LIMIT_S,
) -> ProcSnapshot:
    """Gather in `chosen` what is selected, with `only_uid` of this user alone: nothing that this
    does or says depends on what others ran.

    A condition may take `limit_s`. Raises UsageError where there is nothing, or a condition makes no sense, RetryError where it takes too
    long, PrivilegeError for what is not this user's.
    """
    connection.set_progress_handler(_look_up, LOOK_UP)
    connection.execute(
        "create temp table if not exists chosen (process_id integer primary key, how integer not"
        " null)"
    )
    connection.execute("delete from temp.chosen")
    if selection.root is not None:
        _choose_tree(
            connection, _holder(connection, selection.root, selection.at_ns, only_uid), only_uid
        )
    elif selection.session is not None:
        _choose_session(
            connection, _leader(connection, selection.session, selection.at_ns, only_uid), only_uid
        )
    elif selection.where is not None:
        if only_uid is not None:
            raise PrivilegeError(
                "only root and the elsa group select by a condition; use --root, --session or"
                " --command"
            )
        _choose_where(connection, db, selection.where, limit_s)
    else:
        _choose_commands(connection, selection.commands, only_uid)
    _trim(connection, selection)
    return _found(connection)


def _look_up() -> None:
    """Signals are handled here; what one raises ends the statement."""


# --- whom a pid means
# ---------------------------------------------------------------------------------------------------------------


def _lives(connection: sqlite3.Connection, pid: int, only_uid: int | None) -> list[Candidate]:
    """Every recorded life of a pid, the oldest first. Raises PrivilegeError if none is of the user
    whose processes alone are chosen.
    """
    rows = connection.execute(
        """select process_id, boot_id, pid, uid, start_ns, started_ns, ended_ns from incarnation_usage
           where boot_id in (select id from boot) and pid = ? order by started_ns, process_id""",
        (pid,),
    )
    lives = [life for life in map(Candidate._make, rows) if only_uid in (None, life.uid)]
    if not lives and only_uid is not None:  # another's is the same as none
        raise PrivilegeError(
            f"process {pid} was not yours; only root and the elsa group define jobs of those of"
            " others"
        )
    return lives


def _holder(
    connection: sqlite3.Connection, pid: int, at_ns: int | None, only_uid: int | None
) -> Candidate:
    """Who bore a pid at some time, or last. A whole second means any moment of it, since that is
    how reports show times.
    """
    lives = _lives(connection, pid, only_uid)
    if not lives:
        raise UsageError(f"no process is recorded that ever bore pid {pid}")
    if at_ns is None:
        return lives[-1]
    until_ns = at_ns + (SECOND_NS if at_ns % SECOND_NS == 0 else 1)
    fitting = [
        life
        for life in lives
        if life.started_at_ns < until_ns and (life.ended_at_ns is None or life.ended_at_ns >= at_ns)
    ]
    if not fitting:
        raise UsageError(
            f"no process is recorded that bore pid {pid} then; processes that bore it began at"
            f" {_starts(lives)}"
        )
    if len(fitting) > 1:
        raise UsageError(
            f"{len(fitting)} processes bore pid {pid} in that second; name a moment:"
            f" {_starts(fitting)}"
        )
    return fitting[0]


def _leader(
    connection: sqlite3.Connection, pid: int, at_ns: int | None, only_uid: int | None
) -> Candidate:
    """The process that gave a session its number, which no other process can bear while the session
    lives.
    """
    lives = _lives(connection, pid, only_uid)
    begun = [life for life in lives if at_ns is None or life.started_at_ns < at_ns + SECOND_NS]
    if not begun:
        raise UsageError(
            f"no process is recorded that bore pid {pid}{' by then' if lives else ''}, so its"
            " session is not known"
        )
    return begun[-1]


def _starts(lives: list[Candidate]) -> str:
    """When the newest of these began, as local times that can be given back."""
    words = [
        datetime.fromtimestamp(life.started_at_ns / SECOND_NS)
        .astimezone()
        .isoformat(timespec="milliseconds")
        for life in lives[-5:]
    ]
    return ("..., " if len(lives) > len(words) else "") + ", ".join(words)


# --- choosing
# -----------------------------------------------------------------------------------------------------------------------


def _and_visible(process_id: str, only_uid: int | None) -> str:
    """One more condition on a column: only processes of this user. It has to stand wherever
    processes are read.
    """
    if only_uid is None:
        return ""
    return (
        f" and exists (select 1 from incarnation_usage as mine where mine.process_id = {process_id}"
        f" and mine.uid = {only_uid:d})"
    )


def _prepare_lines(connection: sqlite3.Connection, first: Candidate, only_uid: int | None) -> None:
    """The lines of descent of a boot since a process began, to be followed downwards; the table
    process has no index for that.
    """
    connection.execute("drop table if exists temp.line")
    connection.execute(
        "create temp table line (process_id integer primary key, parent_id integer not null,"
        " inferred integer)"
    )
    # Of what only its record tells, the start is known to the second.
    connection.execute(
        f"""insert into temp.line select id, parent_id, parent_inferred from process
            where boot_id = ? and parent_id is not null and start_ns >= ? {_and_visible("process.id", only_uid)}""",
        (first.boot_id, first.start_ns - 2 * SECOND_NS),
    )
    connection.execute("create index temp.line_parent on line (parent_id)")


def _choose_tree(connection: sqlite3.Connection, root: Candidate, only_uid: int | None) -> None:
    _prepare_lines(connection, root, only_uid)
    connection.execute(
        f"""insert into temp.chosen
            with recursive tree(id) as (
                select :root
                union
                select l.process_id from tree as t join temp.line as l on l.parent_id = t.id
            )
            select t.id, case when l.inferred = 1 and t.id <> :root then {How.INFERRED:d} else {How.DEFINED:d} end
            from tree as t left join temp.line as l on l.process_id = t.id""",
        {"root": root.id},
    )


def _choose_session(
    connection: sqlite3.Connection, leader: Candidate, only_uid: int | None
) -> None:
    """Those that were seen in the session, and their descendants that were not looked at: a session
    is inherited, so they are concluded.
    """
    _prepare_lines(connection, leader, only_uid)
    later = connection.execute(
        "select min(start_ns) from process where boot_id = ? and pid = ? and start_ns > ?"
        f" {_and_visible('process.id', only_uid)}",
        (leader.boot_id, leader.pid, leader.start_ns),
    ).fetchone()[0]
    connection.execute(
        f"""insert into temp.chosen
            with recursive member(id, how) as (
                select :leader, {How.DEFINED:d}
                union
                select s.process_id, {How.DEFINED:d} from program as s join process as p on p.id = s.process_id
                where s.session = :pid and p.boot_id = :boot and p.start_ns >= :since and (:until is null or p.start_ns < :until)
                      {_and_visible("p.id", only_uid)}
                union
                select l.process_id, {How.INFERRED:d}
                from member as m join temp.line as l on l.parent_id = m.id left join program as s on s.process_id = l.process_id
                where s.session is null
            )
            select id, max(how) from member group by id""",  # DEFINED is more than INFERRED
        {
            "leader": leader.id,
            "pid": leader.pid,
            "boot": leader.boot_id,
            "since": leader.start_ns,
            "until": later,
        },
    )


def _choose_commands(
    connection: sqlite3.Connection, patterns: tuple[str, ...], only_uid: int | None
) -> None:
    # Materialized: no pattern is tried on a name of another's process, which might tell it by how
    # long that takes.
    fits = " or ".join("command glob ?" for _ in patterns)
    whose = "" if only_uid is None else f"where uid = {only_uid:d}"
    connection.execute(
        f"""insert into temp.chosen
            with visible as materialized (select process_id, command from incarnation_usage {whose})
            select process_id, {How.DEFINED:d} from visible where {fits}""",
        tuple(map(comm.wanted, patterns)),
    )


def _choose_where(connection: sqlite3.Connection, db: Path, condition: str, limit_s: float) -> None:
    for ids in where.matching(db, condition, limit_s):
        connection.execute("begin")  # of the temporary table alone: it holds up nobody
        connection.executemany(
            f"insert or ignore into temp.chosen values (?, {How.DEFINED:d})", zip(ids, strict=True)
        )
        connection.execute("commit")


def _trim(connection: sqlite3.Connection, selection: Selection) -> None:
    """Keep what began in the window."""
    if selection.since_ns is None and selection.until_ns is None:
        return
    connection.execute(
        """delete from temp.chosen where not exists (
               select 1 from process as p join clock as c on c.id = p.clock_id
               where p.id = process_id and p.start_ns + c.offset_ns >= ? and p.start_ns + c.offset_ns < ?)""",
        (
            selection.since_ns or 0,
            selection.until_ns if selection.until_ns is not None else 2**63 - 1,
        ),
    )


def _found(connection: sqlite3.Connection) -> ProcSnapshot:
    groups = connection.execute(
        f"""select coalesce(u.command, '-'), count(*), count(case when u.state = 'running' then 1 end),
                   count(case when c.how = {How.INFERRED:d} then 1 end), min(u.started_ns), max(u.ended_ns), min(u.boot_id), max(u.boot_id)
            from temp.chosen as c join incarnation_usage as u on u.process_id = c.process_id
            group by u.command order by 2 desc, 1"""
    ).fetchall()
    if not groups:
        raise UsageError(
            "nothing is recorded that fits; what has just ended may still have to be read: elsa"
            " ingest"
        )
    commands, processes, running, inferred, starts, ends, first_boots, last_boots = zip(
        *groups, strict=True
    )
    if min(first_boots) != max(last_boots):
        raise UsageError(
            f"the {sum(processes)} processes are of several boots, and a job lies in one; narrow"
            " them by --since and --until"
        )
    return ProcSnapshot(
        boot_id=min(first_boots),
        processes=sum(processes),
        running=sum(running),
        inferred=sum(inferred),
        started_at_ns=min(starts),
        ended_at_ns=max((end for end in ends if end is not None), default=None),
        commands=dict(zip(commands[:COMMANDS_SHOWN], processes, strict=False)),
    )


# --- writing
# ------------------------------------------------------------------------------------------------------------------------


def reserve(
    connection: sqlite3.Connection,
    db: Path,
    boot_id: int,
    name: str,
    owner_uid: int,
    tags: Mapping[str, str],
    now_at_ns: int,
) -> int:
    """A job to be filled, made without a jobd; its id. Raises UnavailableError while one is at
    work: it gives out the ids then.
    """
    if locks.held(locks.COLLECTOR, db):
        raise UnavailableError(
            f"{db}: a jobd that is not on this socket is at work on this warehouse; name its socket"
            " with --socket"
        )
    with locks.only(locks.COLLECTOR, db), transaction(connection):
        job_id = collector_runs.next_job_id(connection)
        connection.execute(
            "insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns, close_reason,"
            " closes_itself) values (?, ?, ?, ?, ?, ?, ?, 0)",
            (job_id, boot_id, name, owner_uid, now_at_ns, now_at_ns, DEFINING),
        )
        connection.executemany(
            "insert into job_tag values (?, ?, ?)", [(job_id, *tag) for tag in tags.items()]
        )
    return job_id


def fill(
    connection: sqlite3.Connection, job_id: int, found: ProcSnapshot, progress: Progress
) -> int:
    """Make what was chosen the members of a reserved job; returns how many. If that fails the job
    is left without any, and says so.
    """
    try:
        count = _write_members(connection, job_id, found.processes, progress)
        with transaction(connection):
            connection.execute(
                "update job set close_reason = ?, boot_id = ? where id = ?",
                (DEFINED, found.boot_id, job_id),
            )
    except BaseException:
        _empty(connection, job_id)
        raise
    return count


def _write_members(
    connection: sqlite3.Connection, job_id: int, total: int, progress: Progress
) -> int:
    # What was pruned meanwhile is not there any more.
    insert = """insert or ignore into membership (job_id, process_id, since_ns, until_ns, how)
                select ?, c.process_id, 0, null, c.how from temp.chosen as c join process as p on p.id = c.process_id
                where c.process_id > ? and c.process_id <= ?"""
    last, done, count = 0, 0, 0
    while done < total:
        progress(done, total)
        ids = connection.execute(
            "select process_id from temp.chosen where process_id > ? order by process_id limit ?",
            (last, CHUNK),
        ).fetchall()
        if not ids:
            break
        with transaction(connection):
            count += connection.execute(insert, (job_id, last, ids[-1][0])).rowcount
        last, done = ids[-1][0], done + len(ids)
    progress(total, total)
    return count


def _empty(connection: sqlite3.Connection, job_id: int) -> None:
    """Take back the members that were written."""
    delete = """delete from membership where job_id = ? and process_id in (select process_id from membership where job_id = ? limit ?)"""
    more = True
    while more:
        with transaction(connection):
            more = connection.execute(delete, (job_id, job_id, CHUNK)).rowcount > 0
    with transaction(connection):
        connection.execute("update job set close_reason = ? where id = ?", (FAILED, job_id))


def describe(found: ProcSnapshot) -> dict[str, Any]:
    """What was found, as the protocol shows it."""
    return {key: value for key, value in found._asdict().items() if key != "boot_id"}
