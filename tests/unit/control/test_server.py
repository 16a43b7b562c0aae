"""The control server serves the good and is not held up by the bad."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.control import operations, protocol, server
from elsa.errors import PrivilegeError, RetryError

Serve = Callable[..., Any]
STATUS = b'{"elsa":1,"op":"status"}\n'

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to connect as another user")


@contextmanager
def as_user(uid: int, gid: int, groups: list[int]) -> Iterator[None]:
    """Connect as another user: the kernel gives the server the effective ids."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def test_a_request_is_answered_and_the_next_one_on_the_same_connection_too(serve: Serve) -> None:
    served = serve()
    connection = served.connect()
    assert served.ask(connection, "status") == {"elsa": 1, "ok": True, "op": "Status"}
    assert served.ask(connection, "of", pid=7) == {"elsa": 1, "ok": True, "op": "Of"}
    assert served.asked[1][0] == operations.Of(7)


def test_a_reply_may_come_later_and_others_are_served_meanwhile(serve: Serve) -> None:
    served = serve(
        lambda request, peer, reply: reply({}) if isinstance(request, operations.Status) else None
    )
    waiting, other = served.connect(), served.connect()
    served.say(waiting, protocol.encode_request("sync", {}))
    assert served.ask(other, "status")["ok"]
    served.asked[0][2]({"heard_ns": 5})
    assert served.hear(waiting) == {"elsa": 1, "ok": True, "heard_ns": 5}


def test_errors_raised_or_replied_reach_the_client_with_their_kind(serve: Serve) -> None:
    def handler(request: operations.Request, peer: server.Peer, reply: server.Reply) -> None:
        if isinstance(request, operations.Sync):
            reply(RetryError("later"))
        raise PrivilegeError("not\nyours")

    served = serve(handler)
    connection = served.connect()
    assert served.ask(connection, "status")["error"] == {
        "kind": "permission",
        "message": "not yours",
    }
    assert served.ask(connection, "sync")["error"] == {"kind": "retry", "message": "later"}


def test_a_bug_in_the_handler_is_reported_and_does_not_end_the_server(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: reply({"number": float("nan")}))
    connection = served.connect()
    assert served.ask(connection, "status")["error"]["kind"] == "failure"
    assert served.ask(connection, "status")["error"]["kind"] == "failure"


def test_only_the_first_reply_to_a_request_counts(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: [reply({"n": n}) for n in (1, 2)])
    connection = served.connect()
    assert served.ask(connection, "status")["n"] == 1
    served.asked[0][2]({"n": 3})
    assert served.ask(connection, "status")["n"] == 1


def test_requests_sent_together_are_answered_one_after_the_other(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: None)
    connection = served.connect()
    served.say(connection, STATUS * 3)
    for number in range(3):
        served.settle()
        assert len(served.asked) == number + 1, "one request in flight per client"
        served.asked[number][2]({"n": number})
        assert served.hear(connection)["n"] == number


def test_a_client_that_shuts_its_side_after_asking_still_gets_its_answer(serve: Serve) -> None:
    served = serve()
    connection = served.connect()
    connection.sendall(STATUS)
    connection.shutdown(socket.SHUT_WR)
    assert served.hear(connection)["ok"]
    assert served.hear(connection) == {}


def test_garbage_is_refused_and_the_connection_goes_on(serve: Serve) -> None:
    served = serve()
    connection = served.connect()
    for garbage in (b"\n", b"\xff\n", b"[" * 60_000 + b"\n", b"GET / HTTP/1.0\r\n"):
        served.say(connection, garbage)
        assert served.hear(connection)["error"]["kind"] == "usage"
    assert served.ask(connection, "status")["ok"]


@pytest.mark.parametrize(
    "line", [b"a" * 300_000, b"a" * (protocol.MAX_REQUEST + 1) + b"\n"], ids=["endless", "too long"]
)
def test_a_huge_line_is_refused_and_hung_up_on(serve: Serve, line: bytes) -> None:
    served = serve()
    connection = served.connect()
    connection.setblocking(False)
    sent = 0
    while sent < len(line):
        try:
            sent += connection.send(line[sent:])
        except BlockingIOError:
            served.settle()
        except BrokenPipeError:
            break
    connection.settimeout(5)
    assert "at most 65536 bytes" in served.hear(connection)["error"]["message"]
    assert served.hear(connection) == {}


def test_a_hang_up_in_the_middle_of_a_request_frees_the_client(serve: Serve) -> None:
    served = serve()
    connection = served.connect()
    served.say(connection, STATUS[:10])
    connection.close()
    served.settle()
    assert len(served.selector.get_map()) == 1
    assert not served.asked


