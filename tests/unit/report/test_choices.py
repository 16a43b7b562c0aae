"""The selection language: every choice of `elsa report`, alone and together, against a plain filter
over the same rows.
"""

from __future__ import annotations

import pwd
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from elsa.decode import tty as ttys
from elsa.errors import UsageError
from tests.support.reports import Reports

Row = dict[str, Any]


TEXTS = (
    *("/usr/bin/backup --full, /a/b", "backup.sh x", "rsync /usr/bin/backup [x]"),
    *("/usr/bin/backup", "/bin/bash", "/opt/backup/rsync", "/opt/run/backup.sh"),
    *("/system.slice/nginx.service", "/system.slice/nginx.service/worker", "/nginx.slice/x[1]"),
)
"""Command lines, executables and control groups."""
PROGRAMS = ((1, 4), (2, 5), (3, 6))


@pytest.fixture
def busy(reports: Reports) -> Reports:
    """Forty processes of two users, three groups and two terminals, in three jobs that overlap;
    some run, some died.
    """
    dice = random.Random(7)
    for number in range(1, 41):
        uid = dice.choice([0, 1000])
        seconds = dice.choice([None, 1, 2, 3])
        comm = dice.choice(["cc1", "cc1plus", "ld", "["])
        status = dice.choice([0, 0, 256, 3 << 8, 9, 11 | 128])
        more = {} if seconds is None else {"exit_status": status}
        reports.warehouse.process(
            number, start=number * 10, seconds=seconds, comm=comm, uid=uid, **more
        )
        if seconds is not None and dice.random() < 0.9:
            tty = dice.choice([0, 136 << 8 | 3])
            flag = 0x10 if status & 127 else 0
            reports.warehouse.acct(
                number,
                number,
                comm=comm,
                uid=uid,
                gid=dice.choice([0, 5, 100]),
                tty=tty,
                exitcode=status,
                flag=flag,
                utime=number,
            )
    for number, text in enumerate(TEXTS, start=1):
        reports.warehouse.insert("long_text", id=number, value=text)
    for number in range(3, 41, 3):
        line, exe = dice.choice(PROGRAMS)
        group = dice.choice((None, 8, 9, 10))
        reports.warehouse.insert(
            "program", process_id=number, cmdline_id=line, exe_id=exe, cgroup_id=group
        )
    reports.warehouse.connection.execute("update process set exe_id = 7 where id in (6, 7)")
    reports.warehouse.job(1, "night-a", members=tuple(range(1, 21)))
    reports.warehouse.job(2, "night-b", members=tuple(range(11, 31)))
    reports.warehouse.job(3, "day", members=(35, 36), closed_at_ns=5, cgroup_id=8)
    reports.warehouse.insert("job_tag", job_id=1, key="project", value="web")
    reports.warehouse.insert("job_tag", job_id=2, key="project", value="db")
    reports.warehouse.insert("job_tag", job_id=2, key="team", value="x")
    return reports


