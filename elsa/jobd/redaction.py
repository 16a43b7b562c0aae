"""Removes secrets from command lines, as configured: for jobd, and for the report of `elsa run`.

jobd runs this as a program (elsa/jobd/command_lines.py). It reads the settings and then batches of
command lines from stdin, and answers each batch on stdout. A batch is a head (how many parts, how
many bytes), the lengths of its parts, and the parts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from elsa.config import Config
from elsa.decode.cmdline import decode_cmdline
from elsa.decode.redact import Redactor
from elsa.errors import ConfigError

_HEAD = struct.Struct("=II")


def configured(config: Config) -> Redactor:
    """The redactor for the settings. Raises ConfigError if a setting is not valid."""
    try:
        return Redactor(config.redact, config.redact_options)
    except ValueError as error:
        raise ConfigError(f"redact, redact_options: {error}") from None


def settings(config: Config) -> list[bytes]:
    """The settings that the program needs, as the parts of its first batch."""
    return [
        config.redact.encode("utf-8", "surrogateescape"),
        config.redact_options.encode("utf-8", "surrogateescape"),
    ]


def framed(parts: Sequence[bytes]) -> bytes:
    """A batch as it is sent."""
    lengths = struct.pack(f"={len(parts)}I", *map(len, parts))
    return b"".join((_HEAD.pack(len(parts), sum(map(len, parts))), lengths, *parts))


def unframed(data: bytes | bytearray) -> list[bytes] | None:
    """The parts of a batch; None as long as bytes are missing."""
    if len(data) < _HEAD.size:
        return None
    count, size = _HEAD.unpack_from(data)
    start = _HEAD.size + 4 * count
    if len(data) < start + size:
        return None
    parts = []
    for length in struct.unpack_from(f"={count}I", data, _HEAD.size):
        parts.append(bytes(data[start : start + length]))
        start += length
    return parts


def _batch(stream: BinaryIO) -> list[bytes]:
    """The next batch; nothing at the end."""
    head = stream.read(_HEAD.size)
    count, size = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
    return unframed(head + stream.read(4 * count + size)) or []


def main() -> None:
    """Answer batches until there are no more."""
    # jobd needs the answers until its own end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.setpriority(os.PRIO_PROCESS, 0, 0)  # jobd's own is higher
    # If memory is short, the kernel should kill this program rather than jobd.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    names, options = (
        setting.decode("utf-8", "surrogateescape") for setting in _batch(sys.stdin.buffer)
    )
    redact = Redactor(names, options)
    with contextlib.suppress(BrokenPipeError):
        while batch := _batch(sys.stdin.buffer):
            answers = [(decode_cmdline(data, redact) or "").encode() for data in batch]
            sys.stdout.buffer.write(framed(answers))
            sys.stdout.buffer.flush()
