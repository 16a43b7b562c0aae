"""The client's end of the control socket: one connection, one request, one reply."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import Any

from elsa.control import protocol
from elsa.errors import ElsaError, PrivilegeError, RetryError, UnavailableError

_CHUNK = 64 * 1024
# How long jobd may take to collect a user's records.
_COPY_S = 300.0


class Client:
    """Asks the jobd that listens on `path`; each wait of its lasts `timeout_s` at most."""

    def __init__(self, path: Path, timeout_s: float = 15.0) -> None:
        self.path = path
        self.timeout_s = timeout_s

    def request(self, op: str, **fields: object) -> dict[str, Any]:
        """The fields of the reply. Raises the error that jobd answered with, or why it did not
        answer.
        """
        line = protocol.encode_request(op, fields)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                self._connect(connection)
                reply = _exchange(connection, line)
        except OSError as error:
            raise self._translated(error) from None
        if not reply.endswith(b"\n"):
            raise UnavailableError(
                f"jobd on {self.path} hung up without an answer; whether it did what was asked is"
                " unknown"
            )
        return protocol.parse_reply(reply)

    def own_records(self, since_ns: int | None = None) -> bytes:
        """The warehouse of this user's own processes and jobs, as an SQLite file; with `since_ns`
        (real time) of what still runs or ended since. Raises as `request` does.
        """
        fields = {} if since_ns is None else {"since_ns": since_ns}
        line = protocol.encode_request("own", fields)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                self._connect(connection)
                connection.settimeout(_COPY_S)
                connection.sendall(line)
                with connection.makefile("rb") as answer:
                    head = answer.readline()
                    size = protocol.parse_reply(head)["bytes"] if head.endswith(b"\n") else -1
                    data = answer.read(size) if size >= 0 else b""
        except OSError as error:
            raise self._translated(error) from None
        if len(data) != size:
            raise UnavailableError(f"jobd on {self.path} hung up before it had sent everything")
        return data

    def warehouse(self) -> Path:
        """The warehouse of the jobd that answers. Raises as `request` does."""
        return Path(self.request("status")["db"])

    def _connect(self, connection: socket.socket) -> None:
        """Connect with the kernel's own timeouts: settimeout() would not wait where jobd has a
        queue of connections.
        """
        seconds = int(self.timeout_s)
        timeval = struct.pack("@ll", seconds, int((self.timeout_s - seconds) * 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        connection.connect(os.fspath(self.path))

    def _translated(self, error: OSError) -> ElsaError:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return UnavailableError(
                f"jobd does not answer on {self.path}; start it with: elsa jobd --socket"
                f" {self.path}"
            )
        if isinstance(error, PermissionError):
            return PrivilegeError(
                f"not allowed to reach jobd on {self.path}; its directory must let you through"
            )
        if isinstance(error, BlockingIOError):
            return RetryError(
                f"jobd on {self.path} did not answer within {self.timeout_s:g} s; try again"
            )
        return UnavailableError(f"cannot reach jobd on {self.path}: {error.strerror or error}")


def _exchange(connection: socket.socket, line: bytes) -> bytes:
    with contextlib.suppress(BrokenPipeError):  # it hung up on us; it may have said why
        connection.sendall(line)
    reply = bytearray()
    with contextlib.suppress(
        ConnectionResetError
    ):  # it hung up; what it said before is in the reply
        while not reply.endswith(b"\n") and (chunk := connection.recv(_CHUNK)):
            reply += chunk
    return bytes(reply)
