"""What a push reads from the warehouse of a host: rows as the tables of the fleet have them.

The caller holds a read transaction, so that all rows belong to one state of the warehouse.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple

from elsa.errors import ConfigError
from elsa.fleet import schema
from elsa.measures import ROLLED_OF_JOB
from elsa.store import rollups
from elsa.store.aggregates import columns as sums_of
from elsa.store.sums import summed

Row = tuple[Any, ...]

HOURLY = ("rollup_user", "rollup_command", "rollup_job", "rollup_audit")
SMALL = ("boot", "clock", "collector", "gap")
"""The tables that are compared row by row."""

_FROM_TEXT = "(select x.{} from {} as x where x.id = t.{})"
_COMMAND = _FROM_TEXT.format("name", "comm", "comm_id")


def columns(table: str) -> tuple[str, ...]:
    """The columns of a table of the fleet, but for the id of the host."""
    found = schema.metadata.tables[f"{schema.SCHEMA}.{table}"].columns
    return tuple(column.name for column in found if column.name not in ("host_id", "digest"))


_BOOTS = "(select b.id from boot as b where b.host_id = :host)"
_ALONE = "(select count(*) from host) = 1"
_OF_JOB = f"t.job_id in (select j.id from job as j where j.boot_id in {_BOOTS})"
# Which rows are the host's. Other hosts are in a warehouse if their accounting files were read
# there; the audit does not know of which host a record without a process is.
_OF_HOST = {
    **dict.fromkeys(("rollup_user", "rollup_command", "boot"), "t.host_id = :host"),
    **dict.fromkeys(("clock", "collector", "job"), f"t.boot_id in {_BOOTS}"),
    **dict.fromkeys(("rollup_job", "job_tag", "job_cgroup"), _OF_JOB),
    "rollup_audit": f"(t.boot_id in {_BOOTS} or t.boot_id is null and {_ALONE})",
    "gap": f"""(t.boot_id in {_BOOTS}
        or t.acct_file_id in (select f.id from acct_file as f where f.host_id = :host)
        or coalesce(t.boot_id, t.acct_file_id) is null and {_ALONE})""",
}


def _select(table: str) -> str:
    """A select from the warehouse of the columns that the fleet has."""
    texts = {
        new: _FROM_TEXT.format(value, of, column)
        for (name, column), (new, of, value) in schema.TEXTS.items()
        if name == table
    } | {"command": _COMMAND}
    listed = ", ".join(texts.get(name, f't."{name}"') for name in columns(table))
    return f"select {listed} from {table} as t where {_OF_HOST[table]}"


SELECT = {name: _select(name) for name in (*HOURLY, *SMALL, "job", "job_tag", "job_cgroup")}
"""For each table, a select of what the fleet has of it of the host `:host`, from it as `t`."""
_HOURS = "select value from json_each(:hours)"


class Host(NamedTuple):
    """The host of a warehouse that is pushed."""

    id: int
    machine_id: str
    name: str


class Jobs(NamedTuple):
    """What the fleet has of jobs besides the sums of hours."""

    digests: dict[int, int]
    """Of each job: a number that changes with any row of it."""
    tags: dict[int, list[Row]]
    cgroups: dict[int, list[Row]]
    unsettled: dict[int, list[Row]]
    """Sums of what is in no hour of the fleet, as rows of rollup_job without an hour."""


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything that is read in the block belongs to one state of the warehouse."""
    connection.execute("begin")
    try:
        yield
    finally:
        connection.execute("rollback")


def host(connection: sqlite3.Connection) -> Host:
    """The only host of the warehouse with a machine id. Raises ConfigError."""
    rows = connection.execute("select id, machine_id, name from host order by id").fetchall()
    if not rows:
        raise ConfigError("nothing to push: neither jobd nor the ingester has stored anything yet")
    known = [Host(*row) for row in rows if row[1]]
    if len(known) > 1:
        names = ", ".join(sorted(one.name for one in known)[:5])
        raise ConfigError(
            f"the warehouse has {len(known)} hosts ({names}); only that of one host can be pushed,"
            " so give each host a warehouse"
        )
    if not known:
        raise ConfigError(
            f"the host {rows[0][2]} has no machine id, by which a fleet knows it; run"
            " systemd-machine-id-setup on it, and restart jobd"
        )
    return known[0]


def hours(connection: sqlite3.Connection) -> dict[int, int]:
    """The versions of the sums of all hours that are ready."""
    return dict(
        connection.execute("select hour, coalesce(made_at_ns, 0) from rollup_hour where ready = 1")
    )


