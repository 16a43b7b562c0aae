"""Which jobs the living processes would be in: groups, runs, and nothing twice."""

from __future__ import annotations

from elsa.state.default_job_rules import rules
from elsa.state.living_jobs import Living, memberships

USERS = {0: "root", 1000: "anna"}
RULES = rules((), user_name=lambda uid: USERS[uid])
CRON = "/system.slice/cron.service"
SESSION = "/user.slice/user-1000.slice/session-5.scope"


def names(*processes: Living) -> dict[int, str | None]:
    found = memberships(processes, RULES)
    return {pid: each.job.name if each.job else None for pid, each in found.items()}


def test_each_child_of_cron_is_a_run_with_all_that_it_started_and_cron_is_the_service() -> None:
    script = ("/bin/sh", "-c", "/opt/backup.sh")
    assert names(
        Living(1, 0, "/init.scope", "systemd", 0),
        Living(50, 1, CRON, "cron", 0),
        Living(60, 50, CRON, "cron", 0),
        Living(61, 60, CRON, "sh", 1000, 1000, script),
        Living(62, 61, CRON, "backup.sh", 1000, 1000),
        Living(70, 50, CRON, "cron", 0),
    ) == {
        1: None,
        50: "cron",
        60: "cron/anna/backup.sh",
        61: "cron/anna/backup.sh",
        62: "cron/anna/backup.sh",
        70: "cron/root",
    }


def test_a_run_goes_along_into_its_session_and_ends_where_another_unit_begins() -> None:
    assert names(
        Living(1, 0, "/init.scope", "systemd", 0),
        Living(50, 1, CRON, "cron", 0),
        Living(60, 50, SESSION, "cron", 1000),
        Living(61, 60, SESSION, "make", 1000, 1000, ("make",)),
        Living(62, 61, "/system.slice/run-7.scope", "podman", 0),
    ) == {
        1: None,
        50: "cron",
        60: "cron/anna/make",
        61: "cron/anna/make",
        62: "run-7",
    }
    assert names(
        Living(50, 1, CRON, "cron", 0),
        Living(59, 50, CRON, "cron", 0),
        Living(61, 59, SESSION, "make", 1000, 1000, ("make",)),
        Living(62, 61, "/system.slice/run-7.scope", "podman", 0),
    ) == {50: "cron", 59: "cron/anna/make", 61: "cron/anna/make", 62: "run-7"}


def test_a_process_whose_parent_is_gone_belongs_to_its_group() -> None:
    assert names(Living(61, 1, CRON, "backup.sh", 1000)) == {61: "cron"}


def test_kernel_threads_belong_to_their_group_as_other_processes_do() -> None:
    assert names(
        Living(2, 0, "/", "kthreadd", 0), Living(9, 2, "/machine.slice/x.scope", "vhost-1", 0)
    ) == {2: None, 9: "x"}


def test_parent_is_older_whatever_its_pid_is() -> None:
    assert names(
        Living(50, 1, CRON, "cron", 0, start_ticks=1),
        Living(60, 300, SESSION, "backup.sh", 1000, start_ticks=3),
        Living(300, 50, SESSION, "cron", 1000, start_ticks=2),
    ) == {50: "cron", 60: "cron/anna/backup.sh", 300: "cron/anna/backup.sh"}
