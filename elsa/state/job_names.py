r"""Names and tags of automatic jobs: made from names of control groups, programs and users, which
anybody may choose, and so made short and printable here. Pure.

systemd writes a character that a unit's name cannot hold as \x2d; people are shown the character.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from elsa.text import printable

MAX_NAME = 128
"""Characters of a job's name."""
MAX_TAG_KEY = 64
MAX_TAG_VALUE = 256
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")
# A pod's UUID in the name of a slice, where a hyphen stands between parents and children.
_UUID = re.compile(r"[0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12}")
_FIELD = re.compile(r"\{(\w+)\}", re.ASCII)
_SLASHES = re.compile(r"\s*(?:/\s*)+")


class Template:
    """Text with {fields}."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for a brace that belongs to no field."""
        self.text = text
        self.fields = frozenset(_FIELD.findall(text))
        if {"{", "}"} & set(_FIELD.sub("", text)):
            raise ValueError(f"{text!r} has a brace that belongs to no {{field}}")

    def fill(self, values: Mapping[str, str], *, readable: bool = True) -> str:
        """The text with these values, without systemd's escapes where it is to be readable; a field
        without value is left out.
        """
        return _FIELD.sub(lambda found: _value(values.get(found[1], ""), readable), self.text)


def _value(value: str, readable: bool) -> str:
    if _UUID.fullmatch(value):
        return value.replace("_", "-")
    return _ESCAPED.sub(_unescaped, value) if readable and "\\x" in value else value


def _unescaped(found: re.Match[str]) -> str:
    try:
        text = bytes.fromhex(found[0].replace("\\x", "")).decode()
    except UnicodeDecodeError:
        return found[0]
    # A slash would look like a part of our own.
    return text if text.isprintable() and "/" not in text else found[0]


def name_of(text: str, kind: str) -> str:
    """What a job may be called: 1 to MAX_NAME printable characters, no number, no blank at either
    end. Parts between slashes that are empty are left out.
    """
    name = _SLASHES.sub("/", printable(text)).strip("/ ")
    if not name:
        name = kind
    if name.isdigit():
        name = f"{kind}/{name}"
    return cut(name, MAX_NAME).strip()


def cut(text: str, most: int) -> str:
    """A text of at most so many characters; two texts that differ hardly become the same."""
    if len(text) <= most:
        return text
    mark = f"~{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"
    return text[: most - len(mark)] + mark


def tag_value(text: str) -> str:
    """What a tag may hold: at most MAX_TAG_VALUE printable characters, and no more bytes."""
    value = cut(printable(text), MAX_TAG_VALUE)
    return value.encode()[:MAX_TAG_VALUE].decode("utf-8", "ignore")
