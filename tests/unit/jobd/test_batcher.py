"""What waits for the warehouse is bounded, and what is dropped becomes a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsa.config import Config
from elsa.jobd import batcher
from elsa.jobd.batcher import Batcher
from elsa.kernel import clocks
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from elsa.store.batch import Batch, Gap
from elsa.store.collector_runs import CollectorRun


class StuckWriter:
    """A writer that keeps what it is given."""

    def __init__(self, *_: object) -> None:
        self.batches: list[Batch] = []
        self.trouble: str | None = None
        self.stored_ns = 0

    @property
    def backlog(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def submit(self, batch: Batch) -> None:
        self.batches.append(batch)


LIMIT = 1000


@pytest.fixture
def processes() -> Processes:
    return Processes(Jobs())


@pytest.fixture
def stuck(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> Batcher:
    monkeypatch.setattr(batcher, "Writer", StuckWriter)
    return Batcher(
        Config(db=Path("elsa.db"), backlog_events=LIMIT), CollectorRun(1, 1, 0, 1, None), processes
    )


def burst(processes: Processes, events: int) -> None:
    processes.changes.events += [(1, 1, 0, 5, 5, None, None, None, None, None)] * events


def test_no_burst_exceeds_the_limit_while_the_warehouse_cannot_be_written(
    stuck: Batcher, processes: Processes
) -> None:
    stuck.writer.trouble = "locked"
    for now_ns, events in enumerate((LIMIT // 2, 20 * LIMIT, 20 * LIMIT), 1):
        burst(processes, events)
        stuck.flush(now_ns)
        assert stuck.backlog <= LIMIT


def test_what_was_dropped_is_a_gap_when_the_warehouse_can_be_written_again(
    stuck: Batcher, processes: Processes
) -> None:
    stuck.writer.trouble = "locked"
    burst(processes, 3 * LIMIT)
    stuck.flush(1)
    stuck.writer.trouble = None
    stuck.flush(2)
    assert [(gap.kind, gap.lost) for gap in gaps(stuck)] == [("backlog", 3 * LIMIT)]


def gaps(stuck: Batcher) -> list[Gap]:
    return [gap for batch in stuck.writer.batches for gap in batch.gaps]  # type: ignore[attr-defined]


def test_the_gap_reaches_over_all_that_was_dropped_from_the_last_batch_to_the_last_drop(
    stuck: Batcher, processes: Processes
) -> None:
    stuck.heard_ns = 100
    burst(processes, 3 * LIMIT)
    stuck.flush(1)
    stuck.heard_ns = 200  # what arrives between these two is dropped with the next burst
    began_ns = clocks.monotonic_ns()
    burst(processes, LIMIT)
    stuck.flush(2)
    stuck.writer.batches.clear()  # type: ignore[attr-defined]
    stuck.heard_ns = 300
    burst(processes, LIMIT)
    stuck.flush(3)
    (gap,) = gaps(stuck)
    assert (gap.from_ns, gap.lost) == (100, LIMIT)
    assert gap.to_ns is not None
    assert began_ns <= gap.to_ns <= clocks.monotonic_ns()


def test_while_nothing_new_comes_nothing_is_dropped_and_no_gap(
    stuck: Batcher, processes: Processes
) -> None:
    burst(processes, 3 * LIMIT)
    stuck.flush(1)
    stuck.flush(2)
    stuck.writer.batches.clear()  # type: ignore[attr-defined]
    burst(processes, LIMIT)
    stuck.flush(3)
    assert (gaps(stuck), stuck.backlog) == ([], LIMIT)


def test_a_burst_is_kept_while_the_warehouse_can_be_written(
    stuck: Batcher, processes: Processes
) -> None:
    burst(processes, 3 * LIMIT)
    stuck.flush(1)
    assert stuck.backlog == 3 * LIMIT
