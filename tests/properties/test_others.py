"""What others run and own shows in no answer to a user who is neither root nor in the group: not in
counts, errors or lists.

Two worlds in which everything of the user's own is the same, and nothing of the others', give the
same answers to whatever he asks.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.config import Config
from elsa.control import operations
from elsa.control.server import Peer
from elsa.errors import ElsaError
from elsa.jobd.requests import RequestHandler
from elsa.state.codes import Origin
from elsa.state.criteria import Criteria
from elsa.state.jobs import Job, Jobs
from elsa.state.process_table import Processes
from elsa.store import defined_jobs

SECOND = 1_000_000_000
REAL = 1_767_323_045 * SECOND
ME, OTHERS = 1000, (0, 1001)
PEER = Peer(1, ME, ME, frozenset(), manages=False)
PIDS = st.integers(100, 106)
NAMES = ("sh", "ssh", "secret", "s")

# --- what is recorded


class Recorded(NamedTuple):
    """One process of the warehouse; times in seconds, its parent and session as places and pids."""

    pid: int
    name: str
    start: int
    seconds: int | None
    parent: int | None
    inferred: bool
    session: int | None


RECORDED = st.builds(
    Recorded,
    PIDS,
    st.sampled_from(NAMES),
    st.integers(10, 20),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(1, 12),
    st.booleans(),
    st.none() | PIDS,
)
SELECTIONS = st.builds(
    lambda kind, pid, at, patterns, since, until: Criteria(
        root=pid if kind == "root" else None,
        session=pid if kind == "session" else None,
        at_ns=None if at is None or kind == "commands" else REAL + at * SECOND,
        commands=tuple(patterns) if kind == "commands" else (),
        since_ns=None if since is None else REAL + since * SECOND,
        until_ns=None if until is None else REAL + until * SECOND,
    ),
    st.sampled_from(["root", "session", "commands"]),
    PIDS,
    st.none() | st.integers(9, 30),
    st.lists(st.sampled_from(["*", "s*", "se*", "[!s]*", "sh", "?", "x"]), min_size=1, max_size=2),
    st.none() | st.integers(9, 20),
    st.none() | st.integers(12, 22),
)


@pytest.fixture(scope="module")
def empty(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a boot, its clock, and names."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("others") / "elsa.db"))
    connection = sqlite3.connect(path)
    connection.executescript(
        f"""insert into host (id, machine_id, name) values (1, 'm', 'here');
            insert into boot (id, host_id, uuid, started_at_ns) values (1, 1, 'b', {REAL});
            insert into boot (id, host_id, uuid, started_at_ns) values (2, 1, 'c', {REAL});
            insert into clock (id, boot_id, since_ns, offset_ns, boottime_offset_ns)
            values (1, 1, 0, {REAL}, 0);"""
    )
    connection.executemany("insert into comm (id, name) values (?, ?)", enumerate(NAMES))
    connection.commit()
    connection.close()
    return path


def warehouse(
    empty: Path, own: list[Recorded], others: list[tuple[Recorded, int]]
) -> sqlite3.Connection:
    """A copy with these processes in it; those of the user have even ids, the others' odd ones."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with sqlite3.connect(empty) as source:
        source.backup(connection)
    source.close()
    whose = [(2 * place, one, ME) for place, one in enumerate(own, 1)] + [
        (2 * n + 1, one, uid) for n, (one, uid) in enumerate(others, 1)
    ]
    for id_, one, uid in whose:
        ended = (None, None, None) if one.seconds is None else (one.seconds * SECOND, 1, 1)
        connection.execute(
            """insert into process (id, boot_id, pid, comm_id, start_ns, clock_id, elapsed_ns,
               end_clock_id, end_source, uid, parent_id, parent_inferred, origin)
               values (?, 1, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, 1)""",
            (
                id_,
                one.pid,
                NAMES.index(one.name),
                one.start * SECOND,
                *ended,
                uid,
                one.parent,
                one.inferred or None,
            ),
        )
        if one.session is not None:
            connection.execute(
                "insert into program (process_id, session) values (?, ?)", (id_, one.session)
            )
    return connection


def found(connection: sqlite3.Connection, selection: Criteria) -> object:
    """What the user is shown, the members included."""
    try:
        told = defined_jobs.describe(defined_jobs.find(connection, Path("none"), selection, ME))
    except ElsaError as error:
        return type(error), str(error)
    return told, connection.execute("select * from temp.chosen order by 1").fetchall()


OTHER_RECORDED = st.lists(st.tuples(RECORDED, st.sampled_from(OTHERS)), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own=st.lists(RECORDED, max_size=6),
    one=OTHER_RECORDED,
    other=OTHER_RECORDED,
    selection=SELECTIONS,
)
def test_what_others_ran_makes_no_difference_to_a_job_after_the_fact(
    empty: Path,
    own: list[Recorded],
    one: list[tuple[Recorded, int]],
    other: list[tuple[Recorded, int]],
    selection: Criteria,
) -> None:
    worlds = [warehouse(empty, own, others) for others in (one, other)]
    try:
        assert found(worlds[0], selection) == found(worlds[1], selection)
    finally:
        for world in worlds:
            world.close()


# --- what lives now


class Lives(NamedTuple):
    """Living processes by pid, each with its jobs by their places, the names of the jobs, and who
    else is in all of them.
    """

    processes: dict[int, frozenset[int]]
    jobs: list[str]
    guests: frozenset[int] = frozenset()


