"""A filled warehouse, and the pages over it for any reader."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from elsa.fleet.database import without_secrets
from elsa.fleet_url import FleetUrl
from elsa.store import database
from elsa.web import progress
from elsa.web.app import create_app
from elsa.web.identity import Reader
from elsa.web.settings import Settings
from tests.support import given, pages

MANAGER = Reader("root", 0, manages=True)
Client = Callable[..., FlaskClient]


class Buffered(FlaskClient):
    """A client that reads an answer to its end, so that the file that it is from is closed."""

    def open(self, *arguments: Any, **more: Any) -> TestResponse:
        return super().open(*arguments, buffered=True, **more)


@pytest.fixture(scope="session")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a day of services, cron jobs and a build."""
    path: Path = tmp_path_factory.mktemp("pages") / "elsa.db"
    with (
        closing(sqlite3.connect(template)) as source,
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        source.backup(connection)
        pages.fill(given.Warehouse(connection))
    # A reader may have the file alone.
    database.open_for_writing(path).close()
    return path


@pytest.fixture
def client(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The pages for a reader, each answered whole with its own status on a busy host too."""
    monkeypatch.setattr(progress, "QUICK_S", 60.0)

    def made(
        reader: Reader | None = MANAGER,
        db: Path | FleetUrl = filled,
        limit_s: float = 60.0,
    ) -> FlaskClient:
        shown = without_secrets(db) if isinstance(db, FleetUrl) else str(db)
        hosts = frozenset({"localhost"})
        settings = Settings(db, hosts, lambda _: reader, limit_s, "forever", shown)
        app = create_app(settings)
        app.test_client_class = Buffered
        return app.test_client()

    return made
