"""What the tests on the real kernel share: a skip that CI can forbid, and the one accounting
switch, one test at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elsa.errors import ElsaError
from elsa.kernel import accounting as kernel
from elsa.kernel.acct_paths import ACCT_FILES
from elsa.kernel.cgroup_events import open_unread
from elsa.kernel.cgroups import find_hierarchy
from elsa.kernel.connector import Connector
from tests.support.elsa_host import Host, compiled


def _require_kernel(holds: object, reason: str) -> None:
    """Skip the test, with the reason, unless something holds; ELSA_REQUIRE_KERNEL=1 makes that a
    failure.
    """
    if holds:
        return
    if os.environ.get("ELSA_REQUIRE_KERNEL") == "1":
        pytest.fail(f"ELSA_REQUIRE_KERNEL=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def tracepoints() -> Iterator[None]:
    """Keep the tracepoints that jobd opens open too, without reading them: the last one to close a
    tracepoint waits 30 ms, and each jobd would wait so for seven.
    """
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(ElsaError):
            opened.callback(open_unread(find_hierarchy()).close)
        yield


@pytest.fixture(scope="session")
def require_kernel() -> Callable[[object, str], None]:
    """A function (holds, reason) that skips the test, or fails it where ELSA_REQUIRE_KERNEL=1."""
    return _require_kernel


@pytest.fixture
def accounting(tmp_path: Path) -> Iterator[Path]:
    """The kernel's accounting, switched to a file of this test's own; as it was before in any case
    afterwards.

    The host has one switch, so a test that uses it holds a lock. If accounting was on, with a usual
    file, it goes back to that file, which gets one record about this process. Any other file cannot
    be distinguished from off, since the kernel does not report the file.
    """
    _require_kernel(os.geteuid() == 0, "process accounting needs root")
    with Path(tempfile.gettempdir(), "elsa-acct.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = kernel.canary()
        _require_kernel(
            before is None or before in ACCT_FILES,
            f"accounting writes to {before}, which rotation has renamed",
        )
        path = tmp_path / "pacct"
        try:
            kernel.switch_on(path)
        except ElsaError as error:
            _require_kernel(holds=False, reason=str(error))
        try:
            _require_kernel(
                kernel.canary(path) == path,
                "accounting does not write here: too little space, or another pid namespace",
            )
            yield path
        finally:
            if before is None:
                kernel.switch_off()
            else:
                kernel.switch_on(before)


@pytest.fixture
def host(accounting: Path, tmp_path: Path, template: Path) -> Iterator[Host]:
    """Warehouse, jobd (to be started) and commands, over the kernel's accounting; nothing of it
    runs on afterwards.
    """
    try:
        Connector(1 << 20).close()
    except ElsaError as error:
        _require_kernel(holds=False, reason=str(error))
    made = Host(tmp_path, accounting, template)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def native(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that builds a program of native/ and returns its path."""
    _require_kernel(shutil.which("cc"), "there is no C compiler to build the workload with")
    folder = tmp_path_factory.getbasetemp() / "native"
    folder.mkdir(exist_ok=True)
    return lambda name: compiled(name, folder)


@pytest.fixture
def nobody(host: Host) -> Iterator[Host]:
    """A host whose socket everybody reaches, and whose warehouse root alone reads."""
    folders = [
        folder
        for folder in host.db.parents
        if folder.stat().st_uid == os.geteuid() and folder != Path("/")
    ]
    modes = {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(folder.stat().st_mode | 0o011)
    host.db.chmod(0o600)
    yield host
    for folder, mode in modes.items():
        folder.chmod(mode)