CHOICES: list[tuple[list[str], Callable[[Row], bool]]] = [
    (["--user", "0"], lambda row: row["uid"] == 0),
    (["--user", "root,1000"], lambda row: row["uid"] in (0, 1000)),
    (["--group", "root"], lambda row: row["gid"] == 0),
    (["--group", "5", "--group", "100"], lambda row: row["gid"] in (5, 100)),
    (["--command", "cc*"], lambda row: row["command"].startswith("cc")),
    (["--command", "cc1"], lambda row: row["command"] == "cc1"),
    (["--command", "["], lambda row: row["command"] == "["),
    (["--tty", "pts/3"], lambda row: row["tty"] == 136 << 8 | 3),
    (["--tty", "none"], lambda row: row["tty"] == 0),
    (["--pid", "1003,1004,9999"], lambda row: row["pid"] in (1003, 1004)),
    (["--exit", "0"], lambda row: row["exit_status"] == 0),
    (["--exit", "nonzero"], lambda row: bool(row["exit_status"])),
    (["--exit", "signal"], lambda row: bool(row["exit_signal"])),
    (["--exit", "SIGKILL"], lambda row: row["exit_signal"] == 9),
    (["--exit", "segv"], lambda row: row["exit_signal"] == 11),
    (["--exit", "signal 9,code 3"], lambda row: row["exit_signal"] == 9 or row["exit_code"] == 3),
    (["--exit", "0:9"], lambda row: row["exit_signal"] == 9),
    (["--exit", "1:0"], lambda row: row["exit_code"] == 1),
    (["--exit", "core"], lambda row: bool((row["exit_status"] or 0) & 128)),
    (["--state", "ended"], lambda row: row["state"] == "ended"),
    (["--state", "COMPLETED"], lambda row: row["exit_status"] == 0),
    (["--state", "F"], lambda row: bool(row["exit_status"])),
    (["--state", "running"], lambda row: row["state"] == "running"),
    (
        ["--since", "2026-01-02T03:06:00Z", "--until", "2026-01-02T03:07:00Z"],
        lambda row: "03:06" <= (row["ended_at"] or "")[11:] < "03:07",
    ),
    (["--exe", "/usr/bin/backup"], lambda row: row["exe"] == "/usr/bin/backup"),
    (["--exe", "rsync"], lambda row: row["exe"] == "/opt/backup/rsync"),
    # Processes 6 and 7 were given this path to execute, 6 is the shell that runs it.
    (["--exe", "backup.sh"], lambda row: row["process_id"] in (6, 7)),
    (
        ["--exe", "backup*"],
        lambda row: row["exe"] == "/usr/bin/backup" or row["process_id"] in (6, 7),
    ),
    (["--exe", "/opt/*"], lambda row: (row["exe"] or "").startswith("/opt")),
    (["--cmdline", "full, "], lambda row: "full, " in (row["cmdline"] or "")),
    (["--cmdline", "bin/backup"], lambda row: "bin/backup" in (row["cmdline"] or "")),
    (["--cmdline", "backup*"], lambda row: (row["cmdline"] or "").startswith(("/usr", "backup"))),
    (["--cmdline", "*[[]x]"], lambda row: (row["cmdline"] or "").endswith("[x]")),
    (
        ["--cgroup", "nginx.service"],
        lambda row: "nginx.service" in (row["cgroup"] or "") or row["process_id"] in (35, 36),
    ),
    (
        ["--cgroup", "/system.slice/nginx.service/worker"],
        lambda row: "worker" in (row["cgroup"] or ""),
    ),
    (["--cgroup", "/nginx.slice/"], lambda row: "nginx.slice" in (row["cgroup"] or "")),
    (
        ["--cgroup", "nginx.*,x[1]"],
        lambda row: bool(row["cgroup"]) or row["process_id"] in (35, 36),
    ),
    (
        ["--user", "0", "--exit", "nonzero", "--tty", "none"],
        lambda row: row["uid"] == row["tty"] == 0 and bool(row["exit_status"]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "wanted"), CHOICES, ids=[" ".join(arguments) for arguments, _ in CHOICES]
)
def test_choice_keeps_what_a_plain_filter_keeps_in_lists_and_in_sums(
    busy: Reports, arguments: list[str], wanted: Callable[[Row], bool]
) -> None:
    expected = [row for row in busy.json("processes", "--all") if wanted(row)]
    assert expected, "a choice that chooses nothing tests nothing"
    assert busy.json("processes", "--all", *arguments) == expected
    newest = sorted(
        expected, key=lambda row: (row["ended_at"] or "z", row["process_id"]), reverse=True
    )
    assert [row["process_id"] for row in busy.json("last", "--all", *arguments)] == [
        row["process_id"] for row in newest
    ]
    for kind in ("commands", "users", "groups"):
        found = busy.json(kind, "--all", *arguments)
        assert sum(row["processes"] for row in found) == len(expected), kind
        assert sum(row["utime_ticks"] or 0 for row in found) == sum(
            row["utime_ticks"] or 0 for row in expected
        ), kind


@pytest.mark.parametrize(
    ("arguments", "members"),
    [
        (["--job", "night-a"], range(1, 21)),
        (["--job", "1,2"], range(1, 31)),
        (["--job", "night-*"], range(1, 31)),
        (["--job", "night-?", "--job", "day"], [*range(1, 31), 35, 36]),
        (["--tag", "project"], range(1, 31)),
        (["--tag", "project=web"], range(1, 21)),
        (["--tag", "project", "--tag", "team=*"], range(11, 31)),
        (["--job", "1", "--tag", "team"], []),
    ],
)
def test_process_of_several_chosen_jobs_counts_once(
    busy: Reports, arguments: list[str], members: list[int]
) -> None:
    assert sorted(row["process_id"] for row in busy.json("processes", "--all", *arguments)) == list(
        members
    )
    assert sum(row["processes"] for row in busy.json("commands", "--all", *arguments)) == len(
        members
    )


def test_process_that_was_in_one_of_the_jobs_for_its_whole_life_is_charged_whole(
    busy: Reports,
) -> None:
    busy.warehouse.process(90, start=500, seconds=10)
    busy.warehouse.usage(90, run_ns=9 * 10**9, utime_us=9_000_000, stime_us=0)
    for job, since in ((4, 505), (5, 0)):
        busy.warehouse.job(job, f"j{job}")
        busy.warehouse.stay(job, 90, since=since)
    busy.warehouse.read(90, at=505, run_ns=4 * 10**9, utime_us=4_000_000, stime_us=0)
    assert [busy.json("commands", "--job", ids)[0]["cpu_s"] for ids in ("4", "5", "4,5")] == [
        5.0,
        9.0,
        9.0,
    ]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--job", "night-*"], ["night-b", "night-a"]),
        (["--job", "3"], ["day"]),
        (["--state", "closed"], ["day"]),
        (["--state", "open"], ["night-b", "night-a"]),
        (["--user", "1000"], ["day", "night-b", "night-a"]),
        (["--user", "0"], []),
        (["--tag", "project=d*"], ["night-b"]),
        (["--state", "closed", "--since", "2026-01-01"], ["day"]),
    ],
)
def test_jobs_are_chosen_by_what_they_are(
    busy: Reports, arguments: list[str], names: list[str]
) -> None:
    assert [row["name"] for row in busy.json("jobs", *arguments)] == names


