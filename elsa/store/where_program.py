"""The program that finds the processes that match an SQL condition; elsa/store/where.py runs the
text of this file.

It imports the standard library only. It reads an order from stdin, and writes to stdout the ids,
eight bytes each, then -1, then a message if the condition is wrong.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import signal
import sqlite3
import sys
from typing import Any

CHUNK = 10_000
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
# A condition may compute and read. It may not write, attach, change settings or load code.
_HARMLESS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_REFUSED_FUNCTIONS = {"load_extension", "writefile", "edit", "fts3_tokenizer"}


def _authorise(
    action: int, _what: str | None, function: str | None, _database: str | None, _via: str | None
) -> int:
    harmless = action in _HARMLESS and not (
        action == sqlite3.SQLITE_FUNCTION and function in _REFUSED_FUNCTIONS
    )
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY


def _opened(order: dict[str, Any]) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            order["uri"] + "?mode=ro", uri=True, timeout=10, isolation_level=None
        )
        connection.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # As in elsa/store/database.py: no writer runs, and this user cannot create files there.
        connection = sqlite3.connect(
            order["uri"] + "?mode=ro&immutable=1", uri=True, isolation_level=None
        )
    return connection


def main() -> None:
    """Carry out the order on stdin; die with the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and kills this
    order = json.loads(sys.stdin.read())
    if os.getppid() != order["parent"]:
        sys.exit(1)
    failure = ""
    try:
        connection = _opened(order)
        connection.set_authorizer(_authorise)
        # The condition has lines of its own, so that a comment in it ends.
        rows = connection.execute(
            "select process_id from incarnation_usage as process_usage where"
            f" (\n{order['condition']}\n)"
        )
        while chunk := rows.fetchmany(CHUNK):
            sys.stdout.buffer.write(array.array("q", (id_ for (id_,) in chunk)).tobytes())
    except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
        failure = " ".join(str(error).split())
    sys.stdout.buffer.write(array.array("q", [-1]).tobytes() + failure.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
