"""A warehouse and a fleet database for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.fleets import week
from tests.support.postgres import Server


@pytest.fixture(scope="session")
def a_week(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """The first days of a made-up month, rolled up; tests copy it."""
    return week(tmp_path_factory.mktemp("week") / "elsa.db", template)


@pytest.fixture
def db(a_week: Path, tmp_path: Path) -> Path:
    """A warehouse of the test's own."""
    return Path(shutil.copy(a_week, tmp_path / "elsa.db"))


@pytest.fixture
def url(postgres: Server, fleet: str) -> str:
    """The fleet database, as its owner."""
    return postgres.url(fleet)
