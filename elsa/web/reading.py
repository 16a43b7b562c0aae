"""Open the warehouse for a reader: all of it for a manager, and a copy of what is his own for
anybody else; or a fleet database, which is for managers alone. No query may take longer than a page
may.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.errors import ConfigError, PrivilegeError, RetryError
from elsa.fleet import reports
from elsa.fleet.database import Limit, SilentError
from elsa.report.query import warehouse
from elsa.store import database, own_records
from elsa.units import HOUR_NS
from elsa.web.identity import Reader

if TYPE_CHECKING:
    from elsa.fleet.copy import Copy, Wanted
    from elsa.fleet.hosts import FleetHost
    from elsa.fleet_url import FleetUrl

# After so many instructions of SQLite, some 0.1 ms, it is checked whether the time is over.
_INSTRUCTIONS = 20_000
# How long a copy of a user's own records serves his pages, and how large copies are together.
_FRESH_S = 60.0
_MOST_BYTES = 128 << 20


class TooSlowError(RetryError):
    """A page took longer than it may."""


class Deadline:
    """Until when a page has to be made."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._started = time.monotonic()
        self._end = self._started + limit_s

    def taken_s(self) -> float:
        """How much time was taken so far."""
        return time.monotonic() - self._started

    def left_s(self) -> float:
        """How much time is left; less than 0 when it is over."""
        return self._end - time.monotonic()

    def passed(self) -> bool:
        """Whether the time is over."""
        return self.left_s() < 0

    def pass_now(self) -> None:
        """End what is still being done for the page."""
        self._end = float("-inf")


class Copies:
    """The newest copies of users' own records, made one at a time: that takes a whole CPU."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[int, int | None], tuple[float, bytes]] = OrderedDict()

    def of(self, path: Path, uid: int, since_ns: int | None, deadline: Deadline) -> bytes:
        """The records of a user, as an SQLite file; with `since_ns` of what still runs or ended
        since. Raises what own_records.copy raises, and RetryError if it is not their turn in time.
        """
        key = (uid, since_ns)
        if not self._lock.acquire(timeout=max(deadline.left_s(), 0)):
            raise RetryError("the records of other users are being copied")
        try:
            self._forget_old(time.monotonic() - _FRESH_S)
            if key not in self._made:
                data = own_records.copy(path, uid, since_ns, deadline.passed)
                self._made[key] = (time.monotonic(), data)
            data = self._made[key][1]
            while sum(len(copy) for _, copy in self._made.values()) > _MOST_BYTES:
                self._made.popitem(last=False)
        finally:
            self._lock.release()
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
    path: Path, reader: Reader, copies: Copies, deadline: Deadline, since_ns: int | None = None
) -> Iterator[sqlite3.Connection]:
    """A connection for reports of what still runs or ended since a time. Raises TooSlowError where
    that or the block takes longer, and other ElsaErrors.
    """
    _names.forget_old()
    with _limited(deadline), _opened(path, reader, copies, deadline, since_ns) as connection:
        connection.set_progress_handler(deadline.passed, _INSTRUCTIONS)
        yield connection


@contextmanager
def reading_fleet(url: FleetUrl, wanted: Wanted, deadline: Deadline) -> Iterator[Copy]:
    """The copy for a report on a fleet, which is filled by reports.fetch. Raises as `reading`."""
    with _limited_in_fleet(deadline) as limit, reports.reading(url, wanted, limit) as connection:
        connection.set_progress_handler(deadline.passed, _INSTRUCTIONS)
        yield connection


def hosts_of_fleet(url: FleetUrl, deadline: Deadline) -> list[FleetHost]:
    """The hosts of a fleet, and the roles that have pushed none. Raises as `reading`."""
    from elsa.fleet import hosts  # loads SQLAlchemy, which other pages do without

    with _limited_in_fleet(deadline) as limit:
        return hosts.listed(url, limit)


@contextmanager
def _limited_in_fleet(deadline: Deadline) -> Iterator[Limit]:
    try:
        with _limited(deadline):
            yield Limit(max(deadline.left_s(), 0.1), deadline.passed)
    except PrivilegeError as error:
        # The server refuses the role of the pages, not their reader.
        raise ConfigError(str(error)) from error


def _opened(
    path: Path, reader: Reader, copies: Copies, deadline: Deadline, since_ns: int | None
) -> AbstractContextManager[sqlite3.Connection]:
    if reader.manages:
        return warehouse.reading(path)
    data = copies.of(path, reader.uid, _hour(since_ns), deadline)
    return warehouse.reading_copy(path, data)


def _hour(since_ns: int | None) -> int | None:
    """The hour of a time, so that one copy serves a page until the next hour."""
    return None if since_ns is None else since_ns // HOUR_NS * HOUR_NS


@contextmanager
def _limited(deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except (database.LockedError, SilentError):
        raise
    except Exception as error:
        if deadline.passed():
            raise TooSlowError(
                f"this takes longer than {deadline.limit_s:g} s; choose a shorter time or fewer"
                " processes, or use the command line, which has no limit"
            ) from error
        raise
