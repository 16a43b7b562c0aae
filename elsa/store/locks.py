"""Lock files beside the warehouse: at most one jobd, ingester, rollup and pruning at a time.

A lock is held with flock(2) while its process runs, so a killed process leaves no lock behind.
Every user who may write the warehouse may take its locks, whichever user created the lock files.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elsa.errors import RetryError, UnavailableError
from elsa.kernel import safe_paths

COLLECTOR = "jobd"
INGESTER = "ingest"
ROLLUP = "rollup"
PRUNE = "prune"


@contextmanager
def only(kind: str, db: Path) -> Iterator[None]:
    """Hold the lock of this kind. If another process holds it, raise UnavailableError for jobd,
    which keeps running, and RetryError for programs that end by themselves.
    """
    lock = _open(kind, db)
    try:
        if not _take(lock):
            message = (
                f"{db}: another elsa {kind} is at work on this warehouse; stop it, or name another"
                " with --db"
            )
            raise UnavailableError(message) if kind == COLLECTOR else RetryError(message)
        yield
    finally:
        os.close(lock)


def held(kind: str, db: Path) -> bool:
    """Whether a process holds the lock of this kind."""
    lock = _open(kind, db)
    try:
        return not _take(lock)
    finally:
        os.close(lock)


def _open(kind: str, db: Path) -> int:
    # the resolved path: one lock per warehouse, also if it is named by a symbolic link
    path = Path(f"{os.path.realpath(db)}-{kind}.lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise safe_paths.translated(error, path, "run as the user who owns the warehouse") from None
    _share(lock, db)
    return lock


def _share(lock: int, db: Path) -> None:
    """Give the lock file the owner and group of the warehouse, and let every user open it who may
    write the warehouse. Do nothing where this process may not.
    """
    with suppress(OSError):
        like, own, user = db.stat(), os.fstat(lock), os.geteuid()
        if user not in (0, own.st_uid):
            return
        if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
            os.fchown(lock, like.st_uid if user == 0 else -1, like.st_gid)
        write = like.st_mode & 0o222
        os.fchmod(lock, write | write << 1)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
