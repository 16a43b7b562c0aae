"""Run the migrations, with views and triggers, in one transaction. Only this module imports
Alembic, which takes long to import.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from elsa.store import database, sql_files


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Upgrade the warehouse to the head revision."""
    config = Config()
    config.set_main_option("script_location", str(sql_files.folder("migrations")))
    config.set_main_option("path_separator", "os")
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin_at_once(bound: Connection) -> None:
        # The driver itself would start the transaction too late for DDL to be atomic.
        bound.exec_driver_sql("begin immediate")

    try:
        with engine.begin() as bound:
            config.attributes["connection"] = bound
            command.upgrade(config, "head")
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise database.translate(error.orig, path) from error
        raise