def test_name_that_several_jobs_bear_means_all_of_them_in_the_list_of_jobs(busy: Reports) -> None:
    busy.warehouse.job(4, "day")
    assert [row["job_id"] for row in busy.json("jobs", "--job", "day")] == [4, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "no-such-user"], "this host knows no user no-such-user"),
        (["--group", "no-such-group"], "this host knows no group"),
        (["--user", ""], "this host knows no user ''; write"),
        (["--state", ""], "cannot read ''; write one of"),
        (["--tty", "pts"], "--tty: cannot read pts; write for example pts/3"),
        (["--pid", "x"], "--pid: x is not a pid"),
        (["--pid", "9" * 30], "is not a pid"),
        (["--exit", "SIGNOPE"], "--exit: cannot read SIGNOPE; write for example 0, 3, nonzero"),
        (["--exit", "256"], "--exit: cannot read 256; write for example 0, 3, nonzero"),
        (["--state", "asleep"], "--state: cannot read asleep; write one of running, ended"),
        (["--tag", "nope=1"], "no job has the tag nope=1"),
        (["--job", "nope*"], "no job has the id or name"),
    ],
)
def test_choice_that_cannot_be_read_says_what_can(
    busy: Reports, arguments: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace("*", r"\*")):
        busy.run("processes", *arguments)


