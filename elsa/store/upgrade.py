"""Create a warehouse, or upgrade it to the newest revision with its views, in one transaction.

Every systemd unit upgrades the warehouse when it starts. So this first reads whether revision,
views and triggers are those of this version; that writes nothing and needs neither Alembic nor
space on the disk.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from elsa.errors import ConfigError, ElsaError, PrivilegeError
from elsa.kernel import safe_paths
from elsa.store import database, sql_files, statements

# The owner writes, the group reads. No other user may see the command lines and costs of all users.
FILE_MODE = 0o640
FOLDER_MODE = 0o750


class Upgrade(NamedTuple):
    """What an upgrade did."""

    before: str | None
    """The revision before; None for a new warehouse."""
    after: str
    changed: bool
    """False if the warehouse was up to date, so nothing was written."""


def upgrade(path: Path) -> Upgrade:
    """Create the warehouse at `path` or upgrade it.

    All or nothing: an upgrade that fails leaves the warehouse as it was. Raises an ElsaError.
    """
    if _is_up_to_date(path):
        return Upgrade(sql_files.head(), sql_files.head(), changed=False)
    _make_place(path)
    # Alembic says what it does already while it is imported; our callers say it in one line.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from elsa.store.migrating import migrate

    with database.translated(path):
        connection = sqlite3.connect(
            path, timeout=database.BUSY_TIMEOUT_MS / 1000, isolation_level=None
        )
    try:
        with database.translated(path):
            before = database.revision(connection)
            _refuse_foreign(connection, path, before)
            # Effective for a new file only: pruning can then return space to the file system.
            connection.execute("pragma auto_vacuum = incremental")
            connection.execute("pragma journal_mode = wal")
            migrate(connection, path)
        after = database.revision(connection)
    finally:
        connection.close()
    if after is None:
        raise ConfigError(f"{path}: the upgrade left no revision behind")
    return Upgrade(before, after, changed=True)


def _is_up_to_date(path: Path) -> bool:
    """Whether revision, views and triggers are those of this version. False also if that cannot be
    read: the upgrade then reports why.
    """
    try:
        database.check_place(path)
        with database.translated(path), closing(database.open_for_reading(path)) as connection:
            rows = connection.execute(
                "select sql from sqlite_master where type in ('view', 'trigger')"
            ).fetchall()
    except ElsaError:
        return False
    return {_comparable(sql) for (sql,) in rows} == {
        _comparable(sql) for sql in (*statements.triggers(), *statements.views())
    }


def _comparable(sql: str) -> str:
    """A create statement without its first two words, which SQLite rewrites."""
    return sql.split(maxsplit=2)[2]


def _refuse_foreign(connection: sqlite3.Connection, path: Path, revision: str | None) -> None:
    """Refuse a file of another program, and a warehouse of an unknown revision."""
    if revision is None:
        if connection.execute("select 1 from sqlite_master limit 1").fetchone():
            raise ConfigError(
                f"{path}: an SQLite file of another program, or a damaged warehouse; name another"
                " with --db"
            )
    elif revision > sql_files.head():
        database.require_head(connection, path)
    elif not list((sql_files.folder("migrations") / "versions").glob(f"{revision}_*.py")):
        raise ConfigError(
            f"{path}: this ELSA does not know revision {revision}; restore the warehouse from a"
            " backup"
        )


def _make_place(path: Path) -> None:
    """Create the folder and an empty file with safe modes, so that others can never read them."""
    safe_paths.check(path)
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=FOLDER_MODE if folder == path.parent else 0o755)
        database.check_place(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    except PermissionError as error:
        raise PrivilegeError(
            f"{error.filename}: {error.strerror}; run as root or name another place with --db"
        ) from None
    except OSError as error:
        raise safe_paths.translated(error, error.filename, "name another place with --db") from None
