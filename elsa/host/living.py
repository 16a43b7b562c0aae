"""The processes that live now, as the rules of automatic jobs ask for them."""

from __future__ import annotations

from collections.abc import Iterator

from elsa.decode.cgroups import path_of
from elsa.decode.comm import escape_comm
from elsa.decode.procfs import parse_real_uid, parse_stat
from elsa.errors import DataError
from elsa.host.proc_scan import NO_LOGIN
from elsa.kernel.procfs import Procfs
from elsa.state.living_jobs import Living

# Enough arguments to see what a command line is about.
_MOST_BYTES = 4096


def living(procfs: Procfs, hierarchy: int) -> Iterator[Living]:
    """Every process of the host with its group in this hierarchy of control groups (0 is version
    2); what ends meanwhile is left out.
    """
    for pid in procfs.pids():
        process = _process(procfs, pid, hierarchy)
        if process is not None:
            yield process


def _process(procfs: Procfs, pid: int, hierarchy: int) -> Living | None:
    stat, status = procfs.read_stat(pid), procfs.read_status(pid)
    arguments = _text(procfs.read_cmdline(pid, _MOST_BYTES) or b"").removesuffix("\0")
    login = procfs.read_loginuid(pid)
    loginuid = int(login) if login and login.isdigit() else NO_LOGIN
    if stat is None or status is None:
        return None
    try:
        group = path_of(procfs.read_cgroup(pid) or b"", hierarchy)
        if group is None:
            return None
        return Living(
            pid,
            parse_stat(stat).ppid,
            group,
            escape_comm(parse_stat(stat).comm),
            parse_real_uid(status),
            None if loginuid == NO_LOGIN else loginuid,
            tuple(arguments.split("\0")) if arguments else (),
        )
    except DataError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
