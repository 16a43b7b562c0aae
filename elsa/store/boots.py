"""The rows of hosts, boots and clocks. Hosts are known by machine id and boots by boot id; new ones
are inserted. Callers hold a transaction.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from elsa.state.clock import Clock, Clocks


class Machine(NamedTuple):
    """The host and the boot on which this program runs."""

    machine_id: str | None
    name: str
    boot_uuid: str
    booted_at_ns: int
    """Real time."""
    tick_ns: int | None = None
    """The kernel's tick; None if it is not known."""


def host_row(connection: sqlite3.Connection, machine_id: str | None, name: str) -> int:
    """The id of a host. A host without a machine id is identified by its name."""
    if machine_id is not None:
        row = connection.execute(
            "select id from host where machine_id = ?", (machine_id,)
        ).fetchone()
    else:
        row = connection.execute(
            "select id from host where machine_id is null and name = ?", (name,)
        ).fetchone()
    if row:
        host_id = int(row[0])
        connection.execute(
            "update host set name = ? where id = ? and name <> ?", (name, host_id, name)
        )
        return host_id
    return insert(
        connection,
        "insert into host (id, machine_id, name) values (?, ?, ?)",
        "host",
        machine_id,
        name,
    )


def boot_row(connection: sqlite3.Connection, machine: Machine) -> int:
    """The id of the current boot of this host."""
    row = connection.execute("select id from boot where uuid = ?", (machine.boot_uuid,)).fetchone()
    if row:
        return int(row[0])
    host_id = host_row(connection, machine.machine_id, machine.name)
    return insert(
        connection,
        "insert into boot (id, host_id, uuid, started_at_ns, tick_ns) values (?, ?, ?, ?, ?)",
        "boot",
        host_id,
        machine.boot_uuid,
        machine.booted_at_ns,
        machine.tick_ns,
    )


def unknown_boot_row(connection: sqlite3.Connection, host_id: int) -> int:
    """The id of the row for all boots of a host that are known from accounting records only."""
    row = connection.execute(
        "select id from boot where host_id = ? and uuid is null", (host_id,)
    ).fetchone()
    if row:
        return int(row[0])
    return insert(connection, "insert into boot (id, host_id) values (?, ?)", "boot", host_id)


def clocks_of(connection: sqlite3.Connection, boot_id: int) -> Clocks:
    """The clocks of a boot, oldest first."""
    rows = connection.execute(
        "select id, since_ns, offset_ns, boottime_offset_ns from clock where boot_id = ?",
        (boot_id,),
    )
    return Clocks([Clock(*row) for row in rows])


def add_clock(connection: sqlite3.Connection, boot_id: int, clock: Clock) -> None:
    """Store one clock."""
    connection.execute(
        "insert or ignore into clock values (?, ?, ?, ?, ?)", (clock.id, boot_id, *clock[1:])
    )


def next_id(connection: sqlite3.Connection, table: str) -> int:
    """The next free id of a table."""
    return int(connection.execute(f"select coalesce(max(id), 0) + 1 from {table}").fetchone()[0])


# jobd and the ingester both number incarnations and clocks, without asking each other: jobd's ids
# are even, the ingester's are odd.
COLLECTOR_IDS = 0
INGESTER_IDS = 1


def next_own_id(connection: sqlite3.Connection, table: str, parity: int) -> int:
    """The next free id of jobd or the ingester; its following ids are two apart."""
    free = next_id(connection, table)
    return free + (free + parity) % 2


def insert(connection: sqlite3.Connection, sql: str, table: str, *values: object) -> int:
    """Run an insert whose first parameter is the id; returns that id."""
    new_id = next_id(connection, table)
    connection.execute(sql, (new_id, *values))
    return new_id
