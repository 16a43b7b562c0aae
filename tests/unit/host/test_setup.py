"""`elsa setup` does what is missing and nothing else, and undoes only what it did."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from elsa.errors import ConfigError, PrivilegeError, UnavailableError
from elsa.host import setup
from elsa.host.setup import Place, refuse, steps, undo


@dataclass
class Machine:
    """A host in a folder, with commands that only change its files."""

    root: Path
    manager: str = "apt-get"
    acct_file: str = "var/log/account/pacct"
    mode: int = 0o640
    ran: list[str] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    has_user: bool = False

    def place(self) -> Place:
        prefix = self.root / "opt/elsa"
        return Place(
            self.root,
            prefix / "bin",
            prefix,
            self.run,
            lambda name: f"/usr/bin/{name}" if name == self.manager else None,
        )

    def run(self, words: Sequence[str]) -> bool:
        """Only what changes something is noted."""
        command = " ".join(words)
        match words:
            case ["systemctl", "is-enabled" | "is-active", "--quiet", unit]:
                return unit in self.active
            case ["getent", *_]:
                return self.has_user
            case ["test", "-d", folder]:
                return (self.root / folder.lstrip("/")).is_dir()
            case ["systemctl", "enable", "--now", unit]:
                self.active.add(unit)
            case ["systemctl", "disable", "--now", unit]:
                self.active.discard(unit)
            case ["systemd-sysusers", _]:
                self.has_user = True
            case ["systemd-tmpfiles", *_]:
                (self.root / "var/lib/elsa").mkdir(parents=True)
            case [("apt-get" | "dnf"), "install", *_, package]:
                installed = self.root / f"usr/lib/systemd/system/{package}.service"
                installed.parent.mkdir(parents=True)
                installed.touch()
                file = self.root / self.acct_file
                file.parent.mkdir(parents=True)
                file.touch(self.mode)
                file.chmod(self.mode)
        self.ran.append(command)
        return True

    def set_up(self) -> list[str]:
        """Run all that is missing; what that was."""
        done = []
        for step in steps(self.place()):
            if not step.is_done():
                step.do()
                done.append(step.text)
        return done

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A Debian with ELSA in /opt/elsa."""
    monkeypatch.setattr(setup, "_runs_another", lambda: False)
    share = tmp_path / "opt/elsa/share"
    for name in ("man/man1/elsa.1", "bash-completion/completions/elsa", "man/man1/other.1"):
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        (share / name).touch()
    (tmp_path / "opt/elsa/bin").mkdir()
    for name in ("elsa", "elsa-jobd", "python3"):
        (tmp_path / "opt/elsa/bin" / name).touch()
    return Machine(tmp_path)


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    assert machine.set_up() != []
    assert machine.set_up() == []


def test_everything_that_the_packages_set_up_is_there(machine: Machine) -> None:
    machine.set_up()
    programs = machine.root / "opt/elsa/bin"
    unit = (machine.root / "etc/systemd/system/elsa-jobd.service").read_text()
    assert f"\nExecStart={programs}/elsa-jobd --user elsa" in unit
    assert f"\nExecStartPre=-+{programs}/elsa-jobd --open-events\n" in unit
    assert "/usr/bin/elsa" not in unit
    assert {
        "etc/elsa/elsa.toml",
        "etc/sysusers.d/elsa.conf",
        "etc/tmpfiles.d/elsa.conf",
        "etc/systemd/system/acct.service.d/elsa.conf",
        "etc/systemd/system/elsa-failed@.service",
        "usr/local/bin/elsa-jobd",
        "usr/local/share/man/man1/elsa.1",
        "usr/local/share/bash-completion/completions/elsa",
    } <= machine.files()
    assert "usr/local/bin/python3" not in machine.files()
    assert "etc/systemd/system/elsa-ingest.service.d/elsa.conf" not in machine.files()
    assert machine.active == {"acct.service", "elsa-jobd.service", *setup.TIMERS}
    enabled = machine.ran.index("systemctl enable --now elsa-jobd.service")
    assert machine.ran.index("systemctl daemon-reload") < enabled
    assert machine.ran.index("systemd-sysusers elsa.conf") < enabled
    assert not [command for command in machine.ran if "restart" in command]


def test_where_only_root_reads_the_accounting_file_the_ingester_may(machine: Machine) -> None:
    machine.manager, machine.acct_file, machine.mode = "dnf", "var/account/pacct", 0o600
    machine.set_up()
    drop_in = machine.root / "etc/systemd/system/elsa-ingest.service.d/elsa.conf"
    assert "CAP_DAC_READ_SEARCH" in drop_in.read_text()
    settings = (machine.root / "etc/elsa/elsa.toml").read_text().splitlines()
    assert any(line.startswith('acct_file = "/var/account/pacct"') for line in settings)
    assert "psacct.service" in machine.active


def test_settings_that_exist_are_kept_and_a_changed_unit_restarts_jobd(machine: Machine) -> None:
    machine.set_up()
    settings = machine.root / "etc/elsa/elsa.toml"
    settings.write_text("interval_s = 30\n")
    (machine.root / "etc/systemd/system/elsa-jobd.service").write_text("old")
    machine.ran.clear()
    machine.set_up()
    assert settings.read_text() == "interval_s = 30\n"
    assert machine.ran == [
        "systemctl daemon-reload",
        "systemctl try-restart elsa-jobd.service elsa-web.service",
    ]


def test_undone_nothing_is_left_but_what_others_made(machine: Machine) -> None:
    before = machine.files()
    other = machine.root / "usr/local/bin/elsa"
    other.parent.mkdir(parents=True)
    other.write_text("somebody else's")
    machine.set_up()
    assert [*undo(machine.place())] != []
    of_acct = {"usr/lib/systemd/system/acct.service", "var/log/account/pacct"}
    assert machine.files() == before | of_acct | {"usr/local/bin/elsa"}
    assert other.read_text() == "somebody else's"
    assert not (machine.root / "etc/elsa").exists()
    assert (machine.root / "etc/tmpfiles.d").exists()
    assert machine.active == {"acct.service"}
    assert [*undo(machine.place())] == []


def test_changed_settings_are_left_when_it_is_undone(machine: Machine) -> None:
    machine.set_up()
    settings = machine.root / "etc/elsa/elsa.toml"
    settings.write_text("interval_s = 30\n")
    assert [*undo(machine.place())] != []
    assert settings.read_text() == "interval_s = 30\n"


def test_a_command_that_fails_ends_it(machine: Machine) -> None:
    place = Place(machine.root, machine.root, machine.root, lambda _: False, lambda name: name)
    with pytest.raises(UnavailableError, match="apt-get install -y acct"):
        for step in steps(place):
            step.do()


def test_it_refuses_where_it_cannot_work(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    place = machine.place()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(PrivilegeError, match="sudo elsa setup"):
        refuse(place)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UnavailableError, match="systemd does not run here"):
        refuse(place)
    (machine.root / "run/systemd/system").mkdir(parents=True)
    (machine.root / "opt").chmod(stat.S_IRWXU)
    with pytest.raises(ConfigError, match="may not read this folder; install it for the whole"):
        refuse(place)
    unit = machine.root / "usr/lib/systemd/system/elsa-jobd.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    with pytest.raises(ConfigError, match="the package elsa is installed"):
        refuse(place)