def test_a_hang_up_before_the_answer_does_no_harm(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: None)
    connection = served.connect()
    served.say(connection, STATUS)
    connection.close()
    served.settle()
    served.asked[0][2]({})
    served.settle()
    assert len(served.selector.get_map()) == 1


def test_a_request_that_drips_in_is_given_up_after_its_time(serve: Serve) -> None:
    served = serve()
    connection = served.connect()
    served.server.expire(100.0)
    for second, byte in enumerate(STATUS[:10]):
        served.say(connection, bytes([byte]))
        served.server.expire(100.0 + second)
    served.server.expire(111.0)
    assert "no whole request" in served.hear(connection)["error"]["message"]
    assert served.hear(connection) == {}


def test_a_client_that_says_nothing_is_hung_up_on(serve: Serve) -> None:
    served = serve()
    connection = served.connect()
    served.server.expire(100.0)
    served.server.expire(111.0)
    assert served.hear(connection) == {}


def test_an_answer_that_never_comes_is_given_up_and_a_late_one_ignored(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: None)
    connection = served.connect()
    served.say(connection, STATUS)
    served.server.expire(100.0)
    served.server.expire(161.0)
    assert served.hear(connection)["error"]["kind"] == "retry"
    served.asked[0][2]({})
    assert served.hear(connection) == {}


def test_a_client_that_never_reads_is_dropped_and_holds_nobody_up(serve: Serve) -> None:
    served = serve(
        lambda request, peer, reply: reply(
            {"text": "x" * 4_000_000} if isinstance(request, operations.Sync) else {}
        )
    )
    deaf, other = served.connect(), served.connect()
    served.say(deaf, protocol.encode_request("sync", {}))
    assert served.ask(other, "status")["ok"]
    served.server.expire(100.0)
    served.ask(other, "status")
    served.server.expire(111.0)
    assert deaf.fileno() != -1
    assert len(served.selector.get_map()) == 2
    assert served.ask(other, "status")["ok"]


def test_a_long_answer_arrives_whole_and_a_monstrous_one_becomes_an_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server, "peer_of", lambda *_: server.Peer(1, 1234, 1234, frozenset(), manages=False)
    )
    sizes = {operations.Sync: 4_000_000, operations.Status: server.MAX_REPLY}
    served = serve(lambda request, peer, reply: reply({"text": "x" * sizes[type(request)]}))
    connection = served.connect()
    assert len(served.ask(connection, "sync")["text"]) == 4_000_000
    assert served.ask(connection, "status")["error"]["kind"] == "data"


@needs_root
def test_a_flood_of_requests_gets_its_share_of_the_cpu_and_no_more(serve: Serve) -> None:
    served = serve()
    served.cost_s = 0.01
    with as_user(65534, 65534, []):
        connection, second = served.connect(), served.connect()
    served.server.expire(0.0)
    served.say(connection, STATUS * 100)
    served.say(second, STATUS)
    assert len(served.asked) == 10, "the burst, for all his connections together"
    assert served.ask(served.connect(), "status")["ok"], "others do not wait"
    del served.asked[:]
    for tenths in range(1, 31):
        served.server.expire(tenths / 10)
        served.settle()
    assert 58 <= len(served.asked) <= 61, "a fifth of three seconds, at 10 ms each"


def test_a_request_that_cost_very_much_is_paid_off_before_the_next(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server, "peer_of", lambda *_: server.Peer(1, 1234, 1234, frozenset(), manages=False)
    )
    served = serve()
    served.cost_s = 1.1
    connection = served.connect()
    served.server.expire(0.0)
    served.say(connection, STATUS * 2)
    served.server.expire(4.9)
    served.settle()
    assert len(served.asked) == 1
    served.server.expire(5.1)
    served.settle()
    assert len(served.asked) == 2


@needs_root
def test_managers_do_not_wait(serve: Serve) -> None:
    served = serve()
    served.cost_s = 1.0
    served.say(served.connect(), STATUS * 20)
    assert len(served.asked) == 20


@needs_root
def test_connections_above_a_users_limit_are_refused_and_others_are_not(serve: Serve) -> None:
    served = serve()
    with as_user(65534, 65534, []):
        for _ in range(server.MAX_CLIENTS_PER_USER):
            served.connect()
        refused = served.connect()
    assert "too many connections" in served.hear(refused)["error"]["message"]
    assert served.hear(refused) == {}
    assert served.ask(served.connect(), "status")["ok"]
    with as_user(65533, 65534, []):
        other = served.connect()
    assert served.ask(other, "status")["ok"]


