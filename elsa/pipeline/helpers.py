"""Programs that jobd starts for what would keep it from hearing: one order each, and one reply, taken in by jobd's event loop."""

from __future__ import annotations

import os
import selectors
import signal
from functools import partial

from elsa.control import protocol
from elsa.control.server import Reply
from elsa.errors import ElsaError, RetryError
from elsa.pipeline.spawner import Program, Spawner

# At once, of all users together, so that they cannot fill the host's memory; and one of a user.
MOST = 4
# A program that computes for longer is ended.
CPU_S = 300
PATIENCE_S = 5


class Helpers:
    """The programs that run now."""

    def __init__(self, selector: selectors.BaseSelector, spawner: Spawner) -> None:
        self._selector = selector
        self._spawner = spawner
        self._running: dict[int, tuple[Program, int]] = {}
        """By user: the program, and the descriptor that its answer comes from."""

    def start(self, module: str, order: str, uid: int, reply: Reply) -> None:
        """Run a module of ours with an order on stdin; its stdout, a line of the protocol, is the answer.

        Raises RetryError if too many run.
        """
        if uid in self._running or len(self._running) >= MOST:
            raise RetryError("jobd is busy with another request of this kind; try again when it is done")
        given = os.memfd_create("order", os.MFD_CLOEXEC)
        answer, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        try:
            os.write(given, order.encode())
            os.lseek(given, 0, os.SEEK_SET)
            program = self._spawner.start(module, given, theirs, cpu_s=CPU_S)
        except OSError as error:
            os.close(answer)
            raise RetryError(f"jobd cannot start a program: {error.strerror or error}; try again") from None
        finally:
            os.close(given)
            os.close(theirs)
        self._running[uid] = program, answer
        self._selector.register(answer, selectors.EVENT_READ, partial(self._read, uid, bytearray(), reply))

    def _read(self, uid: int, gathered: bytearray, reply: Reply, _mask: int) -> None:
        program, answer = self._running[uid]
        chunk = os.read(answer, protocol.MAX_REQUEST)
        gathered += chunk
        if chunk:
            return
        self._selector.unregister(answer)
        os.close(answer)
        program.close()
        del self._running[uid]
        try:
            reply(protocol.parse_reply(bytes(gathered)) if gathered else ElsaError("the program that jobd started for this was ended"))
        except ElsaError as error:
            reply(error)

    def close(self) -> None:
        """End what still runs, with a moment to take back what is half done."""
        for program, _ in self._running.values():
            program.send(signal.SIGTERM)
        for program, answer in self._running.values():
            program.wait(PATIENCE_S)
            program.close()
            os.close(answer)
        self._running.clear()
