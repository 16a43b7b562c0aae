"""The tables of the warehouse, as SQLAlchemy Core metadata. migrations/ creates them, sql/
reads them.

Conventions: kernel values are stored raw, in the kernel's units, and views convert. NULL is
"unknown", never 0. Times of processes and events are CLOCK_MONOTONIC nanoseconds of their boot
(`*_ns`), because that clock never steps; a clock row turns them into real time: real = monotonic +
clock.offset_ns. Times of actions (a job created, a file read) are real nanoseconds since 1970
(`*_at_ns`). Wait statuses are encoded as in wait(2). elsa/state/codes.py defines the small numbers.

A pid identifies a process only within a boot, and a boot belongs to a host. So every table except
the tariffs leads to a boot and a host, by its own column or through its parent row. Integer ids are
local to a warehouse; add an offset to them to merge warehouses.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import REAL, TypeEngine

from elsa.decode.acct_times import WRAP, YEAR_2106
from elsa.measures import COUNTERS, IN_INTERVALS, OF_AUDIT, PEAKS, ROLLED, ROLLED_OF_JOB, Measure
from elsa.store import aggregates

metadata = MetaData()

# SQLite stores each integer in as few bytes as it needs; other databases need a type for big ones.
Big: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def _id() -> Column[int]:
    return Column("id", Big, primary_key=True, autoincrement=False)


def _hour_of(second: str) -> Column[int]:
    """The hour of a second, both since 1970, rounded down."""
    hour = f"({second} - case when {second} < 0 then 3599 else 0 end) / 3600"
    return Column("ended_hour", Integer, Computed(hour, persisted=False))


def _text_of(second: str) -> Column[str]:
    """The second of an end as views show it, so that an index serves who orders by it."""
    return Column("ended_at", Text, Computed(f"datetime({second}, 'unixepoch')", persisted=False))


def _table(name: str, *items: SchemaItem, rowid: bool = True) -> Table:
    return Table(name, metadata, *items, sqlite_strict=True, sqlite_with_rowid=rowid)


host = _table(
    "host",
    _id(),
    # /etc/machine-id; NULL for a host that is known only by name, from an
    # imported file
    Column("machine_id", Text, unique=True),
    Column("name", Text, nullable=False),
)

boot = _table(
    "boot",
    _id(),
    Column("host_id", Big, ForeignKey("host.id"), nullable=False),
    Column(
        "uuid",
        Text,
        unique=True,
        # /proc/sys/kernel/random/boot_id; NULL stands for "some earlier boot", known only from acct
        # records
    ),
    # real time of the boot as the kernel reports it (btime of /proc/stat)
    Column("started_at_ns", Big),
    # the last moment that jobd or a record shows of a boot that is over
    Column("ended_at_ns", Big),
    Column("tick_ns", Big),  # the kernel's tick, 1/CONFIG_HZ; NULL where it is not known
)

clock = _table(
    "clock",
    _id(),
    Column("boot_id", Big, ForeignKey("boot.id"), nullable=False),
    # monotonic time from which the offsets hold: a step or a suspend makes a new row
    Column("since_ns", Big, nullable=False),
    Column("offset_ns", Big, nullable=False),  # CLOCK_REALTIME - CLOCK_MONOTONIC
    Column("boottime_offset_ns", Big, nullable=False),  # CLOCK_BOOTTIME - CLOCK_MONOTONIC
)

collector = _table(
    "collector",  # one row per run of jobd: when kernel events were received
    _id(),
    Column("boot_id", Big, ForeignKey("boot.id"), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("since_ns", Big, nullable=False),  # listening since
    Column("heard_ns", Big, nullable=False),  # every event up to here is in the warehouse
    Column("stopped_ns", Big),  # a clean stop; NULL while running, or if it was killed
    Column("events", Big, nullable=False),
    Column("lost", Big, nullable=False),
    # job ids below this may have been given out, even if no job has them
    Column("job_ids_until", Big, nullable=False),
    Index("collector_boot", "boot_id", "since_ns"),  # when jobd first listened in a boot
)

gap = _table(
    "gap",  # every known loss: what may be missing, and when
    _id(),
    Column("boot_id", Big, ForeignKey("boot.id")),
    # boot, shutdown, crash, down, overrun, sequence, backlog, replaced, taskstats, file
    Column("kind", Text, nullable=False),
    Column("from_ns", Big),  # monotonic
    Column("to_ns", Big),
    Column("lost", Big),  # how many events or records, where that is known
    Column("acct_file_id", Big, ForeignKey("acct_file.id")),
    Column("from_position", Big),  # bytes, for a file
    Column("to_position", Big),
    Column("note", Text),
)

comm = _table(
    "comm",  # command names, each stored once
    _id(),
    # bytes that are not printable UTF-8 are written as \xNN, a backslash as \\
    Column("name", Text, nullable=False, unique=True),
)

process = _table(
    "process",  # one row per incarnation: one use of a pid
    _id(),
    Column("boot_id", Big, ForeignKey("boot.id"), nullable=False),
    Column("pid", Integer, nullable=False),  # the thread group id
    Column("parent_id", Big),  # the parent's incarnation (process.id), NULL where unknown
    Column("origin", Integer, nullable=False),  # codes.Origin
    # the parent's pid, only if the fork was received but the parent's incarnation was not known
    Column("parent_pid", Integer),
    Column("parent_inferred", Integer),  # 1 if the parent was inferred; else NULL
    Column("start_ns", Big, nullable=False),  # monotonic
    Column("clock_id", Big, ForeignKey("clock.id"), nullable=False),  # the clock at the start
    Column("elapsed_ns", Big),  # monotonic, so never negative; NULL while it runs
    Column("end_clock_id", Big, ForeignKey("clock.id")),
    Column("end_source", Integer),  # codes.End
    # wait status; NULL with a known end: unknown which thread's counts (elsa/state/ending.py)
    Column("exit_status", Integer),
    Column("leader_status", Integer),  # the leader's own, only where it differs
    Column("uid", Big),  # real uid as last known from events and /proc
    # as last seen while it ran; the acct record is more exact
    Column("comm_id", Big, ForeignKey("comm.id")),
    # the second since 1970 (real time) in which it ended; kept by triggers
    # (elsa/store/rollup_triggers.py)
    Column("ended_s", Big),
    _hour_of("ended_s"),
    _text_of("ended_s"),
    # a job that it inherited from its parent and was in from its start to its end, if there is one:
    # of several the automatic one, or else the first; all other memberships are rows of table
    # membership
    Column("inherited_job_id", Big, ForeignKey("job.id")),
    # path of the program that it executed last, as it was given to execve(2); NULL: none, or not
    # known
    Column("exe_id", Big, ForeignKey("long_text.id")),
    Index("process_ended", "ended_hour"),  # finds the processes of a window
    # Those of a time as people write it, and the last ones: without it, SQLite makes the columns of
    # a million rows to find ten.
    Index("process_ended_at", "ended_at"),
    Index(
        "process_orphan", "boot_id", "parent_pid", sqlite_where=text("parent_pid is not null")
    ),  # a record may still show their parent
    Index(
        "process_inexact", "id", sqlite_where=text("end_source = 2 or end_source >= 4")
    ),  # a record may still show their end more exactly
    Index(
        "process_running", "boot_id", "pid", sqlite_where=text("elapsed_ns is null")
    ),  # a restart reads these
    # Few processes: finds those that had a pid at some time and started long before
    # (elsa/store/process_lookup.py). With its last columns, reports count the longest of them
    # without reading their rows, which are far apart.
    Index(
        "process_lasting",
        *("boot_id", "pid", "elapsed_ns", "ended_hour"),
        sqlite_where=text("elapsed_ns > 10000000000"),
    ),
)

process_start_block = _table(
    # which blocks of ids hold the processes that started in a time slot of ten seconds, to find
    # them (elsa/store/process_lookup.py); kept by triggers
    "process_start_block",
    Column("boot_id", Big, ForeignKey("boot.id"), primary_key=True, autoincrement=False),
    # process.start_ns in whole 10 s
    Column("time_slot", Integer, primary_key=True, autoincrement=False),
    Column("block", Big, primary_key=True, autoincrement=False),  # process.id in whole 1024s
    rowid=False,
)

job_block = _table(
    # which blocks of ids hold members of a job, to find them (elsa/store/job_members.py); kept by
    # triggers
    "job_block",
    Column("job_id", Big, ForeignKey("job.id"), primary_key=True, autoincrement=False),
    Column("block", Big, primary_key=True, autoincrement=False),  # process.id in whole 128s
    Index("job_block_block", "block"),  # finds the jobs of a process
    rowid=False,
)


def _counters() -> list[Column[int]]:
    """What taskstats counts, in the kernel's units; NULL if this kernel does not count it."""
    return [Column(measure.column, Big) for measure in COUNTERS]


