"""Whether a warehouse is what it should be: a sound SQLite file whose books balance."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from elsa.store import database, process_lookup

# An incarnation that ends before the next life of its pid begins, one record per incarnation and
# the like are held by the code that writes and by the schema; here is what an accident to the file
# could break.
_CHECKS = {
    "a reference leads nowhere": "select count(*) from pragma_foreign_key_check",
    "the books do not balance": "select count(*) from reconciliation where difference <> 0",
    "a record is there twice": (
        "select count(*) from (select 1 from acct group by acct_file_id, position having count(*)"
        " > 1)"
    ),
    "a process is not found by when it began": (
        f"select count(*) from process as new where not {process_lookup.KNOWN}"
    ),
}


def faults(path: Path) -> list[str]:
    """What is wrong with a warehouse, in words; nothing if it is sound. Raises what opening it
    raises.
    """
    with database.translated(path), closing(database.open_for_reading(path)) as connection:
        found = [
            row[0] for row in connection.execute("pragma integrity_check(10)") if row[0] != "ok"
        ]
        if not found:
            found = [
                words for words, query in _CHECKS.items() if connection.execute(query).fetchone()[0]
            ]
    return found
