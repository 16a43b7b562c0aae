"""Tariffs in the warehouse. A version is never altered: it is replaced by a newer version, or
withdrawn and kept on record.
"""

from __future__ import annotations

import re
import sqlite3
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from elsa.errors import InputMissingError, UsageError
from elsa.state.tariff import QUARTER_NS, RATES, WEEKDAYS, Tariff, Tariffs, zone
from elsa.store import boots
from elsa.store.database import transaction

_MOST_DECIMALS = 9
_KEYS = {"valid_from", "currency", "zone", "decimals", "note", "rates", "factors"}
_COLUMNS = f"id, valid_from_at_ns, currency, zone, decimals, note, {', '.join(RATES)}"
_MOST_DIGITS = 12
_HOURS = tuple(str(hour) for hour in range(25))
_RATE = re.compile(rf"\d{{1,{_MOST_DIGITS}}}(\.\d{{1,{_MOST_DIGITS}}})?")


def read_file(path: Path) -> dict[str, Any]:
    """The keys of a tariff's TOML file, for `draft`. Raises InputMissingError or UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text, parse_float=_decimal)
    except OSError as error:
        raise InputMissingError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, not UTF-8
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None


def _decimal(text: str) -> Decimal:
    """A number of a TOML file, exactly as written."""
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent is too large for a Decimal
        raise ValueError(f"{text} is no number like 0.05") from None


def draft(fields: Mapping[str, Any]) -> Tariff:
    """A tariff, not stored yet, from the keys of a TOML file. Raises UsageError or ConfigError that
    names the wrong key.
    """
    unknown = sorted(fields.keys() - _KEYS)
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r}; the keys are {', '.join(sorted(_KEYS))}")
    for key in ("valid_from", "currency", "rates"):
        if key not in fields:
            raise UsageError(f"{key} is missing")
    currency, note = str(fields["currency"]), fields.get("note")
    if not (currency.isprintable() and 1 <= len(currency) <= 16):
        raise UsageError("currency: needs 1 to 16 printable characters")
    decimals = fields.get("decimals", 2)
    if type(decimals) is not int or not 0 <= decimals <= _MOST_DECIMALS:
        raise UsageError(f"decimals: needs a whole number from 0 to {_MOST_DECIMALS}")
    place = str(fields.get("zone", "UTC"))
    rates = _rates(fields["rates"])
    factors = _factors(fields.get("factors", ()))
    return Tariff(
        0,
        _moment(fields["valid_from"], place),
        currency,
        place,
        decimals,
        rates,
        factors,
        None if note is None else str(note),
    )


def _rates(given: object) -> dict[str, Decimal]:
    if not isinstance(given, Mapping):
        raise UsageError(f"rates: needs a table with some of {', '.join(RATES)}")
    unknown = sorted(given.keys() - set(RATES))
    if unknown:
        raise UsageError(f"rates: unknown rate {unknown[0]!r}; the rates are {', '.join(RATES)}")
    return {rate: _number(given.get(rate, 0), rate) for rate in RATES}


def _number(value: object, what: str) -> Decimal:
    """A price or factor: not negative, at most twelve digits before and after the point."""
    text = str(value)
    # With a huge exponent, the digits would fill the memory.
    if isinstance(value, Decimal) and abs(value.adjusted()) <= _MOST_DIGITS:
        text = format(value, "f")
    if not _RATE.fullmatch(text):
        raise UsageError(f"{what}: {text!r} is no number like 0.05")
    return Decimal(text)


def _factors(given: object) -> dict[tuple[int, int], Decimal]:
    """The factor of each weekday and hour that has one."""
    factors: dict[tuple[int, int], Decimal] = {}
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise UsageError("factors: needs a list of tables with weekdays, hours and factor")
    for each in given:
        if not isinstance(each, Mapping) or each.keys() != {"weekdays", "hours", "factor"}:
            raise UsageError("factors: each needs weekdays, hours and factor")
        number = _number(each["factor"], "factor")
        hours = _span(str(each["hours"]), _HOURS, "hours", last_included=False)
        days = _span(str(each["weekdays"]).lower(), WEEKDAYS, "weekdays", last_included=True)
        for hour in hours:
            for day in days:
                if factors.setdefault((day, hour), number) is not number:
                    raise UsageError(f"factors: {WEEKDAYS[day]} {hour}-{hour + 1} has two factors")
    return factors


def _span(text: str, names: tuple[str, ...], what: str, *, last_included: bool) -> list[int]:
    """The positions of names in a cycle, from a list of names and ranges like mon-fri,sun or 22-6.
    A range may continue at the beginning of the cycle.
    """
    length = len(names) if last_included else len(names) - 1
    positions = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in names or (dash and last not in names) or (not dash and not last_included):
            raise UsageError(
                f"{what}: cannot read {text!r}; write for example"
                f" {'mon-fri' if last_included else '8-18'}"
            )
        start, end = names.index(first) % length, names.index(last) if dash else names.index(first)
        count = (end - start + int(last_included)) % length or length
        positions += [(start + step) % length for step in range(count)]
    return positions


def _moment(value: object, place: str) -> int:
    """A date or a time in ns since 1970; in the zone `place` unless it names its own."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(
                f"valid_from: cannot read the time {value!r}; write for example 2026-11-01 or"
                " 2026-11-01T06:00"
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise UsageError("valid_from: needs a date or a time, as in 2026-11-01")
    moment = value if value.tzinfo else value.replace(tzinfo=zone(place))
    at_ns = int(moment.timestamp()) * 1_000_000_000
    if not 1970 <= moment.year < 2200:  # a column cannot hold times after 2262
        raise UsageError(
            f"valid_from: a tariff starts in 1970 or later and before 2200, not in {moment.year}"
        )
    if at_ns % QUARTER_NS or moment.microsecond:
        raise UsageError("valid_from: a tariff starts at a whole quarter of an hour")
    return at_ns


