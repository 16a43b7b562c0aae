"""The pages of a fleet: each shows what its command prints, to managers alone, and no password."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

import pytest

from elsa.cli import web
from elsa.errors import PrivilegeError
from elsa.fleet import hosts
from elsa.fleet_url import FleetUrl
from elsa.report.billing import bill
from elsa.web.identity import Reader
from tests.support import fleets
from tests.support.pages import HOSTILE
from tests.support.postgres import Server
from tests.unit.web.conftest import Client
from tests.unit.web.test_pages import Parsed, linked, printed, read

WINDOW = "since=2026-10-05T03:20&until=2026-10-09"
HOSTS = ("ant", "bee")
PAGES = (
    f"/?{WINDOW}",
    *(f"/usage?by={by}&{WINDOW}" for by in ("user", "command", "hour")),
    f"/usage?by=command&each=host&{WINDOW}&sort=-host",
    f"/usage?by=day&user=user1003&host=ant&{WINDOW}",
    f"/usage?by=kind&{WINDOW}",
    "/runs?since=2026-10-01",
    "/jobs?host=ant&kind=cron",
    "/bill?month=2026-10&by=job",
    f"/trust?{WINDOW}&host=bee",
    "/hosts",
)
OF_PROCESSES = ("/processes", "/job/1000000001/time", "/job/1/tree", "/job/1/flame.svg", "/metrics")


class Fleet(NamedTuple):
    """A database that some hosts were pushed to."""

    url: FleetUrl
    server: Server
    database: str


@pytest.fixture(scope="module")
def of_two(
    tmp_path_factory: pytest.TempPathFactory,
    template: Path,
    postgres: Server,
    fleet_template: str,
) -> Fleet:
    database = postgres.database(fleet_template)
    for name in HOSTS:
        path = fleets.month(tmp_path_factory.mktemp(name) / "elsa.db", template, 200, name * 8)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("update host set name = ?", (name,))
            connection.execute("update job set kind = 'cron' where id % 3 = 0")
        fleets.pushed(path, postgres.url(database))
    with postgres.connect(database) as connection:
        connection.execute(
            "insert into elsa.tariff values (1, 0, 0, null, 'EUR', 'UTC', 2, null, '0.01', '3.5',"
            " '0.2', '0.1', '0.1')"
        )
    return Fleet(FleetUrl(postgres.url(database)), postgres, database)


@pytest.mark.parametrize("url", PAGES)
def test_each_row_and_note_is_what_the_commands_print(
    client: Client, of_two: Fleet, url: str
) -> None:
    page = read(client(db=of_two.url), url)
    lines = {
        " ".join(line.split()) for command in page.commands for line in printed(command).split("\n")
    }
    rows = [" ".join(" ".join(row).split()) for row in page.rows if row]
    assert page.commands
    assert rows or "/job/" in url
    assert [row for row in rows if row not in lines] == []


def test_the_figures_of_a_job_are_what_its_command_prints(client: Client, of_two: Fleet) -> None:
    page = read(client(db=of_two.url), "/job/2000000003")
    on_page = " ".join(page.text.split())
    figures = [" ".join(line.split()) for line in printed(page.commands[0]).splitlines()]
    assert [line for line in figures if line not in on_page] == []
    assert "job 2000000003" in figures


def test_an_empty_page_says_how_far_it_is_known(client: Client, of_two: Fleet) -> None:
    pages = client(db=of_two.url)
    for url in ("/usage?by=user", "/jobs?", "/bill?"):
        after = read(pages, f"{url}&since=2026-11-20&until=2026-11-21").text
        assert "nothing of that window is here yet" in after, url
        assert "no process ended" not in after, url
    partly = read(pages, "/usage?by=user&since=2026-11-01T22:00&until=2026-11-21").text
    assert "(known until 2026-11-0" in partly


def test_every_page_names_hosts_that_are_late_and_those_with_losses(
    client: Client, of_two: Fleet
) -> None:
    pages = client(db=of_two.url)
    for url in ("/", "/usage", "/runs", "/jobs", "/bill", "/trust"):
        text = read(pages, url).text
        assert "2 of 2 hosts are late, with sums until: ant (2026-11-0" in text, url
        assert text.count("2 of 2 hosts are late") == 2, url
    of_job = read(pages, "/job/2000000003").text
    assert "1 of 1 host is late, with sums until: bee (2026-11-0" in of_job
    assert "its host knows its commands" in of_job
    assert "its host knows its commands (" not in of_job
    assert "only sums are left" not in of_job
    text = read(pages, f"/usage?{WINDOW}&host=bee").text
    assert "1 of 1 host is incomplete: bee" in text
    assert "the window is from 2026-10-05 03:00:00" in text
    assert "are late" not in text


def test_pages_of_processes_say_where_these_are(client: Client, of_two: Fleet) -> None:
    pages = client(db=of_two.url)
    for url in OF_PROCESSES:
        answer = pages.get(url)
        assert answer.status_code == 404
        assert "needs single processes" in answer.text or url == "/metrics"
    for url in ("/", f"/usage?{WINDOW}", "/job/2000000003"):
        text = pages.get(url).text
        assert not [path for path in ("/processes", "/time", "/tree") if f'href="{path}' in text]


def test_names_lead_to_what_the_fleet_has_of_them(client: Client, of_two: Fleet) -> None:
    pages = client(db=of_two.url)
    users = linked(pages, f"/usage?{WINDOW}&host=ant", "/usage?")
    assert "by=day" in users["user1003"]
    assert "host=ant" in users["user1003"]
    assert [row for row in read(pages, users["user1003"]).rows if row]
    commands = linked(pages, f"/usage?by=command&each=host&host=a*&{WINDOW}", "/usage?")
    assert {parse_qs(href)["host"][0] for name, href in commands.items()} == {"ant"}
    both = read(pages, f"/usage?by=day&user=uid:1003:user1003&{WINDOW}").rows
    assert both == read(pages, f"/usage?by=day&user=user1003&{WINDOW}").rows
    assert not read(pages, f"/usage?by=day&user=uid:1003:other&{WINDOW}").rows
    hosts = linked(pages, f"/usage?{WINDOW}", "/?")
    assert [row for row in read(pages, hosts["bee"]).rows if "bee" in row]
    runs = linked(pages, "/job/2000000003", "/jobs?")["All runs"]
    assert [row[:2] for row in read(pages, runs).rows if row] == [["bee", "2000000003"]]


def test_a_hostile_name_of_a_host_is_text_and_leads_to_it(client: Client, of_two: Fleet) -> None:
    rename = "update elsa.host set name = %s where name = %s"
    pages = client(db=of_two.url)
    with of_two.server.connect(of_two.database) as connection:
        connection.execute(rename, [HOSTILE, "bee"])
        try:
            for url in ("/usage?since=2026-10-01", "/trust?since=2026-10-01", "/usage?host=nope"):
                answer = pages.get(url)
                assert "\x1b" not in answer.text
                assert "&lt;img src=x" in answer.text
                assert "img" not in Parsed(answer.text).tags
            hosts = linked(pages, "/usage?since=2026-10-01", "/?")
            (href,) = {href for name, href in hosts.items() if name.startswith("<img")}
            assert [row for row in read(pages, href).rows if row]
        finally:
            connection.execute(rename, ["bee", HOSTILE])


def _used(rows: list[list[str]], first: int) -> Counter[str]:
    """How many processes ended, by the text before the number."""
    used = Counter[str]()
    for row in rows:
        if row:
            used[row[first]] += int(row[first + 1])
    return used


def test_a_user_leads_to_what_he_alone_used_where_others_have_his_name(
    client: Client, of_two: Fleet
) -> None:
    pages = client(db=of_two.url)
    rename = "update elsa.account set name = %s where kind = 'user' and id = 1014 and host_id = 2"
    with of_two.server.connect(of_two.database) as connection:
        connection.execute("insert into elsa.setting values ('same_users', 'yes')")
        connection.execute(rename, ["user1003"])
        try:
            used = _used(read(pages, f"/usage?{WINDOW}").rows, 0)
            leads = linked(pages, f"/usage?{WINDOW}", "/usage?")
            found = {name: _used(read(pages, href).rows, 0).total() for name, href in leads.items()}
        finally:
            connection.execute(rename, ["user1014"])
            connection.execute("delete from elsa.setting")
    assert {"user1003 (1003)", "user1003 (1014)", "user1014"} <= used.keys()
    assert found == {name: used[name] for name in found}


def test_a_bill_by_job_leads_to_the_jobs_of_the_owner_on_its_host(
    client: Client, of_two: Fleet
) -> None:
    pages = client(db=of_two.url)
    url = "/bill?month=2026-10&by=job"
    owners = re.findall(r'href="/jobs\?([^"]*)"', pages.get(url).text)
    assert {parse_qs(unescape(query))["host"][0] for query in owners} == {*HOSTS}
    assert {row[0] for row in read(pages, f"{url}&each=host").rows if row} >= {*HOSTS}


def test_hosts_that_are_not_current_come_first_and_lead_to_their_usage(
    client: Client, of_two: Fleet
) -> None:
    pages = client(db=of_two.url)
    change = "update elsa.host set until_hour = %s, silent_since_ns = %s where name = 'ant'"
    of_ant = "select until_hour, silent_since_ns from elsa.host where name = 'ant'"
    with of_two.server.connect(of_two.database) as connection:
        before = connection.execute(of_ant).fetchone()
        assert before is not None
        connection.execute(change, [int(time.time()) // 3600, None])
        try:
            page = read(pages, "/hosts")
        finally:
            connection.execute(change, before)
    assert [(row[1], row[3]) for row in page.rows if row] == [("bee", "late"), ("ant", "current")]
    assert "1 current, 1 late" in page.text
    lead = linked(pages, "/hosts", "/?")
    assert parse_qs(lead["ant"].partition("?")[2]) == {"host": ["ant"]}


def test_the_field_for_hosts_suggests_their_names(client: Client, of_two: Fleet) -> None:
    text = client(db=of_two.url).get("/usage?host=ant").text
    assert 'list="host-names"' in text
    assert re.findall('<option value="([a-z]+)">', text.partition("<datalist")[2]) == [*HOSTS]
    assert "/hosts" in text


def test_a_host_has_no_page_of_hosts(client: Client) -> None:
    assert client().get("/hosts").status_code == 404
    assert "/hosts" not in client().get("/trust").text


def test_a_plain_user_sees_no_page_of_a_fleet(client: Client, of_two: Fleet) -> None:
    plain = client(Reader("anna", 1003, manages=False), db=of_two.url)
    for url in (*PAGES, *OF_PROCESSES, "/none", "/?format=csv"):
        answer = plain.get(url)
        assert (answer.status_code, answer.text.count("\n")) == (403, 1)
        assert "user1003" not in answer.text


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/?host=nope", 400),
        ("/usage?host='%3B drop table elsa.host--", 400),
        ("/usage?host=%FF%FE", 400),
        ("/usage?user=%25s", 400),
        ("/usage?by=command&user=user1003", 400),
        ("/usage?by=kind&command=cc1", 400),
        ("/usage?by=nonsense", 400),
        ("/jobs?job=%25s'", 400),
        ("/job/3", 404),
        ("/job/9999999999999999999999999", 404),
    ],
)
def test_hostile_choices_are_refused_in_one_line(
    client: Client, of_two: Fleet, url: str, status: int
) -> None:
    answer = client(db=of_two.url).get(url)
    assert answer.status_code == status
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/usage?by=group&command=cc1", "no sums by group of one command: leave the command out"),
        ("/usage?by=command&user=user1003", "no sums by command of one user: leave the user out"),
        ("/usage?by=day&command=cc1&user=user1003", "none by both: leave one of them out"),
        ("/bill?by=job&user=user1003", "no sums by job of one user: leave the user out"),
        ("/bill?by=tag:x&each=host", "no sums by tag:x of each host: choose one"),
        ("/jobs?job=nope", "no job has the id or name nope"),
        ("/usage?host=nope", "Host: nothing is recorded of a host"),
        ("/bill?by=nonsense", "By: &#39;nonsense&#39; is none of"),
    ],
)
def test_what_a_page_cannot_show_is_said_in_its_words(
    client: Client, of_two: Fleet, url: str, said: str
) -> None:
    text = client(db=of_two.url).get(url).text
    assert said in text
    alert = text.partition('role="alert"')[2].partition("</p>")[0]
    assert not [word for word in ("--", "elsa report") if word in alert]


def test_a_form_offers_only_what_suits_its_rows(client: Client, of_two: Fleet) -> None:
    pages = client(db=of_two.url)

    def offered(url: str) -> set[str]:
        return {*re.findall(r'id="f-(\w+)"', pages.get(url).text)} & {"user", "command", "each"}

    assert offered(f"/usage?{WINDOW}") == {"user", "each"}
    assert offered(f"/usage?by=command&{WINDOW}") == {"command", "each"}
    assert offered(f"/usage?by=kind&{WINDOW}") == {"each"}
    assert offered(f"/usage?by=day&{WINDOW}") == {"user", "command", "each"}
    assert offered("/bill?by=job") == {"each"}
    # What was given can be taken back.
    assert offered("/bill?by=tag&user=user1003") == {"user"}


@contextmanager
def shut(fleet: Fleet) -> Iterator[None]:
    """The server refuses connections to the database."""
    name = fleet.database
    with fleet.server.connect() as connection:
        connection.execute(f"alter database {name} allow_connections false")
        yield
        connection.execute(f"alter database {name} allow_connections true")


def test_a_server_that_is_away_is_said_and_found_again_and_no_password_is_shown(
    client: Client, of_two: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    with of_two.server.connect(of_two.database) as connection:
        connection.execute("create role pages login password 'hush'")
        connection.execute("grant elsa_reader to pages")
    url = of_two.server.tcp_url(of_two.database, "pages", "hush")
    pages = client(db=FleetUrl(url))
    with shut(of_two):
        away = pages.get("/jobs")
    assert away.status_code == 503
    assert "cannot be reached; try again later" in away.text
    back = read(pages, "/jobs")
    assert f"--db postgresql://pages@127.0.0.1:{of_two.server.port}/" in back.commands[0]
    with of_two.server.connect(of_two.database) as connection:
        connection.execute("revoke elsa_reader from pages")
    # It is not the reader who may not.
    refused = pages.get("/jobs")
    assert refused.status_code == 503
    assert "this role may not do that" in caplog.text
    for text in (away.text, back.text, refused.text, caplog.text):
        assert "hush" not in text


def test_a_page_is_given_up_after_its_time(client: Client, of_two: Fleet) -> None:
    with of_two.server.connect(of_two.database) as connection, connection.transaction():
        connection.execute("lock table elsa.job in access exclusive mode")
        answer = client(db=of_two.url, limit_s=0.5).get("/jobs")
    assert answer.status_code == 503
    assert "this takes longer than 0.5 s" in answer.text


def test_the_limit_holds_while_python_adds_up(
    client: Client, of_two: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forever(*_: object) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            pass

    monkeypatch.setattr(bill, "_figures", forever)
    began = time.monotonic()
    answer = client(db=of_two.url, limit_s=1).get("/bill?month=2026-10&format=csv")
    assert answer.status_code == 503
    assert "this takes longer than 1 s" in answer.text
    assert time.monotonic() < began + 5


def test_a_silent_server_is_named_and_no_shorter_time_advised(
    client: Client, of_two: Fleet
) -> None:
    pages = client(db=of_two.url, limit_s=1)
    with of_two.server.stopped():
        answer = pages.get("/jobs")
    assert answer.status_code == 503
    assert "the server does not answer; try again later" in answer.text
    assert "choose a shorter time" not in answer.text


def test_a_server_that_is_away_at_the_start_may_come_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = FleetUrl("postgresql://pages:hush@127.0.0.1:1/elsa?sslmode=prefer")
    assert web._try_fleet(url) == "postgresql://pages@127.0.0.1:1/elsa?sslmode=prefer"
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert "hush" not in said


def test_a_role_that_may_not_read_what_pages_need_is_refused_at_the_start(of_two: Fleet) -> None:
    hosts.add(of_two.url, f"pages_{of_two.database}", password=False)
    host = FleetUrl(of_two.server.url(of_two.database, f"pages_{of_two.database}"))
    with pytest.raises(PrivilegeError, match=r"may not do that; see docs/fleet\.md"):
        web._try_fleet(host)
    assert f"/{of_two.database}?" in web._try_fleet(of_two.url)
