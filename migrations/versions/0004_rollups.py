"""In which hour a process ended, and hourly sums by command, user and job."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}
SUMS = (
    "processes",
    "running",
    "records",
    "without_record",
    "uncertain",
    "unjoined",
    "elapsed_us",
    "etime_ticks",
    "utime_ticks",
    "stime_ticks",
    "minflt",
    "majflt",
    "with_usage",
    "with_ticks",
    "without_usage",
    "usage_partial",
    "user_ns",
    "system_ns",
    "cpu_ns",
    "minor_faults",
    "major_faults",
    "threads",
    "run_ns",
    "utime_us",
    "stime_us",
    "rss_kib",
    "vm_kib",
    "coremem_mb_us",
    "virtmem_mb_us",
    "read_chars",
    "write_chars",
    "read_syscalls",
    "write_syscalls",
    "read_bytes",
    "write_bytes",
    "cancelled_write_bytes",
    "nvcsw",
    "nivcsw",
    "cpu_delay_ns",
    "blkio_delay_ns",
    "swapin_delay_ns",
    "reclaim_delay_ns",
    "thrashing_delay_ns",
    "compact_delay_ns",
    "seen_by_both",
    "still_running",
    "only_by_acct",
)
JOB_SUMS = (
    "inferred",
    "part_life",
    "part_life_whole",
    "living",
    "usage_missing",
    "start_ns",
    "end_ns",
    "started_ns",
    "ended_ns",
    "exit_status",
)
REAL = ("coremem_mb_us", "virtmem_mb_us")


def rollup(name: str, keys: list[sa.Column[int]], sums: tuple[str, ...]) -> None:
    hour, pruned = sa.Column("hour", sa.Integer(), nullable=False), sa.Column("pruned", sa.Integer(), nullable=False)
    op.create_table(name, hour, pruned, *keys, *(sa.Column(key, sa.REAL() if key in REAL else Big) for key in sums), **STRICT)
    op.create_index(f"{name}_hour", name, ["hour"])


def upgrade() -> None:
    op.add_column("process", sa.Column("ended_hour", sa.Integer()))
    op.execute(
        """update process set ended_hour = (start_ns + elapsed_ns
               + (select offset_ns from clock where clock.id = coalesce(end_clock_id, clock_id))) / 3600000000000
           where elapsed_ns is not null"""
    )
    op.create_index("process_ended", "process", ["ended_hour"])
    op.add_column("membership", sa.Column("left_hour", sa.Integer()))
    op.execute(
        """update membership set left_hour = (until_ns + (
               select offset_ns from process join clock on clock.id = clock_id where process.id = process_id
           )) / 3600000000000
           where until_ns is not null"""
    )
    left = {"sqlite_where": sa.text("left_hour is not null")}
    op.create_index("membership_left", "membership", ["left_hour"], **left)
    op.create_index("membership_left_of", "membership", ["process_id", "left_hour"], **left)
    op.execute(
        """create index acct_unjoined on acct ((btime + cast(etime / 100 as integer)) / 3600)
           where process_id is null and join_how <> 3"""
    )
    op.create_table(
        "rollup_hour",
        sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("ready", sa.Integer(), nullable=False),
        **STRICT,
    )
    comm = sa.Column("comm_id", Big, sa.ForeignKey("comm.id"))
    rollup("rollup_command", [comm, sa.Column("forked_only", sa.Integer())], SUMS)
    rollup("rollup_user", [sa.Column("uid", Big), sa.Column("gid", Big)], SUMS)
    rollup("rollup_job", [sa.Column("job_id", Big, sa.ForeignKey("job.id"), nullable=False)], SUMS + JOB_SUMS)
    op.create_index("rollup_job_job", "rollup_job", ["job_id"])
