"""`elsa run` on the real kernel, with a jobd and without: the command's own ending, and a bill that
holds what was truly used.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from elsa import names
from elsa.errors import EXIT_KILLED, EXIT_NO_INPUT, EXIT_PERMISSION, EXIT_USAGE, ElsaError
from elsa.kernel import own_group
from elsa.kernel.connector import Connector
from elsa.kernel.taskstats import TaskstatsSocket
from tests.support.elsa_host import Host, wait_until

pytestmark = pytest.mark.kernel

MIB = 1 << 20
ELSA = Path(sys.executable).with_name("elsa")
BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


@pytest.fixture(scope="module")
def connected(require_kernel: Callable[[object, str], None]) -> None:
    """The kernel tells us what jobd wants to hear."""
    try:
        Connector(1 << 20).close()
        TaskstatsSocket(1 << 20).close()
    except ElsaError as error:
        require_kernel(False, str(error))


@pytest.fixture
def quiet(tmp_path: Path, template: Path, connected: None) -> Iterator[Host]:
    """A host whose accounting is left alone."""
    made = Host(tmp_path, tmp_path / "no-pacct", template)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def served(
    template: Path, tmp_path_factory: pytest.TempPathFactory, connected: None
) -> Iterator[Host]:
    """A host whose jobd runs for all tests that start nothing but commands."""
    folder = tmp_path_factory.mktemp("served")
    made = Host(folder, folder / "no-pacct", template)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(params=["jobd", "inside"])
def door(request: pytest.FixtureRequest) -> Host:
    """A host with jobd running, and one without any."""
    made = request.getfixturevalue({"jobd": "served", "inside": "quiet"}[request.param])
    assert isinstance(made, Host)
    return made


def start(
    host: Host, *words: object, program: tuple[object, ...] = (ELSA,), **options: Any
) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": host.environ,
    }
    process: subprocess.Popen[str] = subprocess.Popen(
        list(map(str, (*program, "run", *words))), **(pipes | options)
    )
    host.started.append(process)
    return process


def run(host: Host, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    process = start(host, *words, **options)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def bill(host: Host, *words: object, **options: Any) -> dict[str, Any]:
    """The bill of a command that must succeed."""
    done = run(host, "--format", "json", *words, **options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stderr)
    assert isinstance(told, dict)
    return told


def test_the_command_ends_as_it_would_without_elsa(door: Host) -> None:
    assert run(door, "--", "sh", "-c", "echo out; exit 3").returncode == 3
    killed = run(door, "--", "sh", "-c", "kill -KILL $$")
    assert killed.returncode == -signal.SIGKILL
    assert "signal 9 (SIGKILL)" in killed.stderr
    missing = run(door, "--", "no-such-command-here")
    assert (missing.returncode, missing.stderr.splitlines()[-1]) == (
        127,
        "elsa: no-such-command-here: command not found",
    )
    done = run(door, "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (0, "out\n", "err")


def test_a_signal_goes_to_the_command(door: Host) -> None:
    process = start(door, "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 5
    assert "exit status 5" in err


def test_every_process_is_on_the_bill(door: Host, tmp_path: Path) -> None:
    shutil.copy(os.path.realpath(shutil.which("true") or "true"), tmp_path / "eltrue")
    told = bill(
        door,
        "sh",
        "-c",
        "for i in $(seq 300); do ./eltrue & done; wait; ./eltrue; exit 0",
        cwd=tmp_path,
    )
    assert told["processes"] == 303, "300, one more, the shell, and seq"
    assert told["threads"] == 303
    assert sum(row["processes"] for row in told["commands"] if row["command"] == "eltrue") == 301, (
        "named, however short they live"
    )
    assert (told["complete"], told["running"], told["unknown"], told["lost"]) == (True, 0, 0, 0)


def test_cpu_time_and_memory_are_those_that_were_used(door: Host) -> None:
    told = bill(door, sys.executable, "-c", f"x = bytearray(64 << 20)\n{BURN.format(0.5)}")
    assert 0.5 <= told["cpu_s"] < 0.5 + 0.5
    assert told["cpu_s"] == pytest.approx(told["user_s"] + told["system_s"])
    assert told["cpus"] == pytest.approx(told["cpu_s"] / told["wall_s"])
    assert told["wall_s"] >= 0.5
    assert 64 * 1024 <= told["peak_rss_kib"] < 128 * 1024


def test_many_short_processes_are_not_cheaper_than_wait_knows(door: Host) -> None:
    told = bill(door, "sh", "-c", "for i in $(seq 200); do /bin/sh -c :; done")
    counted = sum(row["cpu_s"] for row in told["commands"])
    assert told["cpu_s"] > 0.02
    assert told["cpu_s"] >= counted * 0.5


def test_one_thread_never_uses_more_than_one_cpu_and_commands_no_more_than_the_whole(
    door: Host,
) -> None:
    for _ in range(5):
        told = bill(door, "true")
        assert 0 <= told["cpus"] <= 1, "what elsa run itself used before is not in it"
        assert sum(row["cpu_s"] for row in told["commands"]) <= told["cpu_s"] + 1e-9


def test_memory_from_before_an_exec_is_on_the_bill_where_it_was_waited_for(door: Host) -> None:
    told = bill(
        door,
        sys.executable,
        "-c",
        "import os; x = bytearray(128 << 20); os.execvp('true', ['true'])",
    )
    assert 128 * 1024 <= told["peak_rss_kib"] < 256 * 1024
    assert told["peak_command"] is None, "wait4 does not tell whose it was"
    told = bill(door, "true")
    assert (told["peak_rss_kib"] < 16 * 1024, told["peak_command"]) == (
        True,
        "true",
    ), "not that of elsa run itself"


def test_the_bill_has_no_secrets(door: Host) -> None:
    done = run(door, "sh", "-c", "TOKEN=hunter2; exit 0", "--password=hunter2")
    assert "hunter2" not in done.stderr
    assert "***" in done.stderr


def test_the_bill_can_go_to_stdout(door: Host) -> None:
    done = run(door, "--format", "json", "-o", "-", "echo", "out")
    out, told = done.stdout.splitlines()
    assert (out, json.loads(told)["exit_code"], done.stderr) == ("out", 0, "")


def test_a_jobd_that_is_killed_meanwhile_leaves_what_it_had_stored_and_what_wait_knows(
    quiet: Host,
) -> None:
    quiet.start()
    impatient = (
        "from elsa.run import with_jobd; with_jobd.ABSENCE_S = 1.0\n"
        "from elsa.cli import main; main.elsa()"
    )
    process = start(
        quiet,
        "--format",
        "json",
        sys.executable,
        "-c",
        f"print('up', flush=True)\n{BURN.format(0.3)}\ninput()",
        program=(sys.executable, "-c", impatient),
        stdin=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    quiet.kill()
    _, err = process.communicate("\n", timeout=60)
    told = json.loads(err)
    assert (process.returncode, told["exit_code"], told["complete"]) == (0, 0, False)
    assert told["cpu_s"] >= 0.3
    assert told["read_chars"] is None
    assert any("jobd does not answer" in word or "no jobd" in word for word in told["notes"]), told[
        "notes"
    ]


def test_written_and_read_bytes_are_on_the_bill(door: Host, tmp_path: Path) -> None:
    told = bill(
        door,
        "sh",
        "-c",
        "dd if=/dev/zero of=data bs=1M count=8 status=none; cat < data > copy",
        cwd=tmp_path,
    )
    assert 16 * MIB <= told["write_chars"] < 17 * MIB
    assert 16 * MIB <= told["read_chars"] < 17 * MIB


def test_a_daemon_is_waited_for_and_billed(door: Host, tmp_path: Path) -> None:
    daemon = (
        f"sleep 0.3; dd if=/dev/zero of=data bs=1M count=8; exec {sys.executable} -c"
        f" '{BURN.format(0.4)}'"
    )
    (tmp_path / "daemon").write_text(daemon)
    began = time.monotonic()
    told = bill(
        door, "sh", "-c", "(setsid sh ./daemon > /dev/null 2>&1 < /dev/null &)", cwd=tmp_path
    )
    assert time.monotonic() - began >= 0.7
    assert told["wall_s"] >= 0.7 > told["command_s"]
    assert told["cpu_s"] >= 0.4
    assert told["write_chars"] >= 8 * MIB
    assert told["processes"] >= 4
    assert told["complete"]


def test_without_waiting_the_bill_comes_with_the_command_and_says_who_runs(door: Host) -> None:
    began = time.monotonic()
    told = bill(
        door,
        "--no-wait",
        "sh",
        "-c",
        "sleep 30 > /dev/null 2>&1 < /dev/null & echo $! > pid",
        cwd=door.db.parent,
    )
    try:
        assert time.monotonic() - began < 20
        assert (told["running"], told["complete"]) == (1, False)
        assert "1 process still running" in told["notes"][0]
        assert not told["group"] or "is kept: processes still run in it" in told["notes"][-1]
        assert told["so_far"]["processes"] == 1
        assert 0 < told["so_far"]["peak_rss_kib"] < 16 * 1024
    finally:
        os.kill(int((door.db.parent / "pid").read_text()), signal.SIGKILL)


def test_who_has_waited_enough_gets_the_bill_so_far(door: Host) -> None:
    process = start(door, "sh", "-c", "sleep 30 > /dev/null 2>&1 < /dev/null & echo $!; exit 4")
    assert process.stdout is not None
    daemon = int(process.stdout.readline())
    wait_until(
        "the command ended",
        lambda: not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split(),
    )
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    os.kill(daemon, signal.SIGKILL)
    assert process.returncode == 4
    assert "1 process still running" in err


def test_the_bill_goes_to_a_file_and_is_appended(door: Host, tmp_path: Path) -> None:
    for number in range(3):
        mode = ["--append"] if number else []
        assert (
            run(door, "--output", tmp_path / "bills", *mode, "--format", "json", "true").stderr
            == ""
        )
    lines = (tmp_path / "bills").read_text().splitlines()
    assert [json.loads(line)["command"] for line in lines] == [["true"]] * 3
    assert run(door, "-o", tmp_path / "bills", "true").returncode == 0
    assert "exit status 0" in (tmp_path / "bills").read_text()
    assert "{" not in (tmp_path / "bills").read_text()


def test_what_cannot_be_written_is_said_before_anything_is_run(quiet: Host, tmp_path: Path) -> None:
    done = run(quiet, "--output", tmp_path / "none" / "bill", "touch", tmp_path / "ran")
    assert (done.returncode, len(done.stderr.splitlines())) == (EXIT_NO_INPUT, 1)
    assert run(quiet, "--append", "touch", tmp_path / "ran").returncode == EXIT_USAGE
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_does_not_change_how_the_command_ends(door: Host) -> None:
    done = run(door, "--output", "/dev/full", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert "elsa: no cost report: " in done.stderr


def test_without_privilege_one_line_says_what_to_do(
    quiet: Host, tmp_path: Path, require_kernel: Callable[[object, str], None]
) -> None:
    require_kernel(shutil.which("setpriv"), "there is no setpriv to give up privileges with")
    less = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", "--ambient-caps=-all", "--"]
    command = [*less, str(ELSA), "run", "touch", str(tmp_path / "ran")]
    done = subprocess.run(command, env=quiet.environ, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_PERMISSION
    assert (
        done.stderr
        == f"elsa: no jobd answers on {quiet.socket}, and without one only root can account a"
        " command; start one (elsa jobd), or run this as root\n"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("with_jobd", [True, False], ids=["jobd", "inside"])
def test_what_was_lost_is_said_and_nobody_is_waited_for_in_vain(
    quiet: Host, with_jobd: bool
) -> None:
    deaf = {"receive_buffer_mib": 1, "drain_ms": 1500}
    if with_jobd:
        quiet.start(**deaf)
    environ = quiet.environ | {f"ELSA_{name.upper()}": str(value) for name, value in deaf.items()}
    forks = "i=0; while [ $i -lt 3000 ]; do (:); i=$((i+1)); done"
    told = bill(quiet, "sh", "-c", forks, env=environ)
    assert told["lost"] > 0
    assert told["running"] == 0
    assert not told["complete"]
    assert "lower bounds" in told["notes"][-1]
    assert told["cpu_s"] > 0.05, "the command itself was waited for"


def test_the_command_has_the_signals_and_descriptors_that_elsa_was_given(door: Host) -> None:
    look = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd"
    plain = subprocess.run(
        ["sh", "-c", look], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout
    assert run(door, "sh", "-c", look, stdin=subprocess.DEVNULL).stdout == plain


def test_a_warehouse_of_its_own_keeps_the_accounting(door: Host, tmp_path: Path) -> None:
    own = tmp_path / "own" / "elsa.db"
    own.parent.mkdir()
    told = bill(door, "--db", own, "--name", "kept", "--tag", "a=b", "sh", "-c", "true & wait")
    assert (told["job_name"], told["processes"], told["complete"]) == ("kept", 2, True)
    rows = json.loads(door.elsa("report", "jobs", "--db", own, "--format", "json"))["rows"]
    assert [(row["name"], row["processes"], row["exit_code"]) for row in rows] == [("kept", 2, 0)]
    kept = "select count(*) from job where name = 'kept'"
    assert door.value(kept) == 0, "jobd's own warehouse knows nothing of it"


def test_the_warehouse_of_jobd_is_the_warehouse_that_is_named(quiet: Host) -> None:
    quiet.start()
    assert bill(quiet, "--db", quiet.db, "true")["job_id"] == 1


# --- live


@pytest.fixture
def reader(quiet: Host) -> Iterator[Host]:
    """A job `live` whose shell has waited for a reader of 32 MiB and now waits for a sleeper."""
    quiet.start()
    launcher = start(
        quiet,
        "--name",
        "live",
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/null bs=1M count=32; sleep 60; :",
    )
    wait_until(
        "the reader is done",
        lambda: (
            "sleep" in quiet.elsa("job", "show", "live") if quiet.request("list")["jobs"] else False
        ),
    )
    yield quiet
    # With its last process the launcher ends too, and removes the command's control group.
    for member in quiet.request("show", job="live")["members"]:
        os.kill(member["pid"], signal.SIGTERM)
    launcher.communicate(timeout=20)


def test_what_children_used_that_were_waited_for_is_not_counted_twice(reader: Host) -> None:
    usage = json.loads(reader.elsa("job", "show", "live", "--format", "json"))["usage"]
    assert usage["running"]["processes"] == 2
    assert usage["finished"]["processes"] == 1
    assert 32 * MIB <= usage["finished"]["read_chars"] < 33 * MIB
    assert usage["running"]["read_chars"] < MIB
    assert (
        usage["together"]["read_chars"]
        == usage["finished"]["read_chars"] + usage["running"]["read_chars"]
    )


def test_show_and_top_print_running_and_finished_apart(reader: Host) -> None:
    for text in (
        reader.elsa("job", "show", "live"),
        reader.elsa("job", "top", "live"),
        reader.elsa("job", "top"),
    ):
        for word in ("running", "finished", "together", "32.0 MiB"):
            assert word in text


def test_who_joined_later_or_lost_threads_is_shown_with_its_part(
    quiet: Host, tmp_path: Path
) -> None:
    """12 MiB before it came in, 8 MiB by a thread that has ended, 4 MiB by the one that lives; then
    taken out, and written on.
    """
    quiet.start()
    script = f"""
