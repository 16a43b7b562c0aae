"""Writing rows of one host to the tables of a fleet database.

Rows are inserted from arrays, one for each column, in one statement: COPY does not work with
row-level security. Callers hold a transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy.dialects import postgresql

from elsa.fleet import database, schema
from elsa.fleet.numeric import storable
from elsa.fleet.warehouse import HOURLY, Row, columns
from elsa.measures import ROLLED, ROLLED_OF_JOB, Measure
from elsa.store.aggregates import Aggregate, of_parts
from elsa.store.daily_rollups import HOURS_OF_DAY

Fleet = Any
"""A psycopg connection."""

Blocks = dict[int, tuple[int, int]]
"""How many jobs are in a block of ids, and the sum of their digests."""

_ROWS_AT_ONCE = 5000
_BLOCK_BITS = 8
_DAILY: dict[str, tuple[str, tuple[str, ...], dict[str, Measure]]] = {
    "rollup_day_user": ("rollup_user", schema.OF_USER, ROLLED),
    "rollup_day_command": ("rollup_command", schema.OF_COMMAND, ROLLED),
    "rollup_day_job": ("rollup_job", ("job_id",), ROLLED_OF_JOB),
}


def insert(fleet: Fleet, host_id: int, table: str, rows: Sequence[Row], *more: str) -> int:
    """Insert rows of the table's columns, and of `more` columns; return how many."""
    statement = _insert(table, more)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        arrays = map(list, zip(*rows[first : first + _ROWS_AT_ONCE], strict=True))
        fleet.execute(statement, [host_id, *arrays])
    return len(rows)


@cache
def _insert(table: str, more: tuple[str, ...]) -> str:
    names = (*columns(table), *more)
    known = schema.metadata.tables[f"{schema.SCHEMA}.{table}"].columns
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    arrays = ", ".join(f"%s::{known[name].type.compile(dialect=dialect)}[]" for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    return (
        f"insert into {schema.SCHEMA}.{table} (host_id, {listed})"
        f" select %s, u.* from unnest({arrays}) as u"
    )


def delete(fleet: Fleet, host_id: int, table: str, key: str, values: Collection[int]) -> None:
    """Delete the rows of a host that have one of these values in a column."""
    fleet.execute(
        f'delete from {schema.SCHEMA}.{table} where host_id = %s and "{key}" = any(%s::bigint[])',
        [host_id, list(values)],
    )


def forget(fleet: Fleet, host_id: int) -> None:
    """Delete everything of a host."""
    for name in schema.OF_HOST:
        if name != "host":
            fleet.execute(f"delete from {schema.SCHEMA}.{name} where host_id = %s", [host_id])
    fleet.execute(f"delete from {schema.SCHEMA}.host where id = %s", [host_id])


def hours(fleet: Fleet, host_id: int) -> dict[int, int]:
    """The hours whose sums are here, with their versions."""
    return dict(
        fleet.execute("select hour, made_at_ns from elsa.hour where host_id = %s", [host_id])
    )


def job_blocks(fleet: Fleet, host_id: int) -> Blocks:
    """The jobs that are here, by blocks of ids. Few differ from those of the warehouse."""
    rows = fleet.execute(
        f"select id >> {_BLOCK_BITS}, count(*), sum(digest) from elsa.job where host_id = %s"
        " group by 1",
        [host_id],
    )
    return {block: (count, int(total)) for block, count, total in rows}


def in_differing_blocks(digests: Mapping[int, int], there: Blocks) -> list[int]:
    """The jobs that may not be here as they are now, in order."""
    counts: Counter[int] = Counter()
    totals: dict[int, int] = defaultdict(int)
    for number, digest in digests.items():
        counts[number >> _BLOCK_BITS] += 1
        totals[number >> _BLOCK_BITS] += digest
    same = {block for block in counts if there.get(block) == (counts[block], totals[block])}
    return sorted(number for number in digests if number >> _BLOCK_BITS not in same)


def differing_jobs(
    fleet: Fleet, host_id: int, among: Collection[int], digests: Mapping[int, int]
) -> list[int]:
    """Those of some jobs that are not here as they are now."""
    there = dict(
        fleet.execute(
            "select id, digest from elsa.job where host_id = %s and id = any(%s::bigint[])",
            [host_id, list(among)],
        )
    )
    return [number for number in among if there.get(number) != digests[number]]


def bring_in_step(fleet: Fleet, host_id: int, table: str, rows: set[Row]) -> int:
    """Make the fleet have exactly these rows of a host in a small table; return how many it had not
    yet.
    """
    names = columns(table)
    listed = ", ".join(f'"{name}"' for name in names)
    there = set(
        fleet.execute(f"select {listed} from {schema.SCHEMA}.{table} where host_id = %s", [host_id])
    )
    # The first column is the id.
    delete(fleet, host_id, table, names[0], {row[0] for row in there - rows})
    return insert(fleet, host_id, table, sorted(rows - there))


def replace_hours(
    fleet: Fleet, host_id: int, made: Mapping[int, int], rows: Mapping[str, Sequence[Row]]
) -> None:
    """Replace the sums of some hours, given with their versions, and those of their days."""
    for table in (*HOURLY, "hour"):
        delete(fleet, host_id, table, "hour", made)
    for table in HOURLY:
        insert(fleet, host_id, table, rows[table])
    insert(fleet, host_id, "hour", list(made.items()))
    for day in sorted({hour // HOURS_OF_DAY for hour in made}):
        _sum_up_day(fleet, host_id, day)


def _sum_up_day(fleet: Fleet, host_id: int, day: int) -> None:
    """Replace the sums of a day by those of its hours that are here."""
    overflow = database.driver().errors.NumericValueOutOfRange
    for table, (of_hours, keys, measures) in _DAILY.items():
        delete(fleet, host_id, table, "day", [day])
        sums = of_parts(measures)
        select = _sums_of_day(of_hours, keys, sums)
        names = ", ".join(f'"{name}"' for name in (*keys, *sums))
        values = [day, host_id, day * HOURS_OF_DAY, (day + 1) * HOURS_OF_DAY - 1]
        try:
            with fleet.transaction():
                fleet.execute(
                    f"insert into {schema.SCHEMA}.{table} (host_id, day, {names})"
                    f" select {host_id:d}, %s, {select}",
                    values,
                )
        except overflow:
            rows = fleet.execute(f"select %s::bigint, {select}", values).fetchall()
            insert(fleet, host_id, table, [*storable(rows, len(keys) + 1)])


@cache
def _sums_text(keys: tuple[str, ...], folds: tuple[tuple[str, str], ...]) -> str:
    return ", ".join((*keys, *(Aggregate(*fold).plain for fold in folds)))


def _sums_of_day(table: str, keys: tuple[str, ...], sums: Mapping[str, Aggregate]) -> str:
    listed = _sums_text(keys, tuple(sums.values()))
    return (
        f"{listed} from {schema.SCHEMA}.{table} where host_id = %s and hour between %s and %s"
        f" group by {', '.join(keys)}"
    )
