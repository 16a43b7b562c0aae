"""Canaries: processes that are started to prove that one of the kernel's sources reports them."""

from __future__ import annotations

import shutil
import subprocess
import time

from elsa.decode import events
from elsa.decode.cgroup_events import Attach, Decoder, Record, Sampled
from elsa.errors import RetryError, UnavailableError
from elsa.kernel import own_group, taskstats
from elsa.kernel.connector import Connector
from elsa.kernel.perf_events import PerfEvents

# How long a canary's echo may take on a busy host; it is there within a millisecond on a quiet one.
PATIENCE_S = 1.0

# Of the rings in which the control group of a canary is received.
RING_BYTES = 1 << 18


def _ended() -> int:
    """The pid of a process that was forked, executed a program and ended."""
    try:
        child = subprocess.Popen([shutil.which("true") or "/bin/true"], stdin=subprocess.DEVNULL)
    except OSError as error:
        raise RetryError(f"no process can be started: {error.strerror}") from None
    child.wait()
    return child.pid


def missing_events(listener: Connector) -> list[str]:
    """Which of a canary's events the connector does not report."""
    missing = {events.FORK: "fork", events.EXEC: "exec", events.EXIT: "exit"}
    canary, deadline = _ended(), time.monotonic() + PATIENCE_S
    while missing and time.monotonic() < deadline:
        for event in events.decode(listener.drain(100_000)):
            if (event.c if event.what == events.FORK else event.a) == canary:
                missing.pop(event.what, None)
        time.sleep(0.002)
    return list(missing.values())


def statistics_arrive(listener: taskstats.TaskstatsSocket) -> bool:
    """Whether the statistics of a process that ends now come to a socket."""
    canary, deadline = _ended(), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if canary in map(taskstats.thread_id, listener.drain(10_000)):
            return True
        time.sleep(0.002)
    return False


def proven_taskstats() -> taskstats.TaskstatsSocket:
    """A taskstats socket on which a canary's statistics arrived. Raises ElsaError.

    Without privilege, or in a namespace of its own, ELSA would receive nothing and get no error.
    """
    listener = taskstats.TaskstatsSocket()
    arrived = False
    try:
        arrived = statistics_arrive(listener)
    finally:
        if not arrived:
            listener.close()
    if arrived:
        return listener
    raise UnavailableError(
        "a canary's statistics did not arrive; run it as root in the host's own namespaces"
    )


def missing_in_group(listener: PerfEvents, *, sampled: bool) -> list[str]:
    """What was not received of a process that is moved into a group of its own, executes a program
    there and ends. Raises PrivilegeError or UnavailableError where it cannot be made.
    """
    decoder = Decoder(listener.opened, listener.names)
    group = own_group.make()
    try:
        group_id = group.path.stat().st_ino
        with subprocess.Popen(["sh", "-c", "read -r _; exec true"], stdin=subprocess.PIPE) as child:
            # Its standard input is closed when this ends: until then it waits.
            group.add(child.pid)
    finally:
        group.remove()
    missing = ["move"] + (["exec", "end"] if sampled else [])
    deadline = time.monotonic() + PATIENCE_S
    while missing and time.monotonic() < deadline:
        for record in decoder.decode(listener.drain().chunks, time.monotonic_ns()):
            what = _seen_of(record, child.pid, group_id)
            if what in missing:
                missing.remove(what)
        time.sleep(0.002)
    return missing


def _seen_of(record: Record, pid: int, group_id: int) -> str | None:
    """What a record says of the canary in its group."""
    if isinstance(record, Attach) and (record.pid, record.cgroup_id) == (pid, group_id):
        return "move"
    if isinstance(record, Sampled) and (record.tgid, record.cgroup_id) == (pid, group_id):
        return "end" if record.filename is None else "exec"
    return None
