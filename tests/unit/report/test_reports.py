"""`elsa report`: what it prints on stdout, what it says on stderr, and that its figures are those
of the views.
"""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from elsa.control.client import Client
from elsa.errors import ConfigError, InputMissingError, UsageError
from elsa.formats import local_time_ns
from elsa.measures import MEASURES
from elsa.report import jobs, processes
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import FORMATS
from tests.support.given import REAL, SECOND
from tests.support.reports import Reports

KINDS = ("jobs", "processes", "commands", "users")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_recorded_is_said_in_words_and_is_no_error(reports: Reports, kind: str) -> None:
    result = reports.run(kind)
    assert (result.exit_code, result.stdout) == (0, "")
    assert ("there is no job yet" if kind == "jobs" else "nothing is recorded yet") in result.stderr
    assert json.loads(reports.run(kind, "--format", "json").stdout)["rows"] == []
    assert reports.run(kind, "--format", "jsonl").stdout == ""
    assert len(reports.run(kind, "--format", "csv").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["jobs", "users --clip", "timeline --format csv", "audit", "hours", "last --alive"]
)
def test_a_window_is_as_wide_as_can_be_written_or_refused(filled: Reports, name: str) -> None:
    wide = ("--since", "1690-06-01", "--until", "2249-06-01")
    assert filled.run(*name.split(), *wide).stdout
    for option in ("--since", "--until"):
        with pytest.raises(UsageError, match=f"{option}: the time '9999-12-31' is too far away"):
            filled.run(*name.split(), option, "9999-12-31")


def test_jobs_are_listed_newest_first_with_their_figures(filled: Reports) -> None:
    night, build = filled.json("jobs")
    assert (
        night["job_id"],
        night["state"],
        night["running"],
        night["ended_at"],
        night["wall_s"],
    ) == (2, "open", 1, None, None)
    assert (
        build["name"],
        build["owner_uid"],
        build["processes"],
        build["cpu_s"],
        build["wall_s"],
    ) == ("build", 1000, 2, 3.1, 20.0)
    assert (build["exit_code"], build["complete"], build["tags"]) == (
        0,
        1,
        {"project": "x\x1b[31m"},
    )


def without_bounds(words: str) -> str:
    """What is said but for how far CPU time may be off."""
    return "".join(
        line
        for line in words.splitlines(keepends=True)
        if not line.startswith("elsa-report: CPU time")
    )


def test_jobs_say_what_is_missing_on_stderr_only(filled: Reports) -> None:
    result = filled.run("jobs")
    assert (
        without_bounds(result.stderr)
        == "elsa-report: 3 processes: 2 seen by both sources, 1 still running\n"
    )
    assert "still running" not in result.stdout


def test_jobs_show_the_memory_of_all_their_processes_together_and_how_it_is_known(
    filled: Reports,
) -> None:
    filled.warehouse.usage(1, rss_kib=68 << 10)
    filled.warehouse.connection.execute(
        "update job set memory_kib = ?, memory_by = 1 where name = 'build'", (500 << 10,)
    )
    for more in ((), ("--since", "2026-01-02T03:04:30Z")):
        (build,) = filled.json("jobs", "--job", "build", *more)
        assert (build["job_peak_kib"], build["job_peak_by"]) == (500 << 10, "sampled pss")
        result = filled.run("jobs", "--job", "build", *more)
        assert "500.0 MiB" in result.stdout
        assert "elsa-report: job peak: sampled\n" in result.stderr
    assert filled.json("jobs", "--sort", "job peak")[0]["name"] == "build"
    assert "500.0 MiB" in filled.run("runs", "--job", "build").stdout
    block = [line.split() for line in filled.run("job", "build").stdout.splitlines()]
    assert ["job", "peak", "500.0", "MiB"] in block
    assert ["peak", "by", "sampled", "pss"] in block
    assert ["peak", "68.0", "MiB"] in block


def test_job_shows_its_summary_and_its_commands(filled: Reports) -> None:
    result = filled.run("job", "build")
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert {"cpu 3.10 s", "tags project=x\\x1b[31m"} <= {" ".join(line.split()) for line in lines}
    assert [line.split()[0] for line in lines[-2:]] == ["cc", "make"]
    found = filled.json("job", "1")
    assert [command["command"] for command in found["commands"]] == ["cc", "make"]
    assert (
        found["utime_ticks"] == sum(command["utime_ticks"] for command in found["commands"]) == 300
    )
    (row,) = csv.DictReader(io.StringIO(filled.run("job", "1", "--format", "csv").stdout))
    assert (row["name"], row["utime_ticks"], row["close_reason"]) == ("build", "300", "ended")


