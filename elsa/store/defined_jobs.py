"""Jobs after the fact: find recorded processes by descent, session, command or condition, and make
them the members of a job.

The selected processes are collected in the temporary table `chosen` of the connection, which SQLite
keeps on disk, so memory is bounded whatever their number. Finding them needs no transaction. The
members are written in chunks, so that no other writer waits for long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from elsa.decode import comm
from elsa.errors import PrivilegeError, UnavailableError, UsageError
from elsa.progress import Progress
from elsa.state.codes import How
from elsa.state.criteria import Criteria
from elsa.store import collector_runs, locks, where
from elsa.store.database import transaction
from elsa.units import SECOND_NS

# Members that are written in one transaction, which takes some hundredths of a second.
CHUNK = 10_000
LIMIT_S = 300.0
# After this many instructions, some milliseconds, SQLite calls Python, which then handles signals.
INSTRUCTIONS_PER_CALL = 1_000_000
# How many commands a summary names.
COMMANDS_SHOWN = 10

DEFINED, DEFINING, FAILED = "defined", "defining", "failed"
"""job.close_reason of a job after the fact: all members are written; they are being written, or
writing was interrupted; they could not be written.
"""


class RootProcess(NamedTuple):
    """A process that a selection may start from. Times with `_at_ns` are real."""

    id: int
    boot_id: int
    pid: int
    uid: int | None
    start_ns: int
    started_at_ns: int
    ended_at_ns: int | None


class Found(NamedTuple):
    """A summary of the processes that a selection found."""

    boot_id: int
    processes: int
    running: int
    inferred: int
    """How many of the processes have an inferred parentage or session."""
    started_at_ns: int
    ended_at_ns: int | None
    """The latest end of a process; None if all run."""
    commands: dict[str, int]
    """The number of processes by command, for the most frequent commands."""


def find(
    connection: sqlite3.Connection,
    db: Path,
    selection: Criteria,
    only_uid: int | None,
    limit_s: float = LIMIT_S,
) -> Found:
    """Fill `chosen` with the selected processes. With `only_uid`, only processes of that user are
    read, so nothing in the result or in an error depends on what other users ran.

    A condition may take `limit_s`. Raises UsageError if no process matches or a condition is wrong,
    RetryError if it takes too long, PrivilegeError if the processes belong to another user.
    """
    connection.set_progress_handler(_let_signals_in, INSTRUCTIONS_PER_CALL)
    connection.execute(
        "create temp table if not exists chosen (process_id integer primary key, how integer not"
        " null)"
    )
    connection.execute("delete from temp.chosen")
    if selection.root is not None:
        root = _process_with_pid(connection, selection.root, selection.at_ns, only_uid)
        _choose_tree(connection, root, only_uid)
    elif selection.session is not None:
        leader = _leader(connection, selection.session, selection.at_ns, only_uid)
        _choose_session(connection, leader, only_uid)
    elif selection.where is not None:
        if only_uid is not None:
            raise PrivilegeError(
                "only root and the elsa group select by a condition; use --root, --session or"
                " --command"
            )
        _choose_where(connection, db, selection.where, limit_s)
    else:
        _choose_commands(connection, selection.commands, only_uid)
    _keep_window(connection, selection)
    return _found(connection)


def _let_signals_in() -> None:
    """Python handles signals around this call; an exception of a handler ends the statement."""


# --- the process that a pid stands for


def _with_pid(connection: sqlite3.Connection, pid: int, only_uid: int | None) -> list[RootProcess]:
    """Every recorded process with a pid, oldest first. Raises PrivilegeError if `only_uid` is given
    and none belongs to that user.
    """
    rows = connection.execute(
        """select process_id, boot_id, pid, uid, start_ns, started_ns, ended_ns
           from incarnation_usage
           where boot_id in (select id from boot) and pid = ? order by started_ns, process_id""",
        (pid,),
    )
    processes = [row for row in map(RootProcess._make, rows) if only_uid in (None, row.uid)]
    if not processes and only_uid is not None:  # the same error whether another user had the pid
        raise PrivilegeError(
            f"process {pid} was not yours; only root and the elsa group define jobs of other users'"
            " processes"
        )
    return processes


def _process_with_pid(
    connection: sqlite3.Connection, pid: int, at_ns: int | None, only_uid: int | None
) -> RootProcess:
    """The process that had a pid at some time, or the last that had it. A whole second means any
    moment in it, since reports show times in seconds.
    """
    processes = _with_pid(connection, pid, only_uid)
    if not processes:
        raise UsageError(f"no recorded process had pid {pid}")
    if at_ns is None:
        return processes[-1]
    until_ns = at_ns + (SECOND_NS if at_ns % SECOND_NS == 0 else 1)
    alive = [
        process
        for process in processes
        if process.started_at_ns < until_ns
        and (process.ended_at_ns is None or process.ended_at_ns >= at_ns)
    ]
    if not alive:
        raise UsageError(
            f"no recorded process had pid {pid} then; processes that had it started at"
            f" {_starts(processes)}"
        )
    if len(alive) > 1:
        raise UsageError(
            f"{len(alive)} processes had pid {pid} in that second; give one of these start times:"
            f" {_starts(alive)}"
        )
    return alive[0]


def _leader(
    connection: sqlite3.Connection, pid: int, at_ns: int | None, only_uid: int | None
) -> RootProcess:
    """The leader of a session. Its pid is the session's id, which the kernel gives to no other
    process while the session exists.
    """
    processes = _with_pid(connection, pid, only_uid)
    started = [
        process
        for process in processes
        if at_ns is None or process.started_at_ns < at_ns + SECOND_NS
    ]
    if not started:
        raise UsageError(
            f"no recorded process had pid {pid}{' by then' if processes else ''}, so its"
            " session is not known"
        )
    return started[-1]


def _starts(processes: list[RootProcess]) -> str:
    """The start times of the newest processes, as local times that --at accepts."""
    newest = processes[-5:]
    times = [
        datetime.fromtimestamp(process.started_at_ns / SECOND_NS)
        .astimezone()
        .isoformat(timespec="milliseconds")
        for process in newest
    ]
    return ("..., " if len(processes) > len(newest) else "") + ", ".join(times)


# --- choosing processes


def _and_visible(process_id: str, only_uid: int | None) -> str:
    """A further condition on a column: only processes of this user. Every query that reads
    processes needs it.
    """
    if only_uid is None:
        return ""
    return (
        f" and exists (select 1 from incarnation_usage as mine where mine.process_id = {process_id}"
        f" and mine.uid = {only_uid:d})"
    )


def _load_parentage(
    connection: sqlite3.Connection, first: RootProcess, only_uid: int | None
) -> None:
    """Fill the temporary table `parentage` with the processes of a boot since the start of
    `first`, indexed by parent. The table `process` has no such index.
    """
    connection.execute("drop table if exists temp.parentage")
    connection.execute(
        "create temp table parentage (process_id integer primary key, parent_id integer not null,"
        " inferred integer)"
    )
    # The start of a process that only its accounting record shows is known to the second.
    connection.execute(
        f"""insert into temp.parentage select id, parent_id, parent_inferred from process
            where boot_id = ? and parent_id is not null and start_ns >= ?
                {_and_visible("process.id", only_uid)}""",
        (first.boot_id, first.start_ns - 2 * SECOND_NS),
    )
    connection.execute("create index temp.parentage_parent on parentage (parent_id)")


def _choose_tree(connection: sqlite3.Connection, root: RootProcess, only_uid: int | None) -> None:
    _load_parentage(connection, root, only_uid)
    connection.execute(
        f"""insert into temp.chosen
            with recursive tree(id) as (
                select :root
                union
                select p.process_id from tree as t join temp.parentage as p on p.parent_id = t.id
            )
            select t.id, case when p.inferred = 1 and t.id <> :root
                              then {How.INFERRED:d} else {How.DEFINED:d} end
            from tree as t left join temp.parentage as p on p.process_id = t.id""",
        {"root": root.id},
    )


def _choose_session(
    connection: sqlite3.Connection, leader: RootProcess, only_uid: int | None
) -> None:
    """Choose the processes that /proc showed in the session, and their descendants whose session is
    not known: a session is inherited, so their membership is inferred.
    """
    _load_parentage(connection, leader, only_uid)
    (pid_reused_ns,) = connection.execute(
        "select min(start_ns) from process where boot_id = ? and pid = ? and start_ns > ?"
        f" {_and_visible('process.id', only_uid)}",
        (leader.boot_id, leader.pid, leader.start_ns),
    ).fetchone()
    connection.execute(
        f"""insert into temp.chosen
            with recursive member(id, how) as (
                select :leader, {How.DEFINED:d}
                union
                select s.process_id, {How.DEFINED:d}
                from program as s join process as p on p.id = s.process_id
                where s.session = :pid and p.boot_id = :boot and p.start_ns >= :since
                      and (:until is null or p.start_ns < :until)
                      {_and_visible("p.id", only_uid)}
                union
                select c.process_id, {How.INFERRED:d}
                from member as m
                join temp.parentage as c on c.parent_id = m.id
                left join program as s on s.process_id = c.process_id
                where s.session is null
            )
            select id, max(how) from member group by id""",  # DEFINED is greater than INFERRED
        {
            "leader": leader.id,
            "pid": leader.pid,
            "boot": leader.boot_id,
            "since": leader.start_ns,
            "until": pid_reused_ns,
        },
    )


def _choose_commands(
    connection: sqlite3.Connection, patterns: tuple[str, ...], only_uid: int | None
) -> None:
    # Materialized, so that no pattern is matched with the command of another user's process: the
    # time that takes might reveal the command.
    matches = " or ".join("command glob ?" for _ in patterns)
    of_user = "" if only_uid is None else f"where uid = {only_uid:d}"
    connection.execute(
        f"""insert into temp.chosen
            with visible as materialized (
                select process_id, command from incarnation_usage {of_user}
            )
            select process_id, {How.DEFINED:d} from visible where {matches}""",
        tuple(map(comm.wanted, patterns)),
    )


def _choose_where(connection: sqlite3.Connection, db: Path, condition: str, limit_s: float) -> None:
    for ids in where.matching(db, condition, limit_s):
        connection.execute("begin")  # writes the temporary table only, so no other writer waits
        connection.executemany(
            f"insert or ignore into temp.chosen values (?, {How.DEFINED:d})", zip(ids, strict=True)
        )
        connection.execute("commit")


def _keep_window(connection: sqlite3.Connection, selection: Criteria) -> None:
    """Delete from `chosen` the processes that did not start in the window."""
    since_ns, until_ns = selection.since_ns, selection.until_ns
    if since_ns is None and until_ns is None:
        return
    connection.execute(
        """delete from temp.chosen where not exists (
               select 1 from process as p join clock as c on c.id = p.clock_id
               where p.id = process_id
                   and p.start_ns + c.offset_ns >= ? and p.start_ns + c.offset_ns < ?)""",
        (since_ns or 0, 2**63 - 1 if until_ns is None else until_ns),
    )


def _found(connection: sqlite3.Connection) -> Found:
    groups = connection.execute(
        f"""select coalesce(u.command, '-'), count(*),
                   count(case when u.state = 'running' then 1 end),
                   count(case when c.how = {How.INFERRED:d} then 1 end),
                   min(u.started_ns), max(u.ended_ns), min(u.boot_id), max(u.boot_id)
            from temp.chosen as c join incarnation_usage as u on u.process_id = c.process_id
            group by u.command order by 2 desc, 1"""
    ).fetchall()
    if not groups:
        raise UsageError(
            "no recorded process matches; processes that have just ended may have to be read first:"
            " elsa ingest"
        )
    commands, processes, running, inferred, starts, ends, first_boots, last_boots = zip(
        *groups, strict=True
    )
    if min(first_boots) != max(last_boots):
        raise UsageError(
            f"the {sum(processes)} processes are of several boots, and a job has one boot; narrow"
            " them with --since and --until"
        )
    return Found(
        boot_id=min(first_boots),
        processes=sum(processes),
        running=sum(running),
        inferred=sum(inferred),
        started_at_ns=min(starts),
        ended_at_ns=max((end for end in ends if end is not None), default=None),
        commands=dict(zip(commands[:COMMANDS_SHOWN], processes, strict=False)),
    )


# --- writing members


def reserve(
    connection: sqlite3.Connection,
    db: Path,
    boot_id: int,
    name: str,
    owner_uid: int,
    tags: Mapping[str, str],
    now_at_ns: int,
) -> int:
    """Insert a job without members, where no jobd runs, and return its id. Raises UnavailableError
    while a jobd runs, since jobd then gives out the ids.
    """
    if locks.held(locks.COLLECTOR, db):
        raise UnavailableError(
            f"{db}: a jobd with another socket is at work on this warehouse; name its socket with"
            " --socket"
        )
    with locks.only(locks.COLLECTOR, db), transaction(connection):
        job_id = collector_runs.next_job_id(connection)
        connection.execute(
            "insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns,"
            " close_reason, closes_itself) values (?, ?, ?, ?, ?, ?, ?, 0)",
            (job_id, boot_id, name, owner_uid, now_at_ns, now_at_ns, DEFINING),
        )
        connection.executemany(
            "insert into job_tag values (?, ?, ?)", [(job_id, *tag) for tag in tags.items()]
        )
    return job_id


def fill(connection: sqlite3.Connection, job_id: int, found: Found, progress: Progress) -> int:
    """Make the chosen processes the members of a reserved job; return their number. On failure the
    job keeps no members, and its close_reason says so.
    """
    try:
        count = _write_members(connection, job_id, found.processes, progress)
        with transaction(connection):
            connection.execute(
                "update job set close_reason = ?, boot_id = ? where id = ?",
                (DEFINED, found.boot_id, job_id),
            )
    except BaseException:
        _remove_members(connection, job_id)
        raise
    return count


def _write_members(
    connection: sqlite3.Connection, job_id: int, total: int, progress: Progress
) -> int:
    # The join leaves out processes that were pruned meanwhile.
    insert = """insert or ignore into membership (job_id, process_id, since_ns, until_ns, how)
                select ?, c.process_id, 0, null, c.how
                from temp.chosen as c join process as p on p.id = c.process_id
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


def _remove_members(connection: sqlite3.Connection, job_id: int) -> None:
    """Delete the members that were written, and record that the job could not be filled."""
    delete = """delete from membership where job_id = ? and process_id in (
                    select process_id from membership where job_id = ? limit ?)"""
    more = True
    while more:
        with transaction(connection):
            more = connection.execute(delete, (job_id, job_id, CHUNK)).rowcount > 0
    with transaction(connection):
        connection.execute("update job set close_reason = ? where id = ?", (FAILED, job_id))


def describe(found: Found) -> dict[str, Any]:
    """The summary in the form of the protocol."""
    return {key: value for key, value in found._asdict().items() if key != "boot_id"}
