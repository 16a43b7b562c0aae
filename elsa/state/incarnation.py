"""One life of one pid, how /proc shows one, and what of lives is to be stored. Plain data;
elsa/state/process_table.py moves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from elsa.state.clock import Clock
from elsa.state.codes import End, Origin
from elsa.state.ending import Ends, Exits

# A start time out of /proc is cut to a clock tick of 1/100 s, and its conversion may be one tick
# too low.
TICK_NS = 10_000_000
NOT_TOLD = Ends()
EventRow = tuple[
    int, int, int, int, int, int | None, int | None, int | None, int | None, int | None
]


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
    """The leader has exited; the process is over unless other threads remain (`threads` > 1)."""
    uid: int | None
    comm: bytes
    seen_ns: int
    """Monotonic time just before it was looked at."""
    session: int = 0
    """Pid of the session's leader."""

    @property
    def over(self) -> bool:
        """Only its exit status remains to be fetched."""
        return self.zombie and self.threads <= 1


class Incarnation:
    """One life of one pid."""

    __slots__ = (
        "ancestor",
        "comm",
        "elapsed_ns",
        "end_clock",
        "end_source",
        "ends",
        "exec_ns",
        "exits",
        "id",
        "jobs",
        "leader_status",
        "origin",
        "parent_id",
        "parent_inferred",
        "parent_pid",
        "pid",
        "program_ns",
        "seen_ns",
        "since",
        "start_clock_id",
        "start_ns",
        "status",
        "stored",
        "threads",
        "told",
        "uid",
    )

    def __init__(self, id: int, pid: int, start_ns: int, clock_id: int, origin: Origin) -> None:  # noqa: A002
        self.id = id
        self.pid = pid
        self.start_ns = start_ns
        self.start_clock_id = clock_id
        self.origin = origin
        self.parent_id: int | None = None
        self.parent_pid: int | None = None
        """Only where the fork was heard and the parent is not known."""
        self.parent_inferred: int | None = None
        self.ancestor: Incarnation | None = None
        """The parent, or once that is dead what was its nearest living ancestor when it died: so no
        chain of the dead is kept.
        """
        self.threads = 1
        self.seen_ns = 0
        """Where it was found in /proc: events of its threads before this moment are in the count
        already, as far as that is sure.
        """
        self.jobs: tuple[int, ...] = ()
        self.since: dict[int, int] | None = None
        """When it came into a job, for those jobs in which it was not born."""
        self.uid: int | None = None
        self.comm: str | None = None
        self.program_ns = 0
        """When the program was looked at that is stored as the last that it executed; 0: none is.
        """
        self.elapsed_ns: int | None = None
        self.end_clock: Clock | None = None
        self.end_source: int | None = None
        self.status: int | None = 0
        """The wait status, as far as its threads' exits tell while it runs; None: they contradict
        each other.
        """
        self.exits: Exits | None = None
        """How its threads ended since it last executed something; None where there was but one."""
        self.ends = NOT_TOLD
        """The same as taskstats tells it."""
        self.exec_ns: int | None = None
        """When it executed something, which ended other threads of it."""
        self.told: int | None = None
        """The wait status as somebody else than its threads' exits knows it: who waited for it, or
        taskstats where no exit was heard.
        """
        self.leader_status: int | None = None
        self.stored = False

    @property
    def doubtful(self) -> bool:
        """Whether the count of its threads is not sure."""
        return self.seen_ns > 0

    @property
    def exit_status(self) -> int | None:
        """Its wait status, once its end was heard; None as well where nothing decides between its
        threads'.
        """
        if self.told is not None:
            return self.told
        return self.status if self.end_source == End.EXIT else None

    def member_since(self, job_id: int) -> int:
        """Monotonic time since which it is in a job; 0 if from its birth."""
        return self.since.get(job_id, 0) if self.since else 0


@dataclass
class Changes:
    """What is to be stored: new and changed incarnations, events, and stays in jobs."""

    born: list[Incarnation] = field(default_factory=list)
    amended: dict[int, Incarnation] = field(default_factory=dict)
    """By id."""
    events: list[EventRow] = field(default_factory=list)
    entered: list[tuple[int, int, int, None, int]] = field(default_factory=list)
    """job_id, process_id, since_ns, until_ns, how"""
    left: list[tuple[int, int, int]] = field(default_factory=list)
    """until_ns, job_id, process_id"""
    usage: list[tuple[int | None, ...]] = field(default_factory=list)
    """In the order of the columns of table usage."""
    programs: dict[int, ProgramRow] = field(default_factory=dict)
    """By process_id: the newest."""
    counter_snapshots: list[tuple[int | None, ...]] = field(default_factory=list)
    """In the order of the columns of table counter_snapshot."""

    def __len__(self) -> int:
        return sum(len(rows) for rows in vars(self).values())

    def shed(self) -> int:
        """Let go of all that a full memory can do without: events, and lives that are over and were
        never stored; returns how many.

        What stays is bounded by the number of living processes.
        """
        gone = {life.id for life in self.born if life.elapsed_ns is not None}
        lost = len(self.events) + len(gone) + len(self.usage)
        self.events, self.usage, self.programs = [], [], {}
        self.born = [life for life in self.born if life.elapsed_ns is None]
        self.entered = [stay for stay in self.entered if stay[1] not in gone]
        self.left = [stay for stay in self.left if stay[2] not in gone]
        return lost


def same_start(life: Incarnation, start_ns: int) -> bool:
    """Whether a start time, one of the two cut to a tick, is that of this life."""
    return abs(life.start_ns - start_ns) <= 2 * TICK_NS
