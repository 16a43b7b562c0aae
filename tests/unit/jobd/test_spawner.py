"""Programs are started from what was imported at the beginning, whatever has become of the package
since.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elsa.errors import RetryError
from elsa.jobd import collector
from elsa.jobd.spawner import Program, Spawner
from elsa.kernel import taskstats

PROGRAMS = {
    "told": (
        "import os, sys\ndef main(): sys.stdout.write(sys.stdin.read().upper() + f'"
        " {os.getppid()}')"
    ),
    "asleep": "import time\ndef main(): time.sleep(600)",
    "nice": "import os\ndef main(): print(os.getpriority(os.PRIO_PROCESS, 0))",
    "busy": "def main():\n    while True: pass",
    "broken": "def main(): raise ValueError",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)  # where only this process searches
    return folder


@pytest.fixture
def spawner(modules: Path) -> Iterator[Spawner]:
    made = Spawner([*PROGRAMS])
    made.wait(60)
    yield made
    made.close()


def start(
    spawner: Spawner, module: str, given: str = "", cpu_s: int | None = None
) -> tuple[Program, int]:
    """The program, and where its stdout is to be read."""
    stdin = os.memfd_create("given")
    os.write(stdin, given.encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    answer, stdout = os.pipe()
    program = spawner.start(module, stdin, stdout, cpu_s=cpu_s)
    os.close(stdin)
    os.close(stdout)
    return program, answer


def said(answer: int) -> str:
    with os.fdopen(answer, encoding="utf-8") as stream:
        return stream.read()


def test_programs_run_when_their_modules_are_gone(spawner: Spawner, modules: Path) -> None:
    modules.rename(modules.with_name("elsewhere"))
    started = [start(spawner, "told", word) for word in ("one", "two")]
    answers = [said(answer).split() for _, answer in started]
    assert [word for word, _ in answers] == ["ONE", "TWO"]
    assert answers[0][1] == answers[1][1] != str(os.getpid()), (
        "both are children of the same program"
    )
    for program, _ in started:
        assert program.wait(10)
        program.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be more urgent than others")
@pytest.mark.parametrize(("owner", "program"), [(-10, 0), (0, 0), (3, 3)])
def test_what_an_urgent_owner_starts_is_not_urgent(modules: Path, owner: int, program: int) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, owner)
    try:
        made = Spawner([*PROGRAMS])
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, mine)
    with contextlib.closing(made):
        made.wait(60)
        started, answer = start(made, "nice")
        assert int(said(answer)) == program
        started.close()


def test_a_program_is_ended_by_a_signal_and_its_end_is_seen(spawner: Spawner) -> None:
    program, answer = start(spawner, "asleep")
    assert not program.wait(0.1)
    program.send(signal.SIGTERM)
    assert program.wait(10)
    assert said(answer) == ""
    program.send(signal.SIGTERM)  # which nobody gets any more
    program.close()


def test_a_program_that_fails_or_computes_too_long_ends_and_others_go_on(spawner: Spawner) -> None:
    for module, cpu_s in (("broken", None), ("busy", 1)):
        program, answer = start(spawner, module, cpu_s=cpu_s)
        assert said(answer) == ""
        assert program.wait(10)
        program.close()
    assert said(start(spawner, "told", "x")[1]).startswith("X")


def test_the_program_that_starts_helpers_is_started_again_after_it_was_killed(
    spawner: Spawner,
) -> None:
    spawner._program.kill()
    spawner._program.wait()
    assert said(start(spawner, "told", "x")[1]).startswith("X")


def test_a_failed_start_is_an_os_error(spawner: Spawner, modules: Path) -> None:
    modules.rename(modules.with_name("elsewhere"))
    spawner._program.kill()
    spawner._program.wait()
    with pytest.raises(OSError, match="has ended"):
        start(spawner, "told")


def test_where_no_process_can_be_started_the_error_says_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_more(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", no_more)
    monkeypatch.setattr(taskstats, "TaskstatsSocket", lambda: socket.socket(socket.AF_UNIX))
    said = "no process can be started: Resource temporarily unavailable"
    for start_one in (lambda: Spawner([]), collector._taskstats_or_none):
        with pytest.raises(RetryError, match=said):
            start_one()


def test_it_ends_with_its_owner(spawner: Spawner) -> None:
    pidfd = os.pidfd_open(spawner._program.pid)
    os.kill(
        spawner._program.pid, signal.SIGTERM
    )  # which the owner gets as well, and may need it still
    time.sleep(0.05)
    assert not select.select([pidfd], [], [], 0)[0]
    spawner._socket.close()
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)


def test_it_ends_without_a_word_if_its_owner_has_not_read_its_answer(
    modules: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = Spawner([*PROGRAMS])
    assert select.select([made._socket], [], [], 60)[0]
    made._socket.close()
    assert made._program.wait(60) == 0
    made.close()
    assert capfd.readouterr().err == ""


def test_it_ends_without_a_word_if_its_owner_ended_after_an_order(
    spawner: Spawner, capfd: pytest.CaptureFixture[str]
) -> None:
    spawner._program.send_signal(signal.SIGSTOP)
    stdin, stdout = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    order = json.dumps({"module": "nice", "cpu_s": None}).encode()
    socket.send_fds(spawner._socket, [order], [stdin, stdout])
    os.close(stdin)
    os.close(stdout)
    spawner._socket.close()
    spawner._program.send_signal(signal.SIGCONT)
    assert spawner._program.wait(60) == 0
    assert capfd.readouterr().err == ""
