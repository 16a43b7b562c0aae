"""Counters are those of a process that runs."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing

from elsa.host import proc_scan
from elsa.jobd.counter_reader import CounterReader
from elsa.kernel.procfs import Procfs
from elsa.state.codes import Origin
from elsa.state.incarnation import Incarnation


def test_process_that_ended_and_was_not_reaped_has_no_counters() -> None:
    procfs = Procfs()
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child,
        closing(CounterReader(procfs, lambda _pid: {}, delays=True)) as reader,
    ):
        shown = proc_scan.find(procfs, child.pid, lambda time_ns: time_ns)
        assert shown is not None
        life = Incarnation(1, child.pid, shown.start_ns, 1, Origin.SNAPSHOT)
        assert reader.read(life, lambda time_ns: time_ns) is not None
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert reader.read(life, lambda time_ns: time_ns) is None