def lives(
    pids: st.SearchStrategy[int], guests: st.SearchStrategy[frozenset[int]]
) -> st.SearchStrategy[Lives]:
    """A part of a world."""
    names = st.lists(st.sampled_from(NAMES), max_size=4)
    return st.builds(
        Lives, st.dictionaries(pids, st.frozensets(st.integers(0, 5)), max_size=4), names, guests
    )


OWN_PIDS = st.sampled_from([100, 102, 104, 106])
OWN = lives(OWN_PIDS, st.just(frozenset()))
FOREIGN = lives(
    st.sampled_from([101, 103, 105, 107]), st.frozensets(OWN_PIDS, max_size=2)
)  # root may put anybody into a job of his
JOB = st.integers(1, 16) | st.sampled_from(NAMES)
ANY_PID = st.integers(100, 108)
SOME_PIDS = st.lists(ANY_PID, unique=True, max_size=3).map(tuple)
ASKED: dict[type[operations.Request], st.SearchStrategy[Any]] = {
    operations.Create: st.builds(operations.Create, st.sampled_from(NAMES), pids=SOME_PIDS),
    operations.Define: st.builds(operations.Define, st.just("new"), commands=st.just(("s*",))),
    operations.Reserve: st.builds(operations.Reserve, st.just("new")),
    operations.Add: st.builds(operations.Add, JOB, SOME_PIDS, st.booleans()),
    operations.Remove: st.builds(operations.Remove, JOB, SOME_PIDS),
    operations.Ended: st.builds(operations.Ended, JOB, st.sampled_from([0, 9, 256])),
    operations.Close: st.builds(operations.Close, JOB),
    operations.List: st.builds(operations.List, st.booleans()),
    operations.Show: st.builds(operations.Show, JOB),
    operations.Of: st.builds(operations.Of, ANY_PID),
    operations.Own: st.builds(operations.Own, st.sampled_from([None, 10**18])),
    operations.Status: st.just(operations.Status()),
    operations.Sync: st.just(operations.Sync()),
}
FIRST_OF_OTHERS = 9


class World:
    """A service over processes and jobs; own jobs have the ids 1, 2, ..., those of others 9, 10,
    ...
    """

    def __init__(self, own: Lives, others: Lives) -> None:
        self.processes = Processes(Jobs())
        self.helped: list[object] = []
        self._fill(own, ME, 1)
        self._fill(others, OTHERS[1], FIRST_OF_OTHERS)
        self.processes.jobs.next_id = 20  # ids are given out in turn: that is the same in both
        for pid, life in self.processes.living.items():  # each odd pid is a child of the one before
            if pid % 2:
                life.ancestor = self.processes.living.get(pid - 1)
        count = len(others.processes)
        collector = SimpleNamespace(
            processes=self.processes,
            batcher=SimpleNamespace(
                commit=lambda reply, answer: reply(answer),
                job=self.ignore,
                close=self.ignore,
                job_ids_until=1000,
            ),
            counter_reader=SimpleNamespace(ended_threads=lambda _pid: {}),
            intervals=SimpleNamespace(edge=self.ignore),
            helpers=SimpleNamespace(start=lambda *order: self.helped.append(order[:3])),
            drain=self.ignore,
            sync=lambda reply: reply({"heard_ns": 1}),
            status=lambda: {
                "db": "elsa.db",
                "jobs": len(self.processes.jobs.open),
                **dict.fromkeys(HOST_COUNTS, count),
            },
            groups=None,
            ended_jobs=lambda uid, kinds: [{"id": 0, "owner": uid, "kinds": sorted(kinds)}],
        )
        self.service = RequestHandler(
            cast("Any", collector), Config(jobs_per_process=2, jobs_per_user=4)
        )

    @staticmethod
    def ignore(*_: object) -> None:
        """What nobody is told of."""

    def _fill(self, lives: Lives, uid: int, first: int) -> None:
        for place, name in enumerate(lives.jobs):
            self.processes.jobs.restore(Job(first + place, name, uid, 0))
        for pid, places in lives.processes.items():
            life = self.processes.adopt(pid, SECOND, Origin.FORK)
            life.id, life.uid, life.comm = pid, uid, "work"
            for place in places:
                if place < len(lives.jobs):
                    self.processes.add(life, self.processes.jobs.open[first + place], 0)
        for pid in lives.guests & self.processes.living.keys():
            for job in self.processes.jobs.of_owner(uid).values():
                self.processes.add(self.processes.living[pid], job, 0)

    def ask(self, request: operations.Request) -> object:
        """The answer, or the error."""
        told: list[Mapping[str, Any] | ElsaError] = []
        try:
            self.service.handle(request, PEER, told.append)
        except ElsaError as error:
            told.append(error)
        return [
            (type(one), str(one)) if isinstance(one, ElsaError) else one for one in told
        ], self.helped


HOST_COUNTS = ("heard_at_ns", "events", "lost", "gaps", "backlog", "processes", "withheld")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that stands still."""
    for clock in ("realtime_ns", "monotonic_ns"):
        monkeypatch.setattr(f"elsa.kernel.clocks.{clock}", lambda: 5 * SECOND)


@pytest.mark.usefixtures("still")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own=OWN,
    one=FOREIGN,
    other=FOREIGN,
    requests=st.lists(st.one_of(*ASKED.values()), min_size=1, max_size=6),
)
def test_what_others_own_makes_no_difference_to_any_answer(
    own: Lives, one: Lives, other: Lives, requests: list[operations.Request]
) -> None:
    worlds = [World(own, others) for others in (one, other)]
    for request in requests:
        assert worlds[0].ask(request) == worlds[1].ask(request)


def test_every_request_of_the_protocol_is_asked() -> None:
    assert set(ASKED) == set(operations.REQUESTS.values())
