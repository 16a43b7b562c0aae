"""`elsa job` asks jobd and prints; `elsa job run` stands in for the command in every respect."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from elsa.cli.job import job
from elsa.control import operations
from elsa.control.server import ControlServer, Peer, Reply
from elsa.errors import (
    EXIT_PERMISSION,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    ElsaError,
    PrivilegeError,
    UsageError,
)
from tests.support.given import Warehouse

JOB = {
    "id": 17,
    "name": "build",
    "kind": "service",
    "owner_uid": 0,
    "created_at_ns": 10**18,
    "closed_at_ns": None,
    "living": 2,
    "tags": {"a": "b"},
}
ELSA_JOB = [sys.executable, "-W", "error", "-c", "from elsa.cli.main import elsa_job; elsa_job()"]


class Jobd:
    """A jobd in a thread that remembers what it was asked and answers what the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[operations.Request] = []
        self.answers: dict[type, dict[str, Any] | ElsaError] = {}
        self.selector = selectors.DefaultSelector()
        self.server = ControlServer(self.selector, path, "elsa", self.handle)
        self.stop, self.wake = socket.socketpair()
        self.selector.register(self.stop, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def handle(self, request: operations.Request, _peer: Peer, reply: Reply) -> None:
        self.asked.append(request)
        reply(self.answers.get(type(request), {"job": JOB}))

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


def call(jobd: Jobd, *args: str) -> Result:
    return CliRunner().invoke(
        job, [args[0], "--socket", os.fspath(jobd.path), *args[1:]], catch_exceptions=True
    )


def start(socket_path: Path, *args: str, **how: Any) -> subprocess.Popen[str]:
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    return subprocess.Popen([*ELSA_JOB, "run", "--socket", os.fspath(socket_path), *args], **how)


def run(socket_path: Path, *args: str, **how: Any) -> tuple[int, str, str]:
    with start(socket_path, *args, **how) as process:
        out, err = process.communicate(timeout=20)
    return process.returncode, out, err


# --- requests


def test_create_prints_the_id_alone(jobd: Jobd) -> None:
    result = call(jobd, "create", "build", "--tag", "a=b", "--tag", "c=d=e")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "17\n", "")
    assert jobd.asked == [operations.Create("build", {"a": "b", "c": "d=e"})]


def test_add_and_remove_say_what_happened_on_stderr(jobd: Jobd) -> None:
    jobd.answers = {
        operations.Add: {"job": JOB, "added": [1, 2], "already": [3]},
        operations.Remove: {"job": JOB, "removed": [1]},
    }
    assert (
        call(jobd, "add", "17", "1", "2", "3", "--tree").stderr
        == "job 17 (build): 2 processes added, 1 already in it\n"
    )
    assert call(jobd, "remove", "build", "1").stderr == "job 17 (build): 1 process removed\n"
    assert call(jobd, "close", "build").stderr == "job 17 (build): closed\n"
    assert jobd.asked == [
        operations.Add(17, (1, 2, 3), tree=True),
        operations.Remove("build", (1,)),
        operations.Close("build"),
    ]


def test_list_show_and_of_print_tables(jobd: Jobd) -> None:
    member = {
        "pid": 5,
        "ppid": 1,
        "comm": "evil\x1b[2J",
        "uid": 0,
        "since_at_ns": 10**18,
        "from_birth": False,
    }
    jobd.answers = {
        operations.List: {"jobs": [JOB]},
        operations.Of: {"pid": 5, "jobs": [JOB]},
        operations.Show: {"job": JOB, "members": [member], "living": 2},
        operations.Status: {"db": "/nowhere/elsa.db"},
    }
    for args in (["list"], ["of", "5"]):
        table = call(jobd, *args).stdout
        headings = ["id", "name", "kind", "owner", "created", "closed", "alive", "tags"]
        assert table.split()[:8] == headings
        assert "service" in table
        assert "17" in table
        assert "root" in table
        assert "a=b" in table
    shown = call(jobd, "show", "build").stdout
    assert shown.startswith("job 17 (build) of root, created 2001-09-")
    assert "open, service, a=b" in shown
    assert "2 processes alive, of which 1 shown" in shown
    assert "evil?[2J" in shown, "nothing in a command's name steers the terminal"