def test_processes_come_in_the_order_of_their_ends_and_running_ones_only_on_demand(
    filled: Reports,
) -> None:
    rows = filled.json("processes", "--all")
    assert [row["command"] for row in rows] == ["lost", "cc", "make", "cron", "sh"]
    assert [row["record"] for row in rows] == ["pending", "exact", "exact", "exact", None]
    assert filled.json("processes") == rows[:-1]
    assert filled.json("processes", "--limit", "2") == rows[2:4]
    assert filled.json("processes", "--all", "--limit", "2") == rows[3:]
    assert (
        "1 of them left out, since they still run; --all shows them"
        in filled.run("processes").stderr
    )
    assert "left out" not in filled.run("processes", "--all").stderr
    cc, shell = filled.json("processes", "--job", "night", "--all")
    assert (shell["command"], shell["how"], shell["cpu_s"], shell["exit_status"]) == (
        "sh",
        "inherited",
        None,
        None,
    )
    assert (cc["exit_signal"], cc["exit_code"], cc["user"]) == (9, None, "4000000001")


def test_limit_is_kept_and_said(filled: Reports) -> None:
    for kind in KINDS:
        result = filled.run(kind, "--limit", "1", "--format", "jsonl")
        assert len(result.stdout.splitlines()) == 1, kind
        assert "--limit or --all shows more" in result.stderr, kind
        assert "shows more" not in filled.run(kind, "--limit", "5").stderr, kind


@pytest.mark.parametrize("limit", [2**63 - 1, 10**30])
def test_limit_beyond_all_there_is_shows_all(filled: Reports, limit: int) -> None:
    for kind in KINDS:
        assert (
            filled.run(kind, "--limit", str(limit)).stdout
            == filled.run(kind, "--limit", "1000").stdout
        ), kind


def test_commands_and_users_count_the_records_that_no_process_has_and_say_so(
    filled: Reports,
) -> None:
    commands = {row["command"]: row for row in filled.json("commands")}
    assert (
        commands["lost"]["processes"],
        commands["lost"]["records"],
        commands["lost"]["unjoined"],
    ) == (0, 1, 1)
    assert list(commands) == ["cc", "make", "lost", "cron"]
    users = filled.run("users")
    assert "; 1 accounting record joined to no process" in users.stderr
    assert "accounting record" not in filled.run("users", "--job", "build").stderr


def test_commands_and_users_of_which_nothing_is_known_yet_are_left_out_and_counted(
    filled: Reports,
) -> None:
    assert (
        "1 command left out, since all processes still run; --all shows them"
        in filled.run("commands").stderr
    )
    everything = filled.run("commands", "--all", "--format", "json")
    assert [row["command"] for row in json.loads(everything.stdout)["rows"]] == [
        "cc",
        "make",
        "lost",
        "cron",
        "sh",
    ]
    assert "left out" not in everything.stderr
    filled.warehouse.process(6, seconds=None, comm="cc")
    filled.warehouse.process(7, seconds=None, uid=5)
    assert [row["running"] for row in filled.json("commands") if row["command"] == "cc"] == [0]
    assert "3 commands left out" in filled.run("commands").stderr
    assert "1 user left out" in filled.run("users").stderr


def test_nothing_but_what_still_runs_is_said_in_words(reports: Reports) -> None:
    reports.warehouse.process(1, seconds=None)
    for kind in ("commands", "users", "processes"):
        result = reports.run(kind)
        assert (
            result.stdout,
            "no process has ended yet" in result.stderr,
            "--all" in result.stderr,
        ) == ("", True, True), kind


