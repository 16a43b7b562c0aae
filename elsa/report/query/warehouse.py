"""Open the warehouse for reports: read-only, with names of users and groups as SQL functions."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from elsa import config
from elsa.errors import ElsaError, PrivilegeError, UnavailableError
from elsa.kernel import accounts
from elsa.kernel.procfs import Procfs
from elsa.store import database


class HostNames:
    """Names of users, groups and hosts. Ids of other hosts stay numbers, since this host may have
    other names for them.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("select id, machine_id, name from host").fetchall()
        self.hosts: dict[int, str] = {number: name for number, _, name in rows}
        self._accounts: dict[tuple[str, int, int], str] = {}
        self._others: set[int | None]
        if of_fleet(connection):
            # Each host has pushed its names; those of this host are of no other.
            self._others = {None, *self.hosts}
            accounts = connection.execute("select kind, host_id, id, name from temp.account")
            self._accounts = {(kind, host, id_): name for kind, host, id_, name in accounts}
        else:
            # A single host that has a machine id counts as this host, even if the warehouse was
            # copied to another since.
            self._others = {
                number
                for number, machine_id, name in rows
                if (len(rows) > 1 or machine_id is None) and not _is_this(machine_id, name)
            }
        of_jobs = connection.execute(
            "select j.id, b.host_id from job as j join boot as b on b.id = j.boot_id"
        )
        self._host_of_job = dict(of_jobs) if several_hosts(connection) else {}

    def user(self, uid: int | None, host_id: int | None) -> str | None:
        """Name of a uid, or the number as text if it has none; None for None."""
        if uid is None or host_id not in self._others:
            return user_name(uid)
        return self._accounts.get(("user", host_id or 0, uid), str(uid))

    def group(self, gid: int | None, host_id: int | None) -> str | None:
        """The same for a gid."""
        if gid is None or host_id not in self._others:
            return group_name(gid)
        return self._accounts.get(("group", host_id or 0, gid), str(gid))

    def is_named(self, kind: str, id_: int | None, host_id: int | None) -> bool:
        """Whether a user or group of a host of a fleet has a name there."""
        if id_ is None or host_id not in self._others:
            return True
        return (kind, host_id, id_) in self._accounts

    def host_of_unnamed(self, kind: str, id_: int | None, host_id: int | None) -> int | None:
        """The host of an id that has no name there: elsewhere it may be of another user."""
        return None if self.is_named(kind, id_, host_id) else host_id

    def owner(self, uid: int | None, job_id: int) -> str | None:
        """The same for the owner of a job."""
        return self.user(uid, self._host_of_job.get(job_id))

    def host(self, host_id: int | None) -> str | None:
        """Name of a host."""
        return None if host_id is None else self.hosts.get(host_id)

    def host_of_job(self, job_id: int) -> str | None:
        """Name of the host of a job, if there is more than one host."""
        return self.host(self._host_of_job.get(job_id))


@functools.cache
def user_name(uid: int | None) -> str | None:
    """Name of a uid on this host, or the number as text if it has none; None if unknown."""
    return None if uid is None else accounts.user(uid)


@functools.cache
def group_name(gid: int | None) -> str | None:
    """Name of a gid on this host, or the number as text if it has none; None if unknown."""
    return None if gid is None else accounts.group(gid)


def forget_names() -> None:
    """Look the names up again: a program that runs for long would not know new users."""
    user_name.cache_clear()
    group_name.cache_clear()


def _is_this(machine_id: str | None, name: str) -> bool:
    procfs = Procfs()
    return name == procfs.hostname() if machine_id is None else machine_id == procfs.machine_id()


def several_hosts(connection: sqlite3.Connection) -> bool:
    """Whether the warehouse has more than one host, or is of a fleet, which may have more."""
    return of_fleet(connection) or bool(
        connection.execute("select count(*) > 1 from host").fetchone()[0]
    )


def of_fleet(connection: sqlite3.Connection) -> bool:
    """Whether the warehouse is a copy of sums from a fleet database (elsa/fleet/copy.py)."""
    (count,) = connection.execute(
        "select count(*) from temp.sqlite_master where name = 'account'"
    ).fetchone()
    return bool(count)


