"""Starts programs of ELSA from code that was imported when jobd started, so that a running jobd
does not need the installed package.

An upgrade or removal changes the package under a running jobd: a program started from it would be
another version, or missing. So this module is started as a program at the beginning; it imports all
that may be needed, and forks. An order comes over a socket together with the new program's stdin
and stdout, and is answered with a pidfd of the new program.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from elsa import python_program
from elsa.errors import RetryError

# How long an answer is waited for; a fork takes a millisecond.
PATIENCE_S = 2.0
_MOST_BYTES = 4096


class Program:
    """A program that was started."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def wait(self, patience_s: float) -> bool:
        """Wait at most so long for its end; returns whether it has ended."""
        return bool(select.select([self.pidfd], [], [], patience_s)[0])

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self.pidfd)


class Spawner:
    """The program that forks the others, as its owner sees it."""

    def __init__(self, modules: Sequence[str]) -> None:
        """The `main` of these modules can be started; `wait` for them to be imported. Raises
        RetryError if no process can be started now.
        """
        self._modules = modules
        try:
            self._start_forker()
        except OSError as error:
            self._socket.close()
            raise RetryError(f"no process can be started: {error.strerror}") from None

    def _start_forker(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_ready = False
        with theirs:
            program = python_program.command(
                f"from {__name__} import main; main()", str(theirs.fileno()), *self._modules
            )
            self._program = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def wait(self, patience_s: float) -> None:
        """Wait until all modules are imported. Raises OSError if that takes too long, or fails."""
        if not self._is_ready:
            self._socket.settimeout(patience_s)
            self._received(0)
            self._is_ready = True

    def start(self, module: str, stdin: int, stdout: int, *, cpu_s: int | None = None) -> Program:
        """Start `main` of a module; after `cpu_s` seconds of CPU time it is ended. Raises OSError
        if it cannot be started.
        """
        if self._program.poll() is not None:
            self.close()
            self._start_forker()
        self.wait(PATIENCE_S)
        self._socket.settimeout(PATIENCE_S)
        order = json.dumps({"module": module, "cpu_s": cpu_s}).encode()
        socket.send_fds(self._socket, [order], [stdin, stdout])
        try:
            pid, descriptors = self._received(1)
        except TimeoutError:
            self._program.kill()  # else its answer would be taken for that of the next order
            raise
        return Program(int(pid), *descriptors)

    def _received(self, most_descriptors: int) -> tuple[bytes, list[int]]:
        answer, descriptors, _, _ = socket.recv_fds(self._socket, _MOST_BYTES, most_descriptors)
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "the program that starts others has ended")
        return answer, descriptors

    def close(self) -> None:
        """End the program; the programs that it has started go on."""
        self._socket.close()
        self._program.kill()
        self._program.wait()


# --- the program


def main() -> None:
    """Fork a program for every order, until the owner has ended."""
    # The owner may need this program until its own end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    mains = {name: importlib.import_module(name).main for name in sys.argv[2:]}
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        with contextlib.suppress(BrokenPipeError):
            ours.send(b"ready")
        while True:
            message, descriptors = _next_order(ours)
            if not message:
                return
            order = json.loads(message)
            with _no_child_is_reaped():
                pid = os.fork()
                if not pid:
                    _set_up_child(ours, descriptors, order["cpu_s"])
                    mains[order["module"]]()
                    return
                pidfd = os.pidfd_open(pid)
            with contextlib.suppress(BrokenPipeError):
                socket.send_fds(ours, [b"%d" % pid], [pidfd])
            for descriptor in (*descriptors, pidfd):
                os.close(descriptor)


def _next_order(ours: socket.socket) -> tuple[bytes, list[int]]:
    """The next order and its descriptors; an empty order if the owner has ended."""
    try:
        message, descriptors, _, _ = socket.recv_fds(ours, _MOST_BYTES, 2)
    except ConnectionResetError:  # it ended without having read our last message
        return b"", []
    return message, descriptors


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@contextmanager
def _no_child_is_reaped() -> Iterator[None]:
    """So that the pid of a new child cannot be reused meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _set_up_child(ours: socket.socket, descriptors: list[int], cpu_s: int | None) -> None:
    """In the new process: keep nothing of this program except what it has imported."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    ours.close()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream, descriptor in enumerate((*descriptors, nowhere)):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    # The child works for a user, so it does not inherit the owner's high priority.
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    if cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
