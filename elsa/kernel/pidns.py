"""Pids as a process in another pid namespace counts them, and which of ours they are: a container's 1 is not the host's."""

from __future__ import annotations

import errno
import fcntl
import os

from elsa.kernel.procfs import Procfs

# include/uapi/linux/nsfs.h: the namespace around one (Linux 4.9), and our number for a pid of a namespace (6.11).
_NS_GET_PARENT = 0xB702
_NS_GET_PID_FROM_PIDNS = 0x8004B706


class ForeignPids:
    """The pids of the namespace that a process lives in, which is not ours."""

    def __init__(self, pid: int, inode: int | None, procfs: Procfs | None = None) -> None:
        """`pid` is a process in it, by our count, and `inode` its number; None: nobody knows which it is."""
        self._pid = pid
        self._inode = inode
        self._procfs = procfs or Procfs()
        self._seen: dict[int, list[int]] | None = None
        """Where the kernel does not tell: which processes have a number in any namespace but ours, as of the last `look`."""

    def look(self) -> None:
        """From here on numbers are those of now: to be called for each request, however many pids it names."""
        self._seen = None

    @property
    def known(self) -> bool:
        """Whether it is there, and still that of the process."""
        return self._inode is not None and self._procfs.namespace("pid", self._pid) == self._inode

    def ours(self, theirs: int) -> int | None:
        """Our number for a process or thread of theirs; None where they have none of that number."""
        try:
            namespace = self._procfs.open_namespace("pid", self._pid)
        except OSError:
            return None
        try:
            if os.fstat(namespace).st_ino != self._inode:
                return None  # its process is gone, and the pid has passed to another
            return fcntl.ioctl(namespace, _NS_GET_PID_FROM_PIDNS, theirs)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                return None
        finally:
            os.close(namespace)
        return self._search(theirs)  # an older kernel

    def theirs(self, ours: int) -> int | None:
        """Their number for a process; None where they do not see it, or it is gone."""
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
        """Look at every process, once: where it is not known which of two it is, it is none."""
        if self._seen is None:
            self._seen = {}
            for pid in self._procfs.pids():
                for number in self._procfs.read_nspid(pid)[1:]:
                    self._seen.setdefault(number, []).append(pid)
        found = [pid for pid in self._seen.get(theirs, ()) if self.theirs(pid) == theirs]
        return found[0] if len(found) == 1 else None
