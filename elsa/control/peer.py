"""Who is at the other end of a connection, as the kernel says; nothing that a client writes about itself is believed."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import NamedTuple

_SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h; the socket module has no name for it
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


def peer_of(connection: socket.socket, manager_gid: int | None) -> Peer:
    """The other end of a connected AF_UNIX socket."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = _groups(connection)
    return Peer(pid, uid, gid, groups, manages=uid == 0 or (manager_gid is not None and manager_gid in groups | {gid}))


def _groups(connection: socket.socket) -> frozenset[int]:
    """The supplementary groups, by getsockopt(2) itself: the socket module takes at most 1024 bytes, and a user may have 65,536 groups."""
    room = 64
    while True:
        ids = (ctypes.c_uint32 * room)()
        length = ctypes.c_uint32(ctypes.sizeof(ids))
        if _libc.getsockopt(connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, ids, ctypes.byref(length)) == 0:
            return frozenset(ids[: length.value // 4])
        number = ctypes.get_errno()
        if number != errno.ERANGE:
            raise OSError(number, os.strerror(number))
        room = length.value // 4  # the kernel says how much it needs
