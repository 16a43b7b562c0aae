"""Programs that jobd starts for what would keep it from hearing: one order each, and one reply, taken in by jobd's event loop."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import subprocess
import sys
from functools import partial

from elsa.control import protocol
from elsa.control.server import Reply
from elsa.errors import ElsaError, RetryError

# At once, of all users together, so that they cannot fill the host's memory; and one of a user.
MOST = 4
# A program that computes for longer is ended.
CPU_S = 300
PATIENCE_S = 5


class Helpers:
    """The programs that run now."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, module: str, order: str, uid: int, reply: Reply) -> None:
        """Run a module of ours with an order on stdin; its stdout, a line of the protocol, is the answer.

        Raises RetryError if too many run.
        """
        if uid in self._running or len(self._running) >= MOST:
            raise RetryError("jobd is busy with another request of this kind; try again when it is done")
        given = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            os.write(given, order.encode())
            os.lseek(given, 0, os.SEEK_SET)
            program = subprocess.Popen([sys.executable, "-m", module], stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError as error:
            raise RetryError(f"jobd cannot start a program: {error.strerror}") from None
        finally:
            os.close(given)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(program.pid, resource.RLIMIT_CPU, (CPU_S, CPU_S))
        assert program.stdout is not None  # noqa: S101
        os.set_blocking(program.stdout.fileno(), False)
        self._running[uid] = program
        self._selector.register(program.stdout, selectors.EVENT_READ, partial(self._read, uid, bytearray(), reply))

    def _read(self, uid: int, gathered: bytearray, reply: Reply, _mask: int) -> None:
        program = self._running[uid]
        assert program.stdout is not None  # noqa: S101
        chunk = os.read(program.stdout.fileno(), protocol.MAX_REQUEST)
        gathered += chunk
        if chunk:
            return
        self._selector.unregister(program.stdout)
        program.stdout.close()
        program.wait()
        del self._running[uid]
        try:
            reply(protocol.parse_reply(bytes(gathered)) if gathered else ElsaError("the program that jobd started for this was ended"))
        except ElsaError as error:
            reply(error)

    def close(self) -> None:
        """End what still runs, with a moment to take back what is half done."""
        for program in self._running.values():
            program.terminate()
        for program in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(PATIENCE_S)
            assert program.stdout is not None  # noqa: S101
            program.stdout.close()
        self._running.clear()
