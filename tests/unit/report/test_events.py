"""`elsa report events`: the kernel's events, by the same choices as processes, and by their own
time.
"""

from __future__ import annotations

import pytest

from elsa.errors import UsageError
from elsa.formats import local_time
from tests.support.given import SECOND
from tests.support.reports import Reports

FORK, EXEC, EXIT = 1, 2, 3


@pytest.fixture
def events(filled: Reports) -> Reports:
    """Make (1001) forks cc (1002), which executes, starts a thread (5002) and ends; an exit of a
    process that is not known.
    """
    for id_, (kind, second, tid, pid, parent, code, process_id) in enumerate(
        (
            (FORK, 10, 1001, 1001, 900, None, 1),
            (FORK, 12, 1002, 1002, 1001, None, 2),
            (EXEC, 13, 1002, 1002, None, None, 2),
            (FORK, 14, 5002, 1002, 1001, None, 2),
            (EXIT, 17, 1002, 1002, 1001, 9, 2),
            (EXIT, 18, 7, 7, 1, 256, None),
        ),
        start=1,
    ):
        filled.warehouse.insert(
            "event",
            id=id_,
            boot_id=1,
            kind=kind,
            time_ns=second * SECOND,
            cpu=1,
            pid=tid,
            tgid=pid,
            parent_tgid=parent,
            code=code,
            process_id=process_id,
        )
    return filled


def ids(reports: Reports, *arguments: str) -> list[int]:
    """The events that are shown."""
    rows = reports.json("events", "--columns", "event_id", *arguments)
    return [row["event_id"] for row in rows]


def test_every_event_is_shown_in_its_order_also_of_processes_that_are_not_known(
    events: Reports,
) -> None:
    assert ids(events) == [1, 2, 3, 4, 5, 6]
    rows = events.json("events", "--command", "cc", "--columns", "at,event,pid,tid,ppid,command")
    assert rows[0] == {
        "at": "2026-01-02T03:04:17.000Z",
        "event": "fork",
        "pid": 1002,
        "tid": 1002,
        "ppid": 1001,
        "command": "cc",
    }
    assert [(row["event"], row["tid"]) for row in rows[1:]] == [
        ("exec", 1002),
        ("fork", 5002),
        ("exit", 1002),
    ]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--job", "build"], [1, 2, 3, 4, 5]),
        (["--job", "night"], [2, 3, 4, 5]),
        (["--command", "make"], [1]),
        (["--since", "2026-01-02T03:04:18Z"], [3, 4, 5, 6]),
        (["--since", "2026-01-02T03:04:18Z", "--until", "2026-01-02T03:04:22Z"], [3, 4]),
        (["--since", "2026-01-02T03:04:22Z", "--exit", "SIGKILL"], [5]),
        (["--limit", "2"], [5, 6]),
        (["--limit", "2", "--sort", "event_id"], [1, 2]),
        (["--user", "uid:77"], []),
        (["--event", "exec"], [3]),
        (["--event", "EXEC,exit"], [3, 5, 6]),
        (["--event", "fork", "--event", "exit", "--limit", "3"], [4, 5, 6]),
        (["--event", "fork", "--command", "cc", "--since", "2026-01-02T03:04:18Z"], [4]),
    ],
)
def test_they_are_chosen_like_processes_and_by_their_own_time(
    events: Reports, arguments: list[str], shown: list[int]
) -> None:
    assert ids(events, *arguments) == shown


def test_real_time_follows_the_clock_at_the_event(events: Reports) -> None:
    later = events.warehouse.connection.execute("select offset_ns from clock").fetchone()[0]
    events.warehouse.insert(
        "clock", id=2, boot_id=1, since_ns=13 * SECOND, offset_ns=later + 3600 * SECOND
    )
    assert ids(events, "--until", "2026-01-02T03:30:00Z") == [1, 2]
    assert ids(events, "--since", "2026-01-02T04:04:18Z") == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "1"],
        ["--format", "csv"],
        ["--sort", "user,command"],
        ["--columns", "at,event,pid,tid"],
        ["--since", "2026-01-02T03:04:18Z"],
        ["--event", "exit"],
        ["--job", "build"],
        ["--host", "*"],
        ["--user", "uid:1000", "--exit", "nonzero", "--state", "failed", "--limit", "1"],
        ["--pid", "1002", "--sort", "command"],
    ],
)
def test_processes_are_looked_up_by_key_and_never_all_read(
    events: Reports, arguments: list[str]
) -> None:
    query = events.run("events", "--explain", *arguments).stdout
    rows = events.warehouse.connection.execute(f"explain query plan {query}")
    steps = [step for *_, step in rows]
    assert "SCAN e" in steps
    wrong = ("MATERIALIZE", "SCAN p", "AUTOMATIC")
    assert not [step for step in steps if any(word in step for word in wrong)]


def test_a_kind_of_event_that_there_is_not_is_an_error(events: Reports) -> None:
    with pytest.raises(UsageError, match="--event: write fork, exec or exit, not clone"):
        events.run("events", "--event", "exec,clone")


def test_help_says_that_times_are_those_of_events(reports: Reports) -> None:
    text = reports.run("events", "--help").stdout
    assert "what happened before then" in text
    assert "ended or was used" not in text


def test_without_events_it_says_how_to_keep_them(reports: Reports) -> None:
    said = reports.run("events").stderr
    assert "the warehouse has no events" in said
    assert "keep_events" in said


def test_where_no_event_matches_it_says_since_when_they_are_kept(events: Reports) -> None:
    said = events.run("events", "--until", "2026-01-01T00:00:00Z").stderr
    oldest = local_time("2026-01-02T03:04:15Z")
    assert f"no events match; the first that is kept is of {oldest}" in said
    assert "keep_events" not in said