def unready_hours(connection: sqlite3.Connection) -> list[int]:
    """The hours in which something ended and that are not rolled up."""
    return [hour for (hour,) in connection.execute("select hour from hour_without_rollup")]


def pruned_hours(connection: sqlite3.Connection) -> set[int]:
    """The hours of which sums were deleted."""
    return {hour for (hour,) in connection.execute("select hour from rollup_pruned")}


def sums(
    connection: sqlite3.Connection, host: Host, table: str, of_hours: Iterable[int]
) -> list[Row]:
    """The rows of a table of sums in some hours, which are ready."""
    return connection.execute(
        f"{SELECT[table]} and t.hour in ({_HOURS})",
        {"host": host.id, "hours": json.dumps(list(of_hours))},
    ).fetchall()


def small(connection: sqlite3.Connection, host: Host, table: str) -> set[Row]:
    """All rows of a small table."""
    return set(connection.execute(SELECT[table], {"host": host.id}))


def accounts(connection: sqlite3.Connection, host: Host) -> set[tuple[str, int]]:
    """All users and groups that have sums or jobs: the kind, and the id."""
    return set(
        connection.execute(
            f"""with owner as materialized (
                select t.uid, t.gid from rollup_day_user as t where {_OF_HOST["rollup_user"]}
                union select t.uid, t.gid from rollup_user as t where {_OF_HOST["rollup_user"]}
                    and t.hour in (select h.hour from hour_without_day as h))
            select 'user', o.uid from owner as o where o.uid is not null
            union select 'group', o.gid from owner as o where o.gid is not null
            union select 'user', t.owner_uid from job as t where {_OF_HOST["job"]}""",
            {"host": host.id},
        )
    )


def jobs(connection: sqlite3.Connection, host: Host, known_hours: set[int]) -> Jobs:
    """All jobs of a host. `known_hours` are those whose sums the fleet has, in any version."""
    values = {"host": host.id}
    tags = _by_job(connection.execute(f"{SELECT['job_tag']} order by t.job_id, t.key", values))
    cgroups = _by_job(connection.execute(SELECT["job_cgroup"], values))
    unsettled = _by_job(_unsettled(connection, known_hours))
    digests = {}
    for row in connection.execute(SELECT["job"], values):
        number = row[0]
        told = (row, tags.get(number), cgroups.get(number), unsettled.get(number))
        digest = blake2b(repr(told).encode(), digest_size=8).digest()
        digests[number] = int.from_bytes(digest) >> 1
    return Jobs(digests, tags, cgroups, unsettled)


def job_rows(connection: sqlite3.Connection, host: Host, numbers: Iterable[int]) -> list[Row]:
    """The rows of some jobs."""
    return connection.execute(
        f"{SELECT['job']} and t.id in (select value from json_each(:numbers))",
        {"host": host.id, "numbers": json.dumps(list(numbers))},
    ).fetchall()


def _by_job(rows: Iterable[Row]) -> dict[int, list[Row]]:
    of_job: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        of_job[row[0]].append(row)
    return dict(of_job)


def _unsettled(connection: sqlite3.Connection, known_hours: set[int]) -> Iterator[Row]:
    """Rows of rollup_job, the job first, with sums over what is in no hour that the fleet has:
    members that run, and what ended or was used in an hour that is not ready.
    """
    open_hours = [hour for hour in unready_hours(connection) if hour not in known_hours]
    values = {"hours": json.dumps(open_hours)}
    end, intervals = rollups.PARTS[rollups.USED_IN_JOBS]
    parts = [
        (end, "u.until_ns is null and u.ended_hour is null"),
        *((end, condition) for condition in rollups.chosen(end, _HOURS)),
        *((intervals, condition) for condition in rollups.chosen(intervals, _HOURS)),
    ]
    measures = sums_of(ROLLED_OF_JOB)
    for view, condition in parts:
        source = f"from {view} as u where {condition} group by u.job_id"
        yield from summed(connection, ["u.job_id"], measures, source, values)
    # Sums of pruned processes whose hour was not rolled up again since.
    listed = ", ".join(f"t.{name}" for name in measures)
    for hour, *row in connection.execute(
        f"select t.hour, t.job_id, {listed} from rollup_job as t where t.pruned = 1"
        " and t.hour not in (select h.hour from rollup_hour as h where h.ready = 1)"
    ):
        if hour not in known_hours:
            yield tuple(row)
