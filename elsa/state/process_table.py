"""Process events to incarnations: which life of which pid runs, who its parent is, which jobs it is
in, when and how it ended.

Pure: no I/O and no clock. Events come in queue order, which is the truth across CPUs; what was
found in /proc comes as `ProcSnapshot`. What must be stored gathers in `changes`, which the owner takes
away whenever it likes.

A process ends when its count of threads comes to 0: the leader's own exit is often not the last,
and an exec by another thread makes the leader exit long before the end. Of a process that was found
in /proc the count is not sure (the exit of a thread that /proc shows no more may be on its way), so
the owner is asked to look again: see `doubts`.
"""

from __future__ import annotations

from collections.abc import Iterable

from elsa.decode import events as ev
from elsa.decode.comm import escape_comm
from elsa.decode.events import Event
from elsa.errors import UsageError
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, EventKind, How, Origin
from elsa.state.ending import Ends, Exits, wait_status
from elsa.state.incarnation import (
    TICK_NS,
    Changes,
    Incarnation,
    ProcSnapshot,
    ProgramRow,
    same_start,
)
from elsa.state.jobs import Job, Jobs

# An exit may be heard up to 38 ms after the next life of the same pid has begun; beyond this, it is
# not coming.
LATE_NS = 5_000_000_000
# Who waited for the command of a job tells its wait status soon after its end.
TOLD_WITHIN_NS = 60_000_000_000
# The clocks of two CPUs differ by less than this: what was seen so much later than an exec is what
# that executed.
SKEW_NS = 1_000_000


