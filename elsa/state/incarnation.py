"""An incarnation, a process as /proc shows it, and the changes to be stored. Plain data, which
elsa/state/process_table.py changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from elsa.state.clock import Clock
from elsa.state.codes import End, Origin
from elsa.state.ending import ThreadEnds, ThreadExits
from elsa.state.intervals import Reading, Used
from elsa.state.jobs import MemoryRow

# A start time from /proc is cut to a clock tick of 1/100 s, and its conversion may be one tick too
# low.
TICK_NS = 10_000_000
# How far a start from /proc may be too late by that conversion.
CLOCK_SLACK_NS = 4_000_000
# As plain numbers: SQLite's module has to convert members of an enum one by one, and Python 3.11
# takes ten times as long to look one up.
EXITED = int(End.EXIT)
FORKED, SHOWN = int(Origin.FORK), int(Origin.SNAPSHOT)
NO_THREAD_ENDS = ThreadEnds()
UNSEEN = -1
"""`Incarnation.seen_ns` of a stored process that ran when a jobd stopped and that /proc has not
shown since. Most of these have ended meanwhile; then events and messages with their pid are of
other processes.
"""
STRANGER = 0
"""`Incarnation.id` of a process that nothing but its end is known of, and that is not stored."""
EventRow = tuple[
    int, int, int, int, int, int | None, int | None, int | None, int | None, int | None
]
"""kind, time_ns, cpu, pid, tgid, parent_pid, parent_tgid, code, signal, process_id"""
ProgramRow = tuple[int, str | None, str | None, str | None, str | None, int | None, int | None]
"""process_id, cmdline, exe, cwd, cgroup, loginuid, session"""


class ProcSnapshot(NamedTuple):
    """A process as /proc showed it."""

    pid: int
    ppid: int
    start_ns: int
    """Monotonic, cut to a tick."""
    threads: int
    zombie: bool
    """The leader has exited; the process has ended unless other threads remain (`threads` > 1)."""
    uid: int | None
    comm: bytes
    seen_ns: int
    """Monotonic time just before /proc was read."""
    session: int = 0
    """Pid of the session's leader."""

    @property
    def over(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.zombie and self.threads <= 1


@dataclass(slots=True)
class Moves:
    """How a process entered jobs after its start, and left jobs."""

    since: dict[int, int] = field(default_factory=dict)
    """When it entered a job."""
    left: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Since when it was in a job from which it was removed, and until when."""
    swept: tuple[int, ...] = ()
    """Jobs that it entered, or is about to, with all its descendants."""


class Incarnation:
    """A process: one use of a pid, from fork to end."""

    __slots__ = (
        "ancestor",
        "automatic",
        "comm",
        "elapsed_ns",
        "end_clock",
        "end_source",
        "ends",
        "exe",
        "exec_ns",
        "exits",
        "first_exec_ns",
        "group",
        "group_ns",
        "id",
        "inherited_job_id",
        "jobs",
        "leader_status",
        "moves",
        "origin",
        "parent_id",
        "parent_inferred",
        "parent_pid",
        "pid",
        "program_ns",
        "reported_status",
        "seen_ns",
        "start_clock_id",
        "start_ns",
        "status",
        "stored",
        "threads",
        "uid",
        "used",
    )

    def __init__(self, id_: int, pid: int, start_ns: int, clock_id: int, origin: int) -> None:
        self.id = id_
        self.pid = pid
        self.start_ns = start_ns
        self.start_clock_id = clock_id
        self.origin = origin
        self.parent_id: int | None = None
        self.parent_pid: int | None = None
        """Only if the fork was received and the parent's incarnation is not known."""
        self.parent_inferred: int | None = None
        self.ancestor: Incarnation | None = None
        """The parent; once the parent has ended, the parent's nearest ancestor that was alive then.
        So no chain of ended processes is kept.
        """
        self.threads = 1
        self.seen_ns = 0
        """When /proc showed it, else 0 or UNSEEN. Events of its threads before this moment are
        mostly counted in `threads` already.
        """
        self.jobs: tuple[int, ...] = ()
        self.moves: Moves | None = None
        """How it entered jobs and left them; None: it is in those of its birth, all open."""
        self.group = 0
        """Id of its control group; 0: not known."""
        self.group_ns = 0
        """When that was read from /proc; 0: it was not."""
        self.automatic: int | None = None
        """Its automatic job, which is among `jobs`."""
        self.inherited_job_id: int | None = None
        """A job that it inherited from its parent, until it leaves that: such a membership is a
        column of its row, and no row of table membership. Of several jobs it is the automatic one,
        or else the first.
        """
        self.first_exec_ns = 0
        """When it executed its first program; 0: it has executed none since its fork."""
        self.exe: str | None = None
        """Path of the program that it executed last, as it was given to execve(2)."""
        self.uid: int | None = None
        self.comm: str | None = None
        self.program_ns = 0
        """When /proc was read for the program that is stored as the last that it executed; 0: no
        program is stored.
        """
        self.elapsed_ns: int | None = None
        self.end_clock: Clock | None = None
        self.end_source: int | None = None
        self.status: int | None = 0
        """The wait status by its threads' exits so far; None: they do not decide it."""
        self.exits: ThreadExits | None = None
        """How its threads ended since its last exec; None if it has had only one."""
        self.ends = NO_THREAD_ENDS
        """The same as taskstats reports it."""
        self.exec_ns: int | None = None
        """When it called exec and that ended its other threads."""
        self.reported_status: int | None = None
        """The wait status that the process that waited for it reported, or taskstats where no exit
        was received.
        """
        self.leader_status: int | None = None
        self.stored = False
        self.used: Used | None = None
        """What it had used when its counters were last read; None: they were not."""

    @property
    def thread_count_uncertain(self) -> bool:
        """Whether `threads` comes from /proc and so may be wrong."""
        return self.seen_ns > 0

    @property
    def may_be_over(self) -> bool:
        """Whether it ran when a jobd stopped, and nothing shows that it still did afterwards."""
        return self.seen_ns == UNSEEN

    @property
    def end_ns(self) -> int:
        """When it ended, once it has."""
        return self.start_ns + (self.elapsed_ns or 0)

    @property
    def exit_status(self) -> int | None:
        """Its wait status, once its exit was received; None also if its threads' exits do not
        decide it.
        """
        if self.reported_status is not None:
            return self.reported_status
        return self.status if self.end_source == EXITED else None

    def member_since(self, job_id: int) -> int:
        """Monotonic time since which it is in a job; 0 if it is since its start."""
        return self.moves.since.get(job_id, 0) if self.moves is not None else 0


@dataclass
class Changes:
    """What is to be stored: new and changed incarnations, events, memberships and usage."""

    started: list[Incarnation] = field(default_factory=list)
    amended: dict[int, Incarnation] = field(default_factory=dict)
    """By id."""
    events: list[EventRow] = field(default_factory=list)
    entered: list[tuple[int, int, int, None, int]] = field(default_factory=list)
    """job_id, process_id, since_ns, until_ns, how"""
    left: list[tuple[int, int, int]] = field(default_factory=list)
    """until_ns, job_id, process_id"""
    over: list[tuple[int, int]] = field(default_factory=list)
    """process_id, end_ns: it entered or left a job, and then it turned out to have ended before."""
    dropped: dict[tuple[int, int], None] = field(default_factory=dict)
    """job_id, process_id: memberships from the start that turned out to be another job's"""
    usage: list[tuple[int | None, ...]] = field(default_factory=list)
    """In the order of the columns of table usage."""
    programs: dict[int, ProgramRow] = field(default_factory=dict)
    """By process_id; only the newest program."""
    readings: list[Reading] = field(default_factory=list)
    """What living processes used, by interval."""
    memory: list[MemoryRow] = field(default_factory=list)
    """What the members of jobs needed together."""

    def __len__(self) -> int:
        return sum(len(rows) for rows in vars(self).values())

    def amend(self, life: Incarnation) -> None:
        """An incarnation has changed; one that is still to be stored will be as it is then."""
        if life.stored:
            self.amended[life.id] = life

    def shed(self) -> int:
        """Drop what memory has no room for: events, usage, programs, and processes that have ended
        and were never stored. Returns how many.

        What is kept is bounded by the number of living processes.
        """
        dropped = {life.id for life in self.started if life.elapsed_ns is not None}
        lost = len(self.events) + len(dropped) + len(self.usage)
        self.events, self.usage, self.programs = [], [], {}
        self.started = [life for life in self.started if life.elapsed_ns is None]
        self.entered = [entry for entry in self.entered if entry[1] not in dropped]
        self.left = [leave for leave in self.left if leave[2] not in dropped]
        return lost


def still_runs(life: Incarnation, shown: ProcSnapshot | None) -> bool:
    """Whether /proc showed this process alive; None: it showed none with its pid."""
    return shown is not None and not shown.over and same_start(life, shown.start_ns)


def same_start(life: Incarnation, start_ns: int) -> bool:
    """Whether a start time that /proc shows, which is cut to a tick, is that of this process; if
    not, it is that of a later one.

    The event of a fork comes after the start, on a busy host much later, and before the process can
    end. So every later process with its pid started after the event.
    """
    if life.origin == FORKED:
        return start_ns <= life.start_ns + CLOCK_SLACK_NS
    return abs(life.start_ns - start_ns) <= 2 * TICK_NS


def started_after(life: Incarnation, time_ns: int) -> bool:
    """Whether a process started after a moment near its start; a start from /proc may be too early
    by ticks.
    """
    return time_ns < life.start_ns + (2 * TICK_NS if life.origin == SHOWN else 0)
