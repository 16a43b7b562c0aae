"""The tariffs of a fleet database: set by its owner, through the checks of a warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa.cli.main import group
from elsa.errors import PrivilegeError, UsageError
from tests.support.fleets import pushed
from tests.support.postgres import Server

_OPTIONS = ["--currency", "EUR", "--cpu-hour", "0.04", "--process", "0.01"]


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_bill_of_a_fleet_takes_the_tariff_that_was_added(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    of_both = []
    for place in (str(db), url):
        tariff = ("db", "tariff")
        prime = ("--factor", "mon-fri 8-18 1.5")
        at = ("--db", place)
        assert _run(*tariff, "add", "--from", "2026-01-01", *_OPTIONS, *prime, *at) == "1\n"
        with pytest.raises(UsageError, match="past time is charged by tariff 1"):
            _run(*tariff, "add", "--from", "2026-02-01", *_OPTIONS, *at)
        assert _run(*tariff, "add", "--from", "2199-01-01", *_OPTIONS, *at) == "2\n"
        _run(*tariff, "withdraw", "2", *at)
        with pytest.raises(UsageError, match="no tariff 2 is in force"):
            _run(*tariff, "withdraw", "2", *at)
        listed = _run(*tariff, "list", *at)
        shown = _run(*tariff, "show", "1", *at)
        bill = _run("report", "bill", "--columns", "charge", "--format", "csv", *at)
        of_both.append((listed, shown, bill))
    assert of_both[0] == of_both[1]
    assert "[[factors]]" in of_both[0][1]
    assert len(of_both[0][2].splitlines()) > 2
    with postgres.connect(fleet) as connection:
        rows = connection.execute("select id, withdrawn_at_ns is null from elsa.tariff order by 1")
        assert rows.fetchall() == [(1, True), (2, False)]


def test_who_may_only_read_sets_no_tariff(postgres: Server, fleet: str) -> None:
    with postgres.connect(fleet) as connection:
        connection.execute(f"create role buyer_{fleet} login")
        connection.execute(f"grant elsa_reader to buyer_{fleet}")
    url = postgres.url(fleet, f"buyer_{fleet}")
    assert _run("db", "tariff", "list", "--db", url) == ""
    with pytest.raises(PrivilegeError, match="this role may not do that"):
        _run("db", "tariff", "add", "--from", "2026-01-01", *_OPTIONS, "--db", url)