def test_known_losses_are_said(filled: Reports) -> None:
    filled.warehouse.insert(
        "gap", id=1, boot_id=1, kind="overrun", from_ns=11 * 10**9, to_ns=12 * 10**9
    )
    for arguments, words in (
        (["jobs"], "2 of these jobs touched by gaps"),
        (["job", "build"], "1 gap while this job ran"),
        (["commands"], "1 gap"),
        (["commands", "--job", "build"], "1 gap while this job ran"),
        (["processes"], "1 gap"),
        (["users", "--since", "2026-01-02T03:04:00Z"], "1 gap in this window"),
    ):
        assert f"; {words} (see: elsa report gaps)" in filled.run(*arguments).stderr, arguments
    assert "gap" not in filled.run("commands", "--since", "2026-01-02T03:10:00Z").stderr


def test_how_complete_it_is_stands_in_one_line_below_every_report(filled: Reports) -> None:
    filled.warehouse.process(6, start=14, seconds=1)
    filled.warehouse.process(7, start=15, origin=3)
    filled.warehouse.acct(7, 7, join=4)
    filled.warehouse.process(8, start=16)
    filled.warehouse.acct(8, 8, join=2)
    filled.warehouse.insert("collector", id=1, boot_id=1, since_ns=SECOND, heard_ns=999 * SECOND)
    filled.warehouse.job(3, "all", members=(1, 2, 6, 7, 8))
    seen = (
        "2 seen by both sources, 1 seen by both but joined without certainty, 1 seen only by the"
        " connector, 1 seen only by accounting"
    )
    seen += "; no gap in that time explains why joins are uncertain (see: elsa report audit)"
    silent = f"jobd has been silent since {local_time_ns(REAL + 999 * SECOND)}"
    for arguments in (
        ["job", "all"],
        ["commands", "--job", "all"],
        ["users", "--job", "all"],
        ["processes", "--job", "all"],
    ):
        assert without_bounds(filled.run(*arguments).stderr) == (
            f"elsa-report: 5 processes: {seen}\n"
            f"elsa-report: {silent}; later data is from accounting only\n"
        ), arguments
    assert f"5 processes: {seen}\n" in filled.run("jobs", "--limit", "1").stderr
    window = ["--since", "2026-01-02T03:04:20Z", "--until", "2026-01-02T03:04:22Z"]
    for kind in KINDS:
        line = "2 processes: 1 seen only by the connector, 1 seen only by accounting"
        assert f"elsa-report: {line}\n" in filled.run(kind, *window, "--format", "csv").stderr, kind


