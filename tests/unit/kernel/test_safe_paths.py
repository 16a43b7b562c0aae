"""Nobody else can put another file in the place of ours, or have us write where he likes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from elsa.errors import ConfigError, ElsaError, PrivilegeError, RetryError
from elsa.kernel import safe_paths

NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "a" / "b"
    made.mkdir(parents=True)
    return made


def test_a_place_of_ours_is_safe_also_below_a_sticky_folder_and_before_it_exists(
    folder: Path,
) -> None:
    folder.parent.chmod(0o1777)
    safe_paths.check(folder / "none" / "elsa.db")
    (folder / "elsa.db").touch()
    safe_paths.check(folder / "elsa.db")


@root_only
@pytest.mark.parametrize("which", ["a", "a/b", "a/b/elsa.db"])
def test_what_belongs_to_another_is_refused_by_his_name_wherever_it_stands_on_the_way(
    folder: Path, which: str
) -> None:
    (folder / "elsa.db").touch()
    given = folder.parent.parent / which
    os.chown(given, NOBODY, NOBODY)
    with pytest.raises(PrivilegeError, match=f"{given}: belongs to user .*run as user"):
        safe_paths.check(folder / "elsa.db")


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_folder_on_the_way_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.parent.chmod(mode)
    with pytest.raises(
        PrivilegeError, match="others can write this folder, so nothing below it is safe"
    ):
        safe_paths.check(folder / "elsa.db")


@root_only
def test_root_trusts_no_group_but_its_own(folder: Path) -> None:
    folder.chmod(0o775)
    assert not safe_paths.others_write(folder)
    os.chown(folder, 0, NOBODY)
    assert safe_paths.others_write(folder)


@root_only
def test_a_link_is_as_safe_as_its_owner_its_folder_and_where_it_leads(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    link = folder / "elsa.db"
    link.symlink_to("../../mine/elsa.db")
    safe_paths.check(link)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(PrivilegeError, match=f"{link}: belongs to"):
        safe_paths.check(link)
    os.chown(link, 0, 0, follow_symlinks=False)
    os.chown(tmp_path / "mine", NOBODY, NOBODY)
    with pytest.raises(PrivilegeError, match="mine: belongs to"):
        safe_paths.check(link)


def test_links_in_a_circle_are_a_setting_to_mend(folder: Path) -> None:
    (folder / "one").symlink_to("other")
    (folder / "other").symlink_to("one")
    with pytest.raises(ConfigError, match="too many symbolic links"):
        safe_paths.check(folder / "one")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.mkdir, "a folder"),
        (os.mkfifo, "a FIFO"),
        (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "a socket"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
    ],
)
def test_what_is_no_file_is_named(folder: Path, make: Callable[[Path], object], kind: str) -> None:
    make(folder / "thing")
    with pytest.raises(ConfigError, match=f"is {kind}, where a file is needed"):
        safe_paths.refuse_what_is_no_file(folder / "thing", "a file")


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (30, RetryError, "read-only file system"),
        (28, RetryError, "no space left"),
        (122, RetryError, "disk quota"),
        (13, PrivilegeError, "Permission denied; do so"),
        (20, ConfigError, "Not a directory; do so"),
    ],
)
def test_a_refusal_of_the_kernel_is_reported_with_what_to_do(
    number: int, kind: type[ElsaError], words: str
) -> None:
    told = safe_paths.translated(OSError(number, os.strerror(number)), "here", "do so")
    assert type(told) is kind
    assert words in str(told)


def test_a_folder_that_can_be_written_or_only_not_by_us_is_not_called_read_only(
    tmp_path: Path,
) -> None:
    assert not safe_paths.read_only(tmp_path)
    assert not safe_paths.read_only(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_refuses_to_be_written_is_called_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    assert safe_paths.read_only(tmp_path)


def test_the_same_file_is_recognized_by_any_path(tmp_path: Path) -> None:
    here, there, none = tmp_path / "here", tmp_path / "there", tmp_path / "none"
    here.touch()
    there.symlink_to(here)
    assert safe_paths.same_file(here, there)
    assert safe_paths.same_file(none, none)
    assert not safe_paths.same_file(here, none)
    assert not safe_paths.same_file(none, here)
    there.unlink()
    there.touch()
    assert not safe_paths.same_file(here, there)
