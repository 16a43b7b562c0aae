"""Unix sockets that a killed server has left in the file system."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from elsa.errors import ConfigError, PrivilegeError, UnavailableError


def remove(path: Path, server: str) -> None:
    """Remove the socket that a killed server left. Anything else at the path is somebody's
    property. Raises ConfigError, PrivilegeError, and UnavailableError if a server answers.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(f"{path} is there already and is not a socket")
    if status.st_uid != os.geteuid():
        raise PrivilegeError(
            f"{path} is a socket of user {status.st_uid}; remove it if nothing of his uses it"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        answer = probe.connect_ex(os.fspath(path))
    if answer != errno.ECONNREFUSED:  # 0: it answers; EAGAIN: it is too busy to
        raise UnavailableError(f"another {server} is running: it answers on {path}")
    path.unlink()
