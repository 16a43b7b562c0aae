"""The command gets all of it, is run by no shell, and cannot hang or hide that it failed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from elsa.alert import hook
from elsa.alert.findings import Alert
from elsa.errors import RetryError

ALERTS = [
    Alert("failed", "job 1 $(touch hacked) failed", {"name": "a\n$(touch hacked)\"';`touch x`"}),
    Alert("gap", "data may be missing", {}),
    Alert("failed", "job 2 failed", {}),
]
SAVE = [
    sys.executable, "-S", "-c",
    "import os, sys; open('got', 'w').write(sys.stdin.read());"
    "open('env', 'w').write(os.environ['ELSA_SUMMARY'] + '|' + os.environ['ELSA_TEXT'])",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_gets_json_and_text_and_no_shell_sees_a_name(folder: Path) -> None:
    hook.run(SAVE, ALERTS, "web1")
    got = json.loads((folder / "got").read_text())
    assert [alert["kind"] for alert in got["alerts"]] == ["failed", "gap", "failed"]
    assert got["alerts"][0]["name"] == ALERTS[0].facts["name"]
    summary, text = (folder / "env").read_text().split("|")
    assert summary == "elsa on web1: 1 gap, 2 failed jobs"
    assert text == got["text"] == f"{summary}\n\n" + "".join(f"{a.text}\n" for a in ALERTS)
    assert {path.name for path in folder.iterdir()} == {"env", "got"}


def test_a_shell_that_quotes_the_text_runs_nothing_in_it(folder: Path) -> None:
    hook.run(["sh", "-c", 'printf "%s" "$ELSA_TEXT" > got'], ALERTS, "web1")
    assert "$(touch hacked)" in (folder / "got").read_text()
    assert [path.name for path in folder.iterdir()] == ["got"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["false"], "exit status 1"),
        (["sh", "-c", "echo one; echo two >&2; exit 3"], "exit status 3: two"),
        (["sh", "-c", "kill -9 $$"], "signal 9"),
        (["/no/such"], "No such file or directory"),
        (["/etc/passwd"], "Permission denied"),
    ],
)
def test_a_command_that_fails_is_named_in_one_line(command: list[str], why: str) -> None:
    with pytest.raises(RetryError) as caught:
        hook.run(command, ALERTS, "web1")
    expected = f"alert_command {command[0]} failed: {why}; 3 alerts will be reported next time"
    assert str(caught.value) == expected


def test_a_command_that_hangs_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(hook, "TIMEOUT_S", 0.5)
    with pytest.raises(RetryError, match=r"took more than 0\.5 s, and was killed"):
        hook.run(["sh", "-c", "trap '' TERM; sleep 60 & echo $! > pid; wait"], ALERTS, "web1")
    child = Path(f"/proc/{(folder / 'pid').read_text().strip()}/stat")
    until_s = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_a_command_that_reads_nothing_or_leaves_a_child_is_no_failure() -> None:
    started_s = time.monotonic()
    hook.run(["sh", "-c", "sleep 3 & exit 0"], ALERTS * 20_000, "web1")
    assert time.monotonic() - started_s < 2.5


def test_the_text_has_an_end(folder: Path) -> None:
    long = Alert("failed", "x" * 10_000, {})
    text = hook.text([long] * 1000, "web1")
    assert len(text) < (hook.MOST_LINES + 2) * (hook.LONGEST + 1)
    assert text.splitlines()[-1] == "and 950 more"
