"""Reports say when what feeds the warehouse is silent: only where they reach to now, and only where it matters."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.report.selection import Selection
from elsa.report.silence import SECOND, late, silence
from elsa.report.times import Window
from elsa.store.upgrade import upgrade

# The given rows of the view tests, by their path, since test folders are no packages.
_spec = importlib.util.spec_from_file_location("given", Path(__file__).parents[2] / "views" / "given.py")
assert _spec is not None
assert _spec.loader is not None
given = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(given)

HEARD = 1000
NOW = given.REAL + (HEARD + 5) * SECOND
LATER = NOW + 60 * SECOND
HEARS_NOTHING = "the collector has stored nothing since "


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("silence") / "elsa.db"
    upgrade(made)
    return made


@pytest.fixture
def warehouse(path: Path) -> Iterator[Any]:
    """A collector that has heard up to HEARD, a job that is over, one that is open, one that is closed but runs on; nothing is kept."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin")
        made = given.Warehouse(connection)
        made.insert("collector", id=1, boot_id=1, since_ns=0, heard_ns=HEARD * SECOND, version="1")
        made.connection.execute("update acct_file set read_at_ns = ?", (given.REAL,))
        made.process(2)
        made.process(4, seconds=given.RUNNING)
        made.job(1, members=(2,), closed_at_ns=given.REAL + 20 * SECOND, close_how="request")
        made.job(2)
        made.job(3, members=(4,), closed_at_ns=given.REAL + 20 * SECOND, close_how="request")
        yield made
        connection.execute("rollback")


def test_a_collector_that_hears_is_not_spoken_of(warehouse: Any) -> None:  # noqa: ANN401
    assert silence(warehouse.connection, Window(), NOW) == late(warehouse.connection, Selection(), NOW) == []


@pytest.mark.parametrize(("until", "told"), [(None, True), (LATER + SECOND, True), (given.REAL + 900 * SECOND, False)])
def test_a_silent_collector_matters_where_the_window_reaches_that_far(warehouse: Any, until: int | None, told: bool) -> None:  # noqa: ANN401
    words = late(warehouse.connection, Selection(Window(None, until)), LATER)
    assert [line.startswith(HEARS_NOTHING) for line in words] == [True] * told


@pytest.mark.parametrize(("jobs", "told"), [((1,), False), ((2,), True), ((3,), True), ((1, 2), True)])
def test_of_jobs_it_matters_unless_all_were_over(warehouse: Any, jobs: tuple[int, ...], told: bool) -> None:  # noqa: ANN401
    assert bool(late(warehouse.connection, Selection(jobs=jobs), LATER)) is told


def test_where_accounting_alone_is_used_only_the_witnesses_reports_speak_of_the_collector(warehouse: Any) -> None:  # noqa: ANN401
    warehouse.connection.execute("delete from collector")
    assert silence(warehouse.connection, Window(), LATER) == ["the collector was never started here; start it with: elsa jobd"]
    assert late(warehouse.connection, Selection(), LATER) == []


def test_accounting_that_is_read_no_more_is_said_while_the_collector_hears(warehouse: Any) -> None:  # noqa: ANN401
    days = 3 * 86_400
    warehouse.connection.execute("update collector set heard_ns = ?", (days * SECOND,))
    (line,) = late(warehouse.connection, Selection(), given.REAL + (days + 1) * SECOND)
    assert line.startswith("no accounting record was read since ")
    assert line.endswith(": accounting is off, or elsa ingest is not run any more")
    warehouse.connection.execute("delete from acct_file")
    assert late(warehouse.connection, Selection(), given.REAL + (days + 1) * SECOND) == []
