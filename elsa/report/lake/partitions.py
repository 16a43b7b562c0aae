"""Write the history of a warehouse into a lake (`elsa db export --partition`): Parquet files by day
and host, of many hosts in one folder.

A day's files have what ended, left a job or was used on it (UTC), once the day is over. A rerun
replaces what has changed since, and deletes what is no longer in the warehouse, unless it was
pruned there: the lake keeps what a host has pruned. What is in no whole day yet is in files of
their own, whose day is NULL, if it is asked for: each run replaces or deletes them.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from elsa.errors import ConfigError
from elsa.progress import Progress
from elsa.report.about_warehouse import identity
from elsa.report.lake import datasets
from elsa.report.lake.datasets import Dataset
from elsa.report.query.times import Window
from elsa.store.daily_rollups import HOURS_OF_DAY
from elsa.store.rollups import first_unsettled
from elsa.units import HOUR_NS

if TYPE_CHECKING:
    from elsa.report.lake.target import Target  # it needs pyarrow

# Rows that are in memory as Python objects at once.
_ROWS_AT_ONCE = 20_000
_DAY_NS = HOURS_OF_DAY * HOUR_NS
NO_DAY = "__HIVE_DEFAULT_PARTITION__"
"""The value in the name of a folder that stands for NULL."""
_EVERY_HOUR = """
    select min(hour), max(hour) from (
        select min(ended_hour) as hour from process union all select max(ended_hour) from process
        union all select min(left_hour) from membership where left_hour is not null
        union all select max(left_hour) from membership where left_hour is not null
        union all select min(hour) from usage_reading union all select max(hour) from usage_reading
        union all select min(ended_hour) from acct where process_id is null and join_outcome <> 3
        union all select max(ended_hour) from acct where process_id is null and join_outcome <> 3
    )"""
_UIDS = """
    select p.uid from process as p join boot as b on b.id = p.boot_id where b.host_id = :host
    union select a.uid from acct as a join acct_file as f on f.id = a.acct_file_id
        where f.host_id = :host
    union select j.owner_uid from job as j join boot as b on b.id = j.boot_id
        where b.host_id = :host"""


class Exported(NamedTuple):
    """How many files an export wrote, left as they were, deleted, and left alone since processes of
    their day were pruned in the warehouse.
    """

    written: int = 0
    unchanged: int = 0
    deleted: int = 0
    pruned: int = 0
    rows: int = 0
    """Rows of the files that were written."""

    @property
    def words(self) -> str:
        """The same for people."""
        counts = {
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "kept of days that were pruned here": self.pruned,
        }
        more = "".join(f", {count} {what}" for what, count in counts.items() if count)
        return f"{self.written} files written with {self.rows} rows{more}"


class _Host(NamedTuple):
    id: int
    machine_id: str | None
    name: str

    def path(self, dataset: Dataset, day: str | None = None) -> str:
        date = f"/day={day}" if dataset.by_day else ""
        return f"{dataset.name}{date}/{_folder_name(self.name)}/part.parquet"

    @property
    def registered(self) -> str:
        """The file that says under which name the folder knows a machine."""
        return f"hosts/{quote(self.machine_id or self.name, safe='')}.parquet"

    @property
    def about(self) -> dict[str, str]:
        return {"elsa.host": self.name, "elsa.machine_id": self.machine_id or ""}


def export(
    connection: sqlite3.Connection,
    folder: Target,
    window: Window,
    now_ns: int,
    progress: Progress,
    *,
    unfinished: bool = False,
) -> Exported:
    """Write each whole day of the window, for each host of the warehouse; with `unfinished` also
    what is in no whole day yet. Raises ConfigError if the folder has other data of such a host.
    """
    hosts = [
        _Host(*row)
        for row in connection.execute("select id, machine_id, name from host order by id")
    ]
    for host in hosts:
        _check(connection, folder, host, hosts)
    work = _Export(connection, folder)
    for dataset in datasets.OF_HOST:
        work.write_columns(dataset)
    first, last = connection.execute(_EVERY_HOUR).fetchone()
    if first is None:
        return work.done
    first_open = first_unsettled(now_ns) // HOURS_OF_DAY
    days = _days(window, range(first // HOURS_OF_DAY, min(last // HOURS_OF_DAY + 1, first_open)))
    steps = len(hosts) * (len(days) + 1)
    for number, host in enumerate(hosts):
        for dataset in datasets.BY_DAY:
            # Before the days: no row may be in two files.
            work.delete(host.path(dataset, NO_DAY))
        for place, day in enumerate(days, start=number * (len(days) + 1) + 1):
            work.write_day(host, day)
            progress(place, steps)
        if unfinished:
            work.write_unfinished(host, range(first_open * HOURS_OF_DAY, last + 1))
        work.write_host(host)
        progress((number + 1) * (len(days) + 1), steps)
    return work.done


class _Export:
    """Writes files, and counts them."""

    def __init__(self, connection: sqlite3.Connection, folder: Target) -> None:
        self._connection = connection
        self._folder = folder
        # Pruning deletes the oldest first, so of these days and those before there may be only a
        # part left.
        (hour,) = connection.execute(
            "select max(hour) from rollup_user where pruned = 1"
        ).fetchone()
        self._last_pruned = -1 if hour is None else hour // HOURS_OF_DAY
        self.done = Exported()

    def write_columns(self, dataset: Dataset) -> None:
        """Write a file without rows, so that each dataset has a file and each column of it a type,
        whatever the hosts have and however old their ELSA is.
        """
        columns = _columns(dataset)
        key = hashlib.sha256(repr(sorted(columns.items(), key=str)).encode()).hexdigest()[:12]
        date = f"/day={NO_DAY}" if dataset.by_day else ""
        self._folder.write(
            f"{dataset.name}{date}/host={NO_DAY}/columns-{key}.parquet", columns, (), {}
        )

    def write_day(self, host: _Host, day: int) -> None:
        """Write the files of a whole day."""
        date = f"{datetime.fromtimestamp(day * 86400, UTC):%Y-%m-%d}"
        hours = range(day * HOURS_OF_DAY, (day + 1) * HOURS_OF_DAY)
        for dataset in datasets.BY_DAY:
            path = host.path(dataset, date)
            if day <= self._last_pruned and self._folder.metadata(path) is not None:
                self.done = self.done._replace(pruned=self.done.pruned + 1)
            else:
                self._write_rows(host, dataset, path, hours, running=False)

    def write_unfinished(self, host: _Host, hours: range) -> None:
        """Write the files of what is in no whole day yet."""
        for dataset in datasets.BY_DAY:
            self._write_rows(host, dataset, host.path(dataset, NO_DAY), hours, running=True)

    def write_host(self, host: _Host) -> None:
        """Write the files that have no day."""
        self._write(host, datasets.JOBS, self._batches([datasets.OF_JOBS], {"host": host.id}))
        uids = self._connection.execute(
            f"select uid, user_name(uid, :host) from ({_UIDS}) where uid is not null order by uid",
            {"host": host.id},
        ).fetchall()
        named = [(uid, None if name == str(uid) else name) for uid, name in uids]
        self._write(host, datasets.USERS, [named] if named else [])
        self._folder.write(
            host.registered,
            _columns(datasets.HOSTS),
            [[(host.name, host.machine_id)]],
            host.about | {"elsa.warehouse": identity(self._connection)},
        )

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        self.done = self.done._replace(deleted=self.done.deleted + self._folder.delete(path))

    def _write_rows(
        self, host: _Host, dataset: Dataset, path: str, hours: range, *, running: bool
    ) -> None:
        values = {f"hour{place}": hour for place, hour in enumerate(hours)} | {"host": host.id}
        queries = datasets.queries(dataset, hours=len(hours), running=running)
        batches = self._batches(queries, values)
        first = next(batches, None)
        if first is None:
            self.delete(path)
        else:
            self._write(host, dataset, itertools.chain([first], batches), path)

    def _batches(self, queries: Iterable[str], values: dict[str, int]) -> Iterator[list[Any]]:
        for query in queries:
            cursor = self._connection.execute(query, values)
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                yield rows

    def _write(
        self, host: _Host, dataset: Dataset, batches: Iterable[list[Any]], path: str | None = None
    ) -> None:
        rows = 0

        def counted() -> Iterator[list[Any]]:
            nonlocal rows
            for batch in batches:
                rows += len(batch)
                yield batch

        where = path or host.path(dataset)
        if self._folder.write(where, _columns(dataset), counted(), host.about):
            self.done = self.done._replace(
                written=self.done.written + 1, rows=self.done.rows + rows
            )
        else:
            self.done = self.done._replace(unchanged=self.done.unchanged + 1)


def _check(
    connection: sqlite3.Connection, folder: Target, host: _Host, hosts: Iterable[_Host]
) -> None:
    """Refuse to mix data of two hosts, or of two warehouses of a host: ids would clash, and files
    of one would replace those of the other.
    """
    if [other.name for other in hosts].count(host.name) > 1:
        raise ConfigError(
            f"two hosts of this warehouse are called {host.name!r}; files by host need different"
            " names"
        )
    here = folder.metadata(host.path(datasets.JOBS))
    if here is not None and here.get(b"elsa.machine_id", b"").decode() != (host.machine_id or ""):
        raise ConfigError(
            f"the folder has data of another host that is called {host.name!r} too: rename one of"
            " them, or export to another folder"
        )
    known = folder.metadata(host.registered)
    if known is None:
        return
    name = known.get(b"elsa.host", b"").decode()
    if name != host.name:
        raise ConfigError(
            f"the folder has data of this host under the name {name!r}: if it was renamed, delete"
            f" {_folder_name(name)} and {host.registered} there; if it is a copy of that host, give"
            " it a machine id of its own (systemd-machine-id-setup)"
        )
    before, now = known.get(b"elsa.warehouse", b"").decode(), identity(connection)
    if before and now and before != now:
        raise ConfigError(
            f"the folder has data of {host.name!r} from another warehouse, whose ids are others:"
            " export to another folder, or delete its data there"
        )


def _days(window: Window, over: range) -> range:
    """Of the days that are over, those that are wholly in the window."""
    since = over.start if window.since is None else -(-window.since // _DAY_NS)
    until = over.stop if window.until is None else window.until // _DAY_NS
    return range(max(over.start, since), min(over.stop, until))


def _columns(dataset: Dataset) -> dict[str, type]:
    return {name: datasets.type_of(name) for name in dataset.columns}


def _folder_name(name: str) -> str:
    """The folder of a host. Only plain characters stay, as engines decode all others."""
    return "host=" + quote(name, safe="")
