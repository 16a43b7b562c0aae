"""What is known of the accounting files that were read: their rows, their resume points, and how a file is known again.

A file is known by its content: its first record and the bytes before the resume point. Callers hold a transaction where they write.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass

from elsa.decode.acct import RECORD_SIZE, decode_record, plausible
from elsa.kernel.acctfile import AcctFile, FileIdentity

_COLUMNS = "id, path, device, inode, disk_size, modified_at_ns, head, tail, position, records, skipped_bytes"


@dataclass
class Known:
    """A row of acct_file."""

    id: int
    path: str
    device: int
    inode: int
    disk_size: int
    modified_at_ns: int
    head: bytes
    tail: bytes
    position: int
    records: int
    skipped_bytes: int


def is_unchanged(connection: sqlite3.Connection, host_id: int, status: os.stat_result) -> bool:
    """Whether exactly this file was read to its end before and nobody touched it since, so that it need not be opened."""
    sql = "select 1 from acct_file where host_id = ? and device = ? and inode = ? and disk_size = ? and modified_at_ns = ?"
    key = (host_id, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return connection.execute(sql, key).fetchone() is not None


def recognise(connection: sqlite3.Connection, host_id: int, file: AcctFile, identity: FileIdentity) -> Known | None:
    """The row of a file that was read before, with the resume point; None for a new one.

    A file that was cut short since, and perhaps written on, gets a row that ends where it still is what was read.
    """
    rows = connection.execute(
        f"select {_COLUMNS} from acct_file where host_id = ? and head = ? order by position desc", (host_id, identity.head)
    ).fetchall()
    known = [Known(*row) for row in rows]
    for one in known:
        if file.matches(one.head, one.tail, one.position):
            return one
    if not known:
        return None
    common, records = max(_common(connection, one, file) for one in known)
    return _add(connection, host_id, identity, file.before(common), common, records)


def _common(connection: sqlite3.Connection, known: Known, file: AcctFile) -> tuple[int, int]:
    """Up to where (bytes, records) a file holds the records that were read from a known one."""
    end, count = 0, 0
    rows = connection.execute(
        """select position, flag, version, tty, exitcode, uid, gid, pid, ppid, btime, etime, utime, stime, mem, io, rw, minflt, majflt,
                  swaps, comm.name
           from acct join comm on comm.id = comm_id where acct_file_id = ? order by position""",
        (known.id,),
    )
    for position, *stored in rows:
        data = file.read(position, RECORD_SIZE)
        if not plausible(data) or tuple(decode_record(data)) != tuple(stored):
            break
        end, count = position + RECORD_SIZE, count + 1
    return end, count


def add(connection: sqlite3.Connection, host_id: int, identity: FileIdentity) -> Known:
    """A row for a new file, nothing of it read yet."""
    return _add(connection, host_id, identity, b"", 0, 0)


def _add(connection: sqlite3.Connection, host_id: int, identity: FileIdentity, tail: bytes, position: int, records: int) -> Known:
    new_id = connection.execute("select coalesce(max(id), 0) + 1 from acct_file").fetchone()[0]
    known = Known(new_id, str(identity.path.absolute()), identity.device, identity.inode, -1, -1, identity.head, tail, position, records, 0)
    connection.execute(
        f"insert into acct_file ({_COLUMNS}, host_id, read_at_ns) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (*vars(known).values(), host_id),
    )
    return known


def save(connection: sqlite3.Connection, known: Known, now_at_ns: int) -> None:
    """Store the resume point, in the transaction of the rows that it stands for."""
    connection.execute(
        """update acct_file set path = ?, device = ?, inode = ?, disk_size = ?, modified_at_ns = ?, tail = ?, position = ?, records = ?,
                                skipped_bytes = ?, read_at_ns = ?
           where id = ?""",
        (
            known.path,
            known.device,
            known.inode,
            known.disk_size,
            known.modified_at_ns,
            known.tail,
            known.position,
            known.records,
            known.skipped_bytes,
            now_at_ns,
            known.id,
        ),
    )


def give_up_rest(connection: sqlite3.Connection, known: Known, why: str) -> None:
    """Put on record, once, that a damaged file cannot be read beyond the resume point; nobody knows how much is missing."""
    connection.execute(
        """insert into gap (kind, acct_file_id, from_position, note)
           select 'file', :file, :position, :why
           where not exists (select 1 from gap where acct_file_id = :file and from_position = :position)""",
        {"file": known.id, "position": known.position, "why": why},
    )


def skip(connection: sqlite3.Connection, known: Known, first: int, last: int) -> None:
    """Put on record that these bytes hold no record."""
    connection.execute(
        "insert into gap (kind, acct_file_id, from_position, to_position, note) values ('file', ?, ?, ?, 'bytes that are no record')",
        (known.id, first, last),
    )
