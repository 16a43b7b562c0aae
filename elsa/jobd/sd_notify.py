"""sd_notify(3) in a few lines: reports the daemon's state to the service manager, if any."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def status(text: str) -> str:
    """A STATUS= line, as `systemctl status` shows it."""
    return "STATUS=" + text.replace("\n", " ")


def extend_start(seconds: int) -> str:
    """An EXTEND_TIMEOUT_USEC= line: starting may take this much longer from now."""
    return f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}"


def supervised(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a service manager started this process, and waits for its messages."""
    return "NOTIFY_SOCKET" in (os.environ if environ is None else environ)


def notify(*states: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send states to $NOTIFY_SOCKET. Returns False if there is no socket or it does not take them;
    that is never an error.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        # An abstract socket: its name begins with a NUL.
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A stuck service manager must not stop the accounting.
        sock.setblocking(False)
        try:
            sock.sendto("\n".join(states).encode(), address)
        except OSError:
            return False
    return True


def watchdog_seconds(environ: Mapping[str, str] | None = None) -> float | None:
    """How often WATCHDOG=1 is to be sent: at half the time that the service manager waits. None if
    it does not watch this process.
    """
    environ = os.environ if environ is None else environ
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 2e6
    except (KeyError, ValueError):
        return None
