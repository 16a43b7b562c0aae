"""Sends command lines through a separate program, elsa/jobd/redaction.py, which removes secrets.

To search for secrets takes microseconds per byte, and users decide how many bytes there are: too
much for jobd, which has to receive events meanwhile. Users with the fewest bytes waiting come
first. Command lines are withheld if a user, or all users together, have too many bytes waiting, or
if the search takes too long: a withheld command line is unknown, and never stored as it is.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from elsa.config import Config
from elsa.jobd import redaction
from elsa.jobd.spawner import Program, Spawner
from elsa.kernel import clocks
from elsa.units import SECOND_NS

log = logging.getLogger(__name__)

# How many bytes may wait: of a user some twenty of the longest command lines, of all users some
# seconds of work.
MOST_OF_USER = 384 * 1024
MOST = 1024 * 1024
# What a line takes in addition to its bytes.
EACH = 128
# How many bytes are sent at once: they fit into the empty socket, and are a fraction of a second of
# work.
BATCH = 48 * 1024
PATIENCE_NS = 5 * SECOND_NS
# How often at most the program is started again, and a warning about withheld lines is logged.
PAUSE_NS = 10 * SECOND_NS
READ_CHUNK = 256 * 1024

Then = Callable[[str | None], None]
"""Called with the command line without its secrets, or None if it is empty or withheld."""


class _Line(NamedTuple):
    data: bytes
    then: Then


class CommandLines:
    """The lines that wait, the program, and the lines that were sent to it. Raises ConfigError if a
    setting is not valid.
    """

    def __init__(self, selector: selectors.BaseSelector, spawner: Spawner, config: Config) -> None:
        redaction.configured(config)
        self._settings = redaction.settings(config)
        self._selector = selector
        self._spawner = spawner
        self._waiting: dict[int, deque[_Line]] = {}
        self._bytes: dict[int, int] = {}
        self._total = 0
        self._sent: list[_Line] = []
        self._answer = bytearray()
        self._deadline_ns = self._start_at_ns = self._reported_ns = 0
        self._program: Program | None = None
        self._socket: socket.socket | None = None
        self.withheld = 0
        """How many command lines were withheld."""
        self._unreported = 0
        """How many of them since the last warning."""

    @property
    def busy(self) -> bool:
        """Whether lines are being searched, or wait for that."""
        return bool(self._sent or (self._waiting and self._program is not None))

    def submit(self, uid: int | None, data: bytes, then: Then) -> None:
        """Remove the secrets from a command line, which is given as /proc/PID/cmdline shows it."""
        user = -1 if uid is None else uid
        self._waiting.setdefault(user, deque()).append(_Line(data, then))
        self._bytes[user] = self._bytes.get(user, 0) + EACH + len(data)
        self._total += EACH + len(data)
        while self._bytes.get(user, 0) > MOST_OF_USER:
            self._withhold(self._take(user))
        while self._total > MOST:
            self._withhold(self._take(max(self._bytes, key=self._bytes.__getitem__)))
        self._send_next()

    def tick(self, now_ns: int) -> None:
        """End a program that takes too long, and log how many lines were withheld."""
        if self._sent and now_ns >= self._deadline_ns:
            self._fail("it took too long")
        elif self._waiting:
            self._send_next()
        if self._unreported and now_ns - self._reported_ns >= PAUSE_NS:
            log.warning(
                "%d command lines are not stored, since looking for secrets in them would take too"
                " long",
                self._unreported,
            )
            self._reported_ns, self._unreported = now_ns, 0

    def finish(self, patience_s: float) -> None:
        """Wait at most so long for lines that are being searched or wait, withhold the rest, and
        end the program.
        """
        until_ns = clocks.monotonic_ns() + int(patience_s * SECOND_NS)
        while self.busy and self._socket is not None:
            left_ns = until_ns - clocks.monotonic_ns()
            if left_ns <= 0:
                break
            self._socket.settimeout(left_ns / SECOND_NS)
            self._read(0)
        self._withhold_all()
        self._end()

    def _take(self, uid: int) -> _Line:
        """Remove and return the oldest line of a user."""
        lines = self._waiting[uid]
        line = lines.popleft()
        self._bytes[uid] -= EACH + len(line.data)
        self._total -= EACH + len(line.data)
        if not lines:
            del self._waiting[uid], self._bytes[uid]
        return line

    def _withhold(self, line: _Line) -> None:
        self.withheld += 1
        self._unreported += 1
        line.then(None)

    def _withhold_all(self) -> None:
        lines, self._sent = self._sent, []
        while self._waiting:
            lines.append(self._take(next(iter(self._waiting))))
        for line in lines:
            self._withhold(line)

    def _send_next(self) -> None:
        """Send the next lines to the program, if it has none."""
        if self._sent or not self._waiting or not self._start_program():
            return
        size = 0
        for uid in sorted(self._bytes, key=self._bytes.__getitem__):
            while uid in self._waiting and size < BATCH:
                self._sent.append(self._take(uid))
                size += EACH + len(self._sent[-1].data)
        self._deadline_ns = clocks.monotonic_ns() + PATIENCE_NS
        self._send(redaction.framed([line.data for line in self._sent]))

    def _send(self, data: bytes) -> None:
        assert self._socket is not None  # noqa: S101
        try:
            all_sent = self._socket.send(data) == len(data)
        except OSError:
            all_sent = False
        if not all_sent:
            self._fail("it does not read its input")

    def _read(self, _mask: int) -> None:
        assert self._socket is not None  # noqa: S101
        try:
            chunk = self._socket.recv(READ_CHUNK)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            chunk = b""
        self._answer += chunk
        texts = redaction.unframed(self._answer)
        if texts is not None and len(texts) == len(self._sent):
            lines, self._sent, self._answer = self._sent, [], bytearray()
            for line, text in zip(lines, texts, strict=True):
                line.then(text.decode() or None)
            self._send_next()
        elif not chunk or texts is not None:
            self._fail("it ended")

    def _start_program(self) -> bool:
        """Start the program if it does not run; returns whether it runs."""
        if self._program is not None:
            return True
        now_ns = clocks.monotonic_ns()
        if now_ns < self._start_at_ns:
            return False
        self._start_at_ns = now_ns + PAUSE_NS
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._program = self._spawner.start(
                    redaction.__name__, theirs.fileno(), theirs.fileno()
                )
        except OSError as error:
            log.error(
                "the program that looks for secrets in command lines cannot be started (%s); no"
                " command line is stored",
                error.strerror or error,
            )
            self._socket.close()
            self._socket = None
            self._withhold_all()
            return False
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self._read)
        self._send(redaction.framed(self._settings))
        return self._program is not None

    def _fail(self, why: str) -> None:
        """End the program and withhold the lines that were sent to it; it is started again for the
        next lines.
        """
        log.warning("the program that looks for secrets in command lines failed: %s", why)
        lines, self._sent, self._answer = self._sent, [], bytearray()
        self._end()
        for line in lines:
            self._withhold(line)

    def _end(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        if self._program is not None:
            self._program.send(signal.SIGKILL)
            self._program.close()
            self._program = None
