"""`elsa db tariff`: what is shown can be added again."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa.cli.tariff import tariff
from elsa.store import database, tariffs


@pytest.mark.parametrize(
    "note", [None, 'with "quotes", a \\ and\nlines\tof it', "caf\u00e9 \U0001f600 \x7f\x1b"]
)
def test_the_file_that_is_shown_adds_the_same_version_again(
    db: Path, tmp_path: Path, note: str | None
) -> None:
    file = tmp_path / "tariff.toml"
    prices = [
        "--cpu-hour",
        "0.000000000001",
        "--process",
        "20",
        "--factor",
        "sat,sun 22-6 0.5",
        "--factor",
        "mon 0-24 1.25",
    ]
    told = [] if note is None else ["--note", note]
    command = [
        "add",
        "--from",
        "2030-11-01",
        "--zone",
        "Europe/Berlin",
        "--currency",
        "\u20ac",
        *prices,
        *told,
        "--db",
        str(db),
    ]
    assert CliRunner().invoke(tariff, command, catch_exceptions=False).output == "1\n"
    file.write_text(
        CliRunner().invoke(tariff, ["show", "1", "--db", str(db)], catch_exceptions=False).stdout,
        encoding="utf-8",
    )
    again = tariffs.draft(tariffs.read_file(file))
    assert again.note == note
    with closing(database.open_for_reading(db)) as connection:
        assert replace(again, id=1) == tariffs.load_version(connection, 1)
