"""`elsa report connect`: logins from wtmp and wtmpdb add up by user and by day; GNU ac agrees where
every login has a logout.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.cli.report import report
from elsa.decode.logins import Type, records
from elsa.errors import DataError, InputMissingError, UsageError
from tests.support.peers import peer

UTMPX = struct.Struct("=hxxi32s4s32s256shhiii16x20x")
T = 1_767_323_045  # 2026-01-02T03:04:05Z
HOUR = 3600


def wtmp(type_: Type, line: str, user: str, when: int) -> bytes:
    """A record."""
    return UTMPX.pack(type_, 1, line.encode(), b"", user.encode(), b"", 0, 0, 0, when, 0)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days are those of UTC."""
    monkeypatch.setenv("TZ", "UTC")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(report, ["connect", *map(str, arguments)], catch_exceptions=False)


def rows(path: Path, *arguments: object) -> list[dict[str, object]]:
    output = run("--file", path, "--format", "jsonl", *arguments).stdout
    return [json.loads(line) for line in output.splitlines()]


def write(path: Path, *made: bytes) -> Path:
    path.write_bytes(b"".join(made))
    return path


def test_each_way_in_which_a_login_ends(tmp_path: Path) -> None:
    path = write(
        tmp_path / "wtmp",
        wtmp(Type.USER_PROCESS, "pts/0", "anna", T),
        wtmp(Type.DEAD_PROCESS, "pts/0", "", T + HOUR),
        wtmp(Type.USER_PROCESS, "pts/0", "bob", T + HOUR),
        wtmp(Type.USER_PROCESS, "pts/0", "carl", T + 2 * HOUR),
        wtmp(Type.RUN_LVL, "~", "shutdown", T + 4 * HOUR),
        wtmp(Type.BOOT_TIME, "~", "reboot", T + 5 * HOUR),
        wtmp(Type.USER_PROCESS, "pts/0", "dora", T + 5 * HOUR),
        wtmp(Type.BOOT_TIME, "~", "reboot", T + 6 * HOUR),
    )
    assert {row["user"]: (row["connected_s"], row["inexact_logins"]) for row in rows(path)} == {
        "anna": (HOUR, 0),
        "bob": (HOUR, 1),
        "carl": (2 * HOUR, 0),
        "dora": (HOUR, 1),
    }
    said = "2 logins have no logout; they count up to the next boot or the next login on their line"
    assert said in run("--file", path).stderr
    said = "1 login has no logout; it counts up to the next boot or the next login on its line"
    assert said in run("--file", path, "--user", "bob").stderr


def test_a_step_of_the_clock_is_no_connect_time(tmp_path: Path) -> None:
    path = write(
        tmp_path / "wtmp",
        wtmp(Type.USER_PROCESS, "pts/0", "anna", T),
        wtmp(Type.OLD_TIME, "|", "", T + 600),
        wtmp(Type.NEW_TIME, "{", "", T + 600 + 2 * HOUR),
        wtmp(Type.DEAD_PROCESS, "pts/0", "", T + 1200 + 2 * HOUR),
    )
    assert [row["connected_s"] for row in rows(path)] == [1200]


def test_days_and_windows_cut_logins_and_days_add_up(tmp_path: Path) -> None:
    path = write(
        tmp_path / "wtmp",
        wtmp(Type.USER_PROCESS, "tty1", "anna", T),
        wtmp(Type.DEAD_PROCESS, "tty1", "", T + 48 * HOUR),
    )
    days = rows(path, "--by", "day")
    assert [row["day"] for row in days] == ["2026-01-02", "2026-01-03", "2026-01-04"]
    assert sum(int(str(row["connected_s"]).split(".")[0]) for row in days) == 48 * HOUR
    assert [row["connected_s"] for row in rows(path, "--day", "2026-01-03")] == [24 * HOUR]
    assert rows(path, "--user", "b*") == []


def test_wtmpdb_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "wtmp.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "create table wtmp (ID integer primary key, Type integer, User text not null,"
            " Login integer, Logout integer, TTY text, RemoteHost text, Service text) strict"
        )
        database.executemany(
            "insert into wtmp (Type, User, Login, Logout, TTY) values (?, ?, ?, ?, ?)",
            [
                (1, "reboot", (T - HOUR) * 10**6, None, "~"),
                (3, "anna", T * 10**6, (T + HOUR) * 10**6, "pts/0"),
                (3, "bob", T * 10**6, None, "pts/1"),
                (1, "reboot", (T + 2 * HOUR) * 10**6, None, "~"),
            ],
        )
        database.commit()
    assert {row["user"]: (row["connected_s"], row["inexact_logins"]) for row in rows(path)} == {
        "anna": (HOUR, 0),
        "bob": (2 * HOUR, 1),
    }


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("anna", "bob")),
            st.integers(0, 3),
            st.integers(1, 5),
            st.integers(1, 5),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_gnu_ac_adds_up_the_same_where_every_login_has_a_logout(
    tmp_path: Path, sessions: Sequence[tuple[str, int, int, int]]
) -> None:
    events: list[tuple[int, bytes]] = []
    free = dict.fromkeys(range(4), T)
    for user, line, pause, hours in sessions:
        start = free[line] + pause * HOUR
        free[line] = end = start + hours * HOUR
        events.append((start, wtmp(Type.USER_PROCESS, f"pts/{line}", user, start)))
        events.append((end, wtmp(Type.DEAD_PROCESS, f"pts/{line}", "", end)))
    events.sort(key=lambda event: event[0])
    path = write(tmp_path / "wtmp", *(record for _, record in events))
    done = subprocess.run(
        [peer("ac"), "-p", "-f", path], capture_output=True, text=True, check=True
    )
    theirs = dict(line.split() for line in done.stdout.splitlines())
    ours = {str(row["user"]): float(str(row["connected_s"])) / HOUR for row in rows(path)}
    assert {user: f"{hours:.2f}" for user, hours in ours.items()} == {
        user: hours for user, hours in theirs.items() if user != "total"
    }


@pytest.mark.parametrize("data", [b"x", b"SQLite format 3\0", b"y" * 384])
def test_what_is_no_wtmp_is_an_error_in_one_line(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match="neither wtmp nor wtmpdb"):
        run("--file", write(tmp_path / "wtmp", data))


def test_a_torn_record_at_the_end_is_said_and_a_file_named_twice_is_read_once(
    tmp_path: Path,
) -> None:
    login = wtmp(Type.USER_PROCESS, "pts/0", "anna", T)
    logout = wtmp(Type.DEAD_PROCESS, "pts/0", "", T + HOUR)
    path = write(tmp_path / "wtmp", login, logout, login[:100])
    result = run("--file", path, "--file", path, "--format", "json")
    made = json.loads(result.stdout)
    assert [row["connected_s"] for row in made["rows"]] == [HOUR]
    assert "100 bytes" in made["notes"][0]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="not a regular file"):
        run("--file", tmp_path / "fifo")


def test_a_fleet_has_no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSA_DB", "postgresql://me:secret@db/elsa")
    with pytest.raises(UsageError, match=r"^postgresql://me@db/elsa has no logins; .* run it "):
        CliRunner().invoke(report, ["connect"], catch_exceptions=False)
    (tmp_path / "wtmp").write_bytes(b"")
    CliRunner().invoke(
        report, ["connect", "--file", str(tmp_path / "wtmp")], catch_exceptions=False
    )


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        run("--file", tmp_path / "nothing")


@given(st.binary(max_size=2000))
def test_any_bytes_are_records_or_an_error(data: bytes) -> None:
    try:
        assert len(list(records(data))) <= len(data) // 384
    except DataError:
        assert data
