"""Build the source RPM, for Fedora and Red Hat Enterprise Linux 9 and 10: `python scripts/srpm.py
[FOLDER]` writes build/elsa-VERSION-1.src.rpm and prints its path. `rpmbuild --rebuild` makes the
package of it, without the network.

It has the source distribution, the libraries that the package carries
(packaging/python/carried.txt) and packaging/rpm/elsa.spec. The same commit gives the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from elsa import __version__  # noqa: E402
from elsa.host import setup  # noqa: E402
from scripts import package_files  # noqa: E402


def main() -> None:
    """Build it."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build"
    package_files.require({"rpmbuild": "rpm"})
    epoch = package_files.epoch()
    folder = (target / "srpm").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = _source(folder, epoch)
    carried = [Path(shutil.copy(path, folder)) for path in package_files.carried()]
    spec = folder / "elsa.spec"
    spec.write_text(_spec(source, carried, epoch))
    for path in folder.iterdir():
        path.chmod(0o644)
        os.utime(path, (epoch, epoch))
    settings = {
        # The package has the spec with these written out, so the folder must not be in it.
        **{f"_{name}dir": "." for name in ("top", "source", "spec", "srcrpm")},
        "_buildhost": "localhost",
        "use_source_date_epoch_as_buildtime": 1,
        "dist": "%{nil}",
    }
    defines = [f"--define={name} {value}" for name, value in settings.items()]
    subprocess.run(
        ["rpmbuild", "-bs", "--nodeps", *defines, spec.name],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (package,) = folder.glob("*.src.rpm")
    print(package.replace(target / package.name))


def _source(folder: Path, epoch: int) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist"]
    subprocess.run(
        [*build, "--directory", str(folder)],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        check=True,
        stderr=subprocess.DEVNULL,
    )
    (archive,) = folder.glob("*.tar.gz")
    return archive


def _spec(source: Path, carried: list[Path], epoch: int) -> str:
    """The spec, with what it takes from elsewhere."""
    pins = re.findall(r"^(\S+)==(\S+) ", package_files.CARRIED.read_text(), re.MULTILINE)
    control = (ROOT / "packaging/debian/control").read_text()
    (maintainer,) = re.findall(r"^Maintainer: (.*)$", control, re.MULTILINE)
    values = {
        "version": __version__,
        "timers": " ".join(setup.TIMERS),
        "source": source.name,
        "folder": source.name.removesuffix(".tar.gz"),
        "sources": "\n".join(
            f"Source{number}: {path.name}" for number, path in enumerate(carried, 1)
        ),
        "bundled": "\n".join(
            f"Provides: bundled(python3dist({name})) = {version}" for name, version in pins
        ),
        # The names of days and months are English whatever the locale, as Python never sets it.
        "date": time.strftime("%a %b %d %Y", time.gmtime(epoch)),
        "maintainer": maintainer,
    }
    text = (ROOT / "packaging/rpm/elsa.spec").read_text()
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)


if __name__ == "__main__":
    main()