def same_users(connection: sqlite3.Connection) -> bool:
    """Whether the site of a fleet says that a user or group is the same on all hosts where it has
    the same id and name.
    """
    (count,) = connection.execute(
        "select count(*) from temp.sqlite_master where name = 'same_users'"
    ).fetchone()
    return bool(count)


OWN_ONLY = "only your own jobs and processes: you may not read those of others"


@contextmanager
def reading_allowed(path: Path, since_ns: int | None = None) -> Iterator[sqlite3.Connection]:
    """The same as `reading`; for a user who may not read the warehouse a copy of what is his, from
    jobd: with `since_ns` of what still runs or ended since.
    """
    try:
        opened = database.open_for_reading(path)
    except PrivilegeError as error:
        opened = _own_records(path, since_ns, error)
    with _for_reports(path, opened) as connection:
        yield connection


@contextmanager
def empty(path: Path) -> Iterator[sqlite3.Connection]:
    """A warehouse with nothing in it, for what tables, views and queries say of themselves."""
    from elsa.store import statements  # nearly all reports do without

    with _for_reports(path, statements.empty()) as connection:
        yield connection


def notes(connection: sqlite3.Connection) -> list[str]:
    """That it is the copy of a plain user, if it is."""
    return [OWN_ONLY] if own_only(connection) else []


def own_only(connection: sqlite3.Connection) -> bool:
    """Whether it is the copy of a plain user, with nothing of others and of other times."""
    (own,) = connection.execute(
        "select count(*) from temp.sqlite_master where name = 'own_only'"
    ).fetchone()
    return bool(own)


def _own_records(path: Path, since_ns: int | None, refused: PrivilegeError) -> sqlite3.Connection:
    from elsa.control.client import Client  # nearly all reports do without it

    client = Client(config.load().socket)
    try:
        if client.warehouse() != path:
            raise refused
        data = client.own_records(since_ns)
    except UnavailableError as error:
        raise PrivilegeError(
            f"{refused}; other users see their own jobs and processes through jobd, but {error}"
        ) from None
    return _of_copy(data)


def _of_copy(data: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(data)
    connection.execute("create temp table own_only (x)")
    return connection


@contextmanager
def reading_copy(path: Path, data: bytes) -> Iterator[sqlite3.Connection]:
    """The same as `reading` of the copy of a user's own records (elsa/store/own_records.py)."""
    with _for_reports(path, _of_copy(data)) as connection:
        yield connection


@contextmanager
def of_copy(url: str, copy: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """The same as `reading` of the copy of a fleet, which is filled later."""
    with closing(copy):
        try:
            yield copy
        except sqlite3.Error as error:
            raise ElsaError(
                f"{url}: the rows of the hosts cannot be added up ({error}); see with --host which"
                " host has wrong ones"
            ) from error


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reports, with names as SQL functions. Errors of SQLite become ElsaErrors."""
    with _for_reports(path, database.open_for_reading(path)) as connection:
        yield connection


def give_names(connection: sqlite3.Connection) -> None:
    """Give a connection the SQL functions for names."""
    named = HostNames(connection)
    two: dict[str, Callable[..., str | None]] = {
        "user_name": named.user,
        "group_name": named.group,
        "owner_name": named.owner,
    }
    # If there is a single host, reports do not read the host of each row.
    only = next(iter(named.hosts), None)
    one: dict[str, Callable[..., str | None]] = {
        "user_name": functools.partial(named.user, host_id=only),
        "group_name": functools.partial(named.group, host_id=only),
        "host_name": named.host,
        "host_of_job": named.host_of_job,
    }
    connection.create_function("host_of_unnamed", 3, named.host_of_unnamed, deterministic=True)
    for count, functions in ((1, one), (2, two)):
        for name, function in functions.items():
            connection.create_function(name, count, function, deterministic=True)


@contextmanager
def _for_reports(path: Path, opened: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    with database.translated(path), closing(opened) as connection:
        give_names(connection)
        # A report reads one state of the warehouse, also if others write meanwhile.
        connection.execute("begin")
        yield connection
