"""taskstats over generic netlink: a message for each thread that ends, and answers about living
processes, as raw datagrams.

Only the thread's id is read here, for `elsa check`; elsa.decode.taskstats reads the rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.taskstats import TASKSTATS_CMD_GET, TaskStats

from elsa.errors import ElsaError, PrivilegeError, UnavailableError
from elsa.kernel import clocks, netlink

# linux/netlink.h, linux/genetlink.h: nlmsghdr (length, type, flags, sequence number, port),
# genlmsghdr (command, version), one nlattr (length, type). The kernel does not ask for padding
# behind the last attribute.
_REQUEST = struct.Struct("=IHHIIBBHHH")
# nlmsghdr.nlmsg_type, nlmsg_seq and nlmsg_pid, and behind a NLMSG_ERROR's header the error,
# negative or 0.
_HEADER = struct.Struct("=4xH2xII")
_ERROR = struct.Struct("=16xi")
# linux/taskstats.h
_GENERIC_VERSION = 1
_ATTR_PID, _ATTR_TGID, _ATTR_REGISTER_CPUMASK, _ATTR_DEREGISTER_CPUMASK = range(1, 5)
# An exit message: nlmsghdr 16, genlmsghdr 4, TASKSTATS_TYPE_AGGR_PID header 4, TASKSTATS_TYPE_PID
# header 4, then the thread's id.
_PID = struct.Struct("=28xI")
# Two structs of 560 bytes and their headers in version 16; room for those to come.
_DATAGRAM_MAX = 4096
_ANSWER_TIMEOUT_S = 2.0

_NO_PRIVILEGE = "taskstats need CAP_NET_ADMIN on the host; run as root in the host's own namespaces"
_NOT_BUILT = (
    "this kernel has no taskstats (CONFIG_TASKSTATS), or shows none in this pid namespace; run ELSA"
    " on the host"
)


class _Endpoint:
    """A generic netlink socket for the family TASKSTATS, with the kernel's errors translated."""

    def __init__(self, buffer_bytes: int) -> None:
        self._endpoint: Any = TaskStats()
        # Of pyroute2 we take the socket and the family; the raw socket is thread-local there, so it
        # is kept here.
        self._socket: socket.socket = self._endpoint.asyncore.socket
        # Where the kernel has no taskstats our error says so; pyroute2 would print three lines
        # more.
        self._endpoint.asyncore.module_err_level = "debug"
        self._sequence = 0
        try:
            self._endpoint.bind()
            netlink.prepare(self._socket, buffer_bytes)
            self._begin()
        except OSError as error:
            self._endpoint.close()
            raise _explain(error) from None
        except NetlinkError as error:
            self._endpoint.close()
            raise _explain(OSError(error.code, os.strerror(error.code))) from None
        except BaseException:
            self._endpoint.close()
            raise

    def _begin(self) -> None:
        """The first request on the socket."""

    def _send(self, attribute: int, payload: bytes, flags: int = 0) -> None:
        """Send a command with one attribute: the kernel takes no more at once. Its answer has the
        sequence number that is now in _sequence.
        """
        self._sequence += 1
        flags |= NLM_F_REQUEST
        length = _REQUEST.size + len(payload)
        generic = (TASKSTATS_CMD_GET, _GENERIC_VERSION, 0)
        head = _REQUEST.pack(
            length,
            self._endpoint.prid,
            flags,
            self._sequence,
            0,
            *generic,
            4 + len(payload),
            attribute,
        )
        self._socket.send(head + payload)

    def _answer(self, others: list[bytes]) -> bytes:
        """The kernel's answer to the last command; raises its error. Messages before it are
        appended to `others`.

        An answer has our port and sequence number, an exit message port 0.
        """
        expected = (self._sequence, self._socket.getsockname()[0])
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while (left := deadline - time.monotonic()) > 0:
            select.select([self._socket], [], [], left)
            received: list[bytes] = []
            netlink.receive(self._socket, received.append, 1, _DATAGRAM_MAX)
            for message in received:
                kind, *origin = _HEADER.unpack_from(message)
                if tuple(origin) != expected:
                    others.append(message)
                    continue
                code = -_ERROR.unpack_from(message)[0] if kind == NLMSG_ERROR else 0
                if code:
                    raise OSError(code, os.strerror(code))
                return message
        raise UnavailableError(_NOT_BUILT)

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """May be called twice."""
        if self._socket.fileno() >= 0:
            self._endpoint.close()


