"""Every table, as elsa/store/schema.py describes it.

Until the first release there is this one revision, and a change of the schema changes it. The
release that comes first writes the tables out here, and later changes are revisions of their own.
"""

from alembic import op

from elsa.store import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.metadata.create_all(op.get_bind())
