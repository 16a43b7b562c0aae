"""Runs of the collector: what the last one left behind, and the row of the new one.

What ran when the last collector stopped is loaded, so that jobs live on through a restart; a boot
that is over is closed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from elsa import __version__
from elsa.state.codes import How, Origin
from elsa.state.incarnation import Incarnation
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.store import boot_ends, boots
from elsa.store.boots import Machine
from elsa.store.database import transaction

# So many ids of jobs are reserved ahead: as many jobs can be made while the warehouse cannot be
# written.
JOB_IDS = 1000


class Beginning(NamedTuple):
    """Where a collector begins."""

    boot_id: int
    collector_id: int
    since_ns: int
    """Listening since."""
    next_job_id: int
    heard_ns: int | None
    """Up to when (monotonic) earlier runs heard this boot; 0 if only earlier boots were heard, None
    if this host never was.
    """


def begin(
    connection: sqlite3.Connection, machine: Machine, pid: int, now_ns: int, least_job_id: int = 1
) -> Beginning:
    """Close what belongs to boots that are over, and make the row of this run. It gives out no job
    id below `least_job_id`.
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
            # Not further than before, until what happened meanwhile is concluded.
            now_ns if heard_ns is None else heard_ns,
            first_job_id + JOB_IDS,
        )
    return Beginning(boot_id, collector_id, now_ns, first_job_id, heard_ns)


def _heard_ns(connection: sqlite3.Connection, boot_id: int) -> int | None:
    """Up to when this boot was heard, for a Beginning."""
    heard_ns, before = connection.execute(
        "select (select max(heard_ns) from collector where boot_id = boot.id),"
        f" {boot_ends.HEARD_BEFORE} from boot where id = ?",
        (boot_id,),
    ).fetchone()
    return heard_ns if heard_ns is not None else 0 if before else None


def next_job_id(connection: sqlite3.Connection) -> int:
    """No id is given out twice: one that a killed collector had told somebody, but could not store,
    is passed over.
    """
    told = connection.execute(
        "select max(job_ids_until) from collector where stopped_ns is null"
    ).fetchone()[0]
    return max(boots.next_id(connection, "job"), told or 0)


def taken_job_ids(connection: sqlite3.Connection, ids: Iterable[int]) -> set[int]:
    """Which of these ids a job bears."""
    rows = connection.execute(
        "select id from job where id in (select value from json_each(?))", (json.dumps(list(ids)),)
    )
    return {job_id for (job_id,) in rows}


def restore(connection: sqlite3.Connection, boot_id: int, next_job_id: int) -> Processes:
    """The clocks and open jobs of this boot, and the incarnations that ran when last heard of."""
    jobs = Jobs(next_job_id)
    for row in connection.execute(
        """select job.id, name, owner_uid, created_at_ns, closes_itself, kind, value, cgroup_inode,
                  invocation
           from job left join long_text on long_text.id = job.cgroup_id
           where boot_id = ? and closed_at_ns is null""",
        (boot_id,),
    ).fetchall():
        tags = dict(
            connection.execute(
                "select key, value from job_tag where job_id = ?", (row[0],)
            ).fetchall()
        )
        job = Job(row[0], row[1], row[2], row[3], bool(row[4]), tags)
        job.kind, job.cgroup, job.cgroup_inode, job.invocation = row[5:]
        jobs.restore(job)
    next_id = boots.next_own_id(connection, "process", boots.COLLECTOR_IDS)
    processes = Processes(jobs, next_id, boots.clocks_of(connection, boot_id))
    for row in connection.execute(
        """select process.id, pid, start_ns, clock_id, origin, parent_id, parent_inferred, uid, comm.name
           from process left join comm on comm.id = process.comm_id
           where boot_id = ? and elapsed_ns is null""",
        (boot_id,),
    ).fetchall():
        life = Incarnation(row[0], row[1], row[2], row[3], Origin(row[4]))
        life.parent_id, life.parent_inferred, life.uid, life.comm = row[5:]
        _restore_stays(connection, life, processes)
        processes.restore(life)
    processes.link_ancestors()
    jobs.emptied.update({job.id: 0 for job in jobs.open.values() if not job.living})
    return processes


def _restore_stays(connection: sqlite3.Connection, life: Incarnation, processes: Processes) -> None:
    jobs = processes.jobs
    stays = connection.execute(
        "select job_id, since_ns, how from membership where process_id = ? and until_ns is null"
        " order by since_ns, job_id",
        (life.id,),
    ).fetchall()
    life.jobs = tuple(dict.fromkeys(job_id for job_id, *_ in stays if job_id in jobs.open))
    life.since = {
        job_id: since_ns for job_id, since_ns, _ in stays if since_ns and job_id in life.jobs
    } or None
    processes.launched |= {
        job_id: (jobs.open[job_id], life)
        for job_id, _, how in stays
        if how == How.LAUNCHED and job_id in life.jobs
    }


def ended_jobs(
    connection: sqlite3.Connection, uid: int | None, limit: int = 1000
) -> list[dict[str, object]]:
    """The newest closed jobs, of one owner or of all, as the protocol shows jobs."""
    whose = "" if uid is None else f"and owner_uid = {uid:d}"
    rows = connection.execute(
        f"""select id, name, owner_uid, created_at_ns, closed_at_ns, closes_itself,
                   coalesce((select json_group_object(key, value) from job_tag where job_id = job.id), '{{}}')
            from job where closed_at_ns is not null {whose} order by id desc limit ?""",
        (limit,),
    )
    names = ("id", "name", "owner_uid", "created_at_ns", "closed_at_ns", "closes_itself")
    return [
        {**dict(zip(names, row[:6], strict=True)), "living": 0, "tags": json.loads(row[6])}
        for row in rows
    ]
