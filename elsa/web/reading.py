"""Open the warehouse for a reader: all of it for a manager, and a copy of what is his own for
anybody else. No query may take longer than a page may.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elsa.errors import RetryError
from elsa.report.query import warehouse
from elsa.store import own_records
from elsa.units import HOUR_NS
from elsa.web.identity import Reader

# After so many instructions of SQLite, some 0.1 ms, it is checked whether the time is over.
_INSTRUCTIONS = 20_000
# How long a copy of a user's own records serves his pages, and how large copies are together.
_FRESH_S = 60.0
_MOST_BYTES = 128 << 20


class TooSlowError(RetryError):
    """A page took longer than it may."""


class Copies:
    """The newest copies of users' own records, made one at a time: that takes a whole CPU."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[int, int | None], tuple[float, bytes]] = OrderedDict()

    def of(self, path: Path, uid: int, since_ns: int | None) -> bytes:
        """The records of a user, as an SQLite file; with `since_ns` of what still runs or ended
        since. Raises what own_records.copy raises.
        """
        key = (uid, since_ns)
        with self._lock:
            self._forget_old(time.monotonic() - _FRESH_S)
            if key not in self._made:
                self._made[key] = (time.monotonic(), own_records.copy(path, uid, since_ns))
            data = self._made[key][1]
            while sum(len(copy) for _, copy in self._made.values()) > _MOST_BYTES:
                self._made.popitem(last=False)
        return data

    def _forget_old(self, before: float) -> None:
        for key in [key for key, (made, _) in self._made.items() if made < before]:
            del self._made[key]


class _Names:
    """The names of users, which the reports of this process keep: they are looked up again now and
    then.
    """

    def __init__(self) -> None:
        self._looked_up = time.monotonic()

    def forget_old(self) -> None:
        now = time.monotonic()
        if now - self._looked_up > _FRESH_S:
            self._looked_up = now
            warehouse.forget_names()


_names = _Names()


@contextmanager
def reading(
    path: Path, reader: Reader, copies: Copies, limit_s: float, since_ns: int | None = None
) -> Iterator[sqlite3.Connection]:
    """A connection for reports of what still runs or ended since a time. Raises TooSlowError where
    the block takes longer, and other ElsaErrors.
    """
    _names.forget_old()
    if reader.manages:
        opened = warehouse.reading(path)
    else:
        opened = warehouse.reading_copy(path, copies.of(path, reader.uid, _hour(since_ns)))
    end = time.monotonic() + limit_s
    with _limited(limit_s, end), opened as connection:
        connection.set_progress_handler(lambda: int(time.monotonic() > end), _INSTRUCTIONS)
        yield connection


def _hour(since_ns: int | None) -> int | None:
    """The hour of a time, so that one copy serves a page until the next hour."""
    return None if since_ns is None else since_ns // HOUR_NS * HOUR_NS


@contextmanager
def _limited(limit_s: float, end: float) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if time.monotonic() > end:
            raise TooSlowError(
                f"this takes longer than {limit_s:g} s; choose a shorter time or fewer processes,"
                " or use the command line, which has no limit"
            ) from error
        raise
