"""The processes that live now, as the rules of automatic jobs ask for them."""

from __future__ import annotations

from collections.abc import Iterator

from elsa.decode.cgroups import path_of
from elsa.decode.comm import escape_comm
from elsa.decode.procfs import parse_real_uid, parse_stat
from elsa.errors import DataError
from elsa.host.proc_scan import arguments, login_uid
from elsa.kernel.procfs import Procfs
from elsa.state.living_jobs import Living


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
    command, login = arguments(procfs, pid), login_uid(procfs, pid)
    if stat is None or status is None:
        return None
    try:
        group = path_of(procfs.read_cgroup(pid) or b"", hierarchy)
        if group is None:
            return None
        facts = parse_stat(stat)
        return Living(
            pid,
            facts.ppid,
            group,
            escape_comm(facts.comm),
            parse_real_uid(status),
            login,
            command,
            facts.starttime_ticks,
        )
    except DataError:
        return None
