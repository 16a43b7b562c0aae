"""Bills against figures worked out by hand: by whom, by which tariff, at which hour, and with all
that is not known said.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from elsa.errors import UsageError
from elsa.report.billing import bill
from elsa.report.query import times
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.state.codes import Join
from elsa.state.tariff import RATES, Tariff, rounded
from elsa.store import rollups, tariffs
from tests.support.given import Warehouse
from tests.support.month import COLUMNS, Month, write
from tests.support.reports import Reports

HOUR = 3_600
# The given warehouse begins at 2026-01-02T03:04:05Z, a Friday.
REAL = 1_767_323_045


def tariff(
    connection: sqlite3.Connection,
    valid_from: int,
    currency: str = "EUR",
    factors: Any = None,
    **rates: str,
) -> int:
    """Store a tariff that is valid from some seconds since 1970, in UTC."""
    prices = {rate: Decimal(rates.get(rate, 0)) for rate in RATES}
    made = Tariff(0, valid_from * 10**9, currency, "UTC", 2, prices, factors or {})
    return tariffs.add(connection, made, 0)


def rows(report: Report) -> list[dict[str, Any]]:
    return [dict(zip(report.columns, row, strict=True)) for row in report.rows]


def used(warehouse: Warehouse, number: int, hours: float, end: float, **more: Any) -> None:
    """A process with so many hours of CPU time that ended so many hours after the beginning."""
    warehouse.process(number, start=end * HOUR - 1, seconds=1, **more)
    warehouse.usage(
        number,
        run_ns=int(hours * HOUR * 1e9),
        utime_us=int(hours * HOUR * 1e6),
        stime_us=0,
        read_bytes=1 << 30,
        write_bytes=0,
    )


@pytest.fixture
def warehouse(reports: Reports) -> Any:
    """Three users' processes, of which nothing is known of one, and one runs."""
    made = reports.warehouse
    used(made, 1, 2, 1, uid=0)
    used(made, 2, 1, 2, uid=4001)
    used(made, 3, 1, 10, uid=4001)
    made.process(4, start=100, uid=4002)
    made.process(5, start=100, seconds=None, uid=4002)
    return made


def test_each_user_pays_for_what_ended_and_the_total_is_the_sum(
    warehouse: Warehouse,
) -> None:
    tariff(warehouse.connection, 0, cpu_hour="0.105", read_gib="0.01", process="1")
    report = bill.bill(warehouse.connection, "user", Selection(), Output())
    found = rows(report)
    assert [
        (row["user"], row["charge"], row["charge_cpu"], row["charge_read"], row["processes"])
        for row in found
    ] == [
        ("4001", Decimal("2.23"), Decimal("0.21"), Decimal("0.02"), 2),
        ("root", Decimal("1.22"), Decimal("0.21"), Decimal("0.01"), 1),
        ("4002", Decimal("1.00"), Decimal("0.00"), Decimal("0.00"), 1),
        ("(total)", Decimal("4.45"), Decimal("0.42"), Decimal("0.03"), 4),
    ]
    assert [(row["without_usage"], row["without_io"]) for row in found] == [
        (0, 0),
        (0, 0),
        (1, 1),
        (1, 1),
    ]
    assert found[0]["currency"] == "EUR"
    assert "CPU time of 1 process is not known and not charged" in report.words


def test_the_version_and_the_factor_of_the_end_hold(warehouse: Warehouse) -> None:
    connection = warehouse.connection
    tariff(
        connection, 1_767_225_600, cpu_hour="1", factors={(4, 4): Decimal("1.5")}
    )  # from the beginning of the year; Friday at 4
    tariff(connection, 1_767_355_200, cpu_hour="10")  # from 12:00 on that day
    charges = {
        row["user"]: row["charge"]
        for row in rows(bill.bill(connection, "user", Selection(), Output()))
    }
    assert charges == {
        "root": Decimal("3.00"),
        "4001": Decimal("11.00"),
        "4002": Decimal("0.00"),
        "(total)": Decimal("14.00"),
    }


def test_what_ended_before_any_tariff_is_not_charged_and_that_is_said(
    warehouse: Warehouse,
) -> None:
    tariff(warehouse.connection, 1_767_355_200, cpu_hour="10")
    report = bill.bill(warehouse.connection, "user", Selection(), Output())
    assert {row["user"]: (row["charge"], row["uncharged"]) for row in rows(report)} == {
        "4001": (Decimal("10.00"), 1),
        "root": (Decimal("0.00"), 1),
        "4002": (Decimal("0.00"), 1),
        "(total)": (Decimal("10.00"), 3),
    }
    assert "3 processes ended when no tariff was valid, and are not charged" in report.words