usage = _table(
    "usage",  # one row per incarnation whose end taskstats reported: sums over its threads
    Column("process_id", Big, primary_key=True, autoincrement=False),
    Column("threads", Integer, nullable=False),  # how many of its threads are in the sums
    # 0: the exits of some threads were lost, so memory, faults and I/O are lower bounds
    Column("complete", Integer, nullable=False),
    *_counters(),
    *(Column(measure.column, Big) for measure in PEAKS),
    Column("exe_dev", Big),
    Column("exe_inode", Big),
)

usage_reading = _table(
    # when the counters of living processes were read; each reading ends an interval
    "usage_reading",
    _id(),
    Column("clock_id", Big, ForeignKey("clock.id"), nullable=False),
    Column("since_ns", Big, nullable=False),  # monotonic: the reading of all processes before
    Column("until_ns", Big, nullable=False),  # monotonic: the end of the interval, included
    # hours since 1970 (real time) of the interval's last nanosecond: the usage counts there
    Column("hour", Integer, nullable=False),
    # 1: all processes were read; 0: some that entered or left a job then; 2: what processes that
    # started in the hour had used when they were first read, if that was before jobd first ran
    Column("of_all", Integer, nullable=False),
    Index("usage_reading_hour", "hour"),
)

usage_interval = _table(
    # what a living process used in the interval before a reading; no row: nothing
    "usage_interval",
    Column("reading_id", Big, primary_key=True, autoincrement=False),
    Column("process_id", Big, primary_key=True, autoincrement=False),
    Column("user_us", Big),  # time on a CPU, divided as utime and stime are
    Column("system_us", Big),
    *(Column(measure.column, Big) for measure in IN_INTERVALS),
    Column("rss_kib", Big),  # resident at the reading
    rowid=False,
)

