"""The page in Cockpit, served by Debian's cockpit-ws and its bridge, in a real browser, over real
reports with hostile names.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from elsa.cli.report import report
from elsa.store import database
from elsa.text import printable
from tests.support import browser, given, pages, peers

pytestmark = [pytest.mark.browser, pytest.mark.peers]
ROOT = Path(__file__).resolve().parents[3]
WINDOW = f"since={pages.SINCE}&until={pages.UNTIL}".replace(":", "%3A")
VIEWS = ((360, "dark"), (360, "light"), (1024, "dark"), (1600, "light"))
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_BLOCKED = """
    window.blocked = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        window.blocked.push(event.violatedDirective + " " + event.blockedURI);
    });"""


def cockpit() -> tuple[Path, Path, Path]:
    """The server, its bridge and its shared files; where they are nowhere the test skips."""
    bridge = Path(peers.peer("cockpit-bridge"))
    root = bridge.parents[2]
    for server in (root / "usr/lib/cockpit/cockpit-ws", root / "usr/libexec/cockpit-ws"):
        if server.exists():
            return server, bridge, root / "usr/share"
    pytest.skip("cockpit-ws is not there: `make test` fetches it")


@pytest.fixture(scope="module")
def warehouse(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cockpit") / "elsa.db"
    shutil.copy(template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        pages.fill(given.Warehouse(connection))
    database.open_for_writing(path).close()
    return path


@contextmanager
def serving(folder: Path, program: str | None) -> Iterator[str]:
    """Cockpit with the page, and with an elsa-report, which is a script; its address."""
    server, bridge, shared = cockpit()
    (folder / "share/cockpit").mkdir(parents=True)
    (folder / "share/cockpit/elsa").symlink_to(ROOT / "packaging/cockpit/elsa")
    (folder / "bin").mkdir()
    if program is not None:
        script = folder / "bin/elsa-report"
        script.write_text(f"#!/bin/sh\n{program}\n")
        script.chmod(0o755)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    libraries = [
        *(shared.parent / "lib").glob("*-linux-gnu"),
        *(shared.parents[1] / "lib").glob("*-linux-gnu"),
    ]
    environ = os.environ | {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "XDG_DATA_DIRS": f"{folder / 'share'}:{shared}",
        "XDG_DATA_HOME": str(folder / "none"),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "TZ": "UTC",
        # The bridge takes these for running, and so starts neither, which would outlive the test.
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder / 'none'}",
        "SSH_AUTH_SOCK": str(folder / "none"),
    }
    command = [
        *(str(server), "--no-tls", "--address", "127.0.0.1", "--port", str(port)),
        f"--local-session={bridge}",
    ]
    log = (folder / "log").open("wb")
    with log, subprocess.Popen(command, env=environ, stdout=log, stderr=log) as process:
        try:
            _wait(port)
            yield f"http://127.0.0.1:{port}/cockpit/@localhost/elsa/index.html"
        finally:
            process.terminate()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "cockpit-ws does not listen"
            time.sleep(0.1)
        else:
            return


def real(warehouse: Path) -> str:
    code = "from elsa.cli.entry import elsa_report; elsa_report()"
    return (
        f"unset LD_LIBRARY_PATH; export ELSA_DB='{warehouse}'; cd '{ROOT}';"
        f" exec '{sys.executable}' -c '{code}' \"$@\""
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("ws"), real(warehouse)) as found:
        yield found


@contextmanager
def tab(chromium: Any, width: int = 1024, scheme: str = "light") -> Iterator[tuple[Any, list[str]]]:
    """A page of the browser, and what it complained about."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, timezone_id="UTC"
    )
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.add_init_script(_BLOCKED)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type == "error" and "favicon" not in message.location["url"]
            else None
        ),
    )
    try:
        yield page, complaints
    finally:
        context.close()


def opened(page: Any, address: str, view: str) -> None:
    """Go to a view, and wait for the answer of elsa."""
    page.goto("about:blank")
    page.goto(f"{address}#/{view}")
    answered(page)


def answered(page: Any) -> None:
    page.wait_for_selector("#problem:not(:empty), #shown code")


