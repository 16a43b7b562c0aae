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

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / "packaging/debian/carried.txt"
# What Debian has itself: mako for alembic, with markupsafe; zstd is not needed for its rotation.
OF_DEBIAN = {"mako", "markupsafe", "backports-zstd"}

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
    the_programs_run_with_the_libraries_of_the_package(root, tmp_path)
    what_it_carries_is_what_the_programs_need(root)
    lintian_finds_no_error(package)


def everything_is_in_its_place(root: Path) -> None:
    wanted = (
        *("usr/bin/elsa", "usr/bin/elsa-job", "usr/bin/elsa-jobd", "usr/bin/elsa-ingest"),
        *("usr/bin/elsa-report", "usr/share/man/man1/elsa-report-sa.1.gz"),
        *("etc/elsa/elsa.toml", "usr/lib/sysusers.d/elsa.conf", "usr/lib/tmpfiles.d/elsa.conf"),
        *("usr/lib/elsa/elsa/migrations/versions/0001_initial.sql", "usr/lib/elsa/sqlalchemy"),
        *("usr/share/bash-completion/completions/elsa", "usr/share/zsh/vendor-completions/_elsa"),
        *("usr/share/fish/vendor_completions.d/elsa.fish", "usr/share/doc/elsa/operations.md"),
        "usr/lib/systemd/system/acct.service.d/elsa.conf",
    )
    assert [name for name in wanted if not (root / name).exists()] == []
    units = {path.name for path in (root / "usr/lib/systemd/system").glob("elsa*")}
    host = ROOT / "packaging/host"
    assert units == {path.name for path in [*host.glob("*.service"), *host.glob("*.timer")]}
    assert (root / "DEBIAN/conffiles").read_text() == "/etc/elsa/elsa.toml\n"


def nothing_is_compiled_and_nothing_is_for_one_release_only(root: Path) -> None:
    control = (root / "DEBIAN/control").read_text()
    assert "\nVersion: 9.9\n" in control
    assert "\nArchitecture: all\n" in control
    assert not [path for path in root.rglob("*") if path.suffix in (".so", ".pyc", ".pth")]


def the_programs_run_with_the_libraries_of_the_package(root: Path, tmp_path: Path) -> None:
    launcher = tmp_path / "elsa"
    text = (root / "usr/bin/elsa").read_text()
    launcher.write_text(text.replace('"/usr/lib/elsa"', repr(str(root / "usr/lib/elsa"))))
    library = str(root / "usr/lib/elsa")
    program = (
        f"import sys; sys.path.insert(0, {library!r}); import elsa.web.server as server;"
        f"assert server.Flask.__module__ == 'flask.app' and {library!r} in server.__file__"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
    command = [sys.executable, "-I", str(launcher), "db", "upgrade", "--db", f"{tmp_path}/elsa.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "elsa.db").stat().st_size > 0


def what_it_carries_is_what_the_programs_need(root: Path) -> None:
    pinned = r"^(\S+)==(\S+) --hash=sha256:\w{64}$"
    carried = dict(re.findall(pinned, CARRIED.read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["web"]
    for info in (root / "usr/lib/elsa").glob("*.dist-info/METADATA"):
        needed += re.findall(r"^Requires-Dist: (.*)$", info.read_text(), re.MULTILINE)
    requirements = [Requirement(text) for text in needed]
    for requirement in requirements:
        name = requirement.name.lower().replace("_", "-")
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and name not in OF_DEBIAN:
            assert name in carried, requirement
            assert requirement.specifier.contains(carried[name]), requirement


def lintian_finds_no_error(package: str) -> None:
    if shutil.which("lintian") is None:
        print("lintian is not installed, so it was not asked")
        return
    lintian = ["lintian", "--fail-on", "error", "--allow-root", package]
    done = subprocess.run(lintian, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
