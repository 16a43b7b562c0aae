"""What both netlink sockets need: a receive buffer of the wanted size, the exact count of its
losses, and reading without waiting.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

# include/uapi/asm-generic/socket.h and linux/netlink.h; Python's socket module does not name them.
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5
# Nine uint32 (linux/sock_diag.h): the first is SK_MEMINFO_RMEM_ALLOC, the second SK_MEMINFO_RCVBUF,
# the last SK_MEMINFO_DROPS.
_MEMINFO = struct.Struct("=9I")


def prepare(sock: socket.socket, buffer_bytes: int) -> None:
    """Set the socket up: it never waits, has a buffer of this size, and reports no error after a
    loss, since `drops` counts losses exactly.
    """
    sock.setblocking(False)
    # The kernel doubles what is asked for, to cover its own bookkeeping, and so takes half.
    half = min(buffer_bytes // 2, 2**30 - 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, half)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, half)
    sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)


def drops(sock: socket.socket) -> int:
    """How many datagrams the kernel threw away so far because the receive buffer was full; exact,
    until 2^32.
    """
    count: int = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[8]
    return count


def fill(sock: socket.socket) -> float:
    """Which part of the receive buffer is taken, from 0 to 1."""
    taken, size = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[:2]
    return float(taken / size)


def receive(sock: socket.socket, append: Callable[[bytes], None], limit: int, size: int) -> None:
    """Hand over up to `limit` datagrams of up to `size` bytes as they come, without waiting."""
    recv, dontwait = sock.recv, socket.MSG_DONTWAIT
    try:
        for _ in range(limit):
            append(recv(size, dontwait))
    except BlockingIOError:
        pass
