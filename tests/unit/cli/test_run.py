"""`elsa run` asks the right jobd for the right job, and whatever becomes of the bill, the command
ends as it ended.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elsa.control import operations
from elsa.control.server import ControlServer, Peer, Reply
from elsa.errors import (
    EXIT_KILLED,
    EXIT_PERMISSION,
    EXIT_USAGE,
    ElsaError,
    PrivilegeError,
    UsageError,
)

JOB = {
    "id": 17,
    "name": "build",
    "owner_uid": 0,
    "created_at_ns": 10**18,
    "closed_at_ns": None,
    "living": 1,
    "tags": {},
}
ELSA_RUN = [sys.executable, "-W", "error", "-c", "from elsa.cli.main import elsa; elsa()", "run"]


class Jobd:
    """A jobd in a thread: makes jobs, in which as many live as `living` says, one less each time it
    is asked; has no warehouse.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[operations.Request] = []
        self.living = 0
        self.refusal: ElsaError | None = None
        self.selector = selectors.DefaultSelector()
        self.server = ControlServer(self.selector, path, "elsa", self.handle)
        self.stop, self.wake = socket.socketpair()
        self.selector.register(self.stop, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def handle(self, request: operations.Request, _peer: Peer, reply: Reply) -> None:
        self.asked.append(request)
        if isinstance(request, operations.Create):
            reply(self.refusal or {"job": JOB})
        elif isinstance(request, operations.Show):
            self.living -= 1
            reply(
                {"job": JOB, "living": self.living + 1, "members": []}
                if self.living >= 0
                else UsageError("no open job 17")
            )
        elif isinstance(request, operations.Status):
            reply({"db": str(self.path.with_name("none.db"))})
        else:
            reply({"heard_ns": 1})

    def loop(self) -> None:
        while True:
            for key, mask in self.selector.select():
                if key.fileobj is self.stop:
                    return
                key.data(mask)

    def close(self) -> None:
        self.wake.close()
        self.thread.join()
        self.stop.close()
        self.server.close()
        self.selector.close()


@pytest.fixture
def jobd() -> Iterator[Jobd]:
    folder = Path(tempfile.mkdtemp(prefix="elsa-"))
    daemon = Jobd(folder / "s")
    yield daemon
    daemon.close()
    shutil.rmtree(folder)


def run(jobd: Jobd, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "ELSA_SOCKET": os.fspath(jobd.path), "ELSA_CONFIG": os.devnull}
    how: dict[str, Any] = {"capture_output": True} | options
    return subprocess.run(
        [*ELSA_RUN, *words], check=False, text=True, env=environ, timeout=30, **how
    )


def kinds(jobd: Jobd) -> list[str]:
    return [type(request).__name__ for request in jobd.asked]


def test_a_job_is_made_waited_for_and_read(jobd: Jobd) -> None:
    jobd.living = 2
    done = run(jobd, "--name", "build", "--tag", "a=b", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert kinds(jobd) == ["Status", "Create", "Ended", "Show", "Show", "Show", "Sync"]
    assert jobd.asked[2] == operations.Ended(17, 3 << 8)
    create = jobd.asked[1]
    assert isinstance(create, operations.Create)
    assert (create.name, create.tags, create.closes_itself, create.pids) == (
        "build",
        {"a": "b"},
        True,
        (create.launched,),
    )


def test_without_waiting_jobd_is_not_asked_which_processes_run(jobd: Jobd) -> None:
    assert run(jobd, "--no-wait", "true").returncode == 0
    assert kinds(jobd) == ["Status", "Create", "Ended", "Sync"]


def test_a_user_who_may_not_read_the_warehouse_gets_the_wait_status(jobd: Jobd) -> None:
    done = run(jobd, "--format", "json", "sh", "-c", "exit 3")
    assert done.returncode == 3
    told = json.loads(done.stderr)
    assert (told["job_id"], told["exit_code"], told["complete"], told["processes"]) == (
        17,
        3,
        False,
        None,
    )
    assert told["peak_rss_kib"] is None, "wait told our own child's, which was larger"
    assert told["notes"] == [
        f"only what the command waited for is known: {jobd.path.with_name('none.db')}: no warehouse"
        f" there; create one with: elsa db upgrade --db {jobd.path.with_name('none.db')}, or name"
        " another with --db"
    ]


def test_if_jobd_refuses_nothing_is_run(jobd: Jobd, tmp_path: Path) -> None:
    jobd.refusal = PrivilegeError("too many jobs")
    done = run(jobd, "touch", os.fspath(tmp_path / "ran"))
    assert (done.returncode, done.stderr) == (EXIT_PERMISSION, "elsa: too many jobs\n")
    assert not (tmp_path / "ran").exists()


def test_a_closed_stderr_does_not_change_how_the_command_ends(jobd: Jobd) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(
            jobd,
            "sh",
            "-c",
            "echo out; exit 3",
            capture_output=False,
            stdout=subprocess.PIPE,
            stderr=full,
        )
    assert (done.returncode, done.stdout) == (3, "out\n")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--append", "true"],
        ["--format", "csv", "true"],
        ["--tag", "x", "true"],
        ["--kill", "true"],
        ["--kill", "--budget", "cpu", "true"],
    ],
)
def test_wrong_arguments_are_usage_errors(jobd: Jobd, words: list[str]) -> None:
    assert run(jobd, *words).returncode == EXIT_USAGE
    assert not jobd.asked


def test_options_of_the_command_are_its_own(jobd: Jobd) -> None:
    assert run(jobd, "echo", "--name", "-o", "--", "x").stdout == "--name -o -- x\n"


def test_the_command_has_the_signals_and_descriptors_that_elsa_was_given(jobd: Jobd) -> None:
    look = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd"
    plain = subprocess.run(
        ["sh", "-c", look], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout
    assert run(jobd, "sh", "-c", look, stdin=subprocess.DEVNULL).stdout == plain


def test_a_command_over_its_budget_is_killed_and_the_exit_code_says_so(jobd: Jobd) -> None:
    done = run(jobd, "--budget", "wall=1s", "--kill", "--format", "json", "sleep", "60")
    assert done.returncode == EXIT_KILLED
    report, *lines = done.stderr.splitlines()
    told = json.loads(report)
    assert (told["exit_signal"], 1 <= told["wall_s"] < 20) == (signal.SIGTERM, True)
    assert lines[-1] == f"elsa: killed: {told['killed'][0]}"
    assert told["killed"][0].startswith("wall 1.")


def test_a_command_within_its_budget_ends_as_without_one(jobd: Jobd) -> None:
    done = run(jobd, "--budget", "wall=1h", "--kill", "--format", "json", "sh", "-c", "exit 3")
    assert (done.returncode, json.loads(done.stderr)["killed"]) == (3, [])


def test_markdown_has_the_job_and_what_became_of_its_budget(jobd: Jobd) -> None:
    asked = ("--format", "markdown", "-o", "-", "--budget")
    over = run(jobd, *asked, "wall=100ms,cpu=1h", "sleep", "0.2")
    assert over.returncode == 1
    assert over.stdout.startswith("### job 17 (")
    (line,) = (line for line in over.stdout.splitlines() if line.startswith("| budget |"))
    assert "| budget | wall " in line
    assert "is over the budget of 0.10 s" in line
    within = run(jobd, *asked, "wall=1h", "true")
    assert within.returncode == 0
    assert "| budget | within wall=1h |" in within.stdout.splitlines()
