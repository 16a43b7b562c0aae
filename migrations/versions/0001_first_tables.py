"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table of the first release."""
    op.create_table(
        "comm",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "host",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("machine_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("machine_id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "acct_file",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("host_id", Big, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("device", Big, nullable=False),
        sa.Column("inode", Big, nullable=False),
        sa.Column("disk_size", Big, nullable=False),
        sa.Column("modified_at_ns", Big, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("tail", sa.LargeBinary(), nullable=False),
        sa.Column("position", Big, nullable=False),
        sa.Column("records", Big, nullable=False),
        sa.Column("skipped_bytes", Big, nullable=False),
        sa.Column("read_at_ns", Big, nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "boot",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("host_id", Big, nullable=False),
        sa.Column("uuid", sa.Text(), nullable=True),
        sa.Column("started_at_ns", Big, nullable=True),
        sa.Column("ended_at_ns", Big, nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "acct",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("acct_file_id", Big, nullable=False),
        sa.Column("position", Big, nullable=False),
        sa.Column("process_id", Big, nullable=True),
        sa.Column("join_how", sa.Integer(), nullable=False),
        sa.Column("flag", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tty", sa.Integer(), nullable=False),
        sa.Column("exitcode", sa.Integer(), nullable=False),
        sa.Column("uid", Big, nullable=False),
        sa.Column("gid", Big, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("ppid", sa.Integer(), nullable=False),
        sa.Column("btime", Big, nullable=False),
        sa.Column("etime", sa.REAL(), nullable=False),
        sa.Column("utime", Big, nullable=False),
        sa.Column("stime", Big, nullable=False),
        sa.Column("mem", Big, nullable=False),
        sa.Column("io", Big, nullable=False),
        sa.Column("rw", Big, nullable=False),
        sa.Column("minflt", Big, nullable=False),
        sa.Column("majflt", Big, nullable=False),
        sa.Column("swaps", Big, nullable=False),
        sa.Column("comm_id", Big, nullable=False),
        sa.ForeignKeyConstraint(["acct_file_id"], ["acct_file.id"]),
        sa.ForeignKeyConstraint(["comm_id"], ["comm.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("acct_pending", "acct", ["pid"], unique=False, sqlite_where=sa.text("join_how = 0"))
    op.create_index("acct_process", "acct", ["process_id"], unique=True, sqlite_where=sa.text("process_id is not null"))
    op.create_table(
        "clock",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("boot_id", Big, nullable=False),
        sa.Column("since_ns", Big, nullable=False),
        sa.Column("offset_ns", Big, nullable=False),
        sa.Column("boottime_offset_ns", Big, nullable=False),
        sa.ForeignKeyConstraint(["boot_id"], ["boot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "collector",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("boot_id", Big, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("since_ns", Big, nullable=False),
        sa.Column("heard_ns", Big, nullable=False),
        sa.Column("stopped_ns", Big, nullable=True),
        sa.Column("events", Big, nullable=False),
        sa.Column("lost", Big, nullable=False),
        sa.Column("job_ids_until", Big, nullable=False),
        sa.ForeignKeyConstraint(["boot_id"], ["boot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "event",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("boot_id", Big, nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("time_ns", Big, nullable=False),
        sa.Column("cpu", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("tgid", sa.Integer(), nullable=False),
        sa.Column("parent_pid", sa.Integer(), nullable=True),
        sa.Column("parent_tgid", sa.Integer(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("process_id", Big, nullable=True),
        sa.ForeignKeyConstraint(["boot_id"], ["boot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "gap",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("boot_id", Big, nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_ns", Big, nullable=True),
        sa.Column("to_ns", Big, nullable=True),
        sa.Column("lost", Big, nullable=True),
        sa.Column("acct_file_id", Big, nullable=True),
        sa.Column("from_position", Big, nullable=True),
        sa.Column("to_position", Big, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["acct_file_id"], ["acct_file.id"]),
        sa.ForeignKeyConstraint(["boot_id"], ["boot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "job",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("boot_id", Big, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_uid", Big, nullable=False),
        sa.Column("created_at_ns", Big, nullable=False),
        sa.Column("closed_at_ns", Big, nullable=True),
        sa.Column("close_how", sa.Text(), nullable=True),
        sa.Column("closes_itself", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["boot_id"], ["boot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "job_tag",
        sa.Column("job_id", Big, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "key"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "membership",
        sa.Column("job_id", Big, autoincrement=False, nullable=False),
        sa.Column("process_id", Big, autoincrement=False, nullable=False),
        sa.Column("since_ns", Big, autoincrement=False, nullable=False),
        sa.Column("until_ns", Big, nullable=True),
        sa.Column("how", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "process_id", "since_ns"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("membership_process", "membership", ["process_id"], unique=False)
    op.create_table(
        "process",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("boot_id", Big, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("parent_id", Big, nullable=True),
        sa.Column("origin", sa.Integer(), nullable=False),
        sa.Column("parent_pid", sa.Integer(), nullable=True),
        sa.Column("parent_inferred", sa.Integer(), nullable=True),
        sa.Column("start_ns", Big, nullable=False),
        sa.Column("clock_id", Big, nullable=False),
        sa.Column("elapsed_ns", Big, nullable=True),
        sa.Column("end_clock_id", Big, nullable=True),
        sa.Column("end_how", sa.Integer(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("leader_status", sa.Integer(), nullable=True),
        sa.Column("uid", Big, nullable=True),
        sa.Column("comm_id", Big, nullable=True),
        sa.ForeignKeyConstraint(["boot_id"], ["boot.id"]),
        sa.ForeignKeyConstraint(["clock_id"], ["clock.id"]),
        sa.ForeignKeyConstraint(["comm_id"], ["comm.id"]),
        sa.ForeignKeyConstraint(["end_clock_id"], ["clock.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("process_orphan", "process", ["boot_id", "parent_pid"], unique=False, sqlite_where=sa.text("parent_pid is not null"))
    op.create_index("process_inexact", "process", ["id"], unique=False, sqlite_where=sa.text("end_how in (2, 4, 5)"))
    op.create_index("process_pid", "process", ["boot_id", "pid", "start_ns"], unique=False)
    op.create_index("process_running", "process", ["boot_id"], unique=False, sqlite_where=sa.text("elapsed_ns is null"))
