"""Runs of jobd (table `collector`): insert the row of a new run, and load what the last run left.

The processes and jobs that were open when the last jobd stopped are loaded, so that jobs survive a
restart. Boots that are over are closed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from typing import NamedTuple

from elsa import __version__
from elsa.decode.cgroups import GroupCounters
from elsa.decode.comm import unescape_path
from elsa.state.codes import How, Origin
from elsa.state.incarnation import Incarnation, Moves
from elsa.state.job_kinds import KINDS
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.store import boot_ends, boots, intervals
from elsa.store.boots import Machine
from elsa.store.database import transaction

# This many job ids are reserved in advance, so this many jobs can be created while the warehouse
# cannot be written.
JOB_IDS = 1000


class CollectorRun(NamedTuple):
    """A run of jobd that has just started."""

    boot_id: int
    collector_id: int
    since_ns: int
    """When it started to listen."""
    next_job_id: int
    heard_ns: int | None
    """Up to when (monotonic) earlier runs received events of this boot; 0 if jobd ran in earlier
    boots only, None if it never ran on this host.
    """


def begin(
    connection: sqlite3.Connection, machine: Machine, pid: int, now_ns: int, least_job_id: int = 1
) -> CollectorRun:
    """Close boots that are over, and insert the row of this run. Job ids start at `least_job_id` or
    above.
    """
    with transaction(connection):
        boot_id = boots.boot_row(connection, machine)
        boot_ends.close_earlier(connection, boot_id, machine.booted_at_ns)
        heard_ns = _heard_ns(connection, boot_id)
        first_job_id = next_job_id(connection)
        collector_id = boots.insert(
            connection,
            "insert into collector (id, boot_id, pid, version, since_ns, heard_ns, job_ids_until,"
            " events, lost) values (?, ?, ?, ?, ?, ?, ?, 0, 0)",
            "collector",
            boot_id,
            pid,
            __version__,
            now_ns,
            # Not later than before, until what happened meanwhile is inferred.
            now_ns if heard_ns is None else heard_ns,
            first_job_id + JOB_IDS,
        )
    return CollectorRun(boot_id, collector_id, now_ns, first_job_id, heard_ns)


def _heard_ns(connection: sqlite3.Connection, boot_id: int) -> int | None:
    """CollectorRun.heard_ns of a boot."""
    heard_ns: int | None
    heard_ns, ran_before = connection.execute(
        "select (select max(heard_ns) from collector where boot_id = boot.id),"
        f" {boot_ends.JOBD_RAN_BEFORE} from boot where id = ?",
        (boot_id,),
    ).fetchone()
    if heard_ns is None and ran_before:
        return 0
    return heard_ns


def next_job_id(connection: sqlite3.Connection) -> int:
    """The next job id that was never given out. A jobd that was killed may have given out ids that
    it could not store; those are skipped.
    """
    (reserved,) = connection.execute(
        "select max(job_ids_until) from collector where stopped_ns is null"
    ).fetchone()
    return max(boots.next_id(connection, "job"), reserved or 0)


def used_job_ids(connection: sqlite3.Connection, ids: Iterable[int]) -> set[int]:
    """Which of these job ids are in use."""
    rows = connection.execute(
        "select id from job where id in (select value from json_each(?))", (json.dumps(list(ids)),)
    )
    return {job_id for (job_id,) in rows}


def restore(connection: sqlite3.Connection, boot_id: int, next_job_id: int) -> Processes:
    """The clocks and open jobs of this boot, and the processes that ran when jobd last stopped."""
    jobs = Jobs(next_job_id)
    for (
        id_,
        name,
        owner_uid,
        created_at_ns,
        closes_itself,
        kind,
        cgroup,
        *rest,
    ) in connection.execute(
        """select job.id, name, owner_uid, created_at_ns, closes_itself, kind, value,
                      cgroup_inode, invocation, memory_kib, memory_by, user_us_before,
                      system_us_before, memory_peak_before, read_bytes_before, write_bytes_before
               from job left join long_text on long_text.id = job.cgroup_id
                   left join job_cgroup on job_cgroup.job_id = job.id
               where boot_id = ? and closed_at_ns is null""",
        (boot_id,),
    ).fetchall():
        tags = dict(
            connection.execute("select key, value from job_tag where job_id = ?", (id_,)).fetchall()
        )
        job = Job(id_, name, owner_uid, created_at_ns, bool(closes_itself), tags)
        job.kind = kind
        job.cgroup_inode, job.invocation, memory_kib, memory_by, *before = rest
        job.memory_peak = None if memory_kib is None else (memory_kib, memory_by)
        job.cgroup = None if cgroup is None else unescape_path(cgroup)
        job.is_run = job.automatic and job.closes_itself
        job.counted_before = None if before[0] is None else GroupCounters(*before)
        jobs.restore(job)
    next_id = boots.next_own_id(connection, "process", boots.COLLECTOR_IDS)
    processes = Processes(jobs, next_id, boots.clocks_of(connection, boot_id))
    for id_, pid, start_ns, clock_id, origin, inherited_job_id, *rest in connection.execute(
        """select process.id, pid, start_ns, clock_id, origin, inherited_job_id, parent_id,
                  parent_pid, parent_inferred, uid, comm.name
           from process left join comm on comm.id = process.comm_id
           where boot_id = ? and elapsed_ns is null""",
        (boot_id,),
    ).fetchall():
        life = Incarnation(id_, pid, start_ns, clock_id, Origin(origin))
        life.inherited_job_id = inherited_job_id
        life.parent_id, life.parent_pid, life.parent_inferred, life.uid, life.comm = rest
        _restore_memberships(connection, life, processes)
        processes.restore(life)
    intervals.restore(connection, processes.living.values())
    processes.link_ancestors()
    jobs.emptied.update({job.id: 0 for job in jobs.open.values() if not job.living})
    return processes


def _restore_memberships(
    connection: sqlite3.Connection, life: Incarnation, processes: Processes
) -> None:
    jobs = processes.jobs
    memberships = connection.execute(
        "select job_id, since_ns, how from all_memberships"
        " where process_id = ? and until_ns is null order by since_ns, job_id",
        (life.id,),
    ).fetchall()
    life.jobs = tuple(dict.fromkeys(job_id for job_id, *_ in memberships if job_id in jobs.open))
    since = {
        job_id: since_ns for job_id, since_ns, _ in memberships if since_ns and job_id in life.jobs
    }
    life.moves = Moves(since) if since else None
    life.automatic = next((id_ for id_ in life.jobs if jobs.open[id_].automatic), None)
    processes.launched |= {
        job_id: (jobs.open[job_id], life)
        for job_id, _, how in memberships
        if how == How.LAUNCHED and job_id in life.jobs and not jobs.open[job_id].automatic
    }


def ended_jobs(
    connection: sqlite3.Connection,
    uid: int | None,
    kinds: Collection[str] = KINDS,
    limit: int = 1000,
) -> list[dict[str, object]]:
    """The newest closed jobs of some kinds, of one owner or of all, in the form of the protocol."""
    of_owner = "" if uid is None else f"and owner_uid = {uid:d}"
    names = ("id", "name", "kind", "owner_uid", "created_at_ns", "closed_at_ns", "closes_itself")
    rows = connection.execute(
        f"""select {", ".join(names)}, coalesce(
                (select json_group_object(key, value) from job_tag where job_id = job.id), '{{}}')
            from job
            where closed_at_ns is not null {of_owner}
                and kind in (select value from json_each(?))
            order by id desc limit ?""",
        (json.dumps(sorted(kinds)), limit),
    )
    return [
        {**dict(zip(names, values, strict=True)), "living": 0, "tags": json.loads(tags)}
        for *values, tags in rows
    ]
