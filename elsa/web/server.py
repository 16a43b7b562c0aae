"""Serve the pages: on 127.0.0.1, or on a unix socket for a reverse proxy."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask

from elsa.errors import ConfigError, ElsaError, InputMissingError, PrivilegeError, UnavailableError
from elsa.kernel import safe_paths, stale_sockets
from elsa.web import identity
from elsa.web.identity import Reader

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1"})
# Pages are made one per thread, and SQLite reads beside SQLite.
_THREADS = 4
# Fewer than the 1024 descriptors that a process usually may have.
_CONNECTIONS = 900
# How long a connection may be silent before or within a request, and how often that is looked at.
_SILENT_S = 10
_LOOK_S = 2
# An address of ours has some hundred bytes.
_HEADER_BYTES = 16 << 10
_SOCKET_MODE = 0o660


class Address(NamedTuple):
    """Where the pages are served: a port of 127.0.0.1, or a unix socket."""

    port: int = 0
    path: Path | None = None
    group: str | None = None
    """Whose members may open the unix socket: the proxy."""


def by_kernel(group: str) -> Callable[[Mapping[str, Any]], Reader | None]:
    """Who asks over 127.0.0.1."""

    def identify(environ: Mapping[str, Any]) -> Reader | None:
        try:
            ports = int(environ["REMOTE_PORT"]), int(environ["SERVER_PORT"])
        except (KeyError, ValueError):
            return None
        return identity.at_port(*ports, group)

    return identify


def by_header(header: str, group: str) -> Callable[[Mapping[str, Any]], Reader | None]:
    """Whom the proxy names in a header."""
    key = "HTTP_" + header.upper().replace("-", "_")

    def identify(environ: Mapping[str, Any]) -> Reader | None:
        name = environ.get(key, "")
        return identity.named(name, group) if name else None

    return identify


@contextmanager
def listening(address: Address) -> Iterator[socket.socket]:
    """The socket of an address. Raises ElsaError if it cannot be had."""
    listener = _unix(address) if address.path is not None else _local(address.port)
    try:
        yield listener
    finally:
        listener.close()
        if address.path is not None:
            address.path.unlink(missing_ok=True)


def serve(app: Flask, listener: socket.socket) -> None:
    """Serve until TERM or INT."""
    import waitress

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("waitress").setLevel(logging.WARNING)
    waitress.serve(
        app,
        sockets=[listener],
        threads=_THREADS,
        ident=None,
        connection_limit=_CONNECTIONS,
        channel_timeout=_SILENT_S,
        cleanup_interval=_LOOK_S,
        asyncore_use_poll=True,  # select() knows no descriptor above 1023
        max_request_header_size=_HEADER_BYTES,
        max_request_body_size=1,
        # The only proxy is the one behind the unix socket, and its one header is read above.
        clear_untrusted_proxy_headers=True,
    )


def _local(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"port {port} of 127.0.0.1: {error.strerror}; name another with --port"
        ) from None
    return listener


def _unix(address: Address) -> socket.socket:
    """A unix socket that its owner and one group may open, in a folder that no other can write."""
    path = address.path
    assert path is not None  # noqa: S101 (the caller has checked)
    if not path.parent.is_dir():
        raise InputMissingError(f"{path.parent}: there is no such folder; make it, or name another")
    safe_paths.check(path)
    if safe_paths.others_write(path.parent):
        raise PrivilegeError(f"{path.parent}: others can write this folder; use one of its own")
    stale_sockets.remove(path, "program")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # bind(2) takes the mode from here, so that nobody else can open it at any moment.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(path))
        if address.group is not None:
            _give_to(path, address.group)
        path.chmod(_SOCKET_MODE)
    except ElsaError:
        listener.close()
        path.unlink(missing_ok=True)
        raise
    except OSError as error:
        listener.close()
        raise safe_paths.translated(error, path) from error
    return listener


def _give_to(path: Path, group: str) -> None:
    try:
        shutil.chown(path, group=group)
    except LookupError:
        raise ConfigError(f"--socket-group: there is no group {group}") from None
    except PermissionError:
        raise PrivilegeError(
            f"--socket-group: this user is no member of the group {group}; add it, such as with"
            f" SupplementaryGroups={group} in the unit"
        ) from None
