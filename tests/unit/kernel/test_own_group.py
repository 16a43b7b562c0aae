"""A control group for one command: where it cannot be made that is said, and what a program that
was killed left behind is removed. tests/kernel/test_run.py makes real groups.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from elsa.errors import PrivilegeError, UnavailableError
from elsa.kernel import own_group
from elsa.kernel.own_group import OwnGroup, remove_left_behind


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of a process in /app.slice, below a made-up mount of cgroup2."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "self/mountinfo").write_text(
        f"30 23 0:26 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n"
    )
    (folder / "self/cgroup").write_text("0::/app.slice\n")
    (tmp_path / "cgroup/app.slice").mkdir(parents=True)
    return folder


def test_group_that_counts_no_cpu_time_is_not_used_and_removed(proc: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no cpu\.stat"):
        own_group.make(proc)
    assert list((tmp_path / "cgroup/app.slice").iterdir()) == []


def test_group_that_may_not_be_made_says_what_to_do(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(PrivilegeError, match="needs root or a delegated group"):
        own_group.make(proc)


def test_host_without_version_2_has_no_group(proc: Path) -> None:
    (proc / "self/mountinfo").write_text(
        "30 23 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    )
    (proc / "self/cgroup").write_text("1:name=systemd:/app.slice\n")
    with pytest.raises(UnavailableError, match="cgroup2 is not mounted"):
        own_group.make(proc)


def test_group_is_removed_with_the_empty_groups_in_it(tmp_path: Path) -> None:
    group = tmp_path / "elsa-run-5"
    (group / "a/b").mkdir(parents=True)
    assert OwnGroup(group).remove()
    assert not group.exists()
    assert OwnGroup(group).remove()


def test_group_with_processes_is_kept(tmp_path: Path) -> None:
    below = tmp_path / "elsa-run-5/a"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text("7\n8\n")
    group = OwnGroup(below.parent)
    assert not group.remove()
    assert group.processes() == 2


def test_only_empty_groups_of_programs_that_have_ended_are_left_behind(
    proc: Path, tmp_path: Path
) -> None:
    (proc / "6").mkdir()
    names = ("elsa-run-5", "elsa-run-6", "elsa-run-7", "elsa-run-x", "other")
    for name in names:
        (tmp_path / "groups" / name).mkdir(parents=True)
    (tmp_path / "groups/elsa-run-7/cgroup.procs").write_text("9\n")
    for name in names:
        remove_left_behind(tmp_path / "groups" / name, proc)
    left = sorted(path.name for path in (tmp_path / "groups").iterdir())
    assert left == ["elsa-run-6", "elsa-run-7", "elsa-run-x", "other"]