usage_so_far = _table(
    # what a process had used at a reading: the sums of its rows in usage_interval up to then, and
    # the counters that these do not have
    "usage_so_far",
    Column("process_id", Big, primary_key=True, autoincrement=False),
    # monotonic: when it entered or left a job; 0: at the newest reading
    Column("edge_ns", Big, primary_key=True, autoincrement=False),
    Column("until_ns", Big, nullable=False),  # monotonic: the end of the last of these intervals
    Column("gid", Big),  # real gid
    Column("forked_only", Integer),  # 1: it had not called exec since its fork
    Column("rss_kib", Big),  # the most that a reading showed
    Column("user_us", Big),
    Column("system_us", Big),
    *_counters(),
    rowid=False,
)

long_text = _table(
    "long_text",  # long strings, each stored once
    _id(),
    Column("value", Text, nullable=False, unique=True),
)

program = _table(
    "program",  # what an incarnation executed last, if it ran long enough to be read in /proc
    Column("process_id", Big, primary_key=True, autoincrement=False),
    # arguments, quoted as for a shell, secrets replaced
    Column("cmdline_id", Big, ForeignKey("long_text.id")),
    Column("exe_id", Big, ForeignKey("long_text.id")),
    Column("cwd_id", Big, ForeignKey("long_text.id")),
    Column("cgroup_id", Big, ForeignKey("long_text.id")),
    Column("loginuid", Big),
    Column("session", Integer),  # pid of the session's leader
)

event = _table(
    "event",  # fork, exec and exit events as the kernel sent them, one per thread
    _id(),
    Column("boot_id", Big, ForeignKey("boot.id"), nullable=False),
    Column("kind", Integer, nullable=False),  # codes.EventKind
    Column("time_ns", Big, nullable=False),  # monotonic
    Column("cpu", Integer, nullable=False),
    Column("pid", Integer, nullable=False),  # of the thread: the child's in a fork
    Column("tgid", Integer, nullable=False),  # of its process
    Column("parent_pid", Integer),  # fork, exit; NULL in an exit whose parent was already reaped
    Column("parent_tgid", Integer),
    Column("code", Integer),  # exit: wait status of the thread
    Column("signal", Integer),  # exit: the signal sent to the parent
    Column("process_id", Big),  # the incarnation concerned
)