class Processes:
    """Every living incarnation of one boot."""

    def __init__(self, jobs: Jobs, next_id: int = 2, clocks: Clocks | None = None) -> None:
        self.jobs = jobs
        self.clocks = clocks or Clocks([Clock(0, 0, 0, 0)])
        self.living: dict[int, Incarnation] = {}
        self.changes = Changes()
        self.execed: set[int] = set()
        """Pids that called exec and whose new program and name have not been looked up."""
        self.unsure: dict[int, None] = {}
        """Pids that were found, in order: their program was never looked at, or an exec of theirs
        may have been lost.
        """
        self.uncertain = False
        """Events were lost and what they told is not concluded yet: a pid may have passed to
        another unheard, so lines are inferred.
        """
        self.ended: list[Incarnation] | None = None
        """Where a list is put here, it gathers every life that ends."""
        self.launched: dict[int, tuple[Job, Incarnation]] = {}
        """By job: it and its command, until a while after the end of that."""
        self.doubts: dict[int, Event] = {}
        """The newest exit of a thread of a process whose count of threads is not sure; the owner
        looks in /proc and says what it saw.
        """
        self._late: dict[int, list[tuple[Incarnation, int]]] = {}
        """Lives that owe their exits, oldest first, and by when they were over."""
        self._next_id = next_id

    # --- events
    # -----------------------------------------------------------------------------------------------------------------

    def apply(self, events: Iterable[Event]) -> None:
        """Take in events, in queue order."""
        for event in events:
            what = event.what
            if what == ev.FORK:
                self._fork(event)
            elif what == ev.EXIT:
                self._exit(event)
            elif what == ev.EXEC:
                self._exec(event)
            elif what == ev.UID:
                self._uid(event)
            elif what == ev.COMM:
                self._comm(event)

    def _fork(self, event: Event) -> None:
        _, _, cpu, time_ns, parent_pid, parent_tgid, pid, tgid, _, _ = event
        if pid != tgid:
            life = self._who_was(tgid, time_ns)
            if life is not None and time_ns >= life.seen_ns:
                life.threads += 1
        else:
            life = self._born(time_ns, pid, self._who_was(parent_tgid, time_ns))
            life.parent_pid = parent_tgid or None if life.parent_id is None else None
        self.changes.events.append(
            (
                EventKind.FORK,
                time_ns,
                cpu,
                pid,
                tgid,
                parent_pid,
                parent_tgid,
                None,
                None,
                life.id if life is not None else None,
            )
        )

    def _who_was(self, pid: int, time_ns: int) -> Incarnation | None:
        """Who had a pid: normally the living, but /proc may have shown its next life before all
        events of this one were read.
        """
        life = self.living.get(pid)
        if life is not None and pid in self._late and began_after(life, time_ns):
            return self._late[pid][-1][0]
        return life

    def _born(self, time_ns: int, pid: int, parent: Incarnation | None) -> Incarnation:
        # A fork may be read from the queue after its parent was added to a job, and yet have
        # happened before.
        jobs = parent.jobs if parent is not None else ()
        if parent is not None and parent.since:
            jobs = tuple(job_id for job_id in jobs if parent.member_since(job_id) <= time_ns)
        life = self.living.get(pid)
        if life is not None and self._is_birth_of_found(life, time_ns):
            self._forget_what_was_found(life, time_ns, jobs)
        else:
            if life is not None:
                self._displace(life, time_ns, time_ns)
            life = self._new(pid, time_ns, Origin.FORK)
        if parent is not None:
            life.parent_id = parent.id
            life.ancestor = parent
            life.uid = parent.uid
            life.comm = parent.comm
            life.parent_inferred = 1 if self.uncertain else None
        for job_id in jobs:
            self._enter(life, job_id, 0, How.INFERRED if self.uncertain else How.INHERITED)
        return life

    def _is_birth_of_found(self, life: Incarnation, time_ns: int) -> bool:
        """Whether /proc showed this process before its fork was read; it may do so just before the
        fork gets its time.

        A fork that is older still is that of an earlier life of the pid: that comes first, and what
        /proc showed will be heard in turn.
        """
        if (
            life.origin != Origin.SNAPSHOT
            or time_ns > min(life.start_ns + TICK_NS, life.seen_ns) + TICK_NS
        ):
            return False
        doubt = self.doubts.get(life.pid)
        return doubt is None or doubt.time_ns < life.seen_ns

    def _forget_what_was_found(self, life: Incarnation, time_ns: int, jobs: Iterable[int]) -> None:
        """From its birth on every event of this process is heard: they alone tell its parent, jobs
        and threads.
        """
        self.doubts.pop(life.pid, None)
        if life.pid in self._late:
            earlier, over_ns = self._late[life.pid].pop()
            self._late[life.pid].append((earlier, min(over_ns, time_ns)))
        life.start_ns = time_ns
        life.start_clock_id = self.clocks.at(time_ns).id
        life.origin = Origin.FORK
        life.parent_id = life.ancestor = life.parent_inferred = life.leader_status = None
        life.threads = 1
        life.status, life.exits = 0, None
        life.seen_ns = 0
        for job_id in set(life.jobs) - set(jobs):
            self._leave(life, job_id, time_ns)
            if not life.stored:
                self.changes.left.pop()
                self.changes.entered = [
                    stay for stay in self.changes.entered if stay[:2] != (job_id, life.id)
                ]
        self._amend(life)

    def _displace(self, life: Incarnation, time_ns: int, over_ns: int) -> None:
        """A pid began its next life before the exit of this one was heard: by `over_ns` it was
        over; its exit may still come.
        """
        doubt = self.doubts.get(life.pid)
        if doubt is not None:
            self._end(life, doubt.time_ns, End.EXIT)
            return
        self._end(life, time_ns, End.REUSED)
        self._late.setdefault(life.pid, []).append((life, over_ns))

    def _exec(self, event: Event) -> None:
        _, _, cpu, time_ns, pid, tgid, *_ = event
        life = self.living.get(tgid)
        if life is not None:
            if life.threads != 1 or life.exits:
                life.exec_ns = time_ns
            life.status, life.exits = 0, None
            if life.program_ns < time_ns + SKEW_NS:  # else it is this program that was looked at
                life.comm = None
                self.execed.add(tgid)
        self.changes.events.append(
            (
                EventKind.EXEC,
                time_ns,
                cpu,
                pid,
                tgid,
                None,
                None,
                None,
                None,
                life.id if life is not None else None,
            )
        )

    def _exit(self, event: Event) -> None:
        _, _, cpu, time_ns, pid, tgid, code, signal, parent_pid, parent_tgid = event
        life = self.living.get(tgid)
        if tgid in self._late and self._is_late(event, life):
            life = self._count_late_exit(event)
        elif life is not None:
            self._count_exit(life, event)
        self.changes.events.append(
            (
                EventKind.EXIT,
                time_ns,
                cpu,
                pid,
                tgid,
                parent_pid or None,
                parent_tgid or None,
                code,
                signal,
                life.id if life is not None else None,
            )
        )

    def _count_exit(self, life: Incarnation, event: Event) -> None:
        self._note_status(life, event)
        if life.doubtful:
            self.doubts[life.pid] = event
            return
        life.threads -= 1
        if life.threads <= 0:
            self._end(life, event.time_ns, End.EXIT)

    @staticmethod
    def _note_status(life: Incarnation, event: Event) -> None:
        """How a thread ended: of a process with one, that is its wait status."""
        life.status = event.c
        if event.a == life.pid:
            life.leader_status = event.c
        if life.threads > 1 or life.doubtful or life.exits is not None:
            life.exits = life.exits or Exits()
            life.exits.note(event.a, event.c, event.cpu, event.time_ns)

    def _is_late(self, event: Event, life: Incarnation | None) -> bool:
        """Whether this is the exit that an earlier life of the pid still owes, and not one of
        `life`, which has the pid now.

        The earlier life was reaped before the pid was given out again, so its late exits name no parent or bear an earlier time. Threads
        never name a parent; one that exits while the new life has several is taken to be of that.
        """
        late, _ = self._late[event.b][0]
        if event.time_ns - late.start_ns - (late.elapsed_ns or 0) > LATE_NS:
            return False
        if life is None or began_after(life, event.time_ns):
            return True
        return event.e == 0 and (event.a == event.b or life.threads == 1)

    def _count_late_exit(self, event: Event) -> Incarnation:
        owing = self._late[event.b]
        late, over_ns = owing[0]
        late.threads -= 1
        self._note_status(late, event)
        if late.threads <= 0:
            owing.pop(0)
            if not owing:
                del self._late[event.b]
            late.end_source = End.EXIT
            self._date_end(late, min(over_ns, event.time_ns))
            self._settle_status(late)
            self._amend(late)
        return late

    def _uid(self, event: Event) -> None:
        life = self.living.get(event.b)
        if life is not None and life.uid != event.c:
            life.uid = event.c
            self._amend(life)

    def _comm(self, event: Event) -> None:
        life = self.living.get(event.b)
        if life is not None and event.a == event.b:
            self.name(life, ev.comm_of(event))

    # --- what /proc showed
    # ------------------------------------------------------------------------------------------------------

    def name(self, life: Incarnation, comm: bytes) -> None:
        """A living process has this command name now."""
        life.comm = escape_comm(comm)
        self._amend(life)

    def name_late(self, life: Incarnation, comm: str) -> None:
        """A process that was gone before /proc could be asked had this name at its end."""
        if life.comm is None and comm:
            life.comm = comm
            self._amend(life)

    def show_program(self, life: Incarnation, row: ProgramRow | None, looked_ns: int) -> None:
        """What a living process executes, as seen from `looked_ns` on; None: it could not be seen.

        What it executed before its last exec must not stay stored as what it executed last.
        """
        self.execed.discard(life.pid)
        self.unsure.pop(life.pid, None)
        if row is None:
            self._forget_program(life)
        else:
            life.program_ns = looked_ns
            self.changes.programs[life.id] = row

    def show_cmdline(
        self, life: Incarnation, row: ProgramRow, looked_ns: int, cmdline: str | None
    ) -> None:
        """The command line of a program that was shown, which may come later; None: it is not
        known.
        """
        if cmdline is not None and life.program_ns == looked_ns:
            self.changes.programs[life.id] = (row[0], cmdline, *row[2:])

    def _forget_program(self, life: Incarnation) -> None:
        if life.program_ns:
            life.program_ns = 0
            seen = self.changes.programs.get(life.id, (life.id, None, None, None, None, None, None))
            self.changes.programs[life.id] = (life.id, None, None, *seen[3:])

    def hear_ends(self, life: Incarnation, ends: Ends) -> None:
        """How the threads of a process ended, as taskstats tells it: with the exit events, or in
        their place where none was heard.
        """
        life.ends = ends
        if life.elapsed_ns is None:
            return  # its exit is still to be heard
        if life.end_source == End.EXIT:
            self._learn_status(life)
        elif life.told is None:
            life.told = wait_status(ends, Exits(), life.start_ns, life.exec_ns)
            self._amend(life)

    def tell_status(self, job_id: int, status: int, owner_uid: int | None = None) -> None:
        """Whoever started the command of a job, one of `owner_uid` if given, has waited for it.
        Raises UsageError where that cannot be.
        """
        job, life = self.launched.get(job_id, (None, None))
        if job is None or life is None or owner_uid not in (None, job.owner_uid):
            raise UsageError(f"job {job_id} has no command that has just ended")
        if life.end_source == End.EXIT and status not in (
            life.exits.by_code if life.exits is not None else [life.status]
        ):
            raise UsageError(
                f"no thread of the command of job {job_id} ended with wait status {status}"
            )
        del self.launched[job_id]
        life.told = status
        self._amend(life)

    def resolve_doubt(self, pid: int, found: ProcSnapshot | None) -> None:
        """Answer a doubt: `found` is the process as /proc shows it now, None if there is no such
        pid.
        """
        event = self.doubts.pop(pid)
        life = self.living.get(pid)
        if life is None or not life.doubtful:
            return
        if found is None or found.over or not same_start(life, found.start_ns):
            self._end(life, event.time_ns, End.EXIT)
        else:
            life.seen_ns = found.seen_ns

    def reconcile(self, found: Iterable[ProcSnapshot], *, infer: bool) -> list[Incarnation]:
        """Compare with a whole reading of /proc; returns those living to us that it did not show
        alive.

        Those may have exits on their way in the queue: after some time the owner calls `vanished` for them. With `infer`, a process
        not known before is taken to be in the jobs of its parent as far as the parent was in them when the process began; without
        (the first look at a boot) nothing can be concluded.
        """
        shown = sorted(found, key=lambda one: (one.start_ns, one.pid))
        seen: set[int] = set()
        adopted: list[tuple[Incarnation, ProcSnapshot]] = []
        for one in shown:
            life = self.living.get(one.pid)
            if life is not None and not same_start(life, one.start_ns):
                self._displace(
                    life, one.start_ns, one.start_ns + 2 * TICK_NS
                )  # it is cut to a tick
                life = None
            if life is None and one.over:
                continue
            if life is None:
                life = self._new(one.pid, one.start_ns, Origin.SNAPSHOT)
                adopted.append((life, one))
            seen.add(one.pid)
            life.threads = one.threads
            life.seen_ns = one.seen_ns
            life.uid = one.uid if one.uid is not None else life.uid
            self.name(life, one.comm)
        for life, one in adopted:
            self._attach(life, one, infer=infer)
        self.unsure.update(dict.fromkeys(seen))
        over = {one.pid for one in shown if one.over}
        return [life for pid, life in self.living.items() if pid not in seen or pid in over]

    def _attach(self, life: Incarnation, one: ProcSnapshot, *, infer: bool) -> None:
        parent = self.living.get(one.ppid)
        if parent is None or parent is life or parent.start_ns > life.start_ns + TICK_NS:
            return  # none, or the pid of the parent has passed to another since
        life.parent_id = parent.id
        life.ancestor = parent
        life.parent_inferred = 1
        if infer:
            for job_id in parent.jobs:
                if parent.member_since(job_id) <= life.start_ns + TICK_NS:
                    self._enter(life, job_id, 0, How.INFERRED)

    def vanished(self, lives: Iterable[Incarnation], time_ns: int) -> None:
        """Close lives that /proc did not show and whose exit was not heard since."""
        for life in lives:
            if self.living.get(life.pid) is life:
                self._end(life, time_ns, End.VANISHED)

    def restore(self, life: Incarnation) -> None:
        """Put back a stored incarnation that ran when its collector stopped; `reconcile` tells
        whether it still does.
        """
        life.stored = True
        life.program_ns = 1  # one may be stored
        self.living[life.pid] = life
        self.jobs.count(life.jobs, 1)

    def adopt(self, pid: int, start_ns: int, origin: Origin) -> Incarnation:
        """A living incarnation that is known from elsewhere, to be stored here."""
        return self._new(pid, start_ns, origin)

    def link_ancestors(self) -> None:
        """Tie restored lives to their living parents."""
        by_id = {life.id: life for life in self.living.values()}
        for life in self.living.values():
            life.ancestor = by_id.get(life.parent_id) if life.parent_id is not None else None

    # --- jobs
    # -------------------------------------------------------------------------------------------------------------------

    def add(self, life: Incarnation, job: Job, now_ns: int, how: How = How.ADDED) -> bool:
        """Put a living process into a job from now on; False if it is in it already. Its children
        so far stay where they are.
        """
        if how == How.LAUNCHED:
            self.launched[job.id] = job, life
        return self._enter(life, job.id, now_ns, how)

    def remove(self, life: Incarnation, job: Job, now_ns: int) -> bool:
        """Take a living process out of a job from now on; its children so far stay. False if it was
        not in it.
        """
        if job.id not in life.jobs:
            return False
        self._leave(life, job.id, now_ns)
        return True

    def members(self, job: Job) -> list[Incarnation]:
        """The living members of a job."""
        return [life for life in self.living.values() if job.id in life.jobs]

    def with_descendants(self, roots: Iterable[Incarnation]) -> list[Incarnation]:
        """These and every living process that descends from one of them, also through parents that
        are dead.
        """
        inside = {id(life): True for life in roots}

        def belongs(life: Incarnation) -> bool:
            line = []
            step: Incarnation | None = life
            while step is not None and id(step) not in inside:
                line.append(id(step))
                step = step.ancestor
            answer = inside[id(step)] if step is not None else False
            inside.update(dict.fromkeys(line, answer))
            return answer

        return [life for life in self.living.values() if belongs(life)]

    def _enter(self, life: Incarnation, job_id: int, since_ns: int, how: How) -> bool:
        if job_id in life.jobs:
            return False
        life.jobs = (*life.jobs, job_id)
        if since_ns:
            life.since = {**(life.since or {}), job_id: since_ns}
        self.jobs.count((job_id,), 1)
        self.changes.entered.append((job_id, life.id, since_ns, None, how))
        return True

    def _leave(self, life: Incarnation, job_id: int, time_ns: int) -> None:
        life.jobs = tuple(other for other in life.jobs if other != job_id)
        self.jobs.count((job_id,), -1, time_ns)
        self.changes.left.append((time_ns, job_id, life.id))

    # --- lives
    # ------------------------------------------------------------------------------------------------------------------

    def _new(self, pid: int, start_ns: int, origin: Origin) -> Incarnation:
        life = Incarnation(self._next_id, pid, start_ns, self.clocks.at(start_ns).id, origin)
        self._next_id += 2  # the ids in between are the ingester's (store/boots.py)
        self.living[pid] = life
        self.changes.born.append(life)
        return life

    def _end(self, life: Incarnation, time_ns: int, how: End) -> None:
        del self.living[life.pid]
        if life.pid in self.execed or life.pid in self.unsure or self.uncertain:
            self._forget_program(life)
        self.execed.discard(life.pid)
        self.unsure.pop(life.pid, None)
        self.doubts.pop(life.pid, None)
        self._date_end(life, time_ns)
        life.end_source = how
        while life.ancestor is not None and life.ancestor.end_source is not None:
            life.ancestor = life.ancestor.ancestor
        self._settle_status(life)
        if self.ended is not None:
            self.ended.append(life)
        self.jobs.count(life.jobs, -1, time_ns)
        self._amend(life)

    def _date_end(self, life: Incarnation, time_ns: int) -> None:
        end_ns = max(time_ns, life.start_ns)
        life.elapsed_ns = end_ns - life.start_ns
        life.end_clock = self.clocks.at(end_ns)

    @staticmethod
    def _settle_status(life: Incarnation) -> None:
        """Of threads that ended with different codes find the one that counts, as far as everything
        heard so far tells.
        """
        if life.exits is not None and len(life.exits.by_code) > 1:
            life.status = wait_status(life.ends, life.exits, life.start_ns, life.exec_ns)

    def _learn_status(self, life: Incarnation) -> None:
        """More is known of how a life that is over ended."""
        before = life.exit_status
        self._settle_status(life)
        if life.exit_status != before:
            self._amend(life)

    def _amend(self, life: Incarnation) -> None:
        if life.stored:
            self.changes.amended[life.id] = life

    def forget_late(self, now_ns: int) -> None:
        """Give up on exits that have not come, and on who might tell how a command ended."""
        for job_id, (_, life) in list(self.launched.items()):
            if (
                life.elapsed_ns is not None
                and now_ns - life.start_ns - life.elapsed_ns > TOLD_WITHIN_NS
            ):
                del self.launched[job_id]
        for pid, owing in list(self._late.items()):
            kept = [
                (life, over_ns)
                for life, over_ns in owing
                if now_ns - life.start_ns - (life.elapsed_ns or 0) <= LATE_NS
            ]
            if kept:
                self._late[pid] = kept
            else:
                del self._late[pid]

    def take_changes(self) -> Changes:
        """Hand over what is to be stored, and start anew."""
        taken, self.changes = self.changes, Changes()
        return taken


def began_after(life: Incarnation, time_ns: int) -> bool:
    """Whether a life began after a moment that is known to be near its start; a start out of /proc
    may be too early by ticks.
    """
    return time_ns < life.start_ns + (2 * TICK_NS if life.origin == Origin.SNAPSHOT else 0)