def test_jobs_and_what_is_in_none_add_up_to_all(warehouse: Warehouse) -> None:
    tariff(warehouse.connection, 0, cpu_hour="1")
    warehouse.job(7, "build", members=(1,))
    warehouse.job(8, "test", members=(2,))
    report = bill.bill(warehouse.connection, "job", Selection(), Output())
    assert [(row["job_id"], row["name"], row["charge"]) for row in rows(report)] == [
        (7, "build", Decimal("2.00")),
        (8, "test", Decimal("1.00")),
        (None, "(in no job)", Decimal("1.00")),
        (None, "(total)", Decimal("4.00")),
    ]
    assert not any("add up" in word for word in report.words)


def test_jobs_that_share_processes_are_more_than_the_total_and_that_is_said(
    warehouse: Warehouse,
) -> None:
    tariff(warehouse.connection, 0, cpu_hour="1")
    warehouse.job(7, "build", members=(1, 2, 3))
    warehouse.job(8, "test", members=(2,))
    report = bill.bill(warehouse.connection, "job", Selection(), Output())
    assert {row["name"]: row["charge"] for row in rows(report)} == {
        "build": Decimal("4.00"),
        "test": Decimal("1.00"),
        "(in no job)": Decimal("0.00"),
        "(total)": Decimal("4.00"),
    }
    assert report.words[0] == "total: 4.00 EUR for 4 processes"
    assert report.words[1].startswith("the lines add up to 5.00 EUR, not to the total")


def test_tags_gather_their_jobs(warehouse: Warehouse) -> None:
    tariff(warehouse.connection, 0, cpu_hour="1")
    for number, members, tags in (
        (7, (1,), {"customer": "acme"}),
        (8, (2,), {"customer": "acme", "site": "x"}),
        (9, (3,), {}),
    ):
        warehouse.job(number, members=members)
        for key, value in tags.items():
            warehouse.insert("job_tag", job_id=number, key=key, value=value)
    by_key = {
        row["tag"]: row["charge"]
        for row in rows(bill.bill(warehouse.connection, "tag:customer", Selection(), Output()))
    }
    assert by_key == {
        "acme": Decimal("3.00"),
        "(no tag)": Decimal("1.00"),
        "(in no job)": Decimal("0.00"),
        "(total)": Decimal("4.00"),
    }
    by_any = {
        row["tag"]: row["charge"]
        for row in rows(bill.bill(warehouse.connection, "tag", Selection(), Output()))
    }
    assert (by_any["customer=acme"], by_any["site=x"], by_any["(no tag)"]) == (
        Decimal("3.00"),
        Decimal("1.00"),
        Decimal("1.00"),
    )


def test_a_month_is_one_of_the_tariffs_zone(warehouse: Warehouse) -> None:
    def month(text: str) -> Window:
        days = times.days("month", text, datetime.fromisoformat("2027-01-15T12:00Z"))
        return bill.window(connection, days)

    connection = warehouse.connection
    tariff(connection, 0, cpu_hour="1")
    assert month("2026-01") == Window(1_767_225_600 * 10**9, 1_769_904_000 * 10**9)
    assert month("2026-12").until == 1_798_761_600 * 10**9
    assert month("last") == month("2026-12")
    connection.execute("update tariff set zone = 'Europe/Berlin'")
    assert month("2026-01").since == (1_767_225_600 - HOUR) * 10**9
    inside = bill.bill(connection, "user", Selection(month("2026-01")), Output())
    assert rows(inside)[-1]["charge"] == Decimal("4.00")
    assert rows(bill.bill(connection, "user", Selection(month("2026-02")), Output())) == []


def test_a_withdrawn_tariff_makes_the_bill_of_its_time(warehouse: Warehouse) -> None:
    connection = warehouse.connection
    tariffs.withdraw(connection, tariff(connection, 0, cpu_hour="1"), 500)
    connection.execute("update tariff set added_at_ns = 100")
    tariff(connection, 0, cpu_hour="2")
    connection.execute("update tariff set added_at_ns = 600 where id = 2")
    totals = [
        rows(bill.bill(connection, "user", Selection(), Output(), at))[-1]["charge"]
        for at in (None, 499, 700)
    ]
    assert totals == [Decimal("8.00"), Decimal("4.00"), Decimal("8.00")]


