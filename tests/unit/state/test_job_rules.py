"""Rules for automatic jobs as an administrator writes them: what they decide, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.state.default_job_rules import RULES, rules
from elsa.state.job_kinds import AUTOMATIC
from elsa.state.job_rules import PER, Process, Rules, rule_of


def decided(path: str, *tables: dict[str, Any], defaults: bool = True) -> Any:
    return rules([rule_of(table) for table in tables], defaults=defaults).decide(path)


def test_a_rule_names_a_job_with_the_groups_of_its_pattern() -> None:
    table = {
        "cgroup": r"/batch\.slice/(?P<customer>[a-z]+)-(?P<task>.+)\.service",
        "name": "batch/{customer}/{task}",
        "kind": "service",
        "owner": "{customer}",
        "tags": {"customer": "{customer}", "level": "night"},
        "per": "invocation",
    }
    job = decided(r"/batch.slice/acme-full\x20dump.service/below", table).job
    assert job == (
        "batch/acme/full dump",
        "service",
        "acme",
        {"customer": "acme", "level": "night"},
        "invocation",
        r"/batch.slice/acme-full\x20dump.service",
        0,
        True,
    )


def test_the_administrators_rules_come_before_the_defaults_and_the_first_that_matches_decides() -> (
    None
):
    first = {"cgroup": r"/system\.slice/web\.service/(?P<n>w[0-9])", "name": "worker/{n}"}
    second = {"cgroup": r"/system\.slice/web\.service/.+", "name": "other"}
    assert decided("/system.slice/web.service/w1", first, second).job.name == "worker/w1"
    assert decided("/system.slice/web.service/x", first, second).job.name == "other"
    decision = decided("/system.slice/web.service", first, second)
    assert decision.job.name == "web"
    assert decision.rule > 1


def test_what_a_rule_skips_has_no_automatic_job() -> None:
    skip = {"cgroup": r"/system\.slice/noise\.service", "skip": True}
    decision = decided("/system.slice/noise.service/below", skip)
    assert (decision.job, decision.rule) == (None, 0)
    assert decided("/system.slice/other.service", skip).job.name == "other"


def test_without_defaults_only_the_administrators_rules_hold() -> None:
    table = {"cgroup": "/a", "name": "a"}
    assert decided("/a", table, defaults=False).job.name == "a"
    decision = decided("/system.slice/x.service", table, defaults=False)
    assert (decision.job, decision.rule, decision.children) == (None, None, ())


def test_a_rule_for_children_asks_for_daemon_command_and_user() -> None:
    table = {
        "parent": "worker",
        "command": "convert|resize",
        "user": "anna",
        "name": "image/{user}/{command}",
        "owner": "anna",
        "tags": {"tool": "{command}"},
        "per": "child",
    }
    users = {0: "root", 1000: "anna"}
    decision = Rules([rule_of(table)], lambda uid: users[uid]).decide("/any/where")
    run = decision.run(Process("convert", "worker", 1000, None, ("/usr/bin/convert", "-x")))
    assert run is not None
    assert (run.name, run.owner, run.tags) == ("image/anna/convert", "anna", {"tool": "convert"})
    assert (run.group, run.settled) == ("/any/where", True)
    assert decision.run(Process("other", "worker", 1000)) is None
    assert decision.run(Process("convert", "bash", 1000)) is None
    assert decision.run(Process("convert", "worker", 0)) is None
    assert decision.run(Process("convert", "worker", None)) is None


def test_a_rule_for_groups_before_a_rule_for_children_leaves_it_out() -> None:
    whole = {"cgroup": r"/system\.slice/cron\.service", "name": "all-of-cron"}
    decision = decided("/system.slice/cron.service", whole)
    assert decision.job.name == "all-of-cron"
    assert decision.run(Process("cron", "cron", 0)) is None


def test_one_of_several_patterns_of_a_rule_is_enough() -> None:
    table = {"cgroup": ["/a/(?P<x>.+)", "/b"], "name": "n/{x}"}
    assert decided("/a/1", table).job.name == "n/1"
    assert decided("/b/1", table).job.name == "n"


def test_a_name_that_would_be_a_number_or_empty_gets_its_kind() -> None:
    table = {"cgroup": "/a/(?P<x>.*)", "name": "{x}", "kind": "service"}
    assert decided("/a/17", table).job.name == "service/17"
    assert decided("/a/ ", table).job.name == "service"


def test_a_hostile_group_name_makes_a_short_printable_name() -> None:
    table = {"cgroup": "/a/(?P<x>.+)", "name": "{x}", "tags": {"x": "{x}"}}
    job = decided("/a/\x1b[2J\udcff" + "\u202e" * 250, table).job
    assert len(job.name) == 128
    assert job.name.isprintable()
    assert job.name.startswith(r"\x1b[2J\xff\u202e")
    assert len(job.tags["x"].encode()) <= 256


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "says of no process"),
        ({"name": "x"}, "says of no process"),
        ({"cgroup": "/a"}, "has no name"),
        ({"cgroup": "/a", "nmae": "x"}, "unknown key 'nmae'; the keys are: cgroup, parent"),
        ({"cgroup": "a", "name": "x"}, "cgroup: 'a' does not begin with a slash"),
        ({"cgroup": 7, "name": "x"}, "cgroup: a text of 1 to 1000 characters is needed, not 7"),
        ({"cgroup": [], "name": "x"}, "says of no process"),
        ({"cgroup": "/a" * 501, "name": "x"}, "cgroup: a text of 1 to 1000 characters"),
        ({"cgroup": "/(a+)+", "name": "x"}, "could try for long"),
        ({"cgroup": "/a", "name": "{x}"}, "name: no group is named 'x'; the names are: none"),
        ({"cgroup": "/(?P<y>a)", "name": "{x}"}, "no group is named 'x'; the names are: y"),
        ({"cgroup": "/a", "name": "{user}"}, "no group is named 'user'"),
        ({"cgroup": "/a", "name": "x{"}, "brace that belongs to no"),
        ({"cgroup": "/a", "name": ""}, "name: a text"),
        ({"cgroup": "/a", "name": "x", "kind": "daemon"}, "kind: 'daemon' is none of service, "),
        ({"cgroup": "/a", "name": "x", "per": "life"}, "per: 'life' is none of cgroup, "),
        ({"cgroup": "/a", "name": "x", "owner": -1}, "owner: -1 is no uid"),
        ({"cgroup": "/a", "name": "x", "tags": ["a"]}, "tags: a table of at most 8 texts"),
        ({"cgroup": "/a", "name": "x", "tags": {"k": 1}}, "tags: k: a text"),
        ({"cgroup": "/a", "name": "x", "tags": {"\n": "1"}}, "printable characters"),
        ({"parent": "cron", "name": "x"}, 'parent choose children of a daemon: .* per = "child"'),
        ({"cgroup": "/a", "user": "x", "name": "x", "per": "cgroup"}, 'per = "child"'),
        ({"parent": "(a+)+b", "name": "x", "per": "child"}, "parent: .*could try for long"),
        ({"cgroup": "/(?P<user>a)", "parent": "b", "name": "x", "per": "child"}, "'user' means"),
        ({"cgroup": "/a", "skip": "yes"}, "skip: true or false is needed"),
        ({"cgroup": "/a", "skip": True, "name": "x"}, "name makes no sense beside skip"),
        ({"parent": "a", "skip": True}, "parent makes no sense beside skip"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_the_reason(
    table: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rule_of(table)


def test_the_built_in_rules_use_every_kind_and_unit_of_life_but_no_other() -> None:
    made = [rule_of(table) for table in RULES]
    assert {rule.kind for rule in made} == set(AUTOMATIC)
    assert {rule.per for rule in made} == set(PER)