job = _table(
    "job",
    _id(),  # never reused
    Column("boot_id", Big, ForeignKey("boot.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("owner_uid", Big, nullable=False),
    Column("created_at_ns", Big, nullable=False),
    Column("closed_at_ns", Big),
    Column(
        "close_reason",
        Text,
        # request, ended (its last process ended, and the job closes itself), reboot, disabled
        # (it was automatic, and jobd started without automatic jobs), defined, defining, failed
    ),
    Column("closes_itself", Integer, nullable=False),  # 1: when its last process has ended
    # manual: made by a request or after the fact; every other kind: automatic, by a rule
    Column("kind", Text, nullable=False, server_default="manual"),
    # Of an automatic job, and of one for which `elsa run` made a control group: the group's path,
    # its id (the inode of its directory in cgroup2), and the invocation of the systemd unit.
    Column("cgroup_id", Big, ForeignKey("long_text.id")),
    Column("cgroup_inode", Big),
    Column("invocation", Text),
    # The most memory of all members together that a reading of jobd showed, and how it was read
    # (codes.MemoryBy). NULL: none was made, mostly since the job's control group counts it.
    Column("memory_kib", Big),
    Column("memory_by", Integer),
    # jobd reads the newest jobs of a user while it receives events, however many others have.
    Index("job_owner", "owner_uid"),
)

job_tag = _table(
    "job_tag",
    Column("job_id", Big, ForeignKey("job.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    rowid=False,
)

job_cgroup = _table(
    # the counters of a job's control group, as last read while the group existed; what the group
    # had counted before the job was made is subtracted
    "job_cgroup",
    Column("job_id", Big, ForeignKey("job.id"), primary_key=True, autoincrement=False),
    Column("read_ns", Big, nullable=False),  # monotonic: when they were read
    Column("final", Integer, nullable=False),  # 1: read after the last member had ended
    Column("user_us", Big),  # cpu.stat
    Column("system_us", Big),
    Column("memory_peak", Big),  # bytes; NULL without the memory controller, before Linux 5.19
    Column("read_bytes", Big),  # io.stat, over all devices; NULL without the io controller
    Column("write_bytes", Big),
    # what was subtracted, so that a later jobd can go on
    Column("user_us_before", Big),
    Column("system_us_before", Big),
    Column("memory_peak_before", Big),
    Column("read_bytes_before", Big),
    Column("write_bytes_before", Big),
)

job_memory = _table(
    # memory of all living members of a job together at a reading, where it had changed by more
    # than 1/64 since the row before, or was the most so far
    "job_memory",
    Column("job_id", Big, ForeignKey("job.id"), primary_key=True, autoincrement=False),
    Column("read_ns", Big, primary_key=True, autoincrement=False),  # monotonic
    Column("memory_kib", Big, nullable=False),  # 0: no member was alive
    Column("memory_by", Integer, nullable=False),  # codes.MemoryBy
    rowid=False,
)

membership = _table(
    # one row per membership of an incarnation in a job, unless process.inherited_job_id says it
    "membership",
    Column("job_id", Big, ForeignKey("job.id"), primary_key=True, autoincrement=False),
    Column("process_id", Big, primary_key=True, autoincrement=False),
    Column("since_ns", Big, primary_key=True, autoincrement=False),  # monotonic; 0: from its start
    Column("until_ns", Big),  # monotonic; NULL: to its end
    Column("how", Integer, nullable=False),  # codes.How
    Column("left_hour", Integer),  # of until_ns, in hours since 1970 (real time); kept by triggers
    Index("membership_process", "process_id"),
    # Finds the members that left in a window, and when a member left.
    Index("membership_left", "left_hour", sqlite_where=text("left_hour is not null")),
    Index(
        "membership_left_of", "process_id", "left_hour", sqlite_where=text("left_hour is not null")
    ),
    rowid=False,
)

tariff = _table(
    "tariff",  # a version of the prices of usage; never altered, only withdrawn
    _id(),
    Column("valid_from_at_ns", Big, nullable=False),  # real; until the next version in force
    Column("added_at_ns", Big, nullable=False),
    Column("withdrawn_at_ns", Big),  # real; NULL while it is in force
    Column("currency", Text, nullable=False),
    # IANA name: the zone of its months, weekdays and hours
    Column("zone", Text, nullable=False),
    Column("decimals", Integer, nullable=False),  # digits after the point of a charge
    Column("note", Text),
    # prices, as decimal numbers: for one process that ended, ...
    Column("process", Text, nullable=False),
    Column("cpu_hour", Text, nullable=False),
    Column("memory_gib_hour", Text, nullable=False),  # ... resident memory integrated over CPU time
    Column("read_gib", Text, nullable=False),  # ... from storage
    Column("written_gib", Text, nullable=False),
)

tariff_factor = _table(
    # the factor of all prices in an hour of the week; 1 if there is no row
    "tariff_factor",
    Column("tariff_id", Big, ForeignKey("tariff.id"), primary_key=True, autoincrement=False),
    Column("weekday", Integer, primary_key=True, autoincrement=False),  # 0 is Monday
    # from 0, in the zone of the tariff
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("factor", Text, nullable=False),
    rowid=False,
)

acct_file = _table(
    # one row per accounting file that was read; identified by its content, since names and inode
    # numbers are reused
    "acct_file",
    _id(),
    Column("host_id", Big, ForeignKey("host.id"), nullable=False),
    Column("path", Text, nullable=False),  # where it was last seen
    Column("device", Big, nullable=False),
    Column("inode", Big, nullable=False),
    # bytes on disk when it was last read to its end, and ...
    Column("disk_size", Big, nullable=False),
    # ... its modification time: if both are unchanged it is not opened again
    Column("modified_at_ns", Big, nullable=False),
    Column("head", LargeBinary, nullable=False),  # its first record
    # the last bytes before `position`: with the head they identify this file
    Column("tail", LargeBinary, nullable=False),
    Column("position", Big, nullable=False),  # bytes consumed: the resume point
    Column("records", Big, nullable=False),  # records read
    Column("skipped_bytes", Big, nullable=False),
    Column("read_at_ns", Big, nullable=False),  # when it was last read
)

# A second in 2106 stands for a second before 1970: btime has no sign (elsa/decode/acct.py).
_SUMMED_UP = "btime + cast(etime / 100 as integer) + coalesce(late_s, 0)"
_ENDED = f"{_SUMMED_UP} - case when {_SUMMED_UP} >= {YEAR_2106} then {WRAP} else 0 end"
_UNJOINED = text("process_id is null and join_outcome <> 3")

acct = _table(
    "acct",  # one row per acct v3 record, raw (struct acct_v3, include/uapi/linux/acct.h)
    _id(),
    Column("acct_file_id", Big, ForeignKey("acct_file.id"), nullable=False),
    Column("position", Big, nullable=False),  # byte offset of the record in its file
    Column("process_id", Big),  # the incarnation that it was joined to
    Column("join_outcome", Integer, nullable=False),  # codes.Join
    Column("flag", Integer, nullable=False),
    Column("version", Integer, nullable=False),  # with bit 0x80 where the record is big-endian
    Column("tty", Integer, nullable=False),
    Column("exitcode", Integer, nullable=False),  # of the group's leader
    Column("uid", Big, nullable=False),
    Column("gid", Big, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("ppid", Integer, nullable=False),  # the parent at the end
    Column("btime", Big, nullable=False),  # seconds since 1970
    Column("etime", REAL, nullable=False),  # 1/100 s
    Column("utime", Big, nullable=False),  # 1/100 s, comp_t decoded; so are those below
    Column("stime", Big, nullable=False),  # 1/100 s
    Column("mem", Big, nullable=False),  # KiB of virtual memory at the end
    Column("io", Big, nullable=False),  # not characters: see docs/schema.md
    Column("rw", Big, nullable=False),
    Column("minflt", Big, nullable=False),
    Column("majflt", Big, nullable=False),
    Column("swaps", Big, nullable=False),
    Column("comm_id", Big, ForeignKey("comm.id"), nullable=False),
    # NULL if the record itself shows the second of the end. Else etime was cut to 24 bits, and the
    # end was at least this many seconds later, inferred from the position in the file.
    Column("late_s", Integer),
    Column("ended_s", Big, Computed(_ENDED, persisted=False)),  # the second of the end, since 1970
    _hour_of("ended_s"),
    _text_of("ended_s"),
    Index("acct_process", "process_id", unique=True, sqlite_where=text("process_id is not null")),
    Index("acct_pending", "pid", sqlite_where=text("join_outcome = 0")),
    # Finds the records of a window that are not joined to a process.
    Index("acct_unjoined", "ended_hour", sqlite_where=_UNJOINED),
    Index("acct_unjoined_at", "ended_at", sqlite_where=_UNJOINED),
    Index("acct_late", "id", sqlite_where=text("late_s is not null")),  # the audit counts them
    Index("acct_self", "id", sqlite_where=text("join_outcome = 3")),  # the audit counts them apart
)


def _sums(summed: dict[str, Measure]) -> list[Column[int]]:
    return [
        Column(name, REAL if name in aggregates.REAL else Big)
        for name in aggregates.columns(summed)
    ]


def _rollup(
    name: str, keys: list[Column[int]], sums: dict[str, Measure], *more: SchemaItem
) -> Table:
    """Sums over what ended in an hour. If the hour is not ready in rollup_hour, only rows of
    pruned processes are valid.
    """
    hour, pruned = (
        Column("hour", Integer, nullable=False),
        Column("pruned", Integer, nullable=False),
    )
    indexes = (
        Index(f"{name}_hour", "hour"),
        Index(f"{name}_pruned", "hour", sqlite_where=text("pruned = 1")),
    )
    return _table(name, hour, pruned, *keys, *_sums(sums), *indexes, *more)


def _of_day(
    name: str, keys: list[Column[int]], sums: dict[str, Measure], *more: SchemaItem
) -> Table:
    """Sums over the hours of a day, of pruned processes and of others."""
    return _table(
        name,
        Column("day", Integer, nullable=False),
        *keys,
        *_sums(sums),
        Index(f"{name}_day", "day"),
        *more,
    )


rollup_hour = _table(
    # one row per hour that is rolled up; a change to what ended in it deletes the row
    "rollup_hour",
    Column("hour", Integer, primary_key=True, autoincrement=False),  # hours since 1970, real time
    Column("ready", Integer, nullable=False),  # 0 while it is being rolled up
    # real time at which the sums were stored, so another version of them has another time; NULL
    # while the hour is being rolled up
    Column("made_at_ns", Big),
)
rollup_pruned = _table(
    # the hours of which sums of pruned processes were deleted: what was pushed to a fleet
    # database before is more than what is here now
    "rollup_pruned",
    Column("hour", Integer, primary_key=True, autoincrement=False),
)


def _host_id() -> Column[int]:
    return Column("host_id", Big, ForeignKey("host.id"))


def _of_command() -> list[Column[int]]:
    comm_id = Column("comm_id", Big, ForeignKey("comm.id"))
    return [comm_id, Column("forked_only", Integer), _host_id()]


def _of_user() -> list[Column[int]]:
    # in_job: 1 for processes that were ever in a job, 0 for others and for records without a
    # process
    in_job = Column("in_job", Integer, nullable=False)
    return [Column("uid", Big), Column("gid", Big), in_job, _host_id()]


# pruned 1: of processes that were pruned; 0: of processes in the warehouse
rollup_command = _rollup("rollup_command", _of_command(), ROLLED)
rollup_user = _rollup("rollup_user", _of_user(), ROLLED)
rollup_job = _rollup(
    "rollup_job",
    [Column("job_id", Big, ForeignKey("job.id"), nullable=False)],
    ROLLED_OF_JOB,
    Index("rollup_job_job", "job_id"),
)
rollup_day = _table(
    # one row per day all of whose hours are in the tables below; when one of the hours becomes
    # stale, the row and the sums of the day are deleted
    "rollup_day",
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970, UTC
)
rollup_day_command = _of_day("rollup_day_command", _of_command(), ROLLED)
rollup_day_user = _of_day("rollup_day_user", _of_user(), ROLLED)
rollup_day_job = _of_day(
    "rollup_day_job",
    [Column("job_id", Big, ForeignKey("job.id"), nullable=False)],
    ROLLED_OF_JOB,
    Index("rollup_day_job_job", "job_id"),
)
rollup_day_total = _table(
    "rollup_day_total",  # sums over everything that ended in an hour of such a day
    Column("hour", Integer, nullable=False),
    *_sums(ROLLED),
    Index("rollup_day_hour_hour", "hour"),
)
rollup_audit = _table(
    # what ended in an hour, by class (see the view audit_hour); deleted with the row in rollup_hour
    "rollup_audit",
    Column("hour", Integer, nullable=False),
    Column("boot_id", Big, ForeignKey("boot.id")),
    Column("class", Text, nullable=False),
    Column("before_first_start", Integer),
    *_sums(OF_AUDIT),
    Index("rollup_class_hour", "hour"),
)
rollup_unconfirmed = _table(
    # the incarnations of such an hour that only one source reports, or whose join is uncertain
    "rollup_unconfirmed",
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("process_id", Big, primary_key=True, autoincrement=False),
    rowid=False,
)
