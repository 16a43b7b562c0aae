"""Which hierarchy is followed on hosts with version 2 alone, hybrid and version 1 alone; groups and
their files in a made-up tree.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elsa.errors import UnavailableError
from elsa.kernel.cgroups import Hierarchy, find_hierarchy, invocation_id, read_files, walk

UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
PART = "30 23 0:26 /lxc/a /mnt/part rw - cgroup2 cgroup2 rw\n"
HYBRID = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n"
)
LEGACY = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"


def proc(folder: Path, mounts: str, own: str) -> Path:
    (folder / "self").mkdir()
    (folder / "self/mountinfo").write_text(mounts)
    (folder / "self/cgroup").write_text(own)
    return folder


@pytest.mark.parametrize(
    ("mounts", "own", "expected"),
    [
        (UNIFIED, "0::/\n", Hierarchy(Path("/sys/fs/cgroup"), 0, sampled=True)),
        (PART + UNIFIED, "0::/\n", Hierarchy(Path("/sys/fs/cgroup"), 0, sampled=True)),
        (
            HYBRID,
            "9:name=systemd:/\n8:pids:/\n0::/\n",
            Hierarchy(Path("/sys/fs/cgroup/uni fied"), 0, sampled=True),
        ),
        (
            HYBRID,
            "9:net_cls,perf_event:/\n0::/\n",
            Hierarchy(Path("/sys/fs/cgroup/uni fied"), 0, sampled=False),
        ),
        (
            LEGACY,
            "9:cpu:/\n1:name=systemd:/\n",
            Hierarchy(Path("/sys/fs/cgroup/systemd"), 1, sampled=False),
        ),
    ],
)
def test_version_2_is_followed_and_else_the_hierarchy_of_systemd(
    tmp_path: Path, mounts: str, own: str, expected: Hierarchy
) -> None:
    assert find_hierarchy(proc(tmp_path, mounts, own)) == expected


@pytest.mark.parametrize("mounts", ["", PART])
def test_host_without_control_groups_is_reported(tmp_path: Path, mounts: str) -> None:
    with pytest.raises(UnavailableError, match="neither cgroup2 nor"):
        find_hierarchy(proc(tmp_path, mounts, ""))
    with pytest.raises(UnavailableError, match="No such file"):
        find_hierarchy(tmp_path / "nowhere")


def test_walk_yields_parents_before_children(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "cgroup.procs").touch()
    found = list(walk(tmp_path))
    assert {path: number for number, path in found} == {
        "/": tmp_path.stat().st_ino,
        "/a": (tmp_path / "a").stat().st_ino,
        "/a/b": (tmp_path / "a/b").stat().st_ino,
        "/c": (tmp_path / "c").stat().st_ino,
    }
    paths = [path for _, path in found]
    assert paths[0] == "/"
    assert paths.index("/a") < paths.index("/a/b")


def test_walk_of_no_tree_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is cgroup2 mounted"):
        list(walk(tmp_path / "nowhere"))


def test_file_of_a_group_is_read_whole_and_a_missing_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    content = b"8:0 rbytes=1\n" * 10_000
    (tmp_path / "a/io.stat").write_bytes(content)
    names = ("io.stat", "memory.peak")
    assert read_files(tmp_path / "a", names) == [content, None]
    assert read_files(tmp_path / "a", names, (tmp_path / "a").stat().st_ino) == [content, None]
    assert read_files(tmp_path / "a", names, 1) is None
    assert read_files(tmp_path / "gone", names) is None


def test_invocation_is_an_attribute_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert invocation_id(tmp_path, "/a") is None
    try:
        os.setxattr(tmp_path / "a", "user.invocation_id", b"0123456789abcdef" * 2)
    except OSError as error:
        pytest.skip(f"no user attributes in {tmp_path}: {error.strerror}")
    assert invocation_id(tmp_path, "/a") == "0123456789abcdef" * 2
    os.setxattr(tmp_path / "a", "user.invocation_id", b"something else")
    assert invocation_id(tmp_path, "/a") is None
