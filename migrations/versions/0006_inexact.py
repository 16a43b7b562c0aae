"""The index of inexact ends without a list: SQLite made a table of it for every row that was inserted, which took a fifth of the time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_index("process_inexact", "process")
    op.create_index("process_inexact", "process", ["id"], sqlite_where=sa.text("end_how = 2 or end_how >= 4"))
