"""When intervals end, which processes are read, and what is stored of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from elsa.jobd import interval_reader
from elsa.jobd.interval_reader import IntervalReader, periods
from elsa.measures import COUNTERS
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import BEFORE_FIRST_RUN, Origin
from elsa.state.incarnation import Incarnation
from elsa.state.intervals import Reading, Shown
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from elsa.units import HOUR_NS, SECOND_NS

# Real time is 40 s past a minute at monotonic 0.
OFFSET_NS = 498_000 * HOUR_NS + 40 * SECOND_NS
STARTED_NS = 1000 * SECOND_NS
RUN = next(place for place, measure in enumerate(COUNTERS) if measure.column == "run_ns")


class Host:
    """Processes whose time on a CPU is set by the test, and a reader of theirs."""

    def __init__(
        self,
        *,
        read_before_ns: int | None = 990 * SECOND_NS,
        interval_s: int = 60,
        started_ns: int = STARTED_NS,
    ) -> None:
        self.processes = Processes(Jobs(), 2, Clocks([Clock(1, 0, OFFSET_NS, 0)]))
        self.run_us: dict[int, int] = {}
        self.asked: list[int] = []
        self.reader = IntervalReader(
            self.processes, self.read, interval_s, started_ns, read_before_ns
        )

    def read(self, life: Incarnation, fingerprint: bytes) -> Shown | None:
        self.asked.append(life.pid)
        run_us = self.run_us.get(life.pid)
        now = str(run_us).encode()
        if run_us is None or now == fingerprint:
            return None
        counters = tuple(run_us * 1000 if place == RUN else 0 for place in range(len(COUNTERS)))
        return Shown(counters, 64, 100, 0, now)

    def process(self, pid: int, run_us: int, start_ns: int = 1005 * SECOND_NS) -> Incarnation:
        life = self.processes.adopt(pid, start_ns, Origin.FORK)
        self.run_us[pid] = run_us
        return life

    def tick(self, now_s: float, heard_s: float | None = None, *, wait: bool = False) -> None:
        now_ns = int(now_s * SECOND_NS)
        heard_ns = now_ns - 1 if heard_s is None else int(heard_s * SECOND_NS)
        self.reader.tick(now_ns, heard_ns, wait=wait)

    @property
    def stored(self) -> list[tuple[float, int, dict[int, int]]]:
        """The readings so far: their time, whether of all, and the user time of each process."""
        taken: list[Reading] = self.processes.take_changes().readings
        return [
            (
                row.until_ns / SECOND_NS,
                row.of_all,
                {int(used[0] or 0): int(used[4] or 0) for used in row.rows},
            )
            for row in taken
        ]


@pytest.fixture
def host() -> Host:
    made = Host()
    made.tick(1000, 1000.5)
    assert made.stored == [(1000.5, 1, {})]
    return made


def test_intervals_end_with_the_minutes_of_the_clock(host: Host) -> None:
    life = host.process(7, 100)
    for now_s in (1010, 1039.9, 1040.1, 1050, 1099, 1100.2):
        host.tick(now_s)
        host.run_us[7] += 10
    assert host.stored == [(1040, 1, {life.id: 120}), (1100, 1, {life.id: 30})]


def test_reading_waits_for_the_events_before_it_but_not_for_long(host: Host) -> None:
    host.tick(1040.1, 1039.9)
    assert host.stored == []
    host.tick(1040.2, 1040)
    assert [until for until, *_ in host.stored] == [1040]
    host.tick(1104.9, 1050)
    assert host.stored == []
    host.tick(1105, 1050)
    assert [until for until, *_ in host.stored] == [1100]


def test_nothing_is_read_while_the_warehouse_cannot_be_written_and_nothing_is_lost_by_that(
    host: Host,
) -> None:
    life = host.process(7, 100)
    host.tick(1040.1, wait=True)
    assert host.stored == []
    host.run_us[7] = 300
    host.tick(1101)
    assert host.stored == [(1100, 1, {life.id: 300})]


def test_process_that_has_not_run_has_no_row(host: Host) -> None:
    host.process(7, 100)
    host.tick(1040.1)
    host.tick(1100.1)
    assert [len(rows) for *_, rows in host.stored] == [1, 0]


def test_process_that_started_after_the_interval_is_not_read_for_it(host: Host) -> None:
    life = host.process(7, 100, start_ns=1040 * SECOND_NS)
    host.tick(1040.1)
    host.run_us[7] = 150
    host.tick(1100.1)
    assert host.stored == [(1040, 1, {}), (1100, 1, {life.id: 150})]


def test_process_that_entered_a_job_is_read_then_and_not_again_for_an_interval_that_ended_before(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = host.process(7, 100), host.process(8, 100)
    monkeypatch.setattr(interval_reader, "PORTION_NS", 0)
    host.tick(1040.1)
    host.run_us |= {7: 150, 8: 150}
    host.reader.edge(second, 1040 * SECOND_NS + 200)
    host.tick(1040.3)
    host.tick(1040.4)
    edge, whole = host.stored
    assert edge == (1040 + 200 / SECOND_NS, 0, {second.id: 150})
    assert whole == (1040, 1, {first.id: 100})
    host.run_us |= {7: 170, 8: 180}
    for now_s in (1100.1, 1100.2, 1100.3):
        host.tick(now_s)
    assert host.stored == [(1100, 1, {first.id: 70, second.id: 30})]


def test_edge_of_a_process_that_ended_before_it_was_read_is_not_known(host: Host) -> None:
    life = host.process(7, 100)
    host.tick(1040.1)
    assert host.stored == [(1040, 1, {life.id: 100})]
    del host.run_us[7]
    host.reader.edge(life, 1050 * SECOND_NS)
    assert host.stored == []


def test_what_was_used_before_jobd_first_ran_counts_in_the_hour_of_the_start() -> None:
    started_s = 8000
    host = Host(read_before_ns=None, started_ns=started_s * SECOND_NS)
    old, older = (host.process(pid, 5000, start_ns=pid * SECOND_NS) for pid in (7000, 1))
    new = host.process(8, 70, start_ns=(started_s + 1) * SECOND_NS)
    host.tick(started_s, started_s + 2)
    taken = host.processes.take_changes().readings
    assert [(row.hour, row.until_ns, row.of_all) for row in taken] == [
        (498_001, (started_s + 2) * SECOND_NS, BEFORE_FIRST_RUN),
        (498_000, (started_s + 2) * SECOND_NS, BEFORE_FIRST_RUN),
        (498_002, (started_s + 2) * SECOND_NS, 1),
    ]
    assert [{row[0]: row[4] for row in reading.rows} for reading in taken] == [
        {old.id: 5000},
        {older.id: 5000},
        {old.id: 0, older.id: 0, new.id: 70},
    ]
    host = Host(read_before_ns=None)
    old = host.process(7, 5000, start_ns=1)
    host.reader.edge(old, 1001 * SECOND_NS)
    assert host.stored == [(1001, BEFORE_FIRST_RUN, {old.id: 5000}), (1001, 0, {old.id: 0})]


def test_intervals_become_longer_if_reading_takes_more_than_its_share(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = iter((0, 7 * SECOND_NS // 10, 0, 1))
    monkeypatch.setattr(interval_reader, "thread_time_ns", lambda: next(took))
    host.tick(1040.1)
    assert host.reader.period_ns == 120 * SECOND_NS
    host.tick(1100.1)
    assert [until for until, *_ in host.stored] == [1040]
    host.tick(1160.1)
    assert [until for until, *_ in host.stored] == [1160]
    assert host.reader.period_ns == 60 * SECOND_NS


def test_every_interval_divides_an_hour() -> None:
    assert periods(60)[-1] == HOUR_NS
    for shortest_s in (1, 7 * 3600 // 7, 60, 720):
        assert all(HOUR_NS % period == 0 for period in periods(shortest_s))


@pytest.mark.parametrize("step_s", [-3000, -7, 50, 3000])
def test_clock_that_was_set_neither_stops_readings_nor_makes_intervals_overlap(
    host: Host, step_s: int
) -> None:
    host.process(7, 100)
    host.tick(1040.1)
    clock = Clock(3, 1045 * SECOND_NS, OFFSET_NS + step_s * SECOND_NS, 0)
    host.processes.clocks = Clocks([*host.processes.clocks.known, clock])
    for tenth in range(10_450, 12_000):
        host.tick(tenth / 10)
    untils = [until for until, *_ in host.stored]
    assert untils == sorted(set(untils))
    assert max(b - a for a, b in pairwise(untils)) <= 61
    real = [(until + step_s + 40) % 60 for until in untils if until > 1106]
    assert real == [0] * len(real)
    assert real


def test_hint_of_the_next_reading_is_never_in_the_past_twice(host: Host) -> None:
    now_ns = 1041 * SECOND_NS
    assert host.reader.is_due(now_ns)
    host.tick(1041, 1000)
    assert host.reader.due_ns(now_ns) > now_ns
    assert not host.reader.is_due(now_ns)


def test_stored_rows(host: Host) -> None:
    host.process(7, 100)
    host.tick(1040.1)
    changes: Any = host.processes.take_changes()
    assert [reading[:5] for reading in changes.readings] == [
        (1, int(1000.5 * SECOND_NS), 1040 * SECOND_NS, 498_000, 1)
    ]
