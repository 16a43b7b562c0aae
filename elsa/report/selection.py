"""Which processes a report is about: a window of time, in the words that people write, and a job by its id or name.

A process belongs to the window in which it ended, [since, until), so windows that follow each other add up to the whole.
"""

from __future__ import annotations

import re
import sqlite3
from datetime import datetime, time, timedelta
from typing import NamedTuple

from elsa.errors import UsageError
from elsa.report.columns import printable

_NOW = re.compile(r"now(?:([+-])(\d+)\s*(s|sec|m|min|h|d|w|(?:second|minute|hour|day|week)s?))?")
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_EXAMPLES = "2026-11-02, 2026-11-02T09:30, 2026-11-02T09:30+01:00, 09:30, today, yesterday, midnight, noon, now, now-2hours, now-1day"


class Window(NamedTuple):
    """A half-open span of real time in ns since 1970; None is no bound."""

    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any bound at all."""
        return self.since is not None or self.until is not None

    def where(self, column: str) -> list[str]:
        """SQL conditions that a time is in the window; plain integers of ours, so nothing to bind."""
        conditions = []
        if self.since is not None:
            conditions.append(f"{column} >= {self.since}")
        if self.until is not None:
            conditions.append(f"{column} < {self.until}")
        return conditions


class Jobs(NamedTuple):
    """The jobs whose ids are from `first` to `last`: of a list that is cut at some job, or a single one."""

    first: int
    last: int

    def where(self, column: str) -> str:
        """SQL condition that a job is one of them; plain integers of ours, so nothing to bind."""
        return f"{column} between {self.first} and {self.last}"


def window(since: str | None, until: str | None, now: datetime) -> Window:
    """The window between two written times. Raises UsageError."""
    found = Window(
        None if since is None else moment(since, now, "--since"),
        None if until is None else moment(until, now, "--until"),
    )
    if found.since is not None and found.until is not None and found.since >= found.until:
        raise UsageError(f"--since {since} is not before --until {until}; give an earlier --since or a later --until")
    return found


def moment(text: str, now: datetime, option: str = "time") -> int:
    """A written time in ns since 1970. A time without a zone is this host's; a time of day is today's. Raises UsageError."""
    word = text.strip().lower()
    try:
        # round, since a float of seconds since 1970 cannot hold every microsecond
        return round(_datetime(word, now).timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{option}: cannot read the time {text!r}; write for example {_EXAMPLES}") from None


def _datetime(word: str, now: datetime) -> datetime:
    relative = _NOW.fullmatch(word)
    if relative:
        sign, count, unit = relative.groups()
        seconds = int(count) * _UNITS[unit[0]] if count else 0
        return now + timedelta(seconds=-seconds if sign == "-" else seconds)
    today = now.astimezone().date()
    days = {"today": 0, "midnight": 0, "yesterday": -1, "tomorrow": 1}
    if word in days:
        # A naive time: timestamp() reads it as local, so the midnight is right on days of 23 and 25 hours too.
        return datetime.combine(today + timedelta(days=days[word]), time())
    if word == "noon":
        return datetime.combine(today, time(12))
    if _CLOCK.fullmatch(word):
        return datetime.combine(today, time.fromisoformat(word.zfill(8 if word.count(":") == 2 else 5)))
    return datetime.fromisoformat(word.upper())


def job_id(connection: sqlite3.Connection, text: str) -> int:
    """Id of the job that is meant by an id or a name; of several with one name, the only open one. Raises UsageError."""
    if text.isascii() and text.isdigit():
        found = connection.execute("select id from job where id = ?", (min(int(text), 2**63 - 1),)).fetchone()
        if found:
            return int(found[0])
    rows = connection.execute("select id, closed_at_ns is null from job where name = ? order by id", (text,)).fetchall()
    if not rows:
        raise UsageError(f"no job has the id or name {printable(text)}; see them with: elsa report jobs")
    if len(rows) == 1:
        return int(rows[0][0])
    running = [number for number, is_open in rows if is_open]
    if len(running) == 1:
        return int(running[0])
    ids = ", ".join(str(number) for number, _ in rows[-10:])
    more = "" if len(rows) <= 10 else f"the newest of {len(rows)} being "
    raise UsageError(f"several jobs have the name {printable(text)}; name one by its id: {more}{ids}")
