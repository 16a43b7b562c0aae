"""Close boots that are over: end what was still open, and record what jobd did not receive.

No program records when a boot ends. It ended no earlier than the last moment that jobd or an
accounting record shows; that moment is stored as the end of everything still open. It ended no
later than the start of the next boot, so events may be missing until then. Callers hold a
transaction.
"""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import NamedTuple

from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End
from elsa.store import boots

JOBD_RAN_BEFORE = """exists (
    select 1 from boot as earlier join collector on collector.boot_id = earlier.id
    where earlier.host_id = boot.host_id and earlier.id < boot.id
)"""
"""Whether jobd had run on this host before a row of `boot`. If it had, what jobd did not receive
since then is a loss; otherwise it is the time before ELSA was installed.
"""

# The last record of a boot is searched among this many; searching all of them would take too long
# when jobd starts.
NEWEST_RECORDS = 10_000
# The conditions match these indexes; otherwise SQLite would read every process of the boot.
_OPEN = {
    "process_running": "elapsed_ns is null",
    "process_inexact": f"(end_source = 2 or end_source >= 4) and end_source = {End.REBOOT:d}",
}


class EndedBoot(NamedTuple):
    """A boot that is over and has not been closed yet."""

    id: int
    started_at_ns: int
    received_ns: int
    """Up to when jobd received its events; 0 if jobd did not run in it."""
    was_stopped: int
    """1 if its last jobd stopped cleanly."""


def close_earlier(connection: sqlite3.Connection, boot_id: int, booted_at_ns: int) -> None:
    """Close earlier boots of this boot's host. This boot started at `booted_at_ns` (real time)."""
    over = [
        EndedBoot(*row)
        for row in connection.execute(
            f"""select boot.id, boot.started_at_ns,
                       coalesce((select max(heard_ns) from collector where boot_id = boot.id), 0),
                       coalesce((
                           select stopped_ns is not null from collector where boot_id = boot.id
                           order by id desc limit 1
                       ), 0)
                from boot
                where boot.host_id = (select host_id from boot where id = ?) and boot.id <> ?
                    and boot.uuid is not null and boot.ended_at_ns is null
                    and (exists (select 1 from collector where boot_id = boot.id)
                         or {JOBD_RAN_BEFORE})
                order by boot.id""",
            (boot_id, boot_id),
        )
    ]
    starts_at_ns = [*(boot.started_at_ns for boot in over), booted_at_ns]
    for boot, (_, next_at_ns) in zip(over, pairwise(starts_at_ns), strict=True):
        clocks = _clocks(connection, boot)
        _record_gap_at_end(connection, boot, clocks.monotonic_ns(next_at_ns))
        last_ns = max(boot.received_ns, _last_record_ns(connection, boot))
        _end(connection, boot.id, last_ns, clocks, next_at_ns)


def extend_boot(connection: sqlite3.Connection, boot_id: int, at_ns: int) -> None:
    """Move the end of a closed boot to `at_ns` (real time), since accounting records show that it
    still ran then. What was open at its end ended no earlier either.
    """
    ended_at_ns, next_at_ns = connection.execute(
        """select ended_at_ns, (
               select min(later.started_at_ns) from boot as later
               where later.host_id = boot.host_id and later.id > boot.id
           )
           from boot where id = ?""",
        (boot_id,),
    ).fetchone()
    until_at_ns = at_ns if next_at_ns is None else min(at_ns, next_at_ns)
    if until_at_ns > ended_at_ns:
        clocks = boots.clocks_of(connection, boot_id)
        _end(connection, boot_id, clocks.monotonic_ns(until_at_ns), clocks, until_at_ns)


def _clocks(connection: sqlite3.Connection, boot: EndedBoot) -> Clocks:
    """The clocks of a boot. If it ended before a clock was stored, make one from its start."""
    clocks = boots.clocks_of(connection, boot.id)
    if not clocks.known:
        clock_id = boots.next_own_id(connection, "clock", boots.COLLECTOR_IDS)
        clocks.known.append(Clock(clock_id, 0, boot.started_at_ns, 0))
        boots.add_clock(connection, boot.id, clocks.current)
    return clocks


def _record_gap_at_end(connection: sqlite3.Connection, boot: EndedBoot, latest_ns: int) -> None:
    """Record the gap between the last event that jobd received and the end of a boot. If the clock
    was set back since, the end of the gap is unknown.
    """
    if not boot.received_ns:
        kind, note = "boot", "the collector was not started in this boot"
    elif boot.was_stopped:
        kind, note = "shutdown", "up to the next boot at the latest"
    else:
        kind, note = "crash", "up to the next boot at the latest"
    to_ns = latest_ns if latest_ns > boot.received_ns else None
    connection.execute(
        "insert into gap (boot_id, kind, from_ns, to_ns, note) values (?, ?, ?, ?, ?)",
        (boot.id, kind, boot.received_ns, to_ns, note),
    )


def _last_record_ns(connection: sqlite3.Connection, boot: EndedBoot) -> int:
    """The last end of a process of this boot among the newest accounting records; 0 if there is
    none. Such records were read before the boot was known to be over.
    """
    (last_ns,) = connection.execute(
        """select max(start_ns + elapsed_ns)
           from (select process_id from acct order by id desc limit ?) as newest
           join process on process.id = newest.process_id
           where boot_id = ?""",
        (NEWEST_RECORDS, boot.id),
    ).fetchone()
    return last_ns or 0


def _end(
    connection: sqlite3.Connection, boot_id: int, last_ns: int, clocks: Clocks, latest_at_ns: int
) -> None:
    """End the boot, and what was open in it, at a monotonic time, but no later than a real time."""
    clock = clocks.at(last_ns)
    ended_at_ns = min(last_ns + clock.offset_ns, latest_at_ns)
    connection.execute("update boot set ended_at_ns = ? where id = ?", (ended_at_ns, boot_id))
    for index, is_open in _OPEN.items():
        connection.execute(
            f"""update process indexed by {index}
                set elapsed_ns = max(? - start_ns, 0), end_clock_id = ?, end_source = ?
                where boot_id = ? and {is_open}""",
            (last_ns, clock.id, End.REBOOT, boot_id),
        )
    connection.execute(
        """update job set closed_at_ns = ?, close_reason = 'reboot'
           where boot_id = ? and (closed_at_ns is null or close_reason = 'reboot')""",
        (ended_at_ns, boot_id),
    )
