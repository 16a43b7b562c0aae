"""The pages in a real browser: nothing is blocked or runs that should not, all of it can be used by
keyboard, on a small screen and by people with disabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import browser
from tests.support.pages import SINCE, UNTIL
from tests.unit.web.test_server import connected, free_port, serving

pytestmark = pytest.mark.browser
WINDOW = f"since={SINCE}&until={UNTIL}"
PAGES = (
    f"/?{WINDOW}&by=job",
    f"/usage?{WINDOW}&by=hour",
    "/runs",
    "/jobs?sort=cpu_s",
    "/job/9",
    "/job/10/time",
    "/job/10/tree",
    "/job/11",
    f"/processes?{WINDOW}",
    "/bill?month=2026-01",
    f"/trust?{WINDOW}",
    "/jobs?kind=%3Cscript%3E",
)
VIEWS = ((360, "dark"), (360, "light"), (1024, "dark"), (1600, "light"))
# axe takes long: each colour scheme and each layout once.
_JUDGED = (VIEWS[0], VIEWS[-1])
_WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_BLOCKED = """
    window.blocked = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        window.blocked.push(event.violatedDirective + " " + event.blockedURI);
    });"""


class Tab(NamedTuple):
    """A page of the browser, with what it complained about."""

    page: Any
    address: str
    complaints: list[str]

    def open(self, path: str) -> None:
        """Go to a page of ours."""
        self.page.goto(self.address + path)

    def show(self, width: int, scheme: str) -> None:
        """Show the page that is open in this width and colour scheme."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)


@pytest.fixture(scope="module")
def chromium(filled: Path) -> Iterator[tuple[Any, str]]:
    """A browser, and the address of the pages."""
    port = free_port()
    with browser.chromium() as opened, serving(filled, "--port", str(port)):
        connected(port).close()
        yield opened, f"http://127.0.0.1:{port}"


@pytest.fixture
def wide(chromium: tuple[Any, str]) -> Iterator[Tab]:
    """A wide tab."""
    yield from _tab(chromium, 1600, "light")


def _tab(chromium: tuple[Any, str], width: int, scheme: str) -> Iterator[Tab]:
    opened, address = chromium
    context = opened.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=address
    )
    complaints: list[str] = []
    page = context.new_page()
    page.add_init_script(_BLOCKED)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("console", lambda message: complaints.append(message.text))
    yield Tab(page, address, complaints)
    context.close()


def test_pages_fit_the_screen_and_nothing_is_blocked_or_runs(wide: Tab) -> None:
    """The names in them are hostile."""
    requested: list[str] = []
    wide.page.on("request", lambda request: requested.append(request.url))
    for path in PAGES:
        wide.open(path)
        for view in VIEWS:
            wide.show(*view)
            width, room = wide.page.evaluate(_WIDTHS)
            assert width <= room, (path, view)
            assert wide.page.evaluate("window.blocked") == [], (path, view)
        assert wide.page.locator("img[src=x], [onerror], [onload]").count() == 0, path
    assert [url for url in requested if not url.startswith(wide.address)] == []
    # A refused request is reported by the browser itself.
    assert [text for text in wide.complaints if "status of 400" not in text] == []


def test_pages_break_no_rule_of_wcag(wide: Tab) -> None:
    axe = browser.axe()
    for path in PAGES:
        wide.open(path)
        wide.page.evaluate(axe)
        for view in _JUDGED:
            wide.show(*view)
            assert _broken_rules(wide.page) == [], (path, view)


def _broken_rules(page: Any) -> list[str]:
    found: list[str] = page.evaluate(
        f"axe.run(document, {{runOnly: {_RULES}}}).then((result) => result.violations.map("
        "(each) => each.id + ': ' + each.nodes[0].html))"
    )
    return found


def test_a_step_of_a_chart_is_reached_and_followed_by_keyboard(wide: Tab) -> None:
    wide.open(f"/?{WINDOW}&by=job")
    wide.page.keyboard.press("Tab")
    assert wide.page.evaluate("document.activeElement.textContent") == "To the content"
    wide.page.keyboard.press("Enter")
    for _ in range(60):
        wide.page.keyboard.press("Tab")
        if wide.page.evaluate("document.activeElement.closest('svg') !== null"):
            break
    label = wide.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert " to " in label
    with wide.page.expect_navigation():
        wide.page.keyboard.press("Enter")
    assert wide.page.locator("#f-since").input_value() != SINCE
    assert wide.page.locator("figure.chart").count() == 1


