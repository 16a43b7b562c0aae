"""Who is let in, what is refused, and what an answer allows a browser."""

from __future__ import annotations

import base64
import grp
import hashlib
import logging
import pwd
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elsa.report import runs
from elsa.web import identity, pages, progress, server
from elsa.web.identity import Reader
from tests.unit.web.conftest import Client

# As in /proc/net/tcp: 127.0.0.1:5000 to 127.0.0.1:8421, seen from both ends, of user 1001 and root.
_LINE = "  0: {} {} {} 00000000:00000000 00:00000000 00000000  {}        0 {} 1 0 20 4 30 10 -1"
_CLIENT, _SERVER = "0100007F:1388", "0100007F:20E5"
_MAPPED = "0000000000000000FFFF00000100007F:1388", "0000000000000000FFFF00000100007F:20E5"
HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout"


def lines(client_state: str = "01", inode: str = "77") -> list[str]:
    return [
        HEADING,
        _LINE.format(_SERVER, _CLIENT, "01", 0, "78"),
        _LINE.format(_CLIENT, _SERVER, client_state, 1001, inode),
    ]


def test_the_owner_of_a_connection_is_who_has_its_other_end() -> None:
    assert identity.owner(lines(), 5000, 8421) == 1001
    mapped = [HEADING, _LINE.format(*_MAPPED, "01", 1002, "79")]
    assert identity.owner(mapped, 5000, 8421) == 1002
    assert identity.owner(lines(), 5001, 8421) is None
    assert identity.owner(lines(), 5000, 8422) is None


@pytest.mark.parametrize(("state", "inode"), [("06", "0"), ("05", "0"), ("08", "77"), ("01", "0")])
def test_a_connection_that_was_closed_has_no_owner(state: str, inode: str) -> None:
    """The kernel says root of those."""
    assert identity.owner(lines(state, inode), 5000, 8421) is None


def test_root_manages_and_a_user_that_is_not_known_does_not_come_in() -> None:
    assert identity.named("root", "no such group") == Reader("root", 0, manages=True)
    assert identity.named("no such user", "root") is None
    assert identity.named("a\0b", "root") is None
    nobody = identity.named("nobody", "root")
    assert nobody is not None
    assert not nobody.manages
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
    assert identity.named("nobody", group) == nobody._replace(manages=True)


def test_a_proxy_names_the_user_in_one_header_alone() -> None:
    identify = server.by_header("X-Remote-User", "elsa")
    assert identify({"HTTP_X_REMOTE_USER": "root"}) == Reader("root", 0, manages=True)
    for environ in (
        {},
        {"HTTP_X_REMOTE_USER": ""},
        {"HTTP_X_USER": "root"},
        {"REMOTE_USER": "root"},
    ):
        assert identify(environ) is None
    # waitress joins repeated headers like this.
    assert identify({"HTTP_X_REMOTE_USER": "root, nobody"}) is None


def test_over_a_port_no_header_names_a_user() -> None:
    identify = server.by_kernel("elsa")
    assert identify({"HTTP_X_REMOTE_USER": "root", "REMOTE_USER": "root"}) is None
    assert identify({"REMOTE_PORT": "x", "SERVER_PORT": "80"}) is None


URLS = (
    "/",
    "/jobs",
    "/job/9",
    "/job/9/flame.svg",
    "/static/elsa.css",
    "/metrics",
    "/none",
    "/jobs?kind=x",
)


@pytest.mark.parametrize("url", URLS)
def test_every_answer_forbids_what_the_pages_do_not_need(client: Client, url: str) -> None:
    for reader_client in (client(), client(None)):
        headers = reader_client.get(url).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] in ("no-store", "no-cache")
        assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    "url", ["/processes?command={}", "/jobs?since={}", "/processes?cmdline={}", "/bill?by=tag:{}"]
)
def test_nothing_to_copy_has_what_a_terminal_takes_for_keys(client: Client, url: str) -> None:
    given = "x%1B%5B201~%0Aid%20%3E/tmp/f%0Ay%E2%80%AE"
    text = client().get(url.format(given)).text
    for command in re.findall("<code>(.*?)</code>", text, re.DOTALL):
        assert command.isprintable()
    assert "<code>" in text or "cannot read" in text
    answer = client().get(url.format("a%00b"))
    assert (answer.status_code, answer.text) == (400, "an address cannot have a NUL byte\n")


def test_the_picture_may_run_its_own_script_alone(client: Client) -> None:
    answer = client().get("/job/10/flame.svg")
    policy = answer.headers["Content-Security-Policy"]
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", answer.text, re.DOTALL)
        text = text.removeprefix("<![CDATA[").removesuffix("]]>")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


@pytest.mark.parametrize("url", ["/", "/jobs", "/static/elsa.css", "/metrics"])
@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
)
def test_only_get_and_head_are_answered(client: Client, url: str, method: str) -> None:
    assert client().open(url, method=method).status_code == 405


def test_head_has_no_body(client: Client) -> None:
    answer = client().head("/jobs")
    assert (answer.status_code, answer.data) == (200, b"")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8421", 200),
        ("LocalHost:1", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:80", 421),
        ("[::1]", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_host_are_served(client: Client, host: str, status: int) -> None:
    for url in ("/jobs", "/static/elsa.css"):
        assert client().get(url, headers={"Host": host}).status_code == status


@pytest.mark.parametrize("url", URLS)
def test_whom_nobody_knows_sees_nothing(client: Client, url: str) -> None:
    answer = client(None).get(url)
    assert answer.status_code == 403
    assert "<" not in answer.text


def test_who_is_refused_reads_which_option_decides(client: Client) -> None:
    assert "--user-header" in client(None).get("/jobs").text
    assert "--host-name NAME" in client().get("/jobs", headers={"Host": "other"}).text


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.ERROR):
        yield caplog


def test_what_should_not_happen_is_logged_and_not_shown(
    client: Client, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a secret of the program")

    monkeypatch.setattr(runs, "runs", fail)
    answer = client().get("/runs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a secret of the program" in log.text


def test_every_page_is_linked_and_every_file_is_ours(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUICK_S", 0.0)  # so that the page shows its progress
    text = client().get("/runs").text
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        assert client().get(name).status_code == 200
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    static = Path(pages.__file__).parent / "static"
    served = {"/static/" + path.name for path in static.iterdir()}
    assert served == {*re.findall(r'"(/static/[^"]+)"', text)}
