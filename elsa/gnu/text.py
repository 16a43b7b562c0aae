"""Names and dates as the C programs print them: users, groups and terminals of this host, flags,
local time.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from contextlib import suppress
from functools import cache, lru_cache

from elsa.decode.acct import ACORE, AFORK, ASU, AXSIG
from elsa.decode.comm import unescape_comm

ACOMPAT = 0x04
"""PDP-11 compatibility mode: no kernel of Linux sets it."""
_FLAGS = ((ASU, "S"), (AFORK, "F"), (ACOMPAT, "C"), (ACORE, "D"), (AXSIG, "X"))

# Majors of Unix98 terminals (Documentation/admin-guide/devices.txt), 256 of them each.
_PTS_FIRST, _PTS_LAST = 136, 143
# Where the originals look for the names of the others.
_FOLDERS = ("/dev", "/dev/pty", "/dev/ptym")

PRINTABLE = bytes(range(0x20, 0x7F))
"""What isprint(3) accepts in every locale that these programs know."""
_CONTROLS = bytes(byte if byte in PRINTABLE else ord("?") for byte in range(256))


@lru_cache(maxsize=32768)
def command(comm: str) -> bytes:
    """The bytes of a command name that is escaped as in AcctRecord.comm."""
    return unescape_comm(comm)


def printable(name: bytes) -> bool:
    """Whether isprint(3) accepts every byte."""
    return not name.translate(None, PRINTABLE)


def masked(name: bytes) -> bytes:
    """The name with a question mark for every byte that isprint(3) refuses."""
    return name.translate(_CONTROLS)


@cache
def user(uid: int) -> bytes:
    """The name of a user, else the number: negative from 2**31 on, as GNU prints it as a C int."""
    with suppress(KeyError, OverflowError):
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    return b"%d" % signed(uid)


@cache
def group(gid: int) -> bytes:
    """The name of a group, else the number as of a user."""
    with suppress(KeyError, OverflowError):
        return os.fsencode(grp.getgrgid(gid).gr_name)
    return b"%d" % signed(gid)


def signed(number: int) -> int:
    """A 32-bit number as C reads it from an unsigned field into an int."""
    return number - (1 << 32) if number >= 1 << 31 else number


@cache
def terminal(tty: int) -> bytes:
    """The name of a terminal: __ for none, pts/N, a character device in /dev, else its
    [major,minor].
    """
    major, minor = tty >> 8, tty & 0xFF
    if tty == 0:
        return b"__"
    if _PTS_FIRST <= major <= _PTS_LAST:
        return b"pts/%d" % ((major - _PTS_FIRST) * 256 + minor)
    return _devices().get(tty, b"[%d,%d]" % (major, minor))


@cache
def _devices() -> dict[int, bytes]:
    """The character devices by number; of several names the last one that the folders give."""
    found = {}
    for folder in _FOLDERS:
        with suppress(OSError):
            for entry in os.scandir(folder):
                with suppress(OSError):
                    status = entry.stat()  # follows links, as the programs do
                    if stat.S_ISCHR(status.st_mode):
                        found[status.st_rdev] = os.fsencode(entry.name)
    return found


@cache
def flags(flag: int) -> bytes:
    """SFCDX, with a space for each flag that is not set."""
    return "".join(letter if flag & bit else " " for bit, letter in _FLAGS).encode()


@lru_cache(maxsize=4096)
def date(second: int) -> bytes:
    """The local time of a second since 1970 as ctime(3) writes it, without the line end."""
    return time.ctime(second).encode()
