"""The sums of a report on the fleet, added up in PostgreSQL by the keys and hours that the report
needs, and put into the copy. All are marked as those of pruned processes, since it has no process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elsa.fleet import database
from elsa.fleet.copy import AMONG, OFFSET, Copy, Part
from elsa.fleet.hours import DAY, FIRST, LAST, whole
from elsa.fleet.ids import IDS_OF_HOST, split_ids
from elsa.fleet.numeric import storable
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB, Measure

if TYPE_CHECKING:
    from elsa.report.query.times import Window

# The keys of the tables of sums, besides host_id.
KEYS = {
    "rollup_user": ("uid", "gid", "in_job"),
    "rollup_command": ("command", "forked_only"),
    "rollup_job": ("job_id",),
    "rollup_audit": ("boot_id", "class", "before_first_start"),
}
_WITH_HOST = ("rollup_user", "rollup_command")
_MEASURES: dict[str, dict[str, Measure]] = {
    "rollup_user": ROLLED,
    "rollup_command": ROLLED,
    "rollup_job": ROLLED_OF_JOB,
    "rollup_audit": OF_AUDIT,
}
_FOLDS = {"float": "sum(t.{})", "max": "max(t.{})", "min": "min(t.{})", "union": "bit_or(t.{})"}
# A sum of bigint is numeric. As bigint it takes less time, unless it is too large.
_PLAIN, _EXACT = "sum(t.{})::bigint", "sum(t.{})"


def of_window(
    copy: Copy,
    table: str,
    keys: set[str],
    window: Window,
    needed: set[str] | None = None,
    jobs: Sequence[int] | None = None,
) -> None:
    """Copy the sums over a whole window."""
    of_parts(copy, table, keys, [whole(window)], needed, jobs)


def of_parts(
    copy: Copy,
    table: str,
    keys: set[str],
    parts: Iterable[Part],
    needed: set[str] | None = None,
    jobs: Sequence[int] | None = None,
) -> None:
    """Copy sums by some keys: those of whole days of UTC from the sums by day."""
    days, hours = [], []
    for part in parts:
        if part.first >= part.until:
            continue
        first, until = -(-part.first // DAY), part.until // DAY
        if part.first == FIRST:
            first = FIRST
        if part.until == LAST:
            until = LAST
        if table == "rollup_audit" or part.hour is None or first >= until:
            hours.append(part)
            continue
        days.append(Part(first, until, part.hour))
        if first != FIRST:
            hours.append(Part(part.first, first * DAY, part.hour))
        if until != LAST:
            hours.append(Part(until * DAY, part.until, part.hour))
    if table in _WITH_HOST:
        copy.hours_taken += hours
    of_days = table.replace("rollup_", "rollup_day_")
    _sum_ranges(copy, table, of_days, "day", days, keys, needed, jobs)
    _sum_ranges(copy, table, table, "hour", hours, keys, needed, jobs)


def of_no_hour(copy: Copy, hour: int, jobs: Sequence[int]) -> None:
    """Copy the sums of jobs that are in no hour yet, into some hour of the copy."""
    parts = [Part(0, 0, hour)]
    _sum_ranges(copy, "rollup_job", "rollup_job", None, parts, {"job_id"}, None, jobs)


def _sum_ranges(
    copy: Copy,
    table: str,
    source: str,
    column: str | None,
    ranges: list[Part],
    keys: set[str],
    needed: set[str] | None,
    jobs: Sequence[int] | None,
) -> None:
    """Copy the sums of some ranges of hours or days; without a column, those of no hour."""
    ranges = [each for each in ranges if each.first < each.until or column is None]
    if not ranges or (jobs is not None and not jobs and not copy.wanted.explain):
        return
    kept = [key for key in KEYS[table] if key in keys]
    group = [f"t.{key}" for key in kept]
    if table not in _WITH_HOST:
        group.insert(0, "t.host_id")
    elif "host_id" in keys:
        kept, group = ["host_id", *kept], ["t.host_id", *group]
    where, values = copy.of_hosts()
    hour, of_hour = _hour_of(column, ranges)
    if "t." in hour:
        group.insert(0, "1")
    where += " and t.hour is null" if column is None else f" and {_within(column, ranges)}"
    if jobs is not None:
        where += f" and {AMONG.format('job_id')}"
        values = [*values, *split_ids(jobs)]
    measures = {
        measure.rolled: measure
        for key, measure in _MEASURES[table].items()
        if needed is None or key in needed
    }
    listed = [hour, *(_offset(table, key) for key in kept)]
    grouped = f" group by {', '.join(group)}" if group else " having count(*) > 0"
    text = f"select {{}} from elsa.{source} as t where {where}{grouped}"

    def read(sums: str) -> list[tuple[Any, ...]]:
        folds = [_FOLDS.get(measure.fold, sums).format(name) for name, measure in measures.items()]
        return copy.rows(text.format(", ".join((*listed, *folds))), [*of_hour, *values])

    if copy.wanted.explain:
        read(_EXACT)
        return
    _insert(copy, table, kept, measures, read)


def _hour_of(column: str | None, ranges: list[Part]) -> tuple[str, list[Any]]:
    """SQL for the hour of the copy in which a row of a range counts, with its values."""
    if column is None or len(ranges) == 1:
        hour = ranges[0].hour
        return (f"t.{column}" if hour is None else str(hour)), []
    # A join with the ranges would compare each row with each range.
    return f"(%s::bigint[])[width_bucket(t.{column}, %s::int[])]", [
        [each.hour for each in ranges],
        [each.first for each in ranges],
    ]


def _within(column: str, ranges: list[Part]) -> str:
    """A condition that a row is of one of some ranges, which are in order."""
    joined: list[list[int]] = []
    for each in ranges:
        if joined and joined[-1][1] == each.first:
            joined[-1][1] = each.until
        else:
            joined.append([each.first, each.until])
    either = (f"t.{column} >= {first} and t.{column} < {until}" for first, until in joined)
    return f"({' or '.join(either)})"


def _insert(
    copy: Copy,
    table: str,
    kept: list[str],
    measures: Mapping[str, Measure],
    read: Callable[[str], list[tuple[Any, ...]]],
) -> None:
    too_large = database.driver().errors.NumericValueOutOfRange
    try:
        with copy.server.transaction():
            rows = read(_PLAIN)
    except too_large:
        rows = [*storable(read(_EXACT), 1 + len(kept))]
    stored = ["hour", *kept]
    if "command" in kept:
        place = stored.index("command")
        ids = dict(_commands(copy, rows, place))
        rows = [(*row[:place], ids.get(row[place]), *row[place + 1 :]) for row in rows]
        stored[place] = "comm_id"
    constant = {} if table == "rollup_audit" else {"pruned": 1}
    if table == "rollup_user" and "in_job" not in kept:
        constant["in_job"] = 0
    names = ", ".join((*constant, *stored, *measures))
    places = ", ".join("?" * (len(stored) + len(measures)))
    values = "".join(f"{value}, " for value in constant.values())
    copy.executemany(f"insert into {table} ({names}) values ({values}{places})", rows)


def _commands(copy: Copy, rows: Iterable[tuple[Any, ...]], place: int) -> Iterator[tuple[str, int]]:
    """The ids and names of the commands of some rows."""
    names = sorted({row[place] for row in rows if row[place] is not None})
    copy.executemany("insert or ignore into comm (name) values (?)", [(name,) for name in names])
    yield from copy.execute("select name, id from comm")


def _offset(table: str, key: str) -> str:
    if key in OFFSET.get(table, ()):
        return f"t.host_id * {IDS_OF_HOST} + t.{key}"
    return f't."{key}"'
