"""A command runs in a control group of its own or without, and never fails because of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsa.cli.run import command_group
from elsa.decode.cgroups import GroupCounters
from elsa.errors import PrivilegeError
from elsa.kernel import own_group
from elsa.kernel.own_group import OwnGroup


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "elsa-run-5"
    path.mkdir()
    monkeypatch.setattr(own_group, "make", lambda: OwnGroup(path))
    return path


def test_command_without_a_group_runs_and_only_verbose_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> OwnGroup:
        raise PrivilegeError("not allowed")

    monkeypatch.setattr(own_group, "make", refused)
    with command_group() as none:
        none.add(1)
        assert none.counters() is None
    assert capsys.readouterr().err == ""
    with command_group(verbose=True):
        pass
    assert capsys.readouterr().err == "elsa: no control group of its own: not allowed\n"


def test_group_that_refuses_the_process_is_removed(group: Path) -> None:
    group.rmdir()
    with command_group() as refused:
        refused.add(1)  # there is no cgroup.procs to write
        assert refused.counters() is None
        assert "No such file" in refused.why_none


def test_counters_are_read_and_what_is_left_is_said(
    group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (group / "cpu.stat").write_text("usage_usec 3\nuser_usec 1\nsystem_usec 2\n")
    (group / "memory.peak").write_text("4096\n")
    with command_group() as own:
        own.add(77)
        assert own.counters() == GroupCounters(1, 2, 4096, None, None)
        assert own.kept() == [f"control group {group} is kept: processes still run in it"]
    assert (group / "cgroup.procs").read_text() == "77"
    assert group.exists()
    assert capsys.readouterr().err == ""


def test_a_group_is_killed_in_one_step_where_the_kernel_can(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group / "cgroup.procs").write_text("77\n0\n78\n")
    with command_group() as own:
        assert own.pids() == {77, 78}
        assert own.kill()
    assert (group / "cgroup.kill").read_text() == "1"
    monkeypatch.setattr(own_group, "make", lambda: OwnGroup(group / "gone"))
    with command_group() as gone:
        assert (gone.pids(), gone.kill()) == (set(), False)
