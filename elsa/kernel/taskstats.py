"""taskstats over generic netlink: one message per thread that ends, as raw datagrams.

So far only what `elsa check` needs to prove that they arrive; the process id is the one field read here.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.taskstats import TASKSTATS_CMD_GET, TaskStats, tcmd

from elsa.errors import ElsaError, PrivilegeError, UnavailableError

# nlmsghdr.nlmsg_type, and behind a NLMSG_ERROR's header the error, negative or 0.
_TYPE = struct.Struct("=4xH")
_ERROR = struct.Struct("=16xi")
# An exit message: nlmsghdr 16, genlmsghdr 4, TASKSTATS_TYPE_AGGR_PID header 4, TASKSTATS_TYPE_PID header 4, then the thread's id.
_PID = struct.Struct("=28xI")
# Two structs of 560 bytes and their headers in version 16; room for those to come.
_DATAGRAM_MAX = 4096
_ANSWER_TIMEOUT_S = 2.0

_NO_PRIVILEGE = "taskstats need CAP_NET_ADMIN on the host; run as root in the host's own namespaces"
_NOT_BUILT = "this kernel has no taskstats (CONFIG_TASKSTATS), or shows none in this pid namespace; run ELSA on the host"


class TaskstatsSocket:
    """A socket that receives the record of every thread that ends, on any CPU.

    Raises PrivilegeError, or UnavailableError with what to do about it.
    """

    def __init__(self) -> None:
        self._endpoint: Any = TaskStats()
        self._socket: socket.socket = self._endpoint.asyncore.socket
        # Where the kernel has no taskstats our error says so; pyroute2 would print three lines more.
        self._endpoint.asyncore.module_err_level = "debug"
        try:
            self._endpoint.bind()
            self._register()
        except OSError as error:
            self._endpoint.close()
            raise _explain(error) from None
        except NetlinkError as error:
            self._endpoint.close()
            raise _explain(OSError(error.code, os.strerror(error.code))) from None
        except BaseException:
            self._endpoint.close()
            raise

    def _register(self) -> None:
        """Ask for the exits of every CPU. By hand, as pyroute2's register_mask() asks for no answer and so never fails."""
        self._socket.setblocking(False)
        request = tcmd()
        request["cmd"], request["version"] = TASKSTATS_CMD_GET, 1
        request["attrs"].append(["TASKSTATS_CMD_ATTR_REGISTER_CPUMASK", _possible_cpus()])
        request["header"]["type"] = self._endpoint.prid
        request["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK
        request.encode()
        self._socket.send(request.data)
        while True:
            ready, _, _ = select.select([self._socket], [], [], _ANSWER_TIMEOUT_S)
            if not ready:
                raise UnavailableError(_NOT_BUILT)
            answer = self._socket.recv(_DATAGRAM_MAX)
            if _TYPE.unpack_from(answer)[0] == NLMSG_ERROR:
                code = -_ERROR.unpack_from(answer)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def drain(self, limit: int) -> list[bytes]:
        """Up to `limit` exit messages as they came, without waiting."""
        batch: list[bytes] = []
        append, recv = batch.append, self._socket.recv
        try:
            for _ in range(limit):
                append(recv(_DATAGRAM_MAX, socket.MSG_DONTWAIT))
        except BlockingIOError:
            pass
        except OSError as error:
            # The loss is the reader's to notice; what is queued behind it is still good.
            if error.errno != errno.ENOBUFS:
                raise
        return batch

    def close(self) -> None:
        """Stop listening; the kernel forgets a listener whose socket is closed. May be called twice."""
        if self._socket.fileno() >= 0:
            self._endpoint.close()

    def __enter__(self) -> TaskstatsSocket:
        """For `with`."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()


def thread_id(message: bytes) -> int:
    """The id of the thread that an exit message tells of; 0 if it is no exit message."""
    return 0 if len(message) < _PID.size else int(_PID.unpack_from(message)[0])


def _possible_cpus() -> str:
    """Every CPU that there may ever be, as a list such as "0-3"; a list with any other one is refused."""
    return Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()


def _explain(error: OSError) -> ElsaError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PrivilegeError(_NO_PRIVILEGE)
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ECONNREFUSED, errno.EINVAL):
        return UnavailableError(_NOT_BUILT)
    return UnavailableError(f"taskstats: {error.strerror}")
