"""What jobd does for whom: how many jobs a process may be in and a user may have, and what one who
does not manage is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from elsa.config import Config
from elsa.control import operations, protocol
from elsa.control.server import Peer
from elsa.errors import ElsaError, PrivilegeError, RetryError, UsageError
from elsa.host import proc_scan
from elsa.jobd.requests import OWNERS_OF_A_PROCESS, OWNERS_OF_JOBS, RequestHandler
from elsa.kernel import clocks
from elsa.state.codes import How, Origin
from elsa.state.incarnation import ProcSnapshot
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from tests.support.events import exited, fork

ROOT, ANN, BOB = (Peer(1, uid, uid, frozenset(), manages=uid == 0) for uid in (0, 1000, 1001))
MINE, CHILD, ROOTS = 100, 101, 1
"""Pids: a process of Ann's, a child of it that runs as root, and another of root's."""
PER_PROCESS, PER_USER = 3, 5


class Asked:
    """A service over three processes."""

    def __init__(self) -> None:
        self.processes = Processes(Jobs())
        for pid, uid in ((MINE, 1000), (CHILD, 0), (ROOTS, 0)):
            self.processes.adopt(pid, 1, Origin.FORK).uid = uid
        self.processes.living[CHILD].ancestor = self.processes.living[MINE]
        collector = SimpleNamespace(
            groups=None,
            processes=self.processes,
            batcher=SimpleNamespace(
                commit=lambda reply, answer: reply(answer),
                job=len_of,
                close=len_of,
                job_ids_until=10_000,
            ),
            counter_reader=SimpleNamespace(ended_threads=lambda _pid: {}),
            intervals=SimpleNamespace(edge=lambda *_: None),
            drain=lambda: None,
            status=lambda: {"db": "elsa.db", "jobs": 77, "processes": 3, "lost": 0},
        )
        self.service = RequestHandler(
            cast("Any", collector), Config(jobs_per_process=PER_PROCESS, jobs_per_user=PER_USER)
        )

    def __call__(self, peer: Peer, op: str, **fields: object) -> Mapping[str, Any]:
        told: list[Mapping[str, Any] | ElsaError] = []
        self.service.handle(
            operations.parse_request(protocol.encode_request(op, fields)), peer, told.append
        )
        (answer,) = told
        assert not isinstance(answer, ElsaError)
        return answer

    def jobs_of(self, pid: int) -> int:
        return len(self.processes.living[pid].jobs)


def len_of(_job: object) -> None:
    """Nothing is stored."""


@pytest.fixture
def ask() -> Asked:
    return Asked()


class Abroad:
    """A pid namespace in which some of our pids have other numbers."""

    def __init__(self, ours_by_theirs: Mapping[int, int], *, known: bool = True) -> None:
        self.known = known
        self._ours = dict(ours_by_theirs)

    def ours(self, theirs: int) -> int | None:
        return self._ours.get(theirs)

    def theirs(self, ours: int) -> int | None:
        return {ours: theirs for theirs, ours in self._ours.items()}.get(ours)


def abroad(
    monkeypatch: pytest.MonkeyPatch,
    ours_by_theirs: Mapping[int, int],
    *,
    start_ns: int = 1,
    known: bool = True,
) -> Peer:
    """Ann in another pid namespace; in /proc her processes began at `start_ns`."""

    def find(_procfs: object, pid: int, _monotonic: object, *, with_uid: bool) -> ProcSnapshot:
        return ProcSnapshot(pid, 0, start_ns, 1, False, None, b"", 0)

    monkeypatch.setattr(proc_scan, "find", find)
    return ANN._replace(foreign=cast("Any", Abroad(ours_by_theirs, known=known)))


def test_a_client_in_another_pid_namespace_means_its_own_pids(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 and 100 are other processes here, which are not touched."""
    ask.processes.living[CHILD].uid = 1000
    peer = abroad(monkeypatch, {1: MINE, MINE: CHILD})
    answer = ask(peer, "create", name="box", pids=[1], launched=1)
    assert answer["added"] == [1]
    job = answer["job"]["id"]
    assert (ask.jobs_of(MINE), ask.jobs_of(CHILD), ask.jobs_of(ROOTS)) == (1, 0, 0)
    assert [(one["pid"], one["from_birth"]) for one in ask(peer, "show", job=job)["members"]] == [
        (1, True)
    ]
    assert ask(peer, "add", job=job, pids=[MINE])["added"] == [MINE]
    assert (ask.jobs_of(CHILD), ask(peer, "of", pid=MINE)["pid"]) == (1, MINE)
    assert ask(peer, "remove", job=job, pids=[1])["removed"] == [1]
    assert (ask.jobs_of(MINE), ask.jobs_of(CHILD), ask.jobs_of(ROOTS)) == (0, 1, 0)


