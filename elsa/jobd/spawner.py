"""Starting programs of ours from what was imported when jobd began, so that nothing of the package
is needed any more while it runs.

An upgrade or a removal replaces the package under a running jobd: a program started from it then
would be another version's, or none. So one program, this module's, is started at the beginning; it
imports all that may be needed, and forks. An order comes over a socket, with the stdin and stdout
of the new program, and is answered with a pidfd of it.
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

# A fork takes a millisecond; without an answer within this time it is given up.
PATIENCE_S = 2.0
_MOST_BYTES = 4096


class Program:
    """A program that was started."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def wait(self, patience_s: float) -> bool:
        """Wait for its end, for at most so long; whether it has ended."""
        return bool(select.select([self._pidfd], [], [], patience_s)[0])

    def close(self) -> None:
        """Forget it."""
        os.close(self._pidfd)


class Spawner:
    """The owner's end: the program that forks the others."""

    def __init__(self, modules: Sequence[str]) -> None:
        """`modules` are those whose `main` can be started; `wait` for them to be imported."""
        self._modules = modules
        self._begin()

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_ready = False
        with theirs:
            program = [
                sys.executable,
                "-P",
                "-c",
                f"from {__name__} import main; main()",
                str(theirs.fileno()),
                *self._modules,
            ]
            self._program = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def wait(self, patience_s: float) -> None:
        """Wait until nothing is to be imported any more. Raises OSError if that takes too long, or
        fails.
        """
        if not self._is_ready:
            self._socket.settimeout(patience_s)
            self._received(0)
            self._is_ready = True

    def start(self, module: str, stdin: int, stdout: int, *, cpu_s: int | None = None) -> Program:
        """Start `main` of a module; after `cpu_s` seconds of CPU time it is ended. Raises OSError
        where that cannot be done.
        """
        if self._program.poll() is not None:
            self.close()
            self._begin()
        self.wait(PATIENCE_S)
        self._socket.settimeout(PATIENCE_S)
        socket.send_fds(
            self._socket, [json.dumps({"module": module, "cpu_s": cpu_s}).encode()], [stdin, stdout]
        )
        try:
            pid, descriptors = self._received(1)
        except TimeoutError:
            self._program.kill()  # else the answer would be taken for that of the next order
            raise
        return Program(int(pid), *descriptors)

    def _received(self, descriptors: int) -> tuple[bytes, list[int]]:
        answer, found, _, _ = socket.recv_fds(self._socket, _MOST_BYTES, descriptors)
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "the program that starts others has ended")
        return answer, found

    def close(self) -> None:
        """End it; what it has started goes on."""
        self._socket.close()
        self._program.kill()
        self._program.wait()


# --- the program
# -----------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Fork a program for every order, until the owner is gone."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # it ends when its owner does, who may still need it
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    mains = {name: importlib.import_module(name).main for name in sys.argv[2:]}
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        ours.send(b"ready")
        while True:
            order, descriptors, _, _ = socket.recv_fds(ours, _MOST_BYTES, 2)
            if not order:
                return
            told = json.loads(order)
            with _no_child_is_reaped():
                pid = os.fork()
                if not pid:
                    _become(ours, descriptors, told["cpu_s"])
                    mains[told["module"]]()
                    return
                pidfd = os.pidfd_open(pid)
            socket.send_fds(ours, [b"%d" % pid], [pidfd])
            for descriptor in (*descriptors, pidfd):
                os.close(descriptor)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@contextmanager
def _no_child_is_reaped() -> Iterator[None]:
    """So that the pid of a new one is its own for as long."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become(ours: socket.socket, descriptors: list[int], cpu_s: int | None) -> None:
    """In the new process: nothing of the spawner's is left but what it has imported."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    ours.close()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream, descriptor in enumerate((*descriptors, nowhere)):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    # What it does for somebody is not more urgent than what others do, however urgent its owner is.
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    if cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
