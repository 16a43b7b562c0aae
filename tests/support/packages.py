"""What the tests of the Debian package and of the RPM have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOST = Path(__file__).parents[2] / "packaging/host"
# Below the root of a host, of both packages; the paths of what distributions place differently are
# in their own tests.
FILES = (
    *("usr/bin/elsa", "usr/bin/elsa-job", "usr/bin/elsa-jobd", "usr/bin/elsa-ingest"),
    *("usr/bin/elsa-report", "etc/elsa/elsa.toml", "usr/share/cockpit/elsa/manifest.json"),
    *("usr/lib/sysusers.d/elsa.conf", "usr/lib/tmpfiles.d/elsa.conf"),
    *("usr/lib/elsa/elsa/migrations/versions/0001_initial.sql", "usr/lib/elsa/sqlalchemy"),
    *("usr/lib/elsa/elsa/sql/job", "usr/lib/elsa/elsa/web/templates"),
    *(
        "usr/share/bash-completion/completions/elsa",
        "usr/share/fish/vendor_completions.d/elsa.fish",
    ),
)


def assert_whole(root: Path) -> None:
    """All that both packages have is in its place."""
    assert [name for name in FILES if not (root / name).exists()] == []
    units = {path.name for path in (root / "usr/lib/systemd/system").glob("elsa*.[st]*")}
    units -= {"elsa-ingest.service.d"}  # on Red Hat
    assert units == {path.name for path in [*HOST.glob("*.service"), *HOST.glob("*.timer")]}
    assert not [path for path in root.rglob("*") if path.suffix in (".so", ".pth")]


def run(root: Path, *arguments: str) -> str:
    """Run `elsa` of an unpacked package, with nothing but what the package has; what it printed."""
    launcher = root / "elsa-here"
    library = str(root / "usr/lib/elsa")
    text = (root / "usr/bin/elsa").read_text()
    launcher.write_text(text.replace('"/usr/lib/elsa"', repr(library)))
    command = [sys.executable, "-IS", str(launcher), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_works(root: Path, warehouse: Path) -> None:
    """Commands, migrations and pages run with the libraries that the package carries."""
    assert run(root, "--version").startswith("elsa, version ")
    assert "Usage: elsa check" in run(root, "check", "--help")
    run(root, "db", "upgrade", "--db", str(warehouse))
    assert warehouse.stat().st_size > 0
    library = str(root / "usr/lib/elsa")
    program = (
        f"import sys; sys.path.insert(0, {library!r}); import elsa.web.server as server;"
        f"assert server.Flask.__module__ == 'flask.app' and {library!r} in server.__file__"
    )
    subprocess.run([sys.executable, "-IS", "-c", program], check=True)