import os, sys, threading
out = os.open({str(tmp_path / "out")!r}, os.O_WRONLY | os.O_CREAT)
def write(mib):
    for _ in range(mib): os.write(out, b"x" * (1 << 20))
    print("wrote", flush=True)
def thread(mib):
    one = threading.Thread(target=write, args=(mib,)); one.start(); one.join()
write(12); sys.stdin.readline()
thread(8); write(4); sys.stdin.readline()
write(16); sys.stdin.readline()
"""
    job = quiet.create("part")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def steps(number: int) -> None:
            assert [child.stdout.readline() for _ in range(number)] == ["wrote\n"] * number  # type: ignore[union-attr]

        def go_on() -> None:
            child.stdin.write("\n")  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]

        def usage() -> Any:
            return json.loads(quiet.elsa("job", "show", job, "--format", "json"))

        steps(1)
        quiet.request("add", job=job, pids=[child.pid])
        go_on()
        steps(2)
        shown = usage()
        assert 12 * MIB <= shown["usage"]["running"]["write_chars"] < 12.1 * MIB
        assert [word for word in shown["notes"] if not word.startswith("peak of all")] == []
        quiet.request("remove", job=job, pids=[child.pid])
        go_on()
        steps(1)
        shown = usage()
        assert shown["usage"]["running"]["processes"] == 0
        assert 12 * MIB <= shown["usage"]["finished"]["write_chars"] < 12.1 * MIB
        quiet.request("add", job=job, pids=[child.pid])
        assert 12 * MIB <= usage()["usage"]["together"]["write_chars"] < 12.1 * MIB, (
            "nothing more since it is back"
        )
        go_on()


def test_rates_are_shown_in_a_pipe_too(quiet: Host) -> None:
    quiet.start()
    launcher = start(quiet, "--name", "busy", sys.executable, "-c", BURN.format(30))
    wait_until(
        "it is busy",
        lambda: quiet.request("list")["jobs"] and "python" in quiet.elsa("job", "top", "busy"),
    )
    line = next(line for line in quiet.elsa("job", "top", "busy").splitlines() if "python" in line)
    assert float(line.split()[0]) > 0.1
    # A launcher that is killed would leave the command and its control group.
    launcher.terminate()
    launcher.communicate(timeout=20)


def test_top_refreshes_until_q(reader: Host) -> None:
    ours, theirs = pty.openpty()
    command = [str(ELSA), "job", "top", "live", "--every", "0.2"]
    with subprocess.Popen(
        command, env=reader.environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        deadline = time.monotonic() + 30
        while seen.count(b"together") < 3 and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
        os.write(ours, b"q")
        assert process.wait(10) == 0
    os.close(ours)
    assert seen.count(b"together") >= 3


@pytest.fixture
def groups(require_kernel: Callable[[object, str], None]) -> Path:
    """The control group of this process, in which it may make others."""
    reason, path = "", None
    try:
        group = own_group.make()
        path = group.path.parent
        assert group.remove()
    except ElsaError as error:
        reason = str(error)
    require_kernel(path is not None, reason)
    assert path is not None
    return path


def test_command_has_a_control_group_of_its_own_whose_cpu_time_is_exact(
    door: Host, groups: Path
) -> None:
    before = set(groups.glob("elsa-run-*"))
    done = run(
        door,
        "--format",
        "json",
        "--",
        "sh",
        "-c",
        f"cat /proc/self/cgroup; {sys.executable} -c '{BURN.format(0.2)}'; "
        "for i in $(seq 200); do /bin/true; done",
    )
    assert re.search(r"^0::.*/elsa-run-[0-9]+$", done.stdout, flags=re.MULTILINE)
    told = json.loads(done.stderr)
    exact_s = (told["group"]["user_us"] + told["group"]["system_us"]) / 1e6
    # All were waited for, so wait4 has everything too.
    assert exact_s == pytest.approx(told["cpu_s"], abs=0.02)
    assert exact_s > 0.2
    assert set(groups.glob("elsa-run-*")) <= before


def test_jobd_stores_what_the_group_of_a_command_counted(quiet: Host, groups: Path) -> None:
    quiet.start()
    before = set(groups.glob("elsa-run-*"))
    quiet.elsa("job", "run", "--name", "burn", "--", sys.executable, "-c", BURN.format(0.2))
    [(kind, path, final, cpu_us)] = quiet.sql(
        """select j.kind, t.value, g.final, g.user_us + g.system_us
           from job_cgroup as g join job as j on j.id = g.job_id
           join long_text as t on t.id = j.cgroup_id where j.name = 'burn'"""
    )
    assert (kind, final) == ("manual", 1)
    assert names.maker_of_group(path.rpartition("/")[2])
    assert 200_000 <= cpu_us < 1_000_000
    assert set(groups.glob("elsa-run-*")) <= before
    shown = json.loads(quiet.elsa("report", "job", "burn", "--format", "json"))["job"]
    assert shown["group_cpu_s"] == cpu_us / 1e6


def test_group_of_a_launcher_that_was_killed_is_removed_by_the_next_run(
    door: Host, groups: Path
) -> None:
    process = start(door, "sleep", "60")
    group = groups / f"elsa-run-{process.pid}"
    wait_until("the command is in its group", lambda: in_group(group))
    process.kill()
    process.wait(timeout=30)
    # A command that had not been let go yet ends with its launcher.
    for pid in in_group(group):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    wait_until("the command has ended", lambda: not group.exists() or not in_group(group))
    assert run(door, "true").returncode == 0
    assert not group.exists()


def in_group(group: Path) -> list[str]:
    try:
        return (group / "cgroup.procs").read_text().split()
    except FileNotFoundError:
        return []


# --- budgets

# A daemon that burns CPU time, and a storm of forks.
WILD = """
setsid sh -c 'while :; do :; done' wild-{0} > /dev/null 2>&1 < /dev/null &
while :; do (:) & (:) & wait; done
"""


def wild(number: int) -> list[str]:
    """The processes of WILD that live."""
    found = subprocess.run(["pgrep", "-f", f"wild-{number}"], capture_output=True, check=False)
    return found.stdout.decode().split()


def test_a_command_over_its_budget_is_killed_with_all_that_it_started(door: Host) -> None:
    done = run(
        door,
        *("--budget", "cpu=1s", "--kill", "--format", "json"),
        *("sh", "-c", WILD.format(os.getpid())),
    )
    told = json.loads(done.stderr.splitlines()[0])
    assert (done.returncode, told["running"], wild(os.getpid())) == (EXIT_KILLED, 0, [])
    assert "is over the budget of 1.00 s" in told["killed"][0]


def test_a_plain_user_kills_what_ignores_term_too(nobody: Host) -> None:
    nobody.start()
    number = os.getpid()
    done = nobody.as_nobody(
        *("run", "--budget", "cpu=1s", "--kill", "--format", "json"),
        *("sh", "-c", f"trap '' TERM; {WILD.format(number)}"),
        before="from elsa.run import end_processes; end_processes.GRACE_S = 1.0",
    )
    told = json.loads(done.stderr.splitlines()[0])
    assert (done.returncode, told["running"], wild(number)) == (EXIT_KILLED, 0, [])
    assert told["exit_signal"] == signal.SIGKILL


def test_a_control_group_is_killed_in_one_step(groups: Path) -> None:
    group = own_group.make()
    storm = ["sh", "-c", f"read go; trap '' TERM; {WILD.format(os.getpid())}"]
    with subprocess.Popen(storm, stdin=subprocess.PIPE) as process:
        group.add(process.pid)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until("the storm is on", lambda: len(group.pids()) > 1)
        assert group.kill()
        assert process.wait(timeout=10) == -signal.SIGKILL
    wait_until("all are gone", lambda: not group.pids())
    assert wild(os.getpid()) == []
    assert group.remove()
