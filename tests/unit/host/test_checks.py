"""Every check gives a finding and a remedy, whatever it meets; none raises."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from elsa.cli.check import check as command
from elsa.config import Config
from elsa.errors import PrivilegeError
from elsa.host import canaries, checks
from elsa.host.checks import Level, Place
from elsa.kernel import accounting, own_group
from elsa.kernel.cgroups import Hierarchy
from elsa.kernel.own_group import OwnGroup
from elsa.kernel.procfs import INITIAL_NAMESPACES, Procfs
from elsa.store.upgrade import upgrade

EVERYTHING = "".join(
    f"CONFIG_{name}=y\n" for name in (*checks.NEEDED_OPTIONS, *checks.USEFUL_OPTIONS)
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A host on which nothing is set up."""
    settings = Config(
        db=tmp_path / "elsa.db", socket=tmp_path / "jobd.sock", acct_file=tmp_path / "pacct"
    )
    return Place(settings, Procfs(tmp_path / "proc"), etc=tmp_path / "etc", boot=tmp_path / "boot")


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("compressed", [True, False])
def test_kernel_options_are_read_from_proc_or_boot(
    place: Place, tmp_path: Path, compressed: bool
) -> None:
    if compressed:
        write(tmp_path / "proc/config.gz", gzip.compress(EVERYTHING.encode()))
    else:
        write(tmp_path / f"boot/config-{os.uname().release}", EVERYTHING)
    assert checks.kernel_options(place)[0] is Level.OK


def test_an_unknown_kernel_is_no_failure(place: Place) -> None:
    assert checks.kernel_options(place)[0] is Level.WARN


def test_a_damaged_kernel_configuration_counts_as_unknown(place: Place, tmp_path: Path) -> None:
    write(tmp_path / "proc/config.gz", gzip.compress(EVERYTHING.encode())[:-12])
    assert checks.kernel_options(place)[0] is Level.WARN


def test_a_missing_needed_option_fails_and_is_named(place: Place, tmp_path: Path) -> None:
    write(
        tmp_path / "proc/config.gz",
        gzip.compress(
            EVERYTHING.replace("CONFIG_PROC_EVENTS=y", "# CONFIG_PROC_EVENTS is not set").encode()
        ),
    )
    status, found, _ = checks.kernel_options(place)
    assert status is Level.FAIL
    assert "CONFIG_PROC_EVENTS" in found
    assert "TASKSTATS" not in found


def test_a_missing_useful_option_warns(place: Place, tmp_path: Path) -> None:
    write(
        tmp_path / "proc/config.gz",
        gzip.compress(EVERYTHING.replace("CONFIG_TASKSTATS=y", "").encode()),
    )
    assert checks.kernel_options(place)[0] is Level.WARN


@pytest.mark.parametrize(
    ("held", "missing"), [("181000", ""), ("0", "CAP_NET_ADMIN"), ("101000", "CAP_SYS_PTRACE")]
)
def test_missing_capabilities_are_named(
    place: Place, tmp_path: Path, held: str, missing: str
) -> None:
    write(tmp_path / f"proc/{os.getpid()}/status", f"Name:\tx\nCapEff:\t{held:0>16}\n")
    status, found, _ = checks.privileges(place)
    assert (status is Level.OK) is not bool(missing)
    assert missing in found


def test_a_container_is_recognized(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    inodes = {"pid": 5, "user": INITIAL_NAMESPACES["user"], "net": 7}
    monkeypatch.setattr(Procfs, "namespace", lambda _self, kind, pid=None: inodes[kind])
    status, found, mend = checks.namespaces(place)
    assert status is Level.FAIL
    assert "pid namespace" in found
    assert "PrivateNetwork" in mend
    inodes["pid"] = INITIAL_NAMESPACES["pid"]
    assert checks.namespaces(place)[0] is Level.OK


def test_namespaces_that_may_not_be_seen_are_no_failure(place: Place) -> None:
    assert checks.namespaces(place)[0] is Level.OK


def test_rotation_is_found(place: Place, tmp_path: Path) -> None:
    write(tmp_path / "pacct", b"\0" * 64)
    assert checks.rotation(place)[0] is Level.WARN
    write(tmp_path / "etc/cron.daily/acct", "#!/bin/sh\n")
    status, found, _ = checks.rotation(place)
    assert status is Level.OK
    assert "cron.daily/acct" in found


def test_space_fails_where_the_kernel_stops_writing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "pacct", b"")
    limits = accounting.Thresholds(resume_percent=4, suspend_percent=2, check_seconds=30)
    monkeypatch.setattr(accounting, "thresholds", lambda: limits)
    for free, expected in (
        (1.9, Level.FAIL),
        (2.0, Level.FAIL),
        (3.0, Level.WARN),
        (50.0, Level.OK),
    ):
        monkeypatch.setattr(accounting, "free_percent", lambda _path, free=free: free)
        assert checks.space(place)[0] is expected


