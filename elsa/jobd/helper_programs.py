"""Programs that jobd starts for what would keep it from hearing: one order each, and one reply,
taken in by jobd's event loop.

A program ends with the client that asked, and when its time is over.
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

SECOND = 1_000_000_000
# At once, of all users together, so that they cannot fill the host's memory; and one of a user.
# Root's come on top.
MOST = 4
# How long one that is told to end may take to take back what is half done.
PATIENCE_S = 5
LIMIT_S = 300


@dataclass
class _Running:
    """A program at work."""

    program: Program
    answer: int
    """The descriptor that its answer comes from."""
    reply: Reply
    until_ns: int
    """When it is told to end."""
    error: ElsaError
    """What is answered where it says nothing."""
    gathered: bytearray = field(default_factory=bytearray)
    told: bool = False


class Helpers:
    """The programs that run now."""

    def __init__(self, selector: selectors.BaseSelector, spawner: Spawner) -> None:
        self._selector = selector
        self._spawner = spawner
        self._running: dict[int, _Running] = {}
        """By user."""

    def start(
        self, module: str, order: str, uid: int, reply: Reply, limit_s: int = LIMIT_S
    ) -> None:
        """Run a module of ours with an order on stdin; its stdout, a line of the protocol, is the
        answer.

        Raises RetryError if too many run.
        """
        if uid in self._running or (uid and len(self._running.keys() - {0}) >= MOST):
            raise RetryError(
                "jobd is busy with another request of this kind; try again when it is done"
            )
        given = os.memfd_create("order", os.MFD_CLOEXEC)
        answer, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        try:
            os.write(given, order.encode())
            os.lseek(given, 0, os.SEEK_SET)
            program = self._spawner.start(module, given, theirs, cpu_s=limit_s)
        except OSError as error:
            os.close(answer)
            raise RetryError(
                f"jobd cannot start a program: {error.strerror or error}; try again"
            ) from None
        finally:
            os.close(given)
            os.close(theirs)
        if isinstance(reply, Answer):
            reply.wait_for(limit_s + 2 * PATIENCE_S)
        ended = ElsaError("the program that jobd started for this was ended")
        self._running[uid] = _Running(
            program, answer, reply, clocks.monotonic_ns() + limit_s * SECOND, ended
        )
        self._selector.register(answer, selectors.EVENT_READ, partial(self._read, uid))

    def tick(self, now_ns: int) -> None:
        """End those whose time is over, and those whose client has gone."""
        for one in self._running.values():
            if now_ns >= one.until_ns:
                one.error = RetryError("it took too long (setting define_s); narrow it")
            elif not isinstance(one.reply, Answer) or one.told or one.reply.wanted:
                continue
            one.program.send(signal.SIGKILL if one.told else signal.SIGTERM)
            one.told, one.until_ns = True, now_ns + PATIENCE_S * SECOND

    def _read(self, uid: int, _mask: int) -> None:
        one = self._running[uid]
        chunk = os.read(one.answer, protocol.MAX_REQUEST)
        one.gathered += chunk
        if chunk:
            return
        self._selector.unregister(one.answer)
        os.close(one.answer)
        one.program.close()
        del self._running[uid]
        try:
            one.reply(protocol.parse_reply(bytes(one.gathered)) if one.gathered else one.error)
        except ElsaError as error:
            one.reply(error)

    def close(self) -> None:
        """End what still runs, with a moment to take back what is half done."""
        for one in self._running.values():
            one.program.send(signal.SIGTERM)
        for one in self._running.values():
            if not one.program.wait(PATIENCE_S):
                one.program.send(signal.SIGKILL)
            one.program.close()
            os.close(one.answer)
        self._running.clear()
