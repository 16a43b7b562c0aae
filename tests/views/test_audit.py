"""audit, audit_period: who saw what. Every incarnation and every record is in one class, and what
one witness lacks has a cause.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from elsa.state.codes import Join, Origin
from elsa.store import rollups
from tests.support.given import Warehouse

SECOND = 10**9
REAL_S = 1_767_323_045  # real time of monotonic 0 (see given.py)
CLASSES = [
    "both",
    "uncertain",
    "only_connector",
    "only_acct",
    "running",
    "pending",
    "ambiguous",
    "self",
]


def classes(warehouse: Warehouse) -> dict[str, tuple[int, int]]:
    return {
        row["class"]: (row["processes"], row["records"])
        for row in warehouse.rows("select * from audit")
    }


def causes(warehouse: Warehouse) -> dict[int, str]:
    return {
        row["process_id"]: row["cause"] for row in warehouse.rows("select * from audit_unconfirmed")
    }


def stretches(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    keys = ("class", "cause", "processes", "first_ended_at", "last_ended_at")
    return [
        tuple(row[key] for key in keys)
        for row in warehouse.rows("select * from audit_period order by first_ended_at")
    ]


def lonely(warehouse: Warehouse, number: int, **more: Any) -> None:
    """A process that is known only from its record."""
    warehouse.process(number, **({"origin": 3, "end_source": 3} | more))
    warehouse.acct(number, number, join=4, btime=REAL_S + int(more.get("start", 10)))


def collector(warehouse: Warehouse, since: int = 5, heard: int = 10_000) -> None:
    warehouse.insert("collector", id=1, boot_id=1, since_ns=since * SECOND, heard_ns=heard * SECOND)


def test_empty_warehouse_has_every_class_with_nothing_in_it(warehouse: Warehouse) -> None:
    assert classes(warehouse) == dict.fromkeys(CLASSES, (0, 0))
    assert stretches(warehouse) == []


def test_each_class_counts_its_processes_and_its_records(warehouse: Warehouse) -> None:
    for number in range(1, 6):
        warehouse.process(number, start=10 * number)
    warehouse.acct(1, 1)
    warehouse.acct(2, 2)
    warehouse.acct(3, 3, join=2)
    lonely(warehouse, 6)
    warehouse.process(7, seconds=None)
    warehouse.acct(10, None, join=0)
    warehouse.acct(11, None, join=5)
    warehouse.acct(12, None, join=3)
    warehouse.acct(13, None, join=3)
    assert list(classes(warehouse).items()) == [
        ("both", (2, 2)),
        ("uncertain", (1, 1)),
        ("only_connector", (2, 0)),
        ("only_acct", (1, 1)),
        ("running", (1, 0)),
        ("pending", (0, 1)),
        ("ambiguous", (0, 1)),
        ("self", (0, 2)),
    ]
    row = warehouse.row("select * from audit where class = 'only_connector'")
    assert (row["what"], row["first_ended_at"], row["last_ended_at"]) == (
        "seen only by the connector",
        "2026-01-02 03:04:46",
        "2026-01-02 03:04:56",
    )


def class_of(origin: int | None, elapsed: float | None, join: int | None) -> str:
    """What audit_item says in SQL: of a process (with its record's join, if it has one), or of a
    record alone (origin None).
    """
    if origin is None:
        return {Join.SELF: "self", Join.AMBIGUOUS: "ambiguous"}.get(Join(join), "pending")  # type: ignore[arg-type]
    if origin == Origin.ACCT or join == Join.OWN:
        return "only_acct"
    if join in (Join.EXACT, Join.UNCERTAIN):
        return "both" if join == Join.EXACT else "uncertain"
    return "running" if elapsed is None else "only_connector"


@pytest.mark.parametrize("seed", range(25))
def test_every_process_and_every_record_is_in_exactly_one_class(
    warehouse: Warehouse, seed: int
) -> None:
    dice = random.Random(seed)
    processes: Counter[str] = Counter()
    records: Counter[str] = Counter()
    if dice.random() < 0.8:
        collector(warehouse, dice.randrange(100), dice.randrange(100, 300))
    for number in range(dice.randrange(4)):
        warehouse.insert(
            "gap",
            id=number,
            boot_id=1,
            kind=dice.choice(["down", "overrun"]),
            from_ns=dice.randrange(300) * SECOND,
            to_ns=None,
        )
    for number in range(1, dice.randrange(1, 60)):
        elapsed = dice.choice([None, 0, 1, 70])
        join = dice.choice([None, 1, 1, 1, 2, 4])
        origin = 3 if join == 4 else dice.choice([1, 2])
        warehouse.process(number, origin=origin, start=dice.randrange(400), seconds=elapsed)
        if join:
            warehouse.acct(number, number, join=join)
        name = class_of(origin, elapsed, join)
        processes[name] += 1
        records[name] += join is not None
    for number in range(100, 100 + dice.randrange(20)):
        join = dice.choice([0, 3, 5])
        warehouse.acct(number, None, join=join)
        records[class_of(None, None, join)] += 1
    found = classes(warehouse)
    assert found == {name: (processes[name], records[name]) for name in CLASSES}
    assert (
        sum(count for count, _ in found.values())
        == warehouse.row("select count(*) as n from process")["n"]
    )
    counted = sum(count for name, (_, count) in found.items() if name != "self")
    assert counted == warehouse.row("select count(*) as n from acct_records where counted")["n"]
    sums = warehouse.rows(
        "select class, sum(processes) as processes, sum(records) as records from audit_period"
        " group by class"
    )
    assert {row["class"]: (row["processes"], row["records"]) for row in sums} == {
        name: found[name] for name in ("uncertain", "only_connector", "only_acct") if found[name][0]
    }


@pytest.mark.parametrize("seed", range(25, 40))
def test_audit_is_the_same_when_hours_are_rolled_up(
    warehouse: Warehouse, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    if dice.random() < 0.8:
        collector(warehouse, dice.randrange(5000), dice.randrange(10_000, 20_000))
    for number in range(dice.randrange(4)):
        warehouse.insert(
            "gap",
            id=number,
            boot_id=1,
            kind="down",
            from_ns=dice.randrange(20_000) * SECOND,
            to_ns=None,
        )
    for number in range(1, 80):
        join = dice.choice([None, 1, 1, 1, 2, 4])
        start = dice.randrange(20_000)
        warehouse.process(
            number, origin=3 if join == 4 else 1, start=start, seconds=dice.choice([None, 0, 1, 70])
        )
        if join:
            warehouse.acct(number, number, join=join, btime=REAL_S + start)
        if dice.random() < 0.3:
            warehouse.usage(number, utime_us=dice.randrange(50_000))
    for number in range(100, 110):
        warehouse.acct(
            number,
            None,
            join=dice.choice([0, 3, 5]),
            pid=1000 + number - 100,
            btime=REAL_S + dice.randrange(20_000),
        )
    views = ("audit", "audit_ticks", "audit_unconfirmed", "audit_period")
    before = {view: sorted(map(repr, warehouse.rows(f"select * from {view}"))) for view in views}
    assert (
        rollups.refresh(warehouse.connection, tmp_path / "elsa.db", (REAL_S + 30 * 3600) * SECOND)
        > 4
    )
    assert {
        view: sorted(map(repr, warehouse.rows(f"select * from {view}"))) for view in views
    } == before


def test_process_without_a_record_is_explained_by_the_records_around_it(
    warehouse: Warehouse,
) -> None:
    warehouse.process(1, start=9)
    assert causes(warehouse) == {1: "never"}
    for number, second in ((2, 20), (3, 40)):
        warehouse.process(number, start=second)
        warehouse.acct(number, number, btime=REAL_S + second)
    for number, second in ((4, 30), (5, 50), (6, 31)):
        warehouse.process(number, start=second)
    warehouse.process(7, start=30, end_source=5)
    warehouse.acct(9, None, join=5, pid=1006, btime=REAL_S + 31)
    assert causes(warehouse) == {1: "until", 4: "between", 5: "since", 6: "unjoined", 7: "reboot"}


def test_a_process_known_only_from_its_record_is_explained_by_what_the_collector_missed(
    warehouse: Warehouse,
) -> None:
    collector(warehouse, since=100, heard=1000)
    warehouse.insert("gap", id=1, boot_id=1, kind="down", from_ns=200 * SECOND, to_ns=300 * SECOND)
    warehouse.insert(
        "gap", id=2, boot_id=1, kind="overrun", from_ns=400 * SECOND, to_ns=401 * SECOND
    )
    warehouse.insert("boot", id=2, host_id=1)
    warehouse.insert("clock", id=2, boot_id=2, since_ns=0, offset_ns=0, boottime_offset_ns=0)
    warehouse.insert("boot", id=3, host_id=1, uuid="never heard")
    for number, second in ((1, 50), (2, 250), (3, 400), (4, 500), (5, 1000)):
        lonely(warehouse, number, start=second)
    lonely(warehouse, 6, boot_id=2, clock_id=2, end_clock_id=2)
    lonely(warehouse, 7, boot_id=3)
    told = {2: "down", 3: "lost", 4: "unexplained", 5: "down", 7: "boot"}
    assert causes(warehouse) == told, (
        "the others are from before the first collector, which is no doubt"
    )
    before_first_start = {
        (row["boot_id"], row["cause"], row["processes"])
        for row in warehouse.rows("select * from audit_period where period = 0")
    }
    assert before_first_start == {(1, "before", 1), (2, "earlier_boot", 1)}


def test_a_later_boot_has_its_own_causes_for_what_was_missed_at_its_start_and_end(
    warehouse: Warehouse,
) -> None:
    collector(warehouse, since=100, heard=1000)
    warehouse.insert("boot", id=2, host_id=1, uuid="b2", started_at_ns=(REAL_S + 2000) * SECOND)
    warehouse.insert(
        "clock",
        id=2,
        boot_id=2,
        since_ns=0,
        offset_ns=(REAL_S + 2000) * SECOND,
        boottime_offset_ns=0,
    )
    warehouse.insert("collector", id=2, boot_id=2, since_ns=20 * SECOND, heard_ns=500 * SECOND)
    edges = ((1, 1, "shutdown", 1000, 1990), (2, 2, "boot", 0, 21), (3, 2, "crash", 500, None))
    for number, boot, kind, first, last in edges:
        until = None if last is None else last * SECOND
        warehouse.insert(
            "gap", id=number, boot_id=boot, kind=kind, from_ns=first * SECOND, to_ns=until
        )
    lonely(warehouse, 1, start=1005)
    second_boot: dict[str, Any] = {"boot_id": 2, "clock_id": 2, "end_clock_id": 2}
    for number, second in ((2, 5), (3, 20), (4, 510), (5, 100)):
        lonely(warehouse, number, start=second, **second_boot)
    assert causes(warehouse) == {1: "shutdown", 2: "boot", 3: "boot", 4: "crash", 5: "unexplained"}
    assert warehouse.rows("select 1 from audit_period where period = 0") == []
    whys = [
        row["why"]
        for row in warehouse.rows(
            "select why from audit_period where cause in ('boot', 'shutdown', 'crash')"
        )
    ]
    assert len(set(whys)) == 3


@pytest.mark.parametrize("kind", ["crash", "shutdown"])
def test_record_that_was_not_on_disk_when_the_power_was_cut_is_no_sign_that_accounting_was_off(
    warehouse: Warehouse, kind: str
) -> None:
    collector(warehouse, since=5, heard=1000)
    warehouse.insert("gap", id=1, boot_id=1, kind=kind, from_ns=1000 * SECOND, to_ns=2000 * SECOND)
    for number, second in ((1, 900), (2, 960)):
        warehouse.process(number, start=second)
        warehouse.acct(number, number, btime=REAL_S + second)
    for number, second in ((3, 910), (4, 955), (5, 970), (6, 999)):
        warehouse.process(number, start=second)
    last = "crash" if kind == "crash" else "since"
    assert causes(warehouse) == {3: "between", 4: "between", 5: last, 6: last}


def test_accounting_that_had_been_off_long_before_the_power_was_cut_is_not_laid_to_it(
    warehouse: Warehouse,
) -> None:
    collector(warehouse, since=5, heard=1000)
    warehouse.insert(
        "gap", id=1, boot_id=1, kind="crash", from_ns=1000 * SECOND, to_ns=2000 * SECOND
    )
    for number, second in ((1, 10), (2, 500), (3, 930), (4, 950)):
        warehouse.process(number, start=second)
    assert set(causes(warehouse).values()) == {"never"}
    warehouse.acct(1, 1, btime=REAL_S + 10)
    assert causes(warehouse) == {2: "since", 3: "since", 4: "crash"}


def test_second_in_which_the_collector_started_may_be_explained_by_a_gap_in_it(
    warehouse: Warehouse,
) -> None:
    collector(warehouse, since=100)
    for number, second in ((1, 99), (2, 99.5)):
        lonely(warehouse, number, start=second)
    assert causes(warehouse) == {2: "before"}
    warehouse.insert("gap", id=1, boot_id=1, kind="down", from_ns=100 * SECOND, to_ns=101 * SECOND)
    assert causes(warehouse) == {2: "down"}
    assert [row[:3] for row in stretches(warehouse)] == [
        ("only_acct", "before", 1),
        ("only_acct", "down", 1),
    ]


def test_an_uncertain_join_is_caused_by_the_gap_that_it_touches(warehouse: Warehouse) -> None:
    collector(warehouse)
    warehouse.insert("gap", id=1, boot_id=1, kind="down", from_ns=200 * SECOND, to_ns=300 * SECOND)
    warehouse.insert(
        "gap", id=2, boot_id=1, kind="sequence", from_ns=400 * SECOND, to_ns=401 * SECOND
    )
    for number, second in ((1, 197), (2, 403), (3, 350)):
        warehouse.process(number, start=second)
        warehouse.acct(number, number, join=2)
    assert causes(warehouse) == {1: "down", 2: "lost", 3: "unexplained"}
    warehouse.insert(
        "gap", id=3, boot_id=1, kind="taskstats", from_ns=350 * SECOND, to_ns=351 * SECOND
    )
    assert causes(warehouse)[3] == "unexplained", "lost statistics hide no fork"


def test_uncertain_joins_near_start_and_stop_of_the_collector_are_caused_by_them(
    warehouse: Warehouse,
) -> None:
    collector(warehouse, since=100, heard=1000)
    for number, second in ((1, 50), (2, 103), (3, 105), (4, 999), (5, 997)):
        warehouse.process(number, start=second)
        warehouse.acct(number, number, join=2)
    assert causes(warehouse) == {
        1: "before",
        2: "before",
        3: "unexplained",
        4: "down",
        5: "unexplained",
    }


def test_a_period_ends_after_time_in_which_both_sources_saw_processes(
    warehouse: Warehouse,
) -> None:
    for number, second in ((1, 10), (2, 100), (3, 110), (4, 300), (5, 420)):
        warehouse.process(number, start=second)
    for number, second in ((6, 0), (7, 105), (8, 200), (9, 500)):
        warehouse.process(number, start=second)
        warehouse.acct(number, number, btime=REAL_S + second)
    # From 1 to 2 and from 4 to 5 only time passes, between 2 and 3 both saw one, and from 3 to 4 it
    # is either.
    assert stretches(warehouse) == [
        ("only_connector", "between", 3, "2026-01-02 03:04:16", "2026-01-02 03:05:56"),
        ("only_connector", "between", 2, "2026-01-02 03:09:06", "2026-01-02 03:11:06"),
    ]


def test_a_period_ends_after_hours_of_which_one_has_processes_that_both_sources_saw(
    warehouse: Warehouse,
) -> None:
    hour = 3600
    for number, second in ((1, 10), (2, 2 * hour), (3, 4 * hour), (4, 6 * hour)):
        warehouse.process(number, start=second)
    # Hours apart: a both in the hour of the first of two, between, or in the hour of the second;
    # none between 2 and 3.
    for number, second in ((5, 0), (6, 1000), (7, 5 * hour), (8, 7 * hour)):
        warehouse.process(number, start=second)
        warehouse.acct(number, number, btime=REAL_S + second)
    assert [row[2] for row in stretches(warehouse)] == [1, 2, 1]
    warehouse.process(9, start=4 * hour - 120)
    warehouse.acct(9, 9, btime=REAL_S + 4 * hour - 120)
    assert [row[2] for row in stretches(warehouse)] == [1, 1, 1, 1]


def test_causes_do_not_share_a_period_and_are_shown_in_words(warehouse: Warehouse) -> None:
    collector(warehouse)
    warehouse.insert("gap", id=1, boot_id=1, kind="down", from_ns=200 * SECOND, to_ns=210 * SECOND)
    for number, second in ((1, 205), (2, 206), (3, 240)):
        lonely(warehouse, number, start=second)
    rows = warehouse.rows(
        "select why, processes, host, boot_id from audit_period order by first_ended_at"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("the collector did not run", 2, "here", 1),
        ("no known loss explains it", 1, "here", 1),
    ]


def test_ticks_are_compared_if_both_sources_have_the_cpu_time(warehouse: Warehouse) -> None:
    for number in (1, 2, 3):
        warehouse.process(number)
    for number in (1, 2):
        warehouse.acct(number, number, utime=1, stime=2)
    warehouse.acct(9, None, utime=1000)
    for number in (2, 3):
        warehouse.usage(number, utime_us=19_999, stime_us=20_001)
    row = warehouse.row("select * from audit_ticks")
    assert row == {
        "processes": 1,
        "taskstats_s": 0.04,
        "acct_s": 0.03,
        "lost_s": 0.01,
        "lost_percent": 25.0,
    }


@pytest.mark.parametrize(
    ("group", "usage", "not_compared"),
    [
        ({}, {}, None),
        ({"final": 0}, {}, "the group was not read after the last process had ended"),
        ({}, {"complete": 0}, "statistics of some threads were not received"),
        ({}, None, "no statistics of some processes were received"),
    ],
)
def test_group_is_compared_with_its_processes_where_both_are_complete(
    warehouse: Warehouse,
    group: dict[str, int],
    usage: dict[str, int] | None,
    not_compared: str | None,
) -> None:
    warehouse.process(1)
    warehouse.job(7, "web", members=(1,), kind="service")
    if usage is not None:
        warehouse.usage(1, run_ns=SECOND, utime_us=0, stime_us=0, **usage)
    counted = {"final": 1, "user_us": 900_000, "system_us": 600_000, "read_ns": 1} | group
    warehouse.insert("job_cgroup", job_id=7, **counted)
    [row] = warehouse.rows("select * from audit_group")
    assert (row["group_cpu_s"], row["not_compared"]) == (1.5, not_compared)
    assert row["difference_s"] == (0.5 if not_compared is None else None)


def test_group_of_a_job_that_runs_or_was_not_its_own_is_not_compared(warehouse: Warehouse) -> None:
    warehouse.process(1, seconds=None)
    for job_id, user_us in ((7, 5), (8, None)):
        warehouse.job(job_id, members=(1,), kind="service")
        warehouse.insert(
            "job_cgroup", job_id=job_id, read_ns=1, final=0, user_us=user_us, system_us=user_us
        )
    [row] = warehouse.rows("select job_id, difference_s, not_compared from audit_group")
    assert list(row.values()) == [7, None, "its processes still run"]
