"""Versions of a tariff, and their factors by hour of the week."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}


def key(name: str, kind: sa.types.TypeEngine[int], *target: sa.ForeignKey) -> sa.Column[int]:
    return sa.Column(name, kind, *target, primary_key=True, autoincrement=False)


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "tariff",
        key("id", Big),
        sa.Column("valid_from_at_ns", Big, nullable=False),
        sa.Column("added_at_ns", Big, nullable=False),
        sa.Column("withdrawn_at_ns", Big),
        text("currency"),
        text("zone"),
        sa.Column("decimals", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text()),
        *(text(name) for name in ("process", "cpu_hour", "memory_gib_hour", "read_gib", "written_gib")),
        **STRICT,
    )
    op.create_table(
        "tariff_factor",
        key("tariff_id", Big, sa.ForeignKey("tariff.id")),
        key("weekday", sa.Integer()),
        key("hour", sa.Integer()),
        text("factor"),
        sqlite_with_rowid=False,
        **STRICT,
    )
