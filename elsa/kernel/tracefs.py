"""Where tracefs is, which lists the tracepoints of the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from elsa.errors import UnavailableError
from elsa.kernel.syscall import syscall

# asm-generic/unistd.h: numbers from 424 on are the same on every machine.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE = 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_MOUNT_ATTR_RDONLY_NOSUID_NODEV_NOEXEC = 0xF
_NO_TRACEFS = "no tracefs: mount it on /sys/kernel/tracing (mount -t tracefs nodev)"


@contextlib.contextmanager
def tracefs() -> Iterator[Path]:
    """Where tracefs is; mounted for this moment, where nobody else sees it, if it is nowhere.
    Raises OSError without the privilege, or UnavailableError.
    """
    for place in (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")):
        if (place / "events").exists():
            yield place
            return
    try:
        mount = _private_mount(b"tracefs")
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        raise UnavailableError(_NO_TRACEFS) from None
    try:
        yield Path(f"/proc/self/fd/{mount}")
    finally:
        os.close(mount)


def _private_mount(kind: bytes) -> int:
    """A descriptor of a mount that is attached to no place (fsopen(2)); it ends with the
    descriptor. Raises OSError.
    """
    context = syscall(_FSOPEN, kind, ctypes.c_uint(_FSOPEN_CLOEXEC))
    try:
        syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, _MOUNT_ATTR_RDONLY_NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)
