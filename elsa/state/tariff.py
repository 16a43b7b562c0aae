"""What usage costs: versions of a tariff, prime-time factors by weekday and hour, and exact
arithmetic on money. Pure.

A process is charged by the version and the factor that were valid when it ended. Every report
counts it in the window in which it ended, so months add up, and a bill can be made from hourly sums
as well as from single processes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from elsa.errors import ConfigError
from elsa.units import HOUR_NS, SECOND_NS

QUARTER_NS = 900 * SECOND_NS
"""Every time zone is a whole number of quarters of an hour from UTC, so neither weekday nor hour
changes within a quarter.
"""
MB_US_PER_GIB_HOUR = 1024 * 3600 * 1_000_000
BYTES_PER_GIB = 1 << 30
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Units(NamedTuple):
    """What is charged for, in whole units, so that sums are exact."""

    processes: int = 0
    cpu_ns: int = 0
    memory_mb_us: int = 0
    """Resident memory integrated over CPU time, as the kernel does: MB times microseconds."""
    read_bytes: int = 0
    written_bytes: int = 0


RATES = ("process", "cpu_hour", "memory_gib_hour", "read_gib", "written_gib")
"""The rate for each of Units, ..."""
_PER = (1, HOUR_NS, MB_US_PER_GIB_HOUR, BYTES_PER_GIB, BYTES_PER_GIB)
"""... and for how many units it is."""


@dataclass(frozen=True)
class Tariff:
    """A version of the tariff. A factor that is not given is 1."""

    id: int
    valid_from_at_ns: int
    """Real time, a whole quarter of an hour."""
    currency: str
    zone: str
    """IANA name of the time zone of weekdays, hours and months."""
    decimals: int
    """To how many digits after the point amounts are rounded."""
    rates: Mapping[str, Decimal]
    """By the names in RATES."""
    factors: Mapping[tuple[int, int], Decimal]
    """By weekday (0 is Monday) and hour."""
    note: str | None = None

    def factor(self, at_ns: int) -> Decimal:
        """The factor at a real time."""
        moment = datetime.fromtimestamp(at_ns // SECOND_NS, zone(self.zone))
        return self.factors.get((moment.weekday(), moment.hour), Decimal(1))

    def price(self, units: Units, factor: Decimal) -> tuple[Fraction, ...]:
        """What these units cost, exactly, for each of Units."""
        return price(units, self.prices(factor))

    def prices(self, factor: Decimal) -> tuple[Fraction, ...]:
        """What one of each of Units costs, exactly."""
        return tuple(
            Fraction(self.rates[rate]) * Fraction(factor) / per
            for rate, per in zip(RATES, _PER, strict=True)
        )


def price(units: Sequence[int], prices: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """What units cost by the prices of one of each."""
    return tuple(each * number for number, each in zip(units, prices, strict=True))


def zone(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises ConfigError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"no time zone {name!r} on this host; name it as Europe/Berlin, or UTC (package tzdata"
            " has them)"
        ) from None


class Tariffs:
    """All versions, by the time from which they are valid."""

    def __init__(self, versions: Sequence[Tariff]) -> None:
        # Of two versions that are valid from the same moment the one made later is used.
        self.versions = sorted(versions, key=lambda tariff: (tariff.valid_from_at_ns, tariff.id))
        self._from = [tariff.valid_from_at_ns for tariff in self.versions]

    def at(self, at_ns: int) -> Tariff | None:
        """The version that is valid at a real time."""
        place = bisect_right(self._from, at_ns)
        return self.versions[place - 1] if place else None


def rounded(amounts: Sequence[Fraction], decimals: int) -> tuple[Decimal, ...]:
    """Amounts of money rounded to `decimals` digits after the point, so that they add up to their
    rounded sum (halves up).

    Each amount is rounded down; the missing units go to the amounts that lost most. No amount is
    negative.
    """
    # Whole numbers over a common denominator take less time than fractions.
    common = math.lcm(*(amount.denominator for amount in amounts))
    scaled = [
        amount.numerator * (common // amount.denominator) * 10**decimals for amount in amounts
    ]
    whole = [amount // common for amount in scaled]
    missing = (2 * sum(scaled) + common) // (2 * common) - sum(whole)
    most_lost = sorted(range(len(whole)), key=lambda place: whole[place] * common - scaled[place])
    for place in most_lost[:missing]:
        whole[place] += 1
    return tuple(Decimal(number).scaleb(-decimals) for number in whole)
