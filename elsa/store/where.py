"""Which processes fit somebody's own SQL condition: found by a program of its own, which can be
ended whatever it does.

A condition may never end, within one call of a function of SQLite's, where nothing looks at signals
or at the time.
"""

from __future__ import annotations

import array
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from elsa.errors import RetryError, UsageError

READ_CHUNK = 64 * 1024
# As of when this was imported: what jobd starts later needs nothing of the package.
_PROGRAM = Path(__file__).with_name("where_program.py").read_text(encoding="utf-8")


def matching(db: Path, condition: str, limit_s: float) -> Iterator[array.array[int]]:
    """Ids of the processes that fit, some at a time.

    Raises UsageError for a condition that makes no sense, RetryError where it takes longer than
    `limit_s`.
    """
    order = {"uri": db.absolute().as_uri(), "condition": condition, "parent": os.getpid()}
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    until_s = time.monotonic() + limit_s
    told: bytes | None = None
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdin is not None  # noqa: S101
        assert program.stdout is not None  # noqa: S101
        try:
            program.stdin.write(json.dumps(order).encode())
            program.stdin.close()
            rest = b""
            while chunk := _read(program.stdout.fileno(), until_s, limit_s):
                rest += chunk
                ids = (
                    array.array("q", rest[: len(rest) // 8 * 8])
                    if told is None
                    else array.array("q")
                )
                rest = rest[8 * len(ids) :]
                if -1 in ids:
                    end = ids.index(-1)
                    told, ids = ids[end + 1 :].tobytes() + rest, ids[:end]
                    rest = b""
                elif told is not None:
                    told, rest = told + rest, b""
                yield ids
        finally:
            program.kill()
    if told is None:
        raise UsageError("--where: the program that looked for it was ended; is it about too much?")
    if told:
        words = told.decode("utf-8", "replace")
        raise UsageError(
            f"--where: {words}; it is an SQL condition on the columns of process_usage, as in: uid"
            " = 1000"
        )


def _read(descriptor: int, until_s: float, limit_s: float) -> bytes:
    if not select.select([descriptor], [], [], max(until_s - time.monotonic(), 0))[0]:
        raise RetryError(
            f"--where: it took longer than {limit_s:g} s (setting define_s); narrow it"
        )
    return os.read(descriptor, READ_CHUNK)
