"""`elsa check` on the real kernel: all is well where all is set up, and what is not is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elsa.config import Config
from elsa.control.client import Client
from elsa.errors import ElsaError
from elsa.host import checks
from elsa.host.checks import Level, Place
from elsa.kernel import own_group
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import find_hierarchy

pytestmark = pytest.mark.kernel
ELSA = Path(sys.executable).with_name("elsa")


@pytest.fixture
def settings(accounting: Path, template: Path, tmp_path: Path) -> Iterator[Config]:
    """A host on which everything is set up: accounting, a warehouse and a jobd."""
    settings = Config(db=tmp_path / "elsa.db", socket=tmp_path / "jobd.sock", acct_file=accounting)
    shutil.copy(template, settings.db)
    command = [str(ELSA), "jobd", "--db", str(settings.db), "--socket", str(settings.socket)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            deadline = time.monotonic() + 20
            while not answers(settings.socket):
                assert daemon.poll() is None, daemon.stderr and daemon.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield settings
        finally:
            daemon.terminate()


def answers(socket: Path) -> bool:
    try:
        Client(socket, 1.0).request("status")
    except ElsaError:
        return False
    return True


def flags(settings: Config) -> list[str | Path]:
    return ["--db", settings.db, "--socket", settings.socket, "--acct-file", settings.acct_file]


def test_a_host_that_is_set_up_passes(settings: Config) -> None:
    outcome = subprocess.run(
        [ELSA, "check", *flags(settings)], capture_output=True, text=True, check=False
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    lines = [line for line in outcome.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[1] for line in lines] == list(checks.CHECKS)
    # What this host has apart from what was set up may still give a warning.
    assert {line.split()[1] for line in lines if not line.startswith("ok")} <= {
        "rotation",
        "space",
        "cgroups",
    }


def test_accounting_into_a_file_that_is_not_known_is_no_accounting(
    settings: Config, tmp_path: Path
) -> None:
    other = Config(db=settings.db, socket=settings.socket, acct_file=tmp_path / "other")
    outcome = subprocess.run(
        [ELSA, "check", *flags(other)], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 69
    assert "1 of 11 checks failed: accounting" in outcome.stderr


def test_the_connector_is_proved_by_a_canary(require_kernel: Callable[[object, str], None]) -> None:
    status, found, _ = checks.connector(Place())
    require_kernel(status is Level.OK, found)
    assert found == "a canary's fork, exec and exit were received"


def test_another_network_namespace_fails_the_connector_only(settings: Config) -> None:
    outcome = subprocess.run(
        ["unshare", "--net", ELSA, "check", *flags(settings)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 69
    assert "fail  connector" in outcome.stdout
    assert "warn  taskstats" in outcome.stdout


def test_a_container_is_named_as_the_reason(settings: Config) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", ELSA, "check", *flags(settings)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 69
    assert "fail  namespaces  not the host's own pid namespace (a container?)" in outcome.stdout


def test_control_group_events_are_proved_by_a_canary(
    require_kernel: Callable[[object, str], None],
) -> None:
    reason, mount = "perf events do not sample the hierarchy of this host", None
    try:
        hierarchy = find_hierarchy()
        open_cgroup_events(hierarchy).close()
        mount = hierarchy.mount if hierarchy.sampled else None
        own_group.make().remove()
    except ElsaError as error:
        reason, mount = str(error), None
    require_kernel(mount is not None, reason)
    status, found, _ = checks.control_groups(Place())
    assert status is Level.OK, found
    assert not [*(mount or Path()).glob(f"**/elsa-run-{os.getpid()}")]
