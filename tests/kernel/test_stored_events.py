"""Control group events that root opens and a program without any right reads; between them is a
service manager.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.errors import ElsaError
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import find_hierarchy
from tests.support.elsa_host import NOBODY
from tests.support.service_manager import ServiceManager

pytestmark = pytest.mark.kernel
OPEN = [str(Path(sys.executable).with_name("elsa-jobd")), "--open-events"]
ENVIRON = {**os.environ, "ELSA_CONFIG": os.devnull, "PYTHONWARNINGS": "error"}
READ = f"""
import os, subprocess, sys, time
import encodings.ascii  # that user may not be able to read Python's folders
from elsa.decode.cgroup_events import Decoder
from elsa.errors import ElsaError
from elsa.jobd import stored_events
from elsa.kernel.perf_events import PerfEvents
os.setgroups([])
os.setresgid(*[{NOBODY}] * 3)
os.setresuid(*[{NOBODY}] * 3)
try:
    events = stored_events.take()
except ElsaError as error:
    sys.exit(str(error))
if events is None:
    sys.exit("nothing was passed")
with PerfEvents(events) as events:
    child = subprocess.Popen(["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE)
    listing = child.communicate()[0]
    decoder = Decoder(events.opened, events.names)
    for record in decoder.decode(events.drain().chunks, time.monotonic_ns()):
        if child.pid in record:
            print(type(record).__name__, record.filename)
    print(events.lost(), events.follow_cpus(), b"perf_event" in listing)
print(stored_events.take())
"""


@pytest.fixture
def manager(require_kernel: Callable[[object, str], None]) -> Iterator[ServiceManager]:
    try:
        open_cgroup_events(find_hierarchy()).close()
    except ElsaError as error:
        require_kernel(None, str(error))
    with closing(ServiceManager()) as manager:
        yield manager


def read(manager: ServiceManager) -> tuple[int, list[str], str]:
    """The exit code and what is printed of a program that reads what was stored."""
    command = [sys.executable, "-c", READ]
    program = manager.popen(
        command, ENVIRON, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    printed, errors = program.communicate()
    return program.returncode, printed.splitlines(), errors


def test_another_program_without_rights_reads_what_root_opened(manager: ServiceManager) -> None:
    # The second time as after the end of a jobd that did not take them.
    assert [manager.run(OPEN, ENVIRON), manager.run(OPEN, ENVIRON)] == [0, 0]
    assert manager.states == ["BARRIER=1"] * 4
    status, printed, errors = read(manager)
    assert (status, errors) == (0, "")
    started, ended, counted, again = printed
    assert started.startswith("Sampled /")
    assert ended == "Sampled None"
    assert counted == "0 Followed(opened=[], missing=[]) False"
    assert again == "None"
    # It has let the service manager close them, so that they end with the program.
    manager.take_message()
    manager.take_message()
    assert manager.stored == {}


def test_events_that_are_not_all_there_are_refused(manager: ServiceManager) -> None:
    assert manager.run(OPEN, ENVIRON) == 0
    os.close(manager.stored["events"].pop())
    assert read(manager) == (
        1,
        [],
        "systemd has not stored all cgroup events; FileDescriptorStoreMax= is too small\n",
    )


def test_the_reason_why_they_cannot_be_opened_arrives(manager: ServiceManager) -> None:
    without = ["setpriv", "--bounding-set", "-all", *OPEN]
    assert manager.run(without, ENVIRON) == 0
    status, _, errors = read(manager)
    assert status == 1
    assert errors.startswith("tracepoints are opened by root, or with CAP_PERFMON")


def test_nothing_is_opened_where_there_are_to_be_no_automatic_jobs(manager: ServiceManager) -> None:
    assert manager.run(OPEN, ENVIRON | {"ELSA_AUTO_JOBS": "false"}) == 0
    assert manager.stored == {}
    assert read(manager) == (1, [], "nothing was passed\n")


def test_without_a_service_manager_it_says_what_it_is_for() -> None:
    done = subprocess.run(OPEN, env=ENVIRON, capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert done.stderr == (
        "elsa-jobd: systemd does not take the cgroup events; only the unit of jobd runs this, with"
        " NotifyAccess=exec\n"
    )
