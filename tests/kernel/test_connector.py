"""The real connector: every event is received from the first moment on, losses are counted
exactly, and every refusal says what to do.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elsa.decode import events
from elsa.errors import ElsaError
from elsa.kernel.connector import Connector

pytestmark = pytest.mark.kernel


@pytest.fixture
def connector(require_kernel: Callable[[object, str], None]) -> Iterator[Connector]:
    """A connector, or a skip that says why there is none."""
    reason, listener = "", None
    try:
        listener = Connector(64 << 20)
    except ElsaError as error:
        reason = str(error)
    require_kernel(listener, reason)
    assert listener is not None
    with listener:
        yield listener


def storm(children: int) -> None:
    """Processes that do nothing but begin and end."""
    subprocess.run(
        ["sh", "-c", f"i=0; while [ $i -lt {children} ]; do (exit 0); i=$((i+1)); done"], check=True
    )


def heard(listener: Connector, pid: int, *, until: int = events.EXIT) -> list[events.Event]:
    """The events of a process, up to its end."""
    found: list[events.Event] = []
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        batch = events.decode(listener.drain(1_000_000))
        found += [
            event for event in batch if (event.c if event.what == events.FORK else event.a) == pid
        ]
        if any(event.what == until for event in found):
            return found
        time.sleep(0.005)
    raise AssertionError(f"no end of {pid} among {found}")


def test_fork_exec_and_exit_of_a_child_are_heard_in_order(connector: Connector) -> None:
    before = time.monotonic_ns()
    child = subprocess.Popen(["sh", "-c", "exit 3"])
    child.wait()
    found = heard(connector, child.pid)
    kinds = [event.what for event in found if event.what in (events.FORK, events.EXEC, events.EXIT)]
    assert kinds == [events.FORK, events.EXEC, events.EXIT]
    assert found[0].b == os.getpid()
    assert found[-1].c == 3 << 8
    assert before < found[0].time_ns < found[-1].time_ns < time.monotonic_ns()


def test_nothing_is_missed_while_listening_begins() -> None:
    with subprocess.Popen(["sh", "-c", "while :; do (exit 0); done"]) as noise:
        try:
            for _ in range(20):
                with Connector(64 << 20) as listener:
                    children = [subprocess.Popen(["true"]) for _ in range(3)]
                    for child in children:
                        child.wait()
                    datagrams = listener.drain(1_000_000)
                    assert listener.drops() == 0
                found = events.decode(datagrams)
                forked = {event.c for event in found if event.what == events.FORK}
                ended = {event.a for event in found if event.what == events.EXIT}
                assert {child.pid for child in children} <= forked & ended
                # Each CPU numbers its events without a gap, so a missing number would be an event
                # that was swallowed.
                for cpu in {event.cpu for event in found}:
                    numbers = [event.seq for event in found if event.cpu == cpu]
                    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        finally:
            noise.kill()


def test_the_first_datagrams_hold_our_acknowledgement(connector: Connector) -> None:
    assert events.NONE in [event.what for event in events.decode(connector.drain(1_000_000))]


def test_a_name_that_is_no_text_arrives_as_it_is(connector: Connector) -> None:
    program = "import pathlib; pathlib.Path('/proc/self/comm').write_bytes(b'\\xff\\xfe)( x')"
    child = subprocess.Popen([sys.executable, "-c", program])
    child.wait()
    names = [
        events.comm_of(event) for event in heard(connector, child.pid) if event.what == events.COMM
    ]
    assert names[-1] == b"\xff\xfe)( x"


def test_drain_keeps_to_its_limit_and_to_the_order(connector: Connector) -> None:
    storm(50)
    pieces = [connector.drain(7) for _ in range(20)]
    assert [len(piece) for piece in pieces[:14]] == [7] * 14
    found = events.decode([datagram for piece in pieces for datagram in piece])
    for cpu in {event.cpu for event in found}:
        numbers = [event.seq for event in found if event.cpu == cpu]
        assert numbers == sorted(numbers)


def test_drain_does_not_wait(connector: Connector) -> None:
    connector.drain(1_000_000)
    began = time.monotonic()
    connector.drain(10)
    assert time.monotonic() - began < 0.1
    assert connector.drain(0) == []


def test_losses_are_counted_exactly(connector: Connector) -> None:
    # Other processes of the host may fall between the reads of the two sockets, so not every
    # attempt can agree; chance cannot make one.
    for _ in range(20):
        with Connector(128 << 10) as small:
            small.drain(1_000_000)
            connector.drain(1_000_000)
            storm(500)
            received = len(small.drain(1_000_000))
            drops, everything = small.drops(), len(connector.drain(1_000_000))
        assert drops > 0
        assert connector.drops() == 0
        if received + drops == everything:
            return
    pytest.fail("received + dropped never was what the other socket heard")


def test_the_buffer_is_granted_as_asked(connector: Connector) -> None:
    assert connector.buffer_bytes() >= 64 << 20


def test_closing_twice_is_closing_once(connector: Connector) -> None:
    listener = Connector(1 << 20)
    listener.close()
    listener.close()
    assert listener.fileno() == -1
    gc.collect()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(["--net"], "network namespace"), (["--pid", "--fork"], "pid or user namespace")],
)
def test_another_namespace_is_refused_with_what_to_do(
    connector: Connector, tmp_path: Path, flags: list[str], reason: str
) -> None:
    program = "from elsa.kernel.connector import Connector; Connector(ack_timeout_s=0.3)"
    outcome = subprocess.run(
        ["unshare", *flags, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "UnavailableError" in outcome.stderr
    assert reason in outcome.stderr
    assert "run ELSA" in outcome.stderr


def test_acknowledgements_of_other_listeners_are_numbered_like_events(connector: Connector) -> None:
    connector.drain(1_000_000)
    for _ in range(5):
        Connector(1 << 20).close()
    found = events.decode(connector.drain(1_000_000))
    assert [event.what for event in found].count(events.NONE) >= 10
    for cpu in {event.cpu for event in found}:
        numbers = [event.seq for event in found if event.cpu == cpu]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
