"""Creating a warehouse and bringing an old one to the newest revision, in one transaction, views included. The one user of Alembic."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from elsa.errors import ConfigError, PrivilegeError
from elsa.kernel import places
from elsa.store import assets, database

# Owner writes, the group reads, nobody else: command lines and costs of other users are not everybody's business.
FILE_MODE = 0o640
FOLDER_MODE = 0o750


def upgrade(path: Path) -> tuple[str | None, str]:
    """Create the warehouse at `path` or upgrade it; returns the revisions before and after.

    All or nothing: an upgrade that fails leaves the warehouse as it was. Raises an ElsaError.
    """
    _make_place(path)
    with database.translated(path):
        connection = sqlite3.connect(path, timeout=database.BUSY_TIMEOUT_MS / 1000, isolation_level=None)
    try:
        with database.translated(path):
            before = database.revision(connection)
            _refuse_foreign(connection, path, before)
            # Only a new file takes it: what is pruned can then be given back to the file system.
            connection.execute("pragma auto_vacuum = incremental")
            connection.execute("pragma journal_mode = wal")
            _migrate(connection, path)
        after = database.revision(connection)
    finally:
        connection.close()
    if after is None:
        raise ConfigError(f"{path}: the upgrade left no revision behind")
    return before, after


def _refuse_foreign(connection: sqlite3.Connection, path: Path, revision: str | None) -> None:
    """Refuse what is no warehouse of ours, or one of a revision that nobody knows how to upgrade."""
    if revision is None:
        if connection.execute("select 1 from sqlite_master limit 1").fetchone():
            raise ConfigError(f"{path}: an SQLite file of another program, or a damaged warehouse; name another with --db")
    elif revision > assets.head():
        database.require_head(connection, path)
    elif not list((assets.folder("migrations") / "versions").glob(f"{revision}_*.py")):
        raise ConfigError(f"{path}: revision {revision} is none that this ELSA knows; restore the warehouse from a backup")


def _make_place(path: Path) -> None:
    """Make the folder and an empty file with safe modes, so that no moment exists in which others could read it."""
    places.check(path)
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=FOLDER_MODE if folder == path.parent else 0o755)
        database.check_place(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    except PermissionError as error:
        raise PrivilegeError(f"{error.filename}: {error.strerror}; run as root or name another place with --db") from None
    except OSError as error:
        raise places.translated(error, error.filename, "name another place with --db") from None


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(assets.folder("migrations")))
    config.set_main_option("path_separator", "os")
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin_at_once(bound: Connection) -> None:
        # The driver's own way begins too late for DDL to be atomic.
        bound.exec_driver_sql("begin immediate")

    try:
        with engine.begin() as bound:
            config.attributes["connection"] = bound
            command.upgrade(config, "head")
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise database.translate(error.orig, path) from error
        raise
