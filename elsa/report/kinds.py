"""What the automatic jobs of each kind used, and what is in no automatic job: lines that add up to
everything on the host.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from elsa.measures import DIVIDED
from elsa.report import completeness
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, select
from elsa.report.render.output import Output
from elsa.report.render.writer import Report

UNATTRIBUTED = "unattributed"
COLUMNS = (
    *("kind", "jobs", "processes", "running", "part_life_whole"),
    *(measure.name for measure in DIVIDED),
)
_SHOWN = (
    *("kind", "jobs", "processes", "running", "elapsed_s", "user_s", "system_s", "cpu_s"),
    *("read_bytes", "write_bytes"),
)


def query(output: Output) -> tuple[Query, tuple[str, ...]]:
    """The kinds, most CPU first, what is unattributed last; and the columns to write."""
    known = {key: f"u.{key}" for key in COLUMNS}
    shown = output.choose(known, _SHOWN)
    chosen = {key: known[key] for key in dict.fromkeys((*shown, "part_life_whole"))}
    usual = f"u.kind = '{UNATTRIBUTED}', u.cpu_s desc nulls last, u.kind"
    text = f"{select(chosen)}\nfrom kind_usage as u\n{output.order(known, usual)}"
    return Query(text), shown


def kinds(connection: sqlite3.Connection, output: Output) -> Report:
    """One line per kind."""
    asked, shown = query(output)
    found = asked.run(connection)
    names = tuple(column[0] for column in found.description)
    rows = found.fetchall()
    words = completeness.words(connection, Selection())
    place = names.index("part_life_whole")
    whole = sum(row[place] or 0 for row in rows)
    if whole:
        words.append(
            f"{completeness.count(whole, 'membership')} charged for a whole process that changed"
            " its automatic job, as its counters were not read then: so much less is unattributed"
        )
    words += completeness.cut(len(rows), output.limit)
    return Report(
        names,
        shown,
        rows[: output.limit],
        words,
        completeness=partial(completeness.facts, connection, Selection()),
    )