def test_what_makes_no_sense_is_refused(warehouse: Warehouse) -> None:
    connection = warehouse.connection
    with pytest.raises(UsageError, match="no tariff yet"):
        bill.bill(connection, "user", Selection(), Output())
    tariff(connection, 0, cpu_hour="1")
    for by in ("pid", "user:x", "tag:", ""):
        with pytest.raises(UsageError, match="--by"):
            bill.bill(connection, by, Selection(), Output())
    tariff(connection, 1_767_355_200, currency="USD", cpu_hour="10")
    with pytest.raises(UsageError, match="EUR and USD"):
        bill.bill(connection, "user", Selection(), Output())


def test_the_command_prints_lines_and_total_and_says_so_beside_a_spreadsheet(
    reports: Reports, warehouse: Warehouse
) -> None:
    tariff(warehouse.connection, 0, cpu_hour="1")
    table = reports.run("bill", "--month", "2026-01")
    assert table.stdout.splitlines()[0].split()[:4] == ["user", "charge", "in", "procs"]
    assert table.stdout.splitlines()[-1].split()[:3] == ["(total)", "4.00", "EUR"]
    assert "elsa-report: total: 4.00 EUR for 4 processes" in table.stderr
    sheet = reports.run(
        "bill",
        "--month",
        "2026-01",
        "--by",
        "job",
        "--format",
        "csv",
        "--columns",
        "name,charge,currency",
        "--limit",
        "5",
    )
    assert sheet.stdout == "name,charge,currency\n(in no job),4.00,EUR\n"
    (line,) = reports.json("bill", "--user", "root", "--since", "2026-01")
    assert (line["charge"], line["cpu_hours"]) == ("2.00", 2.0)
    ordered = reports.json("bill", "--sort", "+charge,-uid")
    assert [row["user"] for row in ordered] == ["4002", "4001", "root"]
    assert reports.run("bill", "--month", "2026-01", "--explain").stdout.startswith(
        "select\n    u.uid as line,"
    )


def test_a_bill_of_chosen_jobs_has_each_in_full(warehouse: Warehouse) -> None:
    tariff(warehouse.connection, 0, cpu_hour="1")
    warehouse.job(7, "build", members=(1, 2))
    warehouse.job(8, "test", members=(2,))
    both = Selection(jobs=(7, 8))
    report = bill.bill(warehouse.connection, "job", both, Output())
    assert [(row["name"], row["charge"]) for row in rows(report)] == [
        ("build", Decimal("3.00")),
        ("test", Decimal("1.00")),
        ("(total)", Decimal("3.00")),
    ]


def test_a_month_and_a_window_are_not_both_to_be_had(reports: Reports) -> None:
    with pytest.raises(UsageError, match="--month"):
        reports.run("bill", "--month", "2026-01", "--since", "today")


