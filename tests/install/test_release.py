"""A release is made of a commit whose changes are listed, and of nothing else. That it is the same
to the byte each time, `make release` proves itself.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts import release

CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.2.0] - 2027-01-31

### Added

* A report.

## [1.1.0] - 2026-12-24

## [1.0.0] - 2026-12-01

* First.
"""


def test_the_changes_of_a_version_are_its_section() -> None:
    assert release.changes_in(CHANGELOG, "1.2.0") == (
        "## [1.2.0] - 2027-01-31\n\n### Added\n\n* A report.\n"
    )
    assert release.changes_in(CHANGELOG, "1.0.0") == "## [1.0.0] - 2026-12-01\n\n* First.\n"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.3.0", 'CHANGELOG.md has no heading "## [1.3.0] - YYYY-MM-DD"'),
        ("1.2", 'CHANGELOG.md has no heading "## [1.2] - YYYY-MM-DD"'),
        ("1.1.0", "CHANGELOG.md says nothing about 1.1.0"),
    ],
)
def test_a_version_without_changes_is_refused_in_one_line(version: str, message: str) -> None:
    with pytest.raises(SystemExit) as refused:
        release.changes_in(CHANGELOG, version)
    assert str(refused.value) == message


def git(folder: Path, *arguments: str) -> None:
    names = ("-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_tree_that_is_not_that_of_the_commit_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no git repository"):
        release.refuse_uncommitted(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    with pytest.raises(SystemExit) as refused:
        release.refuse_uncommitted(tmp_path)
    assert str(refused.value) == "commit or remove what has changed first, such as a"
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "--message=a")
    release.refuse_uncommitted(tmp_path)
    (tmp_path / "a").write_text("2")
    with pytest.raises(SystemExit, match=r"such as a$"):
        release.refuse_uncommitted(tmp_path)
