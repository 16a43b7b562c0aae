"""Users and groups of this host: from names to ids, as people write them, and back.

A name may be a number (as some directories give them out), so what is written is a name first, and
a number only where nobody has that name; `uid:4711` and `gid:100` are always numbers.
"""

from __future__ import annotations

import grp
import pwd

# (uid_t) -1 means nobody (chown(2)), so it is no id; 32 bits are all that records have.
MAX_UID = 2**32 - 2


def uid(text: str) -> int:
    """The uid that is meant by a name, a number or uid:N. Raises KeyError."""
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        return _number(text.removeprefix("uid:"))


def exists(name: str | None) -> bool:
    """Whether a text means a user of this host: a name, or any number."""
    try:
        return name is not None and uid(name) >= 0
    except KeyError:
        return False


def gid(text: str) -> int:
    """The gid that is meant by a name, a number or gid:N. Raises KeyError."""
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        return _number(text.removeprefix("gid:"))


def user(number: int) -> str:
    """The name of a uid, or the number as text where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return str(number)


def group(number: int) -> str:
    """The name of a gid, or the number as text where it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OverflowError):
        return str(number)


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= MAX_UID:
        return int(text)
    raise KeyError(text)
