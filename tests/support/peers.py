"""The programs that tests compare ELSA with, GNU acct, forkstat, GNU time: where they are, and what
they say of the same records.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa.cli.report import report
from elsa.decode.acct import AcctRecord
from elsa.decode.comm import unescape_comm

_BUILD = Path(__file__).resolve().parents[2] / "build" / "peers"


def program(name: str) -> str | None:
    """The path of a peer's program: under ELSA_PEERS, under build/peers, or on PATH; None if it is
    nowhere.
    """
    named = os.environ.get("ELSA_PEERS")
    for root in ([Path(named)] if named else []) + [_BUILD]:
        for folder in (root, root / "usr/sbin", root / "usr/bin", root / "sbin", root / "bin"):
            if os.access(folder / name, os.X_OK) and (folder / name).is_file():
                return str(folder / name)
    # Daemons' tools are in sbin, which is not on every user's PATH.
    return shutil.which(
        name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    )


def peer(name: str) -> str:
    """The same; where it is nowhere the test skips with the reason."""
    found = program(name)
    if found is None:
        pytest.skip(
            f"{name} is not installed: `make test` fetches it, or name a folder in ELSA_PEERS"
        )
    return found


def dump_acct(path: Path) -> list[bytes]:
    """What dump-acct says of each record, but for the terminal and the date, whose words depend on
    the host.
    """
    done = subprocess.run([peer("dump-acct"), str(path)], capture_output=True, check=True)
    return [line.rsplit(b"|", 2)[0] for line in done.stdout.splitlines()]


def as_dump_acct(record: AcctRecord) -> bytes:
    """The same of one of our records: dump-acct writes the name's bytes as they are."""
    flags = "".join(
        letter if record.flag & bit else " "
        for letter, bit in (("S", 2), ("F", 1), ("C", 4), ("D", 8), ("X", 16))
    )
    ticks = "|".join(f"{value:9.2f}" for value in (record.utime, record.stime, record.etime))
    rest = (
        f"|v3|{ticks}|{record.uid:6}|{record.gid:6}|{record.mem:9.2f}|{record.io:9.2f}"
        f"|{record.pid:8}|{record.ppid:8}|{flags}"
    )
    return unescape_comm(record.comm).ljust(16) + f"{rest}|{record.exitcode >> 8:8}".encode()


def theirs(program: str, arguments: Iterable[str], stdin: bytes = b"") -> bytes:
    """What the original prints."""
    return subprocess.run(
        [peer(program), *arguments], input=stdin, capture_output=True, check=True
    ).stdout


def ours(program: str, arguments: Iterable[str], stdin: bytes = b"") -> bytes:
    """What ELSA prints."""
    return (
        CliRunner()
        .invoke(report, [program, *arguments], input=stdin, catch_exceptions=False)
        .stdout_bytes
    )


# Arguments that between them use every option whose output is equal; a file is to follow.
GNU_WAYS = (
    *(
        "sa -i",
        "sa -ia",
        "sa -i -bc",
        "sa -i -dr",
        "sa -i -aD",
        "sa -i -jn",
        "sa -i -k",
        "sa -i -aK",
        "sa -i -lt",
        "sa -i -p",
        "sa -i -aP",
    ),
    *(
        "sa -i -m",
        "sa -i -mnc",
        "sa -i --group-summary",
        "sa -i -u",
        "sa -i -fv2",
        "sa -i --sort-real-time --separate-forks --ahz 50",
    ),
    *(
        "lastcomm -f",
        "lastcomm --forwards --pid -f",
        "lastcomm -p --print-controls -f",
        "lastcomm root sh -f",
    ),
    *(
        "lastcomm --strict-match --user root --command sh --tty __ -f",
        "dump-acct",
        "dump-acct -r -n 7",
        "dump-acct -R --byteswap",
    ),
    *(
        "dump-acct -R",
        "dump-acct -rR --format 0",
        "dump-acct -R --format v1",
        "dump-acct -R --format 2 --ahz 64",
    ),
)


def same_as_gnu(path: Path) -> None:
    """Every way of printing this file gives, byte for byte, what the original prints."""
    for way in GNU_WAYS:
        program, *arguments = [*way.split(), str(path)]
        assert ours(program, arguments) == theirs(program, arguments), way
