"""The part of a warehouse that a user may see: a small warehouse of its own with his processes and
jobs, and nothing of others.

What a report reads cannot be more than the warehouse has. So a user who may not read the warehouse
gets such a copy, and any report with any options runs over it in a program of his own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from elsa.errors import DataError
from elsa.store import database, sql_files
from elsa.store.job_members import BLOCK as MEMBER_BLOCK
from elsa.store.process_lookup import BLOCK as START_BLOCK
from elsa.store.process_lookup import SLOT_NS
from elsa.units import HOUR_NS

MOST_PROCESSES = 500_000
# After so many instructions of SQLite, some 0.1 ms, it is checked whether to stop.
_INSTRUCTIONS = 20_000


class Part(NamedTuple):
    """Which rows `t` of a table are copied, and which columns get another value."""

    where: str = "true"
    instead: Mapping[str, str] = {}


NOTHING = Part("false")
_OF_PROCESS = Part("t.process_id in (select id from temp.own)")
_OF_JOB = Part("t.job_id in (select id from temp.own_job)")
_PRUNED_OF_JOB = Part(f"{_OF_JOB.where} and t.pruned = 1")
_MINE = "{} in (select id from temp.own where mine)"
_NAMED = "t.id in (select id from temp.named where what = '{}')"
_OF_HOST = "t.boot_id in (select id from temp.own_boot)"
_EDGE_OF_OWN_JOB = """exists (
        select 1 from main.membership as m
        where m.process_id = t.process_id and t.edge_ns in (m.since_ns, m.until_ns)
    )"""
# Losses and runs of jobd concern everybody; how many events they counted is about others too, and
# so are ids and positions in files that show how many jobs and records there were in between.
PARTS: dict[str, Part] = {
    "alembic_version": Part(),
    "host": Part("t.id in (select host_id from temp.own_boot)"),
    "boot": Part("t.id in (select id from temp.own_boot)"),
    "clock": Part(_OF_HOST),
    "tariff": Part(),
    "tariff_factor": Part(),
    "collector": Part(_OF_HOST, {"events": "0", "lost": "0", "job_ids_until": "0"}),
    "gap": Part(
        f"t.acct_file_id is null and ({_OF_HOST} or t.boot_id is null)",
        {"lost": "null", "note": "null"},
    ),
    "comm": Part(_NAMED.format("comm")),
    "long_text": Part(_NAMED.format("text")),
    "process": Part(
        "t.id in (select id from temp.own)",
        {
            "inherited_job_id": (
                "(select j.id from temp.own_job as j where j.id = t.inherited_job_id)"
            ),
            "parent_id": "(select o.id from temp.own as o where o.id = t.parent_id)",
            "exe_id": f"case when {_MINE.format('t.id')} then t.exe_id end",
        },
    ),
    "usage": _OF_PROCESS,
    "usage_reading": Part("t.id in (select i.reading_id from main.usage_interval as i)"),
    "usage_interval": _OF_PROCESS,
    "usage_so_far": Part(f"{_OF_PROCESS.where} and (t.edge_ns = 0 or {_EDGE_OF_OWN_JOB})"),
    # What another user executes in an own job is none of this user's business.
    "program": Part(_MINE.format("t.process_id")),
    "event": _OF_PROCESS,
    "job": Part("t.id in (select id from temp.own_job)"),
    "job_tag": _OF_JOB,
    "job_cgroup": _OF_JOB,
    "job_memory": _OF_JOB,
    # The plus keeps SQLite from looking up each process in each job.
    "membership": Part(f"{_OF_JOB.where} and +{_OF_PROCESS.where}"),
    # The first and last bytes of a file are records of anybody.
    "acct_file": Part(
        "t.id in (select a.acct_file_id from main.acct as a)",
        dict.fromkeys(("disk_size", "modified_at_ns", "position", "records", "skipped_bytes"), "0")
        | dict.fromkeys(("head", "tail"), "x''"),
    ),
    "acct": Part(
        "case when t.process_id is null then t.uid = :uid and t.acct_file_id in (select id from"
        " temp.own_file) else t.process_id in (select id from temp.own) end",
        {"position": "0"},
    ),
    # Written below, from the rows that were copied.
    "process_start_block": NOTHING,
    "job_block": NOTHING,
    # Sums of processes that exist are added up anew. Those of pruned ones have no owner by command.
    "rollup_user": Part(
        "t.uid = :uid and t.pruned = 1 and t.host_id in (select host_id from temp.own_boot)"
    ),
    "rollup_job": _PRUNED_OF_JOB,
    **dict.fromkeys(
        (
            *("rollup_command", "rollup_hour", "rollup_day", "rollup_day_command"),
            *("rollup_day_user", "rollup_day_job", "rollup_day_total", "rollup_audit"),
            "rollup_unconfirmed",
            "rollup_pruned",
        ),
        NOTHING,
    ),
}
# These are copied last: which of their rows are wanted follows from the others.
_LAST = ("acct_file", "usage_reading", "usage_so_far", "comm", "long_text")

# A uid is a user of this host, that of the newest run of jobd; on another host it may be somebody
# else's.
_THIS_HOST = (
    """create temp table own_boot as
    select b.id, b.host_id
    from host_.boot as b
    where b.host_id = (
        select n.host_id
        from host_.boot as n
        where n.id = (select c.boot_id from host_.collector as c order by c.id desc limit 1)
    )""",
    """create temp table own_file as
    select f.id from host_.acct_file as f where f.host_id in (select host_id from temp.own_boot)""",
)
_OWN_JOBS = """insert into temp.own_job
    select j.id
    from host_.job as j
    where j.owner_uid = :uid and j.boot_id in (select id from temp.own_boot)"""
# When a job started, and how long it took, is that of all its members.
_OF_JOBS_THEN = """create temp table of_jobs_then as
    select m.process_id as id
    from host_.all_memberships as m
    where m.job_id in (
        select j.id
        from temp.own_job as j
        where exists (
            select 1
            from host_.all_memberships as n
            join host_.process as p
                on p.id = n.process_id
            where n.job_id = j.id and ({since})
        )
    )"""
# The record's user is the one at the end; reports show that where there is a record.
_OWN = """
    select p.id, 1
    from host_.process as p
    left join host_.acct as a
        on a.process_id = p.id
        and a.join_outcome <> 3
    where
        coalesce(a.uid, p.uid) = :uid
        and p.boot_id in (select id from temp.own_boot)
        and {when}
    union all
    select p.id, 0
    from temp.own_job as j
    join host_.all_memberships as m
        on m.job_id = j.id
    join host_.process as p
        on p.id = m.process_id
    where
        m.since_ns = 0
        and m.until_ns is null
        and {when}"""
_NAMES = """create temp table named as
    select 'comm' as what, comm_id as id from main.process
    union
    select 'comm', comm_id from main.acct
    union
    select 'text', exe_id from main.process
    union
    select 'text', cgroup_id from main.job
    union
    select 'text', value
    from main.program, json_each(json_array(cmdline_id, exe_id, cwd_id, cgroup_id))"""
_BLOCKS = (
    f"""insert into main.process_start_block
        select distinct boot_id, start_ns / {SLOT_NS}, id / {START_BLOCK} from main.process""",
    f"""insert into main.job_block
        select job_id, process_id / {MEMBER_BLOCK} from main.membership
        union
        select inherited_job_id, id / {MEMBER_BLOCK} from main.process
        where inherited_job_id is not null""",
)


def copy(
    warehouse: Path, uid: int, since_ns: int | None = None, stop: Callable[[], bool] | None = None
) -> bytes:
    """The warehouse of a user's own processes and jobs, as an SQLite file; with `since_ns` (real
    time) only of what still runs or ended in that hour or later, and whole jobs of which something
    did.

    Own processes are those whose real uid is his, and those of others that were in a job of his
    from start to end: what they used otherwise is no part of the job. Raises DataError if there are
    too many, ElsaError once `stop` says so, and what opening the warehouse raises.
    """
    database.open_for_reading(warehouse).close()  # it says what is wrong with the warehouse
    with (
        database.translated(warehouse),
        closing(sqlite3.connect("file::memory:", uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("attach ? as host_", (f"{warehouse.absolute().as_uri()}?mode=ro",))
        connection.set_progress_handler(stop, _INSTRUCTIONS)
        connection.execute("begin")
        values = {"uid": uid}
        connection.execute("create temp table own_job (id integer primary key)")
        for statement in (*_THIS_HOST, _OWN_JOBS):
            connection.execute(statement, values)
        when = "true"
        if since_ns is not None:
            since = f"p.ended_hour >= {since_ns // HOUR_NS} or p.ended_hour is null"
            connection.execute(_OF_JOBS_THEN.format(since=since))
            when = f"({since} or p.id in (select id from temp.of_jobs_then))"
        connection.execute("create temp table own (id integer primary key, mine integer)")
        connection.execute(f"insert or ignore into temp.own {_OWN.format(when=when)}", values)
        (count,) = connection.execute("select count(*) from temp.own").fetchone()
        if count > MOST_PROCESSES:
            raise DataError(
                f"{count} of your processes are recorded, more than {MOST_PROCESSES}: choose a time"
                " with --since"
            )
        _fill(connection, values)
        connection.execute("commit")
        return connection.serialize()


def _fill(connection: sqlite3.Connection, values: Mapping[str, int]) -> None:
    # An administrator may have added tables, indexes and views, and statistics by `analyze`.
    made = connection.execute(
        "select type, name, tbl_name, sql from host_.sqlite_master where sql is not null"
    ).fetchall()
    for kind, name, _, sql in made:
        if kind == "table" and name in PARTS:
            connection.execute(sql)
    for name in (*(name for name in PARTS if name not in _LAST), *_LAST):
        if name == "comm":
            connection.execute(_NAMES)
        _copy(connection, name, PARTS[name], values)
    for statement in _BLOCKS:
        connection.execute(statement)
    views = {path.stem for path in sql_files.views()}
    for wanted in ("index", "view"):
        for kind, name, table, sql in made:
            if kind == wanted and (table in PARTS or name in views):
                connection.execute(sql)


def _copy(
    connection: sqlite3.Connection, table: str, part: Part, values: Mapping[str, int]
) -> None:
    columns = [
        name
        for _, name, _, _, _, _, hidden in connection.execute(f"pragma main.table_xinfo({table})")
        if not hidden
    ]
    chosen = ", ".join(part.instead.get(name, f"t.{name}") for name in columns)
    connection.execute(
        f"insert into main.{table} ({', '.join(columns)})"
        f" select {chosen} from host_.{table} as t where {part.where}",
        values,
    )
