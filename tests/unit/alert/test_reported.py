"""What was reported is remembered only if it was handed over, and one program at a time does it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elsa.alert import reported
from elsa.alert.reported import Reported
from elsa.errors import ConfigError, PrivilegeError, RetryError

STATE = Reported(1, 2, 3, (4, 5), 6, "2026-11-30T05:00:00Z")


def test_it_is_written_if_the_body_succeeds_and_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    assert reported.read(path) is None
    with reported.replacing(path, STATE):
        assert reported.read(path) is None
    assert reported.read(path) == STATE
    assert path.stat().st_mode & 0o777 == 0o600
    with (
        pytest.raises(RetryError),
        reported.replacing(path, STATE._replace(last_job=9)),
    ):
        raise RetryError("the command failed")
    assert reported.read(path) == STATE
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_a_killed_program_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    (tmp_path / "alerts.json.new").symlink_to(tmp_path / "victim")
    with reported.replacing(path, STATE):
        pass
    assert (reported.read(path), (tmp_path / "victim").exists()) == (STATE, False)


def test_only_one_program_reports(tmp_path: Path) -> None:
    path = tmp_path / "new" / "alerts.json"
    with (
        reported.only(path),
        pytest.raises(RetryError, match="another elsa alert is at work"),
        reported.only(path),
    ):
        pass
    with reported.only(path):
        pass


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"last_job": 1}', "\xff", '{"open_jobs": ["x"]}', "null"]
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "alerts.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="remove it, and give --since once"):
        reported.read(path)


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with (
        pytest.raises(PrivilegeError, match="others can write this folder"),
        reported.only(open_folder / "below" / "alerts.json"),
    ):
        pass


def test_it_is_beside_the_warehouse_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "elsa.db"
    assert reported.path_for(db) == tmp_path / "elsa.db-alerts.json"
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/anna/state")
    assert reported.path_for(db) == Path("/home/anna/state/elsa/alerts.json")