def test_completeness_is_said_of_the_chosen_processes_only(busy: Reports) -> None:
    rows = busy.json("processes", "--all", "--user", "0")
    assert f"{len(rows)} processes: " in busy.run("commands", "--user", "0").stderr
    assert "no ended process matches" in busy.run("processes", "--user", "77").stderr


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (0, "none"),
        (136 << 8, "pts/0"),
        (137 << 8 | 5, "pts/261"),
        (4 << 8 | 1, "tty1"),
        (4 << 8 | 64, "ttyS0"),
        (0x501, "console"),
        (7 << 8 | 9, "7:9"),
    ],
)
def test_terminal_is_read_as_it_is_written(number: int, word: str) -> None:
    assert ttys.word(number) == word
    assert ttys.number(word) == number


@pytest.mark.parametrize("text", ["", "pts/", "pts/-1", "tty999", "999:1", "9:999", "vt1"])
def test_terminal_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ttys.number(text)


def test_last_so_many_are_the_end_of_all_of_them_however_many_hours_lie_between(
    busy: Reports,
) -> None:
    for number in range(60, 90):
        busy.warehouse.process(number, start=number**3, seconds=1, uid=number % 2)
        busy.warehouse.acct(number, None, join=0, btime=1_767_323_045 + number * 10_000)
    for arguments in ([], ["--user", "1"], ["--until", "2026-01-05"], ["--exit", "0"]):
        everything = busy.json("processes", *arguments)
        for limit in (1, 7, 40, 1000):
            assert busy.json("processes", *arguments, "--limit", str(limit)) == everything[-limit:]
            assert busy.json(
                "last", *arguments, "--limit", str(limit), "--columns", "acct_id,process_id"
            ) == [
                {"acct_id": row["acct_id"], "process_id": row["process_id"]}
                for row in everything[::-1][:limit]
            ]


def test_a_backslash_makes_a_comma_or_a_blank_part_of_a_name(reports: Reports) -> None:
    for number, comm in enumerate(["a,b", "a", "b", " b ", "a\\\\", "a\\\\,b"], start=1):
        reports.warehouse.process(number, start=number, seconds=1, comm=comm)

    def found(*arguments: str) -> list[str]:
        return [row["command"] for row in reports.json("processes", *arguments)]

    assert found("--command", "a\\,b") == ["a,b"]
    assert found("--command", "a\\,b, b") == ["a,b", "b"]
    assert found("--command", "a,b") == ["a", "b"]
    assert found("--command", "\\ b\\ ") == [" b "]
    assert found("--command", "a\\\\,b") == ["b", "a\\\\"]
    assert found("--command", "a\\\\\\,b") == ["a\\\\,b"]
    assert found("--command", "a\\,*") == ["a,b"]
    assert found("--command", "a\\,b", "--command", "b") == ["a,b", "b"]


def test_a_command_longer_than_the_kernel_keeps_is_found_by_its_first_15_bytes_and_that_is_said(
    reports: Reports,
) -> None:
    reports.warehouse.process(1, start=1, seconds=1, comm="compile-everyth")
    for arguments in (
        ("commands", "--command", "compile-everything"),
        ("last", "compile-everything*"),
    ):
        done = reports.run(*arguments)
        assert "compile-everyth" in done.stdout
        assert "keeps 15 bytes" in done.stderr
    assert "keeps" not in reports.run("commands", "--command", "compile-everyth").stderr


def test_a_name_of_digits_is_a_name_before_it_is_a_number(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = {"104711": SimpleNamespace(pw_uid=7)}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: logins[name])
    reports.warehouse.process(1, start=1, seconds=1, uid=7)
    reports.warehouse.process(2, start=2, seconds=1, uid=104711)
    assert [row["uid"] for row in reports.json("processes", "--user", "104711")] == [7]
    assert [row["uid"] for row in reports.json("processes", "--user", "uid:104711")] == [104711]
    assert sorted(row["uid"] for row in reports.json("users", "--user", "7,uid:104711")) == [
        7,
        104711,
    ]
