"""The SQL statements that make the tables, triggers and views of a warehouse."""

from __future__ import annotations

import sqlite3

from elsa.store import job_members, process_lookup, rollup_triggers, sql_files


def tables() -> list[str]:
    """The statements that create every table and index."""
    files = sorted((sql_files.folder("migrations") / "versions").glob("*.sql"))
    texts = (text for path in files for text in path.read_text(encoding="utf-8").split(";\n"))
    return [text for text in texts if text.strip()]


def triggers() -> list[str]:
    """The statements that create every trigger."""
    return [*rollup_triggers.triggers(), *process_lookup.triggers(), *job_members.triggers()]


def views() -> list[str]:
    """The statements that create every view, each after the views that it reads."""
    return [
        f"create view {path.stem} as\n{path.read_text(encoding='utf-8').rstrip()}"
        for path in sql_files.views()
    ]


def empty() -> sqlite3.Connection:
    """A warehouse of this version in memory, with nothing in it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (*tables(), *triggers(), *views()):
        connection.execute(statement)
    return connection
