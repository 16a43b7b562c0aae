"""Tariffs are understood or refused with the key that is wrong, and once stored never altered."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from elsa.errors import ElsaError, InputMissingError, UsageError
from elsa.state.tariff import RATES
from elsa.store import tariffs

DAY = 86_400 * 10**9
NOW = 1_790_000_000 * 10**9
GIVEN: dict[str, Any] = {
    "valid_from": "2026-11-01",
    "currency": "EUR",
    "zone": "Europe/Berlin",
    "rates": {"cpu_hour": "0.04"},
}


@pytest.mark.parametrize(
    "number", ["1e999999999", "1e-999999999", "1e9999999999999999999", "inf", "nan", "-0.0", "1e13"]
)
def test_a_number_in_a_file_beyond_all_bounds_is_refused_at_once(
    tmp_path: Path, number: str
) -> None:
    path = tmp_path / "tariff.toml"
    path.write_text(
        f'valid_from = 2026-11-01\ncurrency = "EUR"\nrates = {{ cpu_hour = {number} }}\n'
    )
    with pytest.raises(UsageError):
        tariffs.draft(tariffs.read_file(path))


def test_a_file_is_read_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "tariff.toml"
    path.write_text("""
        valid_from = 2026-11-01
        currency = "EUR"
        zone = "Europe/Berlin"
        decimals = 3
        rates = { cpu_hour = 0.100000000001, process = 2 }
        factors = [ { weekdays = "mon-tue,sun", hours = "22-2", factor = 1.5 } ]
        """)
    found = tariffs.draft(tariffs.read_file(path))
    assert found.valid_from_at_ns == 1_793_487_600 * 10**9  # midnight in Berlin
    assert found.rates == dict.fromkeys(RATES, Decimal(0)) | {
        "cpu_hour": Decimal("0.100000000001"),
        "process": Decimal(2),
    }
    assert found.factors == {
        (day, hour): Decimal("1.5") for day in (0, 1, 6) for hour in (22, 23, 0, 1)
    }
    assert (found.currency, found.zone, found.decimals) == ("EUR", "Europe/Berlin", 3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"currency": ""}, "currency"),
        ({"valid_from": "0026-11-01"}, "before 2200"),
        ({"valid_from": "2826-11-01"}, "before 2200"),
        ({"price": 1}, "price"),
        ({"rates": None}, "rates"),
        ({"rates": {"cpu": 1}}, "cpu"),
        ({"rates": {"cpu_hour": -1}}, "cpu_hour"),
        ({"rates": {"cpu_hour": True}}, "cpu_hour"),
        ({"rates": {"cpu_hour": "nan"}}, "cpu_hour"),
        ({"rates": {"cpu_hour": "1e3"}}, "cpu_hour"),
        ({"valid_from": 5}, "valid_from"),
        ({"valid_from": "soon"}, "valid_from"),
        ({"valid_from": "2026-11-01T00:07"}, "quarter"),
        ({"zone": "Mars/Base"}, "zone"),
        ({"decimals": 2.5}, "decimals"),
        ({"factors": "mon"}, "factors"),
        ({"factors": [{"weekdays": "mon"}]}, "factors"),
        ({"factors": [{"weekdays": "monday", "hours": "8-18", "factor": 1}]}, "weekdays"),
        ({"factors": [{"weekdays": "mon", "hours": "8", "factor": 1}]}, "hours"),
        (
            {
                "factors": [
                    {"weekdays": "mon-fri", "hours": hours, "factor": 1}
                    for hours in ("8-18", "17-20")
                ]
            },
            "two",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused_by_its_name(
    change: dict[str, Any], word: str
) -> None:
    with pytest.raises(ElsaError, match=word):
        tariffs.draft(GIVEN | change)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        tariffs.read_file(tmp_path / "none")
    for junk in (b"\xff", b"a = = 1", b"valid_from = 2026-11-41"):
        (tmp_path / "junk").write_bytes(junk)
        with pytest.raises(UsageError, match="junk"):
            tariffs.read_file(tmp_path / "junk")


def test_what_is_stored_comes_back(connection: sqlite3.Connection) -> None:
    draft = tariffs.draft(
        GIVEN
        | {
            "note": "first",
            "factors": [{"weekdays": "sat", "hours": "0-24", "factor": "0.5"}],
        }
    )
    assert tariffs.add(connection, draft, NOW) == 1
    assert tariffs.load_version(connection, 1) == replace(draft, id=1)
    assert tariffs.load(connection).versions == [replace(draft, id=1)]


def test_time_that_was_charged_is_never_charged_otherwise_unless_a_version_is_withdrawn(
    connection: sqlite3.Connection,
) -> None:
    draft = replace(tariffs.draft(GIVEN), valid_from_at_ns=NOW - 10 * DAY)
    assert tariffs.add(connection, draft, NOW) == 1
    for days in (-20, -5):
        with pytest.raises(UsageError, match="tariff 1"):
            tariffs.add(connection, replace(draft, valid_from_at_ns=NOW + days * DAY), NOW)
    assert tariffs.add(connection, replace(draft, valid_from_at_ns=NOW + DAY), NOW) == 2
    tariffs.withdraw(connection, 1, NOW + 1)
    with pytest.raises(UsageError, match="no tariff 1"):
        tariffs.withdraw(connection, 1, NOW + 2)
    assert tariffs.add(connection, draft, NOW + 3) == 3
    assert [version.id for version in tariffs.load(connection).versions] == [3, 2]
    assert [version.id for version in tariffs.load(connection, NOW).versions] == [
        1,
        2,
    ]  # as it was then


def test_an_unknown_tariff_is_refused(connection: sqlite3.Connection) -> None:
    with pytest.raises(UsageError, match="no tariff 7"):
        tariffs.load_version(connection, 7)