def used_in(month: Month) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Of everything that ended in a made-up month, out of the raw rows and without SQL: uid, real
    end, and units.
    """
    tables: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for batch in month.batches():
        for name, found in batch.items():
            tables[name] += [dict(zip(COLUMNS[name], row, strict=True)) for row in found]
    offsets = {clock["id"]: clock["offset_ns"] for clock in tables["clock"]}
    told = {usage["process_id"]: usage for usage in tables["usage"]}
    records = [record for record in tables["acct"] if record["join_outcome"] != Join.SELF]
    joined = {
        record["process_id"]: record for record in records if record["process_id"] is not None
    }
    for process in tables["process"]:
        record, usage = joined.get(process["id"]), told.get(process["id"])
        if process["elapsed_ns"] is not None:
            end_ns = (
                process["start_ns"]
                + process["elapsed_ns"]
                + offsets[process["end_clock_id"] or process["clock_id"]]
            )
            yield record["uid"] if record else process["uid"], end_ns, units(record, usage, 1)
    for record in records:
        if record["process_id"] is None:
            yield (
                record["uid"],
                (record["btime"] + int(record["etime"]) // 100) * 10**9,
                units(record, None, 0),
            )


def units(
    record: dict[str, Any] | None, usage: dict[str, Any] | None, processes: int
) -> tuple[int, ...]:
    if usage is None:
        return processes, (record["utime"] + record["stime"]) * 10_000_000 if record else 0, 0, 0, 0
    sampled = (usage["utime_us"] + usage["stime_us"]) * 1000
    run = (
        sampled
        if usage["run_ns"] is None
        else usage["run_ns"]
        if usage["run_ns"] >= 4_000_000
        else max(usage["run_ns"], sampled)
    )
    return (
        processes,
        run,
        usage["coremem_mb_us"] or 0,
        usage["read_bytes"] or 0,
        usage["write_bytes"] or 0,
    )


def test_the_bill_of_a_busy_month_is_that_of_its_raw_rows(reports: Reports) -> None:
    connection = reports.warehouse.connection
    for table in ("acct_file", "clock", "boot", "host"):
        connection.execute(f"delete from {table}")
    write(connection, Month(3000))
    rates = {
        "process": "0.01",
        "cpu_hour": "7.3",
        "memory_gib_hour": "5",
        "read_gib": "0.3",
        "written_gib": "0.7",
    }
    prime = {(day, hour): Decimal("1.5") for day in range(5) for hour in range(8, 18)}
    tariff(connection, 0, factors=prime, **rates)
    expected: defaultdict[int, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 5)
    per = (1, 3600 * 10**9, 1024 * 3600 * 10**6, 1 << 30, 1 << 30)
    prices = ("process", "cpu_hour", "memory_gib_hour", "read_gib", "written_gib")
    for uid, end_ns, amounts in used_in(Month(3000)):
        moment = datetime.fromtimestamp(end_ns // 10**9, UTC)
        factor = Fraction(3, 2) if moment.weekday() < 5 and 8 <= moment.hour < 18 else Fraction(1)
        for place, (amount, price, unit) in enumerate(zip(amounts, prices, per, strict=True)):
            expected[uid][place] += Fraction(amount, unit) * Fraction(rates[price]) * factor
    *lines, total = rows(bill.bill(connection, "user", Selection(), Output()))
    assert {line["uid"]: line["charge"] for line in lines} == {
        uid: sum(rounded(parts, 2)) for uid, parts in expected.items()
    }
    assert total["charge"] == sum(line["charge"] for line in lines) > 10


@pytest.mark.parametrize("place", ["UTC", "Asia/Kolkata"])
def test_a_bill_is_the_same_when_only_hourly_sums_are_left(
    reports: Reports, warehouse: Warehouse, place: str
) -> None:
    """In a zone whose hours begin at half past those of UTC, prices change within an hour; what is
    left is charged by its beginning.
    """
    connection = warehouse.connection
    tariff(connection, 0, cpu_hour="1", factors={(4, 3): Decimal(100), (5, 5): Decimal(100)})
    connection.execute("update tariff set zone = ?", (place,))
    warehouse.job(7, "build", members=(1, 2))

    def bills() -> tuple[dict[str, Any], ...]:
        found = (rows(bill.bill(connection, by, Selection(), Output())) for by in ("user", "job"))
        return tuple(
            {row["user" if "user" in row else "name"]: row["charge"] for row in each}
            for each in found
        )

    users, jobs = bills()
    assert len(set(users.values())) > 1
    rollups.refresh(connection, reports.path, (REAL + 10**6) * 10**9)
    assert bills() == (users, jobs)
    connection.execute("update rollup_user set pruned = 1")
    connection.execute("update rollup_job set pruned = 1")
    for table in ("membership", "usage", "process"):
        connection.execute(f"delete from {table}")
    assert bills() == (users, jobs)


@pytest.mark.parametrize("changes", [False, True])
def test_bills_of_windows_that_cut_pruned_hours_still_add_up_and_say_so(
    reports: Reports, warehouse: Warehouse, changes: bool
) -> None:
    """A pruned hour is charged where it begins, whether or not prices change in it, so that none is
    charged twice or forgotten.
    """
    connection, hour = (
        warehouse.connection,
        REAL // HOUR * HOUR + HOUR,
    )  # in which one of them ended
    tariff(connection, 0, cpu_hour="1")
    if changes:
        tariff(connection, hour + HOUR // 4, cpu_hour="1")
    cut_ns = (hour + HOUR // 2) * 10**9
    windows = (Window(None, cut_ns), Window(cut_ns, None))
    rollups.refresh(connection, reports.path, (REAL + 10**6) * 10**9)
    connection.execute("update rollup_user set pruned = 1")
    for table in ("membership", "usage", "process"):
        connection.execute(f"delete from {table}")
    whole, *parts = (
        bill.bill(connection, "user", Selection(window), Output(form="json"))
        for window in (Window(), *windows)
    )

    def processes(report: Report) -> int:
        return sum(row["processes"] for row in rows(report))

    assert processes(whole) > 0
    assert sum(map(processes, parts)) == processes(whole)
    assert all(
        any("pruned, and charged in the bill" in word for word in part.words) for part in parts
    )
