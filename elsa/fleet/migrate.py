"""Create or upgrade a fleet database: its tables by Alembic, then roles, privileges and row-level
security, all in one transaction.

Three kinds of roles use it. Its owner, who runs `elsa db upgrade`, may do everything. Members of
elsa_host write the rows of their own hosts, and see no others. Members of elsa_reader read all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from elsa.errors import ConfigError
from elsa.fleet import database, schema
from elsa.fleet_url import FleetUrl
from elsa.store import sql_files
from elsa.store.upgrade import Upgrade

HOST_ROLE, READER_ROLE = "elsa_host", "elsa_reader"
OF_PUSH = (
    *("machine_id", "name", "version", "pushed_at_ns", "since_hour", "until_hour"),
    *("silent_since_ns", "unread_since_ns"),
)
"""The columns of table host that a push writes."""
# Any number: whoever upgrades at the same time waits.
_LOCK = 0x656C7361


def upgrade(url: FleetUrl) -> Upgrade:
    """Create or upgrade a fleet database, all or nothing. Raises an ElsaError."""
    connection = database.connect(url, check_head=False)
    try:
        with database.translated(url):
            before = database.revision(connection)
            if before is not None and before >= database.head():
                database.require_head(connection, url)
                return Upgrade(before, before, changed=False)
            _refuse_foreign(connection, url, before)
            _migrate(connection, url)
            after = database.revision(connection)
    finally:
        connection.close()
    if after is None:
        raise ConfigError(f"{url}: the upgrade left no revision behind")
    return Upgrade(before, after, changed=True)


def _refuse_foreign(connection: Any, url: FleetUrl, before: str | None) -> None:  # noqa: ANN401
    """Refuse a schema `elsa` of another program."""
    if before is None:
        tables = "select 1 from pg_tables where schemaname = %s limit 1"
        if connection.execute(tables, (schema.SCHEMA,)).fetchone():
            raise ConfigError(
                f"{url}: its schema {schema.SCHEMA} has tables of another program; name another"
                " database"
            )


def _migrate(connection: Any, url: FleetUrl) -> None:  # noqa: ANN401
    # Alembic says what it does already while it is imported; our callers say it in one line.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(sql_files.folder("migrations") / "fleet"))
    config.set_main_option("path_separator", "os")
    connection.autocommit = False
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    try:
        with engine.begin() as bound:
            bound.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
            bound.exec_driver_sql(f"create schema if not exists {schema.SCHEMA}")
            config.attributes["connection"] = bound
            command.upgrade(config, "head")
            for statement in security(_roles(bound)):
                bound.exec_driver_sql(statement)
        connection.autocommit = True
    except DBAPIError as error:
        if isinstance(error.orig, database.driver().Error):
            raise error.orig from None
        raise


def _roles(bound: Any) -> set[str]:  # noqa: ANN401
    rows = bound.exec_driver_sql("select rolname from pg_roles").fetchall()
    return {name for (name,) in rows}


def security(roles: set[str]) -> Iterator[str]:
    """The statements that create the roles which are missing, and renew privileges and row-level
    security.
    """
    for role in (HOST_ROLE, READER_ROLE):
        if role not in roles:
            yield f"create role {role} nologin"
    both = f"{HOST_ROLE}, {READER_ROLE}"
    yield f"grant usage on schema {schema.SCHEMA} to {both}"
    # Whoever is refused has to be able to learn why.
    yield f"grant select on {schema.SCHEMA}.alembic_version to {both}"
    # What the reports of a host on its own rows need of the site.
    yield f"grant select on {schema.SCHEMA}.setting to {HOST_ROLE}"
    for name in schema.OF_SITE:
        yield f"grant select on {schema.SCHEMA}.{name} to {READER_ROLE}"
    for name in schema.OF_HOST:
        table = f"{schema.SCHEMA}.{name}"
        own = "role = current_user"
        if name != "host":
            own = f"host_id in (select h.id from {schema.SCHEMA}.host as h where h.{own})"
        # A host can choose neither the id of its row nor the role.
        some = "" if name != "host" else f" ({', '.join(OF_PUSH)})"
        yield f"revoke all on {table} from {HOST_ROLE}"
        yield f"grant select, insert{some}, update{some}, delete on {table} to {HOST_ROLE}"
        yield f"grant select on {table} to {READER_ROLE}"
        yield f"alter table {table} enable row level security"
        yield f"drop policy if exists own on {table}"
        yield f"create policy own on {table} to {HOST_ROLE} using ({own}) with check ({own})"
        yield f"drop policy if exists readable on {table}"
        yield f"create policy readable on {table} for select to {READER_ROLE} using (true)"