# --- tables


def add(connection: sqlite3.Connection, tariff: Tariff, now_at_ns: int) -> int:
    """Store a version; return its id. Raises UsageError if it would change the price of past time
    that another version covers.
    """
    with transaction(connection):
        charged_by = load(connection).at(now_at_ns)
        if tariff.valid_from_at_ns < now_at_ns and charged_by is not None:
            other = charged_by.id
            raise UsageError(
                f"past time is charged by tariff {other}; let the new tariff start later than now,"
                f" or withdraw tariff {other} first"
            )
        tariff_id = boots.insert(
            connection,
            f"insert into tariff (added_at_ns, {_COLUMNS}) values ({now_at_ns:d}, ?, ?, ?, ?, ?, ?,"
            f" {', '.join('?' * len(RATES))})",
            "tariff",
            tariff.valid_from_at_ns,
            tariff.currency,
            tariff.zone,
            tariff.decimals,
            tariff.note,
            *(format(tariff.rates[rate], "f") for rate in RATES),
        )
        rows = [
            (tariff_id, day, hour, format(factor, "f"))
            for (day, hour), factor in tariff.factors.items()
        ]
        connection.executemany("insert into tariff_factor values (?, ?, ?, ?)", rows)
    return tariff_id


def withdraw(connection: sqlite3.Connection, tariff_id: int, now_at_ns: int) -> None:
    """Withdraw a version: new bills do not use it, but a bill as of an earlier time still does.
    Raises UsageError.
    """
    with transaction(connection):
        changed = connection.execute(
            "update tariff set withdrawn_at_ns = ? where id = ? and withdrawn_at_ns is null",
            (now_at_ns, tariff_id),
        ).rowcount
        if not changed:
            raise UsageError(f"no tariff {tariff_id} is in force; see: elsa db tariff list --all")


def load(connection: sqlite3.Connection, as_of_ns: int | None = None) -> Tariffs:
    """The versions that are in force now, or that were in force at some time."""
    rows = connection.execute(
        f"""select {_COLUMNS} from tariff
            where case
                when :as_of is null then withdrawn_at_ns is null
                else added_at_ns <= :as_of
                    and (withdrawn_at_ns is null or withdrawn_at_ns > :as_of)
            end""",
        {"as_of": as_of_ns},
    ).fetchall()
    return Tariffs([_tariff(connection, row) for row in rows])


def load_version(connection: sqlite3.Connection, tariff_id: int) -> Tariff:
    """A version by its id, withdrawn or not. Raises UsageError."""
    row = connection.execute(f"select {_COLUMNS} from tariff where id = ?", (tariff_id,)).fetchone()
    if row is None:
        raise UsageError(f"no tariff {tariff_id}; see: elsa db tariff list --all")
    return _tariff(connection, row)


def _tariff(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Tariff:
    tariff_id, valid_from_at_ns, currency, place, decimals, note, *rates = row
    factors = connection.execute(
        "select weekday, hour, factor from tariff_factor where tariff_id = ?", (tariff_id,)
    )
    return Tariff(
        id=tariff_id,
        valid_from_at_ns=valid_from_at_ns,
        currency=currency,
        zone=place,
        decimals=decimals,
        rates={rate: Decimal(text) for rate, text in zip(RATES, rates, strict=True)},
        factors={(day, hour): Decimal(text) for day, hour, text in factors},
        note=note,
    )
