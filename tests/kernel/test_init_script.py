"""The init script for hosts without systemd, with places of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elsa.errors import ElsaError
from tests.support.elsa_host import Host

pytestmark = pytest.mark.kernel
SCRIPT = Path(__file__).parents[2] / "packaging/host/elsa-jobd.init"


def test_the_init_script_starts_reports_and_stops_jobd(host: Host, tmp_path: Path) -> None:
    defaults = tmp_path / "defaults"
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    program = Path(sys.executable).with_name("elsa-jobd")
    defaults.write_text(
        f"DAEMON={program}\nRUN_AS=root\nSTATE={tmp_path}\nRUNTIME={tmp_path}\n"
        f"PIDFILE={pid_file}\nLOG={log}\n"
    )
    environ = host.environ | {"ELSA_INIT_DEFAULTS": str(defaults)}

    def script(action: str, **changed: str) -> tuple[int, str]:
        # Output to a file: jobd, which goes on, must not keep a pipe open.
        with (tmp_path / "said").open("w+") as said:
            command = ["sh", str(SCRIPT), action]
            done = subprocess.run(
                command, env=environ | changed, stdout=said, stderr=said, check=False
            )
            said.seek(0)
            return done.returncode, said.read()

    assert script("status") == (3, "elsa-jobd does not run\n")
    assert script("stop") == (0, "")
    try:
        assert script("start") == (0, ""), log.read_text()
        pid = pid_file.read_text().strip()
        assert host.request("status")["pid"] == int(pid)
        assert script("status") == (0, f"elsa-jobd runs, with pid {pid}\n")
        assert script("start") == (0, f"elsa-jobd runs already, with pid {pid}\n")
    finally:
        assert script("stop") == (0, "")
    with pytest.raises(ElsaError):
        host.request("status")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("interval_s = 'x'\n")
    code, said = script("start", ELSA_CONFIG=str(wrong))
    assert code == 1
    assert said.startswith("elsa-jobd did not start: ")
    assert "interval_s" in said
    assert script("status") == (1, f"elsa-jobd has ended; see {log}\n")
