"""What the pages of `elsa web` are of, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elsa.fleet_url import FleetUrl
from elsa.web.identity import Reader


class Settings(NamedTuple):
    """What the pages are of, and for whom."""

    db: Path | FleetUrl
    hosts: frozenset[str]
    """By which names of a host the pages may be called, in lower case and without a port."""
    identify: Callable[[Mapping[str, Any]], Reader | None]
    """Who asks, by the WSGI environment."""
    limit_s: float
    """How long a page may take."""
    keep_rollups: str
    command_db: str | None = None
    """The warehouse in shown commands, where it is not the one that they take anyway."""
