"""The kernel's switch for process accounting: turns it on and off, finds out where the kernel
writes, and when it would pause.

There is one switch for the whole pid namespace. The only way to find out its state is to end a
process and look for its record.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from elsa.errors import DataError, ElsaError, InputMissingError, PrivilegeError, UnavailableError
from elsa.kernel.acct_file import AcctFile, rotated, translated
from elsa.kernel.acct_paths import ACCT_FILES

_RECORD = 64
# ac_pid of struct acct_v3, include/uapi/linux/acct.h, in the host's byte order.
_PID_START, _PID_END = 16, 20


class Thresholds(NamedTuple):
    """kernel.acct: when the kernel stops writing records for lack of space, without a message, and
    when it goes on.
    """

    resume_percent: int
    """Writing goes on when this much of the file system is free."""
    suspend_percent: int
    """Writing stops when no more than this is free."""
    check_seconds: int
    """How often the kernel checks."""


def switch_on(path: str | os.PathLike[str]) -> None:
    """Write a record to the end of this file for each process that ends from now on; the file is
    made if it is not there.

    If accounting was on already it changes to this file without losing a process, and leaves a
    record about this process in the old one.
    """
    path = Path(path)
    try:
        # 0640: command names and users are private; a group may be allowed to read the file.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        os.close(os.open(path, flags, 0o640))
    except OSError as error:
        raise translated(error, path) from None
    _acct(path)


def switch_off() -> None:
    """Stop accounting; the file ends with a record about this process, which has not ended."""
    _acct(None)


def _acct(path: Path | None) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.acct(None if path is None else os.fsencode(path)) != 0:
        raise _refusal(ctypes.get_errno(), path)


def _refusal(number: int, path: Path | None) -> ElsaError:
    """Our error for what acct(2) said; its manual page has the reasons."""
    if number == errno.EPERM:
        return PrivilegeError(
            "process accounting is switched on and off by root only (CAP_SYS_PACCT)"
        )
    if number == errno.ENOSYS:
        return UnavailableError(
            "this kernel was built without process accounting (CONFIG_BSD_PROCESS_ACCT)"
        )
    if number == errno.ENOENT:
        return InputMissingError(f"{path}: no such file")
    if number == errno.EACCES:
        return DataError(
            f"{path}: is not a regular file that may be written, where an accounting file is needed"
        )
    return DataError(f"{path}: accounting cannot write there: {os.strerror(number)}")


def thresholds(proc: Path = Path("/proc")) -> Thresholds:
    """What kernel.acct is set to; UnavailableError if this kernel has no accounting."""
    path = proc / "sys/kernel/acct"
    try:
        return Thresholds(*map(int, path.read_text(encoding="ascii").split()))
    except FileNotFoundError:
        raise UnavailableError(
            "this kernel was built without process accounting (CONFIG_BSD_PROCESS_ACCT)"
        ) from None
    except OSError as error:
        raise translated(error, path) from None
    except (ValueError, TypeError):
        raise DataError(f"{path}: three numbers are expected there") from None


def free_percent(path: str | os.PathLike[str]) -> float:
    """How much of the file system of this path is free, in the measure that the kernel compares
    with its thresholds.
    """
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise translated(error, Path(path)) from None
    return 100.0 * status.f_bavail / status.f_blocks if status.f_blocks else 0.0


def canary(*more: str | os.PathLike[str]) -> Path | None:
    """The file to which the kernel writes accounting records, proved by ending a process and
    finding its record there.

    Reads the usual files, those given and their rotated files, since the kernel writes to a rotated
    file until accounting is switched. None: accounting is off, paused for lack of space, seen from
    another pid namespace, or writes to a file that is not read here.
    """
    with ExitStack() as opened:
        files = [
            opened.enter_context(file) for file in _plain_files([*map(Path, more), *ACCT_FILES])
        ]
        sizes = [file.identity().size for file in files]
        pid = _ended_process()
        # The record is written before the parent is woken, so it is there now, perhaps among other
        # records.
        for file, size in zip(files, sizes, strict=True):
            grown = b"".join(data for _, data in file.chunks(size))
            if any(
                grown[start + _PID_START : start + _PID_END] == pid.to_bytes(4, sys.byteorder)
                for start in range(0, len(grown), _RECORD)
            ):
                return file.path
    return None


def _plain_files(paths: Iterable[Path]) -> Iterator[AcctFile]:
    """These files and their rotated siblings, each once; the kernel writes to no compressed one.
    What is not there is left out.
    """
    for path in dict.fromkeys(
        sibling for live in paths for sibling in (live, *reversed(rotated(live)))
    ):
        with suppress(InputMissingError):
            file = AcctFile(path)
            if file.compressed:
                file.close()
            else:
                yield file


def _ended_process() -> int:
    """The pid of a process that was started and has ended."""
    program = shutil.which("true")
    if program is None:
        raise UnavailableError(
            "true: no such program, so there is no process to try accounting with"
        )
    try:
        pid = os.posix_spawn(program, ["true"], {})
    except OSError as error:
        raise UnavailableError(
            f"{program}: cannot be run to try accounting: {error.strerror}"
        ) from None
    os.waitpid(pid, 0)
    return pid
