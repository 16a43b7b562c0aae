"""A plain user's reports on his own jobs and processes, through jobd, which reads the warehouse for
him.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from elsa.errors import EXIT_PERMISSION
from tests.support.elsa_host import Host

pytestmark = pytest.mark.kernel


@pytest.fixture
def shared(nobody: Host) -> Iterator[Host]:
    """A jobd whose socket everybody reaches, and a warehouse that only root reads; root and nobody
    have run a job each.
    """
    nobody.start()
    nobody.db.chmod(0o600)
    for file in nobody.db.parent.glob(f"{nobody.db.name}-*"):
        file.chmod(0o600)
    assert (
        nobody.run("job", "run", "--name", "roots", "--", "sh", "-c", "true; true").returncode == 0
    )
    done = nobody.as_nobody("job", "run", "--name", "mine", "--", "sh", "-c", "sleep 0; exit 3")
    assert done.returncode == 3, done.stderr
    yield nobody


def test_a_user_sees_the_cost_of_his_jobs_and_nothing_of_others(shared: Host) -> None:
    done = shared.as_nobody("report", "jobs", "--format", "jsonl", "--kind", "manual")
    assert done.returncode == 0, done.stderr
    (job,) = map(json.loads, done.stdout.splitlines())
    assert (job["name"], job["processes"], job["owner"]) == ("mine", 2, "nobody")
    assert "only your own jobs and processes" in done.stderr

    (whole,) = [row for row in shared.report("jobs", "--kind", "manual") if row["name"] == "mine"]
    assert {key: job[key] for key in ("cpu_s", "wall_s", "exit_status")} == {
        key: whole[key] for key in ("cpu_s", "wall_s", "exit_status")
    }

    users = shared.as_nobody("report", "users", "--format", "jsonl", "--since", "1h")
    assert [json.loads(line)["user"] for line in users.stdout.splitlines()] == ["nobody"]
    assert len(shared.report("users")) > 1
    of_job = ("--job", "mine", "--format", "csv", "--columns", "command")
    commands = shared.as_nobody("report", "commands", *of_job)
    assert sorted(commands.stdout.split()) == ["command", "sh", "sleep"]
    for report in (("tree", "mine"), ("last",), ("flame", "mine", "-o", "-"), ("classic", "mine")):
        done = shared.as_nobody("report", *report)
        assert done.returncode == 0, done.stderr
    assert "no job has" in shared.as_nobody("report", "job", "roots").stderr


def test_a_command_of_his_is_billed_with_all_that_it_started(shared: Host) -> None:
    done = shared.as_nobody("run", "--", "sh", "-c", "(seq 1 100000 | md5sum) & wait")
    assert done.returncode == 0, done.stderr
    assert "at least" not in done.stderr
    assert "4 processes" in done.stderr or "processes    4" in done.stderr, done.stderr


def test_without_jobd_it_says_why_there_is_nothing(shared: Host) -> None:
    shared.stop()
    done = shared.as_nobody("report", "jobs")
    assert (done.returncode, len(done.stderr.splitlines())) == (EXIT_PERMISSION, 1)
    assert "jobd does not answer" in done.stderr


def test_a_client_that_does_not_read_holds_nothing_up(shared: Host) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(shared.socket))
        deaf.sendall(b'{"elsa":1,"op":"own"}\n')
        started_s = time.monotonic()
        assert shared.request("status")["lost"] == 0
        assert time.monotonic() - started_s < 5
    shared.request("sync")


def test_reports_of_one_user_wait_for_each_other(shared: Host) -> None:
    with ThreadPoolExecutor(3) as pool:
        asked = ("report", "jobs", "--kind", "manual", "--columns", "name", "--format", "csv")
        reports = [pool.submit(shared.as_nobody, *asked) for _ in range(3)]
    for done in (report.result() for report in reports):
        assert (done.returncode, done.stdout.split()) == (0, ["name", "mine"]), done.stderr


def test_a_command_that_was_killed_over_its_budget_is_billed(shared: Host) -> None:
    """The last reading of the watcher does not keep the report from its own."""
    spin = ("sh", "-c", "while :; do :; done")
    done = shared.as_nobody("run", "--budget", "cpu=0.2s", "--kill", "--", *spin)
    assert "over the budget" in done.stderr
    assert "only what the command waited for is known" not in done.stderr
    assert "at least" not in done.stderr


def test_check_knows_of_gaps_as_a_plain_user(shared: Host) -> None:
    done = shared.as_nobody("check", "--format", "json", "--since", "now")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert (found["jobd"]["status"], found["warehouse"]["status"]) == ("ok", "warn"), done.stdout
    assert "no gaps since" in found["jobd"]["found"]
