"""Every table and index; the statements are in 0001_initial.sql.

Until the first release this is the only revision, and a change of elsa/fleet/schema.py changes it:
`make sql` writes the statements again. After the release it never changes.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    for statement in text.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
