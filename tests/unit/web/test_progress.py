"""A page that takes long shows that it is being made, and is given up after its time."""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from elsa.errors import ElsaError, RetryError
from elsa.report import runs
from elsa.store import own_records
from elsa.web import progress, reading
from elsa.web.identity import Reader
from tests.support.pages import BOB
from tests.unit.web.conftest import Client

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
PATIENCE_S = 60
_runs = runs.runs


@pytest.fixture
def slow(client: Client, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The latest runs come when this is set, and no page of the client is quick."""
    ready = threading.Event()

    def late(*arguments: Any) -> Any:
        assert ready.wait(PATIENCE_S)
        return _runs(*arguments)

    monkeypatch.setattr(runs, "runs", late)
    monkeypatch.setattr(progress, "QUICK_S", 0.0)
    return ready


def pieces(client: FlaskClient, url: str) -> tuple[int, Any]:
    """The status of an answer, and its pieces as they come."""
    client.application.test_client_class = FlaskClient
    answer = client.application.test_client().get(url)
    return answer.status_code, answer.iter_encoded()


def test_what_needs_no_query_comes_first_and_then_the_same_page(
    client: Client, slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "/runs?user=root"
    status, coming = pieces(client(), url)
    first = next(coming).decode()
    working = next(coming).decode() + next(coming).decode()
    assert status == 200
    assert 'value="root"' in first
    assert 'aria-current="page">Latest run of each name' in first
    assert "</table>" not in first
    assert 'role="status">Working. After 60 s this page is given up.' in working
    assert working.endswith('<p class="tick" aria-hidden="true">0 s</p>')
    slow.set()
    assert next(coming) == b'</div><link rel="stylesheet" href="/static/done.css">'
    # The client answers quickly again.
    monkeypatch.setattr(progress, "QUICK_S", PATIENCE_S)
    text = first + progress.RESULTS + b"".join(coming).decode()
    assert text == client().get(url).text


def test_a_job_that_is_waited_for_has_its_number_as_the_title(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUICK_S", 0.0)
    text = client().get("/job/9").text
    assert "<h1>Job 9</h1>" in text
    assert "Job 9, cron:<strong>backup</strong>, of " in text


def test_each_second_says_how_long_it_has_taken(
    client: Client, slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_TICK_S", 0.01)
    _, coming = pieces(client(), "/runs")
    read = [next(coming) for _ in range(5)]
    assert [piece.count(b'class="tick"') for piece in read] == [0, 0, 1, 1, 1]
    slow.set()
    assert b"</table>" in b"".join(coming)


def endless(connection: sqlite3.Connection, *_: object) -> Any:
    return connection.execute(ENDLESS).fetchall()


def test_an_error_after_the_head_stands_in_the_page_and_in_the_log(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "QUICK_S", 0.0)
    monkeypatch.setattr(runs, "runs", endless)
    with caplog.at_level(logging.WARNING):
        answer = client(limit_s=0.3).get("/runs")
    assert answer.status_code == 200
    assert answer.text.count("<h1>") == 1
    assert 'role="alert">this takes longer than 0.3 s; choose a shorter time' in answer.text
    assert "/runs?: status 503 after the head was sent" in caplog.text


def test_a_quick_error_has_its_own_status(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "runs", endless)
    answer = client(limit_s=0.1).get("/runs")
    assert answer.status_code == 503
    assert "Working" not in answer.text


def test_a_download_and_a_head_are_answered_whole(client: Client, slow: threading.Event) -> None:
    slow.set()
    assert client().get("/runs?format=csv").text.startswith("name,kind,")
    assert client().head("/runs").status_code == 200
    assert "Working" not in client().get("/runs?format=json").text


def test_a_query_ends_when_its_reader_has_left(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUICK_S", 0.0)
    monkeypatch.setattr(runs, "runs", endless)
    application = client(limit_s=3600.0).application
    application.test_client_class = FlaskClient
    answer = application.test_client().get("/runs")
    next(answer.iter_encoded())
    before = threading.active_count()
    answer.close()  # returns when the query has ended
    assert threading.active_count() == before - 1


def test_copying_own_records_is_part_of_the_time_of_a_page(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_records, "_INSTRUCTIONS", 10)
    bob = client(Reader("bob", BOB, manages=False), limit_s=-1.0)
    answer = bob.get("/jobs")
    assert answer.status_code == 503
    assert "takes longer than" in answer.text


def test_waiting_for_the_copy_of_another_user_is_part_of_the_time_of_a_page(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, ready = threading.Event(), threading.Event()

    def late(*_: object) -> bytes:
        copying.set()
        assert ready.wait(PATIENCE_S)
        return b"copy"

    monkeypatch.setattr(own_records, "copy", late)
    copies = reading.Copies()
    other = threading.Thread(target=copies.of, args=(filled, 1, None, reading.Deadline(60.0)))
    other.start()
    assert copying.wait(PATIENCE_S)
    with pytest.raises(RetryError):
        copies.of(filled, 2, None, reading.Deadline(0.01))
    ready.set()
    other.join()
    assert copies.of(filled, 2, None, reading.Deadline(60.0)) == b"copy"


def test_a_copy_stops_when_it_shall(filled: Path) -> None:
    calls: list[None] = []

    def stop() -> bool:
        calls.append(None)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_records, "_INSTRUCTIONS", 10)
        with pytest.raises(ElsaError, match="interrupted"):
            own_records.copy(filled, BOB, None, stop)
    assert calls
