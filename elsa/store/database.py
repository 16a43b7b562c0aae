"""Open the warehouse for writing or for reading, and check that this version knows its schema.

Every connection is a plain sqlite3 connection in autocommit mode, so that transactions start and
end only where the code says so. Never open the warehouse with a second copy of SQLite in the same
process (apsw, DuckDB): closing one handle drops the locks of the other.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from elsa.errors import ConfigError, ElsaError, InputMissingError, PrivilegeError, RetryError
from elsa.kernel import safe_paths
from elsa.state.codes import End, EventKind, How, Join, Origin
from elsa.store import sql_files

# For every value that is not exactly an int, float or str, sqlite3 searches for an adapter. Without
# this adapter for None, that search takes a third of the time of inserting a row with some NULLs.
sqlite3.register_adapter(type(None), lambda none: none)
for _code in (End, EventKind, How, Join, Origin):
    sqlite3.register_adapter(_code, int)

# How long a writer waits for the transaction of another program. ELSA's last well under a second; a
# backup or an upgrade may take longer.
BUSY_TIMEOUT_MS = 10_000
LOG_BYTES = 64 << 20
ROWS_PER_INSERT = 20
# From how many rows on a statement of their own pays.
MANY_ROWS = 1000


class LockedError(RetryError):
    """Another program locks the warehouse."""


_UNSOUND = "not a sound SQLite warehouse; restore it from a backup or move it away"
# Prefixes of SQLite's error names, the ELSA error for them, and what the user can do.
_MEANINGS: tuple[tuple[tuple[str, ...], type[ElsaError], str], ...] = (
    (
        ("SQLITE_BUSY", "SQLITE_LOCKED"),
        LockedError,
        "the warehouse is locked by another program; try again later",
    ),
    (("SQLITE_FULL",), RetryError, "no space left on the device; make room and try again"),
    (
        ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"),
        PrivilegeError,
        "the warehouse cannot be written by this user",
    ),
    (("SQLITE_CORRUPT", "SQLITE_NOTADB"), ConfigError, _UNSOUND),
    (
        ("SQLITE_CANTOPEN",),
        PrivilegeError,
        "the warehouse cannot be opened by this user; root and the elsa group may",
    ),
    (
        ("SQLITE_IOERR",),
        RetryError,
        "the disk is full, a disk quota is used up, or the disk reports an error",
    ),
)
# Errors that SQLite may report on a read-only file system.
_WRITE_ERRORS = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR")


def translate(error: sqlite3.Error, path: Path) -> ElsaError:
    """The ELSA error for an SQLite error: one line that says what to do."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(_WRITE_ERRORS) and safe_paths.read_only(path.parent):
        why = "read-only file system, mounted so or after an error of the disk (see dmesg)"
        return RetryError(f"{path}: {why}; mount it writable, or name another with --db")
    for prefixes, kind, meaning in _MEANINGS:
        if name.startswith(prefixes):
            return kind(f"{path}: {meaning} ({error})")
    return ElsaError(f"{path}: {error}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate what SQLite raises in the block into ELSA errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except UnicodeDecodeError as error:
        # The message of SQLite quotes bytes of a damaged schema.
        raise ConfigError(f"{path}: {_UNSOUND} ({error})") from error


def check_place(path: Path) -> None:
    """Refuse a warehouse that others could write or replace, or that is not a regular file.

    Raises PrivilegeError, ConfigError, or InputMissingError if the folder does not exist.
    """
    safe_paths.check(path)
    folder = Path(os.path.realpath(path)).parent
    try:
        open_to_others = safe_paths.others_write(folder)
        path.exists()  # raises PermissionError if the folder may not be searched
    except PermissionError:
        raise PrivilegeError(
            f"{folder}: this user may not read it; run as the user who owns the warehouse"
        ) from None
    except OSError as error:
        raise InputMissingError(
            f"{folder}: {error.strerror}; create it or name another place with --db"
        ) from None
    if open_to_others:
        raise PrivilegeError(
            f"{folder}: others can write this folder, so a warehouse would not be safe in it; use a"
            " folder of its own"
        )
    safe_paths.refuse_what_is_no_file(path, "the warehouse's file")
    if path.exists() and path.stat().st_mode & stat.S_IWOTH:
        raise PrivilegeError(
            f"{path}: others can write this warehouse, so its figures cannot be trusted; fix it"
            f" with: chmod o-w {path}"
        )


def open_for_writing(path: Path, *, check_head: bool = True) -> sqlite3.Connection:
    """A connection that may write, in WAL mode. The warehouse must exist and be at head revision.

    Raises InputMissingError, PrivilegeError, ConfigError (wrong version), RetryError (locked).
    """
    check_place(path)
    if not path.exists():
        raise InputMissingError(f"{path}: no warehouse yet; run: elsa db upgrade --db {path}")
    with translated(path):
        connection = sqlite3.connect(
            path.absolute().as_uri() + "?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        with _closed_on_failure(connection):
            if check_head:
                require_head(connection, path)
            _set_up(connection)  # only now: it changes the file
    return connection


@contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("pragma journal_mode = wal")
    # A crash of the machine may lose the last commits but never harms the file. jobd stores up to
    # when it received events, so what was lost becomes a gap.
    connection.execute("pragma synchronous = normal")
    # A long read makes the write-ahead log grow; this shrinks it afterwards.
    connection.execute(f"pragma journal_size_limit = {LOG_BYTES}")


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that can only read; works while others write, and for users who may only read.

    Raises InputMissingError, PrivilegeError, ConfigError (wrong version).
    """
    try:
        exists = path.exists()
    except PermissionError:
        raise PrivilegeError(
            f"{path}: this user may not read it; root and the elsa group may"
        ) from None
    if not exists:
        raise InputMissingError(
            f"{path}: no warehouse there; create one with: elsa db upgrade --db {path}, or name"
            " another with --db"
        )
    safe_paths.refuse_what_is_no_file(path, "the warehouse's file")
    uri = path.absolute().as_uri()
    with translated(path):
        connection = sqlite3.connect(
            uri + "?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None
        )
        try:
            with _closed_on_failure(connection):
                connection.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if isinstance(translate(error, path), LockedError):
                raise
            # Without a writer there is no shared-memory file, and a user who may not write the
            # folder cannot create it. If there is no write-ahead log either, the file is complete
            # and can be read as it is.
            if Path(f"{path}-wal").exists() and os.path.getsize(f"{path}-wal") > 0:  # noqa: PTH202
                raise
            connection = sqlite3.connect(
                uri + "?mode=ro&immutable=1", uri=True, isolation_level=None
            )
        with _closed_on_failure(connection):
            require_head(connection, path)
    return connection


def revision(connection: sqlite3.Connection) -> str | None:
    """The schema revision of a warehouse; None if it has none yet."""
    if not connection.execute(
        "select 1 from sqlite_master where name = 'alembic_version'"
    ).fetchone():
        return None
    row = connection.execute("select version_num from alembic_version").fetchone()
    return row[0] if row else None


def require_head(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ConfigError unless the warehouse is at the revision that this version of ELSA knows."""
    have, need = revision(connection), sql_files.head()
    if have == need:
        return
    if have is None:
        raise ConfigError(f"{path}: not an ELSA warehouse yet; run: elsa db upgrade --db {path}")
    if have > need:
        raise ConfigError(
            f"{path}: this warehouse is at revision {have}, made by a newer ELSA (this one knows"
            f" {need}); upgrade ELSA"
        )
    raise ConfigError(
        f"{path}: the warehouse is at revision {have} and {need} is needed; run: elsa db upgrade"
        f" --db {path}"
    )


def insert_rows(
    connection: sqlite3.Connection,
    into: str,
    rows: Sequence[tuple[object, ...]],
    shared: Sequence[int] = (),
    then: str = "",
) -> None:
    """Insert rows with `into`, an insert statement up to its values, and `then`, what follows them.
    `shared` are the values of the last columns in all rows. Callers hold a transaction.

    One statement inserts many rows, since starting a statement with triggers takes as long as
    storing a row, and lets other threads run.
    """
    if rows:
        width = len(rows[0])
        values = ("?",) * width + tuple(map(str, shared))
        _insert(connection, into, rows, len(rows), width, values, then)


def insert_columns(
    connection: sqlite3.Connection, table: str, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows that are given as columns. Callers hold a transaction.

    Of many rows, a column that has one value only, an integer or NULL, is part of the statement:
    to hand over a value takes Python as long as all else that it does with it.
    """
    number = len(next(iter(columns.values())))
    values = ["?"] * len(columns)
    given = []
    for place, column in enumerate(columns.values()):
        if number >= MANY_ROWS and _is_constant(column):
            values[place] = "null" if column[0] is None else str(column[0])
        else:
            given.append(column)
    rows = zip(*given, strict=True)
    into = f"insert into {table} ({', '.join(columns)})"
    _insert(connection, into, rows, number, len(given), tuple(values), "")


def _is_constant(column: Sequence[Any]) -> bool:
    first = column[0]
    return (
        (first is None or type(first) is int)
        and column[-1] == first
        and column.count(first) == len(column)
    )


def _insert(
    connection: sqlite3.Connection,
    into: str,
    rows: Iterable[tuple[object, ...]],
    number: int,
    width: int,
    values: tuple[str, ...],
    then: str,
) -> None:
    """Insert so many rows of this width; `values` are the expressions of a row."""
    flat = chain.from_iterable(rows)
    step = ROWS_PER_INSERT
    for size, times in ((step, number // step), (1, number % step)):
        some = (tuple(islice(flat, size * width)) for _ in range(times))
        connection.executemany(into + _values(values, size) + then, some)


@lru_cache(100)
def _values(values: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join(values)})"
    return f" values {', '.join([row] * rows)}"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end of the block, rolled back on an exception."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
