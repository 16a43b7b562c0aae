"""Alembic's entry: brings a warehouse to a revision and rebuilds every view and trigger, all in the
caller's one transaction.

`elsa db upgrade` runs it (elsa/store/upgrade.py) with a connection on which `begin immediate` has
been said. Views are dropped first, because a table that a view looks at cannot be rebuilt, and
created anew at head from sql/*.sql; a select of no rows from each proves that it fits, since SQLite
accepts a view over a table that is not there.
"""

from alembic import context
from sqlalchemy import Connection, text

from elsa.store import schema, sql_files, statements


def drop_views(connection: Connection) -> None:
    """Drop every view and trigger of the warehouse."""
    for kind, name in connection.execute(
        text("select type, name from sqlite_master where type in ('view', 'trigger')")
    ).fetchall():
        connection.execute(text(f'drop {kind} "{name}"'))


def create_triggers(connection: Connection) -> None:
    """Create what keeps the rollups true, and the way to what began about some time."""
    for sql in statements.triggers():
        connection.exec_driver_sql(sql)


def create_views(connection: Connection) -> None:
    """Create every view of sql/ and see that it can be selected from."""
    for sql in statements.views():
        connection.exec_driver_sql(sql)
    for path in sql_files.views():
        connection.exec_driver_sql(f'select * from "{path.stem}" limit 0')


connection: Connection = context.config.attributes["connection"]
drop_views(connection)
context.configure(connection=connection, target_metadata=schema.metadata, transactional_ddl=False)
context.run_migrations()
if context.get_context().get_current_revision() == sql_files.head():
    create_triggers(connection)
    create_views(connection)
