"""What /proc shows, in the terms of the state and the store: processes with monotonic times and
real uids, and the machine.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from elsa.decode.cgroups import path_of
from elsa.decode.cmdline import MOST_BYTES
from elsa.decode.comm import escape, escape_path
from elsa.decode.procfs import Stat, parse_memory, parse_real_uid, parse_stat
from elsa.errors import DataError
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.state.incarnation import Incarnation, ProcSnapshot, ProgramRow, same_start
from elsa.store.boots import Machine

Monotonic = Callable[[int], int]
"""The monotonic time of one since boot: `Clocks.from_boottime_ns`."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Between this many processes the scan lets the caller read its socket, so that a scan of a full
# host loses no events.
BREATH = 200


def machine(procfs: Procfs) -> Machine:
    """The host and the boot that we are in."""
    return Machine(
        procfs.machine_id(),
        procfs.hostname(),
        procfs.boot_id(),
        procfs.boot_time() * 1_000_000_000,
        clocks.tick_ns(),
    )


def start_ns(stat: Stat, monotonic: Monotonic) -> int:
    """The monotonic start of a process, cut to a tick."""
    return monotonic(stat.starttime_ticks * 1_000_000_000 // TICKS_PER_S)


def find(
    procfs: Procfs, pid: int, monotonic: Monotonic, *, with_uid: bool = True
) -> ProcSnapshot | None:
    """One process, or None if it is gone."""
    seen_ns = clocks.monotonic_ns()
    data = procfs.read_stat(pid)
    if data is None:
        return None
    uid = None
    try:
        stat = parse_stat(data)
        if with_uid and (status := procfs.read_status(pid)) is not None:
            uid = parse_real_uid(status)
    except DataError:
        return None
    return ProcSnapshot(
        pid=pid,
        ppid=stat.ppid,
        start_ns=start_ns(stat, monotonic),
        threads=stat.num_threads,
        zombie=stat.zombie,
        uid=uid,
        comm=stat.comm,
        seen_ns=seen_ns,
        session=stat.session,
    )


def find_all(
    procfs: Procfs, monotonic: Monotonic, breathe: Callable[[], None]
) -> Iterator[ProcSnapshot]:
    """Every process of the host; calls `breathe` now and then."""
    for count, pid in enumerate(procfs.pids()):
        if count % BREATH == 0:
            breathe()
        found = find(procfs, pid, monotonic)
        if found is not None:
            yield found


# A process that is about to wait does so within this time, however busy the host is.
SETTLE_S = 1.0


def used_so_far(procfs: Procfs, pid: int) -> tuple[int, int]:
    """CPU time in ns and the peak of memory in KiB of a process with one thread, once it waits; (0,
    0) where nobody tells.
    """
    deadline = time.monotonic() + SETTLE_S
    try:
        # The kernel adds a thread's time up when it leaves the CPU.
        while (
            (stat := procfs.read_stat(pid))
            and parse_stat(stat).state == "R"
            and time.monotonic() < deadline
        ):
            time.sleep(0.001)
        memory = parse_memory(procfs.read_status(pid) or b"")
        return int((procfs.read_schedstat(pid) or b"0").split()[0]), memory[1] if memory else 0
    except (DataError, ValueError, IndexError):
        return 0, 0


_NO_LOGIN = 2**32 - 1
# Enough arguments to see what a command line is about.
_MOST_ARGUMENTS = 4096


def login_uid(procfs: Procfs, pid: int) -> int | None:
    """Uid of the login that a process descends from; None if there is none, or it is not known."""
    login = procfs.read_loginuid(pid)
    uid = int(login) if login and login.isdigit() else _NO_LOGIN
    return None if uid == _NO_LOGIN else uid


def arguments(procfs: Procfs, pid: int) -> tuple[str, ...]:
    """The first arguments of a living process; empty if it is gone."""
    data = (procfs.read_cmdline(pid, _MOST_ARGUMENTS) or b"").removesuffix(b"\0")
    text = data.decode("utf-8", "surrogateescape")
    return tuple(text.split("\0")) if text else ()


def program(
    procfs: Procfs, life: Incarnation, monotonic: Monotonic, hierarchy: int | None
) -> tuple[ProgramRow, bytes] | None:
    """What a living process executes, as a row of table program with its strings still in it, and
    its arguments, which are not in it yet. Its control group is that of this hierarchy (see
    elsa.decode.cgroups.path_of).

    None if it is gone by the end.
    """
    pid = life.pid
    arguments = procfs.read_cmdline(pid, MOST_BYTES + 1) or b""
    exe, cwd = _printable(procfs.link(pid, "exe")), _printable(procfs.link(pid, "cwd"))
    cgroup = None
    with contextlib.suppress(DataError):
        cgroup = path_of(procfs.read_cgroup(pid) or b"", hierarchy)
    loginuid = login_uid(procfs, pid)
    found = find(procfs, pid, monotonic, with_uid=False)
    if found is None or not same_start(life, found.start_ns):
        return None  # its pid may have passed to another while all this was read
    return (
        life.id,
        None,
        exe,
        cwd,
        None if cgroup is None else escape_path(cgroup),
        loginuid,
        found.session,
    ), arguments


def _printable(path: str | None) -> str | None:
    return None if path is None else escape(os.fsencode(path))
