"""The listening socket of jobd: in a directory that nobody else can tamper with, and one server per
path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from elsa.errors import ConfigError, ElsaError, PrivilegeError, UnavailableError
from elsa.kernel import safe_paths, stale_sockets

BACKLOG = 128
_MODE = 0o666  # any user may ask; what he may do is decided by who he is


class Listener:
    """A bound, listening, non-blocking AF_UNIX socket that owns its path until it is closed.

    Raises UnavailableError if another server has the path, ConfigError if it cannot be a socket,
    PrivilegeError if it is not safe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            safe_paths.check(path)
            _check_folder(path.parent)
            self._lock = _lock(path)
            try:
                self.socket = _bind(path)
            except BaseException:
                os.close(self._lock)
                raise
            self._inode = _inode(path)
        except OSError as error:
            raise _translated(error, path) from None

    def is_in_place(self) -> bool:
        """Whether who connects to the path still comes to this socket: somebody may have removed
        it.
        """
        return _inode(self.path) == self._inode

    def close(self) -> None:
        """Stop listening; remove the socket if it is still this one. The lock file stays: removing
        it would let two starters win.
        """
        if self.is_in_place():
            self.path.unlink(missing_ok=True)
        self.socket.close()
        os.close(self._lock)


def _check_folder(folder: Path) -> None:
    """Make the directory if need be; refuse one in which somebody else could put another socket in
    the place of ours.
    """
    try:
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)  # whatever the umask was: every user must be able to come through
    except FileExistsError:
        pass
    safe_paths.check(folder / "socket")
    if folder.stat().st_mode & 0o022:
        raise PrivilegeError(
            f"others can write to {folder} and could replace the control socket; mend it with:"
            f" chmod go-w {folder}"
        )


def _lock(path: Path) -> int:
    """Hold PATH.lock, so that of two starters only one looks whether the socket is stale."""
    name = path.with_name(path.name + ".lock")
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.fstat(lock).st_uid == os.geteuid():
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        error: ElsaError = UnavailableError(f"another jobd is running: it holds {name}")
    else:
        error = PrivilegeError(
            f"{name} belongs to another user; remove it if no jobd of his is running"
        )
    os.close(lock)
    raise error


def _bind(path: Path) -> socket.socket:
    stale_sockets.remove(path, "jobd")
    listener = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        os.fchmod(
            listener.fileno(), _MODE
        )  # bind(2) takes the mode from here, less the umask: never wider than meant
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
        path.chmod(_MODE)
    except BaseException:
        listener.close()
        raise
    return listener


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _translated(error: OSError, path: Path) -> ElsaError:
    if error.errno is None:  # a path too long for AF_UNIX
        return ConfigError(f"cannot make the control socket {path}: {error}")
    return safe_paths.translated(
        error, f"cannot make the control socket {path}", "name another with --socket"
    )
