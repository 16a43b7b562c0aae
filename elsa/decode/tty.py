"""Terminals as people write them (pts/3, tty1, ttyS0) and as the accounting record has them: major
<< 8 | minor.

The numbers are Linux's, Documentation/admin-guide/devices.txt. Majors 136 to 143 are 256 pseudo
terminals each.
"""

from __future__ import annotations

import re

NONE = 0
_PTS, _PTS_LAST = 136, 143
_NAME = re.compile(r"(?:/dev/)?(pts/|ttyS|tty)(\d+)")


def word(number: int) -> str:
    """A terminal's name; one of an unknown kind as major:minor."""
    major, minor = number >> 8, number & 0xFF
    if number == NONE:
        return "none"
    if _PTS <= major <= _PTS_LAST:
        return f"pts/{(major - _PTS) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return {0x500: "tty", 0x501: "console"}.get(number, f"{major}:{minor}")


def number(text: str) -> int:
    """The number of a written terminal: a name, major:minor, or `none`. Raises ValueError."""
    if text in ("none", "-", "?", "__"):
        return NONE
    if text in ("console", "/dev/console"):
        return 0x501
    if re.fullmatch(r"\d+:\d+", text):
        major, minor = (int(part) for part in text.split(":"))
        return _checked(major, minor)
    found = _NAME.fullmatch(text)
    if not found:
        raise ValueError(text)
    kind, place = found[1], int(found[2])
    if kind == "pts/":
        return _checked(_PTS + place // 256, place % 256)
    return _checked(4, place + (64 if kind == "ttyS" else 0))


def _checked(major: int, minor: int) -> int:
    if not (0 <= major <= 0xFF and 0 <= minor <= 0xFF):
        raise ValueError(f"{major}:{minor}")
    return major << 8 | minor
