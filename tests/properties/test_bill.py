"""Whatever was used and whatever it costs: every line is as computed by hand, columns add up to the
charge, and lines to the total.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.report.billing import bill
from elsa.report.query.selection import Selection
from elsa.report.render.output import Output
from elsa.state.tariff import RATES, Tariff
from elsa.store import rollups, tariffs

S = 1_000_000_000
# Thursday 2026-01-01, in UTC.
BEGIN = 1_767_225_600 * S
SPAN_S = 14 * 86_400
CHARGES = ("charge_processes", "charge_cpu", "charge_memory", "charge_read", "charge_written")


class Used(NamedTuple):
    uid: int
    end_s: int
    cpu_ms: int | None
    memory_mb_us: int | None
    read_bytes: int
    job: int | None


prices = st.integers(0, 10**6).map(lambda number: Decimal(number).scaleb(-4))
processes = st.builds(
    Used,
    uid=st.integers(5000, 5003),
    end_s=st.integers(0, SPAN_S - 1),
    cpu_ms=st.one_of(st.none(), st.integers(0, 10**8)),
    memory_mb_us=st.one_of(st.none(), st.integers(0, 10**13)),
    read_bytes=st.integers(0, 2**40),
    job=st.one_of(st.none(), st.integers(1, 3)),
)
versions = st.builds(
    lambda quarter, zone, hours, factor, decimals, rates: Tariff(
        0,
        BEGIN + quarter * 900 * S,
        "EUR",
        zone,
        decimals,
        rates,
        {(weekday, hour): factor for weekday in range(5) for hour in hours},
    ),
    # Some prices change within a day or an hour of UTC, so that the sums of it are of no use.
    quarter=st.one_of(
        *(st.integers(-96 // step, 13 * 96 // step).map(step.__mul__) for step in (96, 4, 1))
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    hours=st.one_of(st.just(set()), st.sets(st.integers(0, 23))),
    factor=prices,
    decimals=st.integers(0, 4),
    rates=st.fixed_dictionaries(dict.fromkeys(RATES, prices)),
)


@pytest.fixture(scope="module")
def template(template: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(template)) as connection:
        yield connection


def fill(connection: sqlite3.Connection, used: list[Used], held: list[Tariff]) -> None:
    connection.execute("insert into host values (1, 'm', 'here')")
    connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
    connection.execute("insert into clock values (1, 1, 0, ?, 0)", (BEGIN,))
    connection.executemany(
        "insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself) values (?, 1,"
        " 'j', 0, 0, 0)",
        [(1,), (2,), (3,)],
    )
    for number, one in enumerate(used, start=1):
        row = (number, number, max(one.end_s - 1, 0) * S, min(one.end_s, 1) * S, one.uid)
        connection.execute(
            """insert into process (id, boot_id, pid, origin, start_ns, clock_id, elapsed_ns,
               end_clock_id, end_source, uid)
               values (?, 1, ?, 1, ?, 1, ?, 1, 1, ?)""",
            row,
        )
        if one.cpu_ms is not None:
            usage = (
                number,
                one.cpu_ms * 1_000_000,
                one.cpu_ms * 1000,
                one.memory_mb_us,
                one.read_bytes,
            )
            columns = (
                "process_id, threads, complete, run_ns, utime_us, stime_us, coremem_mb_us,"
                " read_bytes"
            )
            connection.execute(
                f"insert into usage ({columns}) values (?, 1, 1, ?, ?, 0, ?, ?)", usage
            )
        if one.job is not None:
            connection.execute(
                "insert into membership (job_id, process_id, since_ns, how) values (?, ?, 0, 2)",
                (one.job, number),
            )
    for version in held:
        tariffs.add(connection, version, 0)


def by_hand(used: list[Used], held: list[Tariff]) -> tuple[Fraction, ...]:
    """What these cost, process by process."""
    total = [Fraction(0)] * 5
    for one in used:
        at_ns = BEGIN + one.end_s * S
        valid = [version for version in held if version.valid_from_at_ns <= at_ns]
        if not valid:
            continue
        version = max(enumerate(valid), key=lambda pair: (pair[1].valid_from_at_ns, pair[0]))[1]
        moment = datetime.fromtimestamp(at_ns // S, ZoneInfo(version.zone))
        factor = Fraction(version.factors.get((moment.weekday(), moment.hour), 1))
        known = one.cpu_ms is not None
        amounts = (
            Fraction(1),
            Fraction(one.cpu_ms or 0, 3_600_000),
            Fraction((one.memory_mb_us or 0) if known else 0, 1024 * 3_600_000_000),
            Fraction(one.read_bytes if known else 0, 1 << 30),
            Fraction(0),
        )
        for place, (amount, rate) in enumerate(zip(amounts, RATES, strict=True)):
            total[place] += amount * Fraction(version.rates[rate]) * factor
    return tuple(total)


def decimals_of(used: list[Used], held: list[Tariff]) -> int:
    """The most digits of the versions by which something is charged."""
    found = [2] if not used else []
    for one in used:
        valid = [version for version in held if version.valid_from_at_ns <= BEGIN + one.end_s * S]
        found += (
            [
                max(enumerate(valid), key=lambda pair: (pair[1].valid_from_at_ns, pair[0]))[
                    1
                ].decimals
            ]
            if valid
            else []
        )
    return max(found, default=2)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    used=st.lists(processes, max_size=25),
    held=st.lists(versions, min_size=1, max_size=3),
    by=st.sampled_from(["user", "job"]),
    rolled_up=st.booleans(),
)
def test_bills_add_up(
    template: sqlite3.Connection,
    tmp_path: Path,
    used: list[Used],
    held: list[Tariff],
    by: str,
    rolled_up: bool,
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        template.backup(connection)
        fill(connection, used, held)
        if rolled_up:
            rollups.refresh(connection, tmp_path / "elsa.db", BEGIN + 2 * SPAN_S * S)
            assert bool(used) == bool(connection.execute("select 1 from rollup_user").fetchone())
        report = bill.bill(connection, by, Selection(), Output())
    rows = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
    if not used:
        assert rows == []
        return
    *lines, total = rows
    column = "uid" if by == "user" else "job_id"
    expected: defaultdict[Any, list[Used]] = defaultdict(list)
    for one in used:
        expected[one.uid if by == "user" else one.job].append(one)
    assert {line[column] for line in lines} == set(expected)
    digits = decimals_of(used, held)
    for line in lines:
        exact = by_hand(expected[line[column]], held)
        assert abs(Fraction(line["charge"]) - sum(exact)) * 2 <= Fraction(1, 10**digits)
        for key, amount in zip(CHARGES, exact, strict=True):
            assert abs(Fraction(line[key]) - amount) < Fraction(1, 10**digits), key
        assert line["charge"] == sum(line[key] for key in CHARGES)
    for key in (
        "charge",
        *CHARGES,
        "processes",
        "read_bytes",
        "without_usage",
        "without_io",
        "uncharged",
    ):
        assert total[key] == sum(line[key] for line in lines), key
