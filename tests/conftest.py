"""Settings and fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from elsa.store.upgrade import upgrade

if TYPE_CHECKING:
    from tests.support.postgres import Server

# A suite that a shell starts in the background inherits that SIGINT is ignored, and so would every
# program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is slow on a busy machine is no failure.
settings.register_profile("elsa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elsa")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Tests of one file run in one worker, which sets up what they share once. All tests on the
    real kernel do, one after another: there is one accounting switch. They wait for much of their
    time, in which the other workers run the rest.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/kernel" if file.startswith("tests/kernel/") else file

    # The files with the most tests do not take the longest.
    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty warehouse at the newest revision, made once and copied by the tests."""
    path: Path = tmp_path_factory.mktemp("template") / "elsa.db"
    upgrade(path)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for the whole session; without its programs the test skips."""
    from tests.support.postgres import running

    with running() as server:
        yield server


@pytest.fixture(scope="session")
def fleet_template(postgres: Server) -> str:
    """The name of an empty fleet database, made once and copied by the tests."""
    from elsa.fleet.migrate import upgrade as upgrade_fleet
    from elsa.fleet_url import FleetUrl

    name = postgres.database()
    upgrade_fleet(FleetUrl(postgres.url(name)))
    return name


@pytest.fixture
def fleet(postgres: Server, fleet_template: str) -> str:
    """The name of a fleet database of the test's own."""
    return postgres.database(fleet_template)
