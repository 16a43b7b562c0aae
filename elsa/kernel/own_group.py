"""A control group of its own for one command, below the group of the caller: what it counts is what
the command and all that it started used, exactly.

This needs root, or a group that was delegated to the user. Version 2 alone is used. The caller's
limits hold for the command as before, since they hold for all groups below.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from elsa import names
from elsa.errors import PrivilegeError, UnavailableError
from elsa.kernel import cgroups

# How long an ended process may still be in its group.
EMPTYING_S = 0.2


class OwnGroup:
    """A control group that was made for one command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        """Move a process into the group. Raises PrivilegeError or UnavailableError."""
        try:
            (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError as error:
            raise _translated(error, self.path) from None

    def read(self, files: tuple[str, ...]) -> list[bytes | None] | None:
        """Files of the group; None if it was removed by somebody else."""
        return cgroups.read_files(self.path, files)

    def remove(self) -> bool:
        """Remove the group and the empty groups that were made in it; False if processes are still
        in it.
        """
        until_s = time.monotonic() + EMPTYING_S
        while not _remove(self.path):
            if time.monotonic() >= until_s or self.processes():
                return False
            time.sleep(0.005)
        return True

    def processes(self) -> int:
        """How many processes are in the group and below."""
        return len(self.pids())

    def pids(self) -> list[int]:
        """The processes in the group and below, as pids of this pid namespace; 0 for others."""
        pids: list[int] = []
        for folder in [self.path, *(Path(f"{self.path}{path}") for path in _below(self.path))]:
            with contextlib.suppress(OSError):
                pids += map(int, (folder / "cgroup.procs").read_bytes().split())
        return pids

    def kill(self) -> bool:
        """Kill all processes of the group at once, so that no fork escapes; False where the kernel
        cannot (before Linux 5.14).
        """
        try:
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        except OSError:
            return False
        return True


def make(proc: Path = Path("/proc")) -> OwnGroup:
    """A group for a command, below the group of this process; groups that were left behind there
    are removed. Raises PrivilegeError or UnavailableError.
    """
    parent = _own_folder(proc)
    with contextlib.suppress(OSError):
        for folder in list(parent.iterdir()):
            remove_left_behind(folder, proc)
    path = parent / names.own_group(os.getpid())
    try:
        path.mkdir()
    except FileExistsError:
        pass  # of a program that had this pid and was killed
    except OSError as error:
        raise _translated(error, path) from None
    if not (path / "cpu.stat").exists():
        path.rmdir()
        raise UnavailableError(f"{path}: this control group has no cpu.stat")
    return OwnGroup(path)


def _own_folder(proc: Path) -> Path:
    hierarchy = cgroups.find_hierarchy(proc)
    if hierarchy.number != 0:
        raise UnavailableError("cgroup2 is not mounted")
    try:
        lines = (proc / "self/cgroup").read_bytes().split(b"\n")
    except OSError as error:
        raise UnavailableError(f"{error.filename}: {error.strerror}") from None
    path = next((line[3:] for line in lines if line.startswith(b"0::/")), None)
    if path is None:
        raise UnavailableError("this process is in no control group of version 2")
    return Path(f"{hierarchy.mount}{os.fsdecode(path)}")


def remove_left_behind(folder: Path, proc: Path = Path("/proc")) -> None:
    """Remove the group of a program that has ended, if it was made here and is empty."""
    maker = names.maker_of_group(folder.name)
    if maker is not None and not (proc / str(maker)).exists():
        _remove(folder)


def _below(group: Path) -> list[str]:
    """The paths of the groups in a group, relative to it, each after those in it."""
    with contextlib.suppress(UnavailableError):
        return [path for _, path in cgroups.walk(group) if path != "/"][::-1]
    return []


def _remove(group: Path) -> bool:
    """Remove a group and the groups in it, if they are empty; whether it is gone."""
    for path in _below(group):
        with contextlib.suppress(OSError):
            Path(f"{group}{path}").rmdir()
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _translated(error: OSError, path: Path) -> PrivilegeError | UnavailableError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PrivilegeError(
            f"{path}: {error.strerror}; a control group for the command needs root or a delegated"
            " group (systemd-run --user --scope -p Delegate=yes)"
        )
    return UnavailableError(f"{path}: {error.strerror}")
