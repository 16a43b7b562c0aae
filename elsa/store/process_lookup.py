"""Find the process that had a pid at some time, without an index by pid over all processes.

Process ids follow the order of process starts closely, so the processes that started within some
seconds are in a few blocks of ids. For every slot of ten seconds the table `process_start_block`
lists these blocks; triggers maintain it, so that code that writes processes need not. The table has
one row where an index by pid has a hundred, and new rows go to its end. An index by pid is written
at random places, which costs the more the larger the warehouse is.

A block is read as a whole, so look up many pids at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from elsa.units import HOUR_NS, SECOND_NS

SLOT_S = 10
SLOT_NS = SLOT_S * SECOND_NS
"""A longer slot means fewer rows on a quiet host, and more to read on a busy host: reading a block
of 512 processes takes 0.06 ms.
"""
BLOCK = 1024
"""The ids in a block. Half of them are jobd's, so a block is some 25 KiB of rows."""

LONG_LIVED_NS = 10 * SECOND_NS
"""The few processes that run longer have an index by pid, process_lasting, and so have those that
still run. All others ended soon after they started.
"""

Span = tuple[int, int, int]
"""A pid, and the first and last monotonic time, both included."""

WANTED_STARTED = f"""(
        select distinct process_start_block.block
        from json_each(:slots) as slots
        cross join process_start_block
            on process_start_block.boot_id = :boot_id
            and process_start_block.time_slot between json_extract(slots.value, '$[0]')
                and json_extract(slots.value, '$[1]')
    ) as near
    cross join process not indexed
        on process.id between near.block * {BLOCK} and near.block * {BLOCK} + {BLOCK - 1}
        and process.boot_id = :boot_id
        and process.pid in (select value from json_each(:pids))"""
"""A from clause, with the parameters of `wanted`: each `process` of the boot :boot_id that had a
wanted pid and started in one of the wanted times, once; and others that had one of the pids.
"""

_OF_WANTED = """select process.pid, process.id
    from (select distinct value as pid from json_each(:pids)) as asked
    cross join process indexed by {}
        on process.boot_id = :boot_id and process.pid = asked.pid and process.{}"""
_FIND = f"""insert into temp.candidate
    select process.pid, process.id from {WANTED_STARTED}
    union
    {_OF_WANTED.format("process_lasting", f"elapsed_ns > {LONG_LIVED_NS}")}
    union
    {_OF_WANTED.format("process_running", "elapsed_ns is null")}"""

_OFFSETS = """(
            select c.boot_id, min(c.offset_ns) as least, max(c.offset_ns) as most
            from clock as c
            group by c.boot_id
        ) as k"""

_PLACE = f"new.boot_id, new.start_ns / {SLOT_NS}, new.id / {BLOCK}"
HAS_BLOCK = f"""exists (
        select 1 from process_start_block as b where (b.boot_id, b.time_slot, b.block) = ({_PLACE})
    )"""
"""Whether process_start_block leads to the process `new`."""
_INSERT = f"begin insert into process_start_block values ({_PLACE}); end"
_TRIGGERS = {
    "process_start_inserted": f"after insert on process when not {HAS_BLOCK} {_INSERT}",
    "process_start_changed": (
        f"""after update of id, boot_id, start_ns on process
        when (new.start_ns <> old.start_ns or new.boot_id <> old.boot_id or new.id <> old.id)
            and not {HAS_BLOCK}
        {_INSERT}"""
    ),
}


def triggers() -> list[str]:
    """The statements that create every trigger."""
    return [f"create trigger {name} {body}" for name, body in _TRIGGERS.items()]


def wanted(pids: Iterable[int], slots: Iterable[int], more: int = 0) -> dict[str, str]:
    """The parameters of `WANTED_STARTED`: pids, and in which time slots (rounded down) processes of
    these pids started: each of `slots`, and so many more after it.
    """
    ranges: list[list[int]] = []
    for slot in sorted(slots):
        if ranges and slot <= ranges[-1][1] + 1:
            ranges[-1][1] = slot + more
        else:
            ranges.append([slot, slot + more])
    for one in ranges:
        one[1] += one[1] < 0  # SQLite rounds towards 0
    return {"pids": json.dumps(list(pids)), "slots": json.dumps(ranges)}


def find_candidates(connection: sqlite3.Connection, boot_id: int, spans: Sequence[Span]) -> None:
    """Fill the temporary table `candidate` (pid, id) with every process of a boot that ran under
    one of these pids at some time in its spans.

    It may hold further processes that had these pids.
    """
    slots = {
        slot
        for _, first, last in spans
        for slot in range((first - LONG_LIVED_NS) // SLOT_NS, last // SLOT_NS + 1)
    }
    connection.execute(
        "create temp table if not exists candidate (pid integer, id integer, primary key (pid, id))"
        " without rowid"
    )
    connection.execute("delete from temp.candidate")
    connection.execute(_FIND, {"boot_id": boot_id, **wanted((pid for pid, *_ in spans), slots)})


def lived(since_ns: int, until_ns: int | None) -> str:
    """SQL that lists the ids of all processes that lived at some time from one real time to before
    another (None: to now), and of few others.
    """
    if until_ns is None:
        return (
            f"select p.id from process as p where p.ended_hour >= {since_ns // HOUR_NS}"
            " union all select p.id from process as p where p.ended_hour is null"
        )
    # In a boot whose clock was set, a real time may be any of several monotonic times.
    return f"""select p.id
        from (
            select distinct b.block
            from clock as c
            cross join process_start_block as b
                on b.boot_id = c.boot_id
                and b.time_slot between ({since_ns - LONG_LIVED_NS} - c.offset_ns) / {SLOT_NS}
                and ({until_ns} - c.offset_ns) / {SLOT_NS}
        ) as near
        cross join process as p not indexed
            on p.id between near.block * {BLOCK} and near.block * {BLOCK} + {BLOCK - 1}
        where p.elapsed_ns <= {LONG_LIVED_NS}
        union all
        select p.id
        from {_OFFSETS}
        cross join process as p indexed by process_lasting
            on p.boot_id = k.boot_id
            and p.elapsed_ns > {LONG_LIVED_NS}
        where p.start_ns + p.elapsed_ns >= {since_ns} - k.most
            and p.start_ns < {until_ns} - k.least
        union all
        select p.id from process as p indexed by process_running where p.elapsed_ns is null"""


def delete_empty_blocks(connection: sqlite3.Connection) -> None:
    """Delete blocks whose processes are all gone. The caller holds a transaction."""
    connection.execute(
        f"""delete from process_start_block where not exists (
                select 1 from process
                where process.id between block * {BLOCK} and block * {BLOCK} + {BLOCK - 1})"""
    )
