"""Command names: from the kernel's bytes to text and back.

The kernel keeps 15 bytes of any kind. As text they are UTF-8, where a backslash stands as two, and
each byte that is no part of a printable character as a backslash, x and two hex digits: one line,
safe for terminals and SQL, and nothing of the name is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from elsa.errors import DataError

LONGEST = 15
"""Bytes of a name that the kernel keeps: TASK_COMM_LEN, less a NUL (include/linux/sched.h)."""
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|(.?))", re.DOTALL)


# A host runs some hundreds of names; the bound only guards against one that makes them up, and
# costs about 8 MB when full.
@lru_cache(maxsize=32768)
def escape_comm(raw: bytes) -> str:
    r"""The text for a command name: what stands before the first NUL, unprintable bytes as \xNN, a
    backslash doubled.
    """
    return escape(raw.partition(b"\0")[0])


def escape(raw: bytes) -> str:
    """The text for bytes of any kind: unprintable ones as \\xNN, a backslash doubled."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=4096)
def escape_path(path: str) -> str:
    """The text for a path as os.fsdecode gives it."""
    return escape(path.encode("utf-8", "surrogateescape"))


def unescape_path(text: str) -> str:
    """The path that `escape_path` made this text of. Raises DataError."""
    return unescape_comm(text).decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4096)
def comm_of_path(path: str) -> str:
    """The command name that the kernel gives to a process that executes this (escaped) path."""
    return escape_comm(unescape_comm(path.rpartition("/")[2])[:LONGEST])


def unescape_comm(text: str) -> bytes:
    """The bytes that `escape_comm` turned into this text; DataError for an invalid escape."""
    return _ESCAPE.sub(_unescape_match, text).encode("utf-8", "surrogateescape")


def _unescape_match(match: re.Match[str]) -> str:
    if match[2] is not None:
        raise DataError(
            f"{match.string!r}: a backslash in a command name is written \\\\, any other byte \\xNN"
        )
    # Latin-1 would become two bytes of UTF-8; a lone surrogate becomes the very byte. ASCII has no
    # surrogate and needs none.
    if match[1] is None:
        return "\\"
    byte = int(match[1], 16)
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)


# What people write for a name: a byte or a backslash as names are stored, a set of a glob, or a
# character.
_WRITTEN = re.compile(r"\\x[0-9a-f]{2}|\\\\|\[\^?\]?[^\]]*\]|.", re.DOTALL)


def wanted(text: str) -> str:
    """The stored text for a name, or for a glob over names, as people write it: no longer than the
    kernel keeps names.

    A glob of which some part before a star is too long is cut there; what comes after a star may
    all be in what the kernel left out.
    """
    units, room = [], LONGEST
    fits = not is_too_long(text)
    for unit, raw in _units(text):
        if fits or room >= len(raw):
            units.append(unit)
        elif room:
            units.append(escape(raw[:room]))
        room -= len(raw)
        if not fits and (unit == "*" or room <= 0):
            break
    return "".join(units)


def is_too_long(text: str) -> bool:
    """Whether no name of the kernel's can have all the bytes that a name or glob wants at least."""
    return sum(len(raw) for _, raw in _units(text)) > LONGEST


def _units(text: str) -> Iterator[tuple[str, bytes]]:
    """The parts of a name or glob, as they are stored, each with the bytes that it stands for;
    wildcards with the fewest.
    """
    for found in _WRITTEN.finditer(text):
        unit = found[0]
        if unit == "*":
            yield unit, b""
        elif unit == "?" or (len(unit) > 2 and unit[0] == "["):
            yield "".join(c if c == "\\" else _escape_character(c) for c in unit), b"?"
        elif unit[0] == "\\" and len(unit) > 1:
            yield unit, unescape_comm(unit)
        else:
            yield _escape_character(unit), unit.encode("utf-8", "surrogateescape")
