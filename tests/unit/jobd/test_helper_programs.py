"""Programs that jobd starts answer through its event loop, one of a user at a time, whatever
becomes of them.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from elsa.control.server import Answer
from elsa.errors import ElsaError, RetryError, UsageError
from elsa.jobd.helper_programs import MOST, PATIENCE_S, HelperPrograms
from elsa.jobd.spawner import Spawner
from elsa.kernel import clocks

PROGRAMS = {
    "echo": "import sys\ndef main(): sys.stdout.write(sys.stdin.read())",
    "silent": "def main(): pass",
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
    for uid in (1, MOST + 1):
        with pytest.raises(RetryError):
            asked.start("asleep", uid=uid)
    assert asked.answers == []


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
    with pytest.raises(RetryError):
        asked.start("echo")
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
