"""The service manager receives the state of jobd; its absence is no error."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from elsa.jobd.sd_notify import READY, notify, status, watchdog_seconds


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


def test_the_watchdog_is_fed_twice_as_often_as_needed() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({}) is None
