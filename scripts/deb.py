"""Build the Debian package, one for all releases and machines: `python scripts/deb.py [VERSION
[FOLDER]]` writes build/elsa_VERSION_all.deb and prints its path.

The package has what the wheel of ELSA has, in a folder of its own, with the libraries of which
Debian's versions are too old. This lays out the files; debhelper does what is Debian's own
(packaging/debian). The same commit gives the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from elsa import __version__  # noqa: E402
from elsa.cli.completion import PROGRAMS  # noqa: E402

DEBIAN = ROOT / "packaging/debian"
CARRIED = DEBIAN / "carried.txt"
WHEELS = ROOT / "build/wheels"
LIBRARY = "usr/lib/elsa"
# What of a wheel only pip needs, and what only the tests of a library need.
NEEDLESS = re.compile(
    r"\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$"
    r"|^(sqlalchemy|alembic)/testing/|\.(pyx|pxd|c|h)$"
)
# Where the files of packaging/host belong; debhelper of Debian 12 looks for units in lib/ alone.
UNITS = "lib/systemd/system"
PLACES = {
    "elsa.sysusers": "usr/lib/sysusers.d/elsa.conf",
    "elsa.tmpfiles": "usr/lib/tmpfiles.d/elsa.conf",
    "elsa.toml": "etc/elsa/elsa.toml",
    "acct.service.d.conf": f"{UNITS}/acct.service.d/elsa.conf",
}
# -I: neither the environment nor files of the user who starts it change what it imports.
LAUNCHER = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{library}")
from elsa.cli.entry import {door}

{door}()
"""


def main() -> None:
    """Build it."""
    version = sys.argv[1] if len(sys.argv) > 1 else __version__
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "build"
    _require_debhelper()
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _time_of_commit()
    folder = target / "deb" / f"elsa-{version}"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    _lay_out(folder / "root")
    _add_debian(folder, version, int(epoch))
    subprocess.run(
        ["debian/rules", "binary"],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch, "DEB_RULES_REQUIRES_ROOT": "no"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (package,) = folder.parent.glob("*.deb")
    print(package.replace(target / package.name))


def _require_debhelper() -> None:
    """Install debhelper where it is missing and root may; else say what to do."""
    needed = {"dh": "debhelper", "dh_python3": "dh-python"}
    missing = [package for program, package in needed.items() if shutil.which(program) is None]
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


def _time_of_commit() -> str:
    show = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _lay_out(root: Path) -> None:
    """Put the files of the package into a folder as they will be on the host."""
    library = root / LIBRARY
    for wheel in [*_carried_wheels(), _own_wheel(root.parent)]:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not NEEDLESS.search(name)]
            archive.extractall(library, names)
    (data,) = library.glob("*.data")
    shutil.move(data / "data/share", root / "usr/share")
    shutil.rmtree(data)
    host = library / "elsa/host_files"
    for path in host.iterdir():
        place = root / PLACES.get(path.name, f"{UNITS}/{path.name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)
    host.rmdir()
    (root / "usr/bin").mkdir()
    for program in PROGRAMS:
        path = root / "usr/bin" / program
        path.write_text(LAUNCHER.format(library=LIBRARY, door=program.replace("-", "_")))
        path.chmod(0o755)


def _carried_wheels() -> list[Path]:
    """The wheels of carried.txt, which are fetched once."""
    wanted = {
        line.split()[0].replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
        for line in CARRIED.read_text().splitlines()
        if line and not line.startswith("#")
    }
    paths = [WHEELS / name for name in sorted(wanted)]
    if not all(path.exists() for path in paths):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        # For any machine, so that no wheel with compiled code fits.
        pure = ["--only-binary", ":all:", "--implementation", "py", "--abi", "none"]
        pure += ["--platform", "any", "--python-version", "3.11"]
        what = ["--no-deps", "--require-hashes", "--requirement", str(CARRIED)]
        subprocess.run([*pip, *pure, *what, "--dest", str(WHEELS)], check=True)
    return paths


def _own_wheel(folder: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(
        [*build, "--directory", str(folder)], cwd=ROOT, check=True, stderr=subprocess.DEVNULL
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def _add_debian(folder: Path, version: str, epoch: int) -> None:
    """What debhelper reads."""
    debian = folder / "debian"
    shutil.copytree(DEBIAN, debian)
    control = (debian / "control").read_text()
    maintainer = re.search(r"^Maintainer: (.*)$", control, re.MULTILINE)
    assert maintainer is not None  # noqa: S101
    (debian / "changelog").write_text(
        f"elsa ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n"
        f" -- {maintainer[1]}  {formatdate(epoch)}\n"
    )
    with (debian / "copyright").open("a") as copyright_:
        for info in sorted((folder / "root" / LIBRARY).glob("*.dist-info")):
            if not info.name.startswith("elsa"):
                # The others are texts that every Debian has in /usr/share/common-licenses.
                for text in (info / "licenses/LICENSE", info / "licenses/LICENSE.txt"):
                    if text.exists():
                        copyright_.write(f"\n\n{info.stem}\n\n{text.read_text().rstrip()}\n")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("README.md", "SECURITY.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)


if __name__ == "__main__":
    main()
