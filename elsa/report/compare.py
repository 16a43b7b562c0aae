"""Compare runs: what jobs of one name, or of several names, cost, how that changed, and which
commands changed it.

A side is one or more runs; several runs are shown by their median and 95th percentile. Given a
single name, its last run is compared with its earlier runs. More is worse in every measure. A
change counts only if it is outside the range of the first side, of at least 5 runs, and more than
5 per cent.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, TextIO

from elsa.errors import UsageError
from elsa.report import completeness, exactness
from elsa.report.query import rollup_source, row_sums
from elsa.report.query.job_lookup import series
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, listed, select
from elsa.report.render import writer
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.state.codes import LARGEST
from elsa.text import counted, printable

COMPARED = (
    "wall_s",
    "cpu_s",
    "user_s",
    "system_s",
    "job_peak_kib",
    "rss_kib",
    "read_bytes",
    "write_bytes",
    "processes",
    "major_faults",
)
LINE_COLUMNS = (
    "measure",
    "side",
    "runs",
    "p50",
    "p95",
    "least",
    "most",
    "change_percent",
    "verdict",
)
_SHOWN = ("measure", "side", "runs", "p50", "p95", "change_percent", "verdict")
BY_COMMAND = ("command", "base_cpu_s", "new_cpu_s", "more_cpu_s", "base_processes", "new_processes")
LEAST_RUNS = 5
"""With fewer runs to compare with there is no verdict."""
_SIGNIFICANT_PERCENT = 5.0
# How many jobs a note lists.
_MOST_IDS = 10
_ALL = Selection()
_JOBS = {
    "job_id": "u.job_id",
    "name": "u.name",
    "running": "u.running",
    **{key: f"u.{key}" for key in (*COMPARED, *exactness.OF_JOBS)},
    # whether the memory of all its processes together was read at all
    "peak_was_read": "(select w.whole_kib is not null from job_whole_memory as w"
    " where w.job_id = u.job_id)",
}


class Side(NamedTuple):
    """A side of the comparison: its name and its jobs, oldest first."""

    name: str
    jobs: tuple[int, ...]


class Comparison(NamedTuple):
    """The measures of all sides, and the commands of the first side against the last side."""

    measures: Report
    commands: Report
    words: list[str]
    figures: dict[int, dict[str, Any]]
    """Of each job."""


class Sides(NamedTuple):
    """The sides, and notes on other jobs with their names."""

    sides: list[Side]
    words: list[str]


def sides(
    connection: sqlite3.Connection,
    names: Sequence[str],
    runs: int | None,
    selection: Selection = _ALL,
    *,
    gated: bool = False,
) -> Sides:
    """The sides that ids, names or globs stand for; a single name is split into its earlier runs
    and its last run. Of names and globs, the runs that started in the window and meet the
    conditions; with a gate, all of one kind, owner and host. Raises UsageError.
    """
    among = [Condition(text) for text in selection.window.where("u.created_at_ns")]
    among += selection.job_conditions
    found = [(text, *series(connection, text, among, only=gated)) for text in names]
    words = [line for _, _, said in found for line in said]
    named = [Side(text, jobs[-(runs or 0) :]) for text, jobs, _ in found]
    if len(named) > 1:
        return Sides(named, words)
    (only,) = named
    if len(only.jobs) < 2:
        if words:
            raise UsageError(
                f"{words[0]}; the first of these has a single run: write one of the others, or name"
                " a second job"
            )
        raise UsageError(
            f"{printable(only.name)} is a single job; name a second job, or a name that several"
            " runs have"
        )
    return Sides([Side("before", only.jobs[:-1]), Side("last", only.jobs[-1:])], words)


def queries(chosen: Sequence[Side]) -> list[Query]:
    """The queries of a comparison: the figures of the jobs, and CPU time by job and command."""
    jobs = tuple(number for side in chosen for number in side.jobs)
    columns = {
        "job_id": "u.job_id",
        "command": "u.command",
        "cpu_s": row_sums.sums()["cpu_s"],
        "processes": row_sums.sums()["processes"],
    }
    source = rows(Selection(jobs=jobs), columns.values(), members=True)
    usage = rollup_source.job_usage(listed(jobs))
    return [
        Query(f"{select(_JOBS)}\nfrom {usage} as u\norder by u.job_id"),
        Query(f"{select(columns)}\n{source.sql}\ngroup by u.job_id, u.command", source.values),
    ]


def compare(connection: sqlite3.Connection, chosen: Sequence[Side], output: Output) -> Comparison:
    """The sides, measure by measure, then the commands whose CPU time per run changed most."""
    of_jobs, of_commands = queries(chosen)
    figures = {row[0]: dict(zip(_JOBS, row, strict=True)) for row in of_jobs.run(connection)}
    _forget_lower_bounds(figures.values())
    measured = [line for key in COMPARED for line in _lines(key, chosen, figures, output)]
    changed = _commands(of_commands.run(connection), chosen[0], chosen[-1])
    words = _running([number for number, row in figures.items() if row["running"]])
    words += completeness.words(connection, Selection(jobs=tuple(figures)))
    words += exactness.measured(
        connection,
        tuple(_JOBS),
        [tuple(row.values()) for row in figures.values()],
        COMPARED,
        jobs=True,
    )
    words += exactness.peaks(
        tuple(_JOBS), [tuple(row.values()) for row in figures.values()], COMPARED
    )
    return Comparison(
        Report(LINE_COLUMNS, output.choose(LINE_COLUMNS, _SHOWN), measured),
        Report(BY_COMMAND, BY_COMMAND, changed[: output.limit]),
        words,
        figures,
    )


def too_few(base: Side) -> list[str]:
    """A note that there are too few runs for a verdict."""
    if len(base.jobs) >= LEAST_RUNS:
        return []
    count = counted(len(base.jobs), "run")
    return [f"no verdict: {count} to compare with; at least {LEAST_RUNS} are needed"]


def _forget_lower_bounds(figures: Collection[dict[str, Any]]) -> None:
    """Compare no peak of the largest process alone with peaks of all processes together. Where they
    were read together and had less, as jobs of one process, that of the largest is theirs.
    """
    if any(row["peak_was_read"] for row in figures):
        for row in figures:
            if row["job_peak_by"] == LARGEST and not row["peak_was_read"]:
                row["job_peak_kib"] = row["job_peak_by"] = None


def _running(jobs: list[int]) -> list[str]:
    """A note on jobs that still run."""
    if not jobs:
        return []
    ids = ", ".join(map(str, jobs[:_MOST_IDS]))
    if len(jobs) == 1:
        return [f"job {ids} still runs; its figures are preliminary"]
    more = f" and {len(jobs) - _MOST_IDS} more" if len(jobs) > _MOST_IDS else ""
    return [f"jobs {ids}{more} still run; their figures are preliminary"]


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which a part of the values is; interpolated between the two nearest."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * part
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _lines(
    key: str, chosen: Sequence[Side], figures: dict[int, dict[str, Any]], output: Output
) -> list[Row]:
    known = [
        [figures[number][key] for number in side.jobs if figures[number][key] is not None]
        for side in chosen
    ]
    lines: list[Row] = []
    for side, values in zip(chosen, known, strict=True):
        if not values:
            lines.append((key, side.name, 0, *(None,) * 6))
            continue
        middle = percentile(values, 0.5)
        base = percentile(known[0], 0.5) if known[0] and side is not chosen[0] else None
        change = None if not base else (middle - base) / base * 100
        statistics = [
            round(value, 6)
            for value in (middle, percentile(values, 0.95), min(values), max(values))
        ]
        cells: Sequence[object] = statistics
        if output.form == "table":
            cells = [_text(key, value, output) for value in statistics]
        percent = None if change is None else round(change, 6)
        enough = len(known[0]) >= LEAST_RUNS
        verdict = _verdict(middle, known[0], change) if enough else None
        lines.append((key, side.name, len(values), *cells, percent, verdict))
    return lines


def _text(key: str, value: float, output: Output) -> str:
    """A value with the unit of its measure, since each line has another unit."""
    column = COLUMNS[key]
    text = column.text(int(value) if value == int(value) else value, output.units)
    return f"{text} {column.heading_unit}".rstrip() if output.units == "auto" else text


def _verdict(middle: float, base: Sequence[float], change: float | None) -> str | None:
    if change is None:
        return None
    if middle > max(base) and change > _SIGNIFICANT_PERCENT:
        return "worse"
    return "better" if middle < min(base) and change < -_SIGNIFICANT_PERCENT else "same"


def _commands(rows: sqlite3.Cursor, base: Side, new: Side) -> list[Row]:
    """CPU seconds and processes per run on both sides by command, largest change first."""
    sums: dict[str | None, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    for job, command, cpu_s, processes in rows:
        for place, side in enumerate((base, new)):
            if job in side.jobs:
                sums[command][place] += (cpu_s or 0.0) / len(side.jobs)
                sums[command][place + 2] += processes / len(side.jobs)
    lines = [
        (command, *(round(value, 6) for value in (was, now, now - was, before, after)))
        for command, (was, now, before, after) in sums.items()
    ]
    more_cpu_s = BY_COMMAND.index("more_cpu_s")
    return sorted(lines, key=lambda line: (-abs(line[more_cpu_s]), line[0] or ""))


def write(report: Comparison, output: Output, out: TextIO) -> None:
    """Write measures, then commands. Write only the measures in formats of one table, and if the
    user chose columns.
    """
    if output.form in ("json", "jsonl") and output.columns is None:
        parts = {"measures": report.measures, "commands": report.commands}
        writer.write_parts(parts, output, out)
        return
    writer.write(report.measures, output, out)
    report.words.extend(report.measures.words)
    if output.form == "table" and output.columns is None and report.commands.rows:
        out.write("\nCPU time per run by command, largest change first:\n")
        writer.write(report.commands, output, out)
        report.words.extend(report.commands.words)
