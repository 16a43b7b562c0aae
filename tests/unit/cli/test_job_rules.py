"""`elsa job rules` shows the rules in their order, what each matches, and which one decides."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from elsa.cli.job import job
from elsa.cli.job_rules import explained, overview
from elsa.config import Config
from elsa.errors import EXIT_CONFIG, EXIT_USAGE, UsageError
from elsa.state.default_job_rules import rules
from elsa.state.job_rules import rule_of
from elsa.state.living_jobs import Living

OWN = rule_of({"cgroup": r"/batch\.slice/(?P<x>.+)\.service", "name": "batch/{x}"})
QUIET = rule_of({"cgroup": r"/system\.slice/quiet\.service", "skip": True})
RULES = rules([OWN, QUIET])
CRON = "/system.slice/cron.service"
PROCESSES = [
    Living(1, 0, "/init.scope", "systemd", 0),
    Living(2, 0, "/", "kthreadd", 0),
    Living(3, 2, "/", "kworker", 0),
    Living(10, 1, "/batch.slice/a.service", "a", 0),
    Living(11, 10, "/batch.slice/a.service/below", "a", 0),
    Living(12, 1, "/batch.slice/b.service", "b", 0),
    Living(20, 1, "/system.slice/quiet.service", "q", 0),
    Living(50, 1, CRON, "cron", 0),
    Living(60, 50, CRON, "backup.sh", 0),
    Living(61, 50, CRON, "backup.sh", 0),
]


def by_name(now: dict[str, Any], name: str | None) -> list[dict[str, Any]]:
    return [row for row in now["rules"] if row["name"] == name]


def test_each_rule_has_its_jobs_and_processes_and_together_they_are_all() -> None:
    now = overview(Config(), RULES, PROCESSES)
    assert (now["processes"], now["in_jobs"]) == (10, 6)
    assert sum(row["processes"] for row in now["rules"]) == 10
    first, quiet, *_ = now["rules"]
    assert (first["rule"], first["source"], first["processes"]) == (1, "elsa.toml", 3)
    assert [(one["name"], one["processes"]) for one in first["jobs"]] == [
        ("batch/a", 2),
        ("batch/b", 1),
    ]
    assert (quiet["name"], quiet["source"], quiet["processes"]) == (None, "elsa.toml", 1)
    (cron,) = by_name(now, "cron/{user}/{command}")
    assert [one["name"] for one in cron["jobs"]] == ["cron/0/backup.sh"] * 2
    assert cron["source"] == "built-in"


def test_a_path_is_explained_by_the_rule_that_decides_and_those_for_children() -> None:
    answer = explained(RULES, [], f"/sys/fs/cgroup{CRON}/below")
    assert answer["cgroup"] == f"{CRON}/below"
    assert (answer["job"]["name"], answer["job"]["cgroup"]) == ("cron", CRON)
    assert answer["rule"]["kind"] == "service"
    assert [child["name"] for child in answer["children"]] == ["cron/{user}/{command}"]


def test_a_process_is_explained_with_the_run_that_it_is_in() -> None:
    answer = explained(RULES, PROCESSES, "60")
    assert (answer["job"]["name"], answer["rule"]["kind"]) == ("cron/0/backup.sh", "cron")
    assert explained(RULES, PROCESSES, "50")["job"]["name"] == "cron"
    assert explained(RULES, PROCESSES, "20")["job"] is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [("99", "no process has the pid 99"), ("x", "no process")],
)
def test_what_is_neither_process_nor_path_is_refused(asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explained(RULES, PROCESSES, asked)


def call(tmp_path: Path, text: str, *args: str) -> Result:
    path = tmp_path / "elsa.toml"
    path.write_text(text)
    return CliRunner(env={"ELSA_CONFIG": str(path)}).invoke(job, ["rules", *args])


OWN_TEXT = "[[job_rule]]\ncgroup = '/never-there/(?P<x>.+)'\nname = 'mine/{x}'\n"


def test_the_command_lists_the_rules_without_jobd(tmp_path: Path) -> None:
    lines = call(tmp_path, OWN_TEXT + "\n").stdout.splitlines()
    assert " ".join(lines[0].split()) == "rule from job kind per matches processes jobs now"
    assert lines[2].split()[:4] == ["1", "elsa.toml", "mine/{x}", "other"]
    assert "built-in" in lines[3]
    assert "processes are in an automatic job by these rules" in lines[-1]
    off = call(tmp_path, "auto_jobs = false\njob_rule_defaults = false\n").stdout
    assert "note: auto_jobs is false" in off
    assert "built-in" not in off


def test_the_command_explains_and_writes_json(tmp_path: Path) -> None:
    text = call(tmp_path, OWN_TEXT, "--explain", "/never-there/a\x1bb/c").stdout
    assert r"mine/a\x1bb" in text
    assert "\x1b" not in text
    assert "1 (elsa.toml)\nmatches          /never-there/(?P<x>.+)\n" in text
    answer = json.loads(
        call(tmp_path, OWN_TEXT, "--explain", "/init.scope", "--format", "json").stdout
    )
    assert (answer["job"], answer["rule"]["name"]) == (None, None)
    pid = str(os.getpid())
    assert json.loads(call(tmp_path, "", "--explain", pid, "--format", "json").stdout)["cgroup"]
    now = json.loads(call(tmp_path, "", "--format", "json").stdout)
    assert now["processes"] == sum(row["processes"] for row in now["rules"]) > 0
    nothing = call(tmp_path, "job_rule_defaults = false\n", "--explain", "/a").stdout
    assert "no rule matches" in nothing


def test_a_mistake_in_a_rule_is_a_configuration_error(tmp_path: Path) -> None:
    result = call(tmp_path, OWN_TEXT + "kind = 'x'\n")
    assert result.exception is not None
    assert getattr(result.exception, "exit_code", None) == EXIT_CONFIG
    assert "job_rule 1: kind: 'x' is none of" in str(result.exception)
    gone = call(tmp_path, "", "--explain", "nonsense")
    assert getattr(gone.exception, "exit_code", None) == EXIT_USAGE


def test_an_owner_that_this_host_does_not_know_is_not_shown_as_one(tmp_path: Path) -> None:
    rule = "[[job_rule]]\ncgroup = '/team/(?P<who>.+)'\nname = 't'\nowner = '{who}'\n"
    shown = call(tmp_path, rule, "--explain", "/team/no-such-user").stdout
    assert "owner            user of the first program in it" in shown
    assert "owner            root" in call(tmp_path, rule, "--explain", "/team/root").stdout
    assert "owner            root" in call(tmp_path, rule, "--explain", "/team/0").stdout
    fixed = rule.replace("{who}", "no-such-user")
    note = "note: rule 1: this host knows no user no-such-user, so the owner is the user of the"
    assert note in call(tmp_path, fixed).stdout
    assert json.loads(call(tmp_path, fixed, "--format", "json").stdout)["notes"]
    assert "note: rule" not in call(tmp_path, rule).stdout


def test_an_owner_may_be_a_number_and_any_path_two_stars(tmp_path: Path) -> None:
    rule = "[[job_rule]]\ncgroup = '**'\nname = 't'\nowner = 54321\n"
    for path in ("/", "/a", "/a/b"):
        answer = json.loads(call(tmp_path, rule, "--explain", path, "--format", "json").stdout)
        assert (answer["job"]["owner"], answer["rule"]["cgroup"]) == (54321, ["**"])
    for owner in ("-1", "true", "4294967295"):
        refused = call(tmp_path, rule.replace("54321", owner))
        assert "job_rule 1: owner: " in str(refused.exception)
