"""`elsa job rules`: the rules of automatic jobs, what each matches now, and which rule decides."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import Command
from elsa.errors import UsageError
from elsa.text import printable

if TYPE_CHECKING:
    from elsa.config import Config
    from elsa.state.job_rules import AutomaticJob, Decision, Rule, Rules
    from elsa.state.living_jobs import Living

_MOUNT = "/sys/fs/cgroup"
# What a table shows of patterns and jobs; json has all.
_LONGEST_PATTERN = 50
_MOST_JOBS = 4
_FIRST_USER = "user of the first program in it"
_PER = {
    "cgroup": "group",
    "invocation": "invocation of the unit",
    "child": "child, with all that it starts",
}


@click.command("rules", cls=Command)
@click.option(
    "--explain",
    metavar="PID|PATH",
    help="Say which rule decides for a process or a control group, and what its job is called.",
)
@options.table_or_json
def rules(explain: str | None, form: str) -> None:
    """List the rules of automatic jobs, and the living processes that each matches.

    The first rule that matches a control group decides: rules of elsa.toml ([[job_rule]]), then the
    built-in rules. jobd is not asked: the command applies the settings to the processes that run
    now.

    \b
    Examples:
      elsa job rules
      elsa job rules --explain $(pidof -s nginx)
      elsa job rules --explain /system.slice/cron.service
      elsa job rules --format json
    """
    from elsa.host.living import living
    from elsa.kernel import accounts
    from elsa.kernel.cgroups import find_hierarchy
    from elsa.kernel.procfs import Procfs
    from elsa.state.default_job_rules import rules as all_rules

    settings = config.load()
    found = all_rules(
        settings.job_rule,
        defaults=settings.job_rule_defaults,
        user_name=lru_cache(accounts.user),
    )
    processes: list[Living] = []
    if not (explain and explain.startswith("/")):
        processes = list(living(Procfs(), find_hierarchy().number))
    if explain:
        answer = explained(found, processes, explain)
        click.echo(json.dumps(answer, indent=2) if form == "json" else _block(answer))
        return
    now = overview(settings, found, processes)
    click.echo(json.dumps(now, indent=2) if form == "json" else _table(now))


def overview(settings: Config, found: Rules, processes: Sequence[Living]) -> dict[str, Any]:
    """The rules with the jobs and processes that each decides for."""
    from elsa.state.living_jobs import memberships

    jobs: list[dict[object, dict[str, Any]]] = [{} for _ in found.rules]
    skipped = [0] * len(found.rules)
    members = memberships(processes, found)
    for membership in members.values():
        job = membership.job
        if job is None:
            if membership.decision.rule is not None:
                skipped[membership.decision.rule] += 1
            continue
        described = jobs[job.rule].setdefault(membership.job_id, {**_job(job), "processes": 0})
        described["processes"] += 1
    rows = [
        {
            **_described(found, number),
            "processes": skipped[number] + sum(job["processes"] for job in jobs[number].values()),
            "jobs": list(jobs[number].values()),
        }
        for number in range(len(found.rules))
    ]
    in_jobs = sum(membership.job is not None for membership in members.values())
    return {
        "auto_jobs": settings.auto_jobs,
        "processes": len(members),
        "in_jobs": in_jobs,
        "rules": rows,
        "notes": unknown_owners(found),
    }


def explained(found: Rules, processes: Sequence[Living], asked: str) -> dict[str, Any]:
    """Which rule decides for a pid or path, and the job. Raises UsageError where it is neither."""
    from elsa.state.living_jobs import Membership, memberships

    if asked.startswith("/"):
        path = asked.removeprefix(_MOUNT).rstrip("/") or "/"
        decision = found.decide(path)
        membership = Membership(decision, decision.job, None)
    else:
        members = memberships(processes, found)
        if not asked.isdecimal() or int(asked) not in members:
            raise UsageError(
                f"--explain: no process has the pid {asked}; give a pid, or a path such as"
                " /system.slice/cron.service"
            )
        membership = members[int(asked)]
    decision, job = membership.decision, membership.job
    number = job.rule if job else decision.rule
    return {
        "cgroup": decision.path,
        "rule": None if number is None else _described(found, number),
        "pattern": None if number is None else found.rules[number].pattern_of(decision.path),
        "job": _job(job) if job else None,
        "children": [] if membership.is_run else _children(found, decision),
    }


def _children(found: Rules, decision: Decision) -> list[dict[str, Any]]:
    return [_described(found, number) for _, number, _ in decision.children]


def _job(job: AutomaticJob) -> dict[str, Any]:
    return {
        "name": job.name,
        "kind": job.kind,
        "owner": _known_owner(job),
        "tags": job.tags,
        "per": job.per,
        "cgroup": job.group,
    }


def _known_owner(job: AutomaticJob) -> int | str | None:
    """The owner that a rule says; None if this host knows no such user, as for jobd."""
    from elsa.kernel import accounts

    return job.owner if isinstance(job.owner, int) or accounts.exists(job.owner) else None


def unknown_owners(found: Rules) -> list[str]:
    """Notes on rules whose owner is no user of this host."""
    from elsa.kernel import accounts

    return [
        f"rule {number}: this host knows no user {printable(rule.owner.text)}, so the owner is the"
        f" {_FIRST_USER}"
        for number, rule in enumerate(found.rules, start=1)
        if rule.owner and not rule.owner.fields and not accounts.exists(rule.owner.text)
    ]


def _described(found: Rules, number: int) -> dict[str, Any]:
    rule = found.rules[number]
    return {
        "rule": number + 1,
        "source": "elsa.toml" if number < found.own else "built-in",
        "name": rule.name.text if rule.name else None,
        "kind": rule.kind if rule.name else None,
        "per": rule.per if rule.name else None,
        "cgroup": [pattern.text for pattern in rule.patterns],
        **_conditions(rule),
    }


def _conditions(rule: Rule) -> dict[str, str]:
    asked = {"parent": rule.parent, "command": rule.command, "user": rule.user}
    return {key: pattern.pattern for key, pattern in asked.items() if pattern is not None}


def _table(now: Mapping[str, Any]) -> str:
    from elsa.cli import tables

    rows = [
        (
            row["rule"],
            row["source"],
            printable(row["name"] or "(no job)"),
            row["kind"],
            row["per"],
            _pattern(row),
            row["processes"],
            _names(row["jobs"]),
        )
        for row in now["rules"]
    ]
    headers = ("rule", "from", "job", "kind", "per", "matches", "processes", "jobs now")
    outside = now["processes"] - now["in_jobs"]
    lines = [
        *tables.lines(headers, rows, right=("rule", "processes")),
        "",
        f"{now['in_jobs']} of {now['processes']} processes are in an automatic job by these rules,"
        f" {outside} in none; --format json has every pattern and job",
    ]
    if not now["auto_jobs"]:
        lines.append("note: auto_jobs is false, so jobd makes no automatic jobs")
    lines += [f"note: {note}" for note in now["notes"]]
    return "\n".join(lines)


def _pattern(row: Mapping[str, Any]) -> str:
    first = next(iter(row["cgroup"]), "")
    parts = [first if len(first) <= _LONGEST_PATTERN else first[: _LONGEST_PATTERN - 1] + "+"]
    if len(row["cgroup"]) > 1:
        parts.append(f"(or {len(row['cgroup']) - 1} more)")
    parts += [f"{key}={row[key]}" for key in ("parent", "command", "user") if key in row]
    return printable(" ".join(part for part in parts if part))


def _names(jobs: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(job["name"] for job in jobs))
    more = f" and {len(names) - _MOST_JOBS} more" if len(names) > _MOST_JOBS else ""
    return printable(", ".join(names[:_MOST_JOBS]) + more)


def _block(answer: Mapping[str, Any]) -> str:
    rule, job = answer["rule"], answer["job"]
    lines = [("control group", answer["cgroup"])]
    if rule is None:
        lines.append(("rule", "no rule matches"))
    else:
        lines.append(("rule", f"{rule['rule']} ({rule['source']})"))
        lines += [("matches", answer["pattern"])] if answer["pattern"] else []
    if job is None:
        lines.append(("job", "no automatic job"))
    else:
        owner = _FIRST_USER if job["owner"] is None else _owner(job["owner"])
        tags = " ".join(f"{key}={value}" for key, value in job["tags"].items())
        lines += [
            ("job", job["name"]),
            ("kind", job["kind"]),
            ("owner", owner),
            *([("tags", tags)] if tags else []),
            ("job's own group", job["cgroup"]),
            ("one job per", _PER[job["per"]]),
        ]
    lines += [("children", _of_children(child)) for child in answer["children"]]
    return "\n".join(_lines(lines))


def _owner(owner: int | str) -> str:
    from elsa.kernel import accounts

    return owner if isinstance(owner, str) else accounts.user(owner)


def _of_children(child: Mapping[str, Any]) -> str:
    asked = [f"{key}={child[key]}" for key in ("parent", "command", "user") if key in child]
    return f"{child['name']} by rule {child['rule']} ({child['source']}): {' '.join(asked)}"


def _lines(pairs: Iterable[tuple[str, object]]) -> list[str]:
    return [f"{name:<16} {printable(value)}" for name, value in pairs]
