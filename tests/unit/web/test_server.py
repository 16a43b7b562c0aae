"""The server itself: over a port the kernel says who asks, over a unix socket the proxy does."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa.cli.main import load
from elsa.errors import ElsaError
from elsa.web import server
from elsa.web.server import Address

# Much longer than it takes to start.
PATIENCE_S = 60
_PROGRAM = "from elsa.cli.entry import elsa; elsa()"


@contextmanager
def serving(db: Path, *arguments: str, before: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """`elsa web` in a program of its own, after some lines of Python."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + _PROGRAM, "web", "--db", str(db), *arguments],
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def connected(address: int | Path) -> socket.socket:
    """A connection, once the server is there."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    where = ("127.0.0.1", address) if isinstance(address, int) else str(address)
    end = time.monotonic() + PATIENCE_S
    while True:
        client = socket.socket(family)
        try:
            client.connect(where)
        except OSError:
            client.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return client


def asked(address: int | Path, *headers: str, path: str = "/jobs") -> tuple[int, str]:
    """The status and the text of an answer."""
    with connected(address) as client:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
        client.sendall("\r\n".join(lines).encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read().decode()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _as_nobody(port: int, result: multiprocessing.SimpleQueue[tuple[int, str]]) -> None:
    os.setgroups([])
    os.setgid(pwd.getpwnam("nobody").pw_gid)
    os.setuid(pwd.getpwnam("nobody").pw_uid)
    result.put(asked(port, "X-Remote-User: root", "Remote-User: root"))


def test_over_a_port_the_owner_of_the_connection_is_the_reader(filled: Path) -> None:
    port = free_port()
    with serving(filled, "--port", str(port)):
        status, text = asked(port)
        assert status == 200
        assert pwd.getpwuid(os.geteuid()).pw_name in text
        if os.geteuid() == 0:
            assert "backup" in text
            context = multiprocessing.get_context("fork")
            result = context.SimpleQueue()
            child = context.Process(target=_as_nobody, args=(port, result))
            child.start()
            status, text = result.get()
            child.join()
            assert status == 200
            assert "nobody: own records" in text
            assert "backup" not in text
        assert asked(port, path="/" + "a" * 20_000)[0] in (400, 414, 431)


def test_half_requests_keep_nobody_out_and_are_closed(filled: Path) -> None:
    port = free_port()
    with serving(filled, "--port", str(port)), ExitStack() as held:
        clients = [held.enter_context(connected(port)) for _ in range(200)]
        for client in clients:
            client.sendall(b"GET /jobs HT")
        assert asked(port, path="/static/elsa.css")[0] == 200
        clients[0].settimeout(PATIENCE_S)
        assert clients[0].recv(1) == b""


def test_over_the_unix_socket_the_proxy_names_the_reader(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with serving(filled, "--socket", str(path), "--user-header", "X-Remote-User") as process:
        status, text = asked(path, "X-Remote-User: root")
        assert (status, "backup" in text) == (200, True)
        assert path.stat().st_mode & 0o777 == 0o660
        assert asked(path)[0] == 403
        # waitress drops names that could be taken for the header with hyphens.
        assert asked(path, "X_Remote_User: root")[0] == 403
        assert asked(path, "X-Remote-User: nobody", "X-Remote-User: root")[0] == 403
        assert process.poll() is None
    assert not path.exists()


def test_the_socket_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    for _ in range(2):  # nobody removes the first
        server._unix(Address(path=path)).close()
    assert path.is_socket()


def test_a_place_where_others_could_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ElsaError, match="not a socket"):
        server._unix(Address(path=tmp_path / "file"))
    with pytest.raises(ElsaError, match="no group"):
        server._unix(Address(path=tmp_path / "a", group="no such group"))
    assert not (tmp_path / "a").exists()
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with pytest.raises(ElsaError, match="others can write"):
        server._unix(Address(path=open_folder / "web.sock"))
    with server._local(0) as taken:
        taken.listen()
        with pytest.raises(ElsaError, match="name another with --port"):
            server._local(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--socket", "w.sock", "--user-header", "X R"], "--user-header"),
        (["--socket", "w.sock", "--user-header", ""], "--user-header"),
        (["--socket", "w.sock", "--user-header", "Host"], "--user-header"),
        (["--host-name", ""], "--host-name"),
        (["--host-name", "a b/c"], "--host-name"),
        (["--host-name", "a:80"], "--host-name"),
        (["--time-limit", "nan"], "--time-limit"),
        (["--time-limit", "inf"], "--time-limit"),
        (["--socket", "w.sock", "--user-header", "X-R", "--port", "8421"], "--port and --socket"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: list[str], said: str) -> None:
    done = CliRunner().invoke(load("web"), [*options, "--db", "none.db"])
    assert isinstance(done.exception, ElsaError)
    assert said in str(done.exception)


def test_nothing_is_served_before_there_is_a_socket(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.sock"
    done = CliRunner().invoke(
        load("web"), ["--db", str(filled), "--socket", str(path), "--user-header", "X-User"]
    )
    assert str(done.exception).startswith(f"{path.parent}: there is no such folder")
    assert "serving" not in done.output


def test_a_user_can_give_the_socket_to_his_own_groups_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(shutil, "chown", refused)
    with pytest.raises(ElsaError, match="no member of the group www-data"):
        server._unix(Address(path=tmp_path / "web.sock", group="www-data"))
    assert not (tmp_path / "web.sock").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--socket", "/x"], ["--user-header", "X"], ["--socket-group", "root"]],
)
def test_options_that_belong_together_are_needed_together(arguments: list[str]) -> None:
    done = CliRunner().invoke(load("web"), arguments)
    assert isinstance(done.exception, ElsaError)
