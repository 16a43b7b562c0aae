"""While the writer is behind, jobd leaves events to the kernel as long as there is room, and no
longer than anybody asks.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from elsa.config import Config
from elsa.control import operations
from elsa.control.server import Peer
from elsa.jobd.collector import FULL, Collector
from elsa.kernel import clocks

LIMIT = 1000
AT_ONCE = 200
"""What the kernel has is taken in so many at a time, each of which is a row for the writer, who
does nothing.
"""


class Bench:
    """A collector over a kernel that has queued some events."""

    def __init__(self, queued: int, fill: float = 0.0) -> None:
        self.queued = queued
        self.writer = SimpleNamespace(backlog=0)
        self.collector = Collector.__new__(Collector)
        vars(self.collector).update(
            _config=Config(db=Path("elsa.db"), backlog_events=LIMIT),
            _connector=SimpleNamespace(fill=lambda: fill),
            _taskstats=SimpleNamespace(fill=lambda: 0.0),
            _reader=SimpleNamespace(drain=self.take_in),
            _requests=SimpleNamespace(follow=lambda: None),
            batcher=SimpleNamespace(writer=self.writer, tick=lambda _now_ns: None),
            _syncs=[],
            _gathering=False,
            _drain_at_ns=0,
        )

    def take_in(self) -> bool:
        taken = min(self.queued, AT_ONCE)
        self.queued -= taken
        self.writer.backlog += taken
        return self.queued == 0


def test_events_are_taken_in_only_until_the_writer_is_behind_and_the_rest_later() -> None:
    bench = Bench(3 * LIMIT)
    bench.collector.drain(patient=True)
    assert LIMIT // 2 < bench.writer.backlog <= LIMIT // 2 + AT_ONCE
    assert bench.collector._drain_at_ns
    left = bench.queued
    bench.collector.drain(patient=True)
    assert bench.queued == left
    bench.writer.backlog = 0
    bench.collector.drain(patient=True)
    assert bench.queued == left - bench.writer.backlog < left


def test_every_submitted_command_line_gets_an_answer() -> None:
    bench = Bench(3 * LIMIT)
    bench.collector.drain()
    assert (bench.queued, bench.collector._drain_at_ns) == (0, None)


@pytest.mark.parametrize("syncs", [[], [object()]], ids=["full", "sync"])
def test_nothing_waits_where_the_kernel_has_little_room_left_or_somebody_waits_for_all_of_it(
    syncs: list[object],
) -> None:
    bench = Bench(3 * LIMIT, fill=0.0 if syncs else FULL)
    bench.collector._syncs.extend(syncs)  # type: ignore[arg-type]
    bench.collector.drain(patient=True)
    assert bench.queued == 0


ANN, BOB = (Peer(1, uid, uid, frozenset(), manages=False) for uid in (1000, 1001))


class Answering:
    """A collector that is asked; nothing but what it carries out is real."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []
        self.charges = {ANN.uid: 0.0, BOB.uid: 0.0}
        self.reader = SimpleNamespace(newest_ns=0)
        self.collector = Collector.__new__(Collector)
        vars(self.collector).update(
            _requests=SimpleNamespace(
                handle=lambda request, peer, _reply: self.done.append(
                    (type(request).__name__, peer.uid)
                )
            ),
            _server=SimpleNamespace(
                charge_of=self.charges.__getitem__, charged=contextlib.nullcontext
            ),
            _reader=self.reader,
            _pending=[],
            _drain_at_ns=1,  # the queue is not empty
        )

    def ask(self, request: operations.Request, peer: Peer) -> None:
        self.collector._handle(request, peer, lambda _answer: None)


def test_a_status_is_answered_at_once_and_all_else_when_what_happened_before_is_taken_in() -> None:
    bench = Answering()
    bench.ask(operations.List(), ANN)
    bench.ask(operations.Status(), BOB)
    bench.collector._answer()
    assert bench.done == [("Status", BOB.uid)]
    bench.reader.newest_ns = (
        clocks.monotonic_ns()
    )  # a storm that never ends does not delay answers for ever
    bench.ask(operations.List(), BOB)
    bench.collector._answer()
    assert bench.done[1:] == [("List", ANN.uid)]
    bench.collector._drain_at_ns = None
    bench.collector._answer()
    assert bench.done[2:] == [("List", BOB.uid)]
    assert bench.collector._pending == []


def test_the_user_who_cost_least_time_is_served_first_and_the_rest_waits_for_the_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Answering()
    bench.charges[ANN.uid] = 0.05
    bench.collector._drain_at_ns = None
    for peer in (ANN, ANN, BOB):
        bench.ask(operations.List(), peer)
    bench.collector._answer()
    assert [uid for _, uid in bench.done] == [BOB.uid, ANN.uid, ANN.uid]
    for peer in (ANN, BOB):
        bench.ask(operations.List(), peer)
    monkeypatch.setattr("elsa.jobd.collector.TURN_NS", 0)
    bench.collector._answer()
    assert len(bench.done) == 3
    assert len(bench.collector._pending) == 2


@pytest.mark.parametrize("changed", [True, False])
def test_what_is_stored_of_a_change_reaches_up_to_it(changed: bool) -> None:
    """A process that starts later and ends while jobd is down could have started earlier then."""
    done: list[str] = []
    batcher = SimpleNamespace(commit_requested=False, tick=lambda _now_ns: done.append("store"))

    def answer() -> None:
        done.append("answer")
        batcher.commit_requested = changed

    collector = Collector.__new__(Collector)
    nothing = SimpleNamespace(tick=lambda *_, **__: None, expire=lambda _now_s: None)
    vars(collector).update(
        _drain_at_ns=None,
        _reader=nothing,
        _cmdlines=None,
        _pending=[object()],
        _syncs=[],
        helpers=nothing,
        batcher=batcher,
        _server=nothing,
    )
    vars(collector).update(
        _housekeeping_ns=1,
        _may_wait=bool,
        _tick_intervals=lambda _now_ns: None,
        drain=lambda: done.append("hear"),
        _answer=answer,
        _answer_syncs=list,
    )
    collector._tick(1)
    assert done == ["hear", "answer", *(["hear"] if changed else []), "store"]


@pytest.mark.parametrize(
    ("unseen_cpus", "socket", "ends"),
    [([1], "/run/systemd/notify", True), ([1], None, False), ([], "/run/systemd/notify", False)],
)
def test_jobd_ends_to_be_started_again_when_only_root_can_follow_a_new_cpu(
    unseen_cpus: list[int], socket: str | None, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if socket is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", socket)
    collector = Collector.__new__(Collector)
    vars(collector).update(groups=SimpleNamespace(unseen_cpus=unseen_cpus), _stopping=False)
    collector._end_for_new_cpus()
    assert collector._stopping is ends
