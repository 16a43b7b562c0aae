"""Command lines on their way through a program of its own, elsa/jobd/redaction.py, that takes the
secrets out of them.

To look for secrets takes microseconds for each byte, and whoever executes programs decides how many
bytes there are: too much for jobd, which has to hear meanwhile. Who has the least waiting comes
first. What a user, or all together, have too much of is withheld, and so is what is not done in
time: such a command line is unknown, and never stored as it is.
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

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
# Bytes that may wait: of a user some twenty of the longest command lines, of all some seconds of
# work.
MOST_OF_USER = 384 * 1024
MOST = 1024 * 1024
# What a line takes besides.
EACH = 128
# Bytes handed over at once: they fit into the socket, which is empty then, and are a fraction of a
# second of work.
BATCH = 48 * 1024
PATIENCE_NS = 5 * SECOND
# How often the program is started again, and how often it is told that something was withheld.
PAUSE_NS = 10 * SECOND
READ_CHUNK = 256 * 1024

Then = Callable[[str | None], None]
"""Takes the command line without its secrets, or None where there is none or it is withheld."""


class _Line(NamedTuple):
    data: bytes
    then: Then


class Cmdlines:
    """The lines that wait, the program, and the lines that it has. Raises ConfigError where a
    setting makes no sense.
    """

    def __init__(self, selector: selectors.BaseSelector, spawner: Spawner, config: Config) -> None:
        redaction.configured(config)
        self._settings = redaction.settings(config)
        self._selector = selector
        self._spawner = spawner
        self._waiting: dict[int, deque[_Line]] = {}
        self._bytes: dict[int, int] = {}
        self._total = 0
        self._given: list[_Line] = []
        self._answer = bytearray()
        self._deadline_ns = self._start_at_ns = self._told_ns = 0
        self._program: Program | None = None
        self._socket: socket.socket | None = None
        self.withheld = 0
        """So many command lines were withheld."""
        self._untold = 0

    @property
    def busy(self) -> bool:
        """Whether lines are being searched, or wait for that."""
        return bool(self._given or (self._waiting and self._program is not None))

    def submit(self, uid: int | None, data: bytes, then: Then) -> None:
        """Have the secrets taken out of a command line as /proc/PID/cmdline shows it."""
        whose = -1 if uid is None else uid
        self._waiting.setdefault(whose, deque()).append(_Line(data, then))
        self._bytes[whose] = self._bytes.get(whose, 0) + EACH + len(data)
        self._total += EACH + len(data)
        while self._bytes.get(whose, 0) > MOST_OF_USER:
            self._withhold(self._take(whose))
        while self._total > MOST:
            self._withhold(self._take(max(self._bytes, key=self._bytes.__getitem__)))
        self._give()

    def tick(self, now_ns: int) -> None:
        """Give up on a program that takes too long, and say what was withheld."""
        if self._given and now_ns >= self._deadline_ns:
            self._fail("it took too long")
        elif self._waiting:
            self._give()
        if self._untold and now_ns - self._told_ns >= PAUSE_NS:
            log.warning(
                "%d command lines are not stored, since looking for secrets in them would take too"
                " long",
                self._untold,
            )
            self._told_ns, self._untold = now_ns, 0

    def finish(self, patience_s: float) -> None:
        """Wait for what is under way, for at most so long, and end the program; what is left then
        is withheld.
        """
        until_ns = clocks.monotonic_ns() + int(patience_s * SECOND)
        while (
            self.busy
            and self._socket is not None
            and (left_ns := until_ns - clocks.monotonic_ns()) > 0
        ):
            self._socket.settimeout(left_ns / SECOND)
            self._read(0)
        self._withhold_all()
        self._end()

    def _take(self, uid: int) -> _Line:
        """The oldest line of a user."""
        lines = self._waiting[uid]
        line = lines.popleft()
        self._bytes[uid] -= EACH + len(line.data)
        self._total -= EACH + len(line.data)
        if not lines:
            del self._waiting[uid], self._bytes[uid]
        return line

    def _withhold(self, line: _Line) -> None:
        self.withheld += 1
        self._untold += 1
        line.then(None)

    def _withhold_all(self) -> None:
        lines, self._given = self._given, []
        while self._waiting:
            lines.append(self._take(next(iter(self._waiting))))
        for line in lines:
            self._withhold(line)

    def _give(self) -> None:
        """Hand over the next lines, if the program has none."""
        if self._given or not self._waiting or not self._is_there():
            return
        size = 0
        for uid in sorted(self._bytes, key=self._bytes.__getitem__):
            while uid in self._waiting and size < BATCH:
                self._given.append(self._take(uid))
                size += EACH + len(self._given[-1].data)
        self._deadline_ns = clocks.monotonic_ns() + PATIENCE_NS
        self._send(redaction.framed([line.data for line in self._given]))

    def _send(self, data: bytes) -> None:
        assert self._socket is not None  # noqa: S101
        try:
            whole = self._socket.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._fail("it takes nothing")

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
        if texts is not None and len(texts) == len(self._given):
            given, self._given, self._answer = self._given, [], bytearray()
            for line, text in zip(given, texts, strict=True):
                line.then(text.decode() or None)
            self._give()
        elif not chunk or texts is not None:
            self._fail("it ended")

    def _is_there(self) -> bool:
        """Whether there is a program; starts one."""
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
                "the program that looks for secrets in command lines cannot be started (%s): none"
                " is stored",
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
        """Let go of the program, and of what it has; another one is started for what comes."""
        log.warning("the program that looks for secrets in command lines failed: %s", why)
        given, self._given, self._answer = self._given, [], bytearray()
        self._end()
        for line in given:
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
