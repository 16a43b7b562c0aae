"""The ends of boots: what was open when a machine went down, what nobody heard until it did, and
what accounting tells of it later.

When a boot ended nobody writes down. It was no earlier than the last moment that jobd or an
accounting record tells of, which is taken for the end of what was open; and no later than the next
boot began, so up to there something may be missing. Callers hold a transaction.
"""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import NamedTuple

from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End
from elsa.store import boots

HEARD_BEFORE = """exists (
    select 1 from boot as earlier join collector on collector.boot_id = earlier.id
    where earlier.host_id = boot.host_id and earlier.id < boot.id
)"""
"""Whether a collector had run on this host before a row of `boot`: what it did not hear since is a
loss, not the time before ELSA.
"""

# The last of a boot is among so many; to look through all would take too long for a jobd that
# begins.
NEWEST_RECORDS = 10_000
# By these indexes, or SQLite would go through every process of the boot.
_OPEN = {
    "process_running": "elapsed_ns is null",
    "process_inexact": f"(end_source = 2 or end_source >= 4) and end_source = {End.REBOOT:d}",
}


class Over(NamedTuple):
    """A boot that is over and has not been closed yet."""

    id: int
    started_at_ns: int
    heard_ns: int
    """Up to when a collector heard it; 0 if none did."""
    was_stopped: int
    """1 if its last collector was stopped in order."""


def close_earlier(connection: sqlite3.Connection, boot_id: int, booted_at_ns: int) -> None:
    """Close what is open on earlier boots of the host of this one, which began at a real time."""
    over = [
        Over(*row)
        for row in connection.execute(
            f"""select boot.id, boot.started_at_ns,
                       coalesce((select max(heard_ns) from collector where boot_id = boot.id), 0),
                       coalesce((select stopped_ns is not null from collector where boot_id = boot.id order by id desc limit 1), 0)
                from boot
                where boot.host_id = (select host_id from boot where id = ?) and boot.id <> ? and boot.uuid is not null
                    and boot.ended_at_ns is null
                    and (exists (select 1 from collector where boot_id = boot.id) or {HEARD_BEFORE})
                order by boot.id""",
            (boot_id, boot_id),
        )
    ]
    begun_at_ns = [*(boot.started_at_ns for boot in over), booted_at_ns]
    for boot, (_, next_at_ns) in zip(over, pairwise(begun_at_ns), strict=True):
        clocks = _clocks(connection, boot)
        _note_unheard(connection, boot, clocks.monotonic_ns(next_at_ns))
        last_ns = max(boot.heard_ns, _last_record_ns(connection, boot))
        _end(connection, boot.id, last_ns, clocks, next_at_ns)


def lived_on(connection: sqlite3.Connection, boot_id: int, at_ns: int) -> None:
    """Records tell that a boot that is over ran until a real time: what was open when it ended did
    so no earlier.
    """
    ended_at_ns, next_at_ns = connection.execute(
        """select ended_at_ns, (
               select min(later.started_at_ns) from boot as later where later.host_id = boot.host_id and later.id > boot.id
           )
           from boot where id = ?""",
        (boot_id,),
    ).fetchone()
    until_at_ns = at_ns if next_at_ns is None else min(at_ns, next_at_ns)
    if until_at_ns > ended_at_ns:
        clocks = boots.clocks_of(connection, boot_id)
        _end(connection, boot_id, clocks.monotonic_ns(until_at_ns), clocks, until_at_ns)


def _clocks(connection: sqlite3.Connection, boot: Over) -> Clocks:
    """The clocks of a boot; of one that ended before any was stored, the one that its start tells."""
    clocks = boots.clocks_of(connection, boot.id)
    if not clocks.known:
        clocks.known.append(
            Clock(
                boots.next_own_id(connection, "clock", boots.COLLECTOR_IDS),
                0,
                boot.started_at_ns,
                0,
            )
        )
        boots.add_clock(connection, boot.id, clocks.current)
    return clocks


def _note_unheard(connection: sqlite3.Connection, boot: Over, latest_ns: int) -> None:
    """Put on record that nobody heard a boot to its end; where the clock was set back since, the
    end is not known at all.
    """
    if not boot.heard_ns:
        kind, note = "boot", "the collector was not started in this boot"
    elif boot.was_stopped:
        kind, note = "shutdown", "up to the next boot at the latest"
    else:
        kind, note = "crash", "up to the next boot at the latest"
    to_ns = latest_ns if latest_ns > boot.heard_ns else None
    connection.execute(
        "insert into gap (boot_id, kind, from_ns, to_ns, note) values (?, ?, ?, ?, ?)",
        (boot.id, kind, boot.heard_ns, to_ns, note),
    )


def _last_record_ns(connection: sqlite3.Connection, boot: Over) -> int:
    """The last end of this boot that the records read last tell of, where they were read before the
    boot was known to be over; else 0.
    """
    found = connection.execute(
        """select max(start_ns + elapsed_ns)
           from (select process_id from acct order by id desc limit ?) as newest
           join process on process.id = newest.process_id
           where boot_id = ?""",
        (NEWEST_RECORDS, boot.id),
    ).fetchone()
    return found[0] or 0


def _end(
    connection: sqlite3.Connection, boot_id: int, last_ns: int, clocks: Clocks, latest_at_ns: int
) -> None:
    """The boot, and what was open when it ended, ended at a monotonic time, which is no later than
    a real one.
    """
    clock = clocks.at(last_ns)
    ended_at_ns = min(last_ns + clock.offset_ns, latest_at_ns)
    connection.execute("update boot set ended_at_ns = ? where id = ?", (ended_at_ns, boot_id))
    for index, which in _OPEN.items():
        connection.execute(
            f"""update process indexed by {index} set elapsed_ns = max(? - start_ns, 0), end_clock_id = ?, end_source = ?
                where boot_id = ? and {which}""",
            (last_ns, clock.id, End.REBOOT, boot_id),
        )
    connection.execute(
        """update job set closed_at_ns = ?, close_reason = 'reboot'
           where boot_id = ? and (closed_at_ns is null or close_reason = 'reboot')""",
        (ended_at_ns, boot_id),
    )
