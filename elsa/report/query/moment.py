"""Which time a report on a moment is about: the interval between two readings of living processes
that holds the moment, on each host. Where there is none, the minute of the clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from elsa.report.query.process_rows import columns_of
from elsa.report.query.statement import Condition, literal
from elsa.report.query.times import Window
from elsa.state.codes import OF_ALL
from elsa.units import HOUR_NS, SECOND_NS

_MINUTE_NS = 60 * SECOND_NS
# jobd reads late, and stores what it read some seconds later.
_LATE_NS = 20 * SECOND_NS
_READINGS = f"""from usage_reading as r
    join clock as c on c.id = r.clock_id
    join boot as b on b.id = c.boot_id
    where b.host_id = :host and r.of_all = {OF_ALL}"""
_AT_NS = "r.until_ns + c.offset_ns"
_SINCE_AT_NS = "r.since_ns + c.offset_ns"
# Of old hours one long interval is left, and the shorter intervals of processes that entered or
# left a job: the long interval is of all processes.
_OLDEST_AFTER = f"""{_READINGS} and r.hour >= :hour and {_AT_NS} > :at
    order by r.hour, {_SINCE_AT_NS} > :at,
        iif({_SINCE_AT_NS} > :at, {_AT_NS}, r.since_ns - r.until_ns) limit 1"""
_NEWEST_UNTIL = f"""{_READINGS} and r.hour <= :hour and {_AT_NS} <= :at
    order by r.hour desc, {_AT_NS} desc limit 1"""


class Reading(NamedTuple):
    """A reading of all living processes, in real time."""

    boot_id: int
    since_ns: int
    until_ns: int
    is_first: bool
    """Of the boot."""


class Interval(NamedTuple):
    """The time that a report on a moment is about, on one host; real times."""

    host_id: int
    host: str
    since_ns: int
    until_ns: int
    boot_id: int | None = None
    """The boot whose processes jobd read; None: it read none around the moment."""
    is_over: bool = False
    """It ends with a reading."""
    ends_known: bool = True
    """If not, jobd did not run then and since, and what has no end may have ended before."""
    is_first: bool = False
    """What older processes used in it is not known, as they had not been read before."""


class Heard(NamedTuple):
    """Up to when jobd has stored what happened on a host, in real time."""

    ns: int
    is_now: bool
    """Nothing shows that jobd does not run any more."""


def intervals(
    connection: sqlite3.Connection, at_ns: int, now_ns: int, choices: Iterable[Condition] = ()
) -> list[Interval]:
    """The interval of each host that may be chosen, the interval that holds a moment; of an empty
    warehouse the minute.
    """
    of_hosts = [each for each in choices if columns_of([each.sql]) == {"host_id"}]
    where = " and ".join(["true", *(each.sql for each in of_hosts)])
    hosts = connection.execute(
        f"select u.host_id, u.name from (select id as host_id, name from host) as u where {where}"
        " order by 1",
        [value for each in of_hosts for value in each.values],
    ).fetchall()
    return [
        _interval(connection, host_id, name, at_ns, now_ns) for host_id, name in hosts or [(0, "")]
    ]


def whole(found: list[Interval]) -> Window:
    """The window that has all the intervals in it."""
    return Window(min(each.since_ns for each in found), max(each.until_ns for each in found))


def within(found: list[Interval]) -> list[Condition]:
    """The condition that a row `u` is of the interval of its host; none if there is one host, whose
    interval is the window.
    """
    if len(found) == 1:
        return []
    of_each = (
        f"(u.host_id = {each.host_id} and u.entered_ns < {each.until_ns}"
        f" and (u.out_ns is null or u.out_ns >= {each.since_ns}))"
        for each in found
    )
    return [Condition(f"({' or '.join(of_each)})")]


def of_host(found: list[Interval], name: str) -> str:
    """SQL for a field of the interval of the host of a row `u`."""
    values = {each.host_id: literal(getattr(each, name)) for each in found}
    if len({*values.values()}) == 1:
        return next(iter(values.values()))
    cases = " ".join(f"when {host_id} then {value}" for host_id, value in values.items())
    return f"case u.host_id {cases} end"


def _interval(
    connection: sqlite3.Connection, host_id: int, host: str, at_ns: int, now_ns: int
) -> Interval:
    before, after = (
        _reading(connection, sql, host_id, at_ns) for sql in (_NEWEST_UNTIL, _OLDEST_AFTER)
    )
    made = partial(Interval, host_id, host)
    if after is not None and after.since_ns <= at_ns:
        is_first = bool(after.is_first)
        return made(after.since_ns, after.until_ns, after.boot_id, is_over=True, is_first=is_first)
    # If a reading finds that no process has used anything, nothing is stored.
    if before is not None and after is not None and before.boot_id == after.boot_id:
        length_ns = after.until_ns - after.since_ns
        until_ns = after.since_ns - (after.since_ns - at_ns - 1) // length_ns * length_ns
        since_ns = max(until_ns - length_ns, before.until_ns)
        return made(since_ns, until_ns, before.boot_id, is_over=True)
    if before is not None:
        heard = _heard(connection, before.boot_id, now_ns)
        if heard.is_now or heard.ns >= at_ns:
            return made(*_after_last(before, heard, at_ns))
    since_ns = at_ns - at_ns % _MINUTE_NS
    until_ns = min(since_ns + _MINUTE_NS, now_ns + 1)
    if before is not None:
        since_ns = max(since_ns, before.until_ns)
    newest = _newest(connection, host_id, now_ns)
    ends_known = newest is None or newest.is_now or newest.ns >= at_ns
    if newest is not None and not ends_known:
        since_ns = max(since_ns, newest.ns + 1)
    if after is not None:
        until_ns = min(until_ns, after.since_ns)
    return made(since_ns, until_ns, ends_known=ends_known)


def _after_last(last: Reading, heard: Heard, at_ns: int) -> tuple[int, int, int, bool]:
    """The interval for a moment after the last stored reading of a boot, while jobd was listening:
    its start, end and boot, and whether it is over.

    If it is not over, but will be, it is the newest interval that is over, since half an interval
    of ended processes beside nothing of the others would show the wrong processes. If jobd stopped
    in it, it ends there.
    """
    length_ns = last.until_ns - last.since_ns
    since_ns = at_ns - (at_ns - last.until_ns) % length_ns
    read_ns = heard.ns - _LATE_NS  # later readings may not be stored yet
    if since_ns + length_ns <= read_ns:
        return since_ns, since_ns + length_ns, last.boot_id, True
    if not heard.is_now:
        return since_ns, min(since_ns + length_ns, heard.ns + 1), last.boot_id, False
    while since_ns > max(read_ns, last.until_ns):
        since_ns -= length_ns
    if since_ns <= last.until_ns:
        return last.since_ns, last.until_ns, last.boot_id, True
    return since_ns - length_ns, since_ns, last.boot_id, True


def _reading(
    connection: sqlite3.Connection, source: str, host_id: int, at_ns: int
) -> Reading | None:
    row = connection.execute(
        f"select c.boot_id, r.since_ns, r.until_ns, c.offset_ns {source}",
        {"host": host_id, "hour": at_ns // HOUR_NS, "at": at_ns},
    ).fetchone()
    if row is None:
        return None
    boot_id, since_ns, until_ns, offset_ns = row
    is_first = not since_ns
    if is_first:
        (since_ns,) = connection.execute(
            "select coalesce(min(since_ns), 0) from collector where boot_id = ?", (boot_id,)
        ).fetchone()
    # A clock that was set back in between does not make the interval shorter.
    earlier_ns = min(_offset(connection, boot_id, since_ns), offset_ns)
    return Reading(boot_id, since_ns + earlier_ns, until_ns + offset_ns, is_first)


def _newest(connection: sqlite3.Connection, host_id: int, now_ns: int) -> Heard | None:
    """Up to when the newest run of jobd on a host has stored what happened; None: it never ran."""
    row = connection.execute(
        """select c.boot_id from collector as c join boot as b on b.id = c.boot_id
           where b.host_id = ? order by c.id desc limit 1""",
        (host_id,),
    ).fetchone()
    return None if row is None else _heard(connection, row[0], now_ns)


def _heard(connection: sqlite3.Connection, boot_id: int, now_ns: int) -> Heard:
    """Up to when jobd has stored what happened in a boot."""
    heard_ns, stopped_ns = connection.execute(
        "select coalesce(heard_ns, 0), stopped_ns from collector where boot_id = ?"
        " order by id desc limit 1",
        (boot_id,),
    ).fetchone() or (0, None)
    real_ns = heard_ns + _offset(connection, boot_id, heard_ns)
    return Heard(real_ns, stopped_ns is None and real_ns >= now_ns - _LATE_NS)


def _offset(connection: sqlite3.Connection, boot_id: int, ns: int) -> int:
    """What turns a monotonic time of a boot into real time."""
    (offset_ns,) = connection.execute(
        """select offset_ns from clock where boot_id = ?
           order by since_ns > ?, abs(since_ns - ?) limit 1""",
        (boot_id, ns, ns),
    ).fetchone()
    return int(offset_ns)
