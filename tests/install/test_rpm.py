"""The source RPM gives a package that has all that it needs, on Fedora and Red Hat."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import packages

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("rpmbuild") is None and (os.geteuid() != 0 or shutil.which("apt-get") is None),
    reason="rpmbuild is not installed",
)
# Neither packed tightly nor searched for binaries, which takes most of the time.
QUICK = {"_binary_payload": "w0.gzdio", "__os_install_post": "%{nil}"}


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_source_package_gives_a_package_that_works(tmp_path: Path) -> None:
    source = output(sys.executable, ROOT / "scripts/srpm.py", tmp_path).strip()
    defines = [f"--define={name} {text}" for name, text in QUICK.items()]
    output("rpmbuild", "--rebuild", "--nodeps", f"--define=_topdir {tmp_path}", *defines, source)
    (package,) = tmp_path.glob("RPMS/noarch/elsa-*.noarch.rpm")
    root = tmp_path / "root"
    root.mkdir()
    output("rpm2archive", package)  # comes with rpm, which cpio does not
    output("tar", "--extract", f"--file={package}.tgz", f"--directory={root}")
    packages.assert_whole(root)
    what_red_hat_has_elsewhere_is_there(root)
    scriptlets_are_shell_and_name_every_unit(package)
    it_depends_on_the_interpreter_that_compiled_it(package, root)
    on_red_hat_9_it_asks_for_a_newer_python(tmp_path / "srpm/elsa.spec")
    settings_and_nothing_else_are_configuration(package)
    packages.assert_works(root, tmp_path / "elsa.db")


def what_red_hat_has_elsewhere_is_there(root: Path) -> None:
    units = root / "usr/lib/systemd/system"
    assert (units / "psacct.service.d/elsa.conf").exists()
    assert not (units / "acct.service.d").exists()
    assert "CAP_DAC_READ_SEARCH" in (units / "elsa-ingest.service.d/elsa.conf").read_text()
    assert (root / "usr/share/zsh/site-functions/_elsa").exists()
    assert [*(root / "usr/share/man/man1").glob("elsa-report-sa.1*")]
    settings = tomllib.loads((root / "etc/elsa/elsa.toml").read_text())
    assert settings == {"acct_file": "/var/account/pacct"}


def scriptlets_are_shell_and_name_every_unit(package: Path) -> None:
    text = output("rpm", "-qp", "--scripts", package)
    scriptlets = re.split(r"^(\w+) scriptlet \(using /bin/sh\):\n", text, flags=re.MULTILINE)
    assert scriptlets[0] == ""
    named = dict(zip(scriptlets[1::2], scriptlets[2::2], strict=True))
    assert {*named} == {
        *("preinstall", "postinstall", "preuninstall", "postuninstall", "posttrans")
    }
    for script in named.values():
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        assert "%{" not in script
    timers = {path.name for path in packages.HOST.glob("*.timer")}
    for name in ("preinstall", "postinstall", "preuninstall", "posttrans"):
        assert {*re.findall(r"elsa-\w+\.timer", named[name])} == timers, name
    assert "systemd-sysusers elsa.conf" in named["postinstall"]


def it_depends_on_the_interpreter_that_compiled_it(package: Path, root: Path) -> None:
    needed = output("rpm", "-qp", "--requires", package).splitlines()
    (version,) = (line.split(" = ")[1] for line in needed if line.startswith("python(abi)"))
    tag = f"cpython-{version.replace('.', '')}"
    modules = [*(root / "usr/lib/elsa").rglob("*.py")]
    compiled = {path.name for path in (root / "usr/lib/elsa").rglob(f"*.{tag}.pyc")}
    assert compiled == {f"{path.stem}.{tag}.pyc" for path in modules}
    assert "psacct" in needed


def on_red_hat_9_it_asks_for_a_newer_python(spec: Path) -> None:
    folder = f"--define=_sourcedir {spec.parent}"
    release_9 = output("rpmspec", "-q", "--buildrequires", folder, "--define=rhel 9", spec)
    assert release_9 == "python3.12\n"
    others = output("rpmspec", "-q", "--buildrequires", folder, "--undefine=rhel", spec)
    assert others == "python3 >= 3.11\n"


def settings_and_nothing_else_are_configuration(package: Path) -> None:
    assert output("rpm", "-qp", "--configfiles", package) == "/etc/elsa/elsa.toml\n"
    flags = output("rpm", "-qp", "--queryformat", r"[%{FILENAMES} %{FILEFLAGS:fflags}\n]", package)
    assert "/etc/elsa/elsa.toml cn\n" in flags
