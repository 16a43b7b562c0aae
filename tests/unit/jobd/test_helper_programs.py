"""Programs that jobd starts answer through its event loop, one of a user at a time, whatever
becomes of them.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from elsa.control.server import Answer
from elsa.errors import ElsaError, RetryError, UsageError
from elsa.jobd.helper_programs import MOST, PATIENCE_S, WAIT_S, HelperPrograms
from elsa.jobd.spawner import Spawner
from elsa.kernel import clocks

PROGRAMS = {
    "echo": "import sys\ndef main(): sys.stdout.write(sys.stdin.read())",
    "silent": "def main(): pass",
    "lingering": (
        "import os, sys, time\ndef main(): os.write(1, sys.stdin.read().encode()); time.sleep(0.2)"
    ),
    "asleep": "import time\ndef main(): time.sleep(600)",
    "deaf": (
        "import signal, time\ndef main(): signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " time.sleep(600)"
    ),
}


class Asked:
    """Helpers in a loop of their own, and what they answered."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.spawner = Spawner([*PROGRAMS, "elsa.jobd.define_job"])
        self.spawner.wait(60)
        self.helpers = HelperPrograms(self.selector, self.spawner)
        self.answers: list[Mapping[str, Any] | ElsaError] = []

    def start(self, program: str, order: str = "", uid: int = 1000) -> None:
        self.helpers.start(program, order, uid, self.answers.append)

    def answer(self) -> Mapping[str, Any] | ElsaError:
        while not self.answers:
            for key, mask in self.selector.select(60):
                key.data(mask)
        return self.answers.pop()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    made = Asked()
    yield made
    made.helpers.close()
    made.spawner.close()
    made.selector.close()


def test_an_order_of_any_length_comes_back_as_the_reply(asked: Asked) -> None:
    asked.start("echo", '{"elsa":1,"ok":true,"text":"' + "x" * 300_000 + '"}\n')
    assert asked.answer() == {"text": "x" * 300_000}
    asked.start("echo", '{"elsa":1,"ok":false,"error":{"kind":"usage","message":"no"}}\n')
    answer = asked.answer()
    assert isinstance(answer, UsageError)
    assert str(answer) == "no"


def test_a_program_that_says_nothing_is_an_error_and_not_waited_for_for_ever(asked: Asked) -> None:
    asked.start("silent")
    assert isinstance(asked.answer(), ElsaError)
    asked.start("silent")  # the user may ask again
    assert isinstance(asked.answer(), ElsaError)


def test_a_user_has_one_at_a_time_and_all_together_a_few(asked: Asked) -> None:
    for uid in range(1, MOST + 1):
        asked.start("asleep", uid=uid)
    now_ns = clocks.monotonic_ns()
    for uid in (1, MOST + 1):
        asked.start("echo", '{"elsa":1,"ok":true}\n', uid=uid)
    asked.helpers.tick(now_ns + (WAIT_S - 1) * 10**9)
    assert not asked.selector.select(0.5)
    assert asked.answers == []
    asked.helpers.tick(now_ns + (WAIT_S + 1) * 10**9)
    assert [type(answer) for answer in asked.answers] == [RetryError] * 2


def test_requests_of_a_user_wait_for_each_other_in_turn(asked: Asked) -> None:
    for number in range(3):
        asked.start("echo", f'{{"elsa":1,"ok":true,"number":{number}}}\n')
    assert [asked.answer() for _ in range(3)] == [{"number": number} for number in range(3)]


def test_a_client_that_goes_away_while_it_waits_gets_no_program(asked: Asked) -> None:
    client = Waiting()
    asked.start("echo", '{"elsa":1,"ok":true,"number":1}\n')
    asked.helpers.start("asleep", "", 1000, client)
    client.gone = True
    asked.start("echo", '{"elsa":1,"ok":true,"number":2}\n')
    assert [asked.answer() for _ in range(2)] == [{"number": 1}, {"number": 2}]
    assert client.told == []


@pytest.mark.parametrize("uids", [(1000, 1000), tuple(range(1000, 1001 + MOST))])
def test_programs_that_answer_by_themselves_wait_too(asked: Asked, uids: tuple[int, ...]) -> None:
    """Also for programs that have sent everything but have not ended."""
    clients = [Waiting() for _ in uids]
    for uid, client in zip(uids, clients, strict=True):
        asked.helpers.start_with_connection("lingering", "hello", uid, client)
    while any(client.connection is None for client in clients):
        for key, mask in asked.selector.select(60):
            key.data(mask)
    for client in clients:
        assert client.connection is not None
        with client.connection as connection:
            assert connection.recv(100) == b"hello"
        assert client.told == []


def test_the_program_that_defines_jobs_answers_whatever_it_is_given(
    asked: Asked, tmp_path: Path
) -> None:
    selection = (
        '{"root":1,"session":null,"at_ns":null,"commands":[],"where":null,"since_ns":null,'
        '"until_ns":null}'
    )
    whose = (
        '"socket":null,"name":"x","tags":{},"owner_uid":1,"only_uid":1,"dry_run":true,"limit_s":60'
    )
    given = f'{{"db":"{tmp_path}/none.db",{whose},"selection":{selection}}}'
    asked.start("elsa.jobd.define_job", given)
    answer = asked.answer()
    assert isinstance(answer, ElsaError)
    assert "no warehouse" in str(answer)


class Waiting(Answer):
    """A client that waits for its answer, until it is gone."""

    def __init__(self) -> None:
        self.gone = False
        self.patience_s = 0.0
        self.told: list[Mapping[str, Any] | ElsaError] = []
        self.connection: socket.socket | None = None

    def hand_over(self) -> socket.socket:
        self.connection, given = socket.socketpair()
        return given

    def __call__(self, reply: Mapping[str, Any] | ElsaError) -> None:
        self.told.append(reply)

    @property
    def wanted(self) -> bool:
        return not self.gone

    def wait_for(self, patience_s: float) -> None:
        self.patience_s = patience_s


@pytest.mark.parametrize("program", ["asleep", "deaf"])
def test_a_program_ends_when_its_time_is_over(asked: Asked, program: str) -> None:
    client = Waiting()
    asked.helpers.start(program, "", 1000, client, 100)
    assert client.patience_s > 100
    now_ns = clocks.monotonic_ns()
    asked.helpers.tick(now_ns)
    for later_s in (
        101,
        102,
        101 + PATIENCE_S + 1,
    ):  # it is asked to end, given a moment, and ended
        asked.helpers.tick(now_ns + later_s * 10**9)
    while not client.told:
        for key, mask in asked.selector.select(60):
            key.data(mask)
    (told,) = client.told
    assert isinstance(told, RetryError)
    assert "define_s" in str(told)


def test_a_program_ends_with_its_client(asked: Asked) -> None:
    client = Waiting()
    asked.helpers.start("asleep", "", 1000, client)
    asked.helpers.tick(clocks.monotonic_ns())
    client.gone = True
    while (
        not client.told
    ):  # a program that is signalled before it has started misses the signal, and is ended later
        asked.helpers.tick(clocks.monotonic_ns())
        for key, mask in asked.selector.select(0.1):
            key.data(mask)
    asked.start("echo", '{"elsa":1,"ok":true}\n')
    assert asked.answer() == {}


def test_the_programs_of_others_keep_root_from_none(asked: Asked) -> None:
    for uid in range(1000, 1000 + MOST):
        asked.start("asleep", uid=uid)
    asked.start("echo", '{"elsa":1,"ok":true}\n', uid=0)
    assert asked.answer() == {}
