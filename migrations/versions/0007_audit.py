"""Who saw what, by the hour, and who is in doubt; the way to when a boot was first listened to, and to acct's own records."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}
SUMS = ("processes", "records", "first_ns", "last_ns", "minutes", "compared", "compared_ns", "compared_ticks")


def upgrade() -> None:
    op.create_table(
        "rollup_class",
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("boot_id", Big, sa.ForeignKey("boot.id")),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("unheard", sa.Integer()),
        *(sa.Column(name, Big) for name in SUMS),
        **STRICT,
    )
    op.create_index("rollup_class_hour", "rollup_class", ["hour"])
    op.create_table(
        "rollup_doubt",
        sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("process_id", Big, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
        **STRICT,
    )
    op.create_index("collector_boot", "collector", ["boot_id", "since_ns"])
    op.create_index("acct_self", "acct", ["id"], sqlite_where=sa.text("join_how = 3"))
    # Every hour is to be rolled up anew, and every day to be put together.
    for table in ("rollup_hour", "rollup_day", "rollup_day_command", "rollup_day_user", "rollup_day_job", "rollup_day_hour"):
        op.execute(f"delete from {table}")