class TaskstatsSocket(_Endpoint):
    """A socket that receives the record of every thread that ends, on any CPU, also on those that
    come online later.

    `buffer_bytes` is the receive buffer; the kernel charges 1280 bytes to it for each queued
    message. Raises PrivilegeError, or UnavailableError with what to do about it.
    """

    def __init__(self, buffer_bytes: int = 256 << 20) -> None:
        self._early: list[bytes] = []
        self.since_ns = clocks.monotonic_ns()
        """Monotonic: no message that comes was sent before."""
        super().__init__(buffer_bytes)

    def _begin(self) -> None:
        """Ask for the exits of every CPU. By hand, as pyroute2's register_mask() asks for no answer
        and so never fails.
        """
        self._send(_ATTR_REGISTER_CPUMASK, _possible_cpus(), NLM_F_ACK)
        self._answer(self._early)

    def drain(self, limit: int) -> list[bytes]:
        """Up to `limit` exit messages as they came, without waiting."""
        batch, self._early = self._early[:limit], self._early[limit:]
        netlink.receive(self._socket, batch.append, limit - len(batch), _DATAGRAM_MAX)
        return batch

    def drops(self) -> int:
        """How many messages the kernel threw away so far because the receive buffer was full;
        exact, until 2^32.
        """
        return netlink.drops(self._socket)

    def fill(self) -> float:
        """Which part of the receive buffer is taken, from 0 to 1."""
        return netlink.fill(self._socket)

    def close(self) -> None:
        """Stop listening and close. May be called twice."""
        if self._socket.fileno() >= 0:
            # If that fails, the kernel notices the closed socket with the next message for it.
            with contextlib.suppress(OSError):
                self._send(_ATTR_DEREGISTER_CPUMASK, _possible_cpus())
        super().close()

    def __enter__(self) -> TaskstatsSocket:
        """For `with`."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()


class TaskstatsQuery(_Endpoint):
    """Asks for the statistics of living processes. A socket of its own: exit messages would stand
    before the answers.
    """

    def __init__(self) -> None:
        super().__init__(1 << 20)

    def get_group(self, tgid: int) -> bytes | None:
        """The message about a process alone, as `get` gives it."""
        try:
            self._send(_ATTR_TGID, struct.pack("=I", tgid))
            return self._answer([])
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            raise _explain(error) from None

    def get(self, tgid: int) -> tuple[bytes, bytes] | None:
        """The messages about a process's leader and about the process; None if there is no such
        process. About 10 us.

        The leader's message has its own figures only. The process's message has run times, delays,
        utime, stime and context switches of all threads, ended and living, but neither I/O nor
        memory (for I/O see /proc/PID/io), and nothing once the process is a zombie.
        """
        number = struct.pack("=I", tgid)
        try:
            self._send(_ATTR_PID, number)
            leader = self._answer([])
            self._send(_ATTR_TGID, number)
            return leader, self._answer([])
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            raise _explain(error) from None

    def __enter__(self) -> TaskstatsQuery:
        """For `with`."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()


def thread_id(message: bytes) -> int:
    """The id of the thread that an exit message is about; 0 if it is no exit message."""
    return 0 if len(message) < _PID.size else int(_PID.unpack_from(message)[0])


def _possible_cpus() -> bytes:
    """Every CPU that there may ever be, as a list such as "0-3" with a NUL; a list with any other
    one is refused.
    """
    return Path("/sys/devices/system/cpu/possible").read_bytes().strip() + b"\0"


def _explain(error: OSError) -> ElsaError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PrivilegeError(_NO_PRIVILEGE)
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ECONNREFUSED, errno.EINVAL):
        return UnavailableError(_NOT_BUILT)
    return UnavailableError(f"taskstats: {error.strerror}")
