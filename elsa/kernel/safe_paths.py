"""Checks that no other user can replace a file of ours: a user who could might give us false data,
or let us write to a file of his choice.

A path is safe if each folder on it is, those of symbolic links included: it has to belong to root
or to us, and others must not be able to write to it. In a sticky folder (/tmp) others may make
files, but neither rename nor remove ours, so a path may go through it.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from elsa.errors import ConfigError, ElsaError, PrivilegeError, RetryError

_MOST_LINKS = 40  # as the kernel has it (MAXSYMLINKS)

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class _Step(NamedTuple):
    """A folder, a symbolic link or, last, what the path leads to."""

    path: Path
    status: os.stat_result


def check(path: Path) -> None:
    """Refuse a path if others could put another file there, as far as the path exists. Raises
    PrivilegeError; ConfigError for a loop.
    """
    folders: list[_Step] = []
    for step in _way(path):
        if step.status.st_uid not in (0, os.geteuid()):
            owner = user(step.status.st_uid)
            raise PrivilegeError(
                f"{step.path}: belongs to {owner}, who could replace it; run as {owner}, or use a"
                " folder of your own"
            )
        if stat.S_ISDIR(step.status.st_mode):
            folders.append(step)
    for folder in folders[:-1]:
        if _others_write(folder.status) and not folder.status.st_mode & stat.S_ISVTX:
            raise PrivilegeError(
                f"{folder.path}: others can write this folder, so nothing below it is safe; mend it"
                f" with: chmod go-w {folder.path}"
            )


def others_write(folder: Path) -> bool:
    """Whether others can make files in a folder."""
    return _others_write(folder.stat())


def _others_write(status: os.stat_result) -> bool:
    """Everybody, or a group; to be in a group that a user lets write is that user's affair, but
    root trusts none but its own.
    """
    return bool(
        status.st_mode & stat.S_IWOTH
        or (status.st_mode & stat.S_IWGRP and os.geteuid() == 0 and status.st_gid != 0)
    )


def _way(path: Path) -> Iterator[_Step]:
    """The folders, links and the file through which the kernel resolves a path, up to the first
    that does not exist.
    """
    here, links = Path("/"), 0
    yield _Step(here, here.lstat())
    todo = list(reversed(path.absolute().parts[1:]))
    while todo:
        name = todo.pop()
        step = here.parent if name == ".." else here / name
        try:
            status = step.lstat()
            target = os.readlink(step) if stat.S_ISLNK(status.st_mode) else None  # noqa: PTH115
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise translated(error, step) from None
        yield _Step(step, status)
        if target is None:
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise ConfigError(f"{path}: too many symbolic links")
        todo.extend(part for part in reversed(Path(target).parts) if part != "/")
        here = Path("/") if target.startswith("/") else here


def refuse_what_is_no_file(path: Path, needed: str) -> None:
    """Raise ConfigError if a path exists and is not a regular file (a FIFO would make its reader
    wait).
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise ConfigError(
            f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, where {needed} is needed; name"
            " it with --db"
        )


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file; of what cannot be looked at, only whether they are
    written alike.
    """
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def user(uid: int) -> str:
    """A user in words, for messages."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def translated(error: OSError, path: Path | str, advice: str = "name another place") -> ElsaError:
    """Our error for what the kernel said about making or opening a file of ours."""
    if error.errno == errno.EROFS:
        return RetryError(
            f"{path}: read-only file system; mount it writable, or name another place"
        )
    if error.errno == errno.ENOSPC:
        return RetryError(f"{path}: no space left on the device; make room and try again")
    if error.errno == errno.EDQUOT:
        return RetryError(f"{path}: the disk quota is used up; make room and try again")
    if isinstance(error, PermissionError):
        return PrivilegeError(f"{path}: {error.strerror}; {advice}")
    return ConfigError(f"{path}: {error.strerror or error}; {advice}")


def read_only(folder: Path) -> bool:
    """Whether nothing can be written into the file system of a folder, mounted so or shut by the
    kernel after an error of the disk.

    Of the latter its flags need not tell, so a file without a name is tried.
    """
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.errno == errno.EROFS
    return False
