"""The rules of automatic jobs in the configuration: read, checked, and refused by their number."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa import config
from elsa.cli.config import config as command
from elsa.errors import ConfigError

RULE = """
[[job_rule]]
cgroup = '/batch\\.slice/(?P<customer>.+)\\.service'
name = "batch/{customer}"
"""


def load(tmp_path: Path, text: str, **environ: str) -> config.Config:
    path = tmp_path / "elsa.toml"
    path.write_text(text)
    return config.load({}, {"ELSA_CONFIG": str(path), **environ})


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    settings = load(tmp_path, RULE + "[[job_rule]]\ncgroup = '/noise'\nskip = true\n")
    assert [rule.name and rule.name.text for rule in settings.job_rule] == [
        "batch/{customer}",
        None,
    ]
    assert settings.auto_jobs
    assert settings.job_rule_defaults


def test_every_setting_is_shown_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "elsa.toml"
    path.write_text("drain_ms = 30\ncommit_ms = 40\n" + RULE)
    monkeypatch.setenv("ELSA_CONFIG", str(path))
    monkeypatch.setenv("ELSA_COMMIT_MS", "50")
    monkeypatch.setenv("ELSA_TASKSTATS", "no")
    monkeypatch.delenv("ELSA_DB", raising=False)
    result = CliRunner().invoke(command, ["--format", "json"], catch_exceptions=False)
    shown = json.loads(result.stdout)
    assert list(shown) == [field.name for field in dataclasses.fields(config.Config)]
    assert shown["db"] == {"value": "/var/lib/elsa/elsa.db", "source": "default"}
    assert shown["drain_ms"] == {"value": 30, "source": str(path)}
    assert shown["commit_ms"] == {"value": 50, "source": "ELSA_COMMIT_MS"}
    assert shown["job_rule"] == {"value": "1 rule (see: elsa job rules)", "source": str(path)}
    lines = CliRunner().invoke(command, [], catch_exceptions=False).stdout.splitlines()
    assert ["taskstats", "ELSA_TASKSTATS", "false"] in [line.split() for line in lines]
    assert config.settle({"db": tmp_path}, {})["db"] == (tmp_path, "--db")


def test_automatic_jobs_and_the_built_in_rules_can_be_switched_off(tmp_path: Path) -> None:
    settings = load(tmp_path, "auto_jobs = false\n", ELSA_JOB_RULE_DEFAULTS="no")
    assert (settings.auto_jobs, settings.job_rule_defaults) == (False, False)


@pytest.mark.parametrize("value", ["0", "'0'", "' 0 '"])
def test_events_alone_may_be_kept_for_no_time(tmp_path: Path, value: str) -> None:
    assert load(tmp_path, f"keep_events = {value}\n").keep_events == "0"
    for name in ("keep_intervals", "keep_processes", "keep_rollups"):
        with pytest.raises(ConfigError, match=f"{name}: cannot keep for ") as error:
            load(tmp_path, f"{name} = {value}\n")
        assert str(error.value).endswith("(a day at least) or forever")


@pytest.mark.parametrize(
    "value",
    [
        "'never'",
        "'12 hours'",
        "'0 days'",
        "'0d'",
        "'-3 days'",
        "'soon'",
        "''",
        "'5'",
        "1",
        "false",
        "['1d']",
    ],
)
def test_an_age_that_nothing_can_be_kept_for_is_refused_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in ("keep_events", "keep_intervals", "keep_processes", "keep_rollups"):
        (tmp_path / "elsa.toml").write_text(f"{name} = {value}\n")
        monkeypatch.setenv("ELSA_CONFIG", str(tmp_path / "elsa.toml"))
        result = CliRunner().invoke(command, [])
        assert isinstance(result.exception, ConfigError), (name, value)
        or_0 = ", or 0: no events are stored" if name == "keep_events" else ""
        assert str(result.exception) == (
            f"{tmp_path / 'elsa.toml'}: {name}: cannot keep for {value.capitalize()}; write for"
            f" example 36 hours, 30 days, 8 weeks, 2y (a day at least) or forever{or_0}"
        )
    with pytest.raises(ConfigError, match=r"^ELSA_KEEP_EVENTS: cannot keep for '1 hour'"):
        load(tmp_path, "", ELSA_KEEP_EVENTS="1 hour")


def test_ages_of_a_day_and_more_are_taken_as_written(tmp_path: Path) -> None:
    for age in ("24 hours", "1d", "2 Years", "forever"):
        assert load(tmp_path, f"keep_intervals = '{age}'\n").keep_intervals == age


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RULE + "[[job_rule]]\nname = 'x'\n", "job_rule 2: says of no process"),
        (RULE + "kindd = 'x'\n", "job_rule 1: unknown key 'kindd'"),
        ("[[job_rule]]\ncgroup = '/(a+)+'\nname='x'\n", "job_rule 1: cgroup: .*try for long"),
        ("[[job_rule]]\ncgroup = '/(a'\nname='x'\n", "job_rule 1: cgroup: .*no regular expression"),
        ("[[job_rule]]\ncgroup = '/a'\nname='{b}'\n", "job_rule 1: name: no group is named 'b'"),
        ("job_rule = 3\n", "job_rule: rules are tables"),
        ("job_rule = [1]\n", "job_rule: rules are tables"),
        ("[job_rule]\ncgroup = '/a'\n", "job_rule: rules are tables"),
        ("[[job_rule]]\ncgroup='/a'\nname='a'\n" * 201, "at most 200 rules"),
        ("auto_jobs = 7\n", "elsa.toml: auto_jobs: true or false is needed, not 7"),
        ("taskstats = 'no'\n", "taskstats: true or false without quotes is needed, not 'no'"),
        ("cmdlines = 0\n", "cmdlines: true or false is needed, not 0"),
        ("drain_ms = '500'\n", "drain_ms: a whole number above 0 without quotes is needed, not '5"),
        ("drain_ms = true\n", "drain_ms: a whole number above 0 is needed, not True"),
        ("drain_ms = 1.5\n", "drain_ms: a whole number above 0 is needed, not 1.5"),
        ("db = 7\n", "db: a path is needed, not 7"),
        ("group = 7\n", "group: a text is needed, not 7"),
    ],
)
def test_an_error_names_the_rule_by_its_number_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_rules_cannot_come_from_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ELSA_JOB_RULE: rules are tables \[\[job_rule\]\]"):
        load(tmp_path, "", ELSA_JOB_RULE="x")


def test_settings_of_alerts_are_read_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'alert_command = ["curl", "@-"]\n[alert_budget]\nnightly = "cpu=1h"\n"x*" = "wall=1m"\n'
    settings = load(tmp_path, text)
    assert settings.alert_command == ("curl", "@-")
    assert settings.alert_budget == (("nightly", "cpu=1h"), ("x*", "wall=1m"))
    assert load(tmp_path, "", ELSA_ALERT_COMMAND="/bin/x y").alert_command == ("/bin/x y",)
    assert load(tmp_path, 'alert_kinds = ["cron", "service"]').alert_kinds == "cron,service"
    for wrong in ("[]", "[1]", "5"):
        with pytest.raises(ConfigError, match="alert_kinds: a text is needed"):
            load(tmp_path, f"alert_kinds = {wrong}")
    with pytest.raises(ConfigError, match=r"a table \[alert_budget\] of the configuration file"):
        load(tmp_path, "", ELSA_ALERT_BUDGET="x=cpu=1h")
    load(tmp_path, text)
    monkeypatch.setenv("ELSA_CONFIG", str(tmp_path / "elsa.toml"))
    shown = json.loads(CliRunner().invoke(command, ["--format", "json"]).output)
    assert shown["alert_command"]["value"] == ["curl", "@-"]
    assert shown["alert_budget"]["value"] == {"nightly": "cpu=1h", "x*": "wall=1m"}
