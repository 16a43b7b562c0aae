"""Export the warehouse to files for other tools, in Parquet or JSON lines: processes and
memberships by the day on which the process ended, and jobs.

Folders are named as Hive, DuckDB and Spark read them (processes/day=2026-11-02/part.parquet); days
are UTC. A file appears only when it is complete, so an export that was stopped can be continued.
Only days that are over are written.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from elsa.errors import ElsaError, UsageError
from elsa.formats import local_time, tag_list
from elsa.measures import MEASURES
from elsa.progress import Progress
from elsa.report.jobs import COLUMNS as OF_JOBS
from elsa.report.processes import COLUMNS as OF_PROCESSES
from elsa.report.query import process_rows
from elsa.report.query.times import Window, reported
from elsa.report.query.warehouse import several_hosts
from elsa.report.render.columns import COLUMNS
from elsa.store.daily_rollups import HOURS_OF_DAY
from elsa.text import printable

# Rows that are in memory at once.
ROWS_AT_ONCE = 20_000
_NAMES = process_rows.NAMES | {"owner": "user_name(u.owner_uid)"}
_NAMES_APART = process_rows.NAMES_APART | {"owner": "owner_name(u.owner_uid, u.job_id)"}
_OF_MEMBERSHIPS = ("job_id", "process_id", "pid", "how", "since_at", "until_at")

Write = Callable[[Path, dict[str, type], Iterable[list[Any]]], None]
"""Writes batches of rows, with these columns and their types, to a path."""


class Dataset(NamedTuple):
    """A kind of rows that is exported."""

    name: str
    columns: tuple[str, ...]
    rows: str
    by_day: bool


DATASETS = (
    Dataset(
        "processes",
        tuple(key for key in OF_PROCESSES if key != "flags"),
        "process_usage as u where u.ended_hour between ? and ?",
        True,
    ),
    Dataset(
        "memberships",
        _OF_MEMBERSHIPS,
        "job_membership as u join process as p on p.id = u.process_id"
        " where p.ended_hour between ? and ?",
        True,
    ),
    Dataset("jobs", OF_JOBS, "job_usage as u", False),
)


class Written(NamedTuple):
    """What an export did."""

    files: int
    rows: int
    kept: int
    """Files that existed already."""

    @property
    def words(self) -> str:
        """The same for people."""
        return f"{self.files} files written with {self.rows} rows, {self.kept} there already"


def type_of(key: str) -> type:
    """The type of a column: str, int, float or datetime. Views return times as text."""
    column = COLUMNS.get(key)
    if column is None:
        is_time, is_text = key.endswith("_at"), key == "how"
    else:
        is_time = column.format is local_time
        is_text = column.format in (printable, tag_list)
    if is_time:
        return datetime
    if is_text:
        return str
    return float if key.endswith("_s") else int


def _types(connection: sqlite3.Connection, dataset: Dataset) -> dict[str, type]:
    """The types of a dataset's columns. Sums over a job that exceed 64 bits are floats."""
    types = {key: type_of(key) for key in dataset.columns}
    if dataset.by_day:
        return types
    sums = [key for key in MEASURES if types.get(key) is int]
    asked = ", ".join(f"max(typeof(u.{key}) = 'real')" for key in sums)
    large = connection.execute(f"select {asked} from {dataset.rows}").fetchone()
    return types | {key: float for key, is_large in zip(sums, large, strict=True) if is_large}


def export(
    connection: sqlite3.Connection,
    to: Path,
    form: str,
    window: Window,
    now_ns: int,
    progress: Progress,
    *,
    again: bool = False,
) -> Written:
    """Write missing files, or with `again` all files. Raises UsageError if pyarrow is needed and
    not installed.
    """
    write = _WRITERS[form]()
    parts: list[tuple[Dataset, int | None]] = [
        (dataset, day)
        for day in _days(connection, window, now_ns)
        for dataset in DATASETS
        if dataset.by_day
    ]
    parts += [(dataset, None) for dataset in DATASETS if not dataset.by_day]
    files = rows = kept = 0
    for number, (dataset, day) in enumerate(parts, start=1):
        path = _path(to, dataset, day, form)
        if path.exists() and day is not None and not again:
            kept += 1
        else:
            rows += _write_file(connection, dataset, day, path, write)
            files += 1
        progress(number, len(parts))
    return Written(files, rows, kept)


