"""Each page shows what its command prints, to each reader what he may see, and names as text."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from elsa.cli.main import group
from elsa.kernel import accounts
from elsa.report.query import warehouse
from elsa.store import database, own_records
from elsa.web import asked, charts, job_pages, reading
from elsa.web.identity import Reader
from tests.support import given
from tests.support.pages import ANNA, BOB, HOSTILE, SINCE, UNTIL
from tests.unit.web.conftest import MANAGER, Client

WINDOW = f"since={SINCE}&until={UNTIL}"
PAGES = (
    f"/?{WINDOW}",
    f"/?{WINDOW}&by=job",
    f"/?{WINDOW}&by=user",
    f"/?{WINDOW}&by=command",
    f"/usage?{WINDOW}&sort=processes",
    f"/usage?{WINDOW}&by=hour",
    f"/usage?{WINDOW}&by=day&user=root",
    f"/usage?{WINDOW}&by=kind",
    "/runs",
    "/runs?kind=cron&sort=cpu_s",
    "/jobs",
    "/jobs?kind=cron&limit=2",
    f"/jobs?{WINDOW}&user=root&sort=-name",
    "/jobs?state=failed",
    "/job/9",
    "/job/10",
    "/job/11",
    "/job/10/time",
    "/job/1/time",
    "/job/10/tree",
    "/job/1/tree",
    f"/processes?{WINDOW}",
    f"/processes?{WINDOW}&exit=nonzero",
    "/processes?job=build&since=2026-01-01&command=cc*",
    "/bill?month=2026-01",
    "/bill?month=2026-01&by=job",
    f"/trust?{WINDOW}",
    "/trust",
)


class Parsed(HTMLParser):
    """The tables of a page, its commands, and what could load or run anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.commands: list[str] = []
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        elif tag == "code":
            self.commands.append("")
        self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self._in and self.rows[-1]:
            self.rows[-1][-1] += data
        if "code" in self._in:
            self.commands[-1] += data


def read(client: FlaskClient, url: str) -> Parsed:
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer.text)
    return Parsed(answer.text)


