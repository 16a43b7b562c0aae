"""What is known of the accounting files that were read: their rows, their resume points, and how a
file is known again.

A file is known by its content: its first record and the bytes before the resume point. Callers hold
a transaction where they write.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elsa.decode.acct import (
    CLOCK_SET,
    LOOKAHEAD,
    RECORD_SIZE,
    begins_with_record,
    decode_record,
    exit_second,
    plausible,
)
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
    """Whether exactly this file was read to its end before and nobody touched it since, so that it
    need not be opened.
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
    """The row of a file that was read before, with the resume point; None for a new one.

    One that was cut short since, or is damaged, is a new one: elsa/ingest/duplicates.py tells which of its records are not. Of one of which
    nothing was read its first record proves nothing, nor does it where no clock was set, as every boot may begin with the same.
    """
    rows = connection.execute(
        f"select {_COLUMNS} from acct_file where host_id = ? and head = ? order by position desc",
        (host_id, identity.head),
    ).fetchall()
    for row in rows:
        known = StoredFile(*row)
        same = (known.device, known.inode) == (identity.device, identity.inode)
        if not same and (not known.position or (_is_timeless(known) and _is_elsewhere(known))):
            continue
        if file.matches(known.head, known.tail, known.position) and not _is_sounder(
            connection, file, known
        ):
            return known
    return None


def _is_timeless(known: StoredFile) -> bool:
    """Whether all of it was written before the clock was set."""
    return all(
        exit_second(decode_record(record)) < CLOCK_SET
        for record in (known.head, known.tail)
        if plausible(record)
    )


def _is_elsewhere(known: StoredFile) -> bool:
    """Whether the file that was read still stands in its folder, so that any other is another."""
    with suppress(OSError, ElsaError), os.scandir(Path(known.path).parent) as entries:
        for entry in entries:
            if entry.inode() == known.inode:
                with AcctFile(entry.path) as there:
                    return there.matches(known.head, known.tail, known.position)
    return False


def _is_sounder(connection: sqlite3.Connection, file: AcctFile, known: StoredFile) -> bool:
    """Whether a file holds records where the known one, otherwise the same, holds none: it is the
    better copy.
    """
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
    """A path as it is stored, where a name may be bytes of any kind."""
    return printable(path.absolute())


def second_before(connection: sqlite3.Connection, known: StoredFile) -> int | None:
    """The second in which the record before the resume point was written: the last one that was
    read of the host, or else the one there.

    Of a new file that is the end of the one which it followed, as rotated files are read oldest
    first.
    """
    row = connection.execute(
        """select acct_file_id, ended, (select host_id from acct_file where id = acct_file_id),
                  (select host_id from acct_file where id = ?)
           from acct order by id desc limit 1""",
        (known.id,),
    ).fetchone()
    if row is not None and (row[0] == known.id or (not known.position and row[2] == row[3])):
        return int(row[1])
    return exit_second(decode_record(known.tail)) if plausible(known.tail) else None


def add(connection: sqlite3.Connection, host_id: int, identity: FileIdentity) -> StoredFile:
    """A row for a new file, nothing of it read yet."""
    new_id = connection.execute("select coalesce(max(id), 0) + 1 from acct_file").fetchone()[0]
    known = StoredFile(
        new_id,
        path_text(identity.path),
        identity.device,
        identity.inode,
        -1,
        -1,
        identity.head,
        b"",
        0,
        0,
        0,
    )
    connection.execute(
        f"insert into acct_file ({_COLUMNS}, host_id, read_at_ns) values (?, ?, ?, ?, ?, ?, ?, ?,"
        " ?, ?, ?, ?, 0)",
        (*vars(known).values(), host_id),
    )
    return known


def save(connection: sqlite3.Connection, known: StoredFile, now_at_ns: int) -> None:
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


def look_anew(connection: sqlite3.Connection, known: StoredFile) -> None:
    """Take back what was said of the bytes from the resume point on: they may have become records,
    or be there now.
    """
    gone = connection.execute(
        "delete from gap where acct_file_id = ? and from_position >= ? returning"
        " coalesce(to_position - from_position, 0)",
        (known.id, known.position),
    ).fetchall()
    known.skipped_bytes -= sum(length for (length,) in gone)


def give_up_rest(connection: sqlite3.Connection, known: StoredFile, why: str) -> None:
    """Put on record that a damaged file cannot be read beyond the resume point; nobody knows how
    much is missing.
    """
    connection.execute(
        "insert into gap (kind, acct_file_id, from_position, note) values ('file', ?, ?, ?)",
        (known.id, known.position, why),
    )


def skip(
    connection: sqlite3.Connection, known: StoredFile, first: int, last: int, what: str
) -> None:
    """Put on record that these bytes hold no record."""
    connection.execute(
        "insert into gap (kind, acct_file_id, from_position, to_position, note) values ('file', ?,"
        " ?, ?, ?)",
        (known.id, first, last, what),
    )
    known.skipped_bytes += last - first
