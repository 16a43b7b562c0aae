"""All processes of a command are ended, whatever they do against it, and no other process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from elsa.decode.procfs import parse_stat
from elsa.errors import UnavailableError
from elsa.host.proc_scan import TICKS_PER_S
from elsa.kernel import clocks, own_group
from elsa.kernel.own_group import OwnGroup
from elsa.run import end_processes
from elsa.run.command_group import CommandGroup
from elsa.run.end_processes import Ending

IGNORES_TERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True);"
    " time.sleep(60)"
)
SLEEPS = "import time; print(flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_processes, "GRACE_S", 0.3)
    monkeypatch.setattr(end_processes, "PATIENCE_S", 0.5)


@pytest.fixture
def no_group(monkeypatch: pytest.MonkeyPatch) -> CommandGroup:
    def refused() -> OwnGroup:
        raise UnavailableError("none here")

    monkeypatch.setattr(own_group, "make", refused)
    return CommandGroup()


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started = []

    def process(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-S", "-c", code]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    yield process
    for child in started:
        with suppress(ProcessLookupError):
            child.kill()
        child.communicate()


def member(process: subprocess.Popen[str]) -> dict[str, Any]:
    """As jobd describes it."""
    offsets = clocks.offsets()
    stat = parse_stat(Path(f"/proc/{process.pid}/stat").read_bytes())
    start_ns = stat.starttime_ticks * 1_000_000_000 // TICKS_PER_S
    since_at_ns = start_ns - offsets.boottime_ns + offsets.realtime_ns
    return {"pid": process.pid, "since_at_ns": since_at_ns, "from_birth": True}


def alive(*processes: subprocess.Popen[str]) -> list[subprocess.Popen[str]]:
    return [process for process in processes if process.poll() is None]


def members_of(*processes: subprocess.Popen[str]) -> Callable[[], list[Mapping[str, Any]]]:
    described = {process.pid: member(process) for process in processes}
    return lambda: [described[process.pid] for process in alive(*processes)]


def test_processes_get_term_and_those_that_ignore_it_kill(
    start: Callable[[str], subprocess.Popen[str]], no_group: CommandGroup
) -> None:
    polite, stubborn, stopped = start(SLEEPS), start(IGNORES_TERM), start(SLEEPS)
    stopped.send_signal(signal.SIGSTOP)
    with os.fdopen(os.pidfd_open(polite.pid)) as command:
        ending = Ending(command.fileno(), members_of(polite, stubborn, stopped), no_group)
        assert ending.end() == []
    assert ending.signalled >= 4
    codes = [process.wait() for process in (polite, stubborn, stopped)]
    assert codes == [-signal.SIGTERM, -signal.SIGKILL, -signal.SIGTERM]


def test_a_process_that_has_the_pid_of_a_member_by_now_gets_no_signal(
    start: Callable[[str], subprocess.Popen[str]], no_group: CommandGroup
) -> None:
    command, other = start(SLEEPS), start(SLEEPS)
    stale = member(other)
    stale["since_at_ns"] -= 10**9
    with os.fdopen(os.pidfd_open(command.pid)) as opened:
        ending = Ending(opened.fileno(), lambda: [stale], no_group)
        assert ending.end() == ["1 process could not be killed"]
    assert (ending.signalled, alive(command, other)) == (0, [command, other])


def test_where_the_members_are_not_known_the_command_itself_is_ended(
    start: Callable[[str], subprocess.Popen[str]], no_group: CommandGroup
) -> None:
    def unknown() -> list[Mapping[str, Any]]:
        raise UnavailableError("jobd does not answer")

    command = start(SLEEPS)
    with os.fdopen(os.pidfd_open(command.pid)) as opened:
        notes = Ending(opened.fileno(), unknown, no_group).end()
    assert notes == ["whether all processes were killed is not known: jobd does not answer"]
    assert command.wait() == -signal.SIGTERM


def test_what_is_only_in_the_control_group_is_ended_too(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Group(OwnGroup):
        def pids(self) -> list[int]:
            return [process.pid for process in alive(inside)]

    inside, command = start(SLEEPS), start(SLEEPS)
    monkeypatch.setattr(own_group, "make", lambda: Group(tmp_path))
    with os.fdopen(os.pidfd_open(command.pid)) as opened:
        assert Ending(opened.fileno(), members_of(command), CommandGroup()).end() == []
    assert [inside.wait(), command.wait()] == [-signal.SIGTERM] * 2
