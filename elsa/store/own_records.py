"""The part of a warehouse that a user may see: a small warehouse of its own with his processes and
jobs, and nothing of others.

What a report reads cannot be more than the warehouse has. So a user who may not read the warehouse
gets such a copy, and any report with any options runs over it in a program of his own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from elsa.errors import DataError
from elsa.store import database
from elsa.store.job_members import BLOCK as MEMBER_BLOCK
from elsa.store.process_lookup import BLOCK as START_BLOCK
from elsa.store.process_lookup import SLOT_NS
from elsa.units import HOUR_NS

MOST_PROCESSES = 500_000


class Part(NamedTuple):
    """Which rows `t` of a table are copied, and which columns get another value."""

    where: str = "true"
    instead: Mapping[str, str] = {}


NOTHING = Part("false")
_OF_PROCESS = Part("t.process_id in (select id from temp.own)")
_OF_JOB = Part("t.job_id in (select id from temp.own_job)")
_PRUNED_OF_JOB = Part(f"{_OF_JOB.where} and t.pruned = 1")
_NAMED = "t.id in (select id from temp.named where what = '{}')"
# Losses and runs of jobd concern everybody; how many events they counted is about others too.
PARTS: dict[str, Part] = {
    "alembic_version": Part(),
    "host": Part(),
    "boot": Part(),
    "clock": Part(),
    "tariff": Part(),
    "tariff_factor": Part(),
    "collector": Part(instead={"events": "0", "lost": "0"}),
    "gap": Part("t.acct_file_id is null", {"lost": "null", "note": "null"}),
    "comm": Part(_NAMED.format("comm")),
    "long_text": Part(_NAMED.format("text")),
    "process": Part(
        "t.id in (select id from temp.own)",
        {"auto_job_id": "(select j.id from temp.own_job as j where j.id = t.auto_job_id)"},
    ),
    "usage": _OF_PROCESS,
    "usage_reading": Part("t.id in (select i.reading_id from main.usage_interval as i)"),
    "usage_interval": _OF_PROCESS,
    "usage_so_far": _OF_PROCESS,
    "program": _OF_PROCESS,
    "event": _OF_PROCESS,
    "job": Part("t.id in (select id from temp.own_job)"),
    "job_tag": _OF_JOB,
    "job_cgroup": _OF_JOB,
    "membership": Part(f"{_OF_JOB.where} and {_OF_PROCESS.where}"),
    # The first and last bytes of a file are records of anybody.
    "acct_file": Part(
        "t.id in (select a.acct_file_id from main.acct as a)",
        dict.fromkeys(("disk_size", "position", "records", "skipped_bytes"), "0")
        | dict.fromkeys(("head", "tail"), "x''"),
    ),
    "acct": Part(
        "case when t.process_id is null then t.uid = :uid"
        " else t.process_id in (select id from temp.own) end"
    ),
    # Written below, from the rows that were copied.
    "process_start_block": NOTHING,
    "job_block": NOTHING,
    # Sums of processes that exist are added up anew. Those of pruned ones have no owner by command.
    "rollup_user": Part("t.uid = :uid and t.pruned = 1"),
    "rollup_job": _PRUNED_OF_JOB,
    **dict.fromkeys(
        (
            *("rollup_command", "rollup_hour", "rollup_day", "rollup_day_command"),
            *("rollup_day_user", "rollup_day_job", "rollup_day_total", "rollup_audit"),
            "rollup_unconfirmed",
        ),
        NOTHING,
    ),
}
# These are copied last: which of their rows are wanted follows from the others.
_LAST = ("acct_file", "usage_reading", "comm", "long_text")

_OWN_JOBS = """create temp table own_job as
    select j.id from host_.job as j where j.owner_uid = :uid"""
# The record's user is the one at the end; reports show that where there is a record.
_OWN = """
    select p.id
    from host_.process as p
    left join host_.acct as a
        on a.process_id = p.id
        and a.join_outcome <> 3
    where coalesce(a.uid, p.uid) = :uid and {when}
    union
    select p.id
    from temp.own_job as j
    join host_.all_memberships as m
        on m.job_id = j.id
    join host_.process as p
        on p.id = m.process_id
    where {when}"""
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
        select auto_job_id, id / {MEMBER_BLOCK} from main.process where auto_job_id is not null""",
)


def copy(warehouse: Path, uid: int, since_ns: int | None = None) -> bytes:
    """The warehouse of a user's own processes and jobs, as an SQLite file; with `since_ns` (real
    time) only of what still runs or ended in that hour or later.

    Own processes are those whose real uid is his, and all that were ever in a job of his. Raises
    DataError if there are too many, and what opening the warehouse raises.
    """
    database.open_for_reading(warehouse).close()  # it says what is wrong with the warehouse
    with (
        database.translated(warehouse),
        closing(sqlite3.connect("file::memory:", uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("attach ? as host_", (f"{warehouse.absolute().as_uri()}?mode=ro",))
        connection.execute("begin")
        values = {"uid": uid}
        connection.execute(_OWN_JOBS, values)
        when = "true"
        if since_ns is not None:
            when = f"(p.ended_hour >= {since_ns // HOUR_NS} or p.ended_hour is null)"
        connection.execute("create temp table own (id integer primary key)")
        connection.execute(f"insert into temp.own {_OWN.format(when=when)}", values)
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
    made = connection.execute("select type, name, sql from host_.sqlite_master").fetchall()
    tables = {name: sql for kind, name, sql in made if kind == "table"}
    for sql in tables.values():
        connection.execute(sql)
    for name in (*(name for name in tables if name not in _LAST), *_LAST):
        if name == "comm":
            connection.execute(_NAMES)
        _copy(connection, name, PARTS.get(name, NOTHING), values)
    for statement in _BLOCKS:
        connection.execute(statement)
    for wanted in ("index", "view"):
        for kind, _, sql in made:
            if kind == wanted and sql is not None:
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
