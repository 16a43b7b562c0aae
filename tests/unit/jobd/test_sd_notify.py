"""The service manager receives the state of jobd; its absence is no error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from elsa.jobd.sd_notify import READY, notify, status, store, watchdog_seconds
from tests.support.service_manager import ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_states_arrive_as_lines(tmp_path: Path, abstract: bool) -> None:
    name = f"@elsa-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        assert notify(READY, status("a\nb"), environ={"NOTIFY_SOCKET": name})
        assert manager.recv(100) == b"READY=1\nSTATUS=a b"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "/nowhere/notify"},
        {"NOTIFY_SOCKET": "relative"},
    ],
)
def test_no_listener_is_no_error(environ: dict[str, str]) -> None:
    assert not notify(READY, environ=environ)


def test_descriptors_that_are_passed_are_taken_once() -> None:
    program = """
import os
from elsa.jobd.sd_notify import take_passed
for number in range(3):
    os.dup2(1, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:a"}
print(take_passed(), take_passed(), [os.get_inheritable(3 + number) for number in range(3)])
os.environ |= {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:a"}
print(take_passed())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'a': [3, 5], 'b': [4]} {} [False, False, False]\n{}\n"


def test_descriptors_are_not_stored_without_a_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not store("a", [0])


def test_any_number_of_descriptors_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(ServiceManager()) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        descriptors = [os.dup(0) for _ in range(600)]
        try:
            with ThreadPoolExecutor() as threads:
                stored = threads.submit(store, "a", descriptors)
                manager.serve(stored.done)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        assert stored.result()
        assert len(manager.stored["a"]) == 600


def test_the_watchdog_is_fed_twice_as_often_as_needed() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({}) is None
