"""Saying in words how complete a report is, and why: what still runs, what has no record, what was lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from elsa.report.render import Row
from elsa.report.selection import Window

# Column of a report: what to say of so many, one or several, in the order in which it is said.
_SENTENCES = {
    "running": (
        "1 process still runs: its CPU time and faults come with its accounting record when it ends",
        "{} processes still run: their CPU time and faults come with their accounting records when they end",
    ),
    "without_record": (
        "1 process ended without an accounting record (not read yet, or lost): its CPU time and faults are unknown",
        "{} processes ended without an accounting record (not read yet, or lost): their CPU time and faults are unknown",
    ),
    "unjoined": (
        "1 accounting record is joined to no process: it is counted here, but in no job",
        "{} accounting records are joined to no process: they are counted here, but in no job",
    ),
    "uncertain": (
        "1 accounting record was joined with a doubt, since a known loss of events touches it",
        "{} accounting records were joined with a doubt, since a known loss of events touches them",
    ),
    "inferred": (
        "1 process was put in its job by inference: its line to a member was not heard",
        "{} processes were put in their jobs by inference: their lines to a member were not heard",
    ),
    "part_life": (
        "1 process was in its job for a part of its life only; the whole of its usage is charged",
        "{} processes were in their jobs for a part of their life only; the whole of their usage is charged",
    ),
    "gaps": (
        "1 known loss of events touches this: processes may be missing; see the view gaps",
        "{} known losses of events touch this: processes may be missing; see the view gaps",
    ),
}
COUNTS = tuple(_SENTENCES)


def words(sums: Mapping[str, int], gap_count: int, window: Window | None = None) -> list[str]:
    """A sentence for each thing that is missing or doubtful; none where all is well."""
    counts = {key: sums.get(key, 0) for key in COUNTS} | {"gaps": gap_count}
    if window:
        # What still runs has ended in no window, so it is not among the rows.
        counts["running"] = 0
    said = []
    for key, (one, several) in _SENTENCES.items():
        if counts[key]:
            said.append(one if counts[key] == 1 else several.format(counts[key]))
    return said


def add_up(columns: tuple[str, ...], rows: Iterable[Row]) -> dict[str, int]:
    """Sum the counting columns over rows."""
    places = [(key, columns.index(key)) for key in COUNTS if key in columns]
    sums = dict.fromkeys(COUNTS, 0)
    for row in rows:
        for key, place in places:
            sums[key] += row[place] or 0
    return sums


def gaps(connection: sqlite3.Connection, window: Window, job: int | None = None) -> int:
    """How many known losses touch a window or a whole job (without either: all of them); one at an unknown time may touch any window."""
    if job is not None and not window:
        return int(connection.execute("select gaps from job_usage where job_id = ?", (job,)).fetchone()[0])
    conditions = []
    if window.until is not None:
        conditions.append(f"(started_ns is null or started_ns < {window.until})")
    if window.since is not None:
        conditions.append(f"(ended_ns is null or ended_ns >= {window.since})")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return int(connection.execute(f"select count(*) from gaps{where}").fetchone()[0])


def cut(found: int, limit: int | None) -> list[str]:
    """Say that a limit hid rows."""
    return [f"showing {limit} of {found} rows; --limit shows more"] if limit is not None and found > limit else []


def nothing(connection: sqlite3.Connection, window: Window, job: int | None = None) -> str:
    """Why a report has no rows."""
    if not connection.execute("select exists (select 1 from process) or exists (select 1 from acct)").fetchone()[0]:
        return "nothing is recorded yet; start the collector with: elsa jobd, and read the accounting file with: elsa ingest"
    if window:
        return "no process ended in that window"
    return "no process was ever in that job" if job is not None else "no process is recorded yet"
