"""Programs that jobd starts for requests that take too long for itself. Each gets one order and
gives one reply, which jobd's event loop reads; or it gets the connection of the client too.

A user has one at a time: a further request waits until it is done. A program is ended when its
client goes away, and when its time is over.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable
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
# How long a request waits for other programs to end.
WAIT_S = 60


@dataclass
class _Running:
    """A program that runs."""

    program: Program
    answer: int | None
    """The descriptor from which its answer is read; None: it answers its client by itself."""
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
        return self.answer is None or _is_wanted(self.reply)

    def close(self) -> None:
        """Give its descriptors back."""
        self.program.close()
        if self.answer is not None:
            os.close(self.answer)


@dataclass(eq=False)
class _Waiting:
    """A request for a program that cannot start yet."""

    uid: int
    reply: Reply
    start: Callable[[], None]
    """Starts the program; raises RetryError."""
    until_ns: int
    """When it is refused."""


class HelperPrograms:
    """The programs that run now, and the requests that wait for them."""

    def __init__(self, selector: selectors.BaseSelector, spawner: Spawner) -> None:
        self._selector = selector
        self._spawner = spawner
        self._running: dict[int, _Running] = {}
        """By uid."""
        self._waiting: list[_Waiting] = []
        """Oldest first."""

    def start(
        self, module: str, order: str, uid: int, reply: Reply, limit_s: int = LIMIT_S
    ) -> None:
        """Run a module with an order on stdin; its stdout, a line of the protocol, is the answer.
        It starts when the user has no other program and not too many run.
        """
        start = partial(self._start, module, order, uid, reply, limit_s)
        self._start_when_free(uid, reply, limit_s, start)

    def start_with_connection(
        self, module: str, order: str, uid: int, answer: Answer, limit_s: int = LIMIT_S
    ) -> None:
        """The same for a module that gets the client's connection as its stdout and answers by
        itself.
        """
        start = partial(self._start_with_connection, module, order, uid, answer, limit_s)
        self._start_when_free(uid, answer, limit_s, start)

    def _start_when_free(
        self, uid: int, reply: Reply, limit_s: int, start: Callable[[], None]
    ) -> None:
        if isinstance(reply, Answer):
            reply.wait_for(WAIT_S + limit_s + 2 * PATIENCE_S)
        self._waiting.append(_Waiting(uid, reply, start, _end_ns(WAIT_S)))
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Start the programs for which there is room now."""
        for waiting in list(self._waiting):
            if not self._has_room(waiting.uid):
                continue
            self._waiting.remove(waiting)
            try:
                if _is_wanted(waiting.reply):
                    waiting.start()
            except ElsaError as error:
                waiting.reply(error)

    def _has_room(self, uid: int) -> bool:
        others = self._running.keys() - {0}
        return uid not in self._running and (uid == 0 or len(others) < MOST)

    def _start(self, module: str, order: str, uid: int, reply: Reply, limit_s: int) -> None:
        answer, stdout = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(stdout, True)
        try:
            program = self._program(module, order, stdout, limit_s)
        except RetryError:
            os.close(answer)
            raise
        finally:
            os.close(stdout)
        self._running[uid] = _Running(program, answer, reply, _end_ns(limit_s), _no_answer())
        self._selector.register(answer, selectors.EVENT_READ, partial(self._read, uid, answer))

    def _start_with_connection(
        self, module: str, order: str, uid: int, answer: Answer, limit_s: int
    ) -> None:
        with answer.hand_over() as connection:
            try:
                program = self._program(module, order, connection.fileno(), limit_s)
            except RetryError as error:
                connection.send(protocol.encode_reply(error))
                return
        # The client is not jobd's any more, so this reply reaches nobody.
        self._running[uid] = _Running(program, None, answer, _end_ns(limit_s), _no_answer())
        self._selector.register(program.pidfd, selectors.EVENT_READ, partial(self._ended, uid))

    def _program(self, module: str, order: str, stdout: int, limit_s: int) -> Program:
        stdin = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            os.write(stdin, order.encode())
            os.lseek(stdin, 0, os.SEEK_SET)
            return self._spawner.start(module, stdin, stdout, cpu_s=limit_s)
        except OSError as error:
            raise RetryError(
                f"jobd cannot start a program: {error.strerror or error}; try again"
            ) from None
        finally:
            os.close(stdin)

    def tick(self, now_ns: int) -> None:
        """End programs whose time is over or whose client has gone away, and refuse requests that
        waited too long.
        """
        for running in self._running.values():
            if now_ns >= running.until_ns:
                running.error = RetryError(
                    "the search took too long (setting define_s); select fewer processes"
                )
            elif running.terminated or running.wanted:
                continue
            running.program.send(signal.SIGKILL if running.terminated else signal.SIGTERM)
            running.terminated, running.until_ns = True, now_ns + PATIENCE_S * SECOND_NS
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if now_ns >= request.until_ns:
                request.reply(
                    RetryError(
                        f"jobd was busy with other requests of this kind for {WAIT_S} s; try again"
                        " when they are done"
                    )
                )
            elif _is_wanted(request.reply):
                self._waiting.append(request)

    def _read(self, uid: int, answer: int, _mask: int) -> None:
        running = self._running[uid]
        chunk = os.read(answer, protocol.MAX_REQUEST)
        running.gathered += chunk
        if chunk:
            return
        self._selector.unregister(answer)
        running.close()
        del self._running[uid]
        text = bytes(running.gathered)
        try:
            running.reply(protocol.parse_reply(text) if text else running.error)
        except ElsaError as error:
            running.reply(error)
        self._start_waiting()

    def _ended(self, uid: int, _mask: int) -> None:
        """A program that answers by itself has ended."""
        running = self._running.pop(uid)
        self._selector.unregister(running.program.pidfd)
        running.close()
        self._start_waiting()

    def close(self) -> None:
        """End all programs, with a moment to roll back. Requests that wait get no answer."""
        self._waiting.clear()
        for running in self._running.values():
            running.program.send(signal.SIGTERM)
        for running in self._running.values():
            if not running.program.wait(PATIENCE_S):
                running.program.send(signal.SIGKILL)
            running.close()
        self._running.clear()


def _is_wanted(reply: Reply) -> bool:
    """Whether a client still waits for a reply."""
    return not isinstance(reply, Answer) or reply.wanted


def _end_ns(limit_s: int) -> int:
    return clocks.monotonic_ns() + limit_s * SECOND_NS


def _no_answer() -> ElsaError:
    return ElsaError("the program that jobd started for this request was ended")
