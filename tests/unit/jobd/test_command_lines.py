"""Command lines come back without their secrets, or not at all, whatever one user has searched and
whatever becomes of the program.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Iterator

import pytest

from elsa.config import Config
from elsa.decode.cmdline import MOST_BYTES, decode_cmdline
from elsa.errors import ConfigError
from elsa.jobd import command_lines, redaction
from elsa.jobd.command_lines import BATCH, MOST, MOST_OF_USER, CommandLines
from elsa.jobd.spawner import Spawner
from elsa.kernel import clocks

ANN, BOB = 1000, 1001
LONGEST = (b"password=hunter2\0" * MOST_BYTES)[:MOST_BYTES]


class Searched:
    """Command lines in a loop of their own, and what came back, by what was asked."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.spawner = Spawner([redaction.__name__])
        self.spawner.wait(60)
        self.lines = CommandLines(self.selector, self.spawner, Config())
        self.answers: dict[object, str | None] = {}

    def submit(self, uid: int, data: bytes, key: object) -> None:
        self.lines.submit(uid, data, lambda text: self.answers.__setitem__(key, text))

    def turn(self) -> None:
        for ready, mask in self.selector.select(10):
            ready.data(mask)

    def settle(self) -> None:
        while self.lines.busy:
            self.turn()

    @property
    def pid(self) -> int:
        program = self.lines._program
        assert program is not None
        return program.pid


@pytest.fixture
def searched() -> Iterator[Searched]:
    made = Searched()
    yield made
    made.lines.finish(0)
    made.spawner.close()
    made.selector.close()


def test_what_comes_back_is_the_line_without_its_secrets(searched: Searched) -> None:
    given = [
        b"sh\0-c\0TOKEN=x make\0",
        "prüfe\0\xff\0".encode("latin-1"),
        b"\0",
        b"mysql\0-px\0",
        LONGEST,
        *(b"x%d\0" % n for n in range(1000)),
    ]
    for number, data in enumerate(given):
        searched.submit(ANN, data, number)
    searched.settle()
    redact = redaction.configured(Config())
    assert [searched.answers[number] for number in range(len(given))] == [
        decode_cmdline(data, redact) for data in given
    ]
    assert searched.lines.withheld == 0


def test_a_flood_of_one_user_is_withheld_and_another_does_not_wait_for_it(
    searched: Searched,
) -> None:
    flood = 4 * MOST_OF_USER // len(LONGEST)
    for number in range(flood):
        searched.submit(ANN, LONGEST, number)
    searched.submit(BOB, b"make\0", "Bob's")
    taken = sum(number not in searched.answers for number in range(flood))
    assert taken * len(LONGEST) <= MOST_OF_USER + BATCH + len(LONGEST)
    assert searched.lines.withheld == flood - taken > 0
    while "Bob's" not in searched.answers:
        searched.turn()
    assert searched.answers["Bob's"] == "make"
    assert searched.lines.busy
    searched.settle()
    assert "hunter2" not in repr(searched.answers)
    assert sum(answer is not None for answer in searched.answers.values()) == taken + 1


def test_floods_of_many_users_are_bounded_and_the_user_with_most_loses_first(
    searched: Searched,
) -> None:
    searched.submit(BOB, b"make\0", "first")  # goes to the program at once
    searched.submit(BOB, b"make\0all\0", "Bob's")
    for uid in range(2000, 2000 + 2 * MOST // len(LONGEST)):
        searched.submit(uid, LONGEST, uid)
    assert sum(answer is None for answer in searched.answers.values()) >= MOST // len(LONGEST)
    searched.settle()
    assert searched.answers["Bob's"] == "make all"


def test_what_a_program_had_that_ended_is_withheld_and_another_goes_on(
    searched: Searched, caplog: pytest.LogCaptureFixture
) -> None:
    searched.submit(ANN, b"one\0", 1)
    searched.settle()
    first = searched.pid
    os.kill(first, signal.SIGSTOP)
    searched.submit(ANN, b"two\0", 2)
    os.kill(first, signal.SIGKILL)
    searched.settle()
    assert searched.answers == {1: "one", 2: None}
    searched.lines._start_at_ns = 0  # not before some seconds
    searched.submit(ANN, b"three\0", 3)
    searched.settle()
    assert searched.answers[3] == "three"
    assert searched.pid != first
    with caplog.at_level(logging.WARNING):
        searched.lines.tick(command_lines.PAUSE_NS + clocks.monotonic_ns())
    assert "1 command lines are not stored" in caplog.text


def test_a_program_that_takes_too_long_is_given_up(searched: Searched) -> None:
    searched.submit(ANN, b"one\0", 1)
    searched.settle()
    os.kill(searched.pid, signal.SIGSTOP)
    searched.submit(ANN, b"two\0", 2)
    searched.lines.tick(clocks.monotonic_ns())
    assert searched.lines.busy
    searched.lines.tick(clocks.monotonic_ns() + command_lines.PATIENCE_NS)
    assert searched.answers == {1: "one", 2: None}
    assert not searched.lines.busy


def test_without_a_program_nothing_is_stored_and_nothing_waits(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    searched.spawner.close()
    for number in range(3):
        searched.submit(ANN, b"make\0", number)
    assert not searched.lines.busy
    searched.lines.finish(1)
    assert searched.answers == dict.fromkeys(range(3))


def test_a_stop_waits_for_what_is_under_way_and_then_no_longer(searched: Searched) -> None:
    searched.submit(ANN, b"make\0", 1)
    searched.lines.finish(10)
    assert searched.answers == {1: "make"}
    searched.submit(ANN, b"make\0", 2)
    searched.lines.finish(0)
    assert searched.answers[2] is None


def test_a_setting_that_makes_no_sense_is_refused_at_once(searched: Searched) -> None:
    with pytest.raises(ConfigError, match="redact"):
        CommandLines(searched.selector, searched.spawner, Config(redact="("))
