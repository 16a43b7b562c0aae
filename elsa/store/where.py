"""Find the processes that match an SQL condition of the user, in a child process that can be
killed.

Evaluating a condition may never end. While SQLite is within one function call, it neither handles
signals nor checks a time limit.
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
# Read at import, so that jobd can start it later even if the package was upgraded or removed.
_PROGRAM = Path(__file__).with_name("where_program.py").read_text(encoding="utf-8")


def matching(db: Path, condition: str, limit_s: float) -> Iterator[array.array[int]]:
    """The ids of the processes that match, in chunks.

    Raises UsageError if the condition is wrong, RetryError if it takes longer than `limit_s`.
    """
    order = {"uri": db.absolute().as_uri(), "condition": condition, "parent": os.getpid()}
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    until_s = time.monotonic() + limit_s
    failure: bytes | None = None  # the message after the end mark; None before the mark was read
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
                if failure is not None:
                    failure += chunk
                    continue
                rest += chunk
                ids = array.array("q", rest[: len(rest) // 8 * 8])
                rest = rest[8 * len(ids) :]
                if -1 in ids:
                    end = ids.index(-1)
                    failure, ids = ids[end + 1 :].tobytes() + rest, ids[:end]
                yield ids
        finally:
            program.kill()
    if failure is None:
        raise UsageError("--where: the program that evaluates it was killed; narrow the condition")
    if failure:
        message = failure.decode("utf-8", "replace")
        raise UsageError(
            f"--where: {message}; it is an SQL condition on the columns of process_usage, as in:"
            " uid = 1000"
        )


def _read(descriptor: int, until_s: float, limit_s: float) -> bytes:
    if not select.select([descriptor], [], [], max(until_s - time.monotonic(), 0))[0]:
        raise RetryError(
            f"--where: it took longer than {limit_s:g} s (setting define_s); narrow it"
        )
    return os.read(descriptor, READ_CHUNK)
