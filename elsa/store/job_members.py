"""Find the members of a job, and the jobs of a process, where most memberships have no row.

Most processes are in a job of their parent from their start to their end. That costs them one
column, process.inherited_job_id, where a row of table membership would cost ten times as many
bytes. Processes that start together are mostly in few jobs, so for every job the table `job_block`
lists the blocks of ids in which it has members of either kind. Triggers maintain it, so that code
that writes processes and memberships need not. The view all_memberships reads it.
"""

from __future__ import annotations

import sqlite3

from elsa.state.codes import How

BLOCK = 128
"""The ids in a block. Half of them are jobd's. A larger block means fewer rows here, and more
processes of other jobs to be read with those of a job.
"""


def _has_block(job_id: str, process_id: str) -> str:
    return (
        "exists (select 1 from job_block as b"
        f" where (b.job_id, b.block) = ({job_id}, {process_id} / {BLOCK}))"
    )


LOST_INHERITED = f"""select count(*) from process as p
    where p.inherited_job_id is not null and not {_has_block("p.inherited_job_id", "p.id")}"""
"""How many processes job_block does not lead to from their inherited job: none."""
LOST_MEMBER = f"""select count(*) from membership as m
    where not {_has_block("m.job_id", "m.process_id")}"""
"""The same for the rows of table membership."""


def _trigger(event: str, table: str, job_id: str, process_id: str) -> str:
    return (
        f"after {event} on {table}"
        f" when {job_id} is not null and not {_has_block(job_id, process_id)}"
        f" begin insert into job_block values ({job_id}, {process_id} / {BLOCK}); end"
    )


_INHERITED = ("process", "new.inherited_job_id", "new.id")
_MEMBER = ("membership", "new.job_id", "new.process_id")
_TRIGGERS = {
    "inherited_inserted": _trigger("insert", *_INHERITED),
    "inherited_changed": _trigger("update of id, inherited_job_id", *_INHERITED),
    "member_inserted": _trigger("insert", *_MEMBER),
    "member_changed": _trigger("update of job_id, process_id", *_MEMBER),
}


def triggers() -> list[str]:
    """The statements that create every trigger."""
    return [f"create trigger {name} {body}" for name, body in _TRIGGERS.items()]


def in_blocks(id_: str) -> str:
    """The condition that an id is in a block `b` of a job."""
    return f"{id_} between b.block * {BLOCK} and b.block * {BLOCK} + {BLOCK - 1}"


def inherited(among: str | None = None, blocks: str | None = None) -> str:
    """SQL for rows of job_id, process_id and how: the memberships in the processes' own rows, in
    the jobs that the SQL `among` lists, or in all; with `blocks`, only in the blocks of ids that
    this SQL lists.
    """
    if among is None:
        return (
            f"select p.inherited_job_id as job_id, p.id as process_id, {How.INHERITED:d} as how"
            " from process as p where p.inherited_job_id is not null"
        )
    return (
        f"select b.job_id, p.id as process_id, {How.INHERITED:d} as how"
        " from job_block as b cross join process as p"
        f" on {in_blocks('p.id')} and p.inherited_job_id = b.job_id where b.job_id in ({among})"
        f"{'' if blocks is None else only(blocks)}"
    )


def processes(among: str) -> str:
    """SQL for the ids of all members of the jobs that the SQL `among` lists. The view
    all_memberships would look for a row in table membership for every process of a block.
    """
    return (
        f"select m.process_id from membership as m where m.job_id in ({among})"
        f" union all select i.process_id from ({inherited(among)}) as i"
    )


def stored(among: str, blocks: str) -> str:
    """The from clause, up to its last condition, for the rows `s` of table membership in some jobs
    and blocks of ids. It visits the blocks of the jobs, and not all of their members.
    """
    return (
        f"job_block as b cross join membership as s on s.job_id = b.job_id"
        f" and {in_blocks('s.process_id')} where b.job_id in ({among}){only(blocks)}"
    )


def only(blocks: str) -> str:
    """The condition that a block `b` is among those that SQL lists. The plus keeps SQLite from
    looking up each of these in each job.
    """
    return f" and +b.block in ({blocks})"


def block(id_: str) -> str:
    """SQL for the block of an id."""
    return f"{id_} / {BLOCK}"


def delete_empty_blocks(connection: sqlite3.Connection) -> None:
    """Delete blocks whose processes are all gone. The caller holds a transaction."""
    connection.execute(
        f"""delete from job_block where not exists (
                select 1 from process
                where process.id between block * {BLOCK} and block * {BLOCK} + {BLOCK - 1})"""
    )
