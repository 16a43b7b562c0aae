"""A PostgreSQL server for the tests of fleets: Debian's, in a folder of its own, on a unix socket
(and on a TCP port, of the loopback interface unless a test names another address).

PostgreSQL refuses to run as root, so root's tests run it as nobody.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

_BUILD = Path(__file__).resolve().parents[2] / "build" / "postgres"
_NOBODY = 65534
_START_S = 30
# Nobody needs what these tests store after a crash of the machine.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "timezone": "UTC",
    "lc_messages": "C",
}


def binaries() -> Path | None:
    """The folder of the server's programs: installed, or unpacked under ELSA_POSTGRES or build/;
    None if they are nowhere.
    """
    named = os.environ.get("ELSA_POSTGRES")
    for root in (Path("/"), *([Path(named)] if named else []), _BUILD):
        folders = sorted(
            (path.parent for path in root.glob("usr/lib/postgresql/*/bin/postgres")),
            key=lambda folder: int(folder.parent.name),
        )
        if folders and int(folders[-1].parent.name) >= 15:
            return folders[-1]
    return None


def required() -> Path:
    """The same; where they are nowhere the test skips with the reason, or fails if everything is
    required.
    """
    folder = binaries()
    if folder is not None:
        return folder
    why = (
        "PostgreSQL 15 is not installed: `make test` fetches it, or name a folder in ELSA_POSTGRES"
    )
    if os.environ.get("ELSA_REQUIRE_KERNEL") == "1":
        pytest.fail(why)
    pytest.skip(why)


class Server:
    """A running server."""

    def __init__(self, programs: Path, address: str = "127.0.0.1") -> None:
        self._programs = programs
        self._address = address
        self.folder = Path(tempfile.mkdtemp(prefix="elsa-pg-", dir="/tmp"))
        root = os.geteuid() == 0
        self._as: dict[str, Any] = (
            {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if root else {}
        )
        if root:
            os.chown(self.folder, _NOBODY, _NOBODY)
        self._environment = {"PATH": os.defpath, "LC_ALL": "C"}
        unpacked = programs.parents[4]
        if unpacked != Path("/"):
            libraries = {path.parent for path in unpacked.glob("**/lib*.so*")}
            self._environment["LD_LIBRARY_PATH"] = os.pathsep.join(sorted(map(str, libraries)))
        with socket.socket() as free:
            free.bind((address, 0))
            self.port: int = free.getsockname()[1]
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        # Over TCP a password is needed, as on a real server.
        (self.folder / "data/pg_hba.conf").write_text(
            "local all all trust\nhost all all samenet scram-sha-256\n"
        )
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            **self._as,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [f"-c{key}={value}" for key, value in _SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", "data", "-k", str(self.folder)),
                    *("-p", str(self.port), "-c", f"listen_addresses={self._address}", *options),
                ],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                **self._as,
            )
        until = time.monotonic() + _START_S
        while True:
            with suppress(psycopg.OperationalError):
                self.connect().close()
                return
            log_text = (self.folder / "log").read_text(errors="replace")
            assert self._process.poll() is None, log_text
            assert time.monotonic() < until, log_text
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT ends it soon and cleanly; SIGQUIT at once, as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The server takes no connection and no request to cancel, and does not refuse them."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End the server and delete its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The URL of a database, over the socket and without a password."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, user: str, password: str, port: int | None = None) -> str:
        """The URL of a database over TCP, perhaps through a proxy on another port."""
        return f"postgresql://{user}:{password}@{self._address}:{port or self.port}/{database}"

    def connect(
        self, database: str = "postgres", user: str = "postgres"
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.url(database, user), autocommit=True)

    def database(self, template: str = "template0") -> str:
        """The name of a new database."""
        self._databases += 1
        name = f"test{self._databases}"
        with self.connect() as connection:
            connection.execute(f"create database {name} template {template}")
        return name


@contextmanager
def running(address: str = "127.0.0.1") -> Iterator[Server]:
    """A server while the block runs, or a skip with the reason."""
    server = Server(required(), address)
    try:
        yield server
    finally:
        server.remove()
