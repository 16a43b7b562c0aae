"""The accounting files that were read: their rows in the warehouse, their resume points, and how a
file is recognised.

A file is recognised by its content: its first record and the bytes before the resume point. Callers
of functions that write hold a transaction.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elsa.decode.acct import RECORD_SIZE, decode_record
from elsa.decode.acct_search import LOOKAHEAD, begins_with_record, plausible
from elsa.decode.acct_times import CLOCK_SET, exit_second
from elsa.errors import ElsaError
from elsa.kernel.acct_file import AcctFile, FileIdentity
from elsa.text import printable

_COLUMNS = (
    "id, path, device, inode, disk_size, modified_at_ns, head, tail, position, records,"
    " skipped_bytes"
)


@dataclass
class StoredFile:
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
    """Whether this file was read to its end and has not changed since, so that it need not be
    opened.
    """
    sql = (
        "select 1 from acct_file where host_id = ? and device = ? and inode = ? and disk_size = ?"
        " and modified_at_ns = ?"
    )
    key = (host_id, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return connection.execute(sql, key).fetchone() is not None


def recognise(
    connection: sqlite3.Connection, host_id: int, file: AcctFile, identity: FileIdentity
) -> StoredFile | None:
    """The row of a file that was read before, with the resume point; None for a new file.

    A file that was cut short or damaged since is a new file: elsa/ingest/duplicates.py finds its
    repeated records. If no record of a file was read, its first record proves nothing; nor if no
    clock was set, as every boot may start with the same record.
    """
    rows = connection.execute(
        f"select {_COLUMNS} from acct_file where host_id = ? and head = ? order by position desc",
        (host_id, identity.head),
    ).fetchall()
    for row in rows:
        known = StoredFile(*row)
        same = (known.device, known.inode) == (identity.device, identity.inode)
        if not same and (not known.position or (_is_undated(known) and _still_exists(known))):
            continue
        matches = file.matches(known.head, known.tail, known.position)
        if matches and not _is_sounder(connection, file, known):
            return known
    return None


def _is_undated(known: StoredFile) -> bool:
    """Whether all of it was written before the clock was set."""
    return all(
        exit_second(decode_record(record)) < CLOCK_SET
        for record in (known.head, known.tail)
        if plausible(record)
    )


def _still_exists(known: StoredFile) -> bool:
    """Whether the known file is still in its folder, so that a file elsewhere is not that file."""
    with suppress(OSError, ElsaError), os.scandir(Path(known.path).parent) as entries:
        for entry in entries:
            if entry.inode() == known.inode:
                with AcctFile(entry.path) as file:
                    return file.matches(known.head, known.tail, known.position)
    return False


def _is_sounder(connection: sqlite3.Connection, file: AcctFile, known: StoredFile) -> bool:
    """Whether a file, otherwise the same as the known one, has records where that has damage."""
    if not known.skipped_bytes:
        return False
    skipped = connection.execute(
        "select from_position from gap where acct_file_id = ? and to_position <= ?",
        (known.id, known.position),
    ).fetchall()
    return any(
        begins_with_record(file.read(first, LOOKAHEAD + RECORD_SIZE)) for (first,) in skipped
    )


def path_text(path: Path) -> str:
    """A path as it is stored, although a name may be any bytes."""
    return printable(path.absolute())


def second_before(connection: sqlite3.Connection, known: StoredFile) -> int | None:
    """The second in which the record before the resume point was written. For a new file that is
    the last record that was read of the host: rotated files are read oldest first.
    """
    row = connection.execute(
        """select acct_file_id, ended_s, (select host_id from acct_file where id = acct_file_id),
                  (select host_id from acct_file where id = ?)
           from acct order by id desc limit 1""",
        (known.id,),
    ).fetchone()
    if row is not None:
        file_id, ended, file_host_id, host_id = row
        if file_id == known.id or (not known.position and file_host_id == host_id):
            return int(ended)
    return exit_second(decode_record(known.tail)) if plausible(known.tail) else None


def add(connection: sqlite3.Connection, host_id: int, identity: FileIdentity) -> StoredFile:
    """Add a row for a new file, of which nothing was read yet."""
    new_id = connection.execute("select coalesce(max(id), 0) + 1 from acct_file").fetchone()[0]
    known = StoredFile(
        id=new_id,
        path=path_text(identity.path),
        device=identity.device,
        inode=identity.inode,
        disk_size=-1,
        modified_at_ns=-1,
        head=identity.head,
        tail=b"",
        position=0,
        records=0,
        skipped_bytes=0,
    )
    connection.execute(
        f"insert into acct_file ({_COLUMNS}, host_id, read_at_ns) values (?, ?, ?, ?, ?, ?, ?, ?,"
        " ?, ?, ?, ?, 0)",
        (*vars(known).values(), host_id),
    )
    return known


def save(connection: sqlite3.Connection, known: StoredFile, now_at_ns: int) -> None:
    """Store the resume point, in the same transaction as the rows before it."""
    connection.execute(
        """
        update acct_file
        set path = :path, device = :device, inode = :inode, disk_size = :disk_size,
            modified_at_ns = :modified_at_ns, tail = :tail, position = :position,
            records = :records, skipped_bytes = :skipped_bytes, read_at_ns = :now_at_ns
        where id = :id""",
        {**vars(known), "now_at_ns": now_at_ns},
    )


def forget_skipped(connection: sqlite3.Connection, known: StoredFile) -> None:
    """Delete the gaps from the resume point on: these bytes may have become records."""
    gaps = connection.execute(
        "delete from gap where acct_file_id = ? and from_position >= ? returning"
        " coalesce(to_position - from_position, 0)",
        (known.id, known.position),
    ).fetchall()
    known.skipped_bytes -= sum(length for (length,) in gaps)


def skip_rest(connection: sqlite3.Connection, known: StoredFile, why: str) -> None:
    """Record that a damaged file cannot be read beyond the resume point; how much is missing is not
    known.
    """
    connection.execute(
        "insert into gap (kind, acct_file_id, from_position, note) values ('file', ?, ?, ?)",
        (known.id, known.position, why),
    )


def skip(
    connection: sqlite3.Connection, known: StoredFile, first: int, last: int, what: str
) -> None:
    """Record that these bytes hold no record."""
    connection.execute(
        "insert into gap (kind, acct_file_id, from_position, to_position, note) values ('file', ?,"
        " ?, ?, ?)",
        (known.id, first, last, what),
    )
    known.skipped_bytes += last - first
