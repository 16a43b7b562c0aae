"""Notes for reports that reach to now: jobd does not run, or accounting is not read any more."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import NamedTuple

from elsa.formats import local_time, utc_time
from elsa.kernel.procfs import INITIAL_NAMESPACES, Procfs
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.query.warehouse import of_fleet, several_hosts
from elsa.units import SECOND_NS

# jobd stores at least every ten seconds up to when it received events, even if nothing happens.
_SILENCE_NS = 20 * SECOND_NS
# On any host, some process ends within an hour; but accounting may be read only once a day.
_UNREAD_NS = 25 * 3600 * SECOND_NS


class Silence(NamedTuple):
    """A time without jobd that has not ended: jobd has stored nothing since."""

    host_id: int
    host: str
    boot_id: int | None
    since_at: str
    since_ns: int
    stopped: bool
    """Stopped by a request, not killed."""


class StoredUntil(NamedTuple):
    """Up to when the newest run of jobd has stored events, in real time."""

    text: str
    ns: int


def still_open(connection: sqlite3.Connection, window: Window, now_ns: int) -> Silence | None:
    """The silence of jobd up to now, or to the end of a window; None if there is none. jobd records
    it as a gap when it starts again.
    """
    stored = stored_until(connection)
    end_ns = now_ns if window.until is None else min(window.until, now_ns)
    if stored is None or end_ns <= stored.ns:
        return None
    host_id, host, boot_id, pid, stopped = connection.execute(
        """select h.id, h.name, c.boot_id, c.pid, c.stopped_ns is not null
           from collector as c join boot as b on b.id = c.boot_id join host as h on h.id = b.host_id
           order by c.id desc limit 1"""
    ).fetchone()
    if end_ns - stored.ns <= _SILENCE_NS and not stopped and _may_run(pid):
        return None
    return Silence(host_id, host, boot_id, stored.text, stored.ns, bool(stopped))


def silences(connection: sqlite3.Connection, window: Window, now_ns: int) -> list[Silence]:
    """The same as a list, the newest first: of a fleet that of each host, as of its last push."""
    if of_fleet(connection):
        known = connection.execute("select * from temp.silence order by since_ns desc, host_id")
        return [
            silence
            for silence in map(Silence._make, known)
            if window.until is None or silence.since_ns < window.until
        ]
    silent = still_open(connection, window, now_ns)
    return [] if silent is None else [silent]


def _may_run(pid: int) -> bool:
    """Whether a process may still run. In a pid namespace of its own, this program cannot see that
    it does not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Procfs().namespace("pid") != INITIAL_NAMESPACES["pid"]
    except OSError:
        return True
    return True


def silence(connection: sqlite3.Connection, window: Window, now_ns: int) -> list[str]:
    """Notes: jobd does not run now, or did not at the end of the window, or accounting is not read
    any more.
    """
    if of_fleet(connection):
        return []  # elsa/fleet/lacking.py names the hosts
    if stored_until(connection) is None:
        return ["the collector was never started here; start it with: elsa jobd"]
    silent = still_open(connection, window, now_ns)
    if silent is None:
        return _unread(connection, now_ns) if window.until is None or window.until >= now_ns else []
    return [
        f"jobd has been silent since {local_time(silent.since_at)}; later data is from accounting"
        " only"
    ]


def late(connection: sqlite3.Connection, selection: Selection, now_ns: int) -> list[str]:
    """The same notes for a report on a selection. None if jobd never ran, since only accounting is
    used then, or if the jobs had ended before the silence.
    """
    stored = stored_until(connection)
    if stored is None:
        return []
    if selection.jobs is not None and _had_ended(connection, selection.jobs, stored.ns):
        return []
    return silence(connection, selection.window, now_ns)


def open_gaps(connection: sqlite3.Connection, selection: Selection, now_ns: int) -> int:
    """How many silences that have not ended touch a selection: its window, or the time in which its
    jobs ran.
    """
    silent = silences(connection, selection.window, now_ns)
    if selection.jobs is None or selection.window:
        return len(silent)
    return sum(
        not _had_ended(connection, _of_host(connection, selection.jobs, each), each.since_ns)
        for each in silent
    )


def _of_host(
    connection: sqlite3.Connection, jobs: tuple[int, ...], silent: Silence
) -> tuple[int, ...]:
    """Those of some jobs that are of the host of a silence."""
    if not several_hosts(connection):
        return jobs
    rows = connection.execute(
        """select j.id from job as j join boot as b on b.id = j.boot_id
           where b.host_id = ? and j.id in (select value from json_each(?))""",
        (silent.host_id, json.dumps(jobs)),
    )
    return tuple(id_ for (id_,) in rows)


def stored_until(connection: sqlite3.Connection) -> StoredUntil | None:
    """Up to when the newest run of jobd has stored events; None if jobd never ran."""
    row = connection.execute(
        """select strftime('%Y-%m-%dT%H:%M:%SZ', at_ns / 1000000000, 'unixepoch'), at_ns
           from (
               select last.heard_ns + k.offset_ns as at_ns
               from (select boot_id, heard_ns from collector order by id desc limit 1) as last
               join clock as k on k.boot_id = last.boot_id
               order by k.since_ns > last.heard_ns, abs(last.heard_ns - k.since_ns)
               limit 1
           )"""
    ).fetchone()
    return None if row is None else StoredUntil(row[0], int(row[1]))


def _had_ended(connection: sqlite3.Connection, jobs: tuple[int, ...], time_ns: int) -> bool:
    """Whether all these jobs were closed, and all their processes had ended, before a time."""
    ids = json.dumps(jobs)
    is_open = """select exists (
            select 1 from job
            where id in (select value from json_each(?))
                and (closed_at_ns is null or closed_at_ns > ?)
        ) or exists (
            select 1 from process as p cross join all_memberships as m on m.process_id = p.id
            where p.elapsed_ns is null and +m.job_id in (select value from json_each(?))
        )"""
    return not connection.execute(is_open, (ids, time_ns, ids)).fetchone()[0]


def unread_since_ns(connection: sqlite3.Connection, now_ns: int) -> int | None:
    """Since when no accounting record was read, if some were before."""
    (read_ns,) = connection.execute("select max(read_at_ns) from acct_file").fetchone()
    return None if read_ns is None or now_ns - read_ns <= _UNREAD_NS else int(read_ns)


def _unread(connection: sqlite3.Connection, now_ns: int) -> list[str]:
    """A note that accounting was read, but not any more, although jobd runs."""
    since_ns = unread_since_ns(connection, now_ns)
    if since_ns is None:
        return []
    return [
        f"no accounting record was read since {local_time(utc_time(since_ns))}: accounting is off,"
        " or elsa ingest is not run any more"
    ]
