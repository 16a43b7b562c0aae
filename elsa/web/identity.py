"""Who asks: by the kernel for a connection on this host, or by a reverse proxy that logs users in.

A browser on this host connects to 127.0.0.1, and /proc/net/tcp says which user has the other end of
that connection. A proxy connects to the unix socket, which nobody else can open, and names the user
in a header.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from elsa.kernel import accounts

# The states of sockets are in include/net/tcp_states.h. Only an established connection has its
# owner: the kernel reports those that were closed as root's.
_ESTABLISHED = "01"
_LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F")
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class Reader(NamedTuple):
    """A user who looks at pages."""

    name: str
    uid: int
    manages: bool
    """Root, or in the group that manages every job: he sees everything. Others see their own."""


def named(name: str, group: str) -> Reader | None:
    """The user with a name; None if this host does not know it."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    return _reader(entry, group)


def at_port(client_port: int, server_port: int, group: str) -> Reader | None:
    """The user who has the other end of a connection over 127.0.0.1; None if that is not known."""
    uid = owner(_lines(TABLES), client_port, server_port)
    if uid is None:
        return None
    try:
        return _reader(pwd.getpwuid(uid), group)
    except (KeyError, OverflowError):
        return Reader(accounts.user(uid), uid, manages=False)


def owner(lines: Iterable[str], client_port: int, server_port: int) -> int | None:
    """The uid that owns the client's socket, by lines of /proc/net/tcp (Linux:
    Documentation/networking/proc_net_tcp.rst); None if there is no such connection.
    """
    here = {f"{address}:{client_port:04X}" for address in _LOOPBACK}
    there = {f"{address}:{server_port:04X}" for address in _LOOPBACK}
    for line in lines:
        fields = line.split()
        if len(fields) < 10 or fields[1] not in here or fields[2] not in there:
            continue
        state, uid, inode = fields[3], fields[7], fields[9]
        if state == _ESTABLISHED and inode != "0":
            return int(uid)
    return None


def _lines(tables: Iterable[Path]) -> Iterator[str]:
    for table in tables:
        try:
            yield from table.read_text(encoding="ascii").splitlines()
        except OSError:
            continue  # a host without IPv6


def _reader(entry: pwd.struct_passwd, group: str) -> Reader:
    manages = entry.pw_uid == 0
    if not manages:
        try:
            managers = grp.getgrnam(group).gr_gid
            manages = managers in os.getgrouplist(entry.pw_name, entry.pw_gid)
        except (KeyError, ValueError):
            pass  # without the group root alone manages
    return Reader(entry.pw_name, entry.pw_uid, manages)
