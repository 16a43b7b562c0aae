"""A job that is defined after the fact is the job that would have run: the same processes and
figures, for whoever may define it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elsa.errors import EXIT_PERMISSION, EXIT_USAGE
from tests.support.elsa_host import NOBODY, Host, wait_until

pytestmark = pytest.mark.kernel

# A session with a pipeline, a daemon that forks twice and leaves the session, and a grandchild that
# outlives its parent.
SESSION = """
seq 1 100000 | sort -rn | md5sum > /dev/null
(setsid sh -c 'seq 1 100000 | md5sum; sleep 0.2; true' > /dev/null 2>&1 < /dev/null &)
sh -c '(sleep 0.3; seq 1 100000 | sha256sum) > /dev/null 2>&1 < /dev/null &'
i=0; while [ $i -lt 50 ]; do (exit 7); i=$((i+1)); done
gzip -1 < /bin/sh > /dev/null
"""
MEASURES = (
    "processes, records, running, wall_s, cpu_s, run_ns, utime_ticks, minor_faults, read_chars,"
    " nvcsw, rss_kib, complete, usage_complete"
)


def run_session(host: Host) -> tuple[int, int]:
    """Run the session as a job at the time; its job and the pid of its first process."""
    done = host.run("job", "run", "--name", "then", "--", "sh", "-c", SESSION)
    assert done.returncode == 0, done.stderr
    wait_until("the last of the session ended", lambda: not host.request("list")["jobs"])
    host.ingest_all()
    job = int(done.stderr.split()[1])
    return job, host.value(
        "select pid from job_process_usage where job_id = ? and how = 'launched'", job
    )


def test_the_subtree_of_a_session_is_the_job_that_ran_at_the_time(host: Host) -> None:
    host.start()
    ran, pid = run_session(host)
    done = host.run("job", "define", "later", "--root", pid, "--tag", "a=b")
    assert done.returncode == 0, done.stderr
    late = int(done.stdout)
    assert late == ran + 1
    members = (
        "select process_id, since_ns, until_ns, cpu_s, ended_at, record from job_process_usage"
        " where job_id = ? order by process_id"
    )
    assert host.sql(members, late) == host.sql(members, ran)
    assert len(host.sql(members, late)) > 60
    measures = f"select {MEASURES} from job_usage where job_id = ?"
    assert host.sql(measures, late) == host.sql(measures, ran)
    assert host.sql("select distinct how from job_member where job_id = ?", late) == [("defined",)]
    assert host.sql("select state, close_reason, tags from job_usage where job_id = ?", late) == [
        ("closed", "defined", '{"a":"b"}')
    ]
    host.assert_sound()
    # The next job gets the next id, also after a restart, and the defined one stays what it is.
    assert host.create("next") == late + 1
    assert host.stop() == 0
    host.start()
    assert host.sql(measures, late) == host.sql(measures, ran)


def test_what_runs_on_is_in_it_to_its_end_but_not_what_it_starts_later(
    host: Host, tmp_path: Path
) -> None:
    host.start()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"sleep 0; read x < {fifo}; sleep 0; true"]) as shell:
        try:
            wait_until(
                "its child was heard",
                lambda: host.run(
                    "job", "define", "x", "--root", shell.pid, "--dry-run"
                ).stdout.startswith("2 "),
            )
            job = int(host.run("job", "define", "running", "--root", shell.pid).stdout)
            assert host.value("select running from job_usage where job_id = ?", job) == 1
            fifo.write_text("go\n")
            shell.wait(20)
        finally:
            shell.kill()
    host.request("sync")
    assert (
        host.value(
            "select count(*) from process_usage where parent_process_id = (select process_id from"
            " process_usage where pid = ?)",
            shell.pid,
        )
        == 2
    )
    assert host.sql(
        "select processes, running, without_usage from job_usage where job_id = ?", job
    ) == [(2, 0, 0)]


def test_without_a_jobd_it_is_defined_all_the_same_and_the_id_is_not_given_again(
    host: Host,
) -> None:
    host.start()
    ran, pid = run_session(host)
    host.kill()
    done = host.run("job", "define", "later", "--root", pid, "--format", "json")
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    late = reply["job"]["id"]
    assert late > ran
    assert reply["found"]["processes"] == host.value(
        "select processes from job_usage where job_id = ?", ran
    )
    measures = f"select {MEASURES} from job_usage where job_id = ?"
    assert host.sql(measures, late) == host.sql(measures, ran)
    host.start()
    assert host.create("next") > late


def test_a_user_defines_jobs_of_his_own_processes_alone(nobody: Host) -> None:
    nobody.start()
    program = f"import os; os.setgid({NOBODY}); os.setuid({NOBODY}); os.system('sleep 0; exit 3')"
    with subprocess.Popen([sys.executable, "-c", program]) as mine:
        mine.wait(20)
    with subprocess.Popen(["sleep", "0"]) as foreign:
        foreign.wait(20)
    done = nobody.as_nobody("job", "define", "mine", "--root", mine.pid, "--format", "json")
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert reply["job"]["owner_uid"] == NOBODY
    assert reply["found"]["processes"] == 3
    assert nobody.sql(
        "select owner_uid, processes from job_usage where job_id = ?", reply["job"]["id"]
    ) == [(NOBODY, 3)]

    for arguments, code, word in (
        (["--root", foreign.pid], EXIT_PERMISSION, "not yours"),
        (["--where", "1"], EXIT_PERMISSION, "condition"),
        (["--command", "no such"], EXIT_USAGE, "no recorded process"),
    ):
        done = nobody.as_nobody("job", "define", "other", *arguments)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert word in done.stderr
    assert nobody.as_nobody(
        "job", "define", "look", "--command", "sleep", "--dry-run"
    ).stdout.startswith("1 process")
    nobody.assert_sound()