def test_json_is_the_whole_reply(jobd: Jobd) -> None:
    jobd.answers = {
        operations.Status: {"version": "1", "since_at_ns": 10**18, "events": 5, "writer": "ok"}
    }
    shown = json.loads(call(jobd, "status", "--format", "json").stdout)
    assert shown == jobd.answers[operations.Status]
    assert [line.split()[0] for line in call(jobd, "status").stdout.splitlines()] == [
        "version",
        "since",
        "events",
        "writer",
    ]


def test_nothing_is_said_in_words_and_not_as_an_empty_table(jobd: Jobd) -> None:
    jobd.answers = {operations.List: {"jobs": []}, operations.Of: {"pid": 5, "jobs": []}}
    assert "no open jobs" in call(jobd, "list").stderr
    assert "process 5 is in no job" in call(jobd, "of", "5").stderr
    assert call(jobd, "list").stdout == ""


def test_a_change_that_is_not_committed_yet_is_warned_of(jobd: Jobd) -> None:
    jobd.answers = {operations.Close: {"job": JOB, "committed": False, "why": "database is locked"}}
    result = call(jobd, "close", "build")
    assert result.exit_code == 0
    assert "memory only" in result.stderr
    assert "database is locked" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["add", "17", "x"],
        ["add", "17", "0"],
        ["add", "17"],
        ["create", "a", "--tag", "x"],
        ["of", "9999999"],
    ],
)
def test_wrong_arguments_are_usage_errors(jobd: Jobd, args: list[str]) -> None:
    assert call(jobd, *args).exit_code == EXIT_USAGE
    assert not jobd.asked


def test_an_error_of_jobd_becomes_one_line_and_its_exit_code(jobd: Jobd) -> None:
    jobd.answers = {operations.Close: PrivilegeError("job 17 belongs to root")}
    done = subprocess.run(
        [*ELSA_JOB, "close", "17", "--socket", os.fspath(jobd.path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        EXIT_PERMISSION,
        "",
        "elsa-job: job 17 belongs to root\n",
    )


def test_jobs_are_completed_and_nothing_is_printed_if_jobd_does_not_run(jobd: Jobd) -> None:
    jobd.answers = {operations.List: {"jobs": [JOB, {**JOB, "id": 18, "name": "night"}]}}

    def complete(socket_path: Path, word: str) -> str:
        environ = {
            **os.environ,
            "_ELSA_JOB_COMPLETE": "bash_complete",
            "COMP_WORDS": f"elsa-job show {word}",
            "COMP_CWORD": "2",
        }
        environ["ELSA_SOCKET"] = os.fspath(socket_path)
        return subprocess.run(
            ELSA_JOB, check=True, capture_output=True, text=True, env=environ
        ).stdout

    assert complete(jobd.path, "b") == "plain,build\n"
    assert complete(jobd.path, "1") == "plain,17\nplain,18\n"
    assert complete(jobd.path.with_name("none"), "b") == "\n"


# --- run


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_status_is_passed_back_and_stdout_is_the_commands(jobd: Jobd, code: int) -> None:
    assert run(jobd.path, "--", "sh", "-c", f"echo out; exit {code}") == (
        code,
        "out\n",
        "job 17 (build)\n",
    )


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT],
    ids=lambda number: number.name,
)
def test_if_the_command_dies_from_a_signal_so_does_the_runner(
    jobd: Jobd, number: signal.Signals
) -> None:
    assert run(jobd.path, "--", "sh", "-c", f"ulimit -c 0; kill -{number} $$")[0] == -number


