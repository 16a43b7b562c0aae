"""Set ELSA up as services of a host with systemd, as its packages do: accounting, user, folders,
settings, units. For installations by pip, pipx or uv.

What is to be done is a list of steps. Each knows whether it has been done, so that a second run
changes nothing, and how to undo it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import elsa
from elsa.errors import ConfigError, ElsaError, PrivilegeError, UnavailableError
from elsa.kernel import safe_paths
from elsa.kernel.acct_paths import ACCT_FILES

TIMERS = ("elsa-ingest.timer", "elsa-prune.timer", "elsa-alert.timer", "elsa-push.timer")
# The programs of each distribution that install a package, its package of GNU acct, and the unit in
# it that switches accounting on.
ACCOUNTING = {
    "apt-get": ("apt-get install -y acct", "acct.service"),
    "dnf": ("dnf install -y psacct", "psacct.service"),
    "zypper": ("zypper --non-interactive install acct", "acct.service"),
    "pacman": ("pacman -S --noconfirm acct", "acct.service"),
}
UNIT_FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
# Folders in which shells and man look, and what of an installation belongs there.
SHARED = {
    "man/man1": "man/man1",
    "bash-completion/completions": "bash-completion/completions",
    "zsh/vendor-completions": "zsh/site-functions",
    "fish/vendor_completions.d": "fish/vendor_completions.d",
}
# Of a path that a unit may name without quoting.
PLAIN_PATH = re.compile(r"[\w./+@-]+", re.ASCII)
READ_ALL = """\
# Only root may read the accounting file of this host, so the ingester needs a right of root.
[Service]
AmbientCapabilities=CAP_DAC_READ_SEARCH
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
"""


def run(command: Sequence[str]) -> bool:
    """Run a command that needs no input; whether it succeeded."""
    return not subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False
    ).returncode


@dataclass(frozen=True)
class Place:
    """Where it is set up (tests have a root and commands of their own)."""

    root: Path = Path("/")
    programs: Path = field(default_factory=lambda: Path(sysconfig.get_path("scripts")))
    prefix: Path = field(default_factory=lambda: Path(sys.prefix))
    run: Callable[[Sequence[str]], bool] = run
    which: Callable[[str], str | None] = shutil.which


@dataclass
class Step:
    """One thing that is to be done."""

    text: str
    """What it is, as a line for people."""
    is_done: Callable[[], bool]
    do: Callable[[], None]
    undo: Callable[[], bool] | None = None
    """Undoes it, if that is possible; whether there was something to undo."""


def refuse(place: Place) -> None:
    """Raise an ElsaError where nothing may or can be set up."""
    if os.geteuid():
        raise PrivilegeError("only root may set services up; run: sudo elsa setup")
    if not (place.root / "run/systemd/system").is_dir():
        raise UnavailableError(
            "systemd does not run here; docs/operations.md says how ELSA runs without it"
        )
    for folder in UNIT_FOLDERS[1:]:
        if (place.root / folder / "elsa-jobd.service").exists():
            raise ConfigError("the package elsa is installed, which brings all of this itself")
    everywhere = "install it for the whole host: PIPX_HOME=/opt/pipx pipx install elsa-accounting"
    for path in (place.programs / "elsa-jobd", Path(sys.executable), Path(elsa.__file__)):
        if not path.exists():
            raise ConfigError(f"{path}: no such program; {everywhere}")
        if not PLAIN_PATH.fullmatch(str(path)):
            raise ConfigError(f"{path}: a unit cannot name this path; {everywhere}")
        real = path.resolve()
        if real.is_relative_to("/home") or not all(
            folder.stat().st_mode & stat.S_IXOTH for folder in real.parents
        ):
            raise ConfigError(f"{path}: the services may not read this folder; {everywhere}")
        safe_paths.check(path)  # root will run it


def steps(place: Place) -> Iterator[Step]:
    """What is to be done, in order. What a step depends on is looked at when its turn comes."""
    files = _files()
    etc = place.root / "etc"
    units = etc / "systemd/system"
    yield from _accounting(place)
    yield _file(etc / "sysusers.d/elsa.conf", files["elsa.sysusers"])
    yield _command(place, "systemd-sysusers elsa.conf", "getent passwd elsa")
    yield _file(etc / "tmpfiles.d/elsa.conf", files["elsa.tmpfiles"])
    yield _command(place, "systemd-tmpfiles --create elsa.conf", "test -d /var/lib/elsa")
    yield _settings(place, files["elsa.toml"])
    changed: list[Path] = []
    ran_before = place.run(["systemctl", "is-active", "--quiet", "elsa-jobd.service"])
    for name, text in files.items():
        if name.endswith((".service", ".timer")):
            ours = text.replace("/usr/bin/elsa", str(place.programs / "elsa"))
            yield _file(units / name, ours, changed)
    for unit in sorted({unit for _, unit in ACCOUNTING.values()}):
        if _has_unit(place, unit):
            yield _file(units / f"{unit}.d/elsa.conf", files["acct.service.d.conf"], changed)
    if not _group_may_read(place):
        yield _file(units / "elsa-ingest.service.d/elsa.conf", READ_ALL, changed)
    yield from _links(place)
    reload = ["systemctl", "daemon-reload"]
    yield Step(" ".join(reload), lambda: not changed, lambda: _must(place, reload))
    for unit in ("elsa-jobd.service", *TIMERS):
        yield _service(place, unit)
    web = _service(place, "elsa-web.service")
    web.is_done = lambda: True  # who wants it enables it
    yield web
    restart = ["systemctl", "try-restart", "elsa-jobd.service", "elsa-web.service"]
    yield Step(
        " ".join(restart),
        lambda: (
            not ran_before or not (any(path.name in restart for path in changed) or _runs_another())
        ),
        lambda: _must(place, restart),
    )


def undo(place: Place) -> Iterator[str]:
    """Undo every step, the last first, and return what was undone. The warehouse, the user and
    accounting stay.
    """
    for step in reversed([*steps(place)]):
        if step.undo is not None and step.undo():
            yield step.text
    place.run(["systemctl", "daemon-reload"])


def _files() -> dict[str, str]:
    """The files that are put on a host, by their names in packaging/host."""
    package = Path(elsa.__file__).parent
    folder = package / "host_files"
    if not folder.is_dir():
        folder = package.parent / "packaging/host"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def _accounting(place: Place) -> Iterator[Step]:
    """Switch accounting on by the package of the distribution, which also rotates the file."""
    manager = next((name for name in ACCOUNTING if place.which(name) is not None), None)
    if manager is None:
        return  # the checks say what is missing
    install, unit = ACCOUNTING[manager]
    yield Step(install, lambda: _has_unit(place, unit), lambda: _must(place, install.split()))
    yield _command(place, f"systemctl enable --now {unit}", f"systemctl is-active --quiet {unit}")


def _has_unit(place: Place, unit: str) -> bool:
    return any((place.root / folder / unit).exists() for folder in UNIT_FOLDERS)


def _acct_file(place: Place) -> Path | None:
    """The accounting file of the host."""
    paths = (place.root / path.relative_to("/") for path in ACCT_FILES)
    return next((path for path in paths if path.exists()), None)


def _group_may_read(place: Place) -> bool:
    path = _acct_file(place)
    return path is None or bool(path.stat().st_mode & stat.S_IRGRP)


def _settings(place: Place, text: str) -> Step:
    """The configuration file, unless there is one."""
    path = place.root / "etc/elsa/elsa.toml"
    file = _acct_file(place)
    if file is not None:
        text = with_acct_file(text, f"/{file.relative_to(place.root)}")
    step = _file(path, text)
    has_text, remove = step.is_done, step.undo
    assert remove is not None  # noqa: S101
    step.is_done = path.exists
    step.undo = lambda: has_text() and remove()
    return step


def with_acct_file(text: str, path: str) -> str:
    """The configuration file with this accounting file, if it is not the default."""
    if path == str(ACCT_FILES[0]):
        return text
    return text.replace(f'# acct_file = "{ACCT_FILES[0]}"', f'acct_file = "{path}"')


def _file(path: Path, text: str, changed: list[Path] | None = None) -> Step:
    """A file with this text. A path that is written is added to `changed`."""
    # Folders that the host has without ELSA stay.
    made = path.parent.name == "elsa" or path.parent.name.endswith((".service.d", ".timer.d"))

    def is_done() -> bool:
        return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
        if changed is not None:
            changed.append(path)

    def remove() -> bool:
        if not path.is_file():
            return False
        path.unlink()
        if made and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return True

    return Step(f"write {path}", is_done, write, remove)


def _links(place: Place) -> Iterator[Step]:
    """The programs, manual pages and completion scripts where users' shells find them."""
    local = place.root / "usr/local"
    if place.prefix == local:
        return
    yield _link_all(local / "bin", sorted(place.programs.glob("elsa*")))
    for source, target in SHARED.items():
        files = sorted((place.prefix / "share" / source).glob("*elsa*"))
        yield _link_all(local / "share" / target, files)


