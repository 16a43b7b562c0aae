"""The server's end of the control socket, driven by the event loop of its owner. A client that
misbehaves harms only itself.

The owner calls `key.data(mask)` for every ready key of the selector, and expire() several times a
second.
"""

from __future__ import annotations

import enum
import functools
import logging
import select
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elsa.control import operations, protocol
from elsa.control.listener import Listener
from elsa.control.peer import Peer, peer_of, uid_of
from elsa.errors import DataError, ElsaError, RetryError, UsageError
from elsa.kernel import accounts

__all__ = ["Answer", "ControlServer", "Handler", "Peer", "Reply"]

MAX_CLIENTS = 128
"""Connections of all users except root, who has his own, so that nobody can lock root out."""
MAX_CLIENTS_PER_USER = 16
MAX_CLIENTS_ROOT = 64
MAX_REPLY = 8 * 1024 * 1024
"""Bytes: a list of a thousand jobs with the longest tags."""
MAX_REPLY_MANAGER = 64 * 1024 * 1024
MAX_UNREAD = 64 * 1024 * 1024
"""Bytes of replies to all users except root that wait to be read; a user may have as many as a
reply may have.
"""
SMALL_REPLY = 64 * 1024
"""A reply of at most this many bytes may always wait."""
MAX_ACCEPTS = 32
"""Connections taken in one turn of the loop."""
MAX_SHARE = 0.2
"""Share of a CPU that the requests of a user may take; managers are not limited."""
BURST_S = 0.1
"""CPU seconds that a user may take at once before his requests have to wait."""
READ_CHUNK = 16 * 1024
WRITE_CHUNK = 256 * 1024

Reply = Callable[[Mapping[str, Any] | ElsaError], None]
"""Answers one request, at once or later; only the first call counts, and it does no harm if the
client is gone.
"""
Handler = Callable[[operations.Request, Peer, Reply], None]
"""Takes a request; calls the reply now or later, or raises an ElsaError."""

_log = logging.getLogger("elsa.control")


@enum.unique
class _Phase(enum.Enum):
    """Where a client is between two requests; the value is how many seconds it may stay there, and
    why it may not longer.
    """

    READING = (10.0, "no whole request came within 10 s")
    READY = (60.0, "jobd is busy with your other requests")
    ASKED = (60.0, "jobd has not finished this within 60 s; it may still do it")
    WRITING = (10.0, "")
    GONE = (0.0, "")


_TOO_MANY = "too many connections to jobd; try again"
_REFUSAL = protocol.encode_reply(RetryError(_TOO_MANY))
_INFINITE = float("inf")
_EVENTS = {
    _Phase.READING: selectors.EVENT_READ,
    _Phase.READY: selectors.EVENT_WRITE,
    _Phase.WRITING: selectors.EVENT_WRITE,
}


class _Client:
    """One connection."""

    def __init__(self, connection: socket.socket, peer: Peer) -> None:
        self.connection = connection
        self.peer = peer
        self.phase = _Phase.READING
        self.since_s: float | None = None  # when expire() first saw it in this phase
        self.asked = 0  # requests so far, so that a reply is known to belong to the present one
        self.incoming = bytearray()
        self.outgoing = memoryview(b"")
        self.last = False  # close when `outgoing` is written
        self.patience_s: float | None = (
            None  # how long the present request may take, where it is not as long as others
        )


class Answer:
    """The Reply to a request that came over the socket."""

    def __init__(self, server: ControlServer, client: _Client) -> None:
        self._server = server
        self._client = client
        self._asked = client.asked

    def __call__(self, reply: Mapping[str, Any] | ElsaError) -> None:
        """Answer, if nobody has yet."""
        if self._waits:
            self._server._reply(self._client, reply)

    @property
    def _waits(self) -> bool:
        return self._client.phase is _Phase.ASKED and self._client.asked == self._asked

    @property
    def wanted(self) -> bool:
        """Whether the client still waits for it. One that only has nothing more to say does."""
        if not self._waits:
            return False
        poll = select.poll()
        poll.register(self._client.connection, 0)
        return not poll.poll(0)

    def hand_over(self) -> socket.socket:
        """The connection, which the server forgets: whoever takes it answers and closes it. Raises
        RetryError if the client has gone.
        """
        if not self._waits:
            raise RetryError("the client has gone")
        self._server._forget(self._client)
        return self._client.connection

    def wait_for(self, patience_s: float) -> None:
        """Let it take so long, and not as long as others."""
        self._client.patience_s = patience_s


