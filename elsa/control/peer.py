"""Who is at the other end of a connection, as the kernel says; nothing that a client writes about
itself is believed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from typing import NamedTuple

from elsa.kernel.pid_namespace import ForeignPids
from elsa.kernel.procfs import Procfs

_SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h; the socket module has no name for it
_SO_PEERPIDFD = 77  # since Linux 6.5
_PIDFD = struct.Struct("i")
_UCRED = struct.Struct("iII")  # struct ucred, include/linux/socket.h: pid, uid, gid
_libc = ctypes.CDLL(None, use_errno=True)


class Peer(NamedTuple):
    """The credentials that a client had when it connected."""

    pid: int
    """0 if the client lives in a pid namespace that this process cannot see."""
    uid: int
    gid: int
    groups: frozenset[int]
    manages: bool
    """Root, or in the group that manages every job."""
    foreign: ForeignPids | None = None
    """How it counts pids, if it lives in another pid namespace than this process."""


def uid_of(connection: socket.socket) -> int:
    """The uid alone of the other end."""
    return int(
        _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
    )


def peer_of(connection: socket.socket, manager_gid: int | None) -> Peer:
    """The other end of a connected AF_UNIX socket."""
    pid, uid, gid = _UCRED.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    groups = _groups(connection)
    manages = uid == 0 or (manager_gid is not None and manager_gid in groups | {gid})
    return Peer(pid, uid, gid, groups, manages, _foreign(connection, pid))


def _foreign(connection: socket.socket, pid: int) -> ForeignPids | None:
    procfs = Procfs()
    theirs = procfs.namespace("pid", pid) if pid else None
    # In this order: if it still lives, its pid had not passed to another when its namespace was
    # looked at.
    if not _lives(connection):
        theirs = None
    return (
        None
        if theirs is not None and theirs == procfs.namespace("pid")
        else ForeignPids(pid, theirs)
    )


def _lives(connection: socket.socket) -> bool:
    """Whether the process that connected has not ended; where the kernel cannot tell, it is taken
    to live.
    """
    try:
        (pidfd,) = _PIDFD.unpack(
            connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, _PIDFD.size)
        )
    except OSError as error:
        return error.errno == errno.ENOPROTOOPT
    try:
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        return not ended.poll(0)
    finally:
        os.close(pidfd)


def _groups(connection: socket.socket) -> frozenset[int]:
    """The supplementary groups, by getsockopt(2) itself: the socket module takes at most 1024
    bytes, and a user may have 65,536 groups.
    """
    room = 64
    while True:
        ids = (ctypes.c_uint32 * room)()
        length = ctypes.c_uint32(ctypes.sizeof(ids))
        if (
            _libc.getsockopt(
                connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, ids, ctypes.byref(length)
            )
            == 0
        ):
            return frozenset(ids[: length.value // 4])
        number = ctypes.get_errno()
        if number != errno.ERANGE:
            raise OSError(number, os.strerror(number))
        room = length.value // 4  # the kernel says how much it needs
