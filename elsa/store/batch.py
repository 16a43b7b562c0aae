"""What jobd stores in one transaction: its rows, and the statements that write them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from elsa.decode.cgroups import GroupCounters
from elsa.decode.comm import escape_path
from elsa.state.clock import Clock
from elsa.state.incarnation import Changes, EventRow, Incarnation, ProgramRow
from elsa.state.intervals import Reading
from elsa.state.jobs import Job, MemoryRow
from elsa.store import boots, database, intervals
from elsa.store.string_ids import StringIds

ProcessRow = tuple[Any, ...]
"""Text, text and numbers: in the order of the statements below."""

# ended_s comes last, since only inserts set it: on updates a trigger does.
_PROCESS = (
    "comm_id",
    "exe_id",
    "end_clock_id",
    "end_source",
    "elapsed_ns",
    "exit_status",
    "leader_status",
    "uid",
    "parent_id",
    "parent_pid",
    "parent_inferred",
    "inherited_job_id",
    "origin",
    "start_ns",
    "clock_id",
    "pid",
    "id",
)
_INSERT_PROCESS = f"insert into process ({', '.join(_PROCESS)}, ended_s, boot_id)"
_UPDATE_PROCESS = (
    f"update process set {', '.join(f'{name} = ?' for name in _PROCESS[:-2])} where pid = ? and"
    " id = ?"
)
_INSERT_EVENT = (
    "insert into event (kind, time_ns, cpu, pid, tgid, parent_pid, parent_tgid, code, signal,"
    " process_id, boot_id)"
)
_INSERT_JOB = """
    insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself, kind, cgroup_id,
        cgroup_inode, invocation, memory_kib, memory_by)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    on conflict (id) do update set name = excluded.name, owner_uid = excluded.owner_uid,
        kind = excluded.kind, invocation = excluded.invocation"""
_INSERT_MEMBERSHIP = (
    "insert into membership (job_id, process_id, since_ns, until_ns, how) values (?, ?, ?, ?, ?) on"
    " conflict do nothing"
)
_INSERT_USAGE = "insert or replace into usage"
# An exec changes the command line and the executable; other columns keep their last known value.
_INSERT_PROGRAM = """
    insert into program (process_id, cmdline_id, exe_id, cwd_id, cgroup_id, loginuid, session)
    values (?, ?, ?, ?, ?, ?, ?)
    on conflict (process_id) do update set
        cmdline_id = excluded.cmdline_id,
        exe_id = excluded.exe_id,
        cwd_id = coalesce(excluded.cwd_id, cwd_id),
        cgroup_id = coalesce(excluded.cgroup_id, cgroup_id),
        loginuid = coalesce(excluded.loginuid, loginuid),
        session = coalesce(excluded.session, session)"""
_INSERT_GROUP_COUNTERS = (
    "insert or replace into job_cgroup (job_id, read_ns, final,"
    f" {', '.join(GroupCounters._fields)},"
    f" {', '.join(f'{name}_before' for name in GroupCounters._fields)})"
    f" values ({', '.join('?' * (3 + 2 * len(GroupCounters._fields)))})"
)
_INSERT_MEMORY = "insert or replace into job_memory values (?, ?, ?, ?)"
_RAISE_MEMORY = (
    "update job set memory_kib = ?3, memory_by = ?4 where id = ?1 and coalesce(memory_kib, -1) < ?3"
)
_END_MEMBERSHIP = (
    "update membership set until_ns = ? where job_id = ? and process_id = ? and until_ns is null"
    " and since_ns <= ?"
)


# What a process did after its end, it did not do.
_NEVER_ENTERED = "delete from membership where process_id = ? and since_ns >= ?"
_NEVER_LEFT = "update membership set until_ns = null where process_id = ? and until_ns >= ?"


def process_row(life: Incarnation) -> ProcessRow:
    """An incarnation in its current state, in the column order of the statements above. The first
    columns are the command's name and the program's path, since their ids are not known yet.
    """
    clock, status, leader_status = life.end_clock, life.exit_status, life.leader_status
    return (
        life.comm,
        life.exe,
        None if clock is None else clock.id,
        life.end_source,
        life.elapsed_ns,
        status,
        leader_status if leader_status != status else None,
        life.uid,
        life.parent_id,
        life.parent_pid,
        life.parent_inferred,
        life.inherited_job_id,
        life.origin,
        life.start_ns,
        life.start_clock_id,
        life.pid,
        life.id,
        None if clock is None else clock.second(life.start_ns + (life.elapsed_ns or 0)),
    )


class GroupCounterRow(NamedTuple):
    """The counters of the control group of a job."""

    job_id: int
    read_ns: int
    """Monotonic."""
    final: int
    counted: GroupCounters
    """Since the job was made."""
    before: GroupCounters


@dataclass
class Gap:
    """A known loss of events; times are monotonic."""

    kind: str
    from_ns: int
    to_ns: int
    lost: int | None
    note: str | None = None
    goes_on: bool = False
    """The gap that was written last with this kind and beginning lasted longer than was known."""


@dataclass
class Batch:
    """Everything for one transaction. Rows are copies, since the state changes while they wait."""

    started: list[ProcessRow] = field(default_factory=list)
    amended: list[ProcessRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    entered: list[tuple[int, int, int, None, int]] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    left: list[tuple[int, int, int]] = field(default_factory=list)
    over: list[tuple[int, int]] = field(default_factory=list)
    usage: list[tuple[int | None, ...]] = field(default_factory=list)
    programs: list[ProgramRow] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    memory: list[MemoryRow] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    closed: list[tuple[int | None, str | None, int]] = field(default_factory=list)
    """closed_at_ns, close_reason, job id"""
    group_counters: dict[int, GroupCounterRow] = field(default_factory=dict)
    """By job id."""
    clocks: list[Clock] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    heard_ns: int = 0
    job_ids_until: int = 0
    events_total: int = 0
    lost_total: int = 0
    stopped_ns: int | None = None
    then: list[Callable[[], None]] = field(default_factory=list)
    """Called in the owner's thread (see Writer.collect) once the batch is committed."""

    def take(self, changes: Changes) -> None:
        """Add the state's changes, and mark its incarnations as stored."""
        for life in changes.started:
            self.started.append(process_row(life))
            life.stored = True
        self.amended.extend(map(process_row, changes.amended.values()))
        self.events.extend(changes.events)
        self.entered.extend(
            [row for row in changes.entered if row[:2] not in changes.dropped]
            if changes.dropped
            else changes.entered
        )
        self.dropped.extend(changes.dropped)
        self.left.extend(changes.left)
        self.over.extend(changes.over)
        self.usage.extend(changes.usage)
        self.programs.extend(changes.programs.values())
        self.readings.extend(changes.readings)
        self.memory.extend(changes.memory)

    def as_gap(self, since_ns: int) -> Batch:
        """What to store instead of a batch that cannot be stored: a gap. Its callbacks are dropped,
        since its rows are never committed.
        """
        gap = Gap(
            "backlog", since_ns or self.heard_ns, self.heard_ns, len(self), "could not be stored"
        )
        return Batch(
            clocks=self.clocks,
            gaps=[*self.gaps, gap],
            heard_ns=self.heard_ns,
            events_total=self.events_total,
            lost_total=self.lost_total + len(self),
            stopped_ns=self.stopped_ns,
        )

    def __len__(self) -> int:
        return (
            len(self.started)
            + len(self.amended)
            + len(self.events)
            + len(self.entered)
            + len(self.dropped)
            + len(self.left)
            + len(self.over)
            + len(self.usage)
        )

    @property
    def has_content(self) -> bool:
        """Whether there is anything to store beyond the counters of the collector's row."""
        return bool(
            len(self)
            or self.programs
            or self.readings
            or self.memory
            or self.jobs
            or self.closed
            or self.group_counters
            or self.clocks
            or self.gaps
            or self.then
        )