def _days(connection: sqlite3.Connection, window: Window, now_ns: int) -> list[int]:
    """The days (since 1970, UTC) that are over, are entirely in the window, and in which a process
    ended.
    """
    day_ns = HOURS_OF_DAY * 3600 * 10**9
    first_hour, last_hour = connection.execute(
        "select min(ended_hour), max(ended_hour) from process"
    ).fetchone()
    if first_hour is None:
        return []
    first, last = first_hour // HOURS_OF_DAY, last_hour // HOURS_OF_DAY + 1
    if window.since is not None:
        first = max(first, -(-window.since // day_ns))
    last = min(last, (now_ns if window.until is None else min(window.until, now_ns)) // day_ns)
    some = "select exists (select 1 from process where ended_hour between ? and ?)"
    return [
        day for day in range(first, last) if connection.execute(some, _hours(day)).fetchone()[0]
    ]


def _hours(day: int) -> tuple[int, int]:
    return day * HOURS_OF_DAY, day * HOURS_OF_DAY + HOURS_OF_DAY - 1


def _path(to: Path, dataset: Dataset, day: int | None, form: str) -> Path:
    if day is None:
        return to / f"{dataset.name}.{form}"
    date = f"{datetime.fromtimestamp(day * 86400, UTC):%Y-%m-%d}"
    return to / dataset.name / f"day={date}" / f"part.{form}"


def _write_file(
    connection: sqlite3.Connection,
    dataset: Dataset,
    day: int | None,
    path: Path,
    write: Write,
) -> int:
    """Write a file, completely or not at all; return the number of its rows."""
    names = _NAMES_APART if several_hosts(connection) else _NAMES
    listed = ", ".join(f'{names.get(key, reported(key))} as "{key}"' for key in dataset.columns)
    cursor = connection.execute(
        f"select {listed} from {dataset.rows}", () if day is None else _hours(day)
    )
    count = 0

    def batches() -> Iterator[list[Any]]:
        nonlocal count
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            count += len(rows)
            yield rows

    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(new, _types(connection, dataset), batches())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise ElsaError(f"{path}: {error.strerror or error}") from None
    return count


def _jsonl() -> Write:
    def machine(key: str, value: Any) -> Any:  # noqa: ANN401
        return COLUMNS[key].machine(value) if value is not None and key in COLUMNS else value

    def write(path: Path, types: dict[str, type], batches: Iterable[list[Any]]) -> None:
        with path.open("w", encoding="utf-8") as out:
            for row in itertools.chain.from_iterable(batches):
                values = {key: machine(key, value) for key, value in zip(types, row, strict=True)}
                out.write(json.dumps(values, ensure_ascii=False) + "\n")

    return write


def _parquet() -> Write:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow; install it with: pip install 'elsa-accounting[parquet]', or use"
            " --format jsonl"
        ) from None
    arrow_types = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        datetime: pa.timestamp("ms", tz="UTC"),
    }

    def moments(key: str, values: Sequence[Any]) -> Sequence[Any]:
        """Times in text as times; other values unchanged."""
        if type_of(key) is not datetime:
            return values
        return [None if value is None else datetime.fromisoformat(value) for value in values]

    def write(path: Path, types: dict[str, type], batches: Iterable[list[Any]]) -> None:
        schema = pa.schema([(key, arrow_types[type_]) for key, type_ in types.items()])
        # Opened here, since Arrow refuses paths that are not UTF-8.
        with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as out:
            for rows in batches:
                columns = zip(types, zip(*rows, strict=True), schema.types, strict=True)
                out.write_table(
                    pa.table(
                        [pa.array(moments(key, values), type_) for key, values, type_ in columns],
                        schema,
                    )
                )

    return write


_WRITERS = {"jsonl": _jsonl, "parquet": _parquet}
