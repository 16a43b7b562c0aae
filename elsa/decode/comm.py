"""Command names: from the kernel's bytes to text and back.

The kernel keeps 15 bytes of any kind. As text they are UTF-8, where a backslash stands as two, and each byte that is no part of a
printable character as a backslash, x and two hex digits: one line, safe for terminals and SQL, and nothing of the name is lost.
"""

from __future__ import annotations

import re
from functools import lru_cache

from elsa.errors import DataError

_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|(.?))", re.DOTALL)


# A host runs some hundreds of names; the bound only guards against one that makes them up, and costs about 8 MB when full.
@lru_cache(maxsize=32768)
def escape_comm(raw: bytes) -> str:
    r"""The text for a command name: what stands before the first NUL, unprintable bytes as \xNN, a backslash doubled."""
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


def unescape_comm(text: str) -> bytes:
    """The bytes that `escape_comm` made this text of; DataError where a backslash starts no escape."""
    return _ESCAPE.sub(_unescape_match, text).encode("utf-8", "surrogateescape")


def _unescape_match(match: re.Match[str]) -> str:
    if match[2] is not None:
        raise DataError(f"{match.string!r}: a backslash in a command name is written \\\\, any other byte \\xNN")
    # Latin-1 would become two bytes of UTF-8; a lone surrogate becomes the very byte. ASCII has no surrogate and needs none.
    if match[1] is None:
        return "\\"
    byte = int(match[1], 16)
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
