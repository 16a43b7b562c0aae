"""sd_notify(3) and sd_listen_fds(3) in a few lines: reports the daemon's state to the service
manager, if any, and leaves descriptors with it for the next program of the unit.
"""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Mapping, MutableMapping, Sequence

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"

# SD_LISTEN_FDS_START: the first descriptor that is passed to a program.
_FIRST = 3
# include/net/scm.h: the kernel takes at most 253 descriptors with a message.
_DESCRIPTORS_PER_MESSAGE = 253
# How long the service manager may take for what a start depends on.
_PATIENCE_S = 30


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
    # A stuck service manager must not stop the accounting: nothing waits.
    return _send("\n".join(states), os.environ if environ is None else environ)


def _send(
    text: str, environ: Mapping[str, str], descriptors: Sequence[int] = (), wait_s: float = 0
) -> bool:
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        # An abstract socket: its name begins with a NUL.
        address = "\0" + address[1:]
    attached = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(wait_s)
        try:
            sock.sendmsg([text.encode()], attached if descriptors else (), 0, address)
        except OSError:
            return False
    return True


def store(name: str, descriptors: Sequence[int]) -> bool:
    """Leave descriptors with the service manager, which passes them under this name to the next
    program of the unit. Returns False if it has not taken them.
    """
    # Without FDPOLL=0 it would wait for events of the descriptors itself, and take them from jobd.
    text = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0"
    chunks = (
        descriptors[start : start + _DESCRIPTORS_PER_MESSAGE]
        for start in range(0, len(descriptors), _DESCRIPTORS_PER_MESSAGE)
    )
    return all(_send(text, os.environ, chunk, _PATIENCE_S) for chunk in chunks) and _is_done()


def remove_stored(*names: str) -> None:
    """Let the service manager close what it has under these names; that does not close what it
    passed.
    """
    for name in names:
        _send(f"FDSTOREREMOVE=1\nFDNAME={name}", os.environ, wait_s=_PATIENCE_S)


def _is_done() -> bool:
    """Whether the service manager has read all messages; waits for it."""
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    try:
        sent = _send("BARRIER=1", os.environ, [ours], _PATIENCE_S)
    finally:
        os.close(ours)
    try:
        poll = select.poll()
        poll.register(theirs, 0)
        return sent and bool(poll.poll(_PATIENCE_S * 1000))
    finally:
        os.close(theirs)


def take_passed(environ: MutableMapping[str, str] | None = None) -> dict[str, list[int]]:
    """The descriptors that the service manager passes to this process, by name; at the first call
    only, and programs that are executed do not get them.
    """
    environ = os.environ if environ is None else environ
    pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    passed: dict[str, list[int]] = {}
    if pid == str(os.getpid()):
        for descriptor, name in zip(
            range(_FIRST, _FIRST + int(count)), names.split(":"), strict=False
        ):
            os.set_inheritable(descriptor, False)
            passed.setdefault(name, []).append(descriptor)
    return passed


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
