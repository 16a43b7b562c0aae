"""Who bore a pid and began, or lived, at some time: found without an index by pid of all processes.

Incarnations are numbered about as they begin, so a few blocks of ids hold all that began within
some seconds. The table `process_start_block` says which, for every slot of ten seconds; triggers keep it, so that
nobody who writes incarnations has to think of it. It has a row where an index by pid has a hundred,
and it is written at its end: an index by pid is written all over, the dearer the larger the
warehouse.

A block is read as a whole, so it pays to ask for many at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

SECOND_NS = 1_000_000_000
SLOT_NS = 10 * SECOND_NS
"""The longer, the fewer rows on a quiet host, and the more to read on a busy one: a block of 512
processes takes it 0.06 ms.
"""
BLOCK = 1024
"""So many ids, every other of which is jobd's: some 25 KiB of rows."""

LASTING_NS = 10 * SECOND_NS
"""The few that live longer have an index by pid, process_lasting, and so have those that run;
others lived soon after they began.
"""

Span = tuple[int, int]
"""Monotonic times, both included."""

WANTED_BEGUN = f"""(
        select distinct process_start_block.block
        from (
            select distinct first_ns / {SLOT_NS} as first, last_ns / {SLOT_NS} as last from temp.wanted
        ) as slots
        cross join process_start_block
            on process_start_block.boot_id = :boot_id
            and process_start_block.time_slot between slots.first and slots.last
    ) as near
    cross join process not indexed on process.id between near.block * {BLOCK} and near.block * {BLOCK} + {BLOCK - 1}
        and process.boot_id = :boot_id
    cross join temp.wanted on wanted.pid = process.pid and process.start_ns between wanted.first_ns and wanted.last_ns"""
"""What to select from, after `want`: each `process` of the boot :boot_id that bore a wanted pid and
began in one of its spans, once.
"""

_OF_WANTED = """select process.pid, process.id
    from (select distinct pid from temp.wanted) as asked
    cross join process indexed by {} on process.boot_id = :boot_id and process.pid = asked.pid and process.{}"""
_GATHER = f"""insert into temp.bearer
    select process.pid, process.id from {WANTED_BEGUN}
    union
    {_OF_WANTED.format("process_lasting", f"elapsed_ns > {LASTING_NS}")}
    union
    {_OF_WANTED.format("process_running", "elapsed_ns is null")}"""

_PLACE = f"new.boot_id, new.start_ns / {SLOT_NS}, new.id / {BLOCK}"
KNOWN = f"exists (select 1 from process_start_block as b where (b.boot_id, b.time_slot, b.block) = ({_PLACE}))"
"""Whether the process `new` is found."""
_TRIGGERS = {
    "process_begun": (
        f"after insert on process when not {KNOWN} begin insert into process_start_block values ({_PLACE}); end"
    ),
    "process_begun_else": (
        f"""after update of id, boot_id, start_ns on process
        when (new.start_ns <> old.start_ns or new.boot_id <> old.boot_id or new.id <> old.id) and not {KNOWN}
        begin insert into process_start_block values ({_PLACE}); end"""
    ),
}


def triggers() -> list[str]:
    """The statements that create every trigger."""
    return [f"create trigger {name} {body}" for name, body in _TRIGGERS.items()]


def want(connection: sqlite3.Connection, spans: Mapping[int, Sequence[Span]]) -> None:
    """Say by pid when those began that `WANTED_BEGUN` is to find."""
    connection.execute(
        """create temp table if not exists wanted
           (pid integer not null, first_ns integer not null, last_ns integer not null, primary key (pid, first_ns)) without rowid"""
    )
    connection.execute("delete from temp.wanted")
    rows = [
        (pid, *span)
        for pid, some in spans.items()
        for span in (some if len(some) == 1 else _merged(some))
    ]
    connection.executemany("insert into temp.wanted values (?, ?, ?)", rows)


def gather_bearers(
    connection: sqlite3.Connection, boot_id: int, spans: Mapping[int, Sequence[Span]]
) -> None:
    """Fill the temporary table `bearer` (pid, id) with all of a boot that lived under these pids at
    some time in their spans.

    Others that bore the pids may be in it.
    """
    want(
        connection,
        {pid: [(first - LASTING_NS, last) for first, last in some] for pid, some in spans.items()},
    )
    connection.execute(
        "create temp table if not exists bearer (pid integer, id integer, primary key (pid, id))"
        " without rowid"
    )
    connection.execute("delete from temp.bearer")
    connection.execute(_GATHER, {"boot_id": boot_id})


def forget_emptied(connection: sqlite3.Connection) -> None:
    """Let go of blocks that hold nothing any more. The caller holds a transaction."""
    connection.execute(
        f"""delete from process_start_block
            where not exists (select 1 from process where process.id between block * {BLOCK} and block * {BLOCK} + {BLOCK - 1})"""
    )


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that overlap made one."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
