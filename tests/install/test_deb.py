"""The Debian package has all that it needs, works without Debian's versions of the libraries that
it carries, and has nothing compiled in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import packages

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / "packaging/python/carried.txt"
# Debian never makes accounting files that it would be needed for.
NOT_NEEDED = {"backports-zstd"}

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or (os.geteuid() != 0 and shutil.which("dh") is None),
    reason="debhelper is not installed",
)


def test_the_package_is_whole_and_works(tmp_path: Path) -> None:
    # Building takes a while, so it is done once; packing it tightly would take half of that.
    done = subprocess.run(
        [sys.executable, "scripts/deb.py", "9.9", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "DPKG_DEB_COMPRESSOR_LEVEL": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    package, root = done.stdout.strip(), tmp_path / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", package, str(root)], check=True)
    everything_is_in_its_place(root)
    nothing_is_compiled_and_nothing_is_for_one_release_only(root)
    packages.assert_works(root, tmp_path / "elsa.db")
    what_it_carries_is_what_the_programs_need(root)
    lintian_finds_no_error(package)


def everything_is_in_its_place(root: Path) -> None:
    packages.assert_whole(root)
    wanted = ("acct.service.d/elsa.conf", "elsa-jobd.service")
    assert all((root / "usr/lib/systemd/system" / name).exists() for name in wanted)
    assert (root / "usr/share/man/man1/elsa-report-sa.1.gz").exists()
    assert (root / "usr/share/zsh/vendor-completions/_elsa").exists()
    assert (root / "usr/share/doc/elsa/operations.md").exists()
    assert (root / "DEBIAN/conffiles").read_text() == "/etc/elsa/elsa.toml\n"


def nothing_is_compiled_and_nothing_is_for_one_release_only(root: Path) -> None:
    control = (root / "DEBIAN/control").read_text()
    assert "\nVersion: 9.9\n" in control
    assert "\nArchitecture: all\n" in control
    assert not [*root.rglob("*.pyc")]


def what_it_carries_is_what_the_programs_need(root: Path) -> None:
    pinned = r"^(\S+)==(\S+) --hash=sha256:\w{64}$"
    carried = dict(re.findall(pinned, CARRIED.read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"]
    needed += project["optional-dependencies"]["web"] + project["optional-dependencies"]["fleet"]
    for info in (root / "usr/lib/elsa").glob("*.dist-info/METADATA"):
        needed += re.findall(r"^Requires-Dist: (.*)$", info.read_text(), re.MULTILINE)
    requirements = [Requirement(text) for text in needed]
    for requirement in requirements:
        name = requirement.name.lower().replace("_", "-")
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and name not in NOT_NEEDED:
            assert name in carried, requirement
            assert requirement.specifier.contains(carried[name]), requirement


def lintian_finds_no_error(package: str) -> None:
    if shutil.which("lintian") is None:
        print("lintian is not installed, so it was not asked")
        return
    lintian = ["lintian", "--fail-on", "error", "--allow-root", package]
    done = subprocess.run(lintian, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