def _link_all(folder: Path, targets: Sequence[Path]) -> Step:
    """Symbolic links to files, except where something else has their names."""
    links = {folder / target.name: target for target in targets}

    def make() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path, target in links.items():
            if not os.path.lexists(path):
                path.symlink_to(target)

    def remove() -> bool:
        ours = [path for path in links if path.is_symlink() and path.readlink() == links[path]]
        for path in ours:
            path.unlink()
        return bool(ours)

    text = f"link {len(links)} files of {targets[0].parent if targets else '-'} in {folder}"
    return Step(text, lambda: all(map(os.path.lexists, links)), make, remove)


def _command(place: Place, command: str, test: str) -> Step:
    """A command, needed unless another succeeds."""
    return Step(command, lambda: place.run(test.split()), lambda: _must(place, command.split()))


def _service(place: Place, unit: str) -> Step:
    """A unit that is enabled and runs."""
    enable = ["systemctl", "enable", "--now", unit]

    def is_done() -> bool:
        return all(place.run(["systemctl", test, "--quiet", unit]) for test in _TESTS)

    def stop() -> bool:
        return _has_unit(place, unit) and place.run(["systemctl", "disable", "--now", unit])

    return Step(" ".join(enable), is_done, lambda: _must(place, enable), stop)


_TESTS = ("is-enabled", "is-active")


def _must(place: Place, command: Sequence[str]) -> None:
    if not place.run(command):
        raise UnavailableError(f"this failed: {' '.join(command)}; run it to see why")


def _runs_another() -> bool:
    """Whether the running jobd is of another version."""
    from elsa import config
    from elsa.control.client import Client

    try:
        return bool(Client(config.load().socket).request("status")["version"] != elsa.__version__)
    except ElsaError:
        return False
