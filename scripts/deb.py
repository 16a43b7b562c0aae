"""Build the Debian package, one for all releases and machines: `python scripts/deb.py [VERSION
[FOLDER]]` writes build/elsa_VERSION_all.deb and prints its path.

scripts/package_files.py lays out the files; debhelper does what is Debian's own (packaging/debian).
The same commit gives the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from elsa import __version__  # noqa: E402
from scripts import package_files  # noqa: E402

DEBIAN = ROOT / "packaging/debian"


def main() -> None:
    """Build it."""
    version = sys.argv[1] if len(sys.argv) > 1 else __version__
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "build"
    package_files.require({"dh": "debhelper", "dh_python3": "dh-python"})
    epoch = package_files.epoch()
    folder = target / "deb" / f"elsa-{version}"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    package_files.lay_out(folder / "root", package_files.carried(), package_files.DEBIAN)
    _add_debian(folder, version, epoch)
    for path in folder.rglob("*"):  # else the time of a file is that of its checkout
        os.utime(path, (epoch, epoch))
    subprocess.run(
        ["debian/rules", "binary"],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "DEB_RULES_REQUIRES_ROOT": "no"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (package,) = folder.parent.glob("*.deb")
    print(package.replace(target / package.name))


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
        for info in sorted((folder / "root" / package_files.LIBRARY).glob("*.dist-info")):
            # Those that are not found are texts in /usr/share/common-licenses of every Debian.
            for name in ("licenses/LICENSE", "licenses/LICENSE.txt", "LICENSE.txt"):
                if (info / name).exists():
                    text = (info / name).read_text().rstrip()
                    copyright_.write(f"\n\n{info.stem}\n\n{text}\n")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("README.md", "SECURITY.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)


if __name__ == "__main__":
    main()