def test_a_form_keeps_what_was_chosen(wide: Tab) -> None:
    wide.open("/jobs")
    wide.page.fill("#f-job", "backup")
    wide.page.select_option("#f-state", "failed")
    with wide.page.expect_navigation():
        wide.page.click("form button")
    assert wide.page.locator("#f-job").input_value() == "backup"
    assert wide.page.locator("#f-state").input_value() == "failed"
    assert wide.page.locator("tbody tr").count() == 1


def test_a_command_is_copied(wide: Tab) -> None:
    wide.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    wide.open("/jobs")
    wide.page.click("button.copy")
    wide.page.wait_for_selector("text=Copied")
    command = wide.page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("elsa report jobs --limit 25")


def test_a_flame_graph_of_its_own_can_be_zoomed(wide: Tab) -> None:
    wide.open("/job/10/flame.svg")
    assert (
        wide.page.evaluate("getComputedStyle(document.getElementById('bar')).display") == "inline"
    )
    before = wide.page.evaluate("document.querySelector('g.f rect').getAttribute('width')")
    assert float(before) > 1000
    wide.page.locator("g.f").last.click()
    assert wide.complaints == []


def test_on_paper_there_are_tables_and_no_forms(chromium: tuple[Any, str]) -> None:
    """Also those of charts, and black on white where the screen is dark."""
    for tab in _tab(chromium, 800, "dark"):
        tab.page.emulate_media(media="print")
        tab.open(f"/?{WINDOW}&by=job")
        assert not tab.page.locator("form").is_visible()
        assert not tab.page.locator("header").is_visible()
        assert tab.page.locator("table").count() == 3
        for table in tab.page.locator("table").all():
            assert table.is_visible()
        colours = tab.page.evaluate(
            "[...new Set([...document.querySelectorAll('body, section, tr, td, th')].flatMap("
            "(each) => [getComputedStyle(each).backgroundColor, getComputedStyle(each).color]))]"
        )
        assert set(colours) == {
            "rgb(255, 255, 255)", "rgba(0, 0, 0, 0)", "rgb(250, 250, 250)",
            "rgb(0, 0, 0)", "rgb(51, 51, 51)",
        }  # fmt: skip
        for path in PAGES:
            tab.open(path)
            width, room = tab.page.evaluate(_WIDTHS)
            assert width <= room, path


# What is seen where the first second was written.
_COVERING = """
    (() => {
        const first = document.querySelector(".tick").getBoundingClientRect();
        return document.elementFromPoint(first.x + 1, first.y + 1).textContent;
    })()"""
# The latest runs come when the file is there.
_SLOW = """
import time
from pathlib import Path
from elsa.report import runs
made = runs.runs
def late(*arguments):
    while not Path({ready!r}).exists():
        time.sleep(0.05)
    return made(*arguments)
runs.runs = late
"""


def test_a_slow_page_shows_that_it_is_being_made(
    chromium: tuple[Any, str], filled: Path, tmp_path: Path
) -> None:
    """First without a script, then by the rules of WCAG, which are a script."""
    opened, _ = chromium
    ready = tmp_path / "ready"
    port = free_port()
    arguments = ("--port", str(port), "--time-limit", "60")
    with serving(filled, *arguments, before=_SLOW.format(ready=str(ready))):
        connected(port).close()
        for scripts in (False, True):
            ready.unlink(missing_ok=True)
            context = opened.new_context(java_script_enabled=scripts)
            page = context.new_page()
            page.add_init_script(_BLOCKED)
            page.goto(f"http://127.0.0.1:{port}/runs", wait_until="commit")
            page.get_by_text("Working. After 60 s").wait_for()
            assert page.get_by_role("status").is_visible()
            assert page.locator("#f-job").is_visible()
            assert page.locator("table").count() == 0
            page.get_by_text("2 s", exact=True).wait_for()
            if scripts:
                assert page.evaluate(_COVERING) == "2 s"
                page.evaluate(browser.axe())
                assert _broken_rules(page) == []
            ready.touch()
            page.locator("table").wait_for()
            page.locator(".working").wait_for(state="hidden")
            if scripts:
                assert page.evaluate("window.blocked") == []
            context.close()


def test_pages_work_without_a_script(chromium: tuple[Any, str]) -> None:
    opened, address = chromium
    context = opened.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/runs")
    assert page.locator("tbody tr").count() == 3
    assert not page.locator("button.copy").first.is_visible()
    page.click("text=All jobs")
    assert page.locator("tbody tr").count() > 8
    context.close()
