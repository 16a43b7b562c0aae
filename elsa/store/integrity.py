"""Check a warehouse: is it a sound SQLite file, and do its figures agree?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from elsa.state.codes import End
from elsa.state.job_kinds import MANUAL
from elsa.store import database, job_members, process_lookup

# An end that is known otherwise may be earlier than the true one by a tick or more, and a request
# may name a process whose exit has not been read.
_ENTERED_LATE = f"""
    select count(*) from membership as m
    join process as p on p.id = m.process_id
    join job as j on j.id = m.job_id
    where m.since_ns > p.start_ns + p.elapsed_ns and j.kind <> '{MANUAL}'
        and p.end_source in ({End.EXIT:d}, {End.VANISHED:d})"""
# The writing code and the schema ensure that there is one record per process, that a process ends
# before its pid is used again, and so on. These checks find what damage to the file could break.
_CHECKS = {
    "a reference leads nowhere": "select count(*) from pragma_foreign_key_check",
    "jobs and unattributed processes do not add up to the total": (
        "select count(*) from reconciliation where difference <> 0"
    ),
    "a record is there twice": (
        "select count(*) from (select 1 from acct group by acct_file_id, position having count(*)"
        " > 1)"
    ),
    "a process entered an automatic job after its end": _ENTERED_LATE,
    "a process is not found by its start time": (
        f"select count(*) from process as new where not {process_lookup.HAS_BLOCK}"
    ),
    "a process is not found by its inherited job": job_members.LOST_INHERITED,
    "a member of a job is not found": job_members.LOST_MEMBER,
}


def faults(path: Path) -> list[str]:
    """What is wrong with a warehouse, one message each; empty if it is sound. Raises what opening
    it raises.
    """
    with database.translated(path), closing(database.open_for_reading(path)) as connection:
        results = connection.execute("pragma integrity_check(10)")
        damage = [result for (result,) in results if result != "ok"]
        if damage:
            return damage
        return [
            message for message, query in _CHECKS.items() if connection.execute(query).fetchone()[0]
        ]