class ControlServer:
    """Takes requests on `path` and hands them to `handler`, one at a time per client.

    Root and the members of `group` are a Peer that `manages`; the handler decides what a Peer may
    do. `cpu_s` returns the CPU time of this thread, by which a user's requests are charged. Raises
    what Listener raises.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        path: Path,
        group: str,
        handler: Handler,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._selector = selector
        self._handler = handler
        self._manager_gid = _gid(group)
        self._clients: set[_Client] = set()
        self._connections: Counter[int] = Counter()
        """How many of them each user has."""
        self._cpu_s = cpu_s
        self._charged: dict[int, float] = {}  # uid -> CPU seconds that are not forgiven yet
        self._charging = False
        self._now_s: float | None = None
        self._listener = Listener(path)
        self._listening = False
        self._listen()

    def expire(self, now_s: float) -> None:
        """Drop the clients that took too long and let those go on that had asked too much. `now_s`
        is any clock that never steps.
        """
        self._forgive(now_s)
        self._listen()
        for client in list(self._clients):
            limit_s, reason = client.phase.value
            if client.phase is _Phase.ASKED and client.patience_s is not None:
                limit_s = client.patience_s
            if client.since_s is None:
                client.since_s = now_s
            elif now_s - client.since_s > limit_s:
                self._give_up(client, reason)
            if client.phase is _Phase.READY and not self._overdrawn(client.peer):
                self._watch(client, _Phase.READY)

    def stay(self) -> bool:
        """Take the path again if somebody removed the socket; returns whether that was needed.
        Raises what Listener raises.
        """
        if self._listener.is_in_place():
            return False
        self._deafen()
        self._listener.close()
        self._listener = Listener(self._listener.path)
        self._listen()
        return True

    def close(self) -> None:
        """Hang up on everybody and give the path back."""
        for client in list(self._clients):
            self._drop(client)
        self._deafen()
        self._listener.close()

    def _forgive(self, now_s: float) -> None:
        earned_s = MAX_SHARE * (now_s - self._now_s) if self._now_s is not None else 0.0
        self._now_s = now_s
        self._charged = {
            uid: left_s
            for uid, charged_s in self._charged.items()
            if (left_s := charged_s - earned_s) > 0
        }

    @contextmanager
    def charged(self, uid: int) -> Iterator[None]:
        """Charge the CPU time of this block to a user."""
        if self._charging:
            yield
            return
        self._charging, started_s = True, self._cpu_s()
        try:
            yield
        finally:
            self._charging = False
            self._charged[uid] = self._charged.get(uid, 0.0) + self._cpu_s() - started_s

    def charge_of(self, uid: int) -> float:
        """CPU seconds that a user is still charged for; users with the fewest come first."""
        return self._charged.get(uid, 0.0)

    def _overdrawn(self, peer: Peer) -> bool:
        return not peer.manages and self._charged.get(peer.uid, 0.0) >= BURST_S

    def _listen(self) -> None:
        if not self._listening:
            self._selector.register(self._listener.socket, selectors.EVENT_READ, self._accept)
            self._listening = True

    def _deafen(self) -> None:
        if self._listening:
            self._selector.unregister(self._listener.socket)
            self._listening = False

    def _accept(self, _mask: int) -> None:
        for _ in range(MAX_ACCEPTS):
            try:
                connection, _ = self._listener.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            # out of file descriptors: the connection stays queued, so asking again at once would
            # spin
            except OSError as error:
                _log.warning("cannot accept a connection: %s", error.strerror)
                self._deafen()
                return
            self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            # First of all, and with as little as possible, since who is refused comes again at
            # once.
            if self._is_refused(uid_of(connection)):
                connection.send(_REFUSAL)
                connection.close()
                return
            client = _Client(connection, peer_of(connection, self._manager_gid))
        except OSError:
            connection.close()
            return
        self._clients.add(client)
        self._connections[client.peer.uid] += 1
        self._watch(client, _Phase.READING)

    def _is_refused(self, uid: int) -> bool:
        """Whether a user has too many connections. If all are in use, the user who has most of them
        loses one.
        """
        own = self._connections[uid]
        if uid == 0 or own >= MAX_CLIENTS_PER_USER:
            return own >= (MAX_CLIENTS_ROOT if uid == 0 else MAX_CLIENTS_PER_USER)
        if len(self._clients) - self._connections[0] < MAX_CLIENTS:
            return False
        others = [client for client in self._clients if client.peer.uid != 0]
        most = max(self._connections[client.peer.uid] for client in others)
        # A user's only connection is not dropped while its request is being carried out.
        candidates = [client for client in others if self._connections[client.peer.uid] == most]
        if most == 1:
            candidates = [client for client in candidates if client.phase is not _Phase.ASKED]
        if most <= own or not candidates:
            return True

        # The client that has made no progress for longest; not one that has just connected.
        def order(client: _Client) -> tuple[bool, float]:
            since_s = _INFINITE if client.since_s is None else client.since_s
            return client.phase is _Phase.ASKED, since_s

        client = min(candidates, key=order)
        self._give_up(client, _TOO_MANY)
        if client.phase is not _Phase.GONE:
            self._drop(client)
        return False

    def _turn(self, client: _Client, _mask: int) -> None:
        """A client's socket is ready. What to do follows from its phase alone: the mask may be
        older than the phase.
        """
        if client.phase is _Phase.READING:
            self._read(client)
        elif client.phase is _Phase.READY:
            self._ask(client)
        elif client.phase is _Phase.WRITING:
            self._write(client)

    def _read(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(READ_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        client.incoming += chunk
        if not chunk:
            self._drop(client)
        elif b"\n" in chunk:
            self._ask(client)
        elif len(client.incoming) > protocol.MAX_REQUEST:
            self._refuse_length(client)

    def _ask(self, client: _Client) -> None:
        """Hand the first line that waits to the handler, unless the user has had his share."""
        if self._overdrawn(client.peer):
            self._watch(client, _Phase.READY, events=0)
            return
        line, _, rest = client.incoming.partition(b"\n")
        if len(line) > protocol.MAX_REQUEST:
            self._refuse_length(client)
            return
        client.incoming = rest
        client.asked += 1
        client.patience_s = None
        self._watch(client, _Phase.ASKED)
        answer = Answer(self, client)
        with self.charged(client.peer.uid):
            carry_out(
                lambda: self._handler(operations.parse_request(bytes(line)), client.peer, answer),
                client.peer,
                answer,
            )

    def _reply(self, client: _Client, reply: Mapping[str, Any] | ElsaError) -> None:
        with self.charged(client.peer.uid):
            line = protocol.encode_reply(reply)
        most = MAX_REPLY_MANAGER if client.peer.manages else MAX_REPLY
        if len(line) > most:
            line = protocol.encode_reply(
                DataError(f"the answer would be {len(line)} bytes long, above {most}; ask for less")
            )
        elif len(line) > SMALL_REPLY and not self._has_room(client.peer, len(line)):
            line = protocol.encode_reply(
                RetryError(
                    "answers that were not read take too much room; read them, and try again"
                )
            )
        self._send(client, line)

    def _has_room(self, peer: Peer, size: int) -> bool:
        others = [client for client in self._clients if client.peer.uid != 0]
        own = sum(len(client.outgoing) for client in others if client.peer.uid == peer.uid)
        return peer.manages or (
            own + size <= MAX_REPLY
            and sum(len(client.outgoing) for client in others) + size <= MAX_UNREAD
        )

    def _refuse_length(self, client: _Client) -> None:
        self._finish(client, UsageError(f"a request is at most {protocol.MAX_REQUEST} bytes long"))

    def _finish(self, client: _Client, error: ElsaError) -> None:
        """Say why, then hang up."""
        client.last = True
        self._send(client, protocol.encode_reply(error))

    def _send(self, client: _Client, line: bytes) -> None:
        client.outgoing = memoryview(line)
        self._watch(client, _Phase.WRITING)
        self._write(client)

    def _write(self, client: _Client) -> None:
        try:
            sent = client.connection.send(client.outgoing[:WRITE_CHUNK])
        except BlockingIOError:
            return
        except OSError:  # it hung up
            self._drop(client)
            return
        client.outgoing = client.outgoing[sent:]
        if client.outgoing:
            return
        if client.last:
            self._drop(client)
        else:  # a request that came along with the last one waits for the next turn of the loop
            self._watch(client, _Phase.READY if b"\n" in client.incoming else _Phase.READING)

    def _give_up(self, client: _Client, reason: str) -> None:
        """Its time is over: say so where something was asked, else just hang up."""
        if reason and (client.incoming or client.phase is _Phase.ASKED):
            self._finish(client, RetryError(reason))
        if client.phase is not _Phase.GONE:  # it does not even take the error
            self._drop(client)

    def _watch(self, client: _Client, phase: _Phase, events: int | None = None) -> None:
        """Enter a phase and listen for what ends it. While the handler has the request, nothing
        does, and nothing more is read.
        """
        if phase is not client.phase:
            client.phase, client.since_s = phase, None
        events = _EVENTS.get(phase, 0) if events is None else events
        watched = self._selector.get_map().get(client.connection)
        if watched is None and events:
            self._selector.register(
                client.connection, events, functools.partial(self._turn, client)
            )
        elif watched is not None and not events:
            self._selector.unregister(client.connection)
        elif watched is not None and watched.events != events:
            self._selector.modify(client.connection, events, watched.data)

    def _drop(self, client: _Client) -> None:
        if client.phase is not _Phase.GONE:
            self._forget(client)
            client.connection.close()

    def _forget(self, client: _Client) -> None:
        self._watch(client, _Phase.GONE)
        self._clients.discard(client)
        self._connections -= Counter([client.peer.uid])


def carry_out(work: Callable[[], None], peer: Peer, reply: Reply) -> None:
    """Do what was asked for; an error that is raised is the answer."""
    try:
        work()
    except ElsaError as error:
        reply(error)
    except Exception as error:  # a bug of ours; it must not be a way to end the daemon
        _log.exception("a request of user %d failed", peer.uid)
        reply(ElsaError(f"jobd failed on this request ({type(error).__name__}); see its log"))


def _gid(group: str) -> int | None:
    """None where there is no such group: root alone manages then."""
    try:
        return accounts.gid(group)
    except KeyError:
        return None
