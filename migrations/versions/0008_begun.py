"""Lives of a pid are found by when they began; the index by pid, which was written in random order, goes."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.drop_index("process_pid", "process")
    op.create_table(
        "begun",
        sa.Column("boot_id", Big, sa.ForeignKey("boot.id"), primary_key=True, autoincrement=False),
        sa.Column("stretch", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("block", Big, primary_key=True, autoincrement=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute("insert into begun select distinct boot_id, start_ns / 10000000000, id / 1024 from process")
    op.create_index("process_lasting", "process", ["boot_id", "pid"], sqlite_where=sa.text("elapsed_ns > 10000000000"))
    op.drop_index("process_running", "process")
    op.create_index("process_running", "process", ["boot_id", "pid"], sqlite_where=sa.text("elapsed_ns is null"))
