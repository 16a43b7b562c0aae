"""The hourly sums put together by the day, those of all that ended in an hour, and the way to sums of what was pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}
REFERENCES = {"comm_id": "comm.id", "job_id": "job.id"}


def columns_of(table: str, *without: str) -> list[sa.Column[int]]:
    """The columns of a table of hourly sums, as revision 0004 made them."""
    found = op.get_bind().exec_driver_sql(f"select name, type, \"notnull\" from pragma_table_info('{table}')").fetchall()
    types = {"REAL": sa.REAL(), "INTEGER": Big}
    return [
        sa.Column(name, types[kind], *([sa.ForeignKey(REFERENCES[name])] if name in REFERENCES else []), nullable=not required)
        for name, kind, required in found
        if name not in without
    ]


def upgrade() -> None:
    op.create_table("rollup_day", sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False), **STRICT)
    for key in ("command", "user", "job"):
        day = sa.Column("day", sa.Integer(), nullable=False)
        op.create_table(f"rollup_day_{key}", day, *columns_of(f"rollup_{key}", "hour", "pruned"), **STRICT)
        op.create_index(f"rollup_day_{key}_day", f"rollup_day_{key}", ["day"])
    op.create_index("rollup_day_job_job", "rollup_day_job", ["job_id"])
    hour = sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False)
    op.create_table("rollup_day_hour", hour, *columns_of("rollup_user", "hour", "pruned", "uid", "gid"), **STRICT)
    for table in ("rollup_command", "rollup_user", "rollup_job"):
        op.create_index(f"{table}_pruned", table, ["hour"], sqlite_where=sa.text("pruned = 1"))
