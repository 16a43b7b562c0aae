"""Of pyroute2 only what ELSA uses is imported."""

from __future__ import annotations

import subprocess
import sys


def test_jobd_does_not_import_the_whole_library() -> None:
    code = "import sys, elsa.jobd.collector; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "pyroute2.netlink.taskstats" in imported
    assert not imported & {"pyroute2.iproute", "pyroute2.ndb", "pyroute2.nftables"}
