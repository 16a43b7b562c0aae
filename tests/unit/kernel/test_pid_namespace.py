"""Pids of other pid namespaces, on this kernel and as an older one would tell: every number is one
process of ours or none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from elsa.kernel import pid_namespace
from elsa.kernel.pid_namespace import ForeignPids
from elsa.kernel.procfs import Procfs

PROCFS = Procfs()
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")
# unshare(1) of util-linux 2.38 fails now and then with "sigprocmask unblock failed": try again.
NESTED = """sleep 60 &
for attempt in 1 2 3; do unshare --pid --fork sh -c "sleep 60 & wait"; done"""


class Box(NamedTuple):
    """A pid namespace with another one inside it; our pids."""

    init: int
    sleeper: int
    inner_init: int
    inner_sleeper: int

    def foreign(self) -> ForeignPids:
        return ForeignPids(self.sleeper, PROCFS.namespace("pid", self.sleeper))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def child(pid: int, name: str) -> int:
    """A child by its command name, as soon as it is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for one in children(pid):
            if PROCFS.read_comm(one) == name.encode():
                return one
        time.sleep(0.01)
    raise AssertionError(f"no child {name} of {pid}")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    if (
        os.geteuid() != 0
        or subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("making a pid namespace needs root")
    with subprocess.Popen([*UNSHARE, "sh", "-c", NESTED]) as outer:
        try:
            init = child(outer.pid, "sh")
            inner = child(child(init, "unshare"), "sh")
            yield Box(init, child(init, "sleep"), inner, child(inner, "sleep"))
        finally:
            for one in children(outer.pid):
                os.kill(one, 9)  # the namespace ends with its init


@pytest.fixture(params=["6.11", "4.9"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, and an older one that cannot look a pid of a namespace up."""
    real = fcntl.ioctl

    def older(fd: int, number: int, argument: int = 0) -> int:
        if number == pid_namespace._NS_GET_PID_FROM_PIDNS:
            raise OSError(errno.ENOTTY, "")
        return real(fd, number, argument)

    if request.param == "4.9":
        monkeypatch.setattr(fcntl, "ioctl", older)


@pytest.mark.usefixtures("kernel")
def test_each_of_their_pids_is_one_of_ours_and_back(box: Box) -> None:
    foreign = box.foreign()
    assert foreign.known
    assert foreign.ours(1) == box.init
    seen = {ours: theirs for ours in box if (theirs := foreign.theirs(ours)) is not None}
    assert set(seen) == set(box), "what is in a namespace of their own they see too"
    assert {ours: foreign.ours(theirs) for ours, theirs in seen.items()} == dict(
        zip(box, box, strict=True)
    )


@pytest.mark.usefixtures("kernel")
def test_from_the_inner_namespace_only_what_is_in_it_can_be_named(box: Box) -> None:
    foreign = ForeignPids(box.inner_sleeper, PROCFS.namespace("pid", box.inner_sleeper))
    assert foreign.ours(1) == box.inner_init
    assert [foreign.theirs(ours) for ours in (*box, os.getpid())][:2] == [None, None]
    assert foreign.theirs(os.getpid()) is None


@pytest.mark.usefixtures("kernel")
def test_a_number_that_they_have_not_is_nobody_even_where_we_have_it(box: Box) -> None:
    ours_alone = next(pid for pid in (os.getpid(), os.getppid()) if pid > 50)
    assert box.foreign().ours(ours_alone) is None
    assert box.foreign().theirs(ours_alone) is None


def test_a_namespace_whose_process_has_ended_or_changed_translates_no_pid(box: Box) -> None:
    inode = PROCFS.namespace("pid", box.sleeper)
    for foreign in (
        ForeignPids(0, None),
        ForeignPids(2**22 + 1, inode),
        ForeignPids(os.getpid(), inode),
        ForeignPids(box.sleeper, None),
    ):
        assert not foreign.known
        assert foreign.ours(1) is None
