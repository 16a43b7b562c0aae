"""The server's end of the control socket, driven by the event loop of its owner; a bad client costs nothing but itself.

The owner calls `key.data(mask)` for every ready key of the selector, and expire() several times a second.
"""

from __future__ import annotations

import enum
import functools
import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elsa.control import protocol
from elsa.control.listener import Listener
from elsa.control.peer import Peer, peer_of
from elsa.errors import DataError, ElsaError, RetryError, UsageError
from elsa.kernel import accounts

__all__ = ["ControlServer", "Handler", "Peer", "Reply"]

MAX_CLIENTS = 128
"""Connections of all users but root, who has his own: nobody can shut him out."""
MAX_CLIENTS_PER_USER = 16
MAX_CLIENTS_ROOT = 64
MAX_REPLY = 8 * 1024 * 1024
"""Bytes: a list of a thousand jobs with the longest tags."""
MAX_REPLY_MANAGER = 64 * 1024 * 1024
MAX_ACCEPTS = 16
"""Connections taken in one turn of the loop."""
MAX_SHARE = 0.2
"""Part of one CPU that the requests of one user may take; managers are trusted."""
BURST_S = 0.1
"""CPU seconds that a user may take at once before his requests have to wait."""
READ_CHUNK = 16 * 1024
WRITE_CHUNK = 256 * 1024

Reply = Callable[[Mapping[str, Any] | ElsaError], None]
"""Answers one request, at once or later; only the first call counts, and it does no harm if the client is gone."""
Handler = Callable[[protocol.Request, Peer, Reply], None]
"""Takes a request; calls the reply now or later, or raises an ElsaError."""

_log = logging.getLogger("elsa.control")


@enum.unique
class _Phase(enum.Enum):
    """Where a client is between two requests; the value is how many seconds it may stay there, and why it may not longer."""

    READING = (10.0, "no whole request came within 10 s")
    READY = (60.0, "jobd is busy with your other requests")
    ASKED = (60.0, "jobd has not finished this within 60 s; it may still do it")
    WRITING = (10.0, "")
    GONE = (0.0, "")


_EVENTS = {_Phase.READING: selectors.EVENT_READ, _Phase.READY: selectors.EVENT_WRITE, _Phase.WRITING: selectors.EVENT_WRITE}


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


class ControlServer:
    """Takes requests on `path` and hands them to `handler`, one at a time per client.

    Root and the members of `group` come as a Peer that `manages`; what a Peer may do is the handler's affair.
    `cpu_s` tells the CPU time of this thread, which is what a user's requests are charged. Raises what Listener raises.
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
        self._cpu_s = cpu_s
        self._charged: dict[int, float] = {}  # uid -> CPU seconds that are not forgiven yet
        self._now_s: float | None = None
        self._listener = Listener(path)
        self._listening = False
        self._listen()

    def expire(self, now_s: float) -> None:
        """Drop the clients that took too long and let those go on that had asked too much. `now_s` is any clock that never steps."""
        self._forgive(now_s)
        self._listen()
        for client in list(self._clients):
            limit_s, reason = client.phase.value
            if client.since_s is None:
                client.since_s = now_s
            elif now_s - client.since_s > limit_s:
                self._give_up(client, reason)
            if client.phase is _Phase.READY and not self._overdrawn(client.peer):
                self._watch(client, _Phase.READY)

    def stay(self) -> bool:
        """Take the path again if somebody removed the socket; returns whether that was needed. Raises what Listener raises."""
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
        self._charged = {uid: left_s for uid, charged_s in self._charged.items() if (left_s := charged_s - earned_s) > 0}

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
            except OSError as error:  # out of file descriptors: the connection stays queued, so asking again at once would spin
                _log.warning("cannot accept a connection: %s", error.strerror)
                self._deafen()
                return
            self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            client = _Client(connection, peer_of(connection, self._manager_gid))
        except OSError:
            connection.close()
            return
        full = self._full(client.peer.uid)
        self._clients.add(client)
        if full:
            self._finish(client, RetryError("too many connections to jobd; try again"))
        else:
            self._watch(client, _Phase.READING)

    def _full(self, uid: int) -> bool:
        others = [client.peer.uid for client in self._clients if client.peer.uid != 0]
        if uid == 0:
            return len(self._clients) - len(others) >= MAX_CLIENTS_ROOT
        return len(others) >= MAX_CLIENTS or others.count(uid) >= MAX_CLIENTS_PER_USER

    def _turn(self, client: _Client, _mask: int) -> None:
        """A client's socket is ready. What to do follows from its phase alone: the mask may be older than the phase."""
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
        self._watch(client, _Phase.ASKED)
        began_s, uid = self._cpu_s(), client.peer.uid
        self._handle(bytes(line), client.peer, functools.partial(self._reply, client, client.asked))
        self._charged[uid] = self._charged.get(uid, 0.0) + self._cpu_s() - began_s

    def _handle(self, line: bytes, peer: Peer, reply: Reply) -> None:
        try:
            self._handler(protocol.parse_request(line), peer, reply)
        except ElsaError as error:
            reply(error)
        except Exception as error:  # a bug of ours; it must not be a way to end the daemon
            _log.exception("a request of user %d failed", peer.uid)
            reply(ElsaError(f"jobd failed on this request ({type(error).__name__}); its log tells more"))

    def _reply(self, client: _Client, asked: int, reply: Mapping[str, Any] | ElsaError) -> None:
        if client.phase is not _Phase.ASKED or client.asked != asked:
            return
        line = protocol.encode_reply(reply)
        most = MAX_REPLY_MANAGER if client.peer.manages else MAX_REPLY
        if len(line) > most:
            line = protocol.encode_reply(DataError(f"the answer would be {len(line)} bytes long, above {most}; ask for less"))
        self._send(client, line)

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
        """Enter a phase and listen for what ends it. While the handler has the request, nothing does, and nothing more is read."""
        if phase is not client.phase:
            client.phase, client.since_s = phase, None
        events = _EVENTS.get(phase, 0) if events is None else events
        watched = self._selector.get_map().get(client.connection)
        if watched is None and events:
            self._selector.register(client.connection, events, functools.partial(self._turn, client))
        elif watched is not None and not events:
            self._selector.unregister(client.connection)
        elif watched is not None and watched.events != events:
            self._selector.modify(client.connection, events, watched.data)

    def _drop(self, client: _Client) -> None:
        if client.phase is not _Phase.GONE:
            self._watch(client, _Phase.GONE)
            self._clients.discard(client)
            client.connection.close()


def _gid(group: str) -> int | None:
    """None where there is no such group: root alone manages then."""
    try:
        return accounts.gid(group)
    except KeyError:
        return None