def rows(page: Any) -> list[list[str]]:
    found: list[list[str]] = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map("
        "(row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return found


def said(warehouse: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        report, [*arguments, "--format=json"], env={"ELSA_DB": str(warehouse), "TZ": "UTC"}
    )
    assert done.exit_code == 0, done.output
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_the_views_show_the_reports(chromium: Any, address: str, warehouse: Path) -> None:
    window = [f"--since={pages.SINCE}", f"--until={pages.UNTIL}"]
    with tab(chromium) as (page, complaints):
        opened(page, address, f"jobs?{WINDOW}")
        jobs = said(warehouse, "jobs", *window, "--sort=-cpu_s")
        assert [row[0] for row in rows(page)] == [str(row["job_id"]) for row in jobs["rows"]]
        build = next(row for row in rows(page) if row[1] == "build")
        assert build[4:10] == ["closed", "2026-01-02 12:04:05", "61", "0", "10m20s", "11m33s"]
        text = page.inner_text("main")
        for note in jobs["notes"]:
            assert note in text
        assert "Not complete, or not certain" in text
        page.click("#to-today")
        page.fill("[name=since]", pages.SINCE)
        page.fill("[name=until]", pages.UNTIL)
        page.select_option("[name=by]", "job")
        page.click("button")
        page.wait_for_selector("figure")
        hours = said(warehouse, "timeline", *window, "--by=job", "--top=5", "--step=1h")["rows"]
        names = page.locator("thead th").all_text_contents()
        assert names == ["Hour", *_by_rank(hours)]
        assert len(rows(page)) == len({row["since_at"] for row in hours}) == 24
        assert page.locator("figure rect[x]").count() == sum(1 for row in hours if row["cpu_s"])
        assert complaints == []


def _by_rank(hours: list[dict[str, Any]]) -> list[str]:
    """The names of the series of a timeline, those that are one series last."""
    names = {row["rank"]: row["name"] for row in hours}
    return [names[rank] for rank in sorted(names, key=lambda rank: (rank is None, rank))]


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_nothing_is_blocked_runs_or_is_wider_than_the_screen(
    chromium: Any, address: str, width: int, scheme: str
) -> None:
    axe = browser.axe()
    with tab(chromium, width, scheme) as (page, complaints):
        for view in (f"today?{WINDOW}&by=job", f"jobs?{WINDOW}"):
            opened(page, address, view)
            name = pages.HOSTILE[:20] if view.startswith("jobs") else "postgresql"
            assert name in page.inner_text("main")
            fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert page.evaluate(fits), view
            assert page.locator("img, [onerror], [onload], main script").count() == 0
            assert page.evaluate("window.blocked") == []
            dark = page.evaluate("document.documentElement.classList.contains('dark')")
            assert dark == (scheme == "dark")
            page.evaluate(axe)
            found = page.evaluate(
                f"axe.run(document, {{runOnly: {_RULES}}}).then((result) => result.violations.map("
                "(each) => each.id + ': ' + each.nodes[0].html))"
            )
            assert found == [], view
        assert complaints == []


def test_a_command_is_one_line_that_a_shell_reads_as_it_was_meant(
    chromium: Any, address: str
) -> None:
    with tab(chromium) as (page, _):
        opened(page, address, "jobs")
        for text in ("a", "ü '$(id)", "\x1b[201~\nid", "\u202e'!\\😀", ""):
            word = page.evaluate("quoted", text)
            assert word.isprintable()
            script = f"printf %s {word}"
            read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
            assert read.decode() == text


def test_what_is_not_printable_is_spelled_out_as_elsa_does(chromium: Any, address: str) -> None:
    with tab(chromium) as (page, complaints):
        opened(page, address, "jobs")
        for text in ("a ü 😀", "\x1b\x85", "\u202e\u061c\u00ad\U000e0041", "\u2028\xa0\ufeff"):
            assert page.evaluate("plain", text) == printable(text)
        opened(page, address, "constructor")
        assert page.evaluate("document.body.className") == "today"
        assert complaints == []


def test_views_and_filters_are_reached_by_keyboard(chromium: Any, address: str) -> None:
    with tab(chromium) as (page, _):
        opened(page, address, f"today?{WINDOW}")
        for _turn in range(2):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("body.jobs")
        page.focus("[name=since]")
        page.keyboard.type(pages.SINCE)
        page.select_option("[name=kind]", "cron")
        page.keyboard.press("Enter")
        page.wait_for_url("**kind=cron*")
        answered(page)
        assert {row[1] for row in rows(page)} == {"backup"}


def test_the_scheme_of_cockpit_comes_before_that_of_the_browser(
    chromium: Any, address: str
) -> None:
    with tab(chromium, scheme="light") as (page, _):
        opened(page, address, "jobs")
        page.evaluate("localStorage.setItem('shell:style', 'dark')")
        page.reload()
        assert page.evaluate("document.documentElement.className") == "dark"


def test_errors_of_elsa_are_shown_as_its_line(chromium: Any, address: str) -> None:
    with tab(chromium) as (page, _):
        opened(page, address, "jobs?since=<b>soon")
        problem = page.text_content("#problem")
        assert problem.startswith("--since: cannot read the time '<b>soon'; write for example")
        assert page.locator("#problem b").count() == 0


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (None, "elsa-report is not on this host. Install ELSA."),
        ("echo '{'", "elsa printed something that is no JSON report."),
        ("echo 'elsa-report: first' >&2; echo 'elsa-report: last' >&2; exit 1", "last"),
    ],
    ids=["missing", "broken", "failed"],
)
def test_what_is_no_report_is_said(
    chromium: Any, tmp_path: Path, program: str | None, problem: str
) -> None:
    with serving(tmp_path, program) as address, tab(chromium) as (page, _):
        opened(page, address, "today")
        assert page.text_content("#problem") == problem
