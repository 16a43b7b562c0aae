"""jobd and a following ingester go on when the package that they came from is upgraded or removed
while they run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import elsa
from elsa.store import sql_files
from tests.support.elsa_host import Host, wait_until, workload

pytestmark = pytest.mark.kernel


def installed(folder: Path) -> Path:
    """A copy of the package in a folder, as a wheel would have put it there."""
    package = Path(shutil.copytree(Path(elsa.__file__).parent, folder / "elsa"))
    for name in ("sql", "migrations"):
        if not (package / name).exists():
            shutil.copytree(sql_files.folder(name), package / name)
    return package


def started(host: Host, package: Path, door: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A program of that package, begun as its script does."""
    program = (
        f"import elsa; assert elsa.__file__.startswith({str(package)!r}); from elsa.cli.entry"
        f" import {door}; {door}()"
    )
    environ = host.environ | {"PYTHONPATH": str(package.parent), "ELSA_COMMIT_MS": "20"}
    with host.log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *map(str, arguments)],
            env=environ,
            stderr=output,
            stdout=output,
        )
    host.started.append(process)
    return process


@pytest.mark.parametrize("upgraded", [False, True], ids=["removed", "upgraded"])
def test_a_running_jobd_needs_nothing_of_its_package_any_more(
    host: Host, tmp_path: Path, *, upgraded: bool
) -> None:
    package = installed(tmp_path / "site")
    host.jobd = started(host, package, "elsa_jobd")
    wait_until("jobd answers", host._answers)
    follower = started(host, package, "elsa_ingest", "--follow", "--quiet", "--interval", "0.1")
    wait_until("the follower has begun", lambda: host.value("select count(*) from acct_file"))
    package.rename(package.with_name("gone"))
    if upgraded:  # to one that does everything wrong
        (package / "store").mkdir(parents=True)
        for name in ("__init__", "store/__init__", "store/database", "store/assets"):
            (package / f"{name}.py").write_text("raise SystemExit(99)")

    with workload(
        "/bin/sh", "-c", "read go; /bin/sh -c 'exit 3'; read end", start_new_session=True
    ) as member:
        job = host.create("made", member.pid)
        member.go()
        away = host.db.with_name("away")
        host.db.rename(away)  # so that it has to be opened again
        wait_until(
            "jobd misses it", lambda: host.request("status")["writer"] != "ok" or host.create("x")
        )
        away.rename(host.db)
        wait_until("jobd has it again", lambda: host.request("status")["writer"] == "ok")
        host.request("sync")
        assert host.request("define", name="defined", root=member.pid)["job"]["name"] == "defined"
        assert {one["name"] for one in host.request("list", all=True)["jobs"]} >= {
            "made",
            "defined",
        }
        host.request("close", job=job)
    wait_until(
        "the follower has read on",
        lambda: host.value("select count(*) from acct where exitcode = 768"),
    )
    assert host.stop() == 0
    follower.terminate()
    assert follower.wait(20) == 0
    assert host.value("select stopped_ns is not null from collector") == 1
    members = host.sql(
        "select command, exit_code, record from job_process_usage where job_id = ? order by"
        " process_id",
        job,
    )
    assert ("sh", 3, "exact") in members
    assert host.sql(
        "select value from program join long_text on long_text.id = cmdline_id"
        " where value like '%exit 3%'"
    )
    told = host.log.read_text()
    assert "Error" not in told
    assert "Traceback" not in told
    host.assert_sound()
