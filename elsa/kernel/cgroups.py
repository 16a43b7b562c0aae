"""Control groups as files: which hierarchy to follow and where it is mounted, the groups in it, the
counters and attributes of a group. elsa.decode.cgroups gives the bytes a meaning.

Followed is version 2 where it is mounted (alone, or beside version 1: "hybrid"), and otherwise
systemd's own hierarchy of version 1 (name=systemd). A group's id is the inode number of its
directory; its path begins at the root of the hierarchy, as in /proc/PID/cgroup.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from elsa.errors import UnavailableError

# /proc/PID/mountinfo (proc_pid_mountinfo(5)): root, mount point, ..., type, source, options. A
# mount whose root is not the root of the hierarchy shows a part of it only.
_MOUNT = re.compile(
    rb"^\d+ \d+ \d+:\d+ / (?P<place>\S+) .* - (?P<type>cgroup2?) \S+ (?P<options>\S+)$",
    re.MULTILINE,
)
_OCTAL = re.compile(rb"\\([0-7]{3})")
_SYSTEMD = b"name=systemd"
# A counter file of a group is a page at most; io.stat has a line for each disk.
_CHUNK = 65536
# Newer systemd sets the first (version 255 and others, as it may), older the second (root only).
_INVOCATION = ("user.invocation_id", "trusted.invocation_id")


class Hierarchy(NamedTuple):
    """A tree of control groups."""

    mount: Path
    """The directory of its root group."""
    number: int
    """As in /proc/PID/cgroup: 0 is version 2."""
    sampled: bool
    """Whether perf events have the ids of its groups: version 2, unless the controller perf_event
    is in a hierarchy of version 1.
    """


def find_hierarchy(proc: Path = Path("/proc")) -> Hierarchy:
    """The hierarchy to follow. Raises UnavailableError where there is none."""
    try:
        mounts = (proc / "self/mountinfo").read_bytes()
        own = (proc / "self/cgroup").read_bytes()
    except OSError as error:
        raise UnavailableError(f"{error.filename}: {error.strerror}") from None
    numbers = {
        controller: int(number)
        for number, controllers, _path in (line.split(b":", 2) for line in own.split(b"\n") if line)
        for controller in controllers.split(b",")
    }
    found = {match["type"]: match for match in reversed(list(_MOUNT.finditer(mounts)))}
    if b"cgroup2" in found:
        in_version_1 = b"perf_event" in numbers
        return Hierarchy(_place(found[b"cgroup2"]), number=0, sampled=not in_version_1)
    for match in _MOUNT.finditer(mounts):
        if _SYSTEMD in match["options"].split(b",") and _SYSTEMD in numbers:
            return Hierarchy(_place(match), numbers[_SYSTEMD], sampled=False)
    raise UnavailableError(
        "no control groups to follow: neither cgroup2 nor systemd's hierarchy is mounted"
    )


def _place(match: re.Match[bytes]) -> Path:
    """The mount point: the kernel writes spaces and the like as octal numbers."""
    return Path(
        os.fsdecode(_OCTAL.sub(lambda octal: bytes([int(octal[1], 8) & 0xFF]), match["place"]))
    )


def walk(mount: Path) -> Iterator[tuple[int, str]]:
    """Id and path of every group there is, parents before their children; those that go away
    meanwhile may be missing. Raises UnavailableError where the root cannot be read.
    """
    try:
        yield mount.stat().st_ino, "/"
    except OSError as error:
        raise UnavailableError(f"{mount}: {error.strerror}; is cgroup2 mounted?") from None
    folders = [""]
    while folders:
        above = folders.pop()
        with contextlib.suppress(OSError), os.scandir(f"{mount}{above}") as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    path = f"{above}/{entry.name}"
                    folders.append(path)
                    yield entry.inode(), path


def read_files(
    group: Path, names: Sequence[str], inode: int | None = None
) -> list[bytes | None] | None:
    """Files of a group, such as cpu.stat; None for one that is not there. None where the group does
    not exist, or is not the one with this id: another may have been made at its path.
    """
    try:
        folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if inode is not None and os.fstat(folder).st_ino != inode:
            return None
        return [_read(name, folder) for name in names]
    finally:
        os.close(folder)


def _read(name: str, folder: int) -> bytes | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        data = chunk = os.read(descriptor, _CHUNK)
        while chunk:
            chunk = os.read(descriptor, _CHUNK)
            data += chunk
    except OSError:
        return None  # ENODEV: the group was removed between the two calls
    else:
        return data
    finally:
        os.close(descriptor)


def invocation_id(mount: Path, path: str) -> str | None:
    """The id that systemd gave to this run of the unit: 32 hex digits; None if it has none."""
    for name in _INVOCATION:
        with contextlib.suppress(OSError):
            text = os.getxattr(f"{mount}{path}", name).decode("ascii", "replace")
            if re.fullmatch(r"[0-9a-f]{32}", text):
                return text
    return None
