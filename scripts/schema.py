#!/usr/bin/env python3
"""Writes the first migration, migrations/versions/0001_initial.sql: the statements that create
every table and index of elsa/store/schema.py.

    scripts/schema.py [--check]

`make sql` runs it. Until the first release a change of the schema changes this migration; --check,
which `make lint` runs, reports one that was not written again. A released migration never changes:
the first release removes this script, and every later change of the schema is a new revision.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import wrap

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from elsa.store import schema

ROOT = Path(__file__).resolve().parent.parent
MIGRATION = ROOT / "migrations/versions/0001_initial.sql"
HEAD = "-- Revision 0001: every table and index. Written by scripts/schema.py (make sql).\n"
WIDTH = 100


def statements() -> list[str]:
    """The statements that create the schema, in its own order: each table before its indices."""
    made: list[ExecutableDDLElement] = []
    for table in schema.metadata.tables.values():
        indices = sorted(table.indexes, key=lambda index: str(index.name))
        made += [CreateTable(table), *map(CreateIndex, indices)]
    return [str(statement.compile(dialect=sqlite.dialect())) for statement in made]


def tidy(statement: str) -> str:
    """A statement in the style of sql/: lower case, four blanks for a tab, lines of one width."""
    text = statement.strip().expandtabs(4).replace("\n)\n", "\n)")
    text = re.sub(r"'[^']*'|\b[A-Z]+\b", lambda found: _lower(found[0]), text)
    lines: list[str] = []
    for line in text.splitlines():
        margin = " " * (len(line) - len(line.lstrip()))
        lines += wrap(
            line.strip(),
            WIDTH,
            initial_indent=margin,
            subsequent_indent=margin + "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _lower(word: str) -> str:
    return word if word.startswith("'") else word.lower()


def main() -> int:
    """Write the migration, or with --check only report that it is not up to date."""
    text = HEAD + "".join(f"\n{tidy(statement)};\n" for statement in statements())
    if "--check" not in sys.argv:
        MIGRATION.write_text(text, encoding="utf-8")
    elif not MIGRATION.exists() or MIGRATION.read_text(encoding="utf-8") != text:
        name = MIGRATION.relative_to(ROOT)
        print(f"{name} does not create elsa/store/schema.py: make sql", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
