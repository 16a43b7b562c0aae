"""Translates pids between our pid namespace and another: a container's pid 1 is not the host's."""

from __future__ import annotations

import errno
import fcntl
import os

from elsa.kernel.procfs import Procfs

# include/uapi/linux/nsfs.h: the parent of a namespace (Linux 4.9), and our pid for a pid of a
# namespace (6.11).
_NS_GET_PARENT = 0xB702
_NS_GET_PID_FROM_PIDNS = 0x8004B706


class ForeignPids:
    """The pids of a process's pid namespace, which is not ours."""

    def __init__(self, pid: int, inode: int | None, procfs: Procfs | None = None) -> None:
        """`pid` is our pid of a process in it, and `inode` the namespace's inode number; None: not
        known.
        """
        self._pid = pid
        self._inode = inode
        self._procfs = procfs or Procfs()

    @property
    def known(self) -> bool:
        """Whether the namespace is known and still that of the process."""
        return self._inode is not None and self._procfs.namespace("pid", self._pid) == self._inode

    def ours(self, theirs: int) -> int | None:
        """Our pid for a pid of the namespace; None if no process or thread there has it."""
        try:
            namespace = self._procfs.open_namespace("pid", self._pid)
        except OSError:
            return None
        try:
            if os.fstat(namespace).st_ino != self._inode:
                return None  # the process has ended, and its pid was reused
            return fcntl.ioctl(namespace, _NS_GET_PID_FROM_PIDNS, theirs)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                return None
        finally:
            os.close(namespace)
        return self._search(theirs)  # an older kernel

    def theirs(self, ours: int) -> int | None:
        """The namespace's pid for a process of ours; None if it is not visible there, or gone."""
        numbers = self._procfs.read_nspid(ours)
        if len(numbers) < 2:
            return None
        try:
            inner = self._procfs.open_namespace("pid", ours)
        except OSError:
            return None
        try:
            for number in reversed(numbers):
                if os.fstat(inner).st_ino == self._inode:
                    return number
                outer = fcntl.ioctl(inner, _NS_GET_PARENT)
                os.close(inner)
                inner = outer
        except OSError:  # we may not look beyond our own namespace
            return None
        finally:
            os.close(inner)
        return None

    def _search(self, theirs: int) -> int | None:
        """Search all processes; None if the pid is not unique."""
        pids = [
            pid
            for pid in self._procfs.pids()
            if theirs in self._procfs.read_nspid(pid)[1:] and self.theirs(pid) == theirs
        ]
        return pids[0] if len(pids) == 1 else None
