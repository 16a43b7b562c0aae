"""`elsa report connect`: how long users were logged in, by user or by day, from wtmp or wtmpdb."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from elsa.decode import logins as decoding
from elsa.decode.logins import SECOND_US, Login
from elsa.errors import DataError, InputMissingError, PrivilegeError
from elsa.report.query import periods
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row

# Debian 13 keeps logins in wtmpdb; where it is, wtmp has few of them or is not written any more.
_US_NS = 1000
FILES = (Path("/var/lib/wtmpdb/wtmp.db"), Path("/var/log/wtmp"))
_SQLITE = b"SQLite format 3\0"
_KEYS = {"user": ("user", "logins", "connected_s", "open_logins", "inexact_logins")}
_KEYS["day"] = ("day", *_KEYS["user"][1:])


@dataclass
class _Sum:
    logins: int = 0
    us: int = 0
    still: int = 0
    inexact: int = 0

    def add(self, login: Login, us: int) -> None:
        self.logins += 1
        self.us += us
        self.still += login.until_us is None
        self.inexact += not login.exact

    def row(self, key: str) -> Row:
        return key, self.logins, self.us / SECOND_US, self.still, self.inexact


def read(paths: Sequence[Path]) -> tuple[list[Login], list[str]]:
    """The logins in these files, each read once, and notes on damage; without paths in the first
    that this host has. Raises InputMissingError, PrivilegeError, DataError.
    """
    if not paths:
        paths = [path for path in FILES if path.exists()][:1]
    if not paths:
        names = " nor ".join(map(str, FILES))
        raise InputMissingError(f"this host has neither {names}; name a file with --file")
    words: list[str] = []
    once = {path.resolve(): path for path in paths}.values()
    return [login for path in once for login in _read(path, words)], words


def _read(path: Path, words: list[str]) -> list[Login]:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: not a regular file")
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
            data = b"" if head == _SQLITE else head + file.read()
    except PermissionError:
        raise PrivilegeError(f"{path}: this user may not read it") from None
    except OSError as error:
        raise InputMissingError(f"{path}: {error.strerror}") from None
    try:
        if head == _SQLITE:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True)) as database:
                rows = database.execute(
                    "select Type, User, Login, Logout, TTY from wtmp order by Login"
                )
                return decoding.of_wtmpdb(rows)
        torn = decoding.torn(data)
        if torn:
            words.append(f"{path}: the last {torn} bytes are not a whole record and are left out")
        return decoding.logins(decoding.records(data))
    except (DataError, sqlite3.Error) as error:
        raise DataError(f"{path}: neither wtmp nor wtmpdb: {error}") from None


def connect(
    logins: Iterable[Login],
    by: str,
    users: Sequence[str],
    window: Window,
    output: Output,
    now_ns: int,
) -> Report:
    """How long users whose names match were logged in within a window, by `user` or by `day`."""
    chosen = [
        login
        for login in logins
        if not users or any(fnmatchcase(login.user, user) for user in users)
    ]
    ended_ns = min(window.until or now_ns, now_ns)
    columns = _KEYS[by]
    shown = output.choose(dict.fromkeys(columns, ""), columns)
    sums = {"user": _by_user, "day": _by_day}[by](chosen, window.since or 0, ended_ns)
    rows: list[Row] = [total.row(key) for key, total in sums.items()]
    if by == "user":
        rows.sort(key=lambda row: (-row[2], row[0]))
    ordered = output.ordered(columns, rows)
    words = []
    inexact = sum(not login.exact for login in chosen)
    if inexact:
        which, whose = f"{inexact} logins have no logout; they count", "their"
        if inexact == 1:
            which, whose = "1 login has no logout; it counts", "its"
        words.append(f"{which} up to the next boot or the next login on {whose} line")
    if output.limit is not None and len(ordered) > output.limit:
        words.append(f"showing {output.limit} of {len(ordered)} rows; --limit shows more")
    return Report(
        columns,
        shown,
        ordered[: output.limit],
        words,
        nothing=lambda: "nobody was logged in" + (" in that window" if window else ""),
    )


def _part(login: Login, since_ns: int, until_ns: int) -> int | None:
    """How much of a login, in microseconds, is in a span; None: nothing."""
    first = max(login.since_us, since_ns // _US_NS)
    last = until_ns // _US_NS
    if login.until_us is not None:
        last = min(last, login.until_us)
    return last - first if last > first or first == login.since_us == last else None


def _by_user(logins: Sequence[Login], since_ns: int, until_ns: int) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = defaultdict(_Sum)
    for login in logins:
        part = _part(login, since_ns, until_ns)
        if part is not None:
            sums[login.user].add(login, part)
    return sums


def _by_day(logins: Sequence[Login], since_ns: int, until_ns: int) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = {}
    if not logins:
        return sums
    first_ns = max(since_ns, min(login.since_us for login in logins) * _US_NS)
    for day in periods.lay("day", first_ns, max(first_ns, until_ns - 1)):
        total = _Sum()
        for login in logins:
            part = _part(login, max(day.since_ns, since_ns), min(day.until_ns, until_ns))
            if part is not None:
                total.add(login, part)
        if total.logins:
            sums[day.label] = total
    return sums