def test_the_runner_leaves_no_core_of_its_own(jobd: Jobd, tmp_path: Path) -> None:
    code = (
        f"ulimit -c unlimited; exec {' '.join(map(repr, ELSA_JOB))} run --socket {jobd.path} -- sh"
        " -c 'ulimit -c 0; kill -ABRT $$'"
    )
    done = subprocess.run(["sh", "-c", code], check=False, capture_output=True, cwd=tmp_path)
    assert done.returncode == -signal.SIGABRT
    assert not list(tmp_path.iterdir())


def test_a_command_that_is_not_there_is_127(jobd: Jobd) -> None:
    code, out, err = run(jobd.path, "no-such-command-here")
    assert (code, out) == (127, "")
    assert err.splitlines()[-1] == "elsa-job: no-such-command-here: command not found"


def test_a_command_that_cannot_be_executed_is_126(jobd: Jobd, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    code, out, err = run(jobd.path, os.fspath(tmp_path / "data"))
    assert (code, out) == (126, "")
    assert err.splitlines()[-1].endswith("data: Permission denied")


def test_without_jobd_nothing_is_run(tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "s", "touch", os.fspath(tmp_path / "ran"))
    assert code == EXIT_UNAVAILABLE
    assert (
        err == f"elsa-job: jobd does not answer on {tmp_path}/s; start it with: elsa jobd --socket"
        f" {tmp_path}/s\n"
    )
    assert not (tmp_path / "ran").exists()


def test_if_jobd_refuses_nothing_is_run(jobd: Jobd, tmp_path: Path) -> None:
    jobd.answers = {operations.Create: PrivilegeError("too many jobs")}
    assert run(jobd.path, "touch", os.fspath(tmp_path / "ran")) == (
        EXIT_PERMISSION,
        "",
        "elsa-job: too many jobs\n",
    )
    assert not (tmp_path / "ran").exists()


def test_the_command_does_not_start_before_jobd_has_answered(
    jobd: Jobd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[operations.Create] = []
    arrived, answer = threading.Event(), threading.Event()

    def hold(request: operations.Request, _peer: Peer, reply: Reply) -> None:
        if isinstance(request, operations.Create):
            waiting.append(request)
            arrived.set()
            answer.wait(20)
        reply({"job": JOB})

    monkeypatch.setattr(jobd.server, "_handler", hold)
    marker = tmp_path / "ran"
    with start(jobd.path, "--name", "n", "--tag", "k=v", "touch", os.fspath(marker)) as process:
        assert arrived.wait(10)
        request = waiting[0]
        child = request.pids[0]
        assert request == operations.Create("n", {"k": "v"}, (child,), child, closes_itself=True)
        assert child != process.pid
        while Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] != "S":
            pass  # it is still on its way to where it waits
        assert b"elsa_job" in Path(f"/proc/{child}/cmdline").read_bytes(), (
            "still the runner's fork, not the command"
        )
        assert not marker.exists()
        answer.set()
        assert process.wait(10) == 0
    assert marker.exists()


def test_what_a_command_used_is_stored_when_its_runner_ends(jobd: Jobd) -> None:
    with start(jobd.path, "sh", "-c", "exit 3") as process:
        assert process.wait(10) == 3
    assert [type(request) for request in jobd.asked] == [
        operations.Create,
        operations.Ended,
        operations.Sync,
    ]
    assert jobd.asked[1] == operations.Ended(17, 3 << 8)


def test_if_the_runner_is_killed_before_the_answer_the_command_is_never_run(
    jobd: Jobd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = threading.Event()
    monkeypatch.setattr(jobd.server, "_handler", lambda *_: arrived.set())
    read_end, write_end = os.pipe()
    with start(jobd.path, "touch", os.fspath(tmp_path / "ran"), pass_fds=[write_end]) as process:
        os.close(write_end)
        assert arrived.wait(10)
        process.kill()
    assert os.read(read_end, 1) == b"", (
        "when runner and child are gone, so is every copy of the write end"
    )
    os.close(read_end)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGRTMIN],
    ids=str,
)
def test_signals_are_passed_on_to_the_command(jobd: Jobd, number: int) -> None:
    code = (
        f"from signal import *; pthread_sigmask(SIG_BLOCK, [{number:d}]); print('up', flush=True);"
        f"print(int(sigwait([{number:d}]))); exit(5)"
    )
    with start(jobd.path, sys.executable, "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.wait(10) == 5
        assert process.stdout.read() == f"{number:d}\n"


def test_what_the_terminal_sends_arrives_once(jobd: Jobd) -> None:
    # The runner is held until the command has taken its signal: two that wait at once would be one.
    counts = (
        "import os, signal as s; s.pthread_sigmask(s.SIG_BLOCK, [s.SIGINT]); os.kill(os.getppid(),"
        " s.SIGSTOP); print('up', flush=True);s.sigwait([s.SIGINT]); os.kill(os.getppid(),"
        " s.SIGCONT); print('second' if s.sigtimedwait([s.SIGINT], 0.3) else 'once')"
    )
    command = [*ELSA_JOB, "run", "--socket", os.fspath(jobd.path), sys.executable, "-c", counts]
    terminal = f"import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn({command!r})))"
    with subprocess.Popen(
        [sys.executable, "-c", terminal], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while process.stdout.readline().strip() != "up":
            pass
        process.stdin.write("\x03")
        process.stdin.flush()
        assert "once" in process.stdout.read()
        assert process.wait(10) == 0


def test_the_runner_stops_and_continues_with_the_command(jobd: Jobd) -> None:
    with start(jobd.path, "sh", "-c", "kill -TSTP $$; echo back", process_group=0) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert os.WSTOPSIG(status) == signal.SIGTSTP
        os.killpg(process.pid, signal.SIGCONT)
        out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "back\n")


def test_the_command_has_the_signals_and_descriptors_that_the_runner_was_given(jobd: Jobd) -> None:
    look = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd"
    plain = subprocess.run(
        ["sh", "-c", look], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout
    assert run(jobd.path, "sh", "-c", look, stdin=subprocess.DEVNULL)[1] == plain


def test_ignored_signals_stay_ignored_as_under_nohup(jobd: Jobd) -> None:
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGINT)
    }
    try:
        process = start(jobd.path, "grep", "SigIgn", "/proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with process:
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    ignored = int(out.split()[1], 16)
    assert all(ignored & 1 << number - 1 for number in before)


def test_a_closed_stderr_is_no_reason_not_to_run(jobd: Jobd) -> None:
    with Path("/dev/full").open("w") as full:
        assert run(jobd.path, "echo", "ran", stderr=full)[1] == "ran\n"


def test_options_of_the_command_are_its_own(jobd: Jobd) -> None:
    assert run(jobd.path, "echo", "--name", "-n", "--", "x")[1] == "--name -n -- x\n"
    assert jobd.asked[0].name == "echo"  # type: ignore[union-attr]


# --- after the fact


def test_define_asks_jobd_where_the_warehouse_is_not_to_be_written(jobd: Jobd) -> None:
    found = {
        "processes": 3,
        "running": 1,
        "inferred": 1,
        "started_at_ns": 10**18,
        "ended_at_ns": None,
        "commands": {"sh": 3},
    }
    jobd.answers = {
        operations.Status: {"db": "/nowhere/elsa.db", "pid": 600},
        operations.Define: {"job": JOB, "found": found},
    }
    result = call(
        jobd,
        "define",
        "late",
        "--root",
        "4711@2026-01-02T03:04:05Z",
        "--tag",
        "a=b",
        "--until",
        "2026-01-03T00:00Z",
    )
    assert (result.exit_code, result.stdout) == (0, "17\n")
    assert result.stderr.splitlines()[0].startswith(
        "3 processes, 1 of them running, from 2001-09-09"
    )
    assert result.stderr.splitlines()[1:] == [
        "1 of them by inference: their ancestry or session was not received from the kernel",
        "commands: sh (3)",
    ]
    assert jobd.asked[-1] == operations.Define(
        "late", {"a": "b"}, root=4711, at_ns=1_767_323_045 * 10**9, until_ns=1_767_398_400 * 10**9
    )
    jobd.answers[operations.Define] = {"job": None, "found": found}
    result = call(jobd, "define", "late", "--command", "cc1*", "--command", "ld", "--dry-run")
    assert (result.stdout.splitlines()[-1], result.stderr) == ("commands: sh (3)", "")
    assert jobd.asked[-1] == operations.Define("late", commands=("cc1*", "ld"), dry_run=True)


@pytest.mark.parametrize(
    "args",
    [
        ["--root", "x"],
        ["--root", "1@"],
        ["--root", "1@never"],
        ["--root", "1", "--session", "2"],
        [],
        ["--where", ""],
        ["--root", "0"],
    ],
)
def test_a_selection_that_makes_no_sense_is_refused_before_jobd_is_asked(
    jobd: Jobd, args: list[str]
) -> None:
    result = call(jobd, "define", "late", *args)
    assert isinstance(result.exception, ElsaError)
    assert result.exception.exit_code == EXIT_USAGE
    assert jobd.asked == []


def test_of_a_job_that_has_ended_the_report_is_shown(
    jobd: Jobd, template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "elsa.db"
    shutil.copy(template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        warehouse = Warehouse(connection)
        warehouse.job(5, "nightly")
        warehouse.job(6, "nightly")
    jobd.answers[operations.Show] = UsageError("no open job 'nightly'")
    jobd.answers[operations.List] = {"jobs": []}
    jobd.answers[operations.Status] = {"db": str(path)}
    shown = call(jobd, "show", "nightly", "--format", "json")
    assert json.loads(shown.stdout)["job"]["job_id"] == 6
    assert "no open job is called nightly; this is from elsa report job" in shown.stderr
    with_name = call(jobd, "show", "5")
    assert "nightly" in with_name.stdout
    refused = call(jobd, "show", "weekly")
    assert "no open job" in str(refused.exception)
    assert refused.output == ""
    # Two open jobs of one name are not a job that has ended.
    jobd.answers[operations.List] = {"jobs": [JOB | {"name": "nightly"}]}
    assert "no open job" in str(call(jobd, "show", "nightly").exception)


def test_a_limit_lists_the_newest_jobs_and_says_so(jobd: Jobd) -> None:
    jobd.answers[operations.List] = {"jobs": [JOB | {"id": number} for number in range(1, 6)]}
    listed = call(jobd, "list", "--limit", "2", "--format", "json")
    assert [found["id"] for found in json.loads(listed.stdout)["jobs"]] == [4, 5]
    assert "the newest 2 of 5 jobs" in listed.stderr
    assert call(jobd, "list", "--limit", "5").stderr == ""


def test_top_reads_the_warehouse_once_for_all_jobs(
    jobd: Jobd, template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "elsa.db"
    shutil.copy(template, path)
    jobs = [JOB | {"id": number} for number in range(1, 6)]
    jobd.answers[operations.List] = {"jobs": jobs}
    jobd.answers[operations.Show] = {"job": JOB, "living": 0, "members": []}
    jobd.answers[operations.Status] = {"db": str(path)}
    shown = call(jobd, "top")
    assert shown.stdout.count("build") >= 5
    assert "no open jobs" not in shown.stdout
    asked = [type(request) for request in jobd.asked]
    # Twice, for the rates.
    assert (asked.count(operations.Show), asked.count(operations.Sync)) == (10, 2)
    jobd.answers[operations.Show] = UsageError("no open job 1")
    assert call(jobd, "top").stdout == "no open jobs\n"
