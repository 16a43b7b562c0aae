"""Prometheus reads the metrics, and answers every query of the dashboard."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from elsa.cli.main import load
from elsa.web.app import create_app
from elsa.web.identity import Reader
from elsa.web.settings import Settings
from tests.support import given
from tests.support.peers import peer
from tests.support.reports import Reports

pytestmark = pytest.mark.peers
DASHBOARD = Path(__file__).parents[3] / "packaging/grafana/elsa.json"
# Much longer than Prometheus takes to start and to scrape thrice.
PATIENCE_S = 60


@pytest.fixture
def used(reports: Reports) -> Reports:
    """A service and a manual job that ran, a job that failed, a loss, and a run of jobd."""
    reports.warehouse.insert(
        "collector", id=2, boot_id=1, pid=2**22, version="1", since_ns=0,
        heard_ns=500 * given.SECOND, events=70, lost=3, job_ids_until=0,
    )  # fmt: skip
    reports.warehouse.insert("gap", id=2, boot_id=1, kind="overrun", from_ns=0, to_ns=9, lost=3)
    reports.warehouse.job(1, "web", kind="service")
    reports.warehouse.job(2, 'a"b\\c\nd <b>')
    reports.warehouse.acct(10_000, None)
    use(reports, 0)
    return reports


def use(reports: Reports, turn: int) -> None:
    """A process more of each job, and the service fails once more."""
    for job_id in (1, 2):
        number = 10 * turn + job_id
        reports.warehouse.process(number)
        reports.warehouse.usage(
            number, utime_us=10**6, stime_us=0, run_ns=10**9, read_bytes=4096, write_bytes=8192
        )
        reports.warehouse.stay(job_id, number)
    reports.warehouse.process(10 * turn + 3, exit_status=256)
    reports.warehouse.job(10 * turn + 3, "backup", kind="cron", closed_at_ns=given.REAL)
    reports.warehouse.stay(10 * turn + 3, 10 * turn + 3, how=3)


def test_promtool_finds_nothing_wrong_with_the_text_format(used: Reports) -> None:
    printed = CliRunner().invoke(load("metrics"), ["--db", str(used.path), "--format", "text"])
    done = subprocess.run(
        [peer("promtool"), "check", "metrics"],
        input=printed.stdout,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The web pages of a warehouse, for a manager; gives the address."""
    settings = Settings(
        path,
        frozenset({"127.0.0.1"}),
        lambda _: Reader("prometheus", 0, manages=True),
        60.0,
        "forever",
    )
    server = make_server("127.0.0.1", 0, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """A Prometheus that scrapes a target every second; gives what answers a query."""
    program = peer("prometheus")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: elsa, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
        ],
        stderr=log,
    )

    def query(text: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(f"http://{address}/api/v1/query?{asked}") as answer:
            found = json.load(answer)
        assert found["status"] == "success"
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    try:
        yield query
    finally:
        process.terminate()
        process.wait()
        log.close()


def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if ready():
                return
        except OSError:
            pass  # it has not started yet
        time.sleep(0.2)
    pytest.fail("Prometheus has not scraped")


def test_prometheus_scrapes_and_answers_the_queries_of_the_dashboard(
    used: Reports, tmp_path: Path
) -> None:
    with served(used.path) as target, prometheus(target, tmp_path) as query:
        until(lambda: query("elsa_events_total"))
        use(used, 1)
        until(lambda: query("changes(elsa_job_runs_total{kind='cron'}[1m]) > 0"))
        assert [each["value"][1] for each in query("up")] == ["1"]
        (manual,) = query('elsa_job_cpu_seconds_total{kind="manual"}')
        # The name as `elsa report jobs` prints it.
        assert manual["metric"]["name"] == 'a"b\\c\\nd <b>'
        assert manual["value"][1] == "2"
        panels = json.loads(DASHBOARD.read_text())["panels"]
        assert len(panels) > 10
        for panel in panels:
            for part in panel["targets"]:
                asked = part["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
                assert query(asked), panel["title"]
