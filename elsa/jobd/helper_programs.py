"""Programs that jobd starts for requests that take too long for itself. Each gets one order and
gives one reply, which jobd's event loop reads.

A program is ended when its client goes away, and when its time is over.
"""

from __future__ import annotations

import os
import selectors
import signal
from dataclasses import dataclass, field
from functools import partial

from elsa.control import protocol
from elsa.control.server import Answer, Reply
from elsa.errors import ElsaError, RetryError
from elsa.jobd.spawner import Program, Spawner
from elsa.kernel import clocks
from elsa.units import SECOND_NS

# How many programs may run at once for all users except root, so that they cannot fill the host's
# memory. A user may have one.
MOST = 4
# How long a program may take to roll back and end after a signal.
PATIENCE_S = 5
LIMIT_S = 300


@dataclass
class _Running:
    """A program that runs."""

    program: Program
    answer: int
    """The descriptor from which its answer is read."""
    reply: Reply
    until_ns: int
    """When it is to be ended."""
    error: ElsaError
    """The reply if the program ends without an answer."""
    gathered: bytearray = field(default_factory=bytearray)
    terminated: bool = False
    """SIGTERM was sent."""

    @property
    def wanted(self) -> bool:
        """Whether a client still waits for the answer."""
        return not isinstance(self.reply, Answer) or self.reply.wanted


class HelperPrograms:
    """The programs that run now."""

    def __init__(self, selector: selectors.BaseSelector, spawner: Spawner) -> None:
        self._selector = selector
        self._spawner = spawner
        self._running: dict[int, _Running] = {}
        """By uid."""

    def start(
        self, module: str, order: str, uid: int, reply: Reply, limit_s: int = LIMIT_S
    ) -> None:
        """Run a module with an order on stdin; its stdout, a line of the protocol, is the answer.

        Raises RetryError if too many programs run.
        """
        if uid in self._running or (uid and len(self._running.keys() - {0}) >= MOST):
            raise RetryError(
                "jobd is busy with another request of this kind; try again when it is done"
            )
        stdin = os.memfd_create("order", os.MFD_CLOEXEC)
        answer, stdout = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(stdout, True)
        try:
            os.write(stdin, order.encode())
            os.lseek(stdin, 0, os.SEEK_SET)
            program = self._spawner.start(module, stdin, stdout, cpu_s=limit_s)
        except OSError as error:
            os.close(answer)
            raise RetryError(
                f"jobd cannot start a program: {error.strerror or error}; try again"
            ) from None
        finally:
            os.close(stdin)
            os.close(stdout)
        if isinstance(reply, Answer):
            reply.wait_for(limit_s + 2 * PATIENCE_S)
        until_ns = clocks.monotonic_ns() + limit_s * SECOND_NS
        no_answer = ElsaError("the program that jobd started for this request was ended")
        self._running[uid] = _Running(program, answer, reply, until_ns, no_answer)
        self._selector.register(answer, selectors.EVENT_READ, partial(self._read, uid))

    def tick(self, now_ns: int) -> None:
        """End programs whose time is over or whose client has gone away."""
        for running in self._running.values():
            if now_ns >= running.until_ns:
                running.error = RetryError(
                    "the search took too long (setting define_s); select fewer processes"
                )
            elif running.terminated or running.wanted:
                continue
            running.program.send(signal.SIGKILL if running.terminated else signal.SIGTERM)
            running.terminated, running.until_ns = True, now_ns + PATIENCE_S * SECOND_NS

    def _read(self, uid: int, _mask: int) -> None:
        running = self._running[uid]
        chunk = os.read(running.answer, protocol.MAX_REQUEST)
        running.gathered += chunk
        if chunk:
            return
        self._selector.unregister(running.answer)
        os.close(running.answer)
        running.program.close()
        del self._running[uid]
        text = bytes(running.gathered)
        try:
            running.reply(protocol.parse_reply(text) if text else running.error)
        except ElsaError as error:
            running.reply(error)

    def close(self) -> None:
        """End all programs, with a moment to roll back."""
        for running in self._running.values():
            running.program.send(signal.SIGTERM)
        for running in self._running.values():
            if not running.program.wait(PATIENCE_S):
                running.program.send(signal.SIGKILL)
            running.program.close()
            os.close(running.answer)
        self._running.clear()
