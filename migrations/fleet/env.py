"""Alembic's entry for fleet databases: brings one to a revision in the caller's one transaction.
elsa/fleet/migrate.py runs it.
"""

from alembic import context

from elsa.fleet import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table_schema=schema.SCHEMA,
)
context.run_migrations()
