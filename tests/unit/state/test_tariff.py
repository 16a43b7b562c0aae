"""Which version and factor hold when, and that prices are exact and rounded once."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from elsa.errors import ConfigError
from elsa.state.tariff import RATES, Tariff, Tariffs, Units, rounded, zone

BERLIN = ZoneInfo("Europe/Berlin")


def at_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()) * 10**9


def tariff(number: int, valid_from: str, **rates: str) -> Tariff:
    prime = {(day, hour): Decimal("1.5") for day in range(5) for hour in range(8, 18)}
    prices = {rate: Decimal(rates.get(rate, 0)) for rate in RATES}
    return Tariff(number, at_ns(valid_from), "EUR", "Europe/Berlin", 2, prices, prime)


def test_the_version_is_the_last_that_began_and_of_two_at_once_the_newer() -> None:
    held = Tariffs([tariff(3, "2026-11-01"), tariff(1, "2026-01-01"), tariff(2, "2026-11-01")])
    moments = (
        "2025-12-31T23:59:59",
        "2026-01-01",
        "2026-10-31T23:59:59",
        "2026-11-01",
        "2030-01-01",
    )
    assert [found and found.id for found in map(held.at, map(at_ns, moments))] == [None, 1, 1, 3, 3]


@pytest.mark.parametrize(
    ("moment", "factor"),
    [
        ("2026-11-06T07:59:59", "1"),  # a Friday
        ("2026-11-06T08:00", "1.5"),
        ("2026-11-06T17:59:59", "1.5"),
        ("2026-11-06T18:00", "1"),
        ("2026-11-07T12:00", "1"),
        ("2026-07-03T08:00", "1.5"),  # in summer time
    ],
)
def test_the_factor_is_that_of_the_hour_on_the_clock_of_the_zone(moment: str, factor: str) -> None:
    assert tariff(1, "2026-01-01").factor(at_ns(moment)) == Decimal(factor)


def test_a_price_is_exact() -> None:
    priced = tariff(
        1,
        "2026-01-01",
        process="0.001",
        cpu_hour="0.07",
        memory_gib_hour="3",
        read_gib="1",
        written_gib="2",
    ).price(
        Units(
            processes=3,
            cpu_ns=1,
            memory_mb_us=1024 * 3_600_000_000 * 2,
            read_bytes=1 << 29,
            written_bytes=1 << 31,
        ),
        Decimal("1.5"),
    )
    assert priced == (
        Fraction(45, 10_000),
        Fraction(7, 100) * Fraction(3, 2) / 3_600_000_000_000,
        Fraction(9),
        Fraction(3, 4),
        Fraction(6),
    )


@pytest.mark.parametrize(
    ("amounts", "decimals", "expected"),
    [
        (["0.005"], 2, ["0.01"]),
        (["0.0049999"], 2, ["0.00"]),
        (["2.5"], 0, ["3"]),
        (["1"], 3, ["1.000"]),
        (["0.004", "0.004", "0.003"], 2, ["0.01", "0.00", "0.00"]),
        (["0.001", "0.009", "0.005"], 2, ["0.00", "0.01", "0.01"]),
        (["0.001", "0.009", "0.004"], 2, ["0.00", "0.01", "0.00"]),
    ],
)
def test_parts_add_up_to_the_sum_which_is_rounded_once(
    amounts: list[str], decimals: int, expected: list[str]
) -> None:
    assert [
        str(part) for part in rounded([Fraction(amount) for amount in amounts], decimals)
    ] == expected


def test_an_unknown_zone_is_refused_in_one_line() -> None:
    for name in ("Nowhere/At-all", "../etc/passwd", ""):
        with pytest.raises(ConfigError, match="time zone"):
            zone(name)
