"""A small kernel with few pids, and what the state makes of its events: the truth; after a loss,
the truth as far as /proc shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from elsa.decode.events import Event
from elsa.state.codes import End, How, Origin
from elsa.state.ending import OVERTAKEN_NS
from elsa.state.incarnation import TICK_NS, Incarnation, ProcSnapshot, same_start
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from tests.support.events import INIT, clone, execed, exited, fork
from tests.support.memberships import memberships

PIDS = range(2, 8)
JOBS = range(3)
pids = st.sampled_from(PIDS)
jobs = st.sampled_from(JOBS)
codes = st.sampled_from([0, 0x0100, 9])
# From pids that pass on within microseconds to long lives.
pauses = st.sampled_from([1, 48_000, 5_000_000, 3_000_000_000])


@dataclass
class Truth:
    """One life as it really was."""

    pid: int
    start_ns: int
    parent: Truth | None
    tids: list[int]
    jobs: dict[int, int] = field(default_factory=dict)
    end_ns: int | None = None
    status: int | None = None


class Watched(Processes):
    """Nothing ends twice."""

    def _end(self, life: Incarnation, time_ns: int, how: int) -> None:
        assert life.end_source is None
        super()._end(life, time_ns, how)


class Kernel(RuleBasedStateMachine):
    """Forks, clones, execs, exits and moves between jobs; subclasses deliver the events."""

    @initialize()
    def begin(self) -> None:
        self.now_ns = 10**9
        self.next_tid = 1000
        self.history: list[Truth] = []
        self.living: dict[int, Truth] = {}
        self.processes = Watched(Jobs())
        self.job: list[Job] = [self.processes.jobs.create(f"job {n}", 0, 0) for n in JOBS]
        self.entered: list[tuple[int, int, int]] = []
        self.left: list[tuple[int, int, int]] = []

    def hear(self, *events: Event) -> None:
        raise NotImplementedError

    def touch(self, pid: int) -> None:
        """Before anything else happens to a pid."""

    def shown(self, life: Truth) -> ProcSnapshot:
        """A living process as /proc shows it now."""
        ppid = (
            life.parent.pid
            if life.parent and self.living.get(life.parent.pid) is life.parent
            else INIT
        )
        zombie = (
            life.pid not in life.tids
        )  # a leader that has exited stays, and counts, until the last of its threads has too
        start_ns = life.start_ns // TICK_NS * TICK_NS
        return ProcSnapshot(
            life.pid, ppid, start_ns, len(life.tids) + zombie, zombie, None, b"x", self.now_ns
        )

    def believed(self, pid: int) -> Incarnation | None:
        """The incarnation of a living pid, if the state knows it."""
        return self.processes.living[pid]

    def wait(self, pause_ns: int) -> int:
        self.now_ns += pause_ns
        return self.now_ns

    def bear(self, pid: int, parent_pid: int) -> Event:
        parent = self.living.get(parent_pid)
        life = Truth(
            pid, self.now_ns, parent, [pid], dict.fromkeys(parent.jobs, 0) if parent else {}
        )
        self.living[pid] = life
        self.history.append(life)
        self.entered.extend((job, len(self.history) - 1, 0) for job in life.jobs)
        return fork(self.now_ns, parent_pid if parent else INIT, pid)

    def kill(self, life: Truth, tid: int, code: int) -> Event:
        """One thread exits; with the last of them the process."""
        life.tids.remove(tid)
        if not life.tids:
            life.end_ns, life.status = self.now_ns, code
            del self.living[life.pid]
        return exited(self.now_ns, life.pid, code, tid=tid)

    @rule(pid=pids, parent=st.one_of(pids, st.just(INIT)), pause=pauses)
    def fork_process(self, pid: int, parent: int, pause: int) -> None:
        if pid not in self.living:
            self.touch(parent)
            self.wait(pause)
            self.hear(self.bear(pid, parent))

    @rule(pid=pids, count=st.integers(1, 5), pause=pauses)
    def clone_threads(self, pid: int, count: int, pause: int) -> None:
        life = self.living.get(pid)
        for _ in range(count if life else 0):
            assert life
            self.touch(pid)
            self.next_tid += 1
            life.tids.append(self.next_tid)
            self.hear(clone(self.wait(pause), pid, self.next_tid))

    @rule(pid=pids, code=codes, pause=pauses, which=st.integers(0, 5))
    def exit_thread(self, pid: int, code: int, pause: int, which: int) -> None:
        life = self.living.get(pid)
        if life:
            self.touch(pid)
            self.wait(pause)
            self.hear(self.kill(life, life.tids[which % len(life.tids)], code))
            self.wait(OVERTAKEN_NS + 1)  # sooner, it cannot be distinguished from the end of all

    @rule(pid=pids, code=codes, pause=pauses, order=st.randoms(use_true_random=False))
    def exit_process(self, pid: int, code: int, pause: int, order: Random) -> None:
        life = self.living.get(pid)
        if life:
            self.touch(pid)
            tids = list(life.tids)
            order.shuffle(tids)
            for tid in tids:
                self.wait(pause)
                self.hear(self.kill(life, tid, code))

    @rule(pid=pids, pause=pauses)
    def exec_in_a_thread(self, pid: int, pause: int) -> None:
        """Another thread than the leader calls exec: all others exit, the leader with code 0, and
        it becomes the leader.
        """
        life = self.living.get(pid)
        if life and life.tids[-1] != pid:
            self.touch(pid)
            for tid in life.tids[:-1]:
                self.hear(exited(self.wait(pause), pid, 0, tid=tid))
            life.tids = [pid]
            self.hear(execed(self.wait(pause), pid))

    @rule(pid=pids, job=jobs, pause=pauses)
    def add(self, pid: int, job: int, pause: int) -> None:
        life = self.living.get(pid)
        believed = self.believed(pid) if life else None
        if life and believed:
            self.wait(pause)
            if self.processes.add(believed, self.job[job], self.now_ns):
                life.jobs[job] = self.now_ns
                self.entered.append((job, self.history.index(life), self.now_ns))

    @rule(pid=pids, job=jobs, pause=pauses)
    def remove(self, pid: int, job: int, pause: int) -> None:
        life = self.living.get(pid)
        believed = self.believed(pid) if life else None
        if life and believed:
            self.wait(pause)
            if self.processes.remove(believed, self.job[job], self.now_ns):
                life.jobs.pop(job, None)
                self.left.append((self.now_ns, job, self.history.index(life)))


class NothingLost(Kernel):
    """Every event is received in queue order, but the exit of an earlier process may come after
    the next fork of its pid.
    """

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.late: dict[int, list[Event]] = {}

    def hear(self, *events: Event) -> None:
        self.processes.apply(events)

    def touch(self, pid: int) -> None:
        self.processes.apply(self.late.pop(pid, []))

    @rule(
        pid=pids,
        parent=pids,
        code=codes,
        pause=pauses,
        lag=st.sampled_from([0, 1, 9_000_000]),
        before=st.booleans(),
    )
    def pass_on_at_once(
        self, pid: int, parent: int, code: int, pause: int, lag: int, before: bool
    ) -> None:
        """The last thread exits, the pid passes to another, and only then the exit arrives: with
        an earlier time, or without a parent.
        """
        life = self.living.get(pid)
        if life and len(life.tids) == 1 and parent != pid:
            self.touch(parent)
            self.wait(pause)
            event = self.kill(life, life.tids[0], code)
            self.wait(48_000)
            self.hear(self.bear(pid, parent))
            late = event if before else event._replace(time_ns=self.now_ns + lag, e=0, f=0)
            self.late.setdefault(pid, []).append(late)

    @rule(pid=pids)
    def hear_late(self, pid: int) -> None:
        self.touch(pid)

    @invariant()
    def births_are_the_true_ones(self) -> None:
        born = self.processes.changes.started
        assert [(life.pid, life.start_ns, life.origin) for life in born] == [
            (life.pid, life.start_ns, Origin.FORK) for life in self.history
        ]
        assert [life.id for life in born] == list(range(2, 2 + 2 * len(born), 2))
        places = {id(life): place for place, life in enumerate(self.history)}
        assert [life.parent_id for life in born] == [
            born[places[id(life.parent)]].id if life.parent is not None else None
            for life in self.history
        ]

    @invariant()
    def the_living_are_the_true_ones_in_their_true_jobs(self) -> None:
        born = self.processes.changes.started
        places = {id(life): place for place, life in enumerate(self.history)}
        assert {pid: life.id for pid, life in self.processes.living.items()} == {
            pid: born[places[id(life)]].id for pid, life in self.living.items()
        }
        for pid, true in self.living.items():
            life = self.processes.living[pid]
            assert life.threads == len(true.tids)
            assert {job_id: life.member_since(job_id) for job_id in life.jobs} == {
                self.job[job].id: since_ns for job, since_ns in true.jobs.items()
            }
        for n, job in enumerate(self.job):
            assert (
                job.living
                == sum(n in true.jobs for true in self.living.values())
                == len(self.processes.members(job))
            )

    @invariant()
    def stays_are_the_true_ones(self) -> None:
        changes, born = self.processes.changes, self.processes.changes.started
        assert sorted(stay[:3] for stay in memberships(changes)) == sorted(
            (self.job[job].id, born[place].id, since_ns) for job, place, since_ns in self.entered
        )
        assert changes.left == [
            (until_ns, self.job[job].id, born[place].id) for until_ns, job, place in self.left
        ]

    @invariant()
    def every_end_is_the_true_one(self) -> None:
        before_first_start = {pid: len(events) for pid, events in self.late.items()}
        for life, true in reversed(
            list(zip(self.processes.changes.started, self.history, strict=True))
        ):
            if true.end_ns is None:
                assert life.end_source is None
            elif before_first_start.get(life.pid):
                before_first_start[life.pid] -= 1
                assert (life.end_source, life.exit_status) == (End.REUSED, None)
            else:
                assert (life.end_source, life.exit_status) == (End.EXIT, true.status)
                assert 0 <= (life.elapsed_ns or 0) - (true.end_ns - true.start_ns) <= 48_000

    @invariant()
    def descendants_are_the_true_ones(self) -> None:
        def line(life: Truth | None) -> list[Truth]:
            return [life, *line(life.parent)] if life else []

        for pid, root in self.living.items():
            expected = {
                other
                for other, life in self.living.items()
                if any(one is root for one in line(life))
            }
            assert {
                life.pid for life in self.processes.with_descendants([self.processes.living[pid]])
            } == expected


class Scanned(Kernel):
    """Every event is received, but /proc is read at any time while events wait in the queue:
    this must not make any difference.
    """

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.queue: list[Event] = []
        self.looked = False

    def hear(self, *events: Event) -> None:
        self.queue.extend(events)

    def believed(self, pid: int) -> Incarnation | None:
        self.drain()
        return self.processes.living[pid]

    @rule()
    def look_around(self) -> None:
        """The owner reads the queue between any two looks."""
        if self.looked:
            self.drain()
        self.wait(1)
        self.processes.reconcile([self.shown(life) for life in self.living.values()], infer=True)
        self.looked = True

    @rule()
    def drain(self) -> None:
        self.processes.apply(self.queue)
        self.queue.clear()
        self.looked = False
        for pid in list(self.processes.unconfirmed_exits):
            self.processes.resolve_exit(
                pid, self.shown(self.living[pid]) if pid in self.living else None
            )

    @invariant()
    def with_everything_heard_all_is_as_it_truly_was(self) -> None:
        if self.queue:
            return
        born = {(life.pid, life.start_ns): life for life in self.processes.changes.started}
        assert len(born) == len(self.processes.changes.started)
        assert born.keys() == {(life.pid, life.start_ns) for life in self.history}
        assert {pid: life.start_ns for pid, life in self.processes.living.items()} == {
            pid: life.start_ns for pid, life in self.living.items()
        }
        for true in self.history:
            life = born[true.pid, true.start_ns]
            parent = born[true.parent.pid, true.parent.start_ns].id if true.parent else None
            assert (life.origin, life.parent_id, life.parent_inferred) == (
                Origin.FORK,
                parent,
                None,
            )
            if true.end_ns is None:
                assert life.end_source is None
                assert {job_id: life.member_since(job_id) for job_id in life.jobs} == {
                    self.job[job].id: since_ns for job, since_ns in true.jobs.items()
                }
            else:
                assert (life.end_source, life.elapsed_ns, life.exit_status) == (
                    End.EXIT,
                    true.end_ns - true.start_ns,
                    true.status,
                )
        stays = [
            (
                self.job[job].id,
                born[self.history[place].pid, self.history[place].start_ns].id,
                since,
            )
            for job, place, since in self.entered
        ]
        stored = memberships(self.processes.changes)
        assert sorted(stay[:3] for stay in stored) == sorted(stays)


class Lossy(Kernel):
    """Any event may be lost. Then /proc is read, and what it shows holds."""

    @initialize(keep=st.randoms(use_true_random=False))
    def choose(self, keep: Random) -> None:
        self.chance = keep
        self.mistaken: set[int] = set()
        self.reconciled = True

    def wait(self, pause_ns: int) -> int:
        # Lives of one pid within two clock ticks look alike in /proc.
        return super().wait(pause_ns + 5 * TICK_NS)

    def hear(self, *events: Event) -> None:
        self.reconciled = False
        for event in events:
            if self.chance.random() < 0.7:
                self.processes.apply([event])
                self.note_mistake()

    def note_mistake(self) -> None:
        """Whose recorded parent is not the true one, since its pid was reused before the start."""
        born, newest = self.processes.changes.started, self.history[-1] if self.history else None
        if (
            born
            and newest
            and born[-1].pid == newest.pid
            and born[-1].start_ns == newest.start_ns
            and born[-1].parent_id is not None
        ):
            parent = next(life for life in born if life.id == born[-1].parent_id)
            if newest.parent is None or (parent.pid, parent.start_ns // TICK_NS) != (
                newest.parent.pid,
                newest.parent.start_ns // TICK_NS,
            ):
                self.mistaken.add(born[-1].id)

    def believed(self, pid: int) -> Incarnation | None:
        life = self.processes.living.get(pid)
        return life if life and same_start(life, self.living[pid].start_ns) else None

    @rule()
    def look_around(self) -> None:
        self.wait(1)
        missing = self.processes.reconcile(
            [self.shown(life) for life in self.living.values()], infer=True
        )
        self.processes.end_vanished(missing, self.now_ns)
        self.reconciled = True

    @rule(pid=pids)
    @precondition(lambda self: self.processes.unconfirmed_exits)
    def settle_doubts(self, pid: int) -> None:
        if pid in self.processes.unconfirmed_exits:
            self.processes.resolve_exit(
                pid, self.shown(self.living[pid]) if pid in self.living else None
            )

    @invariant()
    def after_a_look_around_the_living_are_the_true_ones(self) -> None:
        if self.reconciled:
            assert self.processes.living.keys() == self.living.keys()
            assert all(
                same_start(life, self.living[pid].start_ns)
                for pid, life in self.processes.living.items()
            )

    @invariant()
    def nobody_is_in_a_job_without_a_line_unless_that_is_marked_as_inferred(self) -> None:
        born = {life.id: life for life in self.processes.changes.started}
        how = {
            (job_id, life_id): how
            for job_id, life_id, _, _, how in memberships(self.processes.changes)
        }

        def excused(job_id: int, life: Incarnation) -> bool:
            if life.id in self.mistaken or how[job_id, life.id] == How.INFERRED:
                return True
            parent = born.get(life.parent_id or 0)
            return (
                how[job_id, life.id] == How.INHERITED
                and parent is not None
                and excused(job_id, parent)
            )

        for pid, life in self.processes.living.items():
            true = self.living.get(pid)
            if self.reconciled and true is not None:
                wrong = set(life.jobs) - {self.job[job].id for job in true.jobs}
                assert all(excused(job_id, life) for job_id in wrong)

    @invariant()
    def jobs_count_their_living(self) -> None:
        for job in self.job:
            assert job.living == len(self.processes.members(job))

    @invariant()
    def every_life_has_an_id_of_its_own(self) -> None:
        ids = [life.id for life in self.processes.changes.started]
        assert ids == list(range(2, 2 + 2 * len(ids), 2))
        assert {life.id for life in self.processes.living.values()} == {
            life.id for life in self.processes.changes.started if life.end_source is None
        }


TestNothingLost = NothingLost.TestCase
TestNothingLost.settings = settings(max_examples=80, stateful_step_count=50)
TestScanned = Scanned.TestCase
TestScanned.settings = settings(max_examples=80, stateful_step_count=50)
TestLossy = Lossy.TestCase
TestLossy.settings = settings(max_examples=80, stateful_step_count=50)
