#!/usr/bin/env python3
"""Writes the first migrations: migrations/versions/0001_initial.sql, the statements that create
every table and index of elsa/store/schema.py, and those of elsa/fleet/schema.py for PostgreSQL in
migrations/fleet/versions/.

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

from sqlalchemy import MetaData
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from elsa.fleet import schema as fleet
from elsa.store import schema

ROOT = Path(__file__).resolve().parent.parent

_POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
# Where the statements are, and the schema and dialect that they are for.
MIGRATIONS = {
    ROOT / "migrations/versions/0001_initial.sql": (schema.metadata, sqlite.dialect()),
    ROOT / "migrations/fleet/versions/0001_initial.sql": (fleet.metadata, _POSTGRESQL),
}
HEAD = "-- Revision 0001: every table and index. Written by scripts/schema.py (make sql).\n"
WIDTH = 100


def statements(metadata: MetaData, dialect: Dialect) -> list[str]:
    """The statements that create a schema, in its own order: each table before its indices."""
    made: list[ExecutableDDLElement] = []
    for table in metadata.tables.values():
        indices = sorted(table.indexes, key=lambda index: str(index.name))
        made += [CreateTable(table), *map(CreateIndex, indices)]
    return [str(statement.compile(dialect=dialect)) for statement in made]


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
    """Write the migrations, or with --check only report those that are not up to date."""
    status = 0
    for path, (metadata, dialect) in MIGRATIONS.items():
        made = statements(metadata, dialect)
        text = HEAD + "".join(f"\n{tidy(statement)};\n" for statement in made)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            name = path.relative_to(ROOT)
            print(f"{name} does not create the tables of its schema.py: make sql", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