def write(
    connection: sqlite3.Connection,
    batch: Batch,
    boot_id: int,
    collector_id: int,
    comms: StringIds,
    texts: StringIds,
) -> None:
    """Write a batch in one transaction: all of it or nothing."""
    with database.transaction(connection):
        for clock in batch.clocks:
            boots.add_clock(connection, boot_id, clock)
        _write_jobs(connection, batch.jobs, boot_id, texts)
        rows = [*batch.started, *batch.amended]
        comm_ids = comms.ids(connection, {row[0] for row in rows})
        exe_ids = texts.ids(connection, {row[1] for row in rows})
        started = [(comm_ids[row[0]], exe_ids[row[1]], *row[2:]) for row in batch.started]
        amended = [(comm_ids[row[0]], exe_ids[row[1]], *row[2:-1]) for row in batch.amended]
        # Before the processes: the triggers of these see to the sums of both.
        database.insert_rows(connection, _INSERT_USAGE, batch.usage)
        database.insert_rows(connection, _INSERT_PROCESS, started, (boot_id,))
        connection.executemany(_UPDATE_PROCESS, amended)
        database.insert_rows(connection, _INSERT_EVENT, batch.events, (boot_id,))
        connection.executemany(
            "delete from membership where job_id = ? and process_id = ? and since_ns = 0",
            batch.dropped,
        )
        connection.executemany(_INSERT_MEMBERSHIP, batch.entered)
        connection.executemany(
            _END_MEMBERSHIP,
            [
                (until_ns, job_id, process_id, until_ns)
                for until_ns, job_id, process_id in batch.left
            ],
        )
        connection.executemany(_NEVER_ENTERED, batch.over)
        connection.executemany(_NEVER_LEFT, batch.over)
        intervals.write(connection, batch.readings)
        _write_programs(connection, batch.programs, texts)
        connection.executemany(
            _INSERT_GROUP_COUNTERS,
            [(*row[:3], *row.counted, *row.before) for row in batch.group_counters.values()],
        )
        connection.executemany(_INSERT_MEMORY, batch.memory)
        connection.executemany(_RAISE_MEMORY, batch.memory)
        connection.executemany(
            "update job set closed_at_ns = ?, close_reason = ? where id = ?", batch.closed
        )
        _write_gaps(connection, batch.gaps, boot_id)
        connection.execute(
            "update collector set heard_ns = ?, job_ids_until = max(job_ids_until, ?), events = ?,"
            " lost = ?, stopped_ns = ? where id = ?",
            (
                batch.heard_ns,
                batch.job_ids_until,
                batch.events_total,
                batch.lost_total,
                batch.stopped_ns,
                collector_id,
            ),
        )


