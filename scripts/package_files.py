"""What the Debian package and the RPM have in common: the files of ELSA and of the libraries that
it carries, laid out as they will be on a host (scripts/deb.py, packaging/rpm/elsa.spec).

    python scripts/package_files.py ROOT WHEELS PYTHON     # what the spec does, without the network

Needs nothing but the standard library and what is in WHEELS, so that a source package can be
rebuilt anywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from elsa.host import setup  # noqa: E402
from elsa.kernel.acct_paths import ACCT_FILES  # noqa: E402

CARRIED = ROOT / "packaging/python/carried.txt"
WHEELS = ROOT / "build/wheels"
LIBRARY = "usr/lib/elsa"
# Of what the libraries bring: what only pip needs, and what only their own tests need.
NEEDLESS = re.compile(
    r"\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$"
    r"|^(sqlalchemy|alembic)/testing/|^mako/testing/|\.(pyx|pxd|c|h)$"
)
# Of a library that has a wheel for each machine only: what its source package calls its modules,
# which are used where nothing is compiled.
SOURCES = re.compile(r"[^/]+/(?:src/(\w+/[\w.]+\.(?:py|typed))|(LICENSE\.txt|PKG-INFO))")
# Where folders of the repository belong, besides those that an installed elsa has in itself.
FOLDERS = {
    "elsa": f"{LIBRARY}/elsa",
    "sql": f"{LIBRARY}/elsa/sql",
    "migrations": f"{LIBRARY}/elsa/migrations",
    "packaging/cockpit/elsa": "usr/share/cockpit/elsa",
}
# -I: neither the environment nor files of the user who starts it change what it imports.
LAUNCHER = """\
#!{python} -I
import sys

sys.path.insert(0, "/{library}")
from elsa.cli.entry import {door}

{door}()
"""


@dataclass(frozen=True)
class Distribution:
    """How distributions differ."""

    python: str = "/usr/bin/python3"
    units: str = "usr/lib/systemd/system"
    accounting: str = "acct.service"
    acct_file: Path = ACCT_FILES[0]
    only_root_reads: bool = False
    """The accounting file."""
    zsh: str = "vendor-completions"


# Debhelper of Debian 12 looks for units in lib/ alone.
DEBIAN = Distribution(units="lib/systemd/system")


def red_hat(python: str) -> Distribution:
    """Fedora, Red Hat Enterprise Linux and its clones."""
    return Distribution(
        python=python,
        accounting="psacct.service",
        acct_file=ACCT_FILES[1],
        only_root_reads=True,
        zsh="site-functions",
    )


def lay_out(root: Path, carried: list[Path], distribution: Distribution) -> None:
    """Put all files into a folder as they will be on the host."""
    for archive in carried:
        _unpack(archive, root / LIBRARY)
    for name, place in FOLDERS.items():
        shutil.copytree(ROOT / name, root / place, ignore=shutil.ignore_patterns("__pycache__"))
    _add_host_files(root, distribution)
    # Made of the commands, with the libraries that are carried; they leave no .pyc there.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root / LIBRARY))
    from elsa.cli.completion import PROGRAMS
    from scripts import completions, man

    man.write(root / "usr/share/man/man1")
    with tempfile.TemporaryDirectory() as folder:
        for path, place in completions.write(Path(folder)):
            target = root / "usr" / place.replace("vendor-completions", distribution.zsh)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (root / "usr/bin").mkdir(parents=True)
    for program in PROGRAMS:
        path = root / "usr/bin" / program
        door = program.replace("-", "_")
        path.write_text(LAUNCHER.format(python=distribution.python, library=LIBRARY, door=door))
        path.chmod(0o755)


def _unpack(archive: Path, library: Path) -> None:
    """Add a library, given as a wheel or, where its wheels are compiled, as its source package."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            names = [name for name in wheel.namelist() if not NEEDLESS.search(name)]
            wheel.extractall(library, names)  # noqa: S202 (their hashes are pinned)
        return
    info = library / f"{archive.name.removesuffix('.tar.gz')}.dist-info"
    with tarfile.open(archive) as source:
        for member in source:
            match = SOURCES.fullmatch(member.name)
            content = source.extractfile(member) if match else None
            if match is None or content is None:
                continue
            module, other = match.groups()
            path = library / module if module else info / other.replace("PKG-INFO", "METADATA")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def _add_host_files(root: Path, distribution: Distribution) -> None:
    """Units, settings and what makes the user and its folder."""
    places = {
        "elsa.sysusers": "usr/lib/sysusers.d/elsa.conf",
        "elsa.tmpfiles": "usr/lib/tmpfiles.d/elsa.conf",
        "elsa.toml": "etc/elsa/elsa.toml",
        "acct.service.d.conf": f"{distribution.units}/{distribution.accounting}.d/elsa.conf",
    }
    texts = {
        places.get(path.name, f"{distribution.units}/{path.name}"): path.read_text()
        for path in (ROOT / "packaging/host").iterdir()
        if path.name in places or path.suffix in (".service", ".timer")
    }
    texts[places["elsa.toml"]] = setup.with_acct_file(
        texts[places["elsa.toml"]], str(distribution.acct_file)
    )
    if distribution.only_root_reads:
        texts[f"{distribution.units}/elsa-ingest.service.d/elsa.conf"] = setup.READ_ALL
    for place, text in texts.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def carried() -> list[Path]:
    """The archives of carried.txt, which are fetched once."""
    pins = re.findall(r"^(\S+)==(\S+) --hash", CARRIED.read_text(), re.MULTILINE)
    paths = []
    for name, version in pins:
        stem = f"{name.replace('-', '_')}-{version}"
        suffix = ".tar.gz" if name == "markupsafe" else "-py3-none-any.whl"
        paths.append(WHEELS / f"{stem}{suffix}")
    if not all(path.exists() for path in paths):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        # For any machine, so that no wheel with compiled code fits.
        pure = ["--only-binary", ":all:", "--no-binary", "markupsafe", "--implementation", "py"]
        pure += ["--abi", "none", "--platform", "any", "--python-version", "3.11"]
        what = ["--no-deps", "--require-hashes", "--requirement", str(CARRIED)]
        subprocess.run([*pip, *pure, *what, "--dest", str(WHEELS)], check=True)
    return paths


def epoch() -> int:
    """The time that all files get: that of the commit, unless SOURCE_DATE_EPOCH is another."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    show = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def require(programs: dict[str, str]) -> None:
    """Install what is missing of these programs, each in its Debian package, where root may; else
    say what to do.
    """
    missing = [package for program, package in programs.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        sys.exit(f"install, as root: apt-get install {' '.join(missing)}")
    print("installing", *missing, file=sys.stderr)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if not _apt(install):
        _apt(["apt-get", "update", "-qq"])
        if not _apt(install):
            sys.exit("they cannot be installed")


def _apt(command: list[str]) -> bool:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    nowhere = subprocess.DEVNULL
    done = subprocess.run(command, check=False, env=environ, stdin=nowhere, stdout=nowhere)
    return not done.returncode


if __name__ == "__main__":
    folder, wheels, interpreter = sys.argv[1:]
    archives = [*Path(wheels).glob("*.whl"), *Path(wheels).glob("markupsafe-*.tar.gz")]
    lay_out(Path(folder), archives, red_hat(interpreter))
