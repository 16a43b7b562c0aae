"""The units of systemd agree with each other, with the commands and with the documents."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from elsa.cli import main
from elsa.host import setup

ROOT = Path(__file__).parents[2]
SERVICES = sorted((ROOT / "packaging/host").glob("*.service"))
TIMERS = sorted((ROOT / "packaging/host").glob("*.timer"))
# What reports failures: it would report its own for ever.
REPORTING = {"elsa-alert", "elsa-failed@"}


def settings(unit: Path) -> dict[str, list[str]]:
    """The values of each setting of a unit."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_unit_that_fails_is_reported(unit: Path) -> None:
    expected = None if unit.stem in REPORTING else ["elsa-failed@%n.service"]
    assert settings(unit).get("OnFailure") == expected


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_runs_as_elsa_without_rights_that_it_does_not_need(unit: Path) -> None:
    found = settings(unit)
    assert found["User"] == found["Group"] == ["elsa"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateDevices", "RestrictSUIDSGID"):
        assert found[name] == ["yes"], name
    assert found["ProtectSystem"] == ["strict"]
    if unit.stem != "elsa-jobd":
        assert found["CapabilityBoundingSet"] == [""]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_runs_commands_that_exist(unit: Path) -> None:
    found = settings(unit)
    lines = [
        line.lstrip("!").split()
        for line in (*found["ExecStart"], *found.get("ExecStartPre", ()))
        if "/usr/bin/elsa" in line
    ]
    assert lines
    for path, *words in lines:
        names = [*Path(path).name.split("-")[1:], *words]
        command: click.Command = main.group
        while isinstance(command, click.Group):
            below = command.get_command(click.Context(command), names.pop(0))
            assert below is not None, path
            command = below
        known = {name for parameter in command.params for name in parameter.opts}
        assert {name for name in names if name.startswith("-")} <= known


def test_each_timer_has_its_service_and_is_set_up() -> None:
    assert SERVICES and TIMERS
    assert {timer.stem for timer in TIMERS} <= {service.stem for service in SERVICES}
    rules = (ROOT / "packaging/debian/rules").read_text()
    enabled = re.search(r"^TIMERS = (.*)$", rules, re.MULTILINE)
    assert enabled
    assert {timer.name for timer in TIMERS} == {*setup.TIMERS} == {*enabled[1].split()}
