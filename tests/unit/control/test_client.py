"""The client gets its answer, or says in one line why there is none."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elsa.control import operations
from elsa.control.client import Client
from elsa.control.server import ControlServer, Peer, Reply
from elsa.errors import PrivilegeError, RetryError, UnavailableError, UsageError


@pytest.fixture
def jobd(folder: Path) -> Iterator[Client]:
    """A client of a server that runs in a thread."""

    def handler(request: operations.Request, _peer: Peer, reply: Reply) -> None:
        if isinstance(request, operations.Close):
            raise PrivilegeError("not yours")
        reply(
            {"text": "x" * 1_000_000}
            if isinstance(request, operations.Sync)
            else {"op": type(request).__name__}
        )

    selector = selectors.DefaultSelector()
    server = ControlServer(selector, folder / "s", "elsa", handler)
    stop, wake = socket.socketpair()
    selector.register(stop, selectors.EVENT_READ)

    def loop() -> None:
        while True:
            for key, mask in selector.select():
                if key.fileobj is stop:
                    return
                key.data(mask)

    thread = threading.Thread(target=loop)
    thread.start()
    yield Client(folder / "s")
    wake.close()
    thread.join()
    stop.close()
    server.close()
    selector.close()


@pytest.fixture
def impostor(folder: Path) -> Iterator[Callable[[bytes | None], Client]]:
    """A server on the path that gives the answer it got, or none (None)."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(folder / "s"))
    listener.listen(0)
    threads = []

    def answer(line: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(line)

    def start(line: bytes | None) -> Client:
        if line is not None:
            threads.append(threading.Thread(target=answer, args=[line]))
            threads[-1].start()
        return Client(folder / "s", timeout_s=0.1 if line is None else 5)

    yield start
    for thread in threads:
        thread.join()
    listener.close()


def test_a_request_is_answered(jobd: Client) -> None:
    assert jobd.request("of", pid=7) == {"op": "Of"}


def test_an_error_of_the_server_is_raised_as_it_was_there(jobd: Client) -> None:
    with pytest.raises(PrivilegeError, match="not yours"):
        jobd.request("close", job=1)
    with pytest.raises(UsageError, match="unknown op"):
        jobd.request("dance")


def test_a_long_answer_arrives_whole(jobd: Client) -> None:
    assert len(jobd.request("sync")["text"]) == 1_000_000


def test_a_request_that_is_too_long_is_not_sent(jobd: Client) -> None:
    with pytest.raises(UsageError, match="longer than 65536 bytes"):
        jobd.request("add", job=1, pids=[1_000_000] * 10_000)


def test_no_socket_and_a_stale_one_say_how_to_start_jobd(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="start it with: elsa jobd"):
        Client(folder / "s").request("status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(folder / "s"))
    with pytest.raises(UnavailableError, match="start it with: elsa jobd"):
        Client(folder / "s").request("status")


def test_a_path_that_cannot_be_a_socket_is_said(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="path too long"):
        Client(folder / ("x" * 120)).request("status")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_directory_that_may_not_be_entered_is_reported(jobd: Client, folder: Path) -> None:
    folder.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(PrivilegeError, match="not allowed to reach jobd"):
            jobd.request("status")
    finally:
        os.seteuid(0)


def test_a_jobd_that_does_not_answer_is_a_matter_of_trying_again(
    impostor: Callable[[bytes | None], Client],
) -> None:
    with pytest.raises(RetryError, match=r"within 0\.1 s"):
        impostor(None).request("status")


def test_a_jobd_with_a_full_queue_is_waited_for(
    impostor: Callable[[bytes | None], Client], folder: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(os.fspath(folder / "s"))
        with pytest.raises(RetryError):
            impostor(None).request("status")


@pytest.mark.parametrize(
    "line",
    [b"", b'{"elsa":1,', b"SSH-2.0-x\n", b'{"elsa":1,"ok":false}\n', b'{"elsa":9,"ok":true}\n'],
)
def test_whatever_else_answers_is_not_taken_for_jobd(
    impostor: Callable[[bytes | None], Client], line: bytes
) -> None:
    with pytest.raises(UnavailableError):
        impostor(line).request("status")