@needs_root
def test_root_comes_in_when_all_others_have_taken_every_place(serve: Serve) -> None:
    served = serve()
    for uid in range(60_000, 60_000 + server.MAX_CLIENTS // server.MAX_CLIENTS_PER_USER):
        with as_user(uid, uid, []):
            for _ in range(server.MAX_CLIENTS_PER_USER):
                served.connect()
    assert served.ask(served.connect(), "status")["ok"]
    assert not any(served.hung_up(connection) for connection in served.sockets)


@needs_root
def test_if_all_connections_are_taken_the_user_with_most_loses_one(serve: Serve) -> None:
    served = serve()
    each = server.MAX_CLIENTS_PER_USER
    users = server.MAX_CLIENTS // each
    for uid in range(60_000, 60_000 + users):
        with as_user(uid, uid, []):
            for _ in range(each):
                served.connect()
    fair = server.MAX_CLIENTS // (users + 1)
    with as_user(65533, 65533, []):
        for _ in range(fair):
            assert served.ask(served.connect(), "status")["ok"]
    gone = [served.hung_up(connection) for connection in served.sockets]
    assert not any(gone[-fair:])
    lost = [sum(gone[start : start + each]) for start in range(0, server.MAX_CLIENTS, each)]
    assert sum(lost) == fair
    assert max(lost) - min(lost) <= 1


@needs_root
def test_one_connection_of_each_of_many_users_blocks_nobody_and_no_busy_connection_is_dropped(
    serve: Serve,
) -> None:
    served = serve(lambda request, peer, reply: None)
    for uid in range(60_000, 60_000 + server.MAX_CLIENTS):
        with as_user(uid, uid, []):
            served.connect()
    served.server.expire(0.0)
    with as_user(65533, 65533, []):
        served.say(served.connect(), STATUS)
    gone = [served.hung_up(connection) for connection in served.sockets]
    assert (sum(gone), gone[-1]) == (1, False)
    for connection, hung_up in zip(served.sockets[:-1], gone, strict=False):
        if not hung_up:
            served.say(connection, STATUS)
    with as_user(65532, 65532, []):
        refused = served.connect()
    assert served.hear(refused)["error"]["kind"] == "retry"


@needs_root
def test_answers_that_nobody_reads_take_bounded_room(serve: Serve) -> None:
    served = serve(
        lambda request, peer, reply: reply({"text": "x" * (server.MAX_REPLY // 2 - 100)})
    )
    with as_user(65533, 65533, []):
        connections = [served.connect() for _ in range(3)]
    for connection in connections:
        served.say(connection, STATUS)
    assert served.hear(connections[2])["error"]["kind"] == "retry"
    assert len(served.hear(connections[0])["text"]) > server.MAX_REPLY // 3
    served.say(connections[2], STATUS)
    assert len(served.hear(connections[2])["text"]) > server.MAX_REPLY // 3


def test_an_answer_is_wanted_until_its_client_is_gone(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: None)
    connection = served.connect()
    served.say(connection, STATUS)
    answer = served.asked[0][2]
    assert isinstance(answer, server.Answer)
    assert answer.wanted
    connection.shutdown(socket.SHUT_WR)  # it has nothing more to say, and waits
    assert answer.wanted
    connection.close()
    assert not answer.wanted


def test_a_request_may_be_given_more_time_than_others(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: None)
    connection = served.connect()
    served.say(connection, STATUS * 2)
    answer = served.asked[0][2]
    assert isinstance(answer, server.Answer)
    answer.wait_for(300.0)
    served.server.expire(0.0)
    served.server.expire(299.0)
    answer({})
    assert served.hear(connection)["ok"]
    served.settle()
    served.server.expire(300.0)
    served.server.expire(361.0)  # the next one has as long as any
    assert served.hear(connection)["error"]["kind"] == "retry"


@needs_root
def test_what_is_done_later_for_a_user_is_charged_too(serve: Serve) -> None:
    served = serve(lambda request, peer, reply: None)
    with as_user(65533, 65533, []):
        connection = served.connect()
    served.say(connection, STATUS)
    with served.server.charged(65533):
        served.cpu_s += 1.0
    served.asked[0][2]({})
    served.say(connection, STATUS)
    assert (len(served.asked), served.server.charge_of(65533)) == (1, 1.0)


def test_connections_beyond_what_one_turn_takes_are_taken_in_the_next(serve: Serve) -> None:
    served = serve()
    for _ in range(server.MAX_ACCEPTS + 1):
        connection = socket.socket(socket.AF_UNIX)
        served.sockets.append(connection)
        connection.connect(os.fspath(served.path))
    served.turn()
    assert len(served.selector.get_map()) == 1 + server.MAX_ACCEPTS
    served.settle()
    assert len(served.selector.get_map()) == 2 + server.MAX_ACCEPTS


def test_without_file_descriptors_the_server_waits_for_the_next_tick_instead_of_spinning(
    serve: Serve,
) -> None:
    import resource

    served = serve()
    connection = socket.socket(socket.AF_UNIX)
    served.sockets.append(connection)
    connection.settimeout(5)
    connection.connect(os.fspath(served.path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (connection.fileno() + 1, hard))
    try:
        held = fill_descriptors()
        served.settle(turns=5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for descriptor in held:
        os.close(descriptor)
    served.server.expire(1.0)
    assert served.ask(connection, "status")["ok"]


def fill_descriptors() -> list[int]:
    held = []
    while True:
        try:
            held.append(os.dup(0))
        except OSError:
            return held


@needs_root
def test_the_server_knows_the_uid_and_pid_of_its_client(serve: Serve) -> None:
    served = serve()
    groups = list(range(2000, 3000))
    with as_user(1234, 5678, groups):
        stranger = served.connect()
    assert served.ask(stranger, "status")["ok"]
    peer = served.asked[0][1]
    assert peer == (os.getpid(), 1234, 5678, frozenset(groups), False, None)
    assert served.ask(served.connect(), "status")["ok"]
    assert served.asked[1][1].manages


@needs_root
@pytest.mark.parametrize(
    ("gid", "groups"), [(77, []), (5678, [1, 77])], ids=["primary", "supplementary"]
)
def test_members_of_the_group_manage(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, gid: int, groups: list[int]
) -> None:
    monkeypatch.setattr(server, "_gid", lambda name: 77)
    served = serve()
    with as_user(1234, gid, groups):
        member = served.connect()
    served.ask(member, "status")
    assert served.asked[0][1].manages


def test_a_group_that_does_not_exist_manages_nothing() -> None:
    assert server._gid("no-such-group-here") is None


actions = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(
            st.sampled_from(["hang up", "tick", STATUS, STATUS * 3, STATUS[:9], b"\n"]),
            st.binary(max_size=200),
        ),
    ),
    max_size=30,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_whatever_four_clients_do_a_fifth_is_served(
    serve: Serve, steps: list[tuple[int, str | bytes]]
) -> None:
    served = serve(lambda request, peer, reply: reply({}))
    clients = [served.connect() for _ in range(4)]
    for now_s, (number, step) in enumerate(steps):
        if step == "tick":
            served.server.expire(float(now_s))
        elif step == "hang up":
            clients[number].close()
            clients[number] = served.connect()
        else:
            with suppress(BrokenPipeError):
                served.say(clients[number], step)
    assert served.ask(served.connect(), "status")["ok"]
    served.close()


# --- whose pids a client means


def test_a_client_in_this_pid_namespace_means_the_same_pids(serve: Serve) -> None:
    served = serve()
    served.ask(served.connect(), "status")
    ((_, peer, _),) = served.asked
    assert (peer.pid, peer.foreign) == (os.getpid(), None)


SPEAK = """import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
if os.fork() == 0:
    connection.sendall(bytes(sys.argv[2], "ascii"))
    connection.recv(9)
"""


def test_whose_pids_are_meant_is_not_known_where_the_process_that_connected_has_ended(
    serve: Serve,
) -> None:
    served = serve()
    done = subprocess.run([sys.executable, "-c", SPEAK, served.path, STATUS.decode()], check=False)
    assert done.returncode == 0
    served.settle()
    ((_, peer, _),) = served.asked
    assert peer.foreign is not None
    assert not peer.foreign.known


@needs_root
def test_a_client_in_another_pid_namespace_is_recognized(serve: Serve) -> None:
    served = serve()
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        " s.sendall(bytes(sys.argv[2], 'ascii')); s.recv(9)"
    )
    words = [
        "unshare",
        "--pid",
        "--fork",
        sys.executable,
        "-c",
        program,
        str(served.path),
        STATUS.decode(),
    ]
    with subprocess.Popen(words) as client:
        deadline = time.monotonic() + 20
        while not served.asked and time.monotonic() < deadline:
            served.settle()
        assert client.wait(20) == 0
        ((_, peer, _),) = served.asked
    assert peer.foreign is not None
    assert peer.pid > 1
