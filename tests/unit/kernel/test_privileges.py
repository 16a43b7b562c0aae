"""From root to a user, in a process of its own: what the kernel says of it afterwards."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from elsa.errors import ConfigError, PrivilegeError
from elsa.kernel import privileges
from elsa.kernel.privileges import CAP_NET_ADMIN, CAP_SYS_PTRACE

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")
KEPT = 1 << CAP_NET_ADMIN | 1 << CAP_SYS_PTRACE
SHOW = 'print(open("/proc/self/status").read())'
EXEC = 'import os; os.execv("/bin/cat", ["cat", "/proc/self/status"])'
BECOME = """
from elsa.kernel.privileges import *
become("nobody", (CAP_NET_ADMIN, CAP_SYS_PTRACE))
"""


def after(*code: str) -> dict[str, list[str]]:
    """Lines of /proc/self/status, by name, after code that prints them."""
    command = [sys.executable, "-c", "\n".join(code)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.split() for name, _, value in lines}


@root_only
def test_it_has_the_users_ids_and_groups_and_only_the_kept_capabilities() -> None:
    status = after(BECOME, SHOW)
    groups = os.getgrouplist("nobody", NOBODY.pw_gid)
    assert status["Uid"] == 4 * [str(NOBODY.pw_uid)]
    assert status["Gid"] == 4 * [str(NOBODY.pw_gid)]
    assert sorted(map(int, status["Groups"])) == sorted(groups)
    assert [int(status[name][0], 16) for name in ("CapEff", "CapPrm")] == [KEPT, KEPT]
    assert [int(status[name][0], 16) for name in ("CapInh", "CapAmb")] == [0, 0]
    assert status["NoNewPrivs"] == ["1"]


@root_only
def test_a_program_that_it_executes_has_no_capabilities() -> None:
    status = after(BECOME, EXEC)
    assert status["Uid"] == 4 * [str(NOBODY.pw_uid)]
    assert [int(status[name][0], 16) for name in ("CapEff", "CapPrm")] == [0, 0]


@root_only
def test_a_user_keeps_the_capabilities_that_a_service_manager_gave_it() -> None:
    # As AmbientCapabilities= of systemd does it.
    given = ["setpriv", "--reuid=nobody", "--inh-caps=+net_admin", "--ambient-caps=+net_admin"]
    for show, kept in ((SHOW, 1 << CAP_NET_ADMIN), (EXEC, 0)):
        code = "\n".join((BECOME, show))
        text = subprocess.run(
            [*given, sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
        assert f"CapPrm:\t{kept:016x}\nCapEff:\t{kept:016x}\n" in text
        assert f"CapAmb:\t{0:016x}\n" in text


@root_only
def test_a_capability_that_was_withheld_is_left_out() -> None:
    # PR_CAPBSET_DROP, as service managers do.
    withhold = f"import ctypes; assert not ctypes.CDLL(None).prctl(24, {CAP_SYS_PTRACE}, 0, 0, 0)"
    inherit = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    command = [sys.executable, "-c", f"{withhold}\n{inherit}", BECOME + SHOW]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"CapEff:\t{1 << CAP_NET_ADMIN:016x}\n" in text


@root_only
def test_a_user_stays_the_same_and_becomes_no_other() -> None:
    again = 'os.setresuid(65534, 65534, 65534); become("nobody"); print("same")'
    other = 'import elsa.errors as e\ntry: become("root")\nexcept e.PrivilegeError as x: print(x)'
    command = [sys.executable, "-c", f"import os\n{BECOME.splitlines()[1]}\n{again}\n{other}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert text == "same\nonly root may become user root; run as root or as root\n"


@pytest.mark.parametrize("name", ["no-such-user", "", "a\0b"])
def test_there_is_no_such_user(name: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no user .*; create it"):
        privileges.become(name)


def test_only_root_may_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    with pytest.raises(PrivilegeError, match="only root may become user nobody"):
        privileges.become("nobody")
