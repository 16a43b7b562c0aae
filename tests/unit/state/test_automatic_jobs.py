"""Every process is in the automatic job of its control group, from its start where it was only
being placed.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from elsa.decode import events as ev
from elsa.decode.cgroup_events import Attach, BornInto, Made, Record, Removed, Sampled
from elsa.state.automatic_jobs import MOST_WAITING, AutomaticJobs, close_all
from elsa.state.codes import How
from elsa.state.default_job_rules import rules
from elsa.state.incarnation import Incarnation, ProcSnapshot
from elsa.state.job_rules import AutomaticJob, Decision
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.state.recently_ended import ENDED
from tests.support.events import event, execed, exited, fork
from tests.support.memberships import memberships

MS = 1_000_000
S = 1_000_000_000
SYSTEMD, CRON = 1, 700
SERVICE, OTHER, NESTED, CRON_GROUP, SESSION = 10, 11, 12, 13, 14
PATHS = {
    SERVICE: "/system.slice/web.service",
    OTHER: "/system.slice/db.service",
    NESTED: "/system.slice/web.service/worker",
    CRON_GROUP: "/system.slice/cron.service",
    SESSION: "/user.slice/user-1000.slice/session-3.scope",
}


NAMES = {0: "root", 1000: "anna"}
RULES = rules((), user_name=lambda uid: NAMES.get(uid, str(uid)))


class Host:
    """A host whose groups and invocations are set by hand."""

    def __init__(self) -> None:
        self.paths: dict[int, str] = {}
        self.invocations: dict[str, str] = {}
        self.stored: list[tuple[int, str, int]] = []
        self.opened_jobs: list[tuple[str, bool]] = []
        self.closing_jobs: list[str] = []
        self.command_lines: dict[int, tuple[str, ...]] = {}

    def decide(self, path: str) -> Decision:
        return RULES.decide(path)

    def invocation(self, path: str) -> str | None:
        return self.invocations.get(path)

    def path_of(self, group_id: int) -> str | None:
        return self.paths.get(group_id)

    def uid_of(self, owner: str) -> int | None:
        return {name: uid for uid, name in NAMES.items()}.get(owner)

    def store(self, job: Job) -> None:
        self.stored.append((job.id, job.name, job.owner_uid))

    def login(self, life: Incarnation) -> int | None:
        return None

    def arguments(self, life: Incarnation) -> Sequence[str]:
        return self.command_lines.get(life.pid, ())

    def settled(self, job: Job, description: AutomaticJob) -> None:
        assert description.name == job.name
        self.store(job)

    def opened(self, job: Job, description: AutomaticJob, *, new_group: bool) -> None:
        assert description.name == job.name
        self.opened_jobs.append((job.name, new_group))

    def closing(self, job: Job) -> None:
        self.closing_jobs.append(job.name)


class World:
    """A host on which systemd and cron run."""

    def __init__(self) -> None:
        self.processes = Processes(Jobs())
        self.host = Host()
        self.automatic = AutomaticJobs(self.processes, self.host)
        self.processes.apply([fork(1, 0, SYSTEMD)])
        for group_id, path in PATHS.items():
            self.automatic.add_group(group_id, path)

    def job_of(self, pid: int) -> str | None:
        life = self.processes.living[pid]
        automatic = [
            job.name for job_id in life.jobs if (job := self.processes.jobs.open[job_id]).automatic
        ]
        assert len(automatic) <= 1
        return automatic[0] if automatic else None

    def rows(self) -> list[tuple[str, int, int, int | None, int]]:
        """Memberships as stored: job name, pid, since, until, how."""
        changes = self.processes.changes
        pids = {life.id: life.pid for life in changes.started}
        names = {job_id: name for job_id, name, _ in self.host.stored}
        left = {(job, life): until for until, job, life in changes.left}
        return [
            (names[job], pids[life], since, left.get((job, life)), how)
            for job, life, since, _, how in memberships(changes)
        ]


@pytest.fixture
def world() -> World:
    return World()


def automatic_rows(world: World, manual: Job) -> list[tuple[str, int, int, int | None, int]]:
    """The memberships but for those in a job made by hand."""
    world.host.store(manual)
    return [row for row in world.rows() if row[0] != manual.name]


def moved(world: World, pid: int, group_id: int, at_ns: int) -> None:
    world.automatic.apply(Attach(at_ns, pid, group_id, world.host.paths.get(group_id, "")))


def sampled(world: World, pid: int, group_id: int, at_ns: int, program: str | None = None) -> None:
    world.automatic.apply(Sampled(at_ns, pid, pid, group_id, program))


def programmed(world: World, pid: int, at_ns: int, program: str) -> None:
    sampled(world, pid, world.processes.living[pid].group, at_ns, program)


def start_unit(world: World, pid: int, group_id: int, at_ns: int, parent: int = SYSTEMD) -> None:
    """As a service manager does: fork, move, exec."""
    world.processes.apply([fork(at_ns, parent, pid)])
    moved(world, pid, group_id, at_ns + MS)
    program = "/usr/sbin/cron" if pid == CRON else f"/usr/sbin/p{pid}"
    sampled(world, pid, group_id, at_ns + 2 * MS, program)
    world.processes.apply([execed(at_ns + 2 * MS, pid)])
    world.processes.set_comm(world.processes.living[pid], program.encode().rpartition(b"/")[2])


def test_a_process_moved_before_its_first_exec_is_in_the_job_from_its_start(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    world.processes.apply([fork(2 * S, 50, 51)])
    assert world.rows() == [("web", 50, 0, None, How.LAUNCHED), ("web", 51, 0, None, How.INHERITED)]
    assert world.automatic.moves == []


def test_a_process_moved_out_of_another_unit_before_its_first_exec_was_never_in_that(
    world: World,
) -> None:
    start_unit(world, 50, SERVICE, S)
    start_unit(world, 60, OTHER, 2 * S, parent=50)
    assert world.rows() == [("web", 50, 0, None, How.LAUNCHED), ("db", 60, 0, None, How.LAUNCHED)]


def test_a_process_that_is_moved_later_is_in_each_job_for_a_part_of_its_life(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    moved(world, 50, SESSION, 5 * S)
    world.processes.apply([fork(6 * S, 50, 51)])
    assert world.rows() == [
        ("web", 50, 0, 5 * S, How.LAUNCHED),
        ("session/3", 50, 5 * S, None, How.MOVED),
        ("session/3", 51, 0, None, How.INHERITED),
    ]
    [move] = world.automatic.moves
    assert (move.life.pid, move.time_ns) == (50, 5 * S)


def test_a_process_cloned_into_a_group_is_in_that_job_from_its_start(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    world.processes.apply([fork(2 * S, 50, 60)])
    world.automatic.apply(BornInto(2 * S + 1, 60, SYSTEMD))
    assert world.job_of(60) is None
    world.processes.apply([execed(2 * S + MS, 60)])
    sampled(world, 60, OTHER, 2 * S + MS)
    assert world.rows() == [("web", 50, 0, None, How.LAUNCHED), ("db", 60, 0, None, How.LAUNCHED)]


def test_a_sample_corrects_what_was_missed_and_says_so(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    world.processes.apply([fork(2 * S, 50, 51)])
    sampled(world, 51, OTHER, 4 * S, "/bin/true")  # long after: it was there all the time
    assert world.rows()[1:] == [("db", 51, 0, None, How.LAUNCHED)]
    sampled(world, 51, SERVICE, 5 * S)
    assert world.rows()[1:] == [
        ("db", 51, 0, 5 * S, How.LAUNCHED),
        ("web", 51, 5 * S, None, How.SAMPLED),
    ]


def test_groups_below_a_unit_belong_to_its_job(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    start_unit(world, 51, NESTED, 2 * S)
    moved(world, 50, NESTED, 4 * S)
    assert world.rows() == [("web", 50, 0, None, How.LAUNCHED), ("web", 51, 0, None, How.LAUNCHED)]


def test_a_record_waits_for_the_fork_of_its_process(world: World) -> None:
    moved(world, 50, SERVICE, S)
    world.automatic.retry(S + MS)
    world.processes.apply([fork(S - MS, SYSTEMD, 50)])
    world.automatic.retry(S + 2 * MS)
    assert world.rows() == [("web", 50, 0, None, How.LAUNCHED)]


def test_moves_of_threads_without_end_make_only_so_many_records_wait(world: World) -> None:
    for thread in range(MOST_WAITING):
        moved(world, 10_000 + thread, SERVICE, S)
    moved(world, 50, SERVICE, S)
    world.processes.apply([fork(S - MS, SYSTEMD, 50)])
    world.automatic.retry(S + MS)
    assert world.job_of(50) is None
    sampled(world, 50, SERVICE, S + 2 * MS)
    assert world.rows() == [("web", 50, 0, None, How.LAUNCHED)]


def test_a_record_of_a_process_is_not_applied_to_the_next_one_with_its_pid(world: World) -> None:
    world.processes.apply([fork(S, SYSTEMD, 50)])
    moved(world, 50, SERVICE, S // 2)
    world.automatic.retry(S)
    assert world.job_of(50) is None


def test_a_new_invocation_of_a_unit_is_a_job_of_its_own(world: World) -> None:
    path = PATHS[SERVICE]
    world.host.invocations[path] = "a"
    start_unit(world, 50, SERVICE, S)
    world.processes.apply([exited(2 * S, 50)])
    start_unit(world, 51, SERVICE, 3 * S)  # the next command of the same invocation
    world.processes.apply([exited(4 * S, 51)])
    world.host.invocations[path] = "b"
    start_unit(world, 52, SERVICE, 5 * S)
    jobs = {pid: job for job, _, pid in ((job, 0, life) for job, life, *_ in entered(world))}
    assert len(jobs) == 3
    assert jobs[ids(world)[50]] == jobs[ids(world)[51]] != jobs[ids(world)[52]]


def entered(world: World) -> list[tuple[int, int, int, None, int]]:
    return world.processes.changes.entered


def ids(world: World) -> dict[int, int]:
    return {life.pid: life.id for life in world.processes.changes.started}


def test_the_job_of_a_removed_group_closes_with_its_last_process(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    [job] = world.processes.jobs.open.values()
    world.automatic.apply(Removed(2 * S, SERVICE, PATHS[SERVICE]))
    assert job.closes_itself and job.id not in world.processes.jobs.emptied
    world.processes.apply([exited(2 * S, 50)])
    assert world.processes.jobs.emptied == {job.id: 2 * S}


def test_a_group_made_again_with_the_same_path_is_another_job(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    world.processes.apply([exited(2 * S, 50)])
    world.automatic.apply(Removed(2 * S, SERVICE, PATHS[SERVICE]))
    world.automatic.apply(Made(2 * S, 99, PATHS[SERVICE]))
    start_unit(world, 51, 99, 3 * S)
    first, second = world.processes.jobs.open.values()
    assert (first.name, second.name) == ("web", "web")
    assert (first.closes_itself, second.closes_itself) == (True, False)


def test_each_child_of_cron_is_a_job_named_after_its_user_and_first_program(world: World) -> None:
    start_unit(world, CRON, CRON_GROUP, S)
    world.processes.apply(
        [fork(5 * S, CRON, 800), fork(6 * S, 800, 801), event(ev.UID, 6 * S, 801, 801, 1000)]
    )
    programmed(world, 801, 7 * S, "/bin/sh")
    world.processes.apply([execed(7 * S, 801), fork(8 * S, 801, 802)])
    programmed(world, 802, 9 * S, "/usr/local/bin/backup.sh")
    world.processes.apply([execed(9 * S, 802)])
    assert [world.job_of(pid) for pid in (CRON, 800, 801, 802)] == [
        "cron",
        *["cron/anna/backup.sh"] * 3,
    ]
    world.processes.apply([exited(10 * S, 802), exited(10 * S, 801), exited(11 * S, 800)])
    [job] = [job for job in world.processes.jobs.open.values() if job.closes_itself]
    assert (job.owner_uid, world.processes.jobs.emptied) == (1000, {job.id: 11 * S})


def test_of_inherited_jobs_the_automatic_one_is_the_column(world: World) -> None:
    manual = world.processes.jobs.create("deploy", 0, 0)
    start_unit(world, 50, SERVICE, S)
    world.processes.add(world.processes.living[50], manual, 2 * S)
    moved(world, 50, OTHER, 3 * S)
    world.processes.apply([fork(4 * S, 50, 51)])
    child = world.processes.living[51]
    assert (child.inherited_job_id, child.automatic) == (child.automatic, child.jobs[0])
    assert (manual.id, child.id, 0, None, How.INHERITED) in entered(world)


def test_a_run_takes_the_column_from_a_manual_job_that_its_process_inherited(world: World) -> None:
    """Cron without a control group of its own is in no automatic job, but its children are."""
    manual = world.processes.jobs.create("deploy", 0, 0)
    world.host.store(manual)
    world.host.paths[99] = "/"
    start_unit(world, CRON, 99, S)
    world.processes.add(world.processes.living[CRON], manual, 2 * S)
    world.processes.apply([fork(5 * S, CRON, 800)])
    run = world.processes.living[800]
    assert world.job_of(CRON) is None
    assert run.inherited_job_id == run.automatic is not None
    assert ("deploy", 800, 0, None, How.INHERITED) in world.rows()
    programmed(world, 800, 7 * S, "/bin/sh")  # so it is the command of the run
    assert [row[1:] for row in world.rows() if row[1] == 800] == [
        (800, 0, None, How.INHERITED),
        (800, 0, None, How.LAUNCHED),
    ]


def test_what_pam_executes_first_does_not_name_a_cron_run(world: World) -> None:
    start_unit(world, CRON, CRON_GROUP, S)
    world.processes.apply([fork(5 * S, CRON, 800), fork(6 * S, 800, 801)])
    programmed(world, 801, 6 * S, "/usr/sbin/unix_chkpwd")
    assert world.job_of(801) == "cron"  # its user is not known yet
    world.processes.apply([execed(6 * S, 801), exited(6 * S, 801), fork(7 * S, 800, 802)])
    world.processes.apply([event(ev.UID, 7 * S, 802, 802, 1000)])
    programmed(world, 802, 8 * S, "/bin/sh")
    programmed(world, 802, 9 * S, "/usr/local/bin/backup.sh")
    assert [world.job_of(pid) for pid in (800, 802)] == ["cron/anna/backup.sh"] * 2


def test_first_process_of_a_run_that_executes_a_program_is_its_command(world: World) -> None:
    start_unit(world, CRON, CRON_GROUP, S)
    world.processes.apply([fork(5 * S, CRON, 800), fork(6 * S, 800, 801)])
    programmed(world, 801, 6 * S, "/usr/sbin/unix_chkpwd")
    world.processes.apply([exited(6 * S, 801), fork(7 * S, 800, 802)])
    programmed(world, 802, 7 * S, "/bin/sh")
    world.processes.apply([fork(8 * S, 802, 803)])
    programmed(world, 803, 8 * S, "/bin/false")
    life = world.processes.living[802]
    assert (life.automatic, life.inherited_job_id, len(life.jobs)) == (life.jobs[0], None, 1)
    assert [row[1:] for row in world.rows() if row[4] == How.LAUNCHED] == [
        (CRON, 0, None, How.LAUNCHED),
        (802, 0, None, How.LAUNCHED),
    ]
    world.processes.apply([exited(9 * S, 803), exited(9 * S, 802), exited(9 * S, 800)])
    assert life.jobs[0] in world.processes.jobs.emptied


def test_a_cron_run_keeps_its_job_in_the_session_that_pam_opens_for_it(world: World) -> None:
    start_unit(world, CRON, CRON_GROUP, S)
    world.processes.apply([fork(5 * S, CRON, 800)])
    before = world.job_of(800)
    moved(world, 800, SESSION, 5 * S + MS)
    assert world.job_of(800) == before
    moved(world, 800, OTHER, 6 * S)
    assert world.job_of(800) == "db"


def test_jobs_made_by_hand_lie_across(world: World) -> None:
    start_unit(world, 50, SERVICE, S)
    job = world.processes.jobs.create("mine", 1000, 0)
    world.processes.add(world.processes.living[50], job, 3 * S)
    moved(world, 50, OTHER, 4 * S)
    world.processes.apply([fork(5 * S, 50, 51)])
    jobs = world.processes.living[51].jobs
    assert {world.processes.jobs.open[job_id].name for job_id in jobs} == {"mine", "db"}


def test_the_owner_of_a_service_is_the_user_of_its_first_program(world: World) -> None:
    world.processes.apply([fork(S, SYSTEMD, 50)])
    moved(world, 50, SERVICE, S + MS)
    world.processes.apply([event(ev.UID, S + MS, 50, 50, 1000, 1000), execed(S + 2 * MS, 50)])
    programmed(world, 50, S + 2 * MS, "/usr/sbin/web")
    assert world.host.stored == [(1, "web", 0), (1, "web", 1000)]


def test_job_of_a_group_that_was_made_meanwhile_is_known_to_have_a_new_group() -> None:
    world = World()
    world.automatic.resume([])
    made = Made(S, 20, "/system.slice/late.service")
    world.automatic.apply(made)
    world.processes.apply([fork(2 * S, SYSTEMD, 50), fork(2 * S, SYSTEMD, 51)])
    world.automatic.apply(Attach(2 * S, 50, SERVICE, PATHS[SERVICE]))
    world.automatic.apply(Attach(2 * S, 51, 20, made.path))
    assert world.host.opened_jobs == [("web", False), ("late", True)]
    world.automatic.apply(Removed(3 * S, 20, made.path))
    assert world.host.closing_jobs == ["late"]


def test_second_invocation_in_a_group_does_not_have_a_new_group() -> None:
    world = World()
    world.automatic.resume([])
    made = Made(S, 20, "/system.slice/late.service")
    world.automatic.apply(made)
    for number, pid in enumerate((50, 51)):
        world.host.invocations[made.path] = str(number) * 32
        world.processes.apply([fork((2 + number) * S, SYSTEMD, pid)])
        world.automatic.apply(Attach((2 + number) * S, pid, 20, made.path))
    assert world.host.opened_jobs == [("late", True), ("late", False)]
    assert world.host.closing_jobs == ["late"]


@pytest.mark.parametrize("first", ["/proc/self/fd/16", "/usr/lib/systemd/systemd-executor"])
def test_the_program_of_systemd_itself_does_not_give_a_service_its_owner(
    world: World, first: str
) -> None:
    world.processes.apply([fork(S, SYSTEMD, 50)])
    moved(world, 50, SERVICE, S + MS)
    programmed(world, 50, S + 2 * MS, first)
    world.processes.apply([execed(S + 2 * MS, 50), event(ev.UID, S + 3 * MS, 50, 50, 1000, 1000)])
    programmed(world, 50, S + 4 * MS, "/usr/sbin/web")
    assert world.host.stored == [(1, "web", 0), (1, "web", 1000)]


def test_records_that_come_after_the_end_of_their_process_are_still_applied(world: World) -> None:
    """CPUs write records and queue events a little out of order."""
    late: dict[int, list[Record]] = {
        60: [Attach(5 * S + 1, 60, OTHER, "")],
        61: [BornInto(5 * S + 1, 61, SYSTEMD), Sampled(5 * S + 9, 61, 61, OTHER, None)],
        62: [Sampled(5 * S + 3, 62, 62, OTHER, "/usr/sbin/db")],
    }
    for pid, records in late.items():
        world.processes.apply([fork(5 * S, SYSTEMD, pid)])
        world.processes.apply([execed(5 * S + 4, pid), exited(5 * S + 10, pid)])
        for record in records:
            world.automatic.apply(record)
    assert world.rows() == [("db", pid, 0, None, How.LAUNCHED) for pid in (60, 61)] + [
        ("db", 62, 0, None, How.LAUNCHED)
    ]
    [job] = world.processes.jobs.open.values()
    assert job.living == 0
    world.automatic.apply(Removed(6 * S, OTHER, PATHS[OTHER]))
    assert list(world.processes.jobs.emptied) == [job.id]


def test_a_record_is_applied_to_the_process_that_had_the_pid_then(world: World) -> None:
    world.processes.apply([fork(5 * S, SYSTEMD, 60), exited(5 * S + 10, 60)])
    world.processes.apply([fork(6 * S, SYSTEMD, 60)])
    sampled(world, 60, OTHER, 5 * S + 9)
    [(_, process_id, *_)] = entered(world)
    assert process_id == world.processes.changes.started[1].id
    assert world.job_of(60) is None


def test_a_run_that_is_over_when_it_is_known_closes(world: World) -> None:
    start_unit(world, CRON, CRON_GROUP, S)
    world.processes.apply([fork(5 * S, SYSTEMD, 800)])
    world.processes.living[800].ancestor = world.processes.living[CRON]
    world.processes.living[800].comm = "cron"
    world.processes.apply([exited(6 * S, 800)])
    sampled(world, 800, CRON_GROUP, 6 * S - 1)
    [run] = [job for job in world.processes.jobs.open.values() if job.is_run]
    assert run.id in world.processes.jobs.emptied


def test_cron_run_that_is_in_its_session_already_when_jobd_starts_is_a_run(world: World) -> None:
    world.host.command_lines[800] = ("/bin/sh", "-c", "/usr/local/bin/backup.sh")
    shown = [
        ProcSnapshot(pid, ppid, 0, 1, zombie=False, uid=uid, comm=comm, seen_ns=S)
        for pid, ppid, uid, comm in (
            (CRON, SYSTEMD, 0, b"cron"),
            (799, CRON, 0, b"cron"),
            (800, 799, 1000, b"sh"),
            (801, 800, 1000, b"backup.sh"),
            (802, SYSTEMD, 1000, b"sshd"),
        )
    ]
    world.processes.reconcile(shown, infer=False)
    for pid, group in (
        (CRON, CRON_GROUP),
        (799, CRON_GROUP),
        *((n, SESSION) for n in range(800, 803)),
    ):
        world.automatic.find(world.processes.living[pid], group, S, How.PRESENT)
    assert [world.job_of(pid) for pid in (CRON, 799, 800, 801, 802)] == [
        "cron",
        *["cron/anna/backup.sh"] * 3,
        "session/3",
    ]


def test_without_control_groups_all_automatic_jobs_close_and_those_that_run_leave(
    world: World,
) -> None:
    start_unit(world, 50, SERVICE, S)
    start_unit(world, 51, OTHER, S)
    processes = world.processes
    gone = processes.living[51]
    manual = processes.jobs.create("mine", 1000, 0)
    for pid in (50, 51):
        processes.add(processes.living[pid], manual, 2 * S)
    closed, left = close_all(processes, lambda life: life is not gone, 3 * S)
    assert [life.pid for life in left] == [50]
    assert {(job.name, job.closed_at_ns, job.close_reason) for job in closed} == {
        ("web", 3 * S, "disabled"),
        ("db", 3 * S, "disabled"),
    }
    assert list(processes.jobs.open) == [manual.id]
    until_of = {name: until for name, _, _, until, _ in automatic_rows(world, manual)}
    assert until_of == {"web": 3 * S, "db": None}
    processes.apply([fork(4 * S, 50, 60), fork(4 * S, 51, 61)])
    assert [processes.living[pid].jobs for pid in (60, 61)] == [(manual.id,)] * 2


def test_processes_that_ended_long_ago_are_forgotten(world: World) -> None:
    last = 1000 + 3 * ENDED - 1
    for pid in range(1000, last + 1):
        world.processes.apply([fork(pid * MS, SYSTEMD, pid), exited(pid * MS + 1, pid)])
    ended = world.processes.recently_ended
    assert ended is not None
    assert all(ended.find(pid, 10**18) is not None for pid in range(last - ENDED + 2, last + 1))
    assert ended.find(1000, 10**18) is None
