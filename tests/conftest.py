"""Settings and fixtures of all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from elsa.store.upgrade import upgrade

# A suite that a shell starts in the background inherits that SIGINT is ignored, and so would every
# program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is slow on a busy machine is no failure.
settings.register_profile("elsa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elsa")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty warehouse at the newest revision, made once and copied by the tests."""
    path: Path = tmp_path_factory.mktemp("template") / "elsa.db"
    upgrade(path)
    return path
