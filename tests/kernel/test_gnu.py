"""What GNU acct prints of a real job's records, and what ELSA prints of the job."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from elsa.cli.report import report
from tests.support.elsa_host import Host
from tests.support.peers import theirs

SCRIPT = "for i in 1 2 3; do seq 20000 | sort -r | tail -n 1; (exit 3); done; kill -TERM $$"


@pytest.mark.peers
def test_the_records_of_a_real_job_print_the_same(host: Host, tmp_path: Path) -> None:
    def ours(*arguments: str) -> Result:
        return CliRunner().invoke(
            report, [*arguments, "--job", "demo", "--db", str(host.db)], catch_exceptions=False
        )

    host.start()
    host.run("job", "run", "--name", "demo", "--", "sh", "-c", SCRIPT)
    host.ingest_all()
    raw = tmp_path / "demo.pacct"
    raw.write_bytes(ours("dump-acct", "--raw").stdout_bytes)
    assert raw.stat().st_size == 64 * 13  # the shell and its subshells too
    for program, *arguments in (
        ["sa", "-i"],
        ["sa", "-iac"],
        ["sa", "-im"],
        ["lastcomm", "--pid", "-f"],
        ["dump-acct"],
    ):
        done = ours(program, *(argument for argument in arguments if argument != "-f"))
        assert done.stdout_bytes == theirs(program, [*arguments, str(raw)])
        assert done.stderr == ""