def test_what_he_does_not_see_of_a_tree_has_no_pid_for_him(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask.processes.living[CHILD].uid = 1000
    peer = abroad(monkeypatch, {1: MINE})
    job = ask(peer, "create", name="box")["job"]["id"]
    assert sorted(ask(peer, "add", job=job, pids=[1], tree=True)["added"], key=str) == [1, None]
    assert {(one["pid"], one["process_id"]) for one in ask(peer, "show", job=job)["members"]} == {
        (1, ask.processes.living[MINE].id),
        (None, ask.processes.living[CHILD].id),
    }


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("create", {"name": "x", "pids": [MINE]}),
        ("create", {"name": "x", "pids": [MINE], "launched": MINE}),
        ("add", {"job": 1, "pids": [MINE], "tree": True}),
        ("remove", {"job": 1, "pids": [MINE]}),
        ("of", {"pid": MINE}),
    ],
)
@pytest.mark.parametrize("why", ["no such pid", "not heard of", "the pid has passed on", "gone"])
def test_a_pid_that_cannot_be_translated_is_refused_and_nobody_is_touched(
    ask: Asked, monkeypatch: pytest.MonkeyPatch, op: str, fields: dict[str, Any], why: str
) -> None:
    """Between the translation and the answer the process may end, and another get its pid: the
    start tells.
    """
    assert ask(ANN, "create", name="job", pids=[MINE])["job"]["id"] == 1
    peer = {
        "no such pid": lambda: abroad(monkeypatch, {7: MINE}),
        "not heard of": lambda: abroad(monkeypatch, {MINE: 4242}),
        "the pid has passed on": lambda: abroad(monkeypatch, {MINE: MINE}, start_ns=10**9),
        "gone": lambda: abroad(monkeypatch, {MINE: MINE}, known=False),
    }[why]()
    match = (
        "client has ended, or is in a pid namespace"
        if why == "gone"
        else f"no such process in your pid namespace: {MINE}"
    )
    with pytest.raises(UsageError, match=match):
        ask(peer, op, **fields)
    assert ask.jobs_of(MINE) == 1
    assert len(ask.processes.jobs.open) == 1