def _write_jobs(
    connection: sqlite3.Connection, jobs: Sequence[Job], boot_id: int, texts: StringIds
) -> None:
    """Write jobs that are new, or whose name, owner or tags have changed."""
    groups = [None if job.cgroup is None else escape_path(job.cgroup) for job in jobs]
    ids = texts.ids(connection, groups)
    connection.executemany(
        _INSERT_JOB,
        [
            (
                job.id,
                boot_id,
                job.name,
                job.owner_uid,
                job.created_at_ns,
                int(job.closes_itself),
                job.kind,
                ids[group],
                job.cgroup_inode,
                job.invocation,
                *(job.memory_peak or (None, None)),
            )
            for job, group in zip(jobs, groups, strict=True)
        ],
    )
    connection.executemany(
        "insert or replace into job_tag values (?, ?, ?)",
        [(job.id, *tag) for job in jobs for tag in job.tags.items()],
    )


def _write_programs(
    connection: sqlite3.Connection, programs: Iterable[ProgramRow], texts: StringIds
) -> None:
    rows = list(programs)
    ids = texts.ids(connection, {text for row in rows for text in row[1:5]})
    connection.executemany(
        _INSERT_PROGRAM, [(row[0], *(ids[text] for text in row[1:5]), *row[5:]) for row in rows]
    )


def _write_gaps(connection: sqlite3.Connection, gaps: Iterable[Gap], boot_id: int) -> None:
    for gap in gaps:
        if gap.goes_on:
            connection.execute(
                """update gap set to_ns = ?, lost = lost + ? where id = (
                    select max(id) from gap where boot_id = ? and kind = ? and from_ns = ?)""",
                (gap.to_ns, gap.lost, boot_id, gap.kind, gap.from_ns),
            )
        else:
            connection.execute(
                "insert into gap (boot_id, kind, from_ns, to_ns, lost, note)"
                " values (?, ?, ?, ?, ?, ?)",
                (boot_id, gap.kind, gap.from_ns, gap.to_ns, gap.lost, gap.note),
            )
