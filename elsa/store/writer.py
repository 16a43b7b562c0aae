"""The thread that writes jobd's batches to the warehouse.

The thread that reads kernel events hands over batches and does not wait. If the disk stalls, or
another program has locked the warehouse, only the writer thread waits; it tries the same batch
again until it is stored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from pathlib import Path

from elsa.errors import ConfigError
from elsa.store import database, string_ids
from elsa.store.batch import Batch, write

log = logging.getLogger(__name__)

RETRY_S = 0.5
# How often SQLite's cache is emptied, so that damage to the file is noticed soon.
CHECK_S = 60.0


def _is_permanent(error: Exception) -> bool:
    """Whether the rows contradict stored rows, so that they can never be stored. An error that a
    trigger raises may be temporary.
    """
    return (
        isinstance(error, sqlite3.IntegrityError)
        and error.sqlite_errorname != "SQLITE_CONSTRAINT_TRIGGER"
    )


def _device_and_inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Writer:
    """The thread that writes batches in order, and tries each again until it is stored."""

    def __init__(self, path: Path, boot_id: int, collector_id: int) -> None:
        self._path = path
        self._boot_id = boot_id
        self._collector_id = collector_id
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._done: deque[tuple[Batch, int]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._out_of_patience = threading.Event()
        self._checked_s = time.monotonic()
        self._opened: tuple[int, int] | None = None
        """Device and inode of the open file."""
        self.backlog = 0
        """Rows handed over and not yet committed, as of the last `collect`."""
        self.trouble: str | None = None
        """Why the warehouse cannot be written at the moment; None while it can."""
        self.stored_ns = 0
        """Up to this monotonic time everything is stored; 0 before the first batch."""
        self.replaced = False
        """Another warehouse is at the path: it does not have this run, or has less of it than was
        stored. The owner must start again.
        """
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """A file descriptor that is readable when a batch was committed: call `collect` then."""
        return self._wake

    def submit(self, batch: Batch) -> None:
        """Hand over a batch, without waiting."""
        self.backlog += len(batch)
        self._queue.put(batch)

    def collect(self) -> None:
        """Count what was committed since the last call, and run the callbacks of its batches."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        while self._done:
            batch, rows = self._done.popleft()
            self.backlog -= rows
            for call in batch.then:
                call()

    def stop(self, patience_s: float) -> bool:
        """Write what is left for at most `patience_s`; return whether all of it is stored."""
        self._queue.put(None)
        self._thread.join(patience_s)
        self._out_of_patience.set()
        self._thread.join()
        self.collect()
        os.close(self._wake)
        return self.backlog == 0

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        comms, texts = string_ids.comms(), string_ids.texts()
        while (batch := self._queue.get()) is not None:
            rows = len(batch)
            while not self._out_of_patience.is_set():
                try:
                    if connection is not None and not self._is_in_place():
                        connection.close()
                        connection = None
                    if connection is None:
                        connection = self._open()
                    self._check_file(connection)
                    write(connection, batch, self._boot_id, self._collector_id, comms, texts)
                    self.stored_ns = batch.heard_ns
                    break
                except Exception as error:
                    comms.forget()
                    texts.forget()
                    if _is_permanent(error) and len(batch):
                        # Trying again would fail forever and block all later batches.
                        batch = batch.as_gap(self.stored_ns)
                    connection = self._after_failure(connection, error)
            else:
                break
            self._recovered()
            self._done.append((batch, rows))
            os.eventfd_write(self._wake, 1)
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = database.open_for_writing(self._path)
        self._opened = _device_and_inode(self._path)
        run = (self._collector_id, self._boot_id)
        row = connection.execute(
            "select heard_ns from collector where id = ? and boot_id = ?", run
        ).fetchone()
        if row is None or row[0] < self.stored_ns:
            connection.close()
            self.replaced = True
            os.eventfd_write(self._wake, 1)
            raise ConfigError(f"{self._path}: another warehouse has taken the place of ours")
        return connection

    def _check_file(self, connection: sqlite3.Connection) -> None:
        """Now and then have SQLite read pages again: it does not notice damage to the file in pages
        that it has cached.
        """
        if time.monotonic() - self._checked_s >= CHECK_S:
            connection.execute("pragma shrink_memory")
            connection.execute("select count(*) from sqlite_master").fetchone()
            self._checked_s = time.monotonic()

    def _is_in_place(self) -> bool:
        """Whether the open file is still the file at the path. SQLite itself would write on to a
        file that was deleted, replaced or emptied.

        This uses stat only: to open and close the file here would drop the locks that SQLite holds
        on it in this process.
        """
        return _device_and_inode(self._path) == self._opened and self._path.stat().st_size > 0

    def _after_failure(
        self, connection: sqlite3.Connection | None, error: Exception
    ) -> sqlite3.Connection | None:
        """Log the first of several failures and wait. Unless the warehouse was only locked, close
        the connection, so that the next try opens the warehouse again.
        """
        code: int | None = None
        if isinstance(error, sqlite3.OperationalError):
            code = error.sqlite_errorcode
        message = str(error)
        if isinstance(error, sqlite3.Error):
            message = str(database.translate(error, self._path))
        if self.trouble is None:
            log.error("%s; keeping events in memory and trying again", message)
        self.trouble = message
        locked = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if connection is not None and not locked:
            if code == sqlite3.SQLITE_FULL:
                # ELSA's own write-ahead log may be what fills the disk.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("pragma wal_checkpoint(truncate)")
            connection.close()
            connection = None
        time.sleep(RETRY_S)
        return connection

    def _recovered(self) -> None:
        if self.trouble is not None:
            log.warning("%s: the warehouse can be written again", self._path)
            self.trouble = None