def test_a_gap_near_an_uncertain_join_is_its_likely_cause(filled: Reports) -> None:
    """A record gives times to the second: its process may have run in a gap that ended before."""
    warehouse = filled.warehouse
    warehouse.insert("collector", id=1, boot_id=1, since_ns=SECOND, heard_ns=999 * SECOND)
    for number, start in ((6, 300.3), (7, 600)):
        warehouse.process(number, start=start, seconds=0.3)
        warehouse.acct(number, number, join=2, btime=REAL // SECOND + int(start))
    warehouse.job(3, "near", members=(6,))
    warehouse.job(4, "far", members=(7,))
    warehouse.job(5, "both", members=(6, 7))
    gap = {"boot_id": 1, "kind": "down", "from_ns": 299 * SECOND, "to_ns": 300 * SECOND + 2 * 10**8}
    warehouse.insert("gap", id=1, **gap)
    likely = (
        "; likely cause of {}uncertain joins, a few seconds before or after: the collector did not"
        " run (see: elsa report gaps)\n"
    )
    unknown = "; no gap in that time explains why joins are uncertain (see: elsa report audit)\n"
    near = ("--since", "2026-01-02T03:09:05.3Z", "--until", "2026-01-02T03:09:07Z")
    for arguments, words in (
        (["job", "near"], likely.format("")),
        (["commands", "--job", "near"], likely.format("")),
        (["commands", *near], likely.format("")),
        (["users", *near, "--command", "work"], likely.format("")),
        (["users", *near, "--clip"], likely.format("")),
        (["job", "far"], unknown),
        (["commands", "--since", "2026-01-02T03:10Z", "--until", "2026-01-02T03:15Z"], unknown),
        (["job", "both"], likely.format("some ")),
    ):
        assert words in filled.run(*arguments).stderr, arguments
    assert filled.json("job", "near")["gaps"] == 0


def test_if_both_sources_saw_everything_only_bounds_of_cpu_time_are_stated(
    filled: Reports,
) -> None:
    for arguments in (
        ["job", "build"],
        ["commands", "--job", "build"],
        ["processes", "--job", "build"],
        ["users", "--job", "build"],
    ):
        assert without_bounds(filled.run(*arguments).stderr) == "", arguments


def test_windows_that_follow_each_other_add_up(filled: Reports) -> None:
    bounds = [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:20Z",
        "2026-01-02T03:04:35Z",
        "2026-01-02T04:00:00Z",
    ]
    for arguments in (
        ["jobs"],
        ["users"],
        ["commands"],
        ["commands", "--job", "build"],
        ["processes"],
    ):
        whole = sum(row["utime_ticks"] or 0 for row in filled.json(*arguments))
        parts = 0
        for since, until in pairwise(bounds):
            parts += sum(
                row["utime_ticks"]
                for row in filled.json(*arguments, "--since", since, "--until", until)
            )
        assert parts == whole, arguments


def test_job_in_a_window_has_what_those_of_its_processes_cost_that_ended_in_it(
    filled: Reports,
) -> None:
    first = filled.json("job", "build", "--until", "2026-01-02T03:04:30Z")
    assert (first["name"], first["processes"], first["utime_ticks"], first["state"]) == (
        "build",
        1,
        200,
        "closed",
    )
    assert [row["command"] for row in first["commands"]] == ["cc"]
    (row,) = csv.DictReader(
        io.StringIO(
            filled.run("job", "build", "--since", "2026-01-02T03:04:30Z", "--format", "csv").stdout
        )
    )
    assert (row["processes"], row["utime_ticks"]) == ("1", "100")
    assert "cpu 2.00 s" in " ".join(
        filled.run("job", "build", "--until", "2026-01-02T03:04:30Z").stdout.split()
    )
    nothing = filled.run("job", "build", "--since", "2026-02-01", "--format", "json")
    none = json.loads(nothing.stdout)["job"]
    assert (none["processes"], none["utime_ticks"]) == (
        0,
        None,
    )
    assert nothing.stderr == "elsa-report: no process of that job ended in that window\n"


def test_jobs_in_a_window_show_start_wall_state_exit_and_completeness_of_the_whole_jobs(
    filled: Reports,
) -> None:
    facts = (
        *("state", "created_at", "closed_at", "started_at", "ended_at", "wall_s", "running"),
        *("exit_status", "complete", "tags"),
    )
    (whole,) = filled.json("jobs", "--job", "build")
    window = ("--since", "2026-01-02T03:04:30Z")
    for asked in (
        ("jobs", "--job", "build", *window),
        ("jobs", "--job", "build", *window, "--clip"),
    ):
        (row,) = filled.json(*asked)
        assert {key: row[key] for key in facts} == {key: whole[key] for key in facts}
        assert row["started_at"] is not None
        assert row["utime_ticks"] < whole["utime_ticks"]
    headings = [filled.run("jobs", *more).stdout.splitlines()[0].split() for more in ((), window)]
    assert headings[0] == headings[1]
    newest = filled.json("jobs", *window, "--sort", "-started_at", "--limit", "1")
    assert newest == filled.json("jobs", *window, "--limit", "1")
    assert filled.json("job", "build", *window)["wall_s"] == whole["wall_s"]


def test_json_says_what_the_notes_say(filled: Reports) -> None:
    window = ("--since", "2026-01-02T03:04:30Z", "--until", "2026-01-02T04:04:30.5Z")
    result = filled.run("commands", *window, "--format", "json")
    printed = json.loads(result.stdout)
    assert list(printed)[:3] == ["report", "window", "rows"]
    assert printed["report"] == "commands"
    assert printed["window"] == {
        "since": "2026-01-02T03:04:30.000Z",
        "until": "2026-01-02T04:04:30.500Z",
    }
    assert printed["notes"] == [
        line.removeprefix("elsa-report: ") for line in result.stderr.splitlines()
    ]
    assert (printed["complete"], printed["gaps"]) == (True, 0)
    assert printed["sources"]["both"]["processes"] == printed["sources"]["both"]["records"] > 0
    units = {key: printed["units"].get(key) for key in ("cpu_s", "rss_kib", "run_ns", "processes")}
    assert units == {"cpu_s": "s", "rss_kib": "KiB", "run_ns": "ns", "processes": None}
    assert [
        json.loads(line)
        for line in filled.run("commands", *window, "--format", "jsonl").stdout.splitlines()
    ] == printed["rows"]


def test_json_of_what_both_sources_saw_is_complete_until_something_is_lost(
    reports: Reports,
) -> None:
    reports.warehouse.process(1, start=5, seconds=5)
    reports.warehouse.acct(1, 1)
    reports.warehouse.job(1, members=(1,))
    asked = (("users",), ("jobs",), ("job", "1"), ("tree", "1"), ("processes",))

    def complete() -> list[bool]:
        printed = [json.loads(reports.run(*each, "--format", "json").stdout) for each in asked]
        assert all(one["window"] == {"since": None, "until": None} for one in printed)
        return [one["complete"] for one in printed]

    assert complete() == [True] * 5
    reports.warehouse.insert("gap", boot_id=1, kind="overrun", from_ns=0, to_ns=9 * 10**9)
    assert complete() == [False] * 5


@pytest.mark.parametrize("window", [(), ("--since", "2026-01-02T04:00:00Z")])
def test_json_counts_the_gaps_that_the_report_on_gaps_lists(
    reports: Reports, window: tuple[str, ...]
) -> None:
    """Two gaps of the past, and the silence since jobd was killed; no job ran meanwhile."""
    made = reports.warehouse
    made.process(1, start=5, seconds=5)
    made.acct(1, 1)
    made.job(1, members=(1,), closed_at_ns=REAL + 20 * SECOND)
    made.insert("collector", id=1, boot_id=1, since_ns=0, heard_ns=10_000 * 10**9, version="1")
    for start in (4000, 5000):
        made.insert(
            "gap", boot_id=1, kind="overrun", from_ns=start * 10**9, to_ns=(start + 9) * 10**9
        )

    def printed(report: str) -> dict[str, Any]:
        return dict(json.loads(reports.run(report, *window, "--format", "json").stdout))

    assert len(printed("gaps")["rows"]) == 3
    reports_on = ("jobs", "runs", "users", "commands", "hours", "kinds", "processes")
    made_of = {report: printed(report) for report in reports_on}
    said = {report: (one["complete"], one["gaps"]) for report, one in made_of.items()}
    assert said == dict.fromkeys(reports_on, (False, 3))


def test_window_takes_a_process_by_its_end(filled: Reports) -> None:
    # make ends at monotonic 30 s, which is 03:04:35.
    assert [
        row["command"]
        for row in filled.json(
            "processes", "--since", "2026-01-02T03:04:35Z", "--until", "2026-01-02T03:04:36Z"
        )
    ] == ["make"]
    assert (
        filled.json(
            "processes", "--since", "2026-01-02T03:04:34Z", "--until", "2026-01-02T03:04:35Z"
        )
        == []
    )
    result = filled.run("commands", "--since", "2026-02-01")
    assert (result.stdout, "no process ended in that window" in result.stderr) == ("", True)


@pytest.mark.parametrize("seed", range(8))
def test_reports_are_the_views_to_the_last_figure(reports: Reports, seed: int) -> None:
    dice = random.Random(seed)
    for number in range(1, 30):
        reports.warehouse.process(
            number,
            seconds=dice.choice([None, 1, 2]),
            comm=dice.choice("abc"),
            uid=dice.randrange(3),
        )
        if dice.random() < 0.8:
            owner = number if dice.random() < 0.8 else None
            more = {
                "uid": dice.randrange(3),
                "flag": dice.randrange(2),
                "utime": dice.randrange(99),
                "majflt": dice.randrange(9),
            }
            reports.warehouse.acct(
                number,
                owner,
                join=dice.choice([1, 2, 4] if owner else [0, 3, 5]),
                comm=dice.choice("abc"),
                **more,
            )
    reports.warehouse.job(1, members=tuple(range(1, 30, 2)))
    for kind, keys, view in [
        (["commands", "--all"], ("command", "forked_only"), "command_usage"),
        (["users", "--all"], ("uid",), "user_usage"),
        (["commands", "--job", "1", "--all"], ("command", "forked_only"), "job_command_usage"),
        (["users", "--job", "1", "--all"], ("uid",), "job_user_usage"),
    ]:
        names = (*keys, *MEASURES)
        shown = [tuple(row[name] for name in names) for row in reports.json(*kind)]
        stored = [
            tuple(row.values())
            for row in reports.warehouse.rows(f"select {', '.join(names)} from {view}")
        ]
        assert sorted(shown, key=repr) == sorted(stored, key=repr)


def test_every_column_of_every_report_is_registered(filled: Reports) -> None:
    for kind in KINDS:
        for arguments in ([kind], [kind, "--since", "2026-01-01"]):
            assert set(filled.json(*arguments)[0]) <= set(COLUMNS)
    for shown, keys in [
        (jobs._SHOWN, jobs.COLUMNS),
        (processes.PROCESSES.shown, processes.COLUMNS),
    ]:
        assert set(shown) <= set(keys)


def test_json_of_processes_streams_one_object_a_line(filled: Reports) -> None:
    lines = filled.run("processes", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["command"] for line in lines] == ["lost", "cc", "make", "cron"]


@pytest.mark.parametrize("kind", ["jobs", "job", "processes", "commands", "users", "gaps", "audit"])
def test_help_teaches_with_examples(reports: Reports, kind: str) -> None:
    result = reports.run(kind, "--help")
    assert result.exit_code == 0
    assert f"Examples:\n    elsa report {kind}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["job", "nope"], UsageError),
        (["commands", "--job", "nope"], UsageError),
        (["jobs", "--since", "soon"], UsageError),
        (["jobs", "--since", "today", "--until", "yesterday"], UsageError),
    ],
)
def test_request_that_makes_no_sense_is_one_of_our_errors(
    filled: Reports, arguments: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        filled.run(*arguments)


def test_a_missing_warehouse_and_a_file_that_is_no_warehouse_have_different_errors(
    reports: Reports,
) -> None:
    with pytest.raises(InputMissingError, match="elsa db upgrade"):
        reports._replace(path=reports.path.with_name("missing.db")).run("jobs")
    other = reports.path.with_name("other.db")
    other.write_bytes(
        b"not a warehouse at all, but long enough to be looked at as if it were one" * 20
    )
    with pytest.raises(ConfigError):
        reports._replace(path=other).run("jobs")


def test_help_starts_without_what_only_the_store_needs() -> None:
    """Importing every report must not import SQLAlchemy or Alembic."""
    code = (
        "import sys, elsa.report.jobs, elsa.report.processes,"
        " elsa.report.query.selection, elsa.report.query.warehouse\n"
        "from elsa.cli.report import report\n"
        "[report.get_command(None, name) for name in report.list_commands(None)]\n"
    )
    code += (
        "print(*{'sqlalchemy', 'alembic', 'pyroute2'} & {name.split('.')[0] for name in"
        " sys.modules})"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        == []
    )


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_every_report_runs(filled: Reports, form: str) -> None:
    for arguments in (
        ["jobs"],
        ["job", "night"],
        ["processes"],
        ["commands"],
        ["users"],
        ["jobs", "--until", "now"],
    ):
        result = filled.run(*arguments, "--format", form)
        assert result.exit_code == 0
        assert result.stdout


def test_partial_and_lost_taskstats_are_reported(filled: Reports) -> None:
    filled.warehouse.usage(1, complete=0, utime_us=1_000_000, stime_us=0)
    for arguments in (
        ["job", "build"],
        ["commands", "--job", "build"],
        ["users", "--job", "build"],
    ):
        words = filled.run(*arguments).stderr
        assert "memory and I/O are known for 1 of 2 processes" in words, arguments
        assert "statistics of threads of 1 process were lost" in words, arguments
    filled.warehouse.insert(
        "gap", id=1, boot_id=1, kind="taskstats", from_ns=11 * 10**9, to_ns=12 * 10**9
    )
    assert "1 gap while this job ran" in filled.run("job", "build").stderr
    assert "2 of these jobs touched by gaps" in filled.run("jobs").stderr


def test_records_without_a_process_are_not_counted_as_processes(filled: Reports) -> None:
    filled.warehouse.usage(1, utime_us=1_000_000, stime_us=0)
    for number in range(20, 29):
        filled.warehouse.acct(number, None, comm="loose")
    assert "memory and I/O are known for 1 of 3 processes" in filled.run("users").stderr
    assert "4 processes: " in filled.run("users").stderr


def test_process_shows_its_program_and_its_figures_to_programs(filled: Reports) -> None:
    filled.warehouse.insert("long_text", id=1, value="make -j2")
    filled.warehouse.insert("program", process_id=1, cmdline_id=1, session=9)
    filled.warehouse.usage(1, rss_kib=2048, read_bytes=10_240)
    make, cc = (
        next(row for row in filled.json("processes") if row["command"] == name)
        for name in ("make", "cc")
    )
    assert (make["cmdline"], make["exe"], make["session"], make["rss_kib"], make["provenance"]) == (
        "make -j2",
        None,
        9,
        2048,
        "taskstats",
    )
    assert (cc["cmdline"], cc["rss_kib"], cc["provenance"]) == (None, None, "acct")
    table = filled.run("processes").stdout
    assert "2.0 MiB" in table
    assert "10.0 KiB" in table


def test_every_report_of_cpu_time_says_what_is_measured_and_what_sampled_and_the_bound(
    filled: Reports,
) -> None:
    warehouse = filled.warehouse
    warehouse.job(3, "short")
    for number in range(50, 53):
        warehouse.process(number)
        warehouse.stay(3, number)
        warehouse.acct(number, number, utime=1)
    of_job = (
        ["job", "short"],
        ["commands", "--job", "short"],
        ["users", "--job", "short"],
        ["days", "--job", "short"],
        ["jobs", "--limit", "1"],
        ["job", "short", "--summary", "ja"],
    )
    for words in of_job:
        assert (
            "CPU time of 3 records is cut down to 1/100 s: up to 0.06 s more was used"
            in filled.run(*words).stderr
        ), words
    for number in range(50, 53):
        warehouse.usage(number, run_ns=1, utime_us=4000, stime_us=0)
    sampled = "is sampled (0.01 s): right on average, and up to 0.01 s more or less in all"
    for words in of_job:
        told = filled.run(*words).stderr
        assert f"CPU time of 3 processes shorter than a tick (4 ms at 250 Hz) {sampled}" in told, (
            words
        )
        assert "measured" not in told, words
    for number in range(50, 53):
        warehouse.connection.execute(
            "update usage set run_ns = 5000000, threads = 7 where process_id = ?", (number,)
        )
    for words in of_job:
        told = filled.run(*words).stderr
        assert (
            "CPU time of 21 threads is measured, except for the last part of a tick (4 ms at"
            " 250 Hz) of each: up to 0.08 s more" in told
        )
        assert "sampled" not in told, words
    for words in (["processes"], ["last"], ["tree", "short"], ["commands", "--job", "short,build"]):
        assert "CPU time" in filled.run(*words).stderr, words
    assert "CPU time" not in filled.run("commands", "--columns", "command,processes").stderr


def test_what_jobs_have_in_common_is_in_no_total_twice(filled: Reports) -> None:
    warehouse = filled.warehouse
    for job in (1, 2):
        warehouse.connection.execute("delete from membership where job_id = ?", (job,))
    for job in (3, 4, 5):
        warehouse.job(job, f"short{job}")
    for number in range(50, 53):
        warehouse.process(number)
        warehouse.acct(number, number, utime=1)
        for job in (3, 4, 5):
            warehouse.stay(job, number, how=4)
    told = filled.run("jobs").stderr
    assert "3 processes: 3 " in told or "processes:" not in told
    assert "the membership of 3 processes was inferred" in told
    cut = (
        "CPU time of up to 3 records in each job is cut down to 1/100 s: up to 0.06 s more was used"
    )
    assert f"{cut}\n" in told
    assert "up to 0.06 s more was used" in filled.run("compare", "short3", "short4").stderr
    for number in range(50, 53):
        warehouse.usage(number, run_ns=1, utime_us=4000, stime_us=0)
    assert (
        "CPU time of up to 3 processes shorter than a tick (4 ms at 250 Hz) in each job is sampled:"
        " right on average, and up to 0.01 s more or less\n"
    ) in filled.run("jobs").stderr
    warehouse.connection.execute("update usage set run_ns = 5000000, threads = 7, complete = 0")
    told = filled.run("jobs").stderr
    assert "CPU time of up to 21 threads in each job is measured" in told
    assert "of each: up to 0.08 s more was used" in told
    assert "statistics of threads of some processes of 3 jobs were lost" in told
    warehouse.connection.execute("delete from usage where process_id = 52")
    told = filled.run("jobs").stderr
    assert "in 3 jobs memory and I/O are known for a part of the processes only" in told


@pytest.mark.parametrize(
    ("ticks", "run_ns", "cpu_s", "words"),
    [
        (
            [10_000_000],
            9_000_000,
            0.012,
            (
                "1 process shorter than a tick (10 ms at 100 Hz) is sampled (0.00 s): right on"
                " average, and up to 0.01 s"
            ),
        ),
        (
            [1_000_000],
            2_000_000,
            0.002,
            (
                "1 thread is measured, except for the last part of a tick (1 ms at 1000 Hz) of"
                " each: up to 0.01 s more"
            ),
        ),
        (
            [3_333_333],
            3_333_332,
            0.012,
            "1 process shorter than a tick (3.33 ms at 300 Hz) is sampled",
        ),
        (
            [1_000_000, 10_000_000],
            2_000_000,
            0.002,
            "a tick (up to 10 ms at 100 Hz) of each: up to 0.01 s more",
        ),
        (
            [None],
            9_000_000,
            0.012,
            (
                "shorter than a tick (up to 10 ms at 100 Hz, assumed for 1 boot whose tick is"
                " not known) is sampled"
            ),
        ),
    ],
)
def test_what_is_sampled_and_the_bound_are_by_the_tick_of_the_kernel(
    filled: Reports, ticks: list[int | None], run_ns: int, cpu_s: float, words: str
) -> None:
    warehouse = filled.warehouse
    warehouse.connection.execute("update boot set tick_ns = ?", ticks[:1])
    for number, tick_ns in enumerate(ticks[1:], start=2):
        warehouse.insert("boot", id=number, host_id=1, uuid=f"b{number}", tick_ns=tick_ns)
    warehouse.job(3, "short")
    warehouse.process(50)
    warehouse.stay(3, 50)
    warehouse.usage(50, run_ns=run_ns, utime_us=12_000, stime_us=0)
    told = filled.run("job", "short")
    assert words in told.stderr
    row = warehouse.row("select cpu_s, sampled from job_usage where job_id = 3")
    assert row == {"cpu_s": cpu_s, "sampled": int("sampled" in words)}


def test_a_flame_graph_of_cpu_time_says_what_is_measured_and_what_sampled(filled: Reports) -> None:
    words = (
        "CPU time is measured up to a thread's last tick (4 ms at 250 Hz), and sampled for a"
        " shorter process"
    )
    assert words in filled.run("flame", "build", "-o", "-").stderr
    assert words in filled.run("tree", "build", "--collapsed").stderr
    assert "CPU time" not in filled.run("flame", "build", "-o", "-", "--by", "io").stderr


def test_charging_for_part_of_a_lifetime_is_reported(filled: Reports) -> None:
    filled.warehouse.usage(1, run_ns=3_000_000_000, utime_us=3_000_000, stime_us=0)
    filled.warehouse.job(3, "late")
    filled.warehouse.stay(3, 1, since=15, how=1)
    assert (
        "all of its usage is charged, since its counters were not read"
        in filled.run("job", "late").stderr
    )
    filled.warehouse.process(77, start=5, seconds=None)
    filled.warehouse.job(4, "still")
    filled.warehouse.stay(4, 77, until=15, how=1)
    said = filled.run("job", "still").stderr
    assert "what it used there is not known" in said
    assert "charged" not in said
    filled.warehouse.read(77, at=15, run_ns=1_000_000_000, utime_us=1_000_000, stime_us=0)
    assert "is charged for that part" in filled.run("job", "still").stderr
    filled.warehouse.read(1, at=15, run_ns=1_000_000_000, utime_us=1_000_000, stime_us=0)
    assert "is charged for that part" in filled.run("job", "late").stderr
    found = filled.json("job", "late")
    assert (found["run_ns"], found["cpu_s"], found["part_life"], found["part_life_whole"]) == (
        2_000_000_000,
        2.0,
        1,
        0,
    )
    assert filled.json("processes", "--job", "late")[0]["run_ns"] == 2_000_000_000


def test_a_jobd_of_another_warehouse_is_not_asked_for_running_processes(
    filled: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def request(_client: Client, op: str, **_fields: object) -> dict[str, str]:
        asked.append(op)
        return {"db": str(filled.path / "not" / "there")}

    monkeypatch.setattr(Client, "request", request)
    done = filled.run("job", "night")
    assert (done.exit_code, asked) == (0, ["status"])
