"""`elsa alert`: alerts reach the command once, and again if it failed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from elsa.errors import EXIT_CONFIG, EXIT_RETRY

ELSA = [sys.executable, "-W", "error", "-c", "from elsa.cli.main import elsa; elsa()", "alert"]


class Host:
    """A warehouse with a configuration."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.db = folder / "elsa.db"
        with closing(sqlite3.connect(self.db)) as new, closing(sqlite3.connect(template)) as old:
            old.backup(new)
        self.config = folder / "elsa.toml"
        self.config.write_text("")
        assert self.alert().stdout == "", "the first call remembers where the warehouse stands"

    def gap(self) -> None:
        """One more loss of data."""
        with closing(sqlite3.connect(self.db)) as connection, connection:
            connection.execute("insert into gap (kind, note) values ('overrun', 'x'';$(touch y)')")

    def alert(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environ = {"ELSA_CONFIG": str(self.config), "ELSA_DB": str(self.db), **environ}
        return subprocess.run(
            [*ELSA, *words],
            env=os.environ | environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def host(tmp_path: Path, template: Path) -> Host:
    return Host(tmp_path, template)


def test_without_a_command_alerts_are_printed_once(host: Host) -> None:
    host.gap()
    first = host.alert("--format", "json")
    assert (first.returncode, first.stderr) == (0, "")
    assert [alert["kind"] for alert in json.loads(first.stdout)["alerts"]] == ["gap"]
    again = host.alert()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_print_remembers_nothing(host: Host) -> None:
    host.config.write_text('alert_command = ["false"]\n')
    host.gap()
    outputs = [host.alert("--print").stdout for _ in range(2)]
    assert outputs[0] == outputs[1] != ""
    assert outputs[0].splitlines()[0].endswith(": 1 gap")


def test_what_a_failed_command_got_is_reported_again(host: Host) -> None:
    host.gap()
    failed = host.alert(ELSA_ALERT_COMMAND="false")
    assert (failed.returncode, failed.stdout) == (EXIT_RETRY, "")
    assert failed.stderr == (
        "elsa: alert_command false failed: exit status 1; 1 alert will be reported next time\n"
    )
    host.gap()
    assert "2 gaps" in host.alert().stdout


def test_two_at_once_report_once(host: Host) -> None:
    host.gap()
    host.config.write_text('alert_command = ["sh", "-c", "cat >> got; sleep 2"]\n')
    results = []
    threads = [threading.Thread(target=lambda: results.append(host.alert())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.returncode for done in results) == [0, EXIT_RETRY]
    assert len((host.folder / "got").read_text().splitlines()) == 1


def test_a_failed_unit_is_reported_with_the_reason(host: Host) -> None:
    why = {"MONITOR_SERVICE_RESULT": "exit-code", "MONITOR_EXIT_STATUS": "78"}
    done = host.alert("--unit", "elsa-jobd.service\n$(x)", **why)
    assert done.stdout.splitlines()[0].endswith(": 1 failed unit")
    assert done.stdout.splitlines()[2] == "unit elsa-jobd.service\\n$(x) failed (exit-code, 78)"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('alert_growth = "cpu"', "alert_growth: cannot read cpu"),
        ('alert_kinds = "corn"', "alert_kinds: no job is of kind corn"),
        ('alert_budget = { x = "cpu=1" }', "alert_budget x: cannot read cpu=1"),
        ("alert_budget = 5", "a table [alert_budget] of the configuration file is needed"),
        ("alert_command = [1]", "a list of words is needed"),
        ('alert_command = [""]', "a list of words is needed"),
    ],
)
def test_wrong_settings_are_errors_in_one_line(host: Host, text: str, error: str) -> None:
    host.config.write_text(text)
    done = host.alert()
    assert (done.returncode, len(done.stderr.splitlines())) == (EXIT_CONFIG, 1)
    assert error in done.stderr


def test_state_that_cannot_be_written_is_an_error_before_the_command_runs(host: Host) -> None:
    host.gap()
    host.config.write_text('alert_command = ["touch", "ran"]\n')
    done = host.alert("--state", "/proc/alerts.json")
    assert (done.returncode != 0, len(done.stderr.splitlines())) == (True, 1)
    assert not (host.folder / "ran").exists()


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[bytes]]]:
    """A local HTTP server and what it was sent; it refuses what is sent to /refused."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500 if self.path == "/refused" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def documented(word: str) -> str:
    """The line of docs/operations.md that sets alert_command to a command with this word."""
    text = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("alert_command")]
    (line,) = [line for line in commands if word in line]
    return line


def test_the_documented_webhook_works_and_a_refusal_is_a_failure(
    host: Host, webhook: tuple[str, list[bytes]]
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    address, received = webhook
    line = documented("https://").replace(
        "https://chat.example.org/hooks/elsa", f"{address}/refused"
    )
    host.config.write_text(line)
    host.gap()
    refused = host.alert()
    assert (refused.returncode, "500" in refused.stderr) == (EXIT_RETRY, True)
    host.config.write_text(line.replace("/refused", ""))
    assert host.alert().returncode == 0
    assert [json.loads(body)["alerts"][0]["kind"] for body in received] == ["gap", "gap"]


def test_the_documented_mail_is_sent_with_a_subject_and_no_shell_sees_a_name(host: Host) -> None:
    """Through a program that stands in for mail(1)."""
    programs = host.folder / "bin"
    programs.mkdir()
    fake = programs / "mail"
    fake.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done > args\ncat > body\n')
    fake.chmod(0o755)
    host.config.write_text(documented("| mail "))
    host.gap()
    path = f"{programs}:{os.environ['PATH']}"
    assert host.alert(PATH=path).returncode == 0
    flag, subject, to = (host.folder / "args").read_text().splitlines()
    assert (flag, subject.endswith(": 1 gap"), to) == ("-s", True, "root")
    assert "x';$(touch y)" in (host.folder / "body").read_text()
    assert not (host.folder / "y").exists()


@pytest.fixture
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """An SMTP server that takes one mail, and the lines that it was sent."""
    lines: list[str] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rw", newline="\r\n") as stream:

            def answer(text: str) -> None:
                stream.write(f"{text}\n")
                stream.flush()

            answer("220 ready")
            in_data = False
            for line in stream:
                lines.append(line.rstrip("\r\n"))
                in_data = in_data and lines[-1] != "."
                if in_data:
                    continue
                word = lines[-1].upper()
                in_data = word == "DATA"
                answer("354 go on" if in_data else "221 bye" if word == "QUIT" else "250 ok")
                if word == "QUIT":
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], lines
        thread.join(timeout=10)


def test_the_documented_mail_through_smtp_arrives(
    host: Host, mail_server: tuple[int, list[str]]
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    port, lines = mail_server
    host.config.write_text(
        documented("smtp://").replace("smtp://localhost", f"smtp://127.0.0.1:{port}")
    )
    host.gap()
    done = host.alert()
    assert (done.returncode, done.stderr) == (0, "")
    assert "RCPT TO:<root@localhost>" in lines
    (subject,) = [line for line in lines if line.startswith("Subject: ")]
    assert subject.endswith(": 1 gap")
    assert any("x';$(touch y)" in line for line in lines)
