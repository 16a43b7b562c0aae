"""Whether what feeds the warehouse still does: reports that reach to now say so when the collector
or the ingester does not.
"""

from __future__ import annotations

import json
import os
import sqlite3
from typing import NamedTuple

from elsa.kernel.procfs import INITIAL_NAMESPACES, Procfs
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.columns import local_time

SECOND = 1_000_000_000
# The collector notes at least every ten seconds that it still hears, also when nothing happens.
_SILENCE_NS = 20 * SECOND
# Where accounting is on, hardly an hour passes on any host without a process that ends; but many
# read the file once a day.
_UNREAD_NS = 25 * 3600 * SECOND


class Open(NamedTuple):
    """A silence that has not ended: the collector has stored nothing since."""

    host_id: int
    host: str
    boot_id: int
    since_at: str
    stopped: bool
    """By a request, and not without notice."""


def still_open(connection: sqlite3.Connection, window: Window, now_ns: int) -> Open | None:
    """The silence up to now, or to the end of a window: only the next start of the collector puts
    it on record as a gap.
    """
    heard = _heard(connection)
    end_ns = now_ns if window.until is None else min(window.until, now_ns)
    if heard is None or end_ns <= heard[1]:
        return None
    host_id, host, boot_id, pid, stopped = connection.execute(
        """select h.id, h.name, c.boot_id, c.pid, c.stopped_ns is not null
           from collector as c join boot as b on b.id = c.boot_id join host as h on h.id = b.host_id
           order by c.id desc limit 1"""
    ).fetchone()
    if end_ns - heard[1] <= _SILENCE_NS and not stopped and _may_live(pid):
        return None
    return Open(host_id, host, boot_id, heard[0], bool(stopped))


def _may_live(pid: int) -> bool:
    """Whether a process may still be there: only where all pids can be seen, none with that pid
    means that it is not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Procfs().namespace("pid") != INITIAL_NAMESPACES["pid"]
    except OSError:
        return True
    return True


def silence(connection: sqlite3.Connection, window: Window, now_ns: int) -> list[str]:
    """Say that the collector does not hear now, or did not to the end of the window, or that
    accounting is read no more.
    """
    if _heard(connection) is None:
        return ["the collector was never started here; start it with: elsa jobd"]
    found = still_open(connection, window, now_ns)
    if found is None:
        return _unread(connection, now_ns) if window.until is None or window.until >= now_ns else []
    return [
        f"the collector has stored nothing since {local_time(found.since_at)}: what happened later"
        " only accounting can tell"
    ]


def late(connection: sqlite3.Connection, selection: Selection, now_ns: int) -> list[str]:
    """The same for a report on a selection, where it matters: not where accounting alone is used,
    nor for jobs that were over by then.
    """
    heard = _heard(connection)
    if heard is None or (
        selection.jobs is not None and _over(connection, selection.jobs, heard[1])
    ):
        return []
    return silence(connection, selection.window, now_ns)


def _heard(connection: sqlite3.Connection) -> tuple[str, int] | None:
    """Up to when (as text, and real nanoseconds) the newest run of the collector has stored what
    happened.
    """
    row = connection.execute(
        """select strftime('%Y-%m-%dT%H:%M:%SZ', (heard.heard_ns + k.offset_ns) / 1000000000, 'unixepoch'), heard.heard_ns + k.offset_ns
           from (select boot_id, heard_ns from collector order by id desc limit 1) as heard
           join clock as k on k.boot_id = heard.boot_id
           order by k.since_ns > heard.heard_ns, abs(heard.heard_ns - k.since_ns)
           limit 1"""
    ).fetchone()
    return None if row is None else (row[0], int(row[1]))


def _over(connection: sqlite3.Connection, jobs: tuple[int, ...], time_ns: int) -> bool:
    """Whether all these jobs were closed, and their last processes had ended, before a moment."""
    ids = json.dumps(jobs)
    is_open = """select exists (
            select 1 from job where id in (select value from json_each(?)) and (closed_at_ns is null or closed_at_ns > ?)
        ) or exists (
            select 1 from process as p cross join membership as m on m.process_id = p.id
            where p.elapsed_ns is null and +m.job_id in (select value from json_each(?))
        )"""
    return not connection.execute(is_open, (ids, time_ns, ids)).fetchone()[0]


def _unread(connection: sqlite3.Connection, now_ns: int) -> list[str]:
    """Say that accounting was read once and then no more, although the collector hears on."""
    read_at, read_ns = connection.execute(
        "select strftime('%Y-%m-%dT%H:%M:%SZ', max(read_at_ns) / 1000000000, 'unixepoch'),"
        " max(read_at_ns) from acct_file"
    ).fetchone()
    if read_ns is None or now_ns - read_ns <= _UNREAD_NS:
        return []
    return [
        f"no accounting record was read since {local_time(read_at)}: accounting is off, or elsa"
        " ingest is not run any more"
    ]
