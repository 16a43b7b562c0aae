"""Build all that is released of a version: `python scripts/release.py [FOLDER]` fills
dist/VERSION: source distribution, wheel, Debian package, source RPM, Webmin module, what changed,
and SHA256SUMS.

Everything is built twice, each time from a fresh copy of the commit in a folder of its own, and
must be equal to the byte.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from elsa import __version__  # noqa: E402
from scripts import package_files  # noqa: E402


def main() -> None:
    """Build it."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / __version__
    refuse_uncommitted(ROOT)
    changes = changes_in((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)
    package_files.carried()  # once, not by each copy
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_built(Path(folder, name)) for name in ("first", "another"))
        sums, others = checksums(first), checksums(second)
        if sums != others:
            differing = sorted(name for name in sums | others if sums.get(name) != others.get(name))
            sys.exit(f"built twice from one commit, these differ: {', '.join(differing)}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(first, target)
    (target / "CHANGES.md").write_text(changes, encoding="utf-8")
    lines = [f"{digest}  {name}\n" for name, digest in checksums(target).items()]
    (target / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")
    print(target)


def refuse_uncommitted(root: Path) -> None:
    """End with a line about it if the tree is not that of the commit."""
    status = ["git", "status", "--porcelain"]
    done = subprocess.run(status, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{root}: no git repository, so there is no commit to release")
    if done.stdout:
        path = done.stdout.splitlines()[0][3:]
        sys.exit(f"commit or remove what has changed first, such as {path}")


def changes_in(changelog: str, version: str) -> str:
    """The section of a version; ends with a line about it if there is none."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    section = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if section is None:
        sys.exit(f'CHANGELOG.md has no heading "## [{version}] - YYYY-MM-DD"')
    if not section[1].strip():
        sys.exit(f"CHANGELOG.md says nothing about {version}")
    return section[0].strip() + "\n"


def checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def _built(folder: Path) -> Path:
    """Build all from a fresh copy of the commit; the folder with the files."""
    copy, results = folder / "elsa", folder / "results"
    results.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(copy, filter="data")
    shutil.copytree(package_files.WHEELS, copy / "build/wheels")
    python, to = sys.executable, str(results)
    for command in (
        [python, "-m", "hatchling", "build", "--directory", to],
        [python, "scripts/deb.py", __version__, to],
        [python, "scripts/srpm.py", to],
        [python, "scripts/webmin.py"],
    ):
        subprocess.run(
            command,
            cwd=copy,
            env={
                **os.environ,
                "PYTHONPATH": str(copy),
                "SOURCE_DATE_EPOCH": str(package_files.epoch()),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if "hatchling" in command else None,
            check=True,
        )
    shutil.copy(copy / "build/elsa.wbm.gz", results / f"elsa-{__version__}.wbm.gz")
    return results


if __name__ == "__main__":
    main()
