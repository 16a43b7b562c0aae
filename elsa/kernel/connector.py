"""The process events connector (cn_proc): every fork, exec, exit, uid, gid, session and name change
of the host, as raw datagrams.

Nothing is decoded here but the acknowledgement of our own request to listen; elsa.decode.events
reads the rest.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import socket
import struct
import time
from typing import Any

from pyroute2.netlink import NLMSG_DONE
from pyroute2.netlink.connector import cn_proc

from elsa.errors import ElsaError, PrivilegeError, UnavailableError
from elsa.kernel import clocks, netlink

# linux/cn_proc.h behind a nlmsghdr: cn_msg.ack at 28, proc_event.what at 36, the error of an
# acknowledgement at 52.
_ACK = struct.Struct("=28xI4xI12xI")
_ACK_WHAT = 0
# A process event is 76 bytes; the rest is room for kernels whose events grow.
_DATAGRAM_MAX = 256

# The kernel answers within microseconds, or (from another pid or user namespace) never.
ACK_TIMEOUT_S = 2.0

# Only before Linux 6.6; since then anyone may listen.
_NO_PRIVILEGE = "process events need CAP_NET_ADMIN; run as root"
_NO_ANSWER = (
    "the kernel ignores the request for process events: it comes from another pid or user namespace"
    " (a container?); run ELSA in the host's own namespaces"
)
_OTHER_NETWORK = (
    "no process events in this network namespace; run ELSA in the host's own (no PrivateNetwork, no"
    " container network)"
)
_NOT_BUILT = "this kernel has no process events; it needs CONFIG_CONNECTOR and CONFIG_PROC_EVENTS"


class Connector:
    """A socket that receives every process event from the moment it exists.

    `buffer_bytes` is the receive buffer; the kernel charges 832 bytes to it for each queued event.
    Raises PrivilegeError, or UnavailableError with what to do about it.
    """

    def __init__(self, buffer_bytes: int = 256 << 20, ack_timeout_s: float = ACK_TIMEOUT_S) -> None:
        self._endpoint: Any = cn_proc.ProcEventSocket()
        # Of pyroute2 we take the socket and the encoding. Its asyncio reader must never run: it
        # would swallow the first events, and decoding one message at a time costs fifty times too
        # much. The raw socket is thread-local there, so it is kept here.
        self._socket: socket.socket = self._endpoint.asyncore.socket
        self._early: list[bytes] = []
        try:
            self._open(buffer_bytes, ack_timeout_s)
        except OSError as error:
            self._endpoint.close()
            raise _explain(error) from None
        except BaseException:
            self._endpoint.close()
            raise
        self.since_ns = clocks.monotonic_ns()
        """Monotonic: all events since then were received, or count as lost."""

    def _open(self, buffer_bytes: int, ack_timeout_s: float) -> None:
        netlink.prepare(self._socket, buffer_bytes)
        # Bound here, not by pyroute2's bind(), which tries 180 addresses and forgets why the kernel
        # refused. Bound before LISTEN, or the events in between would be lost.
        self._socket.bind((0, cn_proc.CN_IDX_PROC))
        token = secrets.randbelow(2**32 - 1)
        self._socket.send(_control(cn_proc.PROC_CN_MCAST_LISTEN, token))
        self._await_ack(token + 1, time.monotonic() + ack_timeout_s)

    def _await_ack(self, expected: int, deadline: float) -> None:
        """Read until our own acknowledgement came. Everything read is kept, in order: the first
        events are already among it.
        """
        received: list[bytes] = []
        while (left := deadline - time.monotonic()) > 0:
            select.select([self._socket], [], [], left)
            batch = self.drain(10_000)
            received += batch
            for datagram in batch:
                ack, what, code = _ACK.unpack_from(datagram)
                if what == _ACK_WHAT and ack == expected:
                    if code:
                        raise OSError(code, os.strerror(code))
                    self._early = received
                    return
        raise UnavailableError(_NO_ANSWER)

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def drain(self, limit: int) -> list[bytes]:
        """Up to `limit` datagrams as they came, in queue order, without waiting.

        Acknowledgements (what == 0), our own and those of other listeners, are among them.
        """
        batch, self._early = self._early[:limit], self._early[limit:]
        netlink.receive(self._socket, batch.append, limit - len(batch), _DATAGRAM_MAX)
        return batch

    def drops(self) -> int:
        """How many events the kernel threw away so far because the receive buffer was full; exact,
        until 2^32.
        """
        return netlink.drops(self._socket)

    def fill(self) -> float:
        """Which part of the receive buffer is taken, from 0 to 1."""
        return netlink.fill(self._socket)

    def buffer_bytes(self) -> int:
        """The receive buffer as the kernel granted it."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def close(self) -> None:
        """Stop listening and close. May be called twice."""
        if self._socket.fileno() < 0:
            return
        try:
            self._socket.send(_control(cn_proc.PROC_CN_MCAST_IGNORE, 0))
        except OSError:
            # The kernel notices the closed socket as well.
            pass
        finally:
            self._endpoint.close()

    def __enter__(self) -> Connector:
        """For `with`."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()


def _control(operation: int, token: int) -> bytearray:
    """A LISTEN or IGNORE message; the kernel's answer carries token + 1."""
    message = cn_proc.proc_event_control()
    message["action"], message["ack"] = operation, token
    message["idx"], message["val"], message["len"] = cn_proc.CN_IDX_PROC, cn_proc.CN_VAL_PROC, 4
    message["header"]["type"] = NLMSG_DONE
    message.encode()
    data: bytearray = message.data
    return data


def _explain(error: OSError) -> ElsaError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PrivilegeError(_NO_PRIVILEGE)
    if error.errno == errno.ECONNREFUSED:
        return UnavailableError(_OTHER_NETWORK)
    if error.errno in (errno.ENOENT, errno.EPROTONOSUPPORT):
        return UnavailableError(_NOT_BUILT)
    return UnavailableError(f"process events: {error.strerror}")
