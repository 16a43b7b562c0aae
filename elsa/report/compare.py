"""Runs compared: what jobs of one name, or one job and another, cost, how that changed, and through
which commands.

A side is one or more runs; of several there are the median and the 95th percentile. With one name
given, its last run stands against those before it. More is worse in every measure; a change counts
only if it leaves the range of the first side by more than 5 per cent.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

from elsa.errors import UsageError
from elsa.report import completeness
from elsa.report.query import sums as measures
from elsa.report.query.selection import Selection, job_ids
from elsa.report.query.statement import THESE, Query, rows, select
from elsa.report.render import writer
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.text import printable

COMPARED = (
    "wall_s",
    "cpu_s",
    "user_s",
    "system_s",
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
_WORTH = 5.0
"""Per cent."""
_LISTED = 10
_AMONG = f"u.job_id in ({THESE})"
_JOBS = {
    "job_id": "u.job_id",
    "name": "u.name",
    "running": "u.running",
    **{key: f"u.{key}" for key in (*COMPARED, *completeness.MEASURED)},
}


class Side(NamedTuple):
    """What stands on one side: its name, and the jobs, the oldest first."""

    name: str
    jobs: tuple[int, ...]


class Comparison(NamedTuple):
    """Measures of all sides, and commands of the first against the last."""

    measures: Report
    commands: Report
    words: list[str]


def sides(connection: sqlite3.Connection, names: Sequence[str], runs: int | None) -> list[Side]:
    """What is meant by ids, names or globs: of one the last run against those before it. Raises
    UsageError.
    """
    found = [Side(text, tuple(job_ids(connection, text))[-(runs or 0) :]) for text in names]
    if len(found) > 1:
        return found
    (only,) = found
    if len(only.jobs) < 2:
        raise UsageError(
            f"{printable(only.name)} is a single job; name a second one, or a name that several"
            " runs bear"
        )
    return [Side("before", only.jobs[:-1]), Side("last", only.jobs[-1:])]


def queries(chosen: Sequence[Side]) -> list[Query]:
    """What is asked: the figures of the jobs, and CPU time by job and command."""
    jobs = tuple(number for side in chosen for number in side.jobs)
    ids = (json.dumps(jobs),)
    columns = {
        "job_id": "u.job_id",
        "command": "u.command",
        "cpu_s": measures.sums()["cpu_s"],
        "processes": measures.sums()["processes"],
    }
    source = rows(Selection(jobs=jobs), columns.values(), members=True)
    return [
        Query(f"{select(_JOBS)}\nfrom job_usage as u\nwhere {_AMONG}\norder by u.job_id", ids),
        Query(f"{select(columns)}\n{source.sql}\ngroup by u.job_id, u.command", source.values),
    ]


def compare(connection: sqlite3.Connection, chosen: Sequence[Side], output: Output) -> Comparison:
    """The sides, measure by measure, then the commands whose CPU time per run changed most."""
    of_jobs, of_commands = queries(chosen)
    figures = {row[0]: dict(zip(_JOBS, row, strict=True)) for row in of_jobs.run(connection)}
    told = [line for key in COMPARED for line in _lines(key, chosen, figures, output)]
    changed = _commands(of_commands.run(connection), chosen[0], chosen[-1])
    running = [str(number) for number, row in figures.items() if row["running"]]
    words = (
        [f"job {', '.join(running)} still runs, so its figures are not the last word"]
        if running
        else []
    )
    words += completeness.words(connection, Selection(jobs=tuple(figures)))
    words += completeness.measured(
        connection,
        tuple(_JOBS),
        [tuple(row.values()) for row in figures.values()],
        COMPARED,
        jobs=True,
    )
    shown = output.choose(LINE_COLUMNS, _SHOWN)
    return Comparison(
        Report(LINE_COLUMNS, shown, told),
        Report(
            BY_COMMAND,
            BY_COMMAND,
            (
                changed[: output.limit or _LISTED]
                if output.form == "table"
                else changed[: output.limit]
            ),
        ),
        words,
    )


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which a part of all lies, between the two nearest in proportion."""
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
    found: list[Row] = []
    for side, values in zip(chosen, known, strict=True):
        if not values:
            found.append((key, side.name, 0, *(None,) * 6))
            continue
        middle = percentile(values, 0.5)
        base = percentile(known[0], 0.5) if known[0] and side is not chosen[0] else None
        change = None if not base else (middle - base) / base * 100
        statistics = [
            round(value, 6)
            for value in (middle, percentile(values, 0.95), min(values), max(values))
        ]
        texts = [
            _text(key, value, output) if output.form == "table" else value for value in statistics
        ]
        found.append(
            (
                key,
                side.name,
                len(values),
                *texts,
                None if change is None else round(change, 6),
                _verdict(middle, known[0], change),
            )
        )
    return found


def _text(key: str, value: float, output: Output) -> str:
    """A value in the unit of its measure, which differs from line to line."""
    column = COLUMNS[key]
    text = column.text(int(value) if value == int(value) else value, output.units)
    return f"{text} {column.unit}".rstrip() if output.units == "auto" else text


def _verdict(middle: float, base: Sequence[float], change: float | None) -> str | None:
    if change is None:
        return None
    if middle > max(base) and change > _WORTH:
        return "worse"
    return "better" if middle < min(base) and change < -_WORTH else "same"


def _commands(found: sqlite3.Cursor, base: Side, new: Side) -> list[Row]:
    """CPU seconds and processes per run on either side, what changed most first."""
    sums: dict[str | None, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    for job, command, cpu_s, processes in found:
        for place, side in enumerate((base, new)):
            if job in side.jobs:
                sums[command][place] += (cpu_s or 0.0) / len(side.jobs)
                sums[command][place + 2] += processes / len(side.jobs)
    lines = [
        (command, was, now, now - was, before, after)
        for command, (was, now, before, after) in sums.items()
    ]
    return sorted(
        ((line[0], *(round(value, 6) for value in line[1:])) for line in lines),
        key=lambda line: (-abs(line[3]), line[0] or ""),
    )


def write(report: Comparison, output: Output, out: TextIO) -> None:
    """Measures, then commands; where one file is one table the measures alone, and so with columns
    of one's own choice.
    """
    if output.form in ("json", "jsonl") and output.columns is None:
        parts = {"measures": report.measures, "commands": report.commands}
        found = {
            name: [writer.as_object(part.columns, row) for row in part.rows]
            for name, part in parts.items()
        }
        out.write(writer.as_json(found, indent=2 if output.form == "json" else None) + "\n")
        return
    writer.write(report.measures, output, out)
    report.words.extend(report.measures.words)
    if output.form == "table" and output.columns is None and report.commands.rows:
        out.write("\nCPU time per run by command, what changed most first:\n")
        writer.write(report.commands, output, out)
        report.words.extend(report.commands.words)