def test_the_warehouse_must_be_there_and_writable(place: Place) -> None:
    result = {result.name: result for result in checks.run(place)}["warehouse"]
    assert result.status is Level.FAIL
    assert f"elsa db upgrade --db {place.settings.db}" in result.mend
    upgrade(place.settings.db)
    assert checks.warehouse(place)[0] is Level.OK


def test_a_check_that_breaks_is_a_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Place) -> tuple[Level, str, str]:
        raise ZeroDivisionError

    monkeypatch.setattr(checks, "CHECKS", {"broken": broken})
    (result,) = checks.run(place)
    assert result.status is Level.FAIL
    assert "ZeroDivisionError" in result.found


@pytest.mark.parametrize(("uid", "level"), [(1000, Level.WARN), (0, Level.FAIL)])
def test_what_a_plain_user_may_not_see_is_unknown_and_no_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch, uid: int, level: Level
) -> None:
    def refused(_: Place) -> tuple[Level, str, str]:
        raise PrivilegeError("this user may not read it; root may")

    monkeypatch.setattr(checks, "CHECKS", {"refused": refused})
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    (result,) = checks.run(place)
    assert result == ("refused", level, "this user may not read it", "root may")


def test_every_check_that_fails_or_warns_of_something_to_mend_says_how(place: Place) -> None:
    for result in checks.run(place):
        assert "\n" not in result.found + result.mend
        assert result.status is not Level.FAIL or result.mend


def test_the_command_ends_with_69_and_names_what_failed(place: Place) -> None:
    flags = [
        "--db",
        str(place.settings.db),
        "--socket",
        str(place.settings.socket),
        "--acct-file",
        str(place.settings.acct_file),
    ]
    outcome = CliRunner().invoke(command, [*flags, "--format", "json"])
    assert getattr(outcome.exception, "exit_code", None) == 69
    report = json.loads(outcome.stdout)
    assert report["works"] is False
    assert [entry["name"] for entry in report["checks"]] == list(checks.CHECKS)
    plain = CliRunner().invoke(command, flags)
    assert "fail  warehouse" in plain.stdout
    assert "\x1b" not in plain.stdout


def test_a_gap_fails_the_check_of_jobd_until_a_later_time_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(place.settings.db)
    now_ns = time.time_ns()
    with closing(sqlite3.connect(place.settings.db, isolation_level=None)) as connection:
        connection.execute("insert into host values (1, 'm', 'h')")
        connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
        connection.execute("insert into clock values (1, 1, 0, ?, 0)", (now_ns - 7200 * 10**9,))
        run = (1, 1, 1, "1", 0, 7200 * 10**9, None, 5, 0, 1)
        connection.execute("insert into collector values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", run)
    monkeypatch.setattr("elsa.control.client.Client.request", lambda *_: {"events": 5, "lost": 0})
    assert checks.jobd(place)[0] is Level.OK
    with closing(sqlite3.connect(place.settings.db, isolation_level=None)) as connection:
        connection.execute(
            "insert into gap (id, boot_id, kind, from_ns, to_ns) values (1, 1, 'crash', ?, ?)",
            (3500 * 10**9, 3600 * 10**9),
        )
    status, found, mend = checks.jobd(place)
    assert status is Level.FAIL
    assert "1 gap since " in found
    assert "without notice" in found
    assert "--since" in mend
    assert checks.jobd(replace(place, since_ns=now_ns - 3600 * 10**9))[0] is Level.OK
    assert checks.jobd(replace(place, since_ns=now_ns - 3601 * 10**9))[0] is Level.FAIL


def test_without_control_group_events_the_check_says_what_is_inferred_and_what_to_do(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PrivilegeError("not allowed")

    monkeypatch.setattr(checks, "find_hierarchy", lambda: None)
    monkeypatch.setattr(checks, "open_cgroup_events", refused)
    assert checks.control_groups(place) == (
        Level.WARN,
        f"not allowed; {checks.INFERRED}",
        "run as root, as jobd is started",
    )
    off = replace(place, settings=replace(place.settings, auto_jobs=False))
    assert checks.control_groups(off)[0] is Level.OK


def test_events_that_do_not_show_the_canary_are_a_warning(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hierarchy = Hierarchy(tmp_path, 0, sampled=True)
    monkeypatch.setattr(checks, "find_hierarchy", lambda: hierarchy)
    silent = SimpleNamespace(opened={}, names={}, drain=lambda: SimpleNamespace(chunks=[]))
    monkeypatch.setattr(checks, "open_cgroup_events", lambda *_: nullcontext(silent))
    monkeypatch.setattr(canaries, "Decoder", lambda *_: SimpleNamespace(decode=lambda *_: []))
    monkeypatch.setattr(canaries, "PATIENCE_S", 0.01)
    (tmp_path / "group").mkdir()
    monkeypatch.setattr(own_group, "make", lambda: OwnGroup(tmp_path / "group"))
    status, found, mend = checks.control_groups(place)
    assert (status, mend) == (Level.WARN, "run ELSA on the host itself, as root")
    assert "a canary's move and exec and end was not received" in found
