"""The listening socket stands in a safe place, once, and is given back."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from elsa.control.listener import Listener
from elsa.errors import ConfigError, PrivilegeError, UnavailableError


def leave_stale(path: Path) -> None:
    """What a killed jobd leaves: a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))


def test_any_user_may_ask_whatever_the_umask_is(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with closing(Listener(folder / "run" / "s")):
            assert stat.S_IMODE((folder / "run" / "s").stat().st_mode) == 0o666
            assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o755
            assert stat.S_IMODE((folder / "run" / "s.lock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    leave_stale(folder / "s")
    with closing(Listener(folder / "s")), socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(folder / "s"))


def test_a_second_server_is_refused_and_the_first_goes_on(folder: Path) -> None:
    with closing(Listener(folder / "s")):
        with pytest.raises(UnavailableError, match="another jobd is running"):
            Listener(folder / "s")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(folder / "s"))


def test_a_server_without_its_lock_file_is_still_found_by_its_answer(folder: Path) -> None:
    with closing(Listener(folder / "s")):
        (folder / "s.lock").unlink()
        with pytest.raises(UnavailableError, match="it answers on"):
            Listener(folder / "s")


def test_after_a_refusal_and_after_a_close_the_path_is_free(folder: Path) -> None:
    (folder / "s").touch()
    with pytest.raises(ConfigError, match="is not a socket"):
        Listener(folder / "s")
    assert (folder / "s").exists(), "what is somebody's is left alone"
    (folder / "s").unlink()
    Listener(folder / "s").close()
    assert not (folder / "s").exists()
    Listener(folder / "s").close()


def test_close_leaves_a_socket_that_is_not_its_own(folder: Path) -> None:
    listener = Listener(folder / "s")
    (folder / "s").rename(folder / "away")  # keeps the inode in use
    leave_stale(folder / "s")
    listener.close()
    assert (folder / "s").exists()


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o777, 0o1777])
def test_a_directory_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(PrivilegeError, match="chmod go-w"):
        Listener(folder / "s")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_directory_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, 1234, -1)
    with pytest.raises(PrivilegeError, match="belongs to user 1234"):
        Listener(folder / "s")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("name", ["s", "s.lock"])
def test_what_another_user_put_there_is_refused(folder: Path, name: str) -> None:
    leave_stale(folder / "s")
    (folder / "s.lock").touch()
    os.chown(folder / name, 1234, -1)
    with pytest.raises(PrivilegeError):
        Listener(folder / "s")


def test_a_symbolic_link_in_the_place_of_the_lock_is_not_followed(folder: Path) -> None:
    (folder / "s.lock").symlink_to(folder / "target")
    with pytest.raises(ConfigError):
        Listener(folder / "s")
    assert not (folder / "target").exists()


@pytest.mark.parametrize("path", ["x" * 120, "missing/further/s"])
def test_an_impossible_path_is_a_setting_to_mend(folder: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="cannot make the control socket"):
        Listener(folder / path)
