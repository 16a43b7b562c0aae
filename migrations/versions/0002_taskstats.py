"""What taskstats tells: usage beyond ticks, baselines of part-life members, and what was executed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}

COUNTERS = (
    "run_ns",
    "utime_us",
    "stime_us",
    "minflt",
    "majflt",
    "coremem_mb_us",
    "virtmem_mb_us",
    "read_chars",
    "write_chars",
    "read_bytes",
    "write_bytes",
    "cancelled_write_bytes",
    "read_syscalls",
    "write_syscalls",
    "nvcsw",
    "nivcsw",
    "cpu_delay_ns",
    "blkio_delay_ns",
    "swapin_delay_ns",
    "reclaim_delay_ns",
    "thrashing_delay_ns",
    "compact_delay_ns",
)


def counters() -> list[sa.Column[int]]:
    return [sa.Column(name, Big) for name in COUNTERS]


def key(name: str, *target: sa.ForeignKey) -> sa.Column[int]:
    return sa.Column(name, Big, *target, primary_key=True, autoincrement=False)


def upgrade() -> None:
    op.create_table(
        "usage",
        key("process_id"),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Integer(), nullable=False),
        *counters(),
        sa.Column("rss_kib", Big),
        sa.Column("vm_kib", Big),
        sa.Column("exe_dev", Big),
        sa.Column("exe_inode", Big),
        **STRICT,
    )
    op.create_table(
        "baseline",
        key("job_id", sa.ForeignKey("job.id")),
        key("process_id"),
        key("since_ns"),
        sa.Column("edge", sa.Integer(), primary_key=True, autoincrement=False),
        *counters(),
        sqlite_with_rowid=False,
        **STRICT,
    )
    op.create_table("text", key("id"), sa.Column("value", sa.Text(), nullable=False, unique=True), **STRICT)
    op.create_table(
        "program",
        key("process_id"),
        *(sa.Column(name, Big, sa.ForeignKey("text.id")) for name in ("cmdline_id", "exe_id", "cwd_id", "cgroup_id")),
        sa.Column("loginuid", Big),
        sa.Column("session", sa.Integer()),
        **STRICT,
    )
