"""The event reader: /proc and the events around the moment of its scan, in any order."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from elsa.decode import events as ev
from elsa.jobd.event_reader import EventReader
from elsa.kernel.procfs import Procfs
from elsa.state.codes import End
from elsa.state.incarnation import Incarnation, ProcSnapshot
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from tests.unit.decode.test_events import packed

SECOND = 1_000_000_000
ALIVE = ProcSnapshot(200, 1, SECOND, 2, False, 0, b"work", 2 * SECOND)


def exited(seq: int, thread: int, code: int, time_ns: int) -> bytes:
    """The exit of a thread of process 200."""
    parent = 1 if thread == 200 else 0
    return packed(
        ev.EXIT, struct.pack("=6I", thread, 200, code, 17, parent, parent), seq=seq, time_ns=time_ns
    )


class Queue:
    """A connector; each drain takes what one of the calls to `send` put there."""

    since_ns = SECOND

    def __init__(self) -> None:
        self._sent: list[list[bytes]] = []

    def send(self, *datagrams: bytes) -> None:
        self._sent.append(list(datagrams))

    def drain(self, _limit: int) -> list[bytes]:
        return self._sent.pop(0) if self._sent else []

    def drops(self) -> int:
        return 0


@pytest.fixture
def heard(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[EventReader, Processes, Queue, Callable[[list[ProcSnapshot | None]], None]]:
    """An ear, and a word for what /proc shows of process 200 at one look after the other."""
    processes, queue = Processes(Jobs()), Queue()
    notes = SimpleNamespace(events=0, heard_ns=0, gap=pytest.fail, clock=pytest.fail)
    hearing = EventReader(cast("Any", queue), None, Procfs(), processes, notes, 1, None)

    def shows(looks: list[ProcSnapshot | None]) -> None:
        monkeypatch.setattr(hearing, "_find", lambda _pid: looks.pop(0))

    processes.reconcile([ALIVE], infer=False)
    return hearing, processes, queue, shows


def last(processes: Processes) -> Incarnation:
    (life,) = processes.changes.started
    return life


def test_a_process_that_ends_between_the_scan_and_listening_is_not_taken_to_run(
    heard: tuple[EventReader, Processes, Queue, Callable[[list[ProcSnapshot | None]], None]],
) -> None:
    hearing, processes, queue, shows = heard
    shows([ALIVE, None])
    queue.send(exited(1, 201, 0, 3 * SECOND))
    queue.send(exited(2, 200, 0x0500, 4 * SECOND))  # arrives only after the first scan
    assert hearing.drain()
    life = last(processes)
    assert (life.end_source, life.elapsed_ns, life.exit_status) == (End.EXIT, 3 * SECOND, 0x0500)
    assert not processes.living


def test_a_process_that_a_scan_shows_runs_on_if_no_event_follows(
    heard: tuple[EventReader, Processes, Queue, Callable[[list[ProcSnapshot | None]], None]],
) -> None:
    hearing, processes, queue, shows = heard
    shows([ALIVE])
    queue.send(exited(1, 201, 0, 3 * SECOND))
    assert hearing.drain()
    assert last(processes).end_source is None
    assert hearing.due_ns() is None


def test_threads_that_end_during_a_scan_are_read_again_soon(
    heard: tuple[EventReader, Processes, Queue, Callable[[list[ProcSnapshot | None]], None]],
) -> None:
    hearing, processes, queue, shows = heard
    shows([ALIVE] * 3)
    for number in range(4):
        queue.send(exited(1 + number, 201 + number, 0, 3 * SECOND + number))
    assert hearing.drain()
    assert list(processes.unconfirmed_exits) == [200]
    assert hearing.due_ns() is not None
    shows([None])
    hearing.tick(5 * SECOND)
    assert (last(processes).end_source, hearing.due_ns()) == (End.EXIT, None)


def test_after_a_loss_proc_is_read_in_parts_and_events_that_arrive_meanwhile_follow(
    heard: tuple[EventReader, Processes, Queue, Callable[[list[ProcSnapshot | None]], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that thousands of processes that live keep nobody waiting."""
    hearing, processes, queue, _ = heard
    shown = [
        ALIVE,
        *(ProcSnapshot(pid, 1, 3 * SECOND, 1, False, 0, b"new", 4 * SECOND) for pid in (300, 301)),
    ]
    monkeypatch.setattr("elsa.host.proc_scan.find_all", lambda *_: iter(shown))
    monkeypatch.setattr("elsa.jobd.event_reader.LOOK_NS", 0)
    told: list[int | None] = []
    monkeypatch.setattr(
        hearing._recorder, "gap", lambda _kind, _since, _until, lost, _note=None: told.append(lost)
    )
    queue.send(exited(1, 900, 0, 2 * SECOND))
    queue.send(exited(9, 901, 0, 2 * SECOND))  # seven are missing between
    hearing.drain()
    now = 10**18
    turns = 0
    while not hearing.settled and turns < 20:
        hearing.tick(now)
        turns += 1
        if turns == 2:
            queue.send(
                packed(
                    ev.EXIT,
                    struct.pack("=6I", 300, 300, 0x0700, 17, 1, 1),
                    seq=10,
                    time_ns=5 * SECOND,
                )
            )
            assert not hearing.drain()
            assert 300 not in processes.living
    assert turns > len(shown)
    assert told == [7]
    assert 301 in processes.living
    hearing.drain()
    assert hearing.drain()
    (life,) = (life for life in processes.changes.started if life.pid == 300)
    assert 300 in processes.unconfirmed_exits or life.end_source == End.EXIT


def test_a_loss_before_the_queue_was_first_empty_may_be_as_old_as_the_connector(
    heard: tuple[EventReader, Processes, Queue, Callable[[list[ProcSnapshot | None]], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The warehouse may be waited for longer than the kernel's buffer lasts."""
    hearing, _, queue, _ = heard
    monkeypatch.setattr("elsa.host.proc_scan.find_all", lambda *_: iter([ALIVE]))
    gaps: list[tuple[int, int | None]] = []
    monkeypatch.setattr(
        hearing._recorder,
        "gap",
        lambda _kind, since_ns, _until, lost, _note=None: gaps.append((since_ns, lost)),
    )
    queue.send(exited(1, 900, 0, 2 * SECOND), exited(9, 901, 0, 2 * SECOND))
    hearing.drain()
    while not hearing.settled and not gaps:
        hearing.tick(10**18)
    assert gaps == [(queue.since_ns, 7)]
