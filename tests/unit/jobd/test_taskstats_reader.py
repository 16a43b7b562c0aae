"""The third stream gives up on nothing that may still lie in its queue."""

from __future__ import annotations

from pathlib import Path

from elsa.decode import events as ev
from elsa.decode.events import Event
from elsa.jobd.taskstats_reader import TaskstatsReader
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.state.clock import Clock
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes


class Silent(TaskstatsSocket):
    """A socket on which nothing comes."""

    def __init__(self) -> None:
        self.since_ns = clocks.monotonic_ns() - 10_000_000_000

    def drain(self, limit: int) -> list[bytes]:
        """Nothing."""
        return []

    def drops(self) -> int:
        """None."""
        return 0


class Deaf:
    """Notes that nobody reads."""

    events = heard_ns = 0

    def gap(
        self, kind: str, from_ns: int, to_ns: int, lost: int | None, note: str | None = None
    ) -> None:
        """Nothing."""

    def clock(self, clock: Clock) -> None:
        """Nothing."""


def test_life_waits_for_its_message_until_everything_sent_by_then_was_taken_in(
    tmp_path: Path,
) -> None:
    processes = Processes(Jobs())
    statistics = TaskstatsReader(Silent(), Procfs(tmp_path), processes, Deaf())
    began_ns = statistics.heard_ns
    processes.apply(
        [
            Event(0, ev.FORK, 0, 0, 1, 1, 9, 9, 0, 0),
            Event(0, ev.EXIT, 0, began_ns + 1, 9, 9, 0, 17, 1, 1),
        ]
    )
    statistics.gather()
    statistics.match(up_to_date=False)
    statistics.drop_overdue()
    assert statistics.waiting
    assert statistics.heard_ns == began_ns
    statistics.match(up_to_date=True)
    assert statistics.heard_ns > began_ns
    statistics.drop_overdue()
    assert not statistics.waiting