def printed(command: str) -> str:
    program, *words = shlex.split(command)
    assert program == "elsa"
    done = CliRunner().invoke(group, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("url", PAGES)
def test_each_row_of_a_page_is_a_line_that_its_commands_print(client: Client, url: str) -> None:
    page = read(client(), url)
    commands = [command for command in page.commands if "report flame" not in command]
    assert commands
    lines = {
        " ".join(line.split()) for command in commands for line in printed(command).splitlines()
    }
    rows = [" ".join(" ".join(row).split()) for row in page.rows if row]
    assert rows or "/runs" not in url
    assert [row for row in rows if row not in lines] == []


def test_a_page_has_figures_of_a_job(client: Client) -> None:
    text = " ".join(read(client(), "/job/9").text.split())
    assert "cpu 34.90 s" in text
    assert "wall 58.00 s" in text
    # Six earlier runs, each quicker.
    assert "wall last 1 58.00 s 58.00 s +22.1 worse" in text
    assert "Against earlier runs" not in read(client(), "/job/8").text


def test_a_chart_has_a_bar_for_each_step_that_leads_to_it(client: Client) -> None:
    page = client().get(f"/?{WINDOW}&by=job").text
    steps = re.findall(r'<a href="(\?[^"]*since=[^"]*)" aria-label="([^"]+)"', page)
    assert len(steps) == 21
    assert "postgresql (service)" in page
    href = steps[8][0].replace("&amp;", "&")
    step = read(client(), f"/{href}")
    assert "cc1" in step.text


def test_a_chart_of_hours_has_those_that_its_table_has(client: Client) -> None:
    url = f"/usage?{WINDOW}&by=hour"
    # Of the day, 21 hours from the first to the last in which something ended.
    for more, bars in (("", 21), ("&limit=3", 3), ("&limit=3&sort=hour", 0)):
        text = client().get(url + more).text
        assert text.count('class="hit"') == bars
    *_, newest = re.findall(r'<a href="(\?[^"]*by=user[^"]*)"', client().get(url).text)
    users = read(client(), f"/usage{unescape(newest)}")
    assert [row[0] for row in users.rows if row] == [str(ANNA)]


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("/jobs?kind=cron", "jobs --kind cron"),
        ("/bill?month=2026-01&by=job", "bill --month 2026-01 --by job"),
        (f"/processes?{WINDOW}&user={BOB}", f"last --since {SINCE} --until {UNTIL} --user {BOB}"),
    ],
)
def test_a_download_is_what_the_command_prints(
    client: Client, filled: Path, form: str, url: str, command: str
) -> None:
    answer = client().get(f"{url}&format={form}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    expected = printed(f"elsa report {command} --format {form} --limit 10000 --db {filled}")
    if form == "json":
        # On the command line rows stand in an object with what the notes say.
        assert answer.text.strip()[1:-1].strip() in expected
    else:
        assert answer.text == expected


@pytest.mark.parametrize("url", PAGES)
def test_hostile_names_are_text(client: Client, url: str) -> None:
    answer = client().get(url)
    page = Parsed(answer.text)
    assert "\x1b" not in answer.text
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    assert not page.tags & {"img"} or url.endswith("/tree")
    assert "b" not in page.tags
    assert "<svg/onload" not in answer.text


def test_a_hostile_name_is_shown_and_its_links_lead_to_it(client: Client) -> None:
    page = read(client(), "/job/11")
    shown = HOSTILE.replace("\x1b", "\\x1b")
    assert shown in page.text
    (row,) = [row for row in read(client(), f"/jobs?job={quote('manual:' + HOSTILE)}").rows if row]
    assert row[1] == shown
    assert "<b>x</b>" in read(client(), "/processes?since=2026-01-01&command=%3Cb%3Ex%3C/b%3E").text


def linked(client: FlaskClient, url: str, beginning: str) -> dict[str, str]:
    """The texts of the links of a page to addresses with this beginning, and these addresses."""
    found = re.findall(r'<a href="([^"]*)">([^<]*)</a>', client.get(url).text)
    return {unescape(text): unescape(href) for href, text in found if href.startswith(beginning)}


def test_a_command_of_a_job_leads_to_its_processes_in_this_job(client: Client) -> None:
    found = linked(client(), "/job/10", "/processes?")
    page = read(client(), found["cc1"] + "&limit=100")
    assert (
        len([row for row in page.rows if "cc1" in row]) == len(list(filter(None, page.rows))) == 60
    )
    # The other cron jobs have a shell too.
    page = read(client(), linked(client(), "/job/9", "/processes?")["sh"])
    assert ["sh" in row for row in page.rows if row] == [True]


ODD = (
    "*",
    "[a-z]",
    "a?c",
    "\\\\",
    "\\xe2\\x80\\xaegnp",
    "a\\x0ab",
    'a,b"c',
    " blank ",
    "]",
    "[",
    "^x",
)


@pytest.fixture
def oddly(template: Path, tmp_path: Path) -> Path:
    """A warehouse with jobs and commands whose names mean other things as patterns or ids."""
    path = tmp_path / "odd.db"
    shutil.copy(template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        warehouse = given.Warehouse(connection)
        for number, name in enumerate((*ODD, "b", "abc"), 1):
            warehouse.process(number, comm=name)
            warehouse.usage(number, run_ns=1)
        for number, name in enumerate(("*", "7", " blank ", "blank", "a\n", "a"), 1):
            warehouse.job(number, name)
            warehouse.stay(number, number, how=3)
    return path


def test_the_link_of_a_command_leads_to_it_alone(client: Client, oddly: Path) -> None:
    odd = client(db=oddly)
    found = linked(odd, "/processes?since=2026-01-01", "/processes?")
    assert set(ODD) <= found.keys()
    for name in ODD:
        page = read(odd, found[name])
        assert [name in row for row in page.rows if row] == [True]
        (command,) = page.commands
        assert len(printed(command).splitlines()) == len(
            printed(f"{command} --limit 1").splitlines()
        )


def test_all_runs_of_a_job_are_those_of_its_name(client: Client, oddly: Path) -> None:
    odd = client(db=oddly)
    for number in range(1, 7):
        href = linked(odd, f"/job/{number}", "/jobs?job=")["All runs"]
        assert [row[0] for row in read(odd, href).rows if row] == [str(number)]


def test_a_number_in_the_address_of_a_job_is_its_id(client: Client, oddly: Path) -> None:
    assert client(db=oddly).get("/job/2").status_code == 200
    assert client(db=oddly).get("/job/7").status_code == 404


def test_links_keep_the_time_that_a_page_has_without_a_choice(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = datetime.fromtimestamp(given.REAL // given.SECOND + 40_000).astimezone()
    monkeypatch.setattr(asked, "now", lambda: then)
    for url, choice in (("/", "since=today"), ("/processes", "since=7d"), ("/bill", "month=this")):
        found = linked(client(), url, "/processes?")
        assert found
        assert all(choice in href for href in found.values())


def test_notes_name_no_options_of_the_command_line(client: Client) -> None:
    for url in (
        "/jobs?limit=2",
        f"/processes?{WINDOW}&limit=2",
        f"/?{WINDOW}",
        "/job/1",
        "/runs?limit=1",
    ):
        page = read(client(), url)
        notes = page.text.replace(" ".join(page.commands), "")
        assert "--limit or" not in notes
        assert "(see: elsa" not in notes
    assert "showing" in read(client(), f"/processes?{WINDOW}&limit=2").text


def test_another_time_is_not_marked_as_today(client: Client) -> None:
    marked = '<a href="/" aria-current="page">Today</a>'
    assert marked in client().get("/?since=").text
    assert marked not in client().get(f"/?{WINDOW}").text
    for url in ("/runs", "/jobs", "/job/1", "/job/1/tree"):
        assert '<a href="/runs" aria-current="page">Jobs</a>' in client().get(url).text


def test_marks_at_the_axis_of_a_small_scale_differ() -> None:
    text = "{:.2f}".format
    assert charts._values(1.0, text) == ["1.00", "0.50", "0.00"]
    assert charts._values(0.0084, text) == ["0.0084", "0.0042", "0"]


def test_a_long_name_is_whole_once(client: Client, oddly: Path) -> None:
    with closing(sqlite3.connect(oddly, isolation_level=None)) as connection:
        connection.execute("update job set name = ? where id = 6", ("n" * 300,))
    text = client(db=oddly).get("/job/6").text
    assert "<strong>" + "n" * 300 in text
    assert "<h1>" + "n" * 77 + "...</h1>" in text


def test_a_bill_without_a_tariff_says_how_to_add_one(client: Client, oddly: Path) -> None:
    answer = client(db=oddly).get("/bill")
    assert (answer.status_code, "elsa db tariff add" in answer.text) == (200, True)
    assert client(db=oddly).get("/bill?format=csv").status_code == 400


def test_a_format_that_there_is_not_is_refused(client: Client) -> None:
    for url in ("/jobs", "/runs", "/processes", "/bill", "/trust"):
        assert client().get(f"{url}?format=xml").status_code == 400


def test_a_hostile_choice_is_refused_as_text_and_stays_in_the_form(client: Client) -> None:
    answer = client().get("/jobs?kind=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&job=build")
    assert answer.status_code == 400
    assert "<script>alert" not in answer.text
    assert "no job is of kind" in answer.text
    assert 'name="job" value="build"' in answer.text


def test_a_plain_user_sees_his_own_alone(client: Client) -> None:
    bob = client(Reader("bob", BOB, manages=False))
    text = read(bob, "/jobs").text
    assert "build" in text
    assert "backup" not in text
    assert "only your own jobs and processes" in text
    assert "nginx" not in read(bob, f"/processes?{WINDOW}").text
    assert "cc1" in read(bob, f"/processes?{WINDOW}").text
    assert "nginx" not in read(bob, f"/?{WINDOW}&by=job").text
    assert bob.get("/job/9").status_code == 404
    assert "backup" not in bob.get("/job/9/flame.svg").text
    anna = client(Reader("anna", ANNA, manages=False))
    assert "nginx" in read(anna, f"/processes?{WINDOW}").text
    assert "cc1" not in read(anna, f"/processes?{WINDOW}").text


def test_a_copy_of_own_records_serves_several_pages_and_holds_what_they_need(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int | None] = []
    copy = own_records.copy

    def counted(path: Path, uid: int, since_ns: int | None, stop: Callable[[], bool]) -> bytes:
        made.append(since_ns)
        return copy(path, uid, since_ns, stop)

    monkeypatch.setattr(own_records, "copy", counted)
    bob = client(Reader("bob", BOB, manages=False))
    for _ in range(2):
        read(bob, "/jobs")
        read(bob, "/runs")
        read(bob, f"/processes?{WINDOW}")
        read(bob, f"/trust?{WINDOW}")
    # 03:00 of the day in the window.
    assert made == [None, given.REAL - 245 * given.SECOND]
    other = client(Reader("anna", ANNA, manages=False))
    assert "build" not in read(other, "/jobs").text


def test_copies_are_forgotten_when_they_are_old_or_large(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(_path: Path, uid: int, *_: object) -> bytes:
        made.append(uid)
        return bytes(1000)

    monkeypatch.setattr(own_records, "copy", counted)
    copies = reading.Copies()
    deadline = reading.Deadline(60.0)
    for uid in (1, 2, 1):
        copies.of(Path("x"), uid, None, deadline)
    assert made == [1, 2]
    monkeypatch.setattr(reading, "_MOST_BYTES", 1500)
    for uid in (3, 3, 1):
        copies.of(Path("x"), uid, None, deadline)
    assert made == [1, 2, 3, 1]
    monkeypatch.setattr(reading, "_FRESH_S", 0.0)
    copies.of(Path("x"), 1, None, deadline)
    assert made == [1, 2, 3, 1, 1]


def test_new_names_of_users_are_shown_without_a_restart(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(BOB) in read(client(), "/job/10").text
    monkeypatch.setattr(accounts, "user", lambda number: f"name of {number}")
    assert f"name of {BOB}" not in read(client(), "/job/10").text
    monkeypatch.setattr(reading, "_FRESH_S", 0.0)
    assert f"name of {BOB}" in read(client(), "/job/10").text
    warehouse.forget_names()


def test_metrics_are_for_managers(client: Client) -> None:
    assert client(Reader("bob", BOB, manages=False)).get("/metrics").status_code == 403
    answer = client().get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    name = 'elsa_job_cpu_seconds_total{host="here",kind="cron",name="backup"}'
    assert f"\n{name} " in answer.text
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    answer = client().get("/metrics", headers=accept)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


def test_a_page_that_takes_too_long_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_INSTRUCTIONS", 10)
    answer = client(limit_s=-1.0).get("/trust")
    assert answer.status_code == 503
    assert "takes longer than" in answer.text


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("reader", [MANAGER, Reader("bob", BOB, manages=False)])
def test_a_locked_warehouse_is_said_to_be_locked_whatever_time_is_over(
    client: Client,
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: Reader,
    journal: str,
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)
    path = tmp_path / "elsa.db"
    path.write_bytes(filled.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"pragma journal_mode = {journal}")
        other.execute("pragma locking_mode = exclusive")
        other.execute("begin exclusive")
        other.execute("update job set name = 'x'")
        answer = client(reader, path, limit_s=-1.0).get("/trust")
    assert answer.status_code == 503
    assert "the warehouse is locked by another program; try again later" in answer.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "nothing of yours is recorded in that window"),
        ("/processes", "nothing of yours is recorded in that window"),
        ("/jobs", "no job of yours is recorded"),
        ("/runs", "no job of yours is recorded"),
    ],
)
def test_a_user_without_records_is_not_told_to_start_the_collector(
    client: Client, path: str, words: str
) -> None:
    nobody = client(Reader("carl", 4_000_003, manages=False)).get(path).text
    assert words in nobody
    assert "start the collector" not in nobody
    assert "there is no job yet" not in nobody


@pytest.mark.parametrize("path", ["/", "/jobs", "/processes", "/bill", "/trust"])
@pytest.mark.parametrize("choice", ["since=9999-12-31", "until=3000-01-01", "until=9999-12-31"])
def test_a_time_that_no_column_holds_is_refused(client: Client, path: str, choice: str) -> None:
    answer = client().get(f"{path}?{choice}")
    assert answer.status_code == 400
    assert "is too far away" in answer.text


def test_a_job_with_too_many_processes_has_no_tree_on_a_page(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_pages, "_MOST_IN_TREE", 10)
    page = read(client(), "/job/10/tree")
    assert "too many processes" in page.text
    assert [command.split(" --db")[0] for command in page.commands] == ["elsa report tree 10"]
    answer = client().get("/job/10/flame.svg")
    assert answer.status_code == 400
    assert "elsa report flame 10" in answer.text
    assert client().get("/job/9/flame.svg").status_code == 200


def test_the_command_of_a_flame_graph_draws_it(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = [each for each in read(client(), "/job/10/tree").commands if "flame" in each]
    printed(command)
    drawn = (tmp_path / "job.svg").read_text(encoding="utf-8")
    assert drawn.strip() == client().get("/job/10/flame.svg").text.strip()


def test_a_warehouse_that_is_gone_is_one_line(client: Client, tmp_path: Path) -> None:
    answer = client(db=tmp_path / "none.db").get("/jobs")
    assert answer.status_code == 503
    assert "no warehouse there" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(8000), b"x" * 8000])
def test_what_is_no_warehouse_is_one_line(client: Client, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "elsa.db"
    path.write_bytes(content)
    answer = client(db=path).get("/jobs")
    assert answer.status_code == 503
    assert str(path) in answer.text


def test_what_is_no_page_is_not_found(client: Client) -> None:
    assert client().get("/elsewhere").status_code == 404
    assert client().get("/job/x").status_code == 404
    for number in (777, 99_999_999_999_999_999_999_999):
        answer = client().get(f"/job/{number}")
        assert (answer.status_code, f"there is no job {number}" in answer.text) == (404, True)
    assert client().get("/static/../app.py").status_code == 404
