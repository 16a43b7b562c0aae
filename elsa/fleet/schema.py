"""The tables of a fleet database, in the PostgreSQL schema `elsa`: those of the warehouse
(elsa/store/schema.py) that a host pushes, with the same columns and the id of the host.

Ids of boots, clocks, jobs and so on are those of the host's own warehouse, and unique with
host_id. Ids of texts are replaced by the texts. As in the warehouse, sums of any size are
stored: several rows of a key add up.

Each table but `host` and the tariffs has the column host_id, which row-level security compares
(elsa/fleet/migrate.py). Tables of sums have no foreign key to host, whose check would take longer
than inserting the row.

A host that was broken into writes what it likes into its rows. Constraints refuse what would make
the reports on all hosts fail: times without a date, and figures whose sum no report can hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import REAL, TypeEngine

from elsa.fleet.ids import IDS_OF_HOST
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB, Measure
from elsa.store import aggregates
from elsa.store import schema as warehouse

SCHEMA = "elsa"
metadata = MetaData(schema=SCHEMA)

# The warehouse's columns that hold the id of a text, and the column with the text itself.
TEXTS = {
    ("job", "cgroup_id"): ("cgroup", "long_text", "value"),
    ("gap", "acct_file_id"): ("acct_file", "acct_file", "path"),
}
OF_USER = ("uid", "gid", "in_job")
OF_COMMAND = ("command", "forked_only")
OF_CLASS = ("boot_id", "class", "before_first_start")


_TIME = 2**62 - 1
"""The latest time in ns, in the year 2116; with an offset of this size it still fits 64 bits."""
_HOUR = _TIME // (3600 * 10**9)
_COUNT = 10**12
_FIGURE = 10**17
_UNSIGNED = 2**32 - 1
_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("hour", "since_hour", "until_hour", "pruned_hour"), (0, _HOUR)),
    "day": (0, _HOUR // 24),
    **dict.fromkeys(("uid", "gid", "owner_uid"), (0, _UNSIGNED)),
    **dict.fromkeys(("boot_id", "job_id"), (0, IDS_OF_HOST - 1)),
    "minutes": (0, 2**60 - 1),
    "lost": (0, _COUNT),
}
"""What columns may hold, by name."""
_UNBOUND = ("digest", "cgroup_inode")


def _bounds(column: Column[Any], fold: str | None) -> tuple[float, float] | None:
    """What a column may hold; `fold` is how its values are added up, if they are sums."""
    if column.name in _BOUNDS:
        return _BOUNDS[column.name]
    if isinstance(column.type, DOUBLE_PRECISION):
        return -1e200, 1e200  # refuses infinity and NaN too
    # Sums of any size are added up exactly.
    exact = fold == "sum" or column.name in ("host_id", *_UNBOUND)
    if exact or not isinstance(column.type, BigInteger):
        return None
    if fold == "number":
        return 0, _COUNT
    most = _TIME if column.name.endswith("_ns") else _FIGURE
    return (0, IDS_OF_HOST - 1) if column.name == "id" else (-most, most)


def _bound(table: Table, folds: Mapping[str, str] | None = None) -> Table:
    """The table, with a constraint that its columns have possible values."""
    conditions = [
        f'"{column.name}" between {bounds[0]} and {bounds[1]}'
        for column in table.columns
        if (bounds := _bounds(column, (folds or {}).get(column.name))) is not None
    ]
    if conditions:
        table.append_constraint(
            CheckConstraint(" and ".join(conditions), name=f"{table.name}_possible")
        )
    return table


def _host_id(*, key: bool = False, checked: bool = True) -> Column[int]:
    of_host = (ForeignKey(f"{SCHEMA}.host.id", ondelete="cascade"),) if checked else ()
    return Column(
        "host_id", BigInteger, *of_host, primary_key=key, nullable=False, autoincrement=False
    )


def _type(column: Column[Any]) -> TypeEngine[Any]:
    """The column's type in PostgreSQL, whose REAL has half the digits of SQLite's."""
    if isinstance(column.type, REAL):
        return DOUBLE_PRECISION()
    if isinstance(column.type, BigInteger):
        return BigInteger()
    return Integer() if isinstance(column.type, Integer) else Text()


def _columns(name: str) -> Iterator[Column[Any]]:
    """The columns of one of the warehouse's tables, without its host_id."""
    for column in warehouse.metadata.tables[name].columns:
        if column.name == "host_id":
            continue
        if (name, column.name) in TEXTS:
            yield Column(TEXTS[name, column.name][0], Text)
            continue
        yield Column(
            column.name,
            _type(column),
            primary_key=column.primary_key,
            nullable=column.nullable,
            autoincrement=False,
        )


