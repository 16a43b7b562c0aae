"""Drop root's privileges for good: a daemon opens as root what only root may open, and continues as
another user with the few capabilities that it still needs.

Call it before any thread is started: the kernel keeps capabilities for each thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import struct
from collections.abc import Iterable

from elsa.errors import ConfigError, PrivilegeError

# include/uapi/linux/capability.h
CAP_NET_ADMIN, CAP_SYS_PTRACE = 12, 19
_VERSION_3 = 0x20080522
# struct __user_cap_header_struct: version, pid (0: this thread). Two of struct
# __user_cap_data_struct, for the lower and the upper 32 capabilities: effective, permitted,
# inheritable.
_HEADER, _DATA = struct.Struct("=Ii"), struct.Struct("=6I")
# include/uapi/linux/prctl.h
_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 8, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_libc = ctypes.CDLL(None, use_errno=True)


def become(user: str, keep: Iterable[int] = ()) -> None:
    """Become this user, with its groups and only these capabilities, and gain none by any exec.

    The user itself keeps the capabilities that it has, and what it executes has none. Raises
    ConfigError if there is no such user, PrivilegeError if this process may not become another.
    """
    try:
        account = pwd.getpwnam(user)
    except (KeyError, ValueError):
        raise ConfigError(f"there is no user {user}; create it, or name another") from None
    if os.getuid() == os.geteuid() == account.pw_uid != 0:
        with contextlib.suppress(OSError):  # before Linux 4.3 there are no such capabilities
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        return
    if os.geteuid() != 0:
        raise PrivilegeError(f"only root may become user {user}; run as root or as {user}")
    capabilities = sum(1 << number for number in set(keep))
    try:
        # Capabilities stay permitted when the uid changes, so that some can be kept.
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups(os.getgrouplist(user, account.pw_gid))
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        _set_capabilities(capabilities & _permitted())
        _prctl(_PR_SET_KEEPCAPS, 0)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise PrivilegeError(
            f"cannot become user {user}: {error.strerror}; CAP_SETUID and CAP_SETGID are needed"
        ) from None


def _permitted() -> int:
    """The capabilities that this thread may have: a service manager may have withheld some."""
    data = ctypes.create_string_buffer(_DATA.size)
    _checked(_libc.capget(_HEADER.pack(_VERSION_3, 0), data))
    _, low, _, _, high, _ = _DATA.unpack(data.raw)
    return int(high << 32 | low)


def _set_capabilities(capabilities: int) -> None:
    """Let these be effective and permitted, and none inheritable."""
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    data = _DATA.pack(low, low, 0, high, high, 0)
    _checked(_libc.capset(_HEADER.pack(_VERSION_3, 0), data))


def _prctl(option: int, value: int) -> None:
    words = (ctypes.c_ulong(number) for number in (value, 0, 0, 0))
    _checked(_libc.prctl(ctypes.c_int(option), *words))


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
