"""jobd within the limits that its unit sets for capabilities, /proc and locked memory."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.kernel.cgroup_events import RING_BYTES
from tests.support.elsa_host import NOBODY, Host, wait_until
from tests.support.service_manager import ServiceManager

pytestmark = pytest.mark.kernel
UNIT = Path(__file__).parents[2] / "packaging/host/elsa-jobd.service"


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with closing(ServiceManager()) as manager:
        yield manager


def test_jobd_sees_groups_and_processes_of_all_users_within_the_limits_of_its_unit(
    host: Host, manager: ServiceManager, require_kernel: Callable[[object, str], None]
) -> None:
    text = UNIT.read_text()
    allowed = " ".join(re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE)).split()
    bounding = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in allowed)])
    assert sorted(allowed) == ["CAP_NET_ADMIN", "CAP_SYS_PTRACE"]
    assert "\nLimitMEMLOCK=infinity\n" in text
    assert "\nProtectProc=invisible\n" in text
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    rings = (os.cpu_count() or 1) * (RING_BYTES + resource.getpagesize())
    require_kernel(hard < 0 or hard >= rings, "this host lets root lock too little memory")

    program = Path(sys.executable).with_name("elsa-jobd")
    assert manager.run([str(program), "--open-events"], host.environ) == 0
    # As systemd mounts it, except that members of root's group may not see more than others.
    within = (
        f"mount -t proc -o hidepid=2,gid={NOBODY} proc /proc && ulimit -l $(ulimit -H -l) && "
        f"exec setpriv --no-new-privs --bounding-set {bounding} {program}"
    )
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}
    with subprocess.Popen(["sleep", "60"], **other) as before:  # type: ignore[call-overload]
        with host.log.open("ab") as output:
            command = ["unshare", "--mount", "sh", "-c", within]
            host.jobd = manager.popen(command, host.environ, stderr=output)
        host.started.append(host.jobd)
        wait_until("jobd answers", host._answers)
        with subprocess.Popen(["sleep", "61"], **other) as after:  # type: ignore[call-overload]
            query = """select pid, value from process
                join program on program.process_id = process.id
                join long_text on long_text.id = cmdline_id where pid in (?, ?)"""
            expected = {(before.pid, "sleep 60"), (after.pid, "sleep 61")}

            def are_stored() -> bool:
                host.request("sync")
                return set(host.sql(query, before.pid, after.pid)) == expected

            wait_until("both command lines are stored", are_stored, 10)
            for process in (before, after):
                process.kill()
    assert host.stop() == 0
    assert "no cgroup events" not in host.log.read_text()
