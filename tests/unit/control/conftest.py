"""A control server in the test's own loop: nothing happens unless the test turns it, so no test
waits or races.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elsa.control import operations, protocol
from elsa.control.server import ControlServer, Handler, Peer, Reply


class Served:
    """A server and its loop; `asked` has what came to the handler, which answers {"op": class name}
    unless another is given.
    """

    def __init__(self, path: Path, handler: Handler | None = None) -> None:
        self.path = path
        self.asked: list[tuple[operations.Request, Peer, Reply]] = []
        self.handler = handler or (
            lambda request, peer, reply: reply({"op": type(request).__name__})
        )
        self.selector = selectors.DefaultSelector()
        self.cpu_s = 0.0
        self.cost_s = 0.0  # CPU time that each request seems to take
        self.server = ControlServer(self.selector, path, "elsa", self._handle, lambda: self.cpu_s)
        self.sockets: list[socket.socket] = []

    def _handle(self, request: operations.Request, peer: Peer, reply: Reply) -> None:
        self.asked.append((request, peer, reply))
        self.cpu_s += self.cost_s
        self.handler(request, peer, reply)

    def turn(self) -> int:
        """One turn of the loop: how many sockets were ready."""
        ready = self.selector.select(0)
        for key, mask in ready:
            key.data(mask)
        return len(ready)

    def settle(self, turns: int = 10_000) -> None:
        """Turn until nothing is ready; a server that spins fails here."""
        for _ in range(turns):
            if not self.turn():
                return
        raise AssertionError("the server spins")

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        self.sockets.append(connection)
        connection.settimeout(5)
        connection.connect(os.fspath(self.path))
        self.settle()
        return connection

    def say(self, connection: socket.socket, line: bytes) -> None:
        connection.sendall(line)
        self.settle()

    def ask(self, connection: socket.socket, op: str, **fields: object) -> dict[str, Any]:
        self.say(connection, protocol.encode_request(op, fields))
        return self.hear(connection)

    def hear(self, connection: socket.socket) -> dict[str, Any]:
        """The next reply; {} if the server hung up."""
        line = bytearray()
        while not line.endswith(b"\n"):
            self.settle()
            try:
                chunk = connection.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                assert not line
                return {}
            line += chunk
        reply: dict[str, Any] = json.loads(line)
        return reply

    @staticmethod
    def hung_up(connection: socket.socket) -> bool:
        """Whether the server has closed it."""
        poll = select.poll()
        poll.register(connection, 0)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self.selector.get_map() is None:
            return
        for connection in self.sockets:
            connection.close()
        self.server.close()
        assert not self.selector.get_map()
        self.selector.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that every user can reach."""
    path = Path(tempfile.mkdtemp(prefix="elsa-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Served]]:
    """Start servers on the socket `s` of the folder; all are closed at the end."""
    started: list[Served] = []

    def start(handler: Handler | None = None) -> Served:
        started.append(Served(folder / "s", handler))
        return started[-1]

    yield start
    for served in started:
        served.close()
