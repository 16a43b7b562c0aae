"""While the writer is behind, jobd leaves events to the kernel as long as there is room, and no longer than anybody asks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from elsa.config import Config
from elsa.pipeline.collector import FULL, Collector

LIMIT = 1000
AT_ONCE = 200
"""What the kernel has is taken in so many at a time, each of which is a row for the writer, who does nothing."""


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
            _hearing=SimpleNamespace(drain=self.take_in),
            storing=SimpleNamespace(writer=self.writer, tick=lambda _now_ns: None),
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


def test_whoever_asks_gets_an_answer_about_everything() -> None:
    bench = Bench(3 * LIMIT)
    bench.collector.drain()
    assert (bench.queued, bench.collector._drain_at_ns) == (0, None)


@pytest.mark.parametrize("syncs", [[], [object()]], ids=["full", "sync"])
def test_nothing_waits_where_the_kernel_has_little_room_left_or_somebody_waits_for_all_of_it(syncs: list[object]) -> None:
    bench = Bench(3 * LIMIT, fill=0.0 if syncs else FULL)
    bench.collector._syncs.extend(syncs)  # type: ignore[arg-type]
    bench.collector.drain(patient=True)
    assert bench.queued == 0