def _copied(name: str, *more: SchemaItem) -> Table:
    return _bound(Table(name, metadata, _host_id(key=True), *_columns(name), *more))


host = Table(
    "host",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("machine_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    # the PostgreSQL role that pushes this host; row-level security compares it with current_user
    Column("role", Text, nullable=False, server_default=text("current_user")),
    Column("version", Text, nullable=False),  # of ELSA, at the last push
    # real, by the clock of the server: when a push last came to its end
    Column("pushed_at_ns", BigInteger),
    # the first hour with sums; and the hour before which everything that the host's warehouse has
    # is here, as of the last push
    Column("since_hour", Integer),
    Column("until_hour", Integer),
    # hours before it are here only in the sums of days, of jobs and of the audit, and no push
    # changes them (elsa fleet prune)
    Column("pruned_hour", Integer),
    # real, by the clock of the host, as of the last push: since when jobd was silent, and since
    # when no accounting record was read although jobd ran; NULL: it was not so
    Column("silent_since_ns", BigInteger),
    Column("unread_since_ns", BigInteger),
)
_bound(host)

hour = Table(
    "hour",  # which version of an hour's sums is here
    metadata,
    _host_id(key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("made_at_ns", BigInteger, nullable=False),  # rollup_hour.made_at_ns of the host
)
_bound(hour)

boot = _copied("boot")
clock = _copied("clock")
collector = _copied("collector")
gap = _copied("gap")
job = _copied(
    "job",
    # of the job with its tags, counters and unsettled sums: push sends what differs
    Column("digest", BigInteger, nullable=False),
)
job_tag = _copied("job_tag", Index("job_tag_key", "key", "value"))
job_cgroup = _copied("job_cgroup")
account = Table(
    "account",  # the names that users and groups have at a host
    metadata,
    _host_id(key=True),
    Column("kind", Text, primary_key=True),  # user, group
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
)

_KEY_TYPES: dict[str, type[TypeEngine[Any]]] = {
    **dict.fromkeys(("uid", "gid", "boot_id", "job_id"), BigInteger),
    **dict.fromkeys(("in_job", "forked_only", "before_first_start"), Integer),
    **dict.fromkeys(("command", "class"), Text),
}
_REQUIRED = ("in_job", "job_id", "class")


def _sums(
    name: str, time: str, keys: tuple[str, ...], measures: dict[str, Measure], *more: SchemaItem
) -> Table:
    """Sums by host, time and keys. A report on the fleet reads a range of time of all hosts."""
    table = Table(
        name,
        metadata,
        _host_id(checked=False),
        # NULL: of a job, what is in no hour that is here, processes that still run included
        Column(time, Integer, nullable=name == "rollup_job"),
        *(Column(key, _KEY_TYPES[key], nullable=key not in _REQUIRED) for key in keys),
        *(
            Column(column, DOUBLE_PRECISION if column in aggregates.REAL else BigInteger)
            for column in aggregates.columns(measures)
        ),
        Index(f"{name}_{time}", time, "host_id"),
        *more,
    )
    return _bound(table, {of: sum_.fold for of, sum_ in aggregates.of_parts(measures).items()})


rollup_user = _sums("rollup_user", "hour", OF_USER, ROLLED)
rollup_command = _sums("rollup_command", "hour", OF_COMMAND, ROLLED)
rollup_job = _sums(
    *("rollup_job", "hour", ("job_id",), ROLLED_OF_JOB),
    Index("rollup_job_job", "host_id", "job_id"),
)
rollup_audit = _sums("rollup_audit", "hour", OF_CLASS, OF_AUDIT)
rollup_day_user = _sums("rollup_day_user", "day", OF_USER, ROLLED)
rollup_day_command = _sums("rollup_day_command", "day", OF_COMMAND, ROLLED)
rollup_day_job = _sums(
    *("rollup_day_job", "day", ("job_id",), ROLLED_OF_JOB),
    Index("rollup_day_job_job", "host_id", "job_id"),
)

tariff = Table("tariff", metadata, *_columns("tariff"))
tariff_factor = Table("tariff_factor", metadata, *_columns("tariff_factor"))

setting = Table(
    "setting",  # what holds for the whole site (elsa fleet settings)
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

OF_TARIFFS = ("tariff", "tariff_factor")
OF_SITE = (*OF_TARIFFS, "setting")
"""The tables that belong to no host."""
OF_HOST = tuple(name for table in metadata.tables.values() if (name := table.name) not in OF_SITE)
"""The tables that hosts write, each its own rows."""
