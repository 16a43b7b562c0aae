"""/proc as bytes: the processes, and what the kernel says about itself. elsa.decode.procfs decodes
the bytes.

Descriptors are read with os.open/os.read, four times as fast as open().read(); a scan of a busy
host has thousands to read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from elsa.errors import UnavailableError

# Files that are one short record (stat, status, comm, sysctls) fit in one read; /proc/stat grows
# with the CPUs.
_CHUNK = 65536
_NSPID = re.compile(rb"^NSpid:([\d\t ]+)$", re.MULTILINE)
_BTIME = re.compile(rb"^btime (\d+)$", re.MULTILINE)

# PROC_PID_INIT_INO and PROC_USER_INIT_INO, include/linux/proc_ns.h.
INITIAL_NAMESPACES = {"pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}


class Procfs:
    """The proc file system mounted at `root`, of a host whose configuration is in `etc`."""

    def __init__(self, root: Path = Path("/proc"), etc: Path = Path("/etc")) -> None:
        self._root = f"{root}/"
        self._etc = f"{etc}/"

    def pids(self) -> list[int]:
        """Every process (not thread) there is, in ascending order."""
        try:
            names = os.listdir(self._root)  # noqa: PTH208
        except OSError as error:
            raise UnavailableError(f"{self._root}: {error.strerror}; is /proc mounted?") from None
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def read_stat(self, pid: int) -> bytes | None:
        """/proc/PID/stat; None when the process is gone."""
        return _read(f"{self._root}{pid}/stat")

    def read_status(self, pid: int) -> bytes | None:
        """/proc/PID/status; None when the process is gone."""
        return _read(f"{self._root}{pid}/status")

    def read_comm(self, pid: int) -> bytes | None:
        """The command's name, without the newline; None when the process is gone."""
        comm = _read(f"{self._root}{pid}/comm")
        return comm if comm is None else comm.removesuffix(b"\n")

    def read_cmdline(self, pid: int, most: int) -> bytes | None:
        """The arguments, each ended by a NUL, at most so many bytes (there may be megabytes of
        them).

        Empty for a kernel thread or a zombie, None when the process is gone.
        """
        return _read(f"{self._root}{pid}/cmdline", most)

    def read_cgroup(self, pid: int) -> bytes | None:
        """The control groups, a line each; None when the process is gone."""
        return _read(f"{self._root}{pid}/cgroup")

    def read_loginuid(self, pid: int) -> bytes | None:
        """The uid that logged in, whatever the process's uid is now; None when the process is gone
        or the kernel does not audit.
        """
        return _read(f"{self._root}{pid}/loginuid")

    def read_smaps_rollup(self, pid: int) -> bytes | None:
        """The sums over its mappings; None when the process is gone, is a kernel thread, or may not
        be read, or the kernel does not have them. The kernel walks all its pages.
        """
        return _read(f"{self._root}{pid}/smaps_rollup")

    def read_schedstat(self, pid: int) -> bytes | None:
        """On a CPU and waiting for one, in ns, of the leader; None when the process is gone or the
        kernel does not count it.
        """
        return _read(f"{self._root}{pid}/schedstat")

    def read_threads_io(self, pid: int, *, only_leader: bool = False) -> list[bytes]:
        """The `io` of each living thread, or of the leader, except threads that have ended or may
        not be read.
        """
        folder = f"{self._root}{pid}/task"
        if only_leader:
            data = _read(f"{folder}/{pid}/io")
            return [] if data is None else [data]
        try:
            names = os.listdir(folder)  # noqa: PTH208 - as in pids()
        except OSError:
            return []
        return [data for name in names if (data := _read(f"{folder}/{name}/io")) is not None]

    def link(self, pid: int, name: str) -> str | None:
        """What `exe` or `cwd` point to; None when the process is gone, has none, or may not be
        read.
        """
        try:
            return os.readlink(f"{self._root}{pid}/{name}")  # noqa: PTH115 - called for every exec
        except OSError:
            return None

    def namespace(self, kind: str, pid: int | None = None) -> int | None:
        """The inode number of a namespace (pid, user, net) of a process or of ourselves; None if it
        may not be seen.
        """
        try:
            return Path(self._root, "self" if pid is None else str(pid), "ns", kind).stat().st_ino
        except OSError:
            return None

    def open_namespace(self, kind: str, pid: int) -> int:
        """A descriptor of a process's namespace. Raises OSError if the process is gone or may not
        be read.
        """
        return os.open(f"{self._root}{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)

    def read_nspid(self, pid: int) -> list[int]:
        """Its pid in every pid namespace that it is in, from ours to its own; empty if it is gone
        or the kernel does not show it.
        """
        status = _read(f"{self._root}{pid}/status") or b""
        match = _NSPID.search(status)
        return [int(word) for word in match[1].split()] if match else []

    def boot_id(self) -> str:
        """The kernel's random name for this boot."""
        return (
            self._need(f"{self._root}sys/kernel/random/boot_id").decode("ascii", "replace").strip()
        )

    def boot_time(self) -> int:
        """When the machine booted, in seconds since the epoch as the wall clock sees it now."""
        match = _BTIME.search(self._need(f"{self._root}stat"))
        if match is None:
            raise UnavailableError(f"{self._root}stat has no btime")
        return int(match[1])

    def machine_id(self) -> str | None:
        """The name of this installation (machine-id(5)); None where there is none."""
        text = (_read(f"{self._etc}machine-id") or b"").decode("ascii", "replace").strip()
        # systemd writes "uninitialized" until the first boot is through.
        return text if len(text) == 32 else None

    def hostname(self) -> str:
        """The host's name, as of now."""
        return (
            self._need(f"{self._root}sys/kernel/hostname")
            .decode("utf-8", "surrogateescape")
            .strip()
        )

    def sysctl(self, name: str) -> str | None:
        """A kernel setting such as `kernel.acct`; None where the kernel has no such setting."""
        text = _read(f"{self._root}sys/{name.replace('.', '/')}")
        return text if text is None else text.decode("utf-8", "replace").strip()

    def kernel_config(self) -> bytes | None:
        """/proc/config.gz, still compressed; None where the kernel does not show it."""
        return _read(f"{self._root}config.gz")

    def _need(self, path: str) -> bytes:
        data = _read(path)
        if data is None:
            raise UnavailableError(f"{path}: cannot be read; is /proc mounted?")
        return data


def _read(path: str, most: int | None = None) -> bytes | None:
    """A whole file, or so many bytes of it; None when it, or the process it speaks of, is gone or
    closed to us.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if most is not None:
            return os.read(descriptor, most)
        data = chunk = os.read(descriptor, _CHUNK)
        # A short record ends with the first read; only a full chunk can have more behind it.
        while len(chunk) == _CHUNK:
            chunk = os.read(descriptor, _CHUNK)
            data += chunk
    except OSError:
        # ESRCH: the process ended between the two calls.
        return None
    else:
        return data
    finally:
        os.close(descriptor)
