"""From process events to incarnations: which processes run, their parents, their jobs, and when and
how they ended. A fork comes in here, and memberships.py puts the child into its parent's jobs.

Pure: no I/O, no reading of clocks. Events come in queue order, which is their true order across
CPUs; processes that /proc shows come as `ProcSnapshot`. What must be stored collects in `changes`,
which the caller takes from time to time.

A process ends when its count of threads reaches 0: the leader's own exit is often not the last, and
an exec by another thread makes the leader exit long before the end. For a process that was read
from /proc the count is not certain: the exit of a thread that /proc no longer shows may still be in
the queue. So the caller has to read /proc again: see `unconfirmed_exits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from elsa.decode import events as ev
from elsa.decode.comm import comm_of_path, escape_comm
from elsa.decode.events import Event
from elsa.errors import UsageError
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, EventKind, How
from elsa.state.ending import ThreadEnds, ThreadExits, wait_status
from elsa.state.incarnation import (
    EXITED,
    FORKED,
    SHOWN,
    STRANGER,
    TICK_NS,
    UNSEEN,
    Changes,
    Incarnation,
    ProcSnapshot,
    ProgramRow,
    same_start,
    started_after,
    still_runs,
)
from elsa.state.jobs import Job, Jobs
from elsa.state.late_exits import LATE_NS, LateExits
from elsa.state.memberships import Memberships, jobs_at
from elsa.state.recently_ended import RecentlyEnded

# Who started the command of a job reports its wait status within this time after its end.
REPORTED_WITHIN_NS = 60_000_000_000
# The clocks of two CPUs differ by less than this: a program that /proc showed this much later than
# an exec is the program of that exec.
SKEW_NS = 1_000_000
NEVER = 2**63
# Plain numbers, as in elsa/state/incarnation.py.
_FORK, _EXEC, _EXIT = map(int, (EventKind.FORK, EventKind.EXEC, EventKind.EXIT))
_INHERITED, _INFERRED = int(How.INHERITED), int(How.INFERRED)


class Processes:
    """Every living incarnation of one boot."""

    def __init__(self, jobs: Jobs, next_id: int = 2, clocks: Clocks | None = None) -> None:
        self.jobs = jobs
        self.clocks = clocks or Clocks([Clock(0, 0, 0, 0)])
        self.living: dict[int, Incarnation] = {}
        self.changes = Changes()
        self.memberships = Memberships(jobs, self.changes)
        self.keeps_events = True
        """Whether `changes` has the events themselves, to be stored."""
        self.execed: set[int] = set()
        """Pids that called exec and whose new program and name have not been read."""
        self.unread_programs: dict[int, None] = {}
        """Pids that a scan of /proc showed, in order: their program was never read, or an exec of
        theirs may have been lost.
        """
        self.events_lost = False
        """Events were lost and /proc was not scanned since: a pid may have been reused, so
        parentage is inferred.
        """
        self.ended: list[Incarnation] | None = None
        """If the caller sets a list, every process that ends is appended to it, except those that
        ended before this jobd received events.
        """
        self.recently_ended: RecentlyEnded | None = None
        """If the caller sets it, it has the processes that ended last."""
        self.launched: dict[int, tuple[Job, Incarnation]] = {}
        """By job id: the job and its command, until a while after the command's end."""
        self.unconfirmed_exits: dict[int, Event] = {}
        """By pid: the newest exit of a thread of a process whose count of threads is not certain.
        The caller reads /proc and calls `resolve_exit`.
        """
        self._late_exits = LateExits()
        self._ended_by_scan: dict[int, Incarnation] = {}
        """By pid: processes that a scan of /proc showed to be over, since another had the pid."""
        self._scanned_ns = 0
        """When the last scan of /proc ended: what started later and was not received was lost."""
        self._strangers: set[int] = set()
        """Pids of processes that ended without ever being known, since that scan."""
        self._not_shown: set[int] = set()
        """Ids of processes that the last scan of /proc did not show alive: if events were lost
        before it, their exits may be among these.
        """
        self.divide: Callable[[Incarnation, Incarnation, int], None] = lambda *_: None
        """Called with each child of a process whose automatic job is in `jobs.divided`, its parent
        and the time of the fork.
        """
        self._next_id = next_id

    # --- events

    def apply(
        self,
        events: Iterable[Event],
        due_ns: int = NEVER,
        before: Callable[[int], int] = lambda _: NEVER,
    ) -> None:
        """Take in events, in queue order. Before the first event later than `due_ns`, its time is
        given to `before`, which returns the next `due_ns`.
        """
        for event in events:
            what, time_ns = event.what, event.time_ns
            if time_ns > due_ns:
                due_ns = before(time_ns)
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
            life = self._process_with(tgid, time_ns)
            if life is not None and time_ns >= life.seen_ns:
                life.threads += 1
        else:
            parent = self._process_with(parent_tgid, time_ns)
            life = self._start(time_ns, pid, parent)
            life.parent_pid = parent_tgid or None if parent is None else None
        id_ = life.id if life is not None else None
        if self.keeps_events:
            self.changes.events.append(
                (_FORK, time_ns, cpu, pid, tgid, parent_pid, parent_tgid, None, None, id_)
            )

    def _process_with(self, pid: int, time_ns: int) -> Incarnation | None:
        """Which process had a pid: normally the living one, but /proc may have shown the pid's next
        process before all events of the one before were read.
        """
        life = self.living.get(pid)
        if life is not None and started_after(life, time_ns):
            if pid in self._late_exits.by_pid:
                return self._late_exits.by_pid[pid][-1].life
            if life.origin == SHOWN and time_ns < life.start_ns:
                return None
        return life

    def _start(self, time_ns: int, pid: int, parent: Incarnation | None) -> Incarnation:
        jobs = parent.jobs if parent is not None else ()
        if parent is not None and parent.moves is not None:
            jobs = jobs_at(parent, parent.moves, time_ns)
        life = self.living.get(pid)
        if life is not None and self._is_fork_of_scanned(life, time_ns):
            self._restart_from_fork(life, time_ns, jobs)
        else:
            if life is not None:
                self._end_reused(life, time_ns, time_ns)
            self._note_reuse(pid, time_ns)
            life = self.adopt(pid, time_ns, FORKED)
        if parent is not None:
            life.parent_id = parent.id
            life.ancestor = parent
            life.uid = parent.uid
            life.comm = parent.comm
            life.group = parent.group
            # The parent's pid may have been used again, or by another process just before.
            lost = (
                self.events_lost
                or parent.may_be_over
                or (parent.origin == SHOWN and started_after(parent, time_ns))
            )
            life.parent_inferred = 1 if lost else None
            if jobs:
                self.memberships.inherit(life, parent, jobs, _INFERRED if lost else _INHERITED)
            if parent.moves is not None:
                self.memberships.follow(life, parent.moves, jobs, time_ns)
            if life.automatic in self.jobs.divided:
                self.divide(life, parent, time_ns)
        return life

    def _is_fork_of_scanned(self, life: Incarnation, time_ns: int) -> bool:
        """Whether this is the fork of a process that /proc showed before the fork was read. /proc
        may show a process just before its fork gets its time.

        After an exit that was received since, it is the fork of the pid's next process.
        """
        latest_ns = min(life.start_ns + TICK_NS, life.seen_ns) + TICK_NS
        if life.origin != SHOWN or time_ns > latest_ns:
            return False
        unconfirmed_exit = self.unconfirmed_exits.get(life.pid)
        return unconfirmed_exit is None or unconfirmed_exit.time_ns < life.seen_ns

    def _restart_from_fork(self, life: Incarnation, time_ns: int, jobs: Iterable[int]) -> None:
        """All events of this process since its fork are received: its parent, jobs and threads
        come from them alone.
        """
        earlier_exit = self.unconfirmed_exits.pop(life.pid, None)
        if earlier_exit is not None:
            self._note_stranger(earlier_exit)
        self._note_reuse(life.pid, time_ns)
        life.start_ns = time_ns
        life.start_clock_id = self.clocks.at(time_ns).id
        life.origin = FORKED
        life.parent_id = life.ancestor = life.parent_inferred = life.leader_status = None
        life.threads = 1
        life.status, life.exits = 0, None
        life.seen_ns = life.group = 0
        life.automatic = None
        for job_id in set(life.jobs) - set(jobs):
            self.memberships.retract(life, job_id, time_ns)
        self.changes.amend(life)

    def _end_reused(self, life: Incarnation, time_ns: int, over_ns: int) -> None:
        """A new process has this one's pid, and this one's exit was not received: it had ended by
        `over_ns`, and its exit may still come.
        """
        unconfirmed_exit = self.unconfirmed_exits.get(life.pid)
        if unconfirmed_exit is not None:
            self._end(life, unconfirmed_exit.time_ns, EXITED)
            return
        self._end(life, time_ns, End.REUSED)
        if not life.may_be_over:
            due = not self.events_lost and life.id not in self._not_shown
            self._late_exits.expect(life, over_ns, due=due)

    def _note_reuse(self, pid: int, time_ns: int) -> None:
        """A pid was used again: the process before had ended, also if a scan showed only a later
        use.
        """
        if self._ended_by_scan:
            life = self._ended_by_scan.pop(pid, None)
            if life is not None and life.end_source == End.REUSED and time_ns < life.end_ns:
                self._date_end(life, time_ns)
                self.changes.amend(life)
        if self._late_exits.by_pid:
            self._late_exits.note_reuse(pid, time_ns)

    def _exec(self, event: Event) -> None:
        _, _, cpu, time_ns, pid, tgid, *_ = event
        life = self._certain(tgid)
        if life is not None:
            if life.threads != 1 or life.exits:
                life.exec_ns = time_ns
            life.status, life.exits = 0, None
            life.first_exec_ns = life.first_exec_ns or time_ns
            if life.program_ns < time_ns + SKEW_NS:  # else this exec's program was read already
                life.comm = None
                self.execed.add(tgid)
        id_ = life.id if life is not None else None
        if self.keeps_events:
            self.changes.events.append(
                (_EXEC, time_ns, cpu, pid, tgid, None, None, None, None, id_)
            )

    def _exit(self, event: Event) -> None:
        _, _, cpu, time_ns, pid, tgid, code, signal, parent_pid, parent_tgid = event
        life = self.living.get(tgid)
        if tgid in self._late_exits.by_pid and self._late_exits.is_of_earlier(event, life):
            life = self._count_late_exit(event)
        elif life is not None:
            if (life.seen_ns == UNSEEN or self.events_lost) and _is_of_another(life, event):
                life = None  # its own exit was lost
            else:
                self._count_exit(life, event)
        if life is None or life.end_source == End.VANISHED:
            self._note_stranger(event)
        if self.keeps_events:
            id_ = life.id if life is not None else None
            parent = parent_pid or None, parent_tgid or None
            self.changes.events.append((_EXIT, time_ns, cpu, pid, tgid, *parent, code, signal, id_))

    def _note_stranger(self, event: Event) -> None:
        """A process ended whose start was not received and that no scan of /proc showed. Its
        statistics are due all the same, and must not be taken for those of the pid's next process.
        """
        pid, time_ns = event.b, event.time_ns
        if self.ended is None or not (self.events_lost or time_ns <= self._scanned_ns):
            return
        if pid not in self._strangers:
            self._strangers.add(pid)
            stranger = Incarnation(STRANGER, pid, time_ns, 0, FORKED)
            stranger.elapsed_ns, stranger.end_source, stranger.status = 0, EXITED, event.c
            self.ended.append(stranger)

    def _count_exit(self, life: Incarnation, event: Event) -> None:
        if life.seen_ns == UNSEEN:
            # Perhaps that of another process: its statistics or its record will tell.
            self._end(life, event.time_ns, End.VANISHED)
            if self.ended is not None:
                self.ended.append(life)
            return
        self._note_status(life, event)
        if life.thread_count_uncertain:
            self.unconfirmed_exits[life.pid] = event
            return
        life.threads -= 1
        if life.threads <= 0:
            self._end(life, event.time_ns, EXITED)

    @staticmethod
    def _note_status(life: Incarnation, event: Event) -> None:
        """Record how a thread ended; for a process with one thread that is its wait status."""
        thread, code = event.a, event.c
        life.status = code
        if thread == life.pid:
            life.leader_status = code
        if life.threads > 1 or life.thread_count_uncertain or life.exits is not None:
            life.exits = life.exits or ThreadExits()
            life.exits.note(thread, code, event.cpu, event.time_ns)

    def _count_late_exit(self, event: Event) -> Incarnation:
        late, over_ns, _ = self._late_exits.by_pid[event.b][0]
        late.threads -= 1
        self._note_status(late, event)
        if late.threads <= 0:
            self._late_exits.received_all(event.b)
            late.end_source = EXITED
            self._date_end(late, min(over_ns, event.time_ns))
            self._decide_status(late)
            self.changes.amend(late)
        return late

    def _certain(self, pid: int) -> Incarnation | None:
        """The process with a pid, unless that may have been used again."""
        life = self.living.get(pid)
        return None if life is None or life.may_be_over else life

    def _uid(self, event: Event) -> None:
        life = self._certain(event.b)
        if life is not None and life.uid != event.c:
            life.uid = event.c
            self.changes.amend(life)

    def _comm(self, event: Event) -> None:
        life = self._certain(event.b)
        if life is not None and event.a == event.b:
            self.set_comm(life, ev.comm_of(event))

    # --- what /proc, taskstats and clients report

    def set_comm(self, life: Incarnation, comm: bytes) -> None:
        """A living process has this command name now."""
        life.comm = escape_comm(comm)
        self.changes.amend(life)

    def set_final_comm(self, life: Incarnation, raw: bytes) -> None:
        """A process that ended before its name could be read from /proc had this name then."""
        if life.comm is None and (comm := escape_comm(raw)):
            life.comm = comm
            self.changes.amend(life)

    def note_exec(self, life: Incarnation, path: str, time_ns: int) -> None:
        """A process executed the program at this path, as it was given to execve(2)."""
        life.exe, life.comm = path, comm_of_path(path)
        life.first_exec_ns = life.first_exec_ns or time_ns
        self.changes.amend(life)

    def note_program(self, life: Incarnation, row: ProgramRow | None, looked_ns: int) -> None:
        """A living process executes this program, by a reading of /proc that started at
        `looked_ns`; None: it could not be read.

        Then an older program must not remain stored as the last that it executed.
        """
        self.execed.discard(life.pid)
        self.unread_programs.pop(life.pid, None)
        if row is None:
            self._forget_program(life)
        else:
            life.program_ns = looked_ns
            self.changes.programs[life.id] = row

    def note_cmdline(
        self, life: Incarnation, row: ProgramRow, looked_ns: int, cmdline: str | None
    ) -> None:
        """The command line of a program that was noted, perhaps a while ago; None: not known."""
        if cmdline is not None and life.program_ns == looked_ns:
            self.changes.programs[life.id] = (row[0], cmdline, *row[2:])

    def _forget_program(self, life: Incarnation) -> None:
        if life.program_ns:
            life.program_ns = 0
            stored = self.changes.programs.get(life.id, (life.id, *(None,) * 6))
            self.changes.programs[life.id] = (life.id, None, None, *stored[3:])

    def note_thread_ends(self, life: Incarnation, ends: ThreadEnds) -> None:
        """Taskstats has reported how the threads of a process ended. It counts together with the
        exit events, or alone if none was received.
        """
        life.ends = ends
        if life.elapsed_ns is None:
            return  # its exit is still to come
        if life.end_source == EXITED:
            self._update_status(life)
        elif life.reported_status is None:
            life.reported_status = wait_status(ends, ThreadExits(), life.start_ns, life.exec_ns)
            self.changes.amend(life)

    def report_status(self, job_id: int, status: int, owner_uid: int | None = None) -> None:
        """A client that started the command of a job (of `owner_uid`, if given) has waited for it.

        Raises UsageError if the job has no such command or the status contradicts its exits.
        """
        job, life = self.launched.get(job_id, (None, None))
        if job is None or life is None or owner_uid not in (None, job.owner_uid):
            raise UsageError(f"job {job_id} has no command that has just ended")
        codes = life.exits.by_code if life.exits is not None else [life.status]
        if life.end_source == EXITED and status not in codes:
            raise UsageError(
                f"no thread of the command of job {job_id} ended with wait status {status}"
            )
        del self.launched[job_id]
        life.reported_status = status
        self.changes.amend(life)

    def resolve_exit(self, pid: int, shown: ProcSnapshot | None) -> None:
        """Decide whether an unconfirmed exit ended its process: `shown` is the process as /proc
        shows it now, None if there is no such pid.
        """
        event = self.unconfirmed_exits.pop(pid)
        life = self.living.get(pid)
        if life is None or not life.thread_count_uncertain:
            return
        if shown is not None and still_runs(life, shown):
            life.seen_ns = shown.seen_ns
        else:
            self._end(life, event.time_ns, EXITED)
            # A thread leaves /proc before its exit event is sent, and a busy CPU may let the last
            # one wait in between (kernel/exit.c: exit_notify comes before proc_exit_connector).
            life.threads = 1
            self._late_exits.expect(life, event.time_ns + LATE_NS, due=False)

    def reconcile(self, scan: Iterable[ProcSnapshot], *, infer: bool) -> list[Incarnation]:
        """Compare with a scan of /proc. Returns the processes that are living here and that the
        scan did not show alive.

        Their exits may still be in the queue: after some time the caller calls `end_vanished` for
        them. With `infer`, a process not known before is taken to be in those jobs of its parent in
        which the parent was when the process started. Without (the first scan of a boot) nothing
        can be inferred.
        """
        shown = sorted(scan, key=lambda process: (process.start_ns, process.pid))
        self._scanned_ns = max((process.seen_ns for process in shown), default=0)
        self._strangers.clear()
        self._ended_by_scan.clear()
        seen: set[int] = set()
        adopted: list[tuple[Incarnation, ProcSnapshot]] = []
        for process in shown:
            life = self.living.get(process.pid)
            if life is not None and not same_start(life, process.start_ns):
                # The start is cut to a tick.
                self._end_reused(life, process.start_ns, process.start_ns + 2 * TICK_NS)
                self._ended_by_scan[process.pid] = life
                life = None
            if life is None and process.over:
                continue
            if life is None:
                life = self.adopt(process.pid, process.start_ns, SHOWN)
                adopted.append((life, process))
            seen.add(process.pid)
            life.threads = process.threads
            life.seen_ns = process.seen_ns
            life.uid = process.uid if process.uid is not None else life.uid
            self.set_comm(life, process.comm)
        for life, process in adopted:
            self._attach(life, process.ppid, infer=infer)
        self.unread_programs.update(dict.fromkeys(seen))
        over = {process.pid for process in shown if process.over}
        missing = [life for pid, life in self.living.items() if pid not in seen or pid in over]
        self._not_shown = {life.id for life in missing}
        return missing

    def _attach(self, life: Incarnation, ppid: int, *, infer: bool) -> None:
        parent = self.living.get(ppid)
        if parent is None or parent is life or parent.start_ns > life.start_ns + TICK_NS:
            return  # no parent, or its pid was reused since
        life.parent_id = parent.id
        life.ancestor = parent
        life.parent_inferred = 1
        if infer:
            latest_ns = life.start_ns + TICK_NS
            jobs = [job_id for job_id in parent.jobs if parent.member_since(job_id) <= latest_ns]
            life.group = parent.group
            self.memberships.inherit(life, parent, jobs, How.INFERRED)

    def end_vanished(self, lives: Iterable[Incarnation], time_ns: int) -> None:
        """End processes that /proc did not show and whose exit was not received since."""
        for life in lives:
            if self.living.get(life.pid) is life:
                self._end(life, time_ns, End.VANISHED)

    def restore(self, life: Incarnation) -> None:
        """Put back a stored incarnation that was running when its collector stopped; `reconcile`
        finds out whether it still runs.
        """
        life.stored = True
        life.seen_ns = UNSEEN
        life.program_ns = 1  # a program may be stored
        self.living[life.pid] = life
        self.jobs.count(life.jobs, 1)

    def adopt(self, pid: int, start_ns: int, origin: int) -> Incarnation:
        """A new living incarnation, to be stored."""
        life = Incarnation(self._next_id, pid, start_ns, self.clocks.at(start_ns).id, origin)
        self._next_id += 2  # the odd ids are the ingester's (store/boots.py)
        self.living[pid] = life
        self.changes.started.append(life)
        return life

    def link_ancestors(self) -> None:
        """Connect restored processes with their living parents."""
        by_id = {life.id: life for life in self.living.values()}
        for life in self.living.values():
            life.ancestor = by_id.get(life.parent_id) if life.parent_id is not None else None

    # --- jobs

    def add(
        self,
        life: Incarnation,
        job: Job,
        now_ns: int,
        how: int = How.ADDED,
        *,
        tree: bool = False,
    ) -> bool:
        """Add a living process to a job from now on; False if it is a member already. The children
        that it has by now are not added; with `tree` the caller adds them, and those whose forks
        have not been read will be in `memberships.late_entries`.
        """
        if how == How.LAUNCHED:
            self.launched[job.id] = job, life
        if tree:
            self.memberships.sweep(life, job.id)
        return self.memberships.enter(life, job.id, now_ns, how)

    def remove(self, life: Incarnation, job: Job, now_ns: int) -> bool:
        """Remove a living process from a job from now on; False if it was not a member. The
        children that it has by now are not removed, even if their forks have not been read.
        """
        return self.memberships.remove(life, job.id, now_ns)

    def members(self, job: Job) -> list[Incarnation]:
        """The living members of a job."""
        return [life for life in self.living.values() if job.id in life.jobs]

    def with_descendants(self, roots: Iterable[Incarnation]) -> list[Incarnation]:
        """These and all living processes that descend from them, also through parents that have
        ended.
        """
        known = {id(life): True for life in roots}

        def descends(life: Incarnation) -> bool:
            chain = []
            step: Incarnation | None = life
            while step is not None and id(step) not in known:
                chain.append(id(step))
                step = step.ancestor
            answer = known[id(step)] if step is not None else False
            known.update(dict.fromkeys(chain, answer))
            return answer

        return [life for life in self.living.values() if descends(life)]

    # --- ends

    def _end(self, life: Incarnation, time_ns: int, how: int) -> None:
        pid = life.pid
        del self.living[pid]
        if pid in self.execed or pid in self.unread_programs or self.events_lost:
            self._forget_program(life)
            self.execed.discard(pid)
            self.unread_programs.pop(pid, None)
        if self.unconfirmed_exits:
            self.unconfirmed_exits.pop(pid, None)
        self._date_end(life, time_ns)
        life.end_source = how
        if life.comm is None and life.exe is not None:
            life.comm = comm_of_path(life.exe)
        ancestor = life.ancestor
        while ancestor is not None and ancestor.end_source is not None:
            ancestor = ancestor.ancestor
        life.ancestor = ancestor
        if life.exits is not None:
            self._decide_status(life)
        if self.ended is not None and not life.may_be_over:
            self.ended.append(life)
        if self.recently_ended is not None:
            self.recently_ended.add(life)
        if life.jobs:
            self.jobs.count(life.jobs, -1, time_ns)
        self.changes.amend(life)

    def _date_end(self, life: Incarnation, time_ns: int) -> None:
        end_ns = max(time_ns, life.start_ns)
        life.elapsed_ns = end_ns - life.start_ns
        life.end_clock = self.clocks.at(end_ns)
        if life.moves is not None:
            self.memberships.note_end(life, life.moves, end_ns)

    @staticmethod
    def _decide_status(life: Incarnation) -> None:
        """Decide which code counts if threads ended with different codes, by all that is known so
        far.
        """
        if life.exits is not None and len(life.exits.by_code) > 1:
            life.status = wait_status(life.ends, life.exits, life.start_ns, life.exec_ns)

    def _update_status(self, life: Incarnation) -> None:
        """Decide the status of an ended process again: more is known of how its threads ended."""
        before = life.exit_status
        self._decide_status(life)
        if life.exit_status != before:
            self.changes.amend(life)

    def drop_overdue(self, now_ns: int) -> None:
        """Stop waiting for exits that have not come and for the status of commands."""
        for job_id, (_, life) in list(self.launched.items()):
            if life.elapsed_ns is None:
                continue
            if now_ns - life.end_ns > REPORTED_WITHIN_NS:
                del self.launched[job_id]
        self._late_exits.drop_overdue(now_ns)

    def take_changes(self) -> Changes:
        """Take what is to be stored."""
        taken = self.changes
        self.changes = self.memberships.changes = Changes()
        return taken


def _is_of_another(life: Incarnation, event: Event) -> bool:
    """Whether an exit with the pid of a process names another parent than that has: the pid was
    used again, and that was not received.
    """
    parent = life.ancestor
    return (
        event.e != 0
        and parent is not None
        and parent.id == life.parent_id
        and parent.end_source is None
        and parent.pid != event.e
    )
