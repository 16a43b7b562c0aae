"""What the shell offers after Tab, asked as bash, zsh and fish ask: through the environment."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elsa.cli import complete, main
from tests.support.postgres import Server

ELSA = [sys.executable, "-W", "error", "-c", "from elsa.cli.main import elsa; elsa()"]


def offered(line: str, db: Path | str) -> list[str]:
    words = line.split(" ")
    environment = os.environ | {
        "_ELSA_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "ELSA_DB": str(db),
    }
    done = subprocess.run(ELSA, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [text.partition(",")[2] for text in done.stdout.split()]


@pytest.fixture(scope="module")
def db(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sqlite3

    path = Path(shutil.copy(template, tmp_path_factory.mktemp("complete") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("insert into host values (1, 'm', 'h')")
        connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
        for number, name in enumerate(["nightly", "nightly", "night x", "day"], start=1):
            connection.execute(
                "insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself)"
                " values (?, 1, ?, 0, 0, 0)",
                (number, name),
            )
        connection.execute("insert into job_tag values (1, 'project', 'web')")
        connection.execute("insert into comm values (1, 'cc1plus')")
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("elsa rep", ["report"]),
        ("elsa report job ", ["day", "nightly"]),
        ("elsa report jobs --host ", ["h"]),
        ("elsa report commands --job 2", ["2"]),
        ("elsa report commands --job day,ni", ["day,nightly"]),
        ("elsa report jobs --tag p", ["project=web"]),
        ("elsa report last --command cc", ["cc1plus"]),
        ("elsa report jobs --sort cpu_s,-cpu_d", ["cpu_s,-cpu_delay_ns"]),
        ("elsa report jobs --columns +exit_st", ["+exit_status"]),
        ("elsa report jobs --columns +cpu_s,+exit_st", ["+cpu_s,+exit_status"]),
        ("elsa report events --event fork,ex", ["fork,exec", "fork,exit"]),
        ("elsa report jobs --state o", ["open"]),
        ("elsa report jobs --format js", ["json", "jsonl"]),
    ],
)
def test_names_that_fit_are_offered(db: Path, line: str, expected: list[str]) -> None:
    assert offered(line, db) == expected


def test_nothing_is_offered_and_nothing_said_where_the_warehouse_cannot_be_read(
    tmp_path: Path,
) -> None:
    assert offered("elsa report job ", tmp_path / "none.db") == []
    (tmp_path / "other.db").write_bytes(b"no warehouse" * 999)
    assert offered("elsa report job ", tmp_path / "other.db") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("elsa report jobs --host ", ["web1", "web2"]),
        ("elsa report jobs --host web1,w", ["web1,web1", "web1,web2"]),
        ("elsa fleet remove web", ["web1", "web2"]),
        ("elsa report job n", ["night_x", "nightly"]),
        ("elsa report job night_", ["night_x"]),
        ("elsa report job 2", ["2000000007"]),
        ("elsa report jobs --tag p", ["project=web"]),
        ("elsa report users --user a", ["anna"]),
    ],
)
def test_names_of_a_fleet_are_offered(
    postgres: Server, fleet: str, line: str, expected: list[str]
) -> None:
    with postgres.connect(fleet) as connection:
        for name in ("web1", "web2"):
            connection.execute(
                "insert into elsa.host (machine_id, name, version) values (%s, %s, '1')",
                [name, name],
            )
        for host_id, name in ((1, "nightly"), (2, "night_x")):
            connection.execute(
                "insert into elsa.job (host_id, id, boot_id, name, owner_uid, created_at_ns,"
                " closes_itself, kind, digest) values (%s, 7, 1, %s, 0, %s, 0, 'manual', 0)",
                [host_id, name, host_id],
            )
        connection.execute("insert into elsa.job_tag values (1, 7, 'project', 'web')")
        connection.execute("insert into elsa.account values (1, 'user', 1000, 'anna')")
    assert offered(line, postgres.url(fleet)) == expected


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        assert offered("elsa report jobs --host ", f"postgresql://me@127.0.0.1:{port}/elsa") == []
        assert time.monotonic() - started < 8
    # Nor one that is not there.
    assert offered("elsa report jobs --host ", f"postgresql://me@127.0.0.1:{port}/elsa") == []


def test_completing_changes_nothing_in_the_warehouse(db: Path) -> None:
    before = db.read_bytes()
    assert offered("elsa report job nig", db) == ["nightly"]
    # Whoever reads a warehouse first has SQLite make an empty log beside it, and the map of it.
    left = {
        path.name: path.read_bytes()
        for path in db.parent.iterdir()
        if not path.name.endswith("-shm")
    }
    assert left == {db.name: before, f"{db.name}-wal": b""}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_one_that_the_shell_can_read(shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main.group, ["completion", shell])
    assert result.exit_code == 0
    for program in ("elsa", "elsa-job", "elsa-report", "elsa-ingest", "elsa-jobd"):
        assert f"_{program.replace('-', '_').upper()}_COMPLETE={shell}_complete" in result.output
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(result.output)
        subprocess.run([shell, "-n", str(script)], check=True)


def test_every_choice_of_processes_and_jobs_can_be_completed_or_is_free_text() -> None:
    assert set(complete.BY_KIND) <= {
        "job",
        "user",
        "group",
        "command",
        "tty",
        "pid",
        "exit",
        "host",
        "state",
        "tag",
        "kind",
        "event",
    }
    report = main.load("report")
    assert isinstance(report, click.Group)
    for name in ("jobs", "commands", "last"):
        command = report.get_command(click.Context(report), name)
        assert command is not None
        for parameter in command.params:
            if parameter.name in complete.BY_KIND:
                assert parameter._custom_shell_complete is complete.BY_KIND[parameter.name]
