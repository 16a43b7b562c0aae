"""What an installation puts on a host (packaging/host): systemd accepts it, and it agrees with the
commands and the defaults of the programs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import click
import pytest

from elsa import config
from elsa.cli import main
from elsa.host import setup

HOST = Path(__file__).parents[2] / "packaging/host"
UNITS = sorted(HOST.glob("*.service"))
SERVICES = [path.name for path in UNITS]
TIMERS = sorted(HOST.glob("*.timer"))
CRON = HOST / "elsa.cron"
# The exposure of `systemd-analyze security`, times ten. Of the ingester and pruning nothing is left
# to take; alerts, pushing and the pages need the network. jobd needs the host's network namespace
# and users, and two capabilities.
MOST_EXPOSED = {
    "elsa-jobd": 15,
    "elsa-alert": 15,
    "elsa-failed@": 15,
    "elsa-push": 14,
    "elsa-web": 12,
}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with programs that are there."""
    folder = tmp_path_factory.mktemp("units")
    for path in [*HOST.glob("*.service"), *HOST.glob("*.timer")]:
        text = re.sub(r"(?<==)([-+]*)/usr/bin/elsa\S*", rf"\1{sys.executable}", path.read_text())
        (folder / path.name).write_text(text)
    return folder


@needs_systemd
def test_systemd_has_nothing_to_complain_about(units: Path) -> None:
    done = analyze("verify", *sorted(units.iterdir()))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_units_name_no_manual_page_that_may_be_missing(units: Path) -> None:
    assert not [path.name for path in units.iterdir() if "Documentation=" in path.read_text()]


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_little_else_than_what_it_is_for(units: Path, name: str) -> None:
    threshold = MOST_EXPOSED.get(name.removesuffix(".service"), 5)
    done = analyze("security", "--offline=true", f"--threshold={threshold}", units / name)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_jobd_has_no_namespace_in_which_the_kernel_sends_nothing() -> None:
    text = (HOST / "elsa-jobd.service").read_text()
    settings = re.findall(r"^(\w+)=", text, re.MULTILINE)
    assert not {"PrivateNetwork", "PrivateUsers", "PrivatePIDs", "ProcSubset"} & {*settings}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_restarted_is_not_where_that_cannot_help(name: str) -> None:
    text = (HOST / name).read_text()
    if "\nRestart=" in text:
        words = re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
        needed = {"USER"}
        for kind in ("State", "Runtime"):
            if f"\n{kind}Directory=" in text:
                needed.add(f"{kind.upper()}_DIRECTORY")
        assert needed <= set(" ".join(words).split())
        # systemd looks only at how the main program ended, so no other may fail the start.
        assert "ExecStartPre=" not in text.replace("ExecStartPre=-", "")


def test_the_configuration_file_has_every_setting_with_its_default() -> None:
    text = (HOST / "elsa.toml").read_text()
    assert tomllib.loads(text) == {}
    settings, _, tables = text.partition("# --- tables come last")
    shown = tomllib.loads(re.sub(r"^# (?=\w+ = |    )", "", settings, flags=re.MULTILINE))
    defaults = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config.Config()).items()
        if name not in ("job_rule", "alert_budget")
    }
    assert shown == {
        name: str(value) if isinstance(value, Path) else value for name, value in defaults.items()
    }
    assert "# [[job_rule]]" in tables
    assert "# [alert_budget]" in tables


def test_the_tables_of_the_configuration_file_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = (HOST / "elsa.toml").read_text().partition("# --- tables come last\n")[2]
    file = tmp_path / "elsa.toml"
    file.write_text(re.sub(r"^# ", "", tables, flags=re.MULTILINE))
    monkeypatch.setenv("ELSA_CONFIG", str(file))
    loaded = config.load()
    assert [rule.per for rule in loaded.job_rule] == ["invocation"]
    assert loaded.alert_budget == (("nightly", "cpu=1h,wall=30m,peak=4G"),)


# What reports failures: it would report its own for ever.
REPORTING = {"elsa-alert", "elsa-failed@"}


def settings(unit: Path) -> dict[str, list[str]]:
    """The values of each setting of a unit."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_that_fails_is_reported(unit: Path) -> None:
    expected = None if unit.stem in REPORTING else ["elsa-failed@%n.service"]
    assert settings(unit).get("OnFailure") == expected


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_runs_as_elsa_without_rights_that_it_does_not_need(unit: Path) -> None:
    found = settings(unit)
    assert found["User"] == found["Group"] == ["elsa"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateDevices", "RestrictSUIDSGID"):
        assert found[name] == ["yes"], name
    assert found["ProtectSystem"] == ["strict"]
    if unit.stem != "elsa-jobd":
        assert found["CapabilityBoundingSet"] == [""]


def assert_exists(path: str, *words: str) -> None:
    """A program of ELSA, with these words, is a command with options that it has."""
    names = [*Path(path).name.split("-")[1:], *words]
    command: click.Command = main.group
    while isinstance(command, click.Group):
        below = command.get_command(click.Context(command), names.pop(0))
        assert below is not None, path
        command = below
    known = {name for parameter in command.params for name in parameter.opts}
    assert {name for name in names if name.startswith("-")} <= known


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_runs_commands_that_exist(unit: Path) -> None:
    found = settings(unit)
    lines = [
        line.lstrip("-+").split()
        for line in (*found["ExecStart"], *found.get("ExecStartPre", ()))
        if "/usr/bin/elsa" in line
    ]
    assert lines
    for words in lines:
        assert_exists(*words)


def test_cron_runs_what_the_timers_start() -> None:
    lines = re.findall(r"^[\d*/ ]+ elsa +(/\S+.*?)(?: 2>&1.*)?$", CRON.read_text(), re.MULTILINE)
    for line in lines:
        assert_exists(*line.split())
    started = [settings(timer.with_suffix(".service"))["ExecStart"] for timer in TIMERS]
    commands = {line.replace(" --quiet", "").replace("/local", "") for line in lines}
    assert commands == {command for (command,) in started}


def test_each_timer_has_its_service_and_is_set_up() -> None:
    assert UNITS and TIMERS
    assert {timer.stem for timer in TIMERS} <= {service.stem for service in UNITS}
    rules = (HOST.parent / "debian/rules").read_text()
    enabled = re.search(r"^TIMERS = (.*)$", rules, re.MULTILINE)
    assert enabled
    stopped = re.search(r"for name in (.*); do", (HOST.parent / "debian/prerm").read_text())
    assert stopped
    names = {f"elsa-{name}.timer" for name in stopped[1].split()}
    assert {timer.name for timer in TIMERS} == {*setup.TIMERS} == {*enabled[1].split()} == names