@pytest.mark.parametrize("field", ["root", "session"])
def test_pids_of_the_past_cannot_be_named_from_another_namespace(
    ask: Asked, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    with pytest.raises(UsageError, match="recorded processes have the host's pids"):
        ask(abroad(monkeypatch, {1: MINE}), "define", name="late", **{field: 1})


def test_a_request_without_a_pid_is_answered_though_its_client_has_ended(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = abroad(monkeypatch, {}, known=False)
    ask(peer, "create", name="empty")
    assert [job["name"] for job in ask(peer, "list")["jobs"]] == ["empty"]


def test_every_field_that_takes_a_pid_is_translated() -> None:
    """A field is one of pids if it takes the largest pid, alone or in a list, and none above."""
    most = protocol.MAX_PID

    def takes(check: Any, value: int) -> bool:
        for form in (value, [value]):
            try:
                check(form)
            except UsageError:
                continue
            return True
        return False

    assert set(operations.PID_FIELDS) == {
        name
        for name, check in operations.FIELDS.items()
        if takes(check, most) and not takes(check, most + 1)
    }


@pytest.mark.parametrize("peer", [ANN, ROOT])
def test_a_process_is_in_so_many_jobs_of_one_owner_and_no_more(ask: Asked, peer: Peer) -> None:
    jobs = [ask(peer, "create", name=f"j{n}", pids=[MINE])["job"]["id"] for n in range(PER_PROCESS)]
    more = ask(peer, "create", name="more")["job"]["id"]
    for op, fields in (
        ("create", {"name": "x", "pids": [MINE]}),
        ("add", {"job": more, "pids": [MINE]}),
    ):
        with pytest.raises(
            UsageError,
            match=rf"process {MINE} is in {PER_PROCESS} open jobs .*jobs_per_process.*remove",
        ):
            ask(peer, op, **fields)
    assert ask(peer, "show", job=more)["living"] == 0
    assert ask(peer, "add", job=jobs[0], pids=[MINE])["already"] == [MINE]
    ask(peer, "remove", job=jobs[0], pids=[MINE])
    assert ask(peer, "add", job=more, pids=[MINE])["added"] == [MINE]
    assert ask.jobs_of(MINE) == PER_PROCESS


def test_nothing_is_added_if_one_of_many_processes_is_in_too_many_jobs(ask: Asked) -> None:
    for n in range(PER_PROCESS):
        ask(ROOT, "create", name=f"j{n}", pids=[MINE])
    job = ask(ROOT, "create", name="all")["job"]["id"]
    with pytest.raises(UsageError, match="jobs_per_process"):
        ask(ROOT, "add", job=job, pids=[ROOTS, MINE])
    assert ask.jobs_of(ROOTS) == 0


def test_nobody_keeps_another_from_putting_a_process_into_a_job(ask: Asked) -> None:
    for n in range(PER_PROCESS):
        ask(ANN, "create", name=f"j{n}", pids=[MINE])
    assert ask(ROOT, "create", name="root's", pids=[MINE])["added"] == [MINE]
    ask.processes.living[MINE].uid = BOB.uid
    assert ask(BOB, "create", name="Bob's", pids=[MINE])["added"] == [MINE]


def test_many_uids_do_not_raise_the_number_of_jobs_of_a_process(ask: Asked) -> None:
    refused = 0
    for uid in range(1000, 1000 + 3 * OWNERS_OF_A_PROCESS):
        ask.processes.living[MINE].uid = uid
        for _ in range(PER_PROCESS):
            try:
                ask(Peer(1, uid, uid, frozenset(), manages=False), "create", name="j", pids=[MINE])
            except UsageError as error:
                refused += "too many open jobs" in str(error)
    assert (ask.jobs_of(MINE), refused) == (
        OWNERS_OF_A_PROCESS * PER_PROCESS,
        2 * OWNERS_OF_A_PROCESS * PER_PROCESS,
    )
    assert ask(ROOT, "create", name="root's", pids=[MINE])["added"] == [MINE]


def test_a_user_opens_so_many_jobs_and_may_open_more_when_one_is_closed(ask: Asked) -> None:
    jobs = [ask(ANN, "create", name="j")["job"]["id"] for _ in range(PER_USER)]
    with pytest.raises(UsageError, match=f"{PER_USER} open jobs already"):
        ask(ANN, "create", name="j")
    assert ask(BOB, "create", name="j")
    assert [ask(ROOT, "create", name="j") for _ in range(PER_USER + 1)]
    ask(ANN, "close", job=jobs[0])
    assert ask(ANN, "create", name="j")


def test_all_users_together_open_a_bounded_number_of_jobs_and_root_always_one_more(
    ask: Asked,
) -> None:
    for uid in range(1000, 1000 + OWNERS_OF_JOBS):
        for _ in range(PER_USER):
            ask(Peer(1, uid, uid, frozenset(), manages=False), "create", name="j")
    with pytest.raises(RetryError):
        ask(Peer(1, 5000, 5000, frozenset(), manages=False), "create", name="j")
    assert ask(ROOT, "create", name="j")


def test_to_a_user_another_s_process_is_the_same_as_none(ask: Asked) -> None:
    job = ask(ANN, "create", name="mine", pids=[MINE])["job"]["id"]
    for op, fields in (("add", {"job": job}), ("create", {"name": "x"})):
        told = []
        for pid in (ROOTS, 4000):
            with pytest.raises(PrivilegeError) as refused:
                ask(ANN, op, pids=[pid], **fields)
            told.append(str(refused.value).replace(str(pid), "PID"))
        assert told[0] == told[1]
    with pytest.raises(PrivilegeError):
        ask(ANN, "of", pid=ROOTS)
    with pytest.raises(UsageError, match="no such process: 4000"):
        ask(ROOT, "of", pid=4000)
    for peer, pid in ((ANN, ROOTS), (ANN, 4000), (ROOT, 4000)):
        with pytest.raises(UsageError, match=f"not in job {job} .*: {pid}"):
            ask(peer, "remove", job=job, pids=[pid])


def test_a_tree_is_added_as_far_as_it_is_the_asker_s(ask: Asked) -> None:
    job = ask(ANN, "create", name="tree")["job"]["id"]
    assert ask(ANN, "add", job=job, pids=[MINE], tree=True)["added"] == [MINE]
    assert ask(ROOT, "add", job=job, pids=[MINE], tree=True)["added"] == [CHILD]
    assert ask(ANN, "of", pid=CHILD)["jobs"][0]["id"] == job  # it is a member of his job now


def test_who_was_not_known_yet_when_a_tree_was_added_or_a_job_closed_follows(ask: Asked) -> None:
    opened, closed = (ask(ANN, "create", name=name)["job"]["id"] for name in ("tree", "closed"))
    ask(ANN, "add", job=closed, pids=[MINE])
    forked_ns = clocks.monotonic_ns()
    ask(ANN, "add", job=opened, pids=[MINE], tree=True)
    ask(ANN, "close", job=closed)
    ask.processes.apply([fork(forked_ns, MINE, 102), fork(forked_ns, MINE, 103)])
    ask.processes.apply([exited(forked_ns, 103)])
    life = ask.processes.living[102]
    assert life.jobs == (closed,)
    ask.service.follow()
    assert life.jobs == (opened,)
    assert life.member_since(opened) > forked_ns
    (left,) = (row for row in ask.processes.changes.left if row[1:] == (closed, life.id))
    assert left[0] > forked_ns
    assert ask.processes.jobs.open[opened].living == 2


def test_the_counts_of_the_host_are_shown_to_managers(ask: Asked) -> None:
    ask(ANN, "create", name="mine")
    assert ask(ROOT, "status") == {"db": "elsa.db", "jobs": 77, "processes": 3, "lost": 0}
    mine = ask(ANN, "status")
    assert (mine["db"], mine["jobs"], mine["processes"], mine["lost"]) == ("elsa.db", 1, None, None)


def automatic(
    ask: Asked, name: str, kind: str, pid: int | None = None, *, run: bool = False
) -> int:
    """An automatic job of Ann's, with a process in it if its pid is given; returns its id."""
    job = ask.processes.jobs.create(name, 1000, 1, kind=kind)
    job.is_run = run
    if pid is not None:
        life = ask.processes.living[pid]
        ask.processes.memberships.change_automatic(life, job.id, 5, How.MOVED, from_start=False)
    return job.id


@pytest.mark.parametrize("peer", [ROOT, ANN])
@pytest.mark.parametrize(
    ("op", "fields"), [("close", {}), ("add", {"pids": [MINE]}), ("remove", {"pids": [MINE]})]
)
@pytest.mark.parametrize(("run", "why"), [(False, "its control group"), (True, "its last process")])
def test_nobody_changes_an_automatic_job(
    ask: Asked, peer: Peer, op: str, fields: dict[str, Any], run: bool, why: str
) -> None:
    job = automatic(ask, "web", "service", MINE, run=run)
    for named in (job, "web"):
        with pytest.raises(UsageError) as caught:
            ask(peer, op, job=named, **fields)
        assert str(caught.value) == f"job {job} (web) is automatic: it ends with {why}"
    assert ask.processes.living[MINE].jobs == (job,)
    assert job in ask.processes.jobs.open


def test_a_name_means_a_manual_job_before_an_automatic_job(ask: Asked) -> None:
    automatic(ask, "web", "service")
    mine = ask(ANN, "create", name="web")["job"]["id"]
    automatic(ask, "web", "service")
    assert ask(ANN, "add", job="web", pids=[MINE])["job"]["id"] == mine
    assert ask(ANN, "close", job="web")["job"]["id"] == mine
    with pytest.raises(UsageError, match="2 open jobs are named 'web'"):
        ask(ANN, "close", job="web")


def test_limits_count_manual_jobs_only(ask: Asked) -> None:
    for number in range(OWNERS_OF_JOBS * PER_USER):
        automatic(ask, f"unit{number}", "user", MINE)
    for number in range(PER_PROCESS):
        ask(ANN, "create", name=f"job{number}", pids=[MINE])
    with pytest.raises(UsageError, match=f"in {PER_PROCESS} open jobs of yours"):
        ask(ANN, "create", name="more", pids=[MINE])
    for number in range(PER_USER - PER_PROCESS):
        ask(ANN, "create", name=f"empty{number}")
    with pytest.raises(UsageError, match=f"{PER_USER} open jobs already"):
        ask(ANN, "create", name="more")


def test_a_list_has_the_kinds_that_are_asked_for_and_a_user_sees_what_he_owns(ask: Asked) -> None:
    ask(ANN, "create", name="build")
    automatic(ask, "session/3", "session")
    automatic(ask, "user/1000/app", "user")
    ask.processes.jobs.create("sshd", 0, 1, kind="service")

    def kinds(peer: Peer, *asked: str) -> list[str]:
        return [job["kind"] for job in ask(peer, "list", kinds=list(asked))["jobs"]]

    assert kinds(ANN) == kinds(ANN, "all") == ["manual", "session", "user"]
    assert kinds(ANN, "manual") == ["manual"]
    assert kinds(ANN, "automatic") == ["session", "user"]
    assert kinds(ROOT, "service", "user") == ["user", "service"]
    with pytest.raises(UsageError, match="kinds: needs a list of manual, service"):
        kinds(ANN, "daemon")
