"""What is installed is whole: the wheel carries sql/ and migrations/ and works away from the
repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_carries_every_view_and_every_migration(unpacked: Path) -> None:
    for name in ("sql", "migrations"):
        mine = {
            path.relative_to(ROOT / name)
            for path in (ROOT / name).rglob("*")
            if path.suffix in (".sql", ".json", ".py", ".mako")
        }
        theirs = {
            path.relative_to(unpacked / "elsa" / name)
            for path in (unpacked / "elsa" / name).rglob("*")
            if path.is_file()
        }
        assert mine == theirs


def test_wheel_carries_what_the_web_pages_are_made_of(unpacked: Path) -> None:
    for folder in ("templates", "static"):
        ours = {path.name for path in (ROOT / "elsa/web" / folder).iterdir()}
        assert len(ours) > 2
        assert ours == {path.name for path in (unpacked / "elsa/web" / folder).iterdir()}


def test_wheel_carries_a_man_page_of_every_command(unpacked: Path) -> None:
    pages = {path.name for path in unpacked.glob("*.data/data/share/man/man1/*")}
    assert {"elsa.1", "elsa-job-run.1", "elsa-report-sa.1"} <= pages
    assert len(pages) > 25


def test_warehouse_can_be_made_and_reported_on_away_from_the_repository(
    unpacked: Path, tmp_path: Path
) -> None:
    def elsa(*arguments: str) -> str:
        program = "import sys; from elsa.cli.main import elsa; elsa()"
        environ = {**os.environ, "PYTHONPATH": str(unpacked), "ELSA_DB": str(tmp_path / "elsa.db")}
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environ,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [sys.executable, "-c", "import elsa; print(elsa.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        text=True,
        capture_output=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(unpacked)
    elsa("db", "upgrade")
    elsa("ingest", "--host", "sample", str(ROOT / "tests/data/sample.pacct"))
    assert "command" in elsa("report", "commands", "--format", "csv").splitlines()[0]
